"""Work in the background, outside the log: who does it, and how far it is.

An event asks for it and an event tells what came of it; both are the log's. A lease keeps two workers from doing one
thing at once, and nothing rests on it: the result is recorded under a command id that follows from the operation's.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from eventstore import sql
from eventstore.db import Connection, Database, Reader

SQL = sql.beside(__file__)

KEPT_SECONDS: Final = 86_400.0
"""How long the row of a finished operation keeps others, whose read model lags, from doing it again."""


class Progress(msgspec.Struct, frozen=True):
    """How far an operation is that somebody works on: `done` of `total` steps, when it last said so."""

    operation_id: UUID
    kind: str
    done: int
    total: int
    updated_at: datetime


class Operation(NamedTuple):
    """Names a piece of work, its size, and the worker that does it."""

    tenant: UUID
    operation_id: UUID
    kind: str
    total: int
    owner: UUID


class Operations:
    """Takes and keeps operations for workers. `lease_seconds`: how long one stays its owner's without a word of it."""

    def __init__(self, database: Database, lease_seconds: float) -> None:
        self._database = database
        self._seconds = lease_seconds

    async def claim(self, operation: Operation) -> int | None:
        """Which attempt at it begins now, from 1; None when another works on it, or it is done."""
        return await self._ask("claim", operation, total=operation.total, kind=operation.kind)

    async def report(self, operation: Operation, done: int) -> bool:
        """Says how far it is and keeps it. False: it is no longer the owner's, who must stop."""
        return await self._ask("report", operation, done=done) is not None

    async def finish(self, operation: Operation) -> None:
        """Says that its result is recorded."""
        async with self._database.connection() as connection:
            await connection.execute(SQL["finish"], _values(operation))
            await connection.execute(SQL["forget"], {"seconds": KEPT_SECONDS})

    async def _ask(self, statement: str, operation: Operation, **values: object) -> int | None:
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                SQL[statement], {**_values(operation), "seconds": self._seconds, **values}
            )
            row = await cursor.fetchone()
        return None if row is None else int(row[0])


def _values(operation: Operation) -> Mapping[str, object]:
    return {"tenant": operation.tenant, "operation_id": operation.operation_id, "owner": operation.owner}


async def give_back(connection: Connection, owner: UUID) -> None:
    """A worker that ends in order leaves what it did not finish to the next one, at once."""
    await connection.execute(SQL["give_back"], {"owner": owner})


async def progress(reader: Reader, operation_ids: Sequence[UUID]) -> dict[UUID, Progress]:
    """How far these are, as far as somebody works on them now."""
    rows = await reader.rows(SQL["progress"], {"operation_ids": list(operation_ids)}, Progress)
    return {row.operation_id: row for row in rows}
