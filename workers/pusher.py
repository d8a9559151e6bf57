"""Pushing a changeset: batch after batch under keys that the log keeps, so that nothing is done twice upstream.

A batch is recorded before it is sent. Whoever goes on after a crash finds it unanswered and sends the same again, under
the same key. Answers, what the mirror so comes to say, and the drafts that end are one append.
"""

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple
from uuid import UUID, uuid5

import msgspec
from prometheus_client import Counter

from domain.cells import Absent, Unreadable, Value
from domain.changeset_commands import BeginPush, DelayPush, RecordAnswers
from domain.changeset_events import ChangesetItem, RecordMoved, RecordRefused
from domain.changeset_state import Changeset
from domain.connection import Connection, must_be_usable
from domain.decider import Command, Ref, Rejected
from domain.mapping import FieldMapping
from domain.mirror_rows import BLANK, Mirrored, MirrorRows, ReadRow, change_of, with_changes
from domain.pfa_values import MirrorChanges, PfaChange, RecordChange, RecordVersion
from domain.typed_rows import RecordKey, as_upstream
from eventstore import telemetry
from eventstore.transact import Receipt
from projections import mirror_rows
from workers.means import Means, told
from workers.upstreams.upstream import Change, Outcome, PushResult, Unavailable, Upstream, UpstreamError

RECORDS = Counter("cairn_pushed_records_total", "Records that upstreams answered for, by how.", ["outcome"])
DELAYS = Counter("cairn_push_delays_total", "Times that an upstream could not be asked, or left answers out.")

MODEL: Final = "pfa"
ASKED_AT_ONCE: Final = 3
"""How often a batch is sent before the answers that are missing are waited for."""
CODES: Final[Mapping[str, str]] = {
    "push.answers-missing": "The upstream answered for fewer records than it was sent, so it is asked again, under the "
    "same key.",
    "push.not-writable": "The value cannot be written the way the mapping reads it.",
    "push.defect": "The worker met what it did not expect; its log says more.",
    "push.refused": "The upstream would not take it and did not say why.",
}
"""What a push says of itself, besides the codes of upstreams and of decisions."""


class Pushing(NamedTuple):
    """What is pushed: which changeset, over which connection."""

    tenant: UUID
    changeset_id: UUID
    connection_id: UUID

    @property
    def ref(self) -> Ref:
        """The stream of the changeset."""
        return Ref("changeset", self.changeset_id)


class _Answers(NamedTuple):
    """What an upstream said of a batch, as it is recorded. `missing`: records that it left out."""

    confirmed: list[UUID]
    refused: list[RecordRefused]
    moved: list[RecordMoved]
    updated: list[RecordChange]
    versions: list[RecordVersion]
    missing: list[UUID]


class _AnswersMissing(Exception):
    """The upstream leaves answers out, however often it is asked."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.count = count


class Push:
    """Made for one try at one changeset."""

    def __init__(self, work: Pushing, means: Means) -> None:
        self.work = work
        self._means = means
        self.waits_for_upstream = False

    def detail(self) -> str:
        """What it does."""
        return f"changeset {self.work.changeset_id}"

    async def run(self, tries: int) -> datetime | None:
        """Pushes what waits, and says when it is to be tried again. Raises Left."""
        try:
            connection = await self._means.state(
                self.work.tenant, Ref("connection", self.work.connection_id), Connection
            )
            mapping = must_be_usable(connection)
            async with self._means.upstream(connection) as upstream:
                while await self._push_next(upstream, connection, mapping):
                    self._means.progressed()
                    self._means.leave_if_stopping()
        except UpstreamError as error:
            asked = error.retry_after_seconds if isinstance(error, Unavailable) else None
            return await self._delay(error.code, error.facts, tries, asked)
        except _AnswersMissing as missing:
            return await self._delay("push.answers-missing", {"missing": missing.count}, tries, None)
        except Rejected as refused:
            telemetry.log().warning("push_refused", changeset=str(self.work.changeset_id), reason=refused.code)
            if refused.code.startswith("connection."):
                await self._delay(refused.code, {}, tries, None)
        return None

    async def give_up(self, reason: str) -> None:
        """Says that a push met what nobody foresaw: it is tried again when somebody, or the next minute, asks."""
        with contextlib.suppress(Rejected):
            await self._delay("push.defect", {"reason": reason}, 0, None)

    async def _push_next(self, upstream: Upstream, connection: Connection, mapping: FieldMapping) -> bool:
        """One batch: the one that was begun and not answered, else those that wait. False: there is nothing to push."""
        changeset = await self._means.state(self.work.tenant, self.work.ref, Changeset)
        batch_id = _under_way(changeset)
        if batch_id is None:
            waiting = [id_ for id_, record in changeset.records.items() if record.status == "waiting"]
            if not waiting or changeset.finished:
                return False
            batch_id = uuid5(self.work.changeset_id, f"batch {len(changeset.batches) + 1}")
            chosen = tuple(sorted(waiting)[: self._means.settings.push_records_max])
            await self._send(BeginPush(batch_id=batch_id, record_ids=chosen), batch_id, "begin")
            return True
        items = [changeset.records[id_].item for id_ in changeset.batches[batch_id]]
        answers = await self._asked(upstream, batch_id, items, mapping)
        pushed_in = {id_ for id_, record in changeset.records.items() if record.batch_id == batch_id}
        await self._record(batch_id, answers, connection, mapping, pushed_in)
        if answers.missing:
            raise _AnswersMissing(len(answers.missing))
        return True

    async def _asked(
        self, upstream: Upstream, batch_id: UUID, items: Sequence[ChangesetItem], mapping: FieldMapping
    ) -> _Answers:
        """Sends the batch, again if answers are left out. What cannot be written is refused and not sent.

        All of it is sent each time, also what was answered before: it is one request, and its key says so.
        """
        unwritable: list[RecordRefused] = []
        changes: list[Change] = []
        for item in items:
            try:
                changes.append(_change(item, mapping))
            except ValueError as error:
                refusal = RecordRefused(record_id=item.record_id, code="push.not-writable", reason=str(error)[:500])
                unwritable.append(refusal)
        results: Sequence[PushResult] = ()
        for _ in range(ASKED_AT_ONCE):
            self.waits_for_upstream = True
            try:
                results = await upstream.push(changes, str(batch_id)) if changes else ()
            finally:
                self.waits_for_upstream = False
            if all(result.outcome is not Outcome.UNKNOWN for result in results):
                break
        answers = await self._read(items, results, mapping)
        answers.refused.extend(unwritable)
        return answers

    async def _read(
        self, items: Sequence[ChangesetItem], results: Sequence[PushResult], mapping: FieldMapping
    ) -> _Answers:
        """What the results say, and what the mirror so comes to say."""
        by_id = {UUID(result.record): result for result in results}
        await self._means.caught_up(self.work.tenant, MODEL)
        async with self._means.reader.bound(self.work.tenant) as reader:
            were = await mirror_rows.whole(reader, self.work.connection_id, list(by_id))
        rows = MirrorRows(mapping, self.work.connection_id)
        answers = _Answers([], [], [], [], [], [])
        for item in items:
            result = by_id.get(item.record_id)
            if result is not None:
                _take(answers, item, result, were.get(item.record_id), rows)
        if answers.missing:  # what had moved may change the record's item, and the batch has to stay what it was
            answers.moved.clear()
        return answers

    async def _record(
        self,
        batch_id: UUID,
        answers: _Answers,
        connection: Connection,
        mapping: FieldMapping,
        pushed_in: set[UUID],
    ) -> None:
        moved = {each.record_id for each in answers.moved}
        known = {*answers.confirmed, *moved} & pushed_in
        command = RecordAnswers(
            batch_id=batch_id,
            mapping_version=mapping.version,
            currency=connection.currency,
            changes=MirrorChanges(
                updated=tuple(each for each in answers.updated if each.record_id in known),
                versions=tuple(each for each in answers.versions if each.record_id in known),
            ),
            confirmed=tuple(each for each in answers.confirmed if each in pushed_in),
            refused=tuple(each for each in answers.refused if each.record_id in pushed_in),
            moved=tuple(each for each in answers.moved if each.record_id in pushed_in),
        )
        ids = sorted(command.record_ids())
        if not ids:
            return
        which = hashlib.sha256(msgspec.json.encode(ids)).hexdigest()[:16]
        await self._send(command, batch_id, f"answers {which}")
        for outcome, number in [
            ("confirmed", len(command.confirmed)),
            ("refused", len(command.refused)),
            ("conflict", len(command.moved)),
        ]:
            RECORDS.labels(outcome).inc(number)
        telemetry.log().info("push_answered", batch=str(batch_id), records=len(ids), missing=len(answers.missing))

    async def _send(self, command: Command, named: UUID, as_what: str) -> Receipt:
        return await self._means.send(self.work.tenant, self.work.ref, command, named, as_what)

    async def _delay(
        self, code: str, facts: Mapping[str, object], tries: int, asked_seconds: float | None
    ) -> datetime | None:
        """Says once why nothing is pushed, and when it is tried again: for as long as nobody cancels it."""
        DELAYS.inc()
        retry_at = self._means.later(datetime.now(UTC), tries, asked_seconds)
        telemetry.log().warning("push_delayed", changeset=str(self.work.changeset_id), code=code)
        delaying = DelayPush(code=code, facts=told(facts), retry_at=retry_at)
        await self._send(delaying, self.work.changeset_id, f"delay {retry_at.isoformat()}")
        return retry_at


def _under_way(changeset: Changeset) -> UUID | None:
    """A batch that was begun and of which answers are missing."""
    return next((record.batch_id for record in changeset.records.values() if record.status == "pushing"), None)


def _change(item: ChangesetItem, mapping: FieldMapping) -> Change:
    """As it is sent. Raises ValueError for what cannot be written."""
    names = {field.feeds: field.name for field in mapping.fields if field.feeds is not None}
    values: dict[str, Value] = {
        names[name]: Absent(BLANK) if value is None else value for name, value in item.push.given().items()
    }
    return Change(
        record=str(item.record_id),
        identity=dict(zip(mapping.identity, item.identity, strict=True)),
        version=item.upstream_version,
        fields=as_upstream(values, mapping),
    )


def _take(
    answers: _Answers,
    item: ChangesetItem,
    result: PushResult,
    was: Mirrored | None,
    rows: MirrorRows,
) -> None:
    """Puts what a result says where it belongs."""
    now = _now(item, result, was, rows)
    match result.outcome:
        case Outcome.CONFIRMED:
            answers.confirmed.append(item.record_id)
            _move(answers, was, now, result)
        case Outcome.REFUSED:
            code = result.code or "push.refused"
            answers.refused.append(RecordRefused(record_id=item.record_id, code=code[:200], reason=result.reason))
        case Outcome.CONFLICT:
            theirs = None if now is None else now.values
            moved = RecordMoved(record_id=item.record_id, upstream_version=result.version, theirs=theirs)
            answers.moved.append(moved)
            _move(answers, was, now, result)
        case Outcome.UNKNOWN:
            answers.missing.append(item.record_id)


def _now(item: ChangesetItem, result: PushResult, was: Mirrored | None, rows: MirrorRows) -> ReadRow | None:
    """The record as the upstream has it now, as far as that is told or follows."""
    key = RecordKey(item.record_id, item.identity, item.ordinal)
    if result.theirs is not None:
        try:
            return rows.of(key, result.theirs)
        except (Unreadable, KeyError):
            pass  # it follows from what was confirmed, or a sync will tell
    if was is None or result.outcome is not Outcome.CONFIRMED:
        return None
    return with_changes(was, item.push.given(), rows.mapping, key)


def _move(answers: _Answers, was: Mirrored | None, now: ReadRow | None, result: PushResult) -> None:
    """What the mirror comes to say."""
    if was is None or now is None:
        return
    version = result.version or now.upstream_version
    change = msgspec.structs.replace(change_of(was, now), upstream_version=version)
    if change.now == PfaChange() and change.others is msgspec.UNSET and change.absent is msgspec.UNSET:
        if version is not None:
            answers.versions.append(RecordVersion(record_id=change.record_id, upstream_version=version))
    else:
        answers.updated.append(change)
