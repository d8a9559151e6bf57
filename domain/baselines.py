"""What decisions about drafts ask of the mirror: what records say, at the position somebody looked at and now."""

from collections.abc import Mapping
from uuid import UUID

import msgspec

from domain.decider import Lookup
from domain.pfa_values import PfaValues
from domain.record_filter import RecordFilter


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """A record as the mirror has it, since a position. `removed`: it is gone upstream; `digest`: as it was mirrored."""

    values: PfaValues
    identity: tuple[str, ...]
    ordinal: int
    upstream_version: str | None
    digest: str
    removed: bool
    since: int


class BaselinesFound(msgspec.Struct, frozen=True, kw_only=True):
    """`position`: the one that `now` is of. Records that the mirror does not have are in neither; `then` is `now` where
    no position was asked for. `moved_at`: the recorded instant (ISO 8601) of each record's `since`, of those in `now`.
    """

    position: int
    now: Mapping[UUID, Baseline]
    then: Mapping[UUID, Baseline]
    moved_at: Mapping[UUID, str] = {}


class Baselines(Lookup, frozen=True):
    """Answered with `BaselinesFound`: what these records say, now and at `position`."""

    connection_id: UUID
    record_ids: tuple[UUID, ...]
    position: int | None = None


class SelectionFound(msgspec.Struct, frozen=True, kw_only=True):
    """`matching` is the number of records meant; `records` has all of them if that is within the limit, else none."""

    position: int
    matching: int
    records: Mapping[UUID, Baseline]


class Selection(Lookup, frozen=True):
    """Answered with `SelectionFound`: the records that a filter means in the asking user's merged view."""

    connection_id: UUID
    filter: RecordFilter
    limit: int
