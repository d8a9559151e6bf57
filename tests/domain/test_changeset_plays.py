"""Whatever happens on the way upstream, every record of a changeset ends in one way, and nothing is done twice."""

from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.changeset_commands import CancelChangeset, DelayPush, RecordAnswers
from domain.changeset_events import (
    ChangesetCancelled,
    ChangesetFinished,
    ChangesetItem,
    ChangesetOpened,
    PushBegan,
    RecordMoved,
    RecordRefused,
    RecordsAnswered,
)
from domain.changeset_state import OPEN, Changeset
from domain.decider import Command, Ref, Rejected, Written
from domain.drafts import Drafts, same
from domain.maps import decode_map, encode_map
from domain.pfa_values import EDITABLE, MirrorChanges, PfaChange, RecordChange
from tests.domain.test_changeset import (
    CRANE,
    DRAFTS,
    OWN,
    PUMP,
    SHED,
    answers,
    begin,
    drafts,
    mirrored,
    opening,
    scene,
    settle,
)
from tests.domain.test_drafts import discard, save
from tests.mirrored import Mirrored, digest_of
from tests.specs import Given


class Upstream:
    """An upstream with versions that does what is pushed once per batch, and can move of itself."""

    def __init__(self, mirror: Mirrored) -> None:
        self.mirror = mirror
        self.records = {each: (1, found.values) for each, found in mirror.now.items()}
        self.answers: dict[tuple[UUID, UUID], str] = {}
        self.done: Counter[tuple[UUID, UUID]] = Counter()

    def move(self, record_id: UUID, fields: Mapping[str, Any], *, synced: bool) -> None:
        version, values = self.records[record_id]
        self.records[record_id] = (version + 1, replace(values, **fields))
        if synced:
            self.sync(record_id)

    def sync(self, record_id: UUID) -> None:
        version, values = self.records[record_id]
        self.mirror.put(record_id, values, version=str(version))

    def push(self, batch_id: UUID, item: ChangesetItem, *, refuses: bool) -> str:
        """Pushed again under the same key, it says what it said."""
        key = (batch_id, item.record_id)
        if key not in self.answers:
            version, values = self.records[item.record_id]
            if str(version) != item.upstream_version:
                self.answers[key] = "moved"
            elif refuses:
                self.answers[key] = "refused"
            else:
                self.answers[key] = "confirmed"
                self.done[key] += 1
                self.records[item.record_id] = (version + 1, replace(values, **item.push.given()))
        return self.answers[key]


class Play:
    """A changeset over drafts and an upstream that all move, each accepted step looked at."""

    def __init__(self, rule: str) -> None:
        self.mirror = mirrored()
        self.upstream = Upstream(self.mirror)
        self.of = scene({}, self.mirror, conflict_rule=rule)
        self.log: list[Written] = []
        self.batches = 0

    def run(self, ref: Ref, command: Command) -> list[Written]:
        before: Drafts = drafts(self.of)
        try:
            written = self.of.world.run(ref, command)
        except Rejected as rejection:
            msgspec.json.encode(rejection.facts)
            return []
        check_cleared(before, written, self.of)
        again = self.of.world.decided(ref, command)
        assert again == [], "retrying any step adds nothing"
        for _, event in written:
            assert msgspec.json.decode(msgspec.json.encode(event), type=type(event)) == event
        self.log += written
        return written

    def step(self, step: tuple[str, Any]) -> None:
        match step:
            case ("draft", (record_id, fields)):
                self.run(DRAFTS, save({record_id: fields}))
            case ("discard", record_id):
                self.run(DRAFTS, discard(record_id))
            case ("move", (record_id, fields, synced)):
                self.upstream.move(record_id, fields, synced=synced)
            case ("open", records):
                self.run(OWN, opening(*records))
            case ("begin", records):
                self.begin(records or self.in_status("waiting"))
            case ("answer", (records, refuses)):
                self.answer(records or self.in_status("pushing"), refuses=refuses)
            case ("settle", (record_id, how)):
                self.settle(record_id, how)
            case ("cancel", _):
                self.run(OWN, CancelChangeset())
            case ("delay", code):
                self.run(OWN, DelayPush(code=code))

    def in_status(self, status: str) -> tuple[UUID, ...]:
        records = self.of.state.records
        return tuple(each for each in sorted(records) if records[each].status == status)

    def begin(self, records: tuple[UUID, ...]) -> None:
        if records:
            self.batches += 1
            self.run(OWN, begin(*records, batch_id=UUID(int=1_000 + self.batches)))

    def settle(self, record_id: UUID, how: str) -> None:
        record = self.of.state.records.get(record_id)
        theirs = record.conflict.theirs.given() if record is not None and record.conflict is not None else {}
        values = {name: _OTHER[name] for name in theirs} if how == "value" else {}
        if how != "value" or values:
            self.run(OWN, settle(record_id, how, **values))

    def answer(self, records: tuple[UUID, ...], *, refuses: bool) -> None:
        """A worker pushes what is under way of these, as after a crash in any order, and tells the answers."""
        state: Changeset = self.of.state
        for batch_id, record_ids in state.batches.items():
            under_way = [
                state.records[each].item
                for each in record_ids
                if each in records
                and state.records[each].status == "pushing"
                and state.records[each].batch_id == batch_id
            ]
            if not under_way:
                continue
            said = {item.record_id: self.upstream.push(batch_id, item, refuses=refuses) for item in under_way}
            self.run(OWN, self._answers(batch_id, said))
            for record_id in said:
                self.upstream.sync(record_id)

    def _answers(self, batch_id: UUID, said: Mapping[UUID, str]) -> RecordAnswers:
        by = {what: tuple(each for each, answer in said.items() if answer == what) for what in ("confirmed", "refused")}
        updated = []
        for each in said:
            version, values = self.upstream.records[each]
            now = PfaChange(**{name: getattr(values, name) for name in EDITABLE})
            updated.append(
                RecordChange(record_id=each, upstream_version=str(version), digest=digest_of(values), was=now, now=now)
            )
        return answers(
            batch_id,
            changes=MirrorChanges(updated=tuple(updated)),
            confirmed=by["confirmed"],
            refused=tuple(RecordRefused(record_id=each, code="closed") for each in by["refused"]),
            moved=tuple(
                RecordMoved(
                    record_id=each,
                    upstream_version=str(self.upstream.records[each][0]),
                    theirs=self.upstream.records[each][1],
                )
                for each, answer in said.items()
                if answer == "moved"
            ),
        )

    def finish(self) -> None:
        """Whatever is open is settled and pushed, until nothing is."""
        for _ in range(20):
            if self.of.state.user_id is None or self.of.state.finished:
                return
            for record_id in self.in_status("conflict"):
                self.settle(record_id, "mine")
            self.step(("begin", ()))
            self.step(("answer", ((), False)))
        raise AssertionError("it would never end")


_OTHER: dict[str, Any] = {
    **dict.fromkeys(("category", "area", "description"), "Other"),
    "forecast_cost": "77.00",
    "forecast_end": "2027-01-01",
    "is_discontinued": True,
}


def check_cleared(before: Drafts, written: list[Written], of: Given) -> None:
    """A confirmed draft ends exactly for the fields that were pushed or left, and were not drafted anew since."""
    records = of.state.records
    confirmed = {each for _, event in written if isinstance(event, RecordsAnswered) for each in event.confirmed}
    for record_id in confirmed & {*before.records}:
        item, was = records[record_id].item, before.records[record_id]
        pushed, committed = item.push.given(), item.draft.now.given()
        expected = {}
        for name, mine in was.now.given().items():
            taken = name in pushed and (mine == committed[name] or same(name, mine, pushed[name]))
            agreed = name in item.left and mine == committed[name]
            if not taken and not agreed:
                expected[name] = (pushed.get(name, getattr(was.base, name)), mine)
        left = drafts(of).records.get(record_id)
        found = {} if left is None else {n: (getattr(left.base, n), v) for n, v in left.now.given().items()}
        assert found == expected


def check_ended_once(play: Play) -> None:
    """Every record ended in exactly one way, and nothing was pushed that had not been said to be."""
    changeset: Changeset = play.of.state
    if changeset.user_id is None:
        return
    assert changeset.finished
    assert all(record.status not in OPEN for record in changeset.records.values())
    [opened] = [event for _, event in play.log if isinstance(event, ChangesetOpened)]
    [finished] = [event for _, event in play.log if isinstance(event, ChangesetFinished)]
    ended = Counter(record.status for record in changeset.records.values())
    assert (finished.confirmed, finished.refused) == (ended["confirmed"], ended["refused"])
    assert (finished.left, finished.cancelled) == (ended["left"], ended["cancelled"])
    assert sum(ended.values()) == opened.record_count == len(changeset.records)
    begun: set[tuple[UUID, UUID]] = set()
    confirmed: Counter[UUID] = Counter()
    cancelled = False
    for _, event in play.log:
        cancelled = cancelled or isinstance(event, ChangesetCancelled)
        if isinstance(event, PushBegan):
            assert not cancelled
            begun |= {(event.batch_id, each) for each in event.record_ids}
        if isinstance(event, RecordsAnswered):
            named = [*event.confirmed, *(each.record_id for each in event.refused)]
            assert all((event.batch_id, each) in begun for each in named)
            confirmed.update(event.confirmed)
    assert set(confirmed.values()) <= {1}
    assert set(play.upstream.done) <= begun
    assert set(play.upstream.done.values()) <= {1}
    assert drafts(play.of).changeset_id is None
    for state in (changeset, drafts(play.of)):
        stored = msgspec.msgpack.encode(state, enc_hook=encode_map)
        assert msgspec.msgpack.decode(stored, type=type(state), dec_hook=decode_map) == state


_ids = st.sampled_from([CRANE, PUMP, SHED])
_some = st.lists(_ids, min_size=1, max_size=3, unique=True).map(tuple)
_costs = st.sampled_from(["10.00", "11.00", "12.00", None])
_groups = st.sampled_from(["A", "B", None])
_drafted = st.fixed_dictionaries(
    {}, optional={"forecast_cost": _costs, "category": _groups, "description": _groups, "monthly_rate": _costs}
).filter(bool)
_moved = st.fixed_dictionaries(
    {},
    optional={
        "forecast_cost": _costs.map(lambda text: None if text is None else Decimal(text)),
        "category": _groups,
        "plan_cost": st.sampled_from([Decimal(1), Decimal(2)]),
    },
)
_drafting = st.tuples(st.just("draft"), st.tuples(_ids, _drafted))
_moving = st.tuples(st.just("move"), st.tuples(_ids, _moved, st.booleans()))
_steps = st.one_of(
    *[_drafting] * 2,
    _moving,
    st.tuples(st.just("open"), st.just(()) | _some),
    *[st.tuples(st.just("begin"), st.just(()) | _some)] * 2,
    *[st.tuples(st.just("answer"), st.tuples(st.just(()) | _some, st.sampled_from([False, False, False, True])))] * 2,
    st.tuples(st.just("settle"), st.tuples(_ids, st.sampled_from(["mine", "theirs", "value"]))),
    st.tuples(st.just("discard"), _ids),
    st.tuples(st.sampled_from(["cancel", "delay"]), st.just("upstream.failing")),
)
_beginnings = st.tuples(st.lists(_drafting, min_size=1, max_size=3), st.lists(_moving, max_size=3))


@settings(max_examples=120, deadline=None)
@drawn(st.sampled_from(["field", "record"]), _beginnings, st.booleans(), st.lists(_steps, max_size=10))
def test_every_record_ends_in_one_way(
    rule: str, before: tuple[list[Any], list[Any]], begun: bool, script: list[Any]
) -> None:
    play = Play(rule)
    for step in [*before[0], *before[1], ("open", ()), *([("begin", ())] * begun), *script]:
        play.step(step)
    play.finish()
    check_ended_once(play)
