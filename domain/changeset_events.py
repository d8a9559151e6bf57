"""What happens to a changeset, drafts on their way back upstream: the events that are stored."""

from datetime import datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

import msgspec

from domain.company import ConflictRule
from domain.decider import Event
from domain.drafts_events import Draft
from domain.pfa_values import DraftValues, PfaValues

Settling: TypeAlias = Literal["mine", "theirs", "value"]


class FieldConflict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A drafted record whose fields the upstream moved since the draft's base, or, by the company's rule, the record.

    Each of the three has the fields in conflict. `position` is that of the upstream's move, `moved_at` when it was
    recorded; both None when the upstream itself found the conflict.
    """

    record_id: UUID
    base: DraftValues
    mine: DraftValues
    theirs: DraftValues
    position: int | None = None
    moved_at: datetime | None = None


class ChangesetItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A record of a changeset: what identifies it upstream, the version that the change is based on, and the draft as
    it was.

    `push` is what is pushed of it, beside what its conflicts are settled to. `left` are drafted fields that are not
    pushed, because the upstream says the same, or moved them and its value stands by their policy: when the record is
    confirmed their draft ends. `unmapped` are those that the upstream has no column for; their draft stays.

    A record of which nothing is pushed and nothing is in conflict has ended: refused, if `refused` says why, else left,
    and the draft of what is left with it.
    """

    record_id: UUID
    identity: tuple[str, ...]
    ordinal: int = 1
    upstream_version: str | None = None
    draft: Draft
    push: DraftValues = DraftValues()
    left: tuple[str, ...] = ()
    unmapped: tuple[str, ...] = ()
    refused: str | None = None


class Settlement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a record's conflict was settled: `push` is all that is pushed of the record now, on that version; nothing: it
    is left. `left` are fields that went the upstream's way, beside those left before.
    """

    record_id: UUID
    how: Settling
    push: DraftValues = DraftValues()
    left: tuple[str, ...] = ()
    upstream_version: str | None = None


class RecordMoved(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A record that the upstream had moved before it was pushed: its version, and all it says now, where told."""

    record_id: UUID
    upstream_version: str | None = None
    theirs: PfaValues | None = None


class RecordRefused(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A change that the upstream would not take, with its reason."""

    record_id: UUID
    code: str
    reason: str | None = None


class ChangesetOpened(Event, frozen=True, kw_only=True, tag="changeset.opened"):
    """`ItemsAdded` and `ConflictsFound` events follow in the same append. `record_count` is the number of items."""

    user_id: UUID
    connection_id: UUID
    drafts_id: UUID
    position: int
    record_count: int
    rule: ConflictRule = "field"
    note: str | None = None


class ItemsAdded(Event, frozen=True, kw_only=True, tag="changeset.items-added"):
    """At most 500."""

    items: tuple[ChangesetItem, ...]


class ConflictsFound(Event, frozen=True, kw_only=True, tag="changeset.conflicts-found"):
    """At most 500 records; they wait, the others go ahead. `batch_id`: the upstream found them when it was pushed.

    `items` then are the same records as they are pushed once that is settled, in place of the items before.
    """

    conflicts: tuple[FieldConflict, ...]
    items: tuple[ChangesetItem, ...] = ()
    batch_id: UUID | None = None


class ConflictsSettled(Event, frozen=True, kw_only=True, tag="changeset.conflicts-settled"):
    settlements: tuple[Settlement, ...]


class PushBegan(Event, frozen=True, kw_only=True, tag="changeset.push-began"):
    """Recorded before anything is sent: whoever goes on after a crash pushes the same records under the same key, which
    is the batch's id.
    """

    batch_id: UUID
    record_ids: tuple[UUID, ...]


class PushDelayed(Event, frozen=True, kw_only=True, tag="changeset.push-delayed"):
    """The upstream could not be asked. Told once until that changes."""

    code: str
    facts: dict[str, Any]
    retry_at: datetime | None = None


class RecordsAnswered(Event, frozen=True, kw_only=True, tag="changeset.records-answered"):
    """What the upstream said of records of a batch. What it has confirmed is, in the same append, in the mirror
    (`mirror.records-changed`) and no draft any more (`drafts.cleared`).

    Of what it had moved meanwhile, `again` are pushed once more upon its version, since none of their fields is in
    conflict, `left` have nothing to push any more, and `cancelled` are not tried again, as the changeset is.
    """

    batch_id: UUID
    confirmed: tuple[UUID, ...] = ()
    refused: tuple[RecordRefused, ...] = ()
    again: tuple[ChangesetItem, ...] = ()
    left: tuple[UUID, ...] = ()
    cancelled: tuple[UUID, ...] = ()


class ChangesetCancelled(Event, frozen=True, kw_only=True, tag="changeset.cancelled"):
    """What was not pushed is not pushed any more; its drafts stay. A batch under way is still answered."""

    reason: str | None = None


class ChangesetFinished(Event, frozen=True, kw_only=True, tag="changeset.finished"):
    """Nothing is open any more. In the append of whatever settled the last record."""

    confirmed: int
    refused: int
    left: int
    cancelled: int


ChangesetEvent: TypeAlias = (
    ChangesetOpened
    | ItemsAdded
    | ConflictsFound
    | ConflictsSettled
    | PushBegan
    | PushDelayed
    | RecordsAnswered
    | ChangesetCancelled
    | ChangesetFinished
)
