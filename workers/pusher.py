"""Pushing a changeset: batch after batch under keys that the log keeps, so that nothing is done twice upstream.

A batch is recorded before it is sent. Whoever goes on after a crash finds it unanswered and sends the same again, under
the same key. Answers, what the mirror so comes to say, and the drafts that end are one append.

Two batches are under way: while the upstream works on one, the answers to the other are recorded and the next is begun.
The upstream itself is asked for one at a time.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
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
from domain.mirror_events import RecordsChanged, mirror_of
from domain.mirror_rows import BLANK, Mirrored, MirrorRows, ReadRow, change_of, with_changes
from domain.pfa_values import MirrorChanges, PfaChange, RecordChange, RecordVersion
from domain.typed_rows import RecordKey, as_upstream
from domain.upstreams import changes_in_a_request, upstream_of
from eventstore import log, telemetry
from eventstore.transact import Receipt
from projections import mirror_rows, positions
from workers.means import Means, told
from workers.upstreams.upstream import Change, Outcome, PushResult, Unavailable, Upstream, UpstreamError

RECORDS = Counter("cairn_pushed_records_total", "Records that upstreams answered for, by how.", ["outcome"])
DELAYS = Counter("cairn_push_delays_total", "Times that an upstream could not be asked, or left answers out.")

MODEL: Final = "pfa"
ASKED_AT_ONCE: Final = 3
"""How often a batch is sent before the answers that are missing are waited for."""
BATCHES_AT_ONCE: Final = 2
"""Those that are begun and not answered for."""
MIRROR_PAGE: Final = 20
"""Changes of mirrors that are looked through, by which a read model is behind, before it is waited for."""
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


class _Batch(NamedTuple):
    """`unanswered`: those of its records that were not answered for when it was taken up."""

    id: UUID
    items: Sequence[ChangesetItem]
    unanswered: Collection[UUID]


class _Stood(NamedTuple):
    """What the read model had of records at a position."""

    position: int
    records: Mapping[UUID, Mirrored]


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
        self._beginning = asyncio.Lock()
        self._asking = asyncio.Lock()
        self._taken: set[UUID] = set()
        self._failed = False
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
                lanes = [self._push_all(upstream, connection, mapping) for _ in range(BATCHES_AT_ONCE)]
                for end in await asyncio.gather(*lanes, return_exceptions=True):
                    if end is not None:
                        raise end
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

    async def _push_all(self, upstream: Upstream, connection: Connection, mapping: FieldMapping) -> None:
        """One batch after the other, until there is none or another lane failed: what that began is then brought to an
        end, and nothing more is begun or sent.
        """
        try:
            while (batch := await self._next_batch(connection)) is not None:
                if (asked := await self._asked(upstream, batch, mapping)) is None:
                    return
                answers = await self._read(batch.items, *asked, mapping)
                await self._record(batch, answers, connection, mapping)
                if answers.missing:
                    raise _AnswersMissing(len(answers.missing))
                self._means.progressed()
                self._means.leave_if_stopping()
        except BaseException:
            self._failed = True
            raise

    async def _next_batch(self, connection: Connection) -> _Batch | None:
        """One that was begun and not answered, else those that wait. None: there is nothing to push."""
        async with self._beginning:
            if self._failed:
                return None
            changeset = await self._means.state(self.work.tenant, self.work.ref, Changeset)
            batch_id = next(_under_way(changeset, self._taken), None)
            if batch_id is None:
                waiting = [id_ for id_, record in changeset.records.items() if record.status == "waiting"]
                if not waiting or changeset.finished:
                    return None
                batch_id = uuid5(self.work.changeset_id, f"batch {len(changeset.batches) + 1}")
                begin = BeginPush(batch_id=batch_id, record_ids=tuple(sorted(waiting)[: self._most(connection)]))
                await self._send(begin, batch_id, "begin")
                changeset = await self._means.state(self.work.tenant, self.work.ref, Changeset)
            self._taken.add(batch_id)
        records = {id_: changeset.records[id_] for id_ in changeset.batches[batch_id]}
        unanswered = {
            id_ for id_, record in records.items() if record.batch_id == batch_id and record.status == "pushing"
        }
        return _Batch(batch_id, [record.item for record in records.values()], unanswered)

    def _most(self, connection: Connection) -> int:
        """How many records a batch has, so that it is one request."""
        asked = changes_in_a_request(upstream_of(msgspec.json.encode(connection.upstream)))
        most = self._means.settings.push_records_max
        return most if asked is None else min(asked, most)

    async def _asked(
        self, upstream: Upstream, batch: _Batch, mapping: FieldMapping
    ) -> tuple[Sequence[PushResult], Sequence[RecordRefused], _Stood] | None:
        """Sends the batch, again if answers are left out; with the results, what was not sent as it cannot be written,
        and what the mirror had meanwhile. None: not sent, since another lane failed.

        All of it is sent each time, also what was answered before: it is one request, and its key says so.
        """
        unwritable: list[RecordRefused] = []
        changes: list[Change] = []
        for item in batch.items:
            try:
                changes.append(_change(item, mapping))
            except ValueError as error:
                refusal = RecordRefused(record_id=item.record_id, code="push.not-writable", reason=str(error)[:500])
                unwritable.append(refusal)
        async with self._asking:
            if self._failed:
                return None
            results, stood = await asyncio.gather(self._results(upstream, batch.id, changes), self._stood(batch.items))
        return results, unwritable, stood

    async def _results(self, upstream: Upstream, batch_id: UUID, changes: Sequence[Change]) -> Sequence[PushResult]:
        results: Sequence[PushResult] = ()
        for _ in range(ASKED_AT_ONCE):
            self.waits_for_upstream = True
            try:
                results = await upstream.push(changes, str(batch_id)) if changes else ()
            finally:
                self.waits_for_upstream = False
            if all(result.outcome is not Outcome.UNKNOWN for result in results):
                break
        return results

    async def _stood(self, items: Sequence[ChangesetItem]) -> _Stood:
        """What the mirror has of records, as far as the read model is."""
        async with self._means.reader.bound(self.work.tenant) as reader:
            position = await positions.position_of(reader, MODEL)
            ids = [item.record_id for item in items]
            return _Stood(position, await mirror_rows.whole(reader, self.work.connection_id, ids))

    async def _read(
        self,
        items: Sequence[ChangesetItem],
        results: Sequence[PushResult],
        unwritable: Sequence[RecordRefused],
        stood: _Stood,
        mapping: FieldMapping,
    ) -> _Answers:
        """What the results say, and what the mirror so comes to say."""
        by_id = {UUID(result.record): result for result in results}
        while (moved := await self._moved_after(stood.position, by_id)) is not None:
            await self._means.reached(self.work.tenant, MODEL, moved)
            stood = await self._stood(items)
        rows = MirrorRows(mapping, self.work.connection_id)
        answers = _Answers([], list(unwritable), [], [], [], [])
        for item in items:
            result = by_id.get(item.record_id)
            if result is not None:
                _take(answers, item, result, stood.records.get(item.record_id), rows)
        if answers.missing:  # what had moved may change the record's item, and the batch has to stay what it was
            answers.moved.clear()
        return answers

    async def _moved_after(self, position: int, ids: Collection[UUID]) -> int | None:
        """Where in the log the mirror came to say something else of one of these records; None: nowhere.

        So a read model is waited for only where it is behind in what matters. Behind by a lot, it is waited for anyway.
        """
        tag = RecordsChanged.__struct_config__.tag
        async with self._means.reader.bound(self.work.tenant) as reader:
            page = await log.read_log(reader, after=position, limit=MIRROR_PAGE, types=[str(tag)])
        mirror = mirror_of(self.work.connection_id)
        moved = page[-1].position if len(page) == MIRROR_PAGE else None
        for recorded in (each.decoded() for each in page):
            event = recorded.event
            assert isinstance(event, RecordsChanged)
            if recorded.stream_id == mirror and any(id_ in ids for id_ in event.changes.record_ids()):
                moved = recorded.position
        return moved

    async def _record(
        self,
        batch: _Batch,
        answers: _Answers,
        connection: Connection,
        mapping: FieldMapping,
    ) -> None:
        open_ids = batch.unanswered
        known = {*answers.confirmed, *(each.record_id for each in answers.moved)}.intersection(open_ids)
        command = RecordAnswers(
            batch_id=batch.id,
            mapping_version=mapping.version,
            currency=connection.currency,
            changes=MirrorChanges(
                updated=tuple(each for each in answers.updated if each.record_id in known),
                versions=tuple(each for each in answers.versions if each.record_id in known),
            ),
            confirmed=tuple(each for each in answers.confirmed if each in open_ids),
            refused=tuple(each for each in answers.refused if each.record_id in open_ids),
            moved=tuple(each for each in answers.moved if each.record_id in open_ids),
        )
        ids = sorted(command.record_ids())
        if not ids:
            return
        which = hashlib.sha256(msgspec.json.encode(ids)).hexdigest()[:16]
        await self._send(command, batch.id, f"answers {which}")
        for outcome, number in [
            ("confirmed", len(command.confirmed)),
            ("refused", len(command.refused)),
            ("conflict", len(command.moved)),
        ]:
            RECORDS.labels(outcome).inc(number)
        telemetry.log().info("push_answered", batch=str(batch.id), records=len(ids), missing=len(answers.missing))

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


def _under_way(changeset: Changeset, taken: Collection[UUID]) -> Iterator[UUID]:
    """Batches that were begun, of which answers are missing, and that nobody has taken up."""
    for record in changeset.records.values():
        if record.status == "pushing" and record.batch_id is not None and record.batch_id not in taken:
            yield record.batch_id


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
