"""Which workers are alive, and whether they move while something waits: what health is made of."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from psycopg import Error as DriverError
from psycopg.errors import UndefinedTable
from psycopg.rows import class_row

from eventstore import sql
from eventstore.db import Connection, Database, Unavailable

SQL = sql.beside(__file__)

KINDS: Final = ("projector", "relay")
"""The workers without which the system is not whole."""
DEFERRING: Final = ("simulator", "syncer")
"""The workers without which only their own work waits."""


class Liveness(msgspec.Struct, frozen=True):
    """A worker's last word. Ages are by the database's clock."""

    id: UUID
    kind: str
    host: str
    started_at: datetime
    beat_at: datetime
    moved_at: datetime
    waiting: bool
    detail: str
    beat_age_seconds: float
    still_seconds: float


async def beat(
    connection: Connection, *, id: UUID, kind: str, host: str, waiting: bool, moved: bool, detail: str
) -> None:
    """A worker's word that it lives. Needs the projector role."""
    values = {"id": id, "kind": kind, "host": host, "waiting": waiting, "moved": moved, "detail": detail}
    await connection.execute(SQL["beat"], values)


async def farewell(connection: Connection, id: UUID) -> None:
    """A worker that ends in order leaves no row; one that was killed does, and is buried by the next."""
    await connection.execute(SQL["farewell"], {"id": id})


async def bury(connection: Connection, seconds: float) -> None:
    """Forgets the workers that have not beaten for so long."""
    await connection.execute(SQL["bury"], {"seconds": seconds})


async def workers(connection: Connection) -> list[Liveness]:
    """Every worker that beat in the last ten minutes."""
    async with connection.cursor(binary=True, row_factory=class_row(Liveness)) as cursor:
        await cursor.execute(SQL["workers"])
        return await cursor.fetchall()


async def schema_revision(database: Database) -> str | None:
    """The migration this database was last brought to. Raises Unavailable, saying why, when it cannot tell."""
    try:
        async with database.connection() as connection:
            cursor = await connection.execute(SQL["schema_revision"])
            row = await cursor.fetchone()
    except UndefinedTable as error:
        raise Unavailable("not migrated") from error
    except DriverError as error:
        raise Unavailable(type(error).__name__) from error
    return None if row is None else row[0]


async def system_faults(database: Database, still_seconds_max: float, kinds: Sequence[str] = KINDS) -> list[str]:
    """What `standing_still` finds; nothing when the database does not answer, which is another fault's to say."""
    try:
        async with database.connection() as connection:
            return await standing_still(connection, still_seconds_max, kinds)
    except (DriverError, Unavailable):
        return []


async def standing_still(connection: Connection, still_seconds_max: float, kinds: Sequence[str] = KINDS) -> list[str]:
    """What is wrong with the workers of these kinds, in plain sentences; empty when all is well."""
    found = await workers(connection)
    faults = []
    for kind in kinds:
        alive = [worker for worker in found if worker.kind == kind and worker.beat_age_seconds <= still_seconds_max]
        if not alive:
            faults.append(f"no {kind} is alive")
        faults += [
            f"a {kind} on {worker.host} has stood still for {worker.still_seconds:.0f} s while work waits"
            for worker in alive
            if worker.waiting and worker.still_seconds > still_seconds_max
        ]
    return faults
