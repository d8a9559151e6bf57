"""The keys that what is known of people is encrypted under: which there are, wrapped anew, or destroyed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import get_args
from uuid import UUID

from api.settings import ApiSettings
from cairn.care import projector
from cairn.client import Client, Command
from domain.membership import ErasureReason
from eventstore import log, sql
from eventstore.db import Database, role_url
from eventstore.keyring import keyring_of
from eventstore.settings import StoreSettings
from eventstore.vault import Vault

SQL = sql.beside(__file__)
REASONS: tuple[str, ...] = get_args(ErasureReason)


async def check(store: StoreSettings, api: ApiSettings) -> None:
    """Raises SettingsError when a company's keys are wrapped under a key that was not given."""
    vault = _vault(api)
    async with projector(store) as database, database.connection() as connection:
        await vault.check(connection)


async def listed(store: StoreSettings) -> list[tuple[object, ...]]:
    """Of each company: the key-encryption key, the number and age of its own key, how many subjects have a key, and how
    many were erased.
    """
    rows: list[tuple[object, ...]] = []
    async with projector(store) as database:
        for tenant in await _companies(database):
            async with database.bound(tenant) as reader:
                rows += [(tenant, *row) for row in await reader.tuples(SQL["keys_of_company"], {})]
    return rows


async def rewrapped(store: StoreSettings, api: ApiSettings) -> list[tuple[UUID, int]]:
    """Gives every company a new key under the newest key-encryption key. Answers how many keys each wraps."""
    vault = _vault(api)
    async with projector(store) as database:
        companies = await _companies(database)
    async with _writer(store) as database:
        return [(tenant, await vault.rewrap(database, tenant)) for tenant in companies]


def erase(client: Client, subject: UUID, reason: str) -> None:
    """Forgets a former member. Raises ApiError."""
    client.send(Command("membership", subject, "forget-member", {"reason": reason}))


def _vault(api: ApiSettings) -> Vault:
    return Vault(keyring_of(api.kek, api.kek_file))


async def _companies(database: Database) -> list[UUID]:
    async with database.connection() as connection:
        return [head.tenant for head in await log.heads(connection)]


@asynccontextmanager
async def _writer(store: StoreSettings) -> AsyncIterator[Database]:
    assert store.database_url is not None
    conninfo = role_url(store.database_url, "cairn_writer", store.database_role_password)
    database = Database(conninfo, name="keys", connections_max=1)
    await database.open()
    try:
        yield database
    finally:
        await database.close()
