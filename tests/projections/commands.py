"""Commands as a client sends them, short to write in a test."""

from typing import Any
from uuid import UUID, uuid4

import msgspec

from domain.decider import Command
from domain.registry import COMMANDS
from tests.projections.conftest import Company


def command(category: str, verb: str, **body: Any) -> Command:
    """The command read from JSON, as the API reads it."""
    _, kind = COMMANDS[category, verb]
    return kind.model_validate_json(msgspec.json.encode(body))


def line(number: int = 1, **more: Any) -> dict[str, Any]:
    """A line as AddLine takes it: 10 units of 1.50."""
    given = {"line_id": str(UUID(int=1000 + number)), "wbs_path": ["A", "B"], "description": f"Line {number}"}
    return given | {"quantity": "10", "unit": "EA", "unit_price": "1.5"} | more


async def project(company: Company, name: str = "TH 108") -> UUID:
    """Creates a project."""
    project_id = uuid4()
    await company.send("project", project_id, command("project", "create-project", name=name))
    return project_id


async def estimate(company: Company, project_id: UUID, **more: Any) -> UUID:
    """Starts an estimate."""
    estimate_id = uuid4()
    body = {"project_id": str(project_id), "currency": "USD", "target_margin": "0.1"} | more
    await company.send("estimate", estimate_id, command("estimate", "start-estimate", **body))
    return estimate_id


async def edit(company: Company, estimate_id: UUID, verb: str, **body: Any) -> int:
    """Sends an estimate's command. Answers the position."""
    receipt = await company.send("estimate", estimate_id, command("estimate", verb, **body))
    return receipt.position


async def member(company: Company, email: str, role: str = "estimator") -> UUID:
    """Adds a member."""
    member_id = uuid4()
    body = {"name": email.partition("@")[0], "email": email, "role": role}
    await company.send("membership", member_id, command("membership", "add-member", **body))
    return member_id
