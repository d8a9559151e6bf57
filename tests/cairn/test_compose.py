"""compose.yaml names only settings that exist, commands that resolve, and no secret."""

import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from cairn import settings
from cairn.cli import cairn

ROOT = Path(__file__).parent.parent.parent
COMPOSE = (ROOT / "compose.yaml").read_text(encoding="utf-8")
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
OURS = sorted(name for name, service in SERVICES.items() if "build" in service)


def test_every_part_has_its_container() -> None:
    ours = {"migrate", "commands", "queries", "projector", "relay", "simulator", "syncer"}
    assert set(SERVICES) == {"postgres", "nats"} | ours
    assert SERVICES["postgres"]["image"] == "postgres:18"
    assert SERVICES["nats"]["image"].startswith("nats:2")


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting(name: str) -> None:
    known = {each.name for each in settings.described()}
    assert set(SERVICES[name]["environment"]) <= known


@pytest.mark.parametrize("name", OURS)
def test_the_process_would_take_its_environment(name: str) -> None:
    environment = {key: re.sub(r"\$\{[^}]+\}", "0" * 64, value) for key, value in SERVICES[name]["environment"].items()}
    assert settings.read(environment).store.database_url


@pytest.mark.parametrize("name", OURS)
def test_every_command_resolves(name: str) -> None:
    python, dash_m, module, verb, *arguments = SERVICES[name]["command"]
    assert (python, dash_m, module) == ("python", "-m", "cairn")
    command = cairn.commands[verb]
    assert isinstance(command.make_context(verb, arguments), click.Context)


def test_secrets_have_no_default() -> None:
    variables = re.findall(r"(?<!\$)\$\{([^}]+)\}", COMPOSE)
    assert variables
    assert [each for each in variables if ":?" not in each] == []
    assert re.findall(r"(?i)(?:password|secret|token)\w*\s*[:=]\s*[\"']?[A-Za-z0-9]{8,}", COMPOSE) == []


def test_servers_are_checked_and_awaited() -> None:
    for name in ("postgres", "nats", "commands", "queries"):
        assert "test" in SERVICES[name]["healthcheck"]
    for name in ("commands", "queries", "projector", "relay", "simulator", "syncer"):
        assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_only_this_machine_reaches_the_ports() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_image_holds_every_package() -> None:
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    for package in ("domain", "eventstore", "projections", "api", "workers", "migrations", "cairn"):
        assert f"COPY {package} {package}\n" in image
    assert "--require-hashes -r requirements/run.txt" in image
