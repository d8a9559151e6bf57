"""One sync at a time, by whoever began it last; and nothing more of a run that has ended."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pydantic
import pytest

from domain.connection import Connection
from domain.connection_events import Mode
from domain.decider import Event, Ref
from domain.mirror import (
    BeginSync,
    CancelSync,
    FailSync,
    FinishSync,
    RecordChanges,
    RequestSync,
    mirror,
)
from domain.mirror_events import (
    RecordsChanged,
    SyncBegan,
    SyncCancelled,
    SyncCounts,
    SyncFailed,
    SyncFault,
    SyncFinished,
    SyncRequested,
    mirror_of,
)
from domain.mirror_state import Ended
from domain.pfa_values import MirrorChanges, MirroredRecord, PfaChange, PfaValues, RecordChange, RecordVersion
from tests.domain.test_connection import USD
from tests.specs import SOME_ID, Given, given

RUN, OTHER = UUID(int=7), UUID(int=8)
OWN = mirror_of(SOME_ID)
CONNECTION = Ref("connection", SOME_ID)
READY = Connection(name="ERP", kind="folder", mapping=USD)
AT = datetime(2026, 11, 21, 5, 30, tzinfo=UTC)
COUNTS = SyncCounts(processed=2, inserted=1, unchanged=1)
OF: dict[str, Any] = {"connection_id": SOME_ID, "run_id": RUN}
REQUESTED = SyncRequested(**OF, mode="full")
BEGAN = SyncBegan(**OF, mode="full", trigger="manual", mapping_version=1, began_at=AT)


def record(number: int, **values: Any) -> MirroredRecord:
    """A record of a number."""
    return MirroredRecord(
        record_id=UUID(int=number), identity=(str(number),), digest=f"{number:032x}", values=PfaValues(**values)
    )


CHANGES = MirrorChanges(inserted=(record(1, category="Crane"),))
CHANGED = RecordsChanged(**OF, changes=CHANGES, mapping_version=1, currency="USD", processed=2)


def scene(*events: Event, beside: Connection = READY) -> Given:
    return given(mirror, *events, id=OWN, beside={CONNECTION: beside})


def requesting(mode: Mode = "full", run_id: UUID = RUN) -> RequestSync:
    return RequestSync(connection_id=SOME_ID, run_id=run_id, mode=mode)


def beginning(**other: Any) -> BeginSync:
    body = {**OF, "mode": "full", "trigger": "manual", "mapping_version": 1, "began_at": AT}
    return BeginSync(**{**body, **other})


def recording(changes: MirrorChanges = CHANGES, **other: Any) -> RecordChanges:
    return RecordChanges(**{**OF, "mapping_version": 1, "currency": "USD", "changes": changes, "processed": 2, **other})


def finishing(**other: Any) -> FinishSync:
    return FinishSync(**{**OF, "counts": COUNTS, "finished_at": AT, "cursor": "17", **other})


def failing(**other: Any) -> FailSync:
    return FailSync(**{**OF, "failure": "broken", "code": "upstream.x", "counts": COUNTS, "finished_at": AT, **other})


FINISHED = SyncFinished(**OF, counts=COUNTS, finished_at=AT, cursor="17")


def test_a_sync_from_request_to_end() -> None:
    story = scene()
    story.when(requesting()).then(REQUESTED)
    story.when(beginning()).then(BEGAN)
    story.when(recording()).then(CHANGED)
    story.when(finishing()).then(FINISHED)
    state = story.state
    assert (state.run, state.ended, state.cursor) == (None, Ended(RUN, "finished"), "17")
    assert (state.record_count, state.synced, state.mapping_version) == (1, True, 1)
    story.when(finishing()).then_nothing()
    story.when(requesting()).then_nothing()  # the same request again
    story.when(requesting(run_id=OTHER)).then(SyncRequested(connection_id=SOME_ID, run_id=OTHER, mode="full"))


def test_a_sync_that_nobody_requested() -> None:
    scene().when(beginning(trigger="schedule")).then_accepted()


@pytest.mark.parametrize(
    ("connection", "code", "severity"),
    [
        (Connection(), "connection.unknown", "missing"),
        (Connection(name="ERP", mapping=USD, closed=True), "connection.closed", "conflict"),
        (Connection(name="ERP", mapping=USD, disabled=True), "connection.disabled", "conflict"),
        (Connection(name="ERP"), "connection.unmapped", "conflict"),
    ],
)
def test_a_connection_that_cannot_be_synced(connection: Connection, code: str, severity: str) -> None:
    scene(beside=connection).when(requesting()).then_rejected(code, severity)
    scene(REQUESTED, beside=connection).when(beginning()).then_rejected(code, severity)


def test_a_mirror_is_its_connections() -> None:
    stray = given(mirror, id=OTHER, beside={CONNECTION: READY})
    for command in (requesting(), beginning()):
        stray.when(command).then_rejected("mirror.id-mismatch", mirror_id=str(OWN))
    scene(BEGAN).when(recording(connection_id=OTHER)).then_rejected("mirror.id-mismatch")
    for late in (recording(), finishing(), failing(), CancelSync(run_id=RUN, reason="x")):
        scene().when(late).then_rejected("mirror.unknown", "missing")


@pytest.mark.parametrize("going_on", [REQUESTED, BEGAN], ids=["requested", "begun"])
def test_one_sync_at_a_time(going_on: Event) -> None:
    for command in (requesting(run_id=OTHER), beginning(run_id=OTHER)):
        scene(going_on).when(command).then_rejected("mirror.sync-running", "conflict", run_id=str(RUN))


def test_a_run_left_unfinished_is_begun_again_by_one() -> None:
    later = AT + timedelta(minutes=5)
    story = scene(REQUESTED, BEGAN, CHANGED)
    story.when(beginning()).then_nothing()
    story.when(beginning(began_at=later)).then_rejected("mirror.run-taken-over", "conflict", attempt=1)
    [again] = story.when(beginning(began_at=later, attempt=2)).events
    assert isinstance(again, SyncBegan)
    assert again.attempt == 2
    assert story.state.run.counts == SyncCounts(processed=2, inserted=1)
    for command in (recording(), finishing(), failing(), beginning(began_at=AT + timedelta(hours=1), attempt=2)):
        story.when(command).then_rejected("mirror.run-taken-over", "conflict", attempt=2)
    story.when(recording(attempt=2)).then_accepted()
    story.when(finishing(attempt=2)).then_accepted()


def test_rows_are_read_by_the_mapping_of_the_run() -> None:
    scene(REQUESTED).when(beginning(mapping_version=2)).then_rejected(
        "mirror.mapping-moved", "conflict", mapping_version=1
    )
    scene(BEGAN).when(recording(mapping_version=2)).then_rejected("mirror.mapping-moved", "conflict", mapping_version=1)


@pytest.mark.parametrize("ended", ["finished", "failed", "cancelled"])
def test_nothing_is_recorded_of_a_run_that_ended(ended: str) -> None:
    story = scene(REQUESTED, BEGAN)
    ends = {"finished": finishing(), "failed": failing(), "cancelled": CancelSync(run_id=RUN, reason="wrong folder")}
    story.when(ends.pop(ended)).then_accepted()
    for command in (recording(), *ends.values(), beginning(attempt=2)):
        story.when(command).then_rejected("mirror.run-ended", "conflict", run_id=str(RUN), ended=ended)
    scene(BEGAN).when(recording(run_id=OTHER)).then_rejected("mirror.run-ended", "conflict", ended=None)


def test_what_no_worker_has_begun() -> None:
    for command in (recording(), finishing()):
        scene(REQUESTED).when(command).then_rejected("mirror.run-not-begun", "conflict")
    scene(REQUESTED).when(failing(attempt=0)).then_accepted()
    cancelled = SyncCancelled(**OF, reason="not now")
    scene(REQUESTED).when(CancelSync(run_id=RUN, reason="not now")).then(cancelled)


def test_cancelling_tells_what_was_recorded() -> None:
    counts = SyncCounts(processed=2, inserted=1)
    cancel = CancelSync(run_id=RUN, reason="wrong folder")
    story = scene(BEGAN, CHANGED)
    story.when(cancel).then(SyncCancelled(**OF, reason="wrong folder", counts=counts))
    story.when(cancel).then_nothing()
    assert story.state.record_count == 1


def test_failing_tells_why_and_keeps_the_cursor() -> None:
    fault = SyncFault(row=3, code="row-short", message="The row has two cells")
    told = failing(facts={"status": 500, "hosts": ["a"]}, retry_at=AT, faults=(fault,))
    again = SyncRequested(connection_id=SOME_ID, run_id=OTHER, mode="incremental")
    story = scene(BEGAN, FINISHED, again)
    second = failing(run_id=OTHER, attempt=0, **told.model_dump(include={"facts", "retry_at", "faults"}))
    [failed] = story.when(second.model_copy(update={"faults": (fault,)})).events
    assert isinstance(failed, SyncFailed)
    assert (failed.facts, failed.retry_at, failed.faults) == ({"status": 500, "hosts": ["a"]}, AT, (fault,))
    assert story.state.cursor == "17"


def test_a_cursor_is_good_under_its_mapping_only() -> None:
    moved = READY.__class__(name="ERP", mapping=USD.__class__(version=2, fields=USD.fields, identity=USD.identity))
    story = scene(BEGAN, FINISHED, beside=moved)
    story.when(beginning(run_id=OTHER, mapping_version=2)).then_accepted()
    assert (story.state.cursor, story.state.mapping_version) == (None, 2)
    same = scene(BEGAN, FINISHED)
    same.when(beginning(run_id=OTHER)).then_accepted()
    assert same.state.cursor == "17"


def test_records_are_counted() -> None:
    changes = MirrorChanges(
        inserted=(record(1), record(2)),
        updated=(RecordChange(record_id=UUID(int=3), digest="0" * 32, was=PfaChange(), now=PfaChange(area="A")),),
        returned=(record(4),),
        removed=(UUID(int=5),),
        versions=(RecordVersion(record_id=UUID(int=6), upstream_version="2"),),
    )
    story = scene(BEGAN)
    story.when(recording(changes, processed=9)).then_accepted()
    assert story.state.record_count == 2
    assert story.state.run.counts == SyncCounts(processed=9, inserted=2, updated=1, returned=1, removed=1)
    story.when(recording(MirrorChanges())).then_nothing()


AS_JSON: dict[str, Any] = {"record_id": str(UUID(int=1)), "identity": ["A"], "digest": "0" * 32, "values": {}}


def sent(**changes: Any) -> RecordChanges:
    body = {"connection_id": str(SOME_ID), "run_id": str(RUN), "mapping_version": 1, "changes": changes}
    return RecordChanges.model_validate_json(json.dumps(body))


def test_records_as_json() -> None:
    full = AS_JSON | {"values": {"plan_cost": "12.50", "plan_start": "2026-01-31", "is_actualised": True}}
    [told] = scene(BEGAN).when(sent(inserted=[full])).events
    assert isinstance(told, RecordsChanged)
    assert str(told.changes.inserted[0].values.plan_cost) == "12.50"
    assert sent(inserted=[full]).model_dump_json(exclude_unset=True, warnings=False) == (
        sent(inserted=[full]).model_dump_json(exclude_unset=True, warnings=False)
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"inserted": [AS_JSON, AS_JSON]},
        {"inserted": [AS_JSON], "removed": [AS_JSON["record_id"]]},
        {"inserted": [AS_JSON | {"digest": "0" * 31}]},
        {"inserted": [AS_JSON | {"digest": "x" * 32}]},
        {"inserted": [AS_JSON | {"identity": ["a\0b"]}]},
        {"inserted": [AS_JSON | {"values": {"plan_cost": "NaN"}}]},
        {"inserted": [AS_JSON | {"values": {"plan_cost": "0.001"}}]},
        {"inserted": [AS_JSON | {"values": {"plan_cost": "99999999999999.00"}}]},
        {"inserted": [AS_JSON | {"values": {"category": 7}}]},
        {"removed": [str(UUID(int=number)) for number in range(1_001)]},
    ],
    ids=lambda changes: str(changes)[:80],
)
def test_records_that_cannot_be(changes: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError) as error:
        sent(**changes)
    assert [each["loc"] for each in error.value.errors()] == [("changes",)]


def test_a_thousand_at_most_also_where_a_worker_makes_them() -> None:
    with pytest.raises(pydantic.ValidationError):
        recording(MirrorChanges(removed=tuple(UUID(int=number) for number in range(1_001))))


def test_counts_are_not_negative() -> None:
    with pytest.raises(pydantic.ValidationError):
        finishing(counts={"inserted": -1})
