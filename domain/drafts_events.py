"""What somebody drafts over the records of a mirror: the events that are stored. One stream per user and connection."""

from datetime import date
from decimal import Decimal
from typing import TypeAlias
from uuid import UUID, uuid5

import msgspec

from domain.company import MonthRule
from domain.decider import Event
from domain.pfa_values import DraftValues


def drafts_of(user_id: UUID, connection_id: UUID) -> UUID:
    """The id of what a user drafts on a connection's records: it follows from the two."""
    return uuid5(connection_id, f"drafts {user_id}")


class ComputedCost(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a drafted forecast cost was worked out: rate times months under a rule of what a month is, or a price."""

    cost: Decimal
    rule: MonthRule | None = None
    rule_version: int = 1
    monthly_rate: Decimal | None = None
    start: date | None = None
    end: date | None = None
    purchase_price: Decimal | None = None


class DraftedRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is drafted anew of one record: `now` the fields set, `base` what the upstream had of those not drafted
    before, `dropped` the fields whose draft ends, because it says what the upstream says.

    `base_version` is the upstream's version of the record, `base_digest` its digest and `base_position` the position
    that was looked at when the first of its fields was drafted: a draft that goes on keeps them. `computed` belongs to
    the `forecast_cost` in `now`.
    """

    record_id: UUID
    base_version: str | None = None
    base_digest: str = ""
    base_position: int
    base: DraftValues = DraftValues()
    now: DraftValues = DraftValues()
    dropped: tuple[str, ...] = ()
    computed: ComputedCost | None = None


class Draft(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that is drafted of a record: `base` has the same fields as `now`."""

    base_version: str | None = None
    base_digest: str = ""
    base_position: int
    base: DraftValues
    now: DraftValues
    computed: ComputedCost | None = None


class EndedDraft(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What ended of the draft of a record: `fields` names them, `was` is the draft as it stood before."""

    record_id: UUID
    fields: tuple[str, ...]
    was: Draft


class RebasedDraft(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A draft that goes on upon what the upstream says now: its fields in `base` have that as their base."""

    record_id: UUID
    base_version: str | None = None
    base_digest: str
    base: DraftValues


class DraftsSaved(Event, frozen=True, kw_only=True, tag="drafts.saved"):
    """Part of one command: at most 500 records, all parts in one append."""

    user_id: UUID
    connection_id: UUID
    drafts: tuple[DraftedRecord, ...]


class DraftsDiscarded(Event, frozen=True, kw_only=True, tag="drafts.discarded"):
    """Part of one command: at most 500 records, all parts in one append."""

    user_id: UUID
    connection_id: UUID
    drafts: tuple[EndedDraft, ...]


class DraftsRestored(Event, frozen=True, kw_only=True, tag="drafts.restored"):
    """A discard undone: each record's draft as it now is. At most 500 records, all parts in one append."""

    user_id: UUID
    connection_id: UUID
    command_id: UUID
    """The command that discarded them."""
    drafts: tuple[tuple[UUID, Draft], ...]


class DraftsCleared(Event, frozen=True, kw_only=True, tag="drafts.cleared"):
    """The upstream has taken them, has the same, or a conflict was settled its way. At most 500 records.

    `rebased` are drafts changed while the push was under way: they go on, upon what was pushed. Fields end first.
    """

    user_id: UUID
    connection_id: UUID
    changeset_id: UUID
    drafts: tuple[EndedDraft, ...] = ()
    rebased: tuple[RebasedDraft, ...] = ()


class CommitBegan(Event, frozen=True, kw_only=True, tag="drafts.commit-began"):
    """A changeset was opened with drafts of these: no other one is until it has ended. In the same append."""

    user_id: UUID
    connection_id: UUID
    changeset_id: UUID


class CommitEnded(Event, frozen=True, kw_only=True, tag="drafts.commit-ended"):
    """The changeset has finished. In the same append."""

    user_id: UUID
    connection_id: UUID
    changeset_id: UUID


DraftsEvent: TypeAlias = DraftsSaved | DraftsDiscarded | DraftsRestored | DraftsCleared | CommitBegan | CommitEnded
