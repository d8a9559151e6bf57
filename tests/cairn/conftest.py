"""A company with one estimate, written to the log and taken in by the read models."""

from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest

from cairn import care
from domain.company import RegisterCompany
from domain.decider import Command
from domain.estimate_commands import AddLine, StartEstimate
from domain.project import CreateProject
from domain.registry import BY_CATEGORY
from eventstore.db import Database, role_url
from eventstore.settings import StoreSettings
from eventstore.transact import Context, Store, transact
from projections.engine import Engine
from projections.inline import InlineModels
from projections.registry import INLINE, PROJECTIONS
from tests import keys

COMPANY = UUID("7d0f3a52-9a3e-4f0b-8b0e-0d6c5b1f2a11")
PROJECT = UUID("7d0f3a52-9a3e-4f0b-8b0e-0d6c5b1f2a12")
ESTIMATE = UUID("7d0f3a52-9a3e-4f0b-8b0e-0d6c5b1f2a13")
LINE = f"""{{"line_id": "{UUID(int=1)}", "wbs_path": ["Removals"], "description": "PIPE", "quantity": "10",
  "unit": "LF", "unit_price": "1.5"}}"""


@pytest.fixture
async def settings(database_url: str) -> StoreSettings:
    """Where the company's data is. NATS is where nobody listens."""
    found = StoreSettings(
        database_url=database_url,
        database_role_password=urlsplit(database_url).password,
        nats_url="nats://127.0.0.1:9",
    )
    await care.prepare(found)
    conninfo = role_url(database_url, "cairn_writer", found.database_role_password)
    vault = keys.vault()
    store = Store(Database(conninfo, name="writer"), found, vault=vault, inline=InlineModels(INLINE, vault))
    await store.open()
    await _send(store, COMPANY, RegisterCompany(name="Northern Paving", tier="standard", currency="USD"))
    await _send(store, PROJECT, CreateProject(name="TH 108"))
    await _send(store, ESTIMATE, StartEstimate(project_id=PROJECT, currency="USD"))
    await _send(store, ESTIMATE, AddLine.model_validate_json(LINE))
    await store.close()
    await _project(found)
    return found


async def _send(store: Store, id: UUID, command: Command) -> None:
    decider = next(each for each in BY_CATEGORY.values() if type(command) in each.commands)
    context = Context(tenant=COMPANY, actor=UUID(int=0), command_id=uuid4(), request_hash=bytes(16))
    await transact(store, decider, id, command, context)


async def _project(settings: StoreSettings) -> None:
    async with care.projector(settings) as database:
        engine = Engine(database, PROJECTIONS)
        await engine.prepare()
        await engine.advance(COMPANY)
