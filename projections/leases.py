"""Who projects which companies: slices of companies leased by the database's clock, evenly among live processes."""

import time
from collections.abc import Sequence
from uuid import UUID

from eventstore.db import Database
from eventstore.sql import beside
from projections.projection import Projection

SQL = beside(__file__)
SLICES = 64


def slice_of(tenant: UUID) -> int:
    """The slice a company is in. Its last byte is random in every kind of id we make."""
    return tenant.bytes[15] % SLICES


def scope_of(projection: Projection) -> str:
    """What a lease is for: processes of another release work on other versions, and don't compete."""
    return f"{projection.name}/{projection.version}"


class Leases:
    """The slices this process holds, by scope. One that could not renew in time holds nothing, by its own clock."""

    def __init__(self, database: Database, owner: UUID, scopes: Sequence[str], lease_seconds: float) -> None:
        self._database = database
        self._owner = owner
        self._scopes = sorted(scopes)
        self._lease_seconds = lease_seconds
        self._held: frozenset[tuple[str, int]] = frozenset()
        self._until = 0.0

    async def renew(self) -> frozenset[tuple[str, int]]:
        """One heartbeat: keeps what is held, takes what is free up to an even share, gives back what is over it."""
        began = time.monotonic()
        values = {
            "owner": self._owner,
            "scopes": self._scopes,
            "slices": SLICES,
            "lease_seconds": self._lease_seconds,
        }
        async with self._database.connection() as connection:
            cursor = await connection.execute(SQL["heartbeat"], values)
            held = frozenset((row[0], row[1]) for row in await cursor.fetchall())
        self._held = held
        self._until = began + self._lease_seconds
        return held

    acquire = renew
    """The first heartbeat is like any other."""

    def holds(self, scope: str, tenant: UUID) -> bool:
        """Whether a company is this process's to project, as far as it can know."""
        return time.monotonic() < self._until and (scope, slice_of(tenant)) in self._held

    async def release(self) -> None:
        """Gives everything back, so that others take over at their next heartbeat."""
        self._held = frozenset()
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(SQL["release"], {"owner": self._owner})
            await connection.execute(SQL["leave"], {"owner": self._owner})
