"""A store on a fresh database, and the words to drive it with."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from uuid_utils.compat import uuid7

from domain.decider import Command
from domain.registry import BY_CATEGORY
from eventstore.db import Database
from eventstore.settings import StoreSettings
from eventstore.transact import Context, Receipt, Store, transact
from tests import keys
from tests.eventstore.units import as_role

OpenStore = Callable[..., Any]


@asynccontextmanager
async def open_store(database_url: str, **options: Any) -> AsyncIterator[Store]:
    """A store as one process of the product has it, signed in as the writer."""
    settings = StoreSettings(**options.pop("settings", {}))
    store = Store(
        Database(as_role(database_url, "cairn_writer"), name="writer", connections_max=4),
        settings,
        **{"vault": keys.vault(), **options},
    )
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    """One process's store."""
    async with open_store(database_url) as opened:
        yield opened


@pytest.fixture
def tenant() -> UUID:
    """A company of the test's own."""
    return uuid4()


def context(tenant: UUID, command_id: UUID | None = None, request: bytes = b"request1") -> Context:
    """Somebody's first try of a command."""
    return Context(tenant=tenant, actor=UUID(int=7), command_id=command_id or uuid7(), request_hash=request)


Send = Callable[..., Awaitable[Receipt]]


async def send(store: Store, tenant: UUID, category: str, stream_id: UUID, command: Command, **options: Any) -> Receipt:
    """Sends a command the way the API does."""
    about = options.pop("about", None) or context(tenant)
    return await transact(store, BY_CATEGORY[category], stream_id, command, about, **options)
