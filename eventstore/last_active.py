"""When members were last active: kept beside the log, a minute's use of the API in one row's update."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

from eventstore import sql, telemetry
from eventstore.db import Database, DriverError, Reader, Unavailable

SQL = sql.beside(__file__)

GATHERED_SECONDS: Final = 1.0
"""How long those seen are gathered before they are written, one statement a company."""
NOTED_MAX: Final = 50_000
"""Members remembered as written; beyond that all are forgotten, and written once more."""

_Member = tuple[UUID, UUID]


async def last_active(reader: Reader, members: Collection[UUID]) -> Mapping[UUID, datetime]:
    """When these members of the bound company were last active; those never seen are left out."""
    return {row[0]: row[1] for row in await reader.tuples(SQL["last_active"], {"members": list(members)})}


class LastActive:
    """Notes who is active. Nobody waits for it; a member is written once in `seconds`: only precision is lost.

    Needs the writer role. What cannot be written is dropped with a word in the log: the member's next request comes.
    """

    def __init__(self, writer: Database, seconds: float) -> None:
        self._writer = writer
        self._seconds = seconds
        self._noted: dict[_Member, float] = {}
        self._pending: set[_Member] = set()
        self._writing: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()

    def saw(self, tenant: UUID, member_id: UUID) -> None:
        """A member has just been active. Costs a look-up unless it is time to write again."""
        member = (tenant, member_id)
        now = time.monotonic()
        noted = self._noted.get(member)
        if noted is not None and now - noted < self._seconds:
            return
        if len(self._noted) >= NOTED_MAX:
            self._noted.clear()
        self._noted[member] = now
        if not self._pending:
            task = asyncio.create_task(self._write_soon())
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)
        self._pending.add(member)

    async def close(self) -> None:
        """Writes what is pending."""
        self._closing.set()
        while self._writing:
            await asyncio.wait(self._writing)

    async def _write_soon(self) -> None:
        try:
            async with asyncio.timeout(GATHERED_SECONDS):
                await self._closing.wait()
        except TimeoutError:  # as it should be: nobody is closing
            pass
        pending, self._pending = self._pending, set()
        await self._write(pending)

    async def _write(self, pending: Iterable[_Member]) -> None:
        by_company: dict[UUID, list[UUID]] = defaultdict(list)
        for tenant, member_id in pending:
            by_company[tenant].append(member_id)
        for tenant, members in by_company.items():
            try:
                async with self._writer.bound(tenant) as bound:
                    await bound.connection.execute(SQL["note_active"], {"members": members})
            except (DriverError, Unavailable) as error:
                telemetry.log().warning("last_active_failed", tenant=str(tenant), error=repr(error))
