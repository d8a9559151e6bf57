"""What happens to the mirror of an upstream's records: syncs, and what changed. One stream per connection."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeAlias
from uuid import UUID, uuid5

import msgspec

from domain.connection_events import Mode
from domain.decider import Event
from domain.pfa_values import MirrorChanges

CHANGES_LIMIT: Final = 1_000
"""Records that one event speaks of, at most."""
FAULTS_KEPT: Final = 200
"""Faults of rows that a run tells, at most; all are counted."""

Trigger: TypeAlias = Literal["manual", "schedule", "retry"]
Failure: TypeAlias = Literal["unavailable", "denied", "broken", "held"]
"""Later it may work; it may not be done; what came cannot be trusted; or a person is to look first."""


def mirror_of(connection_id: UUID) -> UUID:
    """The id of a connection's mirror: it follows from the connection's."""
    return uuid5(connection_id, "mirror")


Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]


class SyncCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Records of a run, each counted once. `faulty` rows were left out; `repeated` ones share another's identity and
    are counted elsewhere too. `processed` is the number of rows that came.
    """

    processed: Count = 0
    inserted: Count = 0
    updated: Count = 0
    unchanged: Count = 0
    returned: Count = 0
    removed: Count = 0
    faulty: Count = 0
    repeated: Count = 0


class SyncFault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was wrong with a row of the fetch; rows count from 1, and 0 is the whole."""

    row: int
    code: str
    message: str
    column: str | None = None


class SyncRequested(Event, frozen=True, kw_only=True, tag="mirror.sync-requested"):
    connection_id: UUID
    run_id: UUID
    mode: Mode


class SyncBegan(Event, frozen=True, kw_only=True, tag="mirror.sync-began"):
    """`began_at` is the worker's clock. A run that a worker did not finish is begun again under its own id."""

    connection_id: UUID
    run_id: UUID
    mode: Mode
    trigger: Trigger
    mapping_version: int
    began_at: datetime
    attempt: int = 1


class RecordsChanged(Event, frozen=True, kw_only=True, tag="mirror.records-changed"):
    """Part of a sync (`run_id`), or what an upstream answered to a changeset (`changeset_id`).

    At most 1,000 records. `currency` is that of all amounts. `processed` rows of the run were looked at for it.
    """

    connection_id: UUID
    changes: MirrorChanges
    run_id: UUID | None = None
    changeset_id: UUID | None = None
    mapping_version: int
    currency: str | None = None
    processed: int = 0


class SyncFinished(Event, frozen=True, kw_only=True, tag="mirror.sync-finished"):
    """`cursor` is where the next incremental fetch goes on."""

    connection_id: UUID
    run_id: UUID
    counts: SyncCounts
    finished_at: datetime
    cursor: str | None = None
    faults: tuple[SyncFault, ...] = ()


class SyncFailed(Event, frozen=True, kw_only=True, tag="mirror.sync-failed"):
    """What was changed before it failed stays. `retry_at`: when it is tried again of itself."""

    connection_id: UUID
    run_id: UUID
    failure: Failure
    code: str
    facts: dict[str, Any]
    counts: SyncCounts
    finished_at: datetime
    retry_at: datetime | None = None
    faults: tuple[SyncFault, ...] = ()


class SyncCancelled(Event, frozen=True, kw_only=True, tag="mirror.sync-cancelled"):
    """What was changed before stays; `counts` tells of that."""

    connection_id: UUID
    run_id: UUID
    reason: str
    counts: SyncCounts = SyncCounts()


MirrorEvent: TypeAlias = SyncRequested | SyncBegan | RecordsChanged | SyncFinished | SyncFailed | SyncCancelled
