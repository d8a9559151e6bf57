"""What decisions know of a mirror: its run, where the next fetch goes on, and how many records it has."""

from datetime import datetime
from typing import Literal, TypeAlias
from uuid import UUID

import msgspec

from domain.connection_events import Mode
from domain.decider import State
from domain.mirror_events import RecordsChanged, SyncCounts

How: TypeAlias = Literal["finished", "failed", "cancelled"]


class Run(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A sync that was requested (`attempt` 0) or goes on. `counts` are of what was recorded in all its attempts."""

    run_id: UUID
    mode: Mode
    attempt: int = 0
    mapping_version: int = 0
    began_at: datetime | None = None
    counts: SyncCounts = SyncCounts()


class Ended(msgspec.Struct, frozen=True):
    """The run before."""

    run_id: UUID
    how: How


class Mirror(State, frozen=True, kw_only=True):
    """`mapping_version` is that of the run begun last; a `cursor` is of fetches under that mapping. `synced`: it has
    had records, or a run that finished.
    """

    connection_id: UUID | None = None
    run: Run | None = None
    ended: Ended | None = None
    cursor: str | None = None
    mapping_version: int = 0
    record_count: int = 0
    synced: bool = False


def counted(counts: SyncCounts, event: RecordsChanged) -> SyncCounts:
    """The counts with what an event tells."""
    changes = event.changes
    return msgspec.structs.replace(
        counts,
        processed=counts.processed + event.processed,
        inserted=counts.inserted + len(changes.inserted),
        updated=counts.updated + len(changes.updated),
        returned=counts.returned + len(changes.returned),
        removed=counts.removed + len(changes.removed),
    )
