"""A company whose commands go through the real store, and a projector beside it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
from uuid_utils.compat import uuid7

from domain.decider import Command, Ref, Rejected
from domain.registry import BY_CATEGORY
from eventstore.db import Database, Reader, role_url
from eventstore.settings import StoreSettings
from eventstore.transact import Context, Receipt, Store, transact
from eventstore.vault import Vault
from projections import builds, positions
from projections.engine import Engine
from projections.inline import InlineModels
from projections.projection import Projection
from projections.registry import INLINE, PROJECTIONS
from projections.settings import EngineSettings
from tests import keys

SOMEBODY = UUID(int=7)


class World:
    """One database: what writes to it, what projects, what reads."""

    def __init__(self, writer: Database, projector: Database, reader: Database, store: Store, vault: Vault) -> None:
        self.writer = writer
        self.projector = projector
        self.reader = reader
        self.store = store
        self.vault = vault

    async def engine(self, projections: Sequence[Projection] = PROJECTIONS, **settings: Any) -> Engine:
        """An engine as a projector process has one."""
        engine = Engine(self.projector, projections, EngineSettings(**settings))
        await engine.prepare()
        return engine

    def company(self) -> "Company":
        """A new company."""
        return Company(self, uuid4())


class Company:
    """Sends commands to one company."""

    def __init__(self, world: World, tenant: UUID) -> None:
        self.world = world
        self.tenant = tenant

    async def send(self, category: str, stream_id: UUID, command: Command, actor: UUID = SOMEBODY) -> Receipt:
        """Sends a command. Raises Rejected."""
        context = Context(tenant=self.tenant, actor=actor, command_id=uuid7(), request_hash=b"request1")
        return await transact(self.world.store, BY_CATEGORY[category], stream_id, command, context)

    async def run(self, script: Sequence[tuple[Ref, Command]]) -> int:
        """Sends commands one after the other, whatever is refused. Answers the position reached."""
        reached = 0
        for ref, command in script:
            try:
                receipt = await self.send(ref.category, ref.id, command)
            except Rejected:
                continue
            reached = max(reached, receipt.position)
        return reached

    def reading(self) -> Any:
        """A reader's transaction."""
        return self.world.reader.bound(self.tenant)


async def least_position(reader: Reader, models: Sequence[str]) -> int:
    """What all of these models have reached."""
    return min([await positions.position_of(reader, model) for model in models])


@asynccontextmanager
async def opened(database_url: str, role: str, **options: Any) -> AsyncIterator[Database]:
    """A pool of one of the application's roles."""
    conninfo = role_url(database_url, role, urlsplit(database_url).password)
    database = Database(conninfo, name=role, connections_max=8, **options)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """A migrated database with the first builds of every model."""
    async with (
        opened(database_url, "cairn_projector") as projector,
        opened(database_url, "cairn_reader", read_only=True) as reader,
    ):
        await builds.prepare(projector, PROJECTIONS)
        conninfo = role_url(database_url, "cairn_writer", urlsplit(database_url).password)
        writer = Database(conninfo, name="writer", connections_max=4)
        vault = keys.vault()
        store = Store(writer, StoreSettings(), vault=vault, inline=InlineModels(INLINE, vault))
        await store.open()
        yield World(writer, projector, reader, store, vault)
        await store.close()


@pytest.fixture
def company(world: World) -> Company:
    """A company with an empty log."""
    return world.company()
