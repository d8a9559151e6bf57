"""What a sync asks of the mirror: which records differ, what they were, and which there are."""

from collections.abc import Collection, Sequence
from typing import Final
from uuid import UUID

import msgspec

from domain.mirror_rows import Mirrored, ReadRow
from eventstore.db import Reader
from eventstore.log import POSITION_MAX
from eventstore.sql import beside
from projections import pfa_records
from projections.pfa import mirror_key, values_of

SQL: Final = beside(__file__)


class Difference(msgspec.Struct, frozen=True):
    """How the mirror has a record otherwise than a row says. `since`: the position at which it came to have it so."""

    place: int
    known: bool
    removed: bool
    same: bool
    since: int
    upstream_version: str | None

    @property
    def moved(self) -> bool:
        """Whether values that the mirror has are others now."""
        return self.known and not self.removed and not self.same


async def differing(reader: Reader, rows: Sequence[ReadRow]) -> list[Difference | None]:
    """One for each row; None where the mirror has it just so."""
    values = {
        "record_ids": [row.key.id for row in rows],
        "digests": [UUID(bytes=row.digest) for row in rows],
        "versions": [row.upstream_version for row in rows],
        "at": POSITION_MAX,
    }
    found: list[Difference | None] = [None] * len(rows)
    for each in await reader.rows(SQL["differing"], values, Difference):
        found[each.place - 1] = each
    return found


async def whole(reader: Reader, connection_id: UUID, record_ids: Sequence[UUID]) -> dict[UUID, Mirrored]:
    """What the mirror has of these records of a connection."""
    if not record_ids:
        return {}
    found = await pfa_records.stood(reader, connection_id, record_ids, at=POSITION_MAX)
    terms = await pfa_records.connection_terms(reader, connection_id, at=POSITION_MAX)
    return {
        record_id: Mirrored(values_of(each.row), terms.told_others(each.row.others), terms.told_absent(each.row.absent))
        for record_id, each in found.items()
    }


async def living(reader: Reader, record_ids: Sequence[UUID]) -> Collection[UUID]:
    """Those of these records that the mirror has, and that are not gone."""
    found = await reader.tuples(SQL["living"], {"record_ids": list(record_ids), "at": POSITION_MAX})
    return {row[0] for row in found}


async def present(reader: Reader, connection_id: UUID, after: int, *, limit: int) -> Sequence[tuple[int, UUID]]:
    """A page of a connection's records by number, those that are gone not among them: number and id."""
    values = {
        "mirror_key": mirror_key(reader.tenant, connection_id),
        "connection_id": connection_id,
        "after": after,
        "limit": limit,
        "at": POSITION_MAX,
    }
    return [(row[0], row[1]) for row in await reader.tuples(SQL["present"], values)]
