"""Answers what decisions about drafts ask of the mirror. A decision rests on them only where late is harmless."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeAlias
from uuid import UUID

import msgspec

from domain.baselines import Baseline, Baselines, BaselinesFound, Selection, SelectionFound
from domain.mirror_events import mirror_of
from eventstore.db import Database, Reader
from eventstore.log import POSITION_MAX
from eventstore.sql import beside
from eventstore.transact import Answers, LookedUp
from projections import pfa, pfa_records, positions
from projections.pfa_records import Asked, Stood

SQL = beside(__file__)

Until: TypeAlias = Callable[[UUID, str, int], Awaitable[None]]
"""Returns once a company's model has reached a position, or after a moment all the same."""


def answers(database: Database, until: Until) -> Answers:
    """What a store is to be given. `database` is a reader's."""
    lookups = _Lookups(database, until)
    return {Baselines: lookups.baselines, Selection: lookups.selection}


class _Lookups:
    def __init__(self, database: Database, until: Until) -> None:
        self._database = database
        self._until = until

    async def _wait(self, asked: LookedUp, connection_id: UUID) -> None:
        """Until the model shows what is to be seen: whatever was recorded of the mirror, for a base that it has left
        behind would conflict, and with one's own commit.
        """
        async with self._database.bound(asked.tenant) as reader:
            rows = await reader.tuples(SQL["mirror_moved"], {"mirror": mirror_of(connection_id)})
            reached = await positions.position_of(reader, pfa.projection.name)
        needed = max(asked.after or 0, rows[0][0] if rows else 0)
        if needed > reached:
            await self._until(asked.tenant, pfa.projection.name, needed)

    async def baselines(self, asked: LookedUp) -> BaselinesFound:
        """What records say now, and at the position that somebody looked at."""
        lookup: Baselines = asked.lookup
        await self._wait(asked, lookup.connection_id)
        async with self._database.bound(asked.tenant) as reader:
            position = await positions.position_of(reader, pfa.projection.name)
            now = await _baselines(reader, lookup.connection_id, lookup.record_ids, POSITION_MAX)
            then = now
            if lookup.position is not None and lookup.position < position:
                then = await _baselines(reader, lookup.connection_id, lookup.record_ids, lookup.position)
            since = await pfa_records.recorded_at(reader, sorted({each.since for each in now.values()}))
        moved_at = {record_id: since[each.since].isoformat() for record_id, each in now.items()}
        return BaselinesFound(position=position, now=now, then=then, moved_at=moved_at)

    async def selection(self, asked: LookedUp) -> SelectionFound:
        """The records that a filter means in the asking user's merged view."""
        lookup: Selection = asked.lookup
        await self._wait(asked, lookup.connection_id)
        async with self._database.bound(asked.tenant) as reader:
            position = await positions.position_of(reader, pfa.projection.name)
            view = Asked(lookup.connection_id, asked.actor)
            found = await pfa_records.matching(reader, view, lookup.filter, limit=lookup.limit + 1)
            if len(found) > lookup.limit:
                matching = await pfa_records.total(reader, view, lookup.filter)
                return SelectionFound(position=position, matching=matching, records={})
            ids = [each.record_id for each in found]
            records = await _baselines(reader, lookup.connection_id, ids, POSITION_MAX)
        return SelectionFound(position=position, matching=len(found), records=records)


async def _baselines(
    reader: Reader, connection_id: UUID, record_ids: Iterable[UUID], at: int
) -> Mapping[UUID, Baseline]:
    found = await pfa_records.stood(reader, connection_id, list(record_ids), at=at)
    return {record_id: _baseline(each) for record_id, each in found.items()}


def _baseline(stood: Stood) -> Baseline:
    row = stood.row
    return Baseline(
        values=pfa.values_of(row),
        identity=msgspec.json.decode(row.identity, type=tuple[str, ...]),
        ordinal=row.ordinal,
        upstream_version=row.upstream_version,
        digest=row.digest.hex,
        removed=row.removed,
        since=stood.since,
    )
