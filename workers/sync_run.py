"""One run of one connection: fetch, read, compare with the mirror, record what changed.

A run that was left unfinished is begun again from its start: what was recorded of it already is found unchanged, and is
counted from what the log says. So nothing of a run has to be kept but the run itself.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import Final, Literal
from uuid import UUID

import msgspec
from msgspec.structs import replace
from prometheus_client import Counter, Gauge, Histogram

from domain.connection import Connection, must_be_usable
from domain.connection_events import Mode
from domain.decider import Command, Ref, Rejected
from domain.faults import Fault
from domain.mirror import BeginSync, FailSync, FinishSync, RecordChanges
from domain.mirror_events import CHANGES_LIMIT, FAULTS_KEPT, Failure, SyncCounts, SyncFault, Trigger, mirror_of
from domain.mirror_rows import MirrorRows, ReadRow, change_of
from domain.mirror_state import Mirror
from domain.pfa_values import MirrorChanges, MirroredRecord, RecordChange, RecordVersion
from domain.typed_rows import Identities, RecordKey, Row
from eventstore import db as database
from eventstore import telemetry
from eventstore.db import Reader
from eventstore.transact import Receipt
from projections import mirror_rows, parking, positions
from projections.mirror_rows import Difference
from workers.means import Means, told
from workers.upstreams.upstream import Batch, Denied, Scope, Unavailable, Upstream, UpstreamError

OUTCOMES = Counter("cairn_syncs_total", "Runs of connections this process ended, by how.", ["outcome"])
ROWS = Counter("cairn_sync_rows_total", "Rows of upstreams that this process compared with the mirror.")
SECONDS = Histogram("cairn_sync_seconds", "Time a finished run took.", buckets=(0.3, 1, 3, 10, 30, 100, 300, 1000))
RUNNING = Gauge("cairn_syncs_running", "Runs under way in this process.")

MODEL: Final = "pfa"
TURN_ROWS: Final = 50
"""Rows that are read before others in the process have a turn: recording goes on meanwhile."""
PRESENT_PAGE: Final = 20_000
"""Ids that are read at once when it is asked what is gone."""
STALE: Final = frozenset({"upstream.went-back", "upstream.cursor-unknown"})
"""Failures after which only a full fetch goes on."""
REMOVED_UNASKED: Final = 20
"""So many records may go at once, however few there are."""
CODES: Final[Mapping[str, str]] = {
    "sync.nothing-readable": "Not one row could be read: the mapping does not fit what came.",
    "sync.removes-too-many": "More records would be removed than is done unasked. Ask for a full sync again to have it "
    "done: as many removals as `removed` says are then confirmed.",
    "sync.mirror-parked": "The mirror's read model could not take an event, so nothing can be compared with it.",
    "sync.defect": "The worker met what it did not expect; its log says more.",
}
"""What ends a run, besides the codes of upstreams and of decisions."""
_Kind = Literal["inserted", "updated", "returned", "removed", "versions"]


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done: which run of which connection. `confirmed`: as many removals as that are no reason to stop.
    `first_position`: that of the event that brought it about, of a run that was begun before.
    """

    tenant: UUID
    connection_id: UUID
    run_id: UUID
    mode: Mode
    trigger: Trigger
    confirmed: int = 0
    first_position: int | None = None

    @property
    def mirror(self) -> Ref:
        """The stream of the mirror."""
        return Ref("mirror", mirror_of(self.connection_id))


class Failed(Exception):
    """The run cannot go on, for a reason of ours."""

    def __init__(self, failure: Failure, code: str, **facts: object) -> None:
        super().__init__(code)
        self.failure = failure
        self.code = code
        self.facts = facts


class Pending:
    """Changes that are not recorded yet, in the order they are to be."""

    def __init__(self) -> None:
        self._changes: deque[tuple[_Kind, MirroredRecord | RecordChange | RecordVersion | UUID]] = deque()

    def __len__(self) -> int:
        return len(self._changes)

    def add(self, kind: _Kind, change: MirroredRecord | RecordChange | RecordVersion | UUID) -> None:
        """One more."""
        self._changes.append((kind, change))

    def take(self) -> MirrorChanges:
        """As many as one event may tell."""
        by_kind: dict[str, list[object]] = {}
        for _ in range(min(CHANGES_LIMIT, len(self._changes))):
            kind, change = self._changes.popleft()
            by_kind.setdefault(kind, []).append(change)
        return MirrorChanges(**{kind: tuple(found) for kind, found in by_kind.items()})  # type: ignore[arg-type]  # as they were added


class SyncRun:
    """Made for one attempt at one run."""

    def __init__(self, work: Work, means: Means) -> None:
        self.work = work
        self._means = means
        self._settings = means.settings
        self._counts = SyncCounts()
        self._faults: list[SyncFault] = []
        self._nameless = 0
        self._gone = 0
        self._buffer: list[ReadRow] = []
        self._pending = Pending()
        self._looked_at = 0
        self._positions: deque[int] = deque()
        self._recording: asyncio.Task[None] | None = None
        self._number = 0
        self._next_cursor: str | None = None
        self.waits_for_upstream = False

    def detail(self) -> str:
        """How far it is."""
        return f"run {self.work.run_id}, {self._counts.processed} rows"

    async def run(self, tries: int) -> datetime | None:
        """Brings the run to an end, and says when it is to be tried again. Raises Left."""
        began = datetime.now(UTC)
        try:
            if not await self._begin(began):
                return None
            telemetry.log().info("sync_begun", run=str(self.work.run_id), attempt=self._attempt, mode=self._mode)
            with RUNNING.track_inprogress():
                return await self._bring_to_an_end(began, tries)
        except Rejected as refused:  # cancelled, taken over by another, or what it rests on was changed
            OUTCOMES.labels("refused").inc()
            telemetry.log().warning("sync_refused", run=str(self.work.run_id), reason=refused.code)
            return None

    async def give_up(self, reason: str) -> None:
        """Ends a run that met what nobody foresaw."""
        if self._attempt:
            with contextlib.suppress(Rejected):
                await self._end_failed("broken", "sync.defect", {"reason": reason})

    _attempt = 0

    async def _bring_to_an_end(self, began: datetime, tries: int) -> datetime | None:
        try:
            await self._means.reached(self.work.tenant, MODEL, self._began_position)
            await self._refuse_if_parked()
            async with self._means.upstream(self._connection) as upstream:
                await self._compare_all(upstream)
        except UpstreamError as error:
            return await self._fail(error, tries)
        except Failed as failed:
            await self._end_failed(failed.failure, failed.code, failed.facts)
            return None
        await self._finish()
        SECONDS.observe((datetime.now(UTC) - began).total_seconds())
        return None

    async def _begin(self, began: datetime) -> bool:
        """False: it may not begin. Where somebody waits for it, that is told. Raises Rejected."""
        work = self.work
        mirror = await self._means.state(work.tenant, work.mirror, Mirror)
        before = mirror.run if mirror.run is not None and mirror.run.run_id == work.run_id else None
        connection = self._connection = await self._means.state(
            work.tenant, Ref("connection", work.connection_id), Connection
        )
        try:
            self._mapping = must_be_usable(connection)
        except Rejected as refused:
            telemetry.log().info("sync_refused", run=str(work.run_id), reason=refused.code)
            if before is not None:
                self._attempt, self._counts = before.attempt, before.counts
                await self._end_failed("denied", refused.code, {})
            return False
        self._attempt = 1 if before is None else before.attempt + 1
        full = work.mode == "full" or mirror.cursor is None or mirror.mapping_version != self._mapping.version
        self._mode: Mode = "full" if full else "incremental"
        self._cursor = None if full else mirror.cursor
        self._was_empty = not mirror.synced
        self._present = mirror.record_count
        if before is not None:
            self._counts = replace(before.counts, processed=0)
        beginning = BeginSync(
            connection_id=work.connection_id,
            run_id=work.run_id,
            attempt=self._attempt,
            mode=self._mode,
            trigger=work.trigger,
            mapping_version=self._mapping.version,
            began_at=began,
        )
        receipt = await self._send(beginning, f"begin {self._attempt} {began.isoformat()}")
        self._began_position = self._settled_position = receipt.position
        self._first_position = self.work.first_position or receipt.position
        return True

    async def _refuse_if_parked(self) -> None:
        """A mirror that something waits before does not say what was recorded. Raises Failed."""
        async with self._means.reader.bound(self.work.tenant) as reader:
            parked = await parking.waiting(reader, MODEL)
        if parked:
            raise Failed("broken", "sync.mirror-parked", position=parked[0].first_position, error=parked[0].error)

    async def _send(self, command: Command, as_what: str) -> Receipt:
        return await self._means.send(self.work.tenant, self.work.mirror, command, self.work.run_id, as_what)

    async def _compare_all(self, upstream: Upstream) -> None:
        """Rows are read and compared while those before them are recorded."""
        try:
            await self._compare_fetched(upstream)
        except UpstreamError:
            await self._recorded()  # what came before is worth keeping
            raise
        finally:
            await self._stop_recording()

    async def _compare_fetched(self, upstream: Upstream) -> None:
        rows: MirrorRows | None = None
        scope = Scope.NOTHING
        async with aclosing(upstream.fetch(self._cursor)) as batches:
            while (batch := await self._fetched(batches)) is not None:
                scope, self._next_cursor = batch.scope, batch.cursor
                rows = rows or MirrorRows(self._mapping, self.work.connection_id, whole=scope is Scope.FULL)
                await self._take(rows, batch)
        await self._compare()
        if self._counts.processed and self._counts.faulty == self._counts.processed:
            raise Failed("broken", "sync.nothing-readable", rows=self._counts.processed)
        if rows is not None and scope is Scope.FULL:
            await self._remove_unseen(rows.identities)
        await self._settle()  # figures are right as soon as the run is finished

    async def _fetched(self, batches: AsyncGenerator[Batch, None]) -> Batch | None:
        self._means.leave_if_stopping()
        self.waits_for_upstream = True
        try:
            return await anext(batches, None)
        finally:
            self.waits_for_upstream = False

    async def _take(self, rows: MirrorRows, batch: Batch) -> None:
        faulty = batch.faulty
        self._nameless += batch.faulty
        for told_of in batch.faults:
            self._blame(told_of.row, told_of.code, told_of.message)
        for index, (number, row) in enumerate(zip(batch.numbers, batch.rows, strict=True)):
            if index % TURN_ROWS == 0:
                await asyncio.sleep(0)
            repeated = rows.identities.repeated
            found = rows.read(row)
            if rows.identities.repeated > repeated and batch.scope is Scope.CHANGES:
                await self._settle()  # it is compared with what its earlier row has made of the record
            if isinstance(found, ReadRow):
                self._buffer.append(found)
                if found.key.ordinal > 1:
                    self._blame(number, "identity_repeated", f"Row {found.key.ordinal} of the same identity")
            else:
                faulty += 1
                self._blame_row(number, *found)
        if batch.tombstones:
            await self._take_away(rows.identities, batch.tombstones)
        counts = self._counts
        self._counts = replace(
            counts,
            processed=counts.processed + len(batch.rows) + len(batch.tombstones) + batch.faulty,
            faulty=counts.faulty + faulty,
            repeated=rows.identities.repeated,
        )
        self._gone += len(batch.tombstones)
        ROWS.inc(len(batch.rows))
        if len(self._buffer) >= self._settings.sync_buffer_records:
            await self._compare()
        self._means.progressed()

    def _blame(self, row: int, code: str, message: str, column: str | None = None) -> None:
        if len(self._faults) < FAULTS_KEPT:
            self._faults.append(SyncFault(row=row, code=code, message=message[:500], column=column))

    def _blame_row(self, number: int, key: RecordKey | None, faults: Sequence[Fault]) -> None:
        self._nameless += key is None
        for fault in faults:
            self._blame(number, fault.code, fault.message, str(fault.path[0]) if fault.path else None)

    async def _take_away(self, identities: Identities, tombstones: Sequence[Row]) -> None:
        """What an upstream says is gone, and the mirror has."""
        repeated = identities.repeated
        keys = [identities.of(row) for row in tombstones]
        if identities.repeated > repeated:
            await self._settle()
        named = [key.id for key in keys if isinstance(key, RecordKey)]
        async with self._mirror() as reader:
            living = await mirror_rows.living(reader, named)
        for record in dict.fromkeys(named):
            if record in living:
                self._pending.add("removed", record)
        self._count(removed=len(living))

    @asynccontextmanager
    async def _mirror(self) -> AsyncIterator[Reader]:
        """One moment of the mirror, in which it says all that is compared with. Raises Unavailable."""
        async with self._means.reader.bound(self.work.tenant) as reader:
            if await positions.position_of(reader, MODEL) < self._settled_position:
                raise database.Unavailable("a crash has set the mirror back, and it is not there again")
            yield reader

    async def _compare(self) -> None:
        """What is in the buffer with what the mirror has."""
        rows = sorted(self._buffer, key=ReadRow.order)
        self._buffer = []
        self._looked_at += len(rows)
        if self._was_empty:
            for row in rows:
                self._pending.add("inserted", row.record())
            self._count(inserted=len(rows))
        elif rows:
            await self._compare_with_mirror(rows)
        await self._record(CHANGES_LIMIT)

    async def _compare_with_mirror(self, rows: Sequence[ReadRow]) -> None:
        async with self._mirror() as reader:
            found = await mirror_rows.differing(reader, rows)
            moved = [row.key.id for row, each in zip(rows, found, strict=True) if each is not None and each.moved]
            were = await mirror_rows.whole(reader, self.work.connection_id, moved)
        for row, each in zip(rows, found, strict=True):
            kind = None if each is None else self._kind(each, row)
            match kind:
                case "inserted" | "returned":
                    self._pending.add(kind, row.record())
                case "updated":
                    self._pending.add(kind, change_of(were[row.key.id], row))
                case "versions":
                    moved_on = RecordVersion(record_id=row.key.id, upstream_version=row.upstream_version)
                    self._pending.add(kind, moved_on)
            if kind is not None and kind != "versions" and not self._counted_before(each):
                self._count(**{kind: 1})

    def _counted_before(self, found: Difference | None) -> bool:
        """Whether an earlier attempt recorded a change of it already: a record is counted once in a run."""
        return found is not None and self._first_position < found.since < self._began_position

    def _kind(self, found: Difference, row: ReadRow) -> _Kind | None:
        """What became of a record; None: nothing."""
        if not found.known:
            return "inserted"
        if found.since > self._began_position:
            return None  # the upstream confirmed a push meanwhile, and what was fetched may be older
        if found.removed:
            return "returned"
        if not found.same:
            return "updated"
        return "versions" if row.upstream_version not in {None, found.upstream_version} else None

    def _count(self, **more: int) -> None:
        self._counts = replace(
            self._counts, **{name: getattr(self._counts, name) + number for name, number in more.items()}
        )

    async def _remove_unseen(self, identities: Identities) -> None:
        """What a whole fetch did not list is gone. Raises Failed when that is more than is removed unasked."""
        if self._was_empty:
            return
        if self._nameless:
            self._blame(0, "removals_skipped", f"{self._nameless} rows could be any record, so none was removed")
            return
        share = int(self._present * self._settings.sync_removed_share_max)
        allowed = max(REMOVED_UNASKED, share, self.work.confirmed)
        unseen: list[UUID] = []
        missing, after = 0, 0
        async with self._mirror() as reader:
            while page := await mirror_rows.present(reader, self.work.connection_id, after, limit=PRESENT_PAGE):
                gone = [record for _, record in page if not identities.saw(record)]
                missing, after = missing + len(gone), page[-1][0]
                unseen += gone[: max(0, allowed - len(unseen))]
        if missing > allowed:
            raise Failed("held", "sync.removes-too-many", removed=missing, of=self._present, unasked=allowed)
        for record in unseen:
            self._pending.add("removed", record)
        self._count(removed=missing)

    async def _settle(self) -> None:
        """Until all that came is recorded and shown."""
        await self._compare()
        await self._record(1)
        if self._positions:
            await self._means.reached(self.work.tenant, MODEL, self._positions[-1])
            self._settled_position = self._positions[-1]

    async def _record(self, least: int) -> None:
        """Has what is pending recorded while it is so much: beside whatever comes next, or, when it is all, now."""
        await self._recorded()
        if len(self._pending) >= least:
            self._recording = asyncio.create_task(self._send_chunks(list(self._chunks(least))))
        if least == 1:
            await self._recorded()

    def _chunks(self, least: int) -> Iterator[tuple[MirrorChanges, int]]:
        """Changes for one event each, and how many rows were looked at for them."""
        while len(self._pending) >= least:
            rounds = -(-len(self._pending) // CHANGES_LIMIT) if least == 1 else len(self._pending) // CHANGES_LIMIT
            processed = self._looked_at // rounds
            self._looked_at -= processed
            yield self._pending.take(), processed

    async def _recorded(self) -> None:
        """Until nothing is being recorded. Raises what kept it from being so."""
        recording, self._recording = self._recording, None
        if recording is not None:
            try:
                await recording
            finally:
                recording.cancel()

    async def _stop_recording(self) -> None:
        recording, self._recording = self._recording, None
        if recording is not None:
            recording.cancel()
            await asyncio.wait([recording])

    async def _send_chunks(self, chunks: list[tuple[MirrorChanges, int]]) -> None:
        chunks.reverse()
        while chunks:
            if len(self._positions) >= self._settings.sync_chunks_ahead_max:
                await self._means.reached(self.work.tenant, MODEL, self._positions.popleft())
            changes, processed = chunks.pop()  # which frees it once it is sent
            self._number += 1
            recording = RecordChanges(
                connection_id=self.work.connection_id,
                run_id=self.work.run_id,
                attempt=self._attempt,
                mapping_version=self._mapping.version,
                currency=self._connection.currency,
                changes=changes,
                processed=processed,
            )
            receipt = await self._send(recording, f"changes {self._attempt} {self._number}")
            self._positions.append(receipt.position)
            self._means.progressed()

    async def _finish(self) -> None:
        counts = self._counts
        others = counts.faulty + counts.inserted + counts.updated + counts.returned + self._gone
        self._counts = replace(counts, unchanged=max(0, counts.processed - others))
        finishing = FinishSync(
            connection_id=self.work.connection_id,
            run_id=self.work.run_id,
            attempt=self._attempt,
            counts=self._counts,
            finished_at=datetime.now(UTC),
            cursor=self._next_cursor,
            faults=tuple(self._faults),
        )
        await self._send(finishing, f"finish {self._attempt}")
        OUTCOMES.labels("finished").inc()
        telemetry.log().info("sync_finished", run=str(self.work.run_id), **msgspec.structs.asdict(self._counts))

    async def _fail(self, error: UpstreamError, tries: int) -> datetime | None:
        match error:
            case Unavailable(retry_after_seconds=asked):
                again = tries + 1 < self._settings.upstream_attempts_max
                retry_at = self._means.later(datetime.now(UTC), tries, asked) if again else None
                await self._end_failed("unavailable", error.code, error.facts, retry_at)
                return retry_at
            case Denied():
                await self._end_failed("denied", error.code, error.facts)
            case _:
                await self._end_failed("broken", error.code, error.facts)
        return None

    async def _end_failed(
        self, failure: Failure, code: str, facts: Mapping[str, object], retry_at: datetime | None = None
    ) -> None:
        failing = FailSync(
            connection_id=self.work.connection_id,
            run_id=self.work.run_id,
            attempt=self._attempt,
            failure=failure,
            code=code,
            facts=told(facts),
            counts=self._counts,
            finished_at=datetime.now(UTC),
            retry_at=retry_at,
            faults=tuple(self._faults),
        )
        await self._send(failing, f"fail {self._attempt}")
        OUTCOMES.labels("failed").inc()
        telemetry.log().warning("sync_failed", run=str(self.work.run_id), failure=failure, code=code)
