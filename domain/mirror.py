"""The mirror of an upstream's records: one sync at a time, by one worker at a time, and what changed."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, TypeAlias, assert_never
from uuid import UUID

from msgspec.structs import replace
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from domain.connection import Connection, must_be_usable
from domain.connection_events import Mode
from domain.decider import (
    EDITORS,
    Command,
    Decider,
    Ref,
    Rejected,
    Role,
    Spanning,
    Written,
    members,
)
from domain.instants import Instant
from domain.mirror_events import (
    CHANGES_LIMIT,
    FAULTS_KEPT,
    Failure,
    MirrorEvent,
    RecordsChanged,
    SyncBegan,
    SyncCancelled,
    SyncCounts,
    SyncFailed,
    SyncFault,
    SyncFinished,
    SyncRequested,
    Trigger,
    mirror_of,
)
from domain.mirror_state import Ended, How, Mirror, Run, counted
from domain.money import Currency
from domain.packed import Packed, sound
from domain.pfa_values import MirrorChanges, MirroredRecord, RecordChange
from domain.text import Label, Phrase, Sentence

REJECTIONS: Final[Mapping[str, str]] = {
    "mirror.unknown": "Nothing was ever synced under this id.",
    "mirror.id-mismatch": "A mirror's id follows from its connection's, which is another one.",
    "mirror.sync-running": "A sync of the connection goes on, or waits to begin; there is one at a time.",
    "mirror.run-ended": "The run has ended, or there never was one of this id; nothing more is recorded of it.",
    "mirror.run-not-begun": "The run was requested, and no worker has begun it.",
    "mirror.run-taken-over": "Another worker has begun the run again; what this one says of it no longer counts.",
    "mirror.mapping-moved": "The connection has a newer mapping, or the run was begun with another.",
}


def _each_once(changes: MirrorChanges) -> MirrorChanges:
    if len(changes) > CHANGES_LIMIT:
        raise PydanticCustomError("too_long", "At most 1000 records in one command")
    whole: list[MirroredRecord | RecordChange] = [*changes.inserted, *changes.updated, *changes.returned]
    named = [each.record_id.int for each in whole] + [each.record_id.int for each in changes.versions]
    named += [each.int for each in changes.removed]
    if len(set(named)) < len(named):
        raise PydanticCustomError("record_twice", "A record is changed once in a command")
    try:
        if all(len(each.digest) == 32 and int(each.digest, 16) >= 0 for each in whole):
            return changes
    except ValueError:
        pass
    raise PydanticCustomError("digest", "A digest is 32 hexadecimal digits")


_ID: Final = "0197b2a4-5f6e-7c3d-8a9b-0c1d2e3f4a5b"
_AT: Final = "2026-11-21T05:30:00Z"
_COUNTS: Final = {"processed": 3, "inserted": 1, "unchanged": 2}
_RECORD: Final = {
    "record_id": _ID,
    "identity": ["A-1"],
    "digest": "9f86d081" * 4,
    "values": {"category": "Crane", "plan_cost": "1250.00"},
}

Changes: TypeAlias = Annotated[MirrorChanges, Packed(), AfterValidator(_each_once)]
Counts: TypeAlias = Annotated[SyncCounts, Packed()]
Faults: TypeAlias = Annotated[tuple[SyncFault, ...], Packed(), Field(max_length=FAULTS_KEPT)]


class WorkerCommand(Command):
    """Part of a run: workers send it, past the API, or the operator."""

    roles: ClassVar[frozenset[Role]] = frozenset()

    connection_id: UUID = Field(description="The connection.", examples=[_ID])
    run_id: UUID = Field(description="The run.", examples=[_ID])
    attempt: int = Field(
        default=1, ge=0, description="Which beginning of the run: who was overtaken is refused.", examples=[1]
    )


class RequestSync(Command):
    """Asks for a sync. The connection's worker begins it when it can."""

    roles: ClassVar[frozenset[Role]] = EDITORS | {Role.SERVICE}

    connection_id: UUID = Field(description="The connection.", examples=[_ID])
    run_id: UUID = Field(description="Names the run, by an id of the caller's making.", examples=[_ID])
    mode: Mode = Field(
        default="full", description="Everything, or what changed where the upstream can tell.", examples=["full"]
    )


class BeginSync(WorkerCommand):
    """A worker takes a run up: one that was requested, one of its own, or, as the next attempt, one left unfinished."""

    mode: Mode = Field(description="What is fetched.", examples=["full"])
    trigger: Trigger = Field(description="Why.", examples=["manual"])
    mapping_version: int = Field(ge=1, description="The mapping that rows are read by.", examples=[1])
    began_at: Instant = Field(description="The worker's clock; tells one beginning from another.", examples=[_AT])


class RecordChanges(WorkerCommand):
    """Records what changed upstream: up to 1,000 records. The command's id makes sure that it is recorded once."""

    mapping_version: int = Field(ge=1, description="The mapping that rows were read by.", examples=[1])
    currency: Currency | None = Field(default=None, description="Of all amounts.", examples=["USD"])
    changes: Changes = Field(description="What changed, each record once.", examples=[{"inserted": [_RECORD]}])
    processed: int = Field(default=0, ge=0, description="Rows that were looked at for it.", examples=[1000])


class FinishSync(WorkerCommand):
    """Ends a run that saw everything."""

    counts: Counts = Field(description="Each record once.", examples=[_COUNTS])
    finished_at: Instant = Field(description="The worker's clock.", examples=[_AT])
    cursor: Phrase | None = Field(default=None, description="Where the next incremental fetch goes on.")
    faults: Faults = Field(default=(), description="Of rows that were left out, the first 200.")


class FailSync(WorkerCommand):
    """Ends a run that could not go on. What it recorded stays."""

    failure: Failure = Field(description="Whether it may work later, or a person has to look.", examples=["broken"])
    code: Label = Field(description="Why, as workers call it.", examples=["upstream.unauthorised"])
    facts: Annotated[dict[str, Any], AfterValidator(sound)] = Field(
        default_factory=dict, description="What explains it."
    )
    counts: Counts = Field(description="What was seen until then.", examples=[_COUNTS])
    finished_at: Instant = Field(description="The worker's clock.", examples=[_AT])
    retry_at: Instant | None = Field(default=None, description="When it is tried again of itself.")
    faults: Faults = Field(default=(), description="Of rows that were left out, the first 200.")


class CancelSync(Command):
    """Ends a run, requested or begun. What it recorded stays; nothing more is recorded of it."""

    run_id: UUID = Field(description="The run.", examples=[_ID])
    reason: Sentence = Field(description="Why.", examples=["The wrong folder"])


MirrorCommand: TypeAlias = RequestSync | BeginSync | RecordChanges | FinishSync | FailSync | CancelSync


def _own(id: UUID, command: RequestSync | BeginSync, states: Mapping[Ref, Any]) -> Mirror:
    if id != mirror_of(command.connection_id):
        raise Rejected("mirror.id-mismatch", mirror_id=str(mirror_of(command.connection_id)))
    mirror: Mirror = states[Ref("mirror", id)]
    return mirror


def _its_connection(_: UUID, command: RequestSync | BeginSync) -> list[Ref]:
    return [Ref("connection", command.connection_id)]


def _must_be_free_for(run_id: UUID, mirror: Mirror) -> None:
    if mirror.run is not None and mirror.run.run_id != run_id:
        raise Rejected("mirror.sync-running", "conflict", run_id=str(mirror.run.run_id))


def _request(id: UUID, command: RequestSync, states: Mapping[Ref, Any]) -> list[Written]:
    mirror = _own(id, command, states)
    connection: Connection = states[Ref("connection", command.connection_id)]
    known = [each.run_id for each in (mirror.run, mirror.ended) if each is not None]
    if command.run_id in known:
        return []
    must_be_usable(connection)
    _must_be_free_for(command.run_id, mirror)
    requested = SyncRequested(connection_id=command.connection_id, run_id=command.run_id, mode=command.mode)
    return [(Ref("mirror", id), requested)]


def _begin(id: UUID, command: BeginSync, states: Mapping[Ref, Any]) -> list[Written]:
    mirror = _own(id, command, states)
    if mirror.ended is not None and mirror.ended.run_id == command.run_id:
        raise Rejected("mirror.run-ended", "conflict", run_id=str(command.run_id), ended=mirror.ended.how)
    _must_be_free_for(command.run_id, mirror)
    before = mirror.run or Run(run_id=command.run_id, mode=command.mode)
    if (before.attempt, before.began_at) == (command.attempt, command.began_at):
        return []
    mapping = must_be_usable(states[Ref("connection", command.connection_id)])
    if mapping.version != command.mapping_version:
        raise Rejected("mirror.mapping-moved", "conflict", mapping_version=mapping.version)
    if command.attempt != before.attempt + 1:
        raise Rejected("mirror.run-taken-over", "conflict", attempt=before.attempt)
    began = SyncBegan(
        connection_id=command.connection_id,
        run_id=command.run_id,
        mode=command.mode,
        trigger=command.trigger,
        mapping_version=command.mapping_version,
        began_at=command.began_at,
        attempt=command.attempt,
    )
    return [(Ref("mirror", id), began)]


def decide(command: RecordChanges | FinishSync | FailSync | CancelSync, mirror: Mirror) -> list[MirrorEvent]:
    if mirror.connection_id is None:
        raise Rejected("mirror.unknown", "missing")
    if isinstance(command, WorkerCommand) and command.connection_id != mirror.connection_id:
        raise Rejected("mirror.id-mismatch", mirror_id=str(mirror_of(command.connection_id)))
    match command:
        case RecordChanges():
            return _record(command, mirror)
        case FinishSync():
            return _finish(command, mirror)
        case FailSync():
            return _fail(command, mirror)
        case CancelSync(run_id=run_id, reason=reason):
            if _has_ended(run_id, "cancelled", mirror):
                return []
            run, of = _running(run_id, mirror), mirror.connection_id
            return [SyncCancelled(connection_id=of, run_id=run_id, reason=reason, counts=run.counts)]
    assert_never(command)


def _has_ended(run_id: UUID, how: How, mirror: Mirror) -> bool:
    return mirror.ended == Ended(run_id, how)


def _running(run_id: UUID, mirror: Mirror) -> Run:
    if mirror.run is None or mirror.run.run_id != run_id:
        same = mirror.ended is not None and mirror.ended.run_id == run_id
        ended = mirror.ended.how if same and mirror.ended is not None else None
        raise Rejected("mirror.run-ended", "conflict", run_id=str(run_id), ended=ended)
    return mirror.run


def _mine(command: WorkerCommand, mirror: Mirror) -> Run:
    """The run that goes on, in the attempt that the command is of."""
    run = _running(command.run_id, mirror)
    if run.attempt != command.attempt:
        raise Rejected("mirror.run-taken-over", "conflict", attempt=run.attempt)
    return run


def _begun(command: WorkerCommand, mirror: Mirror) -> Run:
    run = _running(command.run_id, mirror)
    if run.attempt == 0:
        raise Rejected("mirror.run-not-begun", "conflict")
    return _mine(command, mirror)


def _record(command: RecordChanges, mirror: Mirror) -> list[MirrorEvent]:
    run = _begun(command, mirror)
    if command.mapping_version != run.mapping_version:
        raise Rejected("mirror.mapping-moved", "conflict", mapping_version=run.mapping_version)
    if len(command.changes) == 0:
        return []
    changed = RecordsChanged(
        connection_id=command.connection_id,
        changes=command.changes,
        run_id=command.run_id,
        mapping_version=command.mapping_version,
        currency=command.currency,
        processed=command.processed,
    )
    return [changed]


def _finish(command: FinishSync, mirror: Mirror) -> list[MirrorEvent]:
    if _has_ended(command.run_id, "finished", mirror):
        return []
    _begun(command, mirror)
    finished = SyncFinished(
        connection_id=command.connection_id,
        run_id=command.run_id,
        counts=command.counts,
        finished_at=command.finished_at,
        cursor=command.cursor,
        faults=command.faults,
    )
    return [finished]


def _fail(command: FailSync, mirror: Mirror) -> list[MirrorEvent]:
    if _has_ended(command.run_id, "failed", mirror):
        return []
    _mine(command, mirror)
    failed = SyncFailed(
        connection_id=command.connection_id,
        run_id=command.run_id,
        failure=command.failure,
        code=command.code,
        facts=command.facts,
        counts=command.counts,
        finished_at=command.finished_at,
        retry_at=command.retry_at,
        faults=command.faults,
    )
    return [failed]


def evolve(mirror: Mirror, event: MirrorEvent) -> Mirror:
    match event:
        case SyncRequested():
            return replace(mirror, connection_id=event.connection_id, run=Run(run_id=event.run_id, mode=event.mode))
        case SyncBegan():
            return _with_run(mirror, event)
        case RecordsChanged():
            return _with_records(mirror, event)
        case SyncFinished():
            ended = Ended(event.run_id, "finished")
            return replace(mirror, run=None, ended=ended, cursor=event.cursor, synced=True)
        case SyncFailed():
            return replace(mirror, run=None, ended=Ended(event.run_id, "failed"))
        case SyncCancelled():
            return replace(mirror, run=None, ended=Ended(event.run_id, "cancelled"))
    assert_never(event)


def _with_run(mirror: Mirror, event: SyncBegan) -> Mirror:
    before = mirror.run
    run = Run(
        run_id=event.run_id,
        mode=event.mode,
        attempt=event.attempt,
        mapping_version=event.mapping_version,
        began_at=event.began_at,
        counts=SyncCounts() if before is None else before.counts,
    )
    cursor = mirror.cursor if event.mapping_version == mirror.mapping_version else None
    return replace(
        mirror, connection_id=event.connection_id, run=run, cursor=cursor, mapping_version=event.mapping_version
    )


def _with_records(mirror: Mirror, event: RecordsChanged) -> Mirror:
    changes, run = event.changes, mirror.run
    if run is not None and run.run_id == event.run_id:
        run = replace(run, counts=counted(run.counts, event))
    record_count = mirror.record_count + len(changes.inserted) + len(changes.returned) - len(changes.removed)
    return replace(mirror, run=run, record_count=record_count, synced=True)


mirror = Decider(
    category="mirror",
    initial=Mirror(),
    decide=decide,
    evolve=evolve,
    commands=members(MirrorCommand),
    events=members(MirrorEvent),
    snapshot_every_events=25,
    spanning={
        RequestSync: Spanning(reads=_its_connection, decide=_request),
        BeginSync: Spanning(reads=_its_connection, decide=_begin),
    },
)
