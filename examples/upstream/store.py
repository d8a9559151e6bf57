"""The records, every version they ever had, and the answers given to pushes, in one SQLite file.

Writers take turns and commit in the order of their versions: whoever has seen version 7 has seen all before it. Readers
work on the last commit and wait for nobody.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from random import Random
from threading import Lock
from typing import Any, NamedTuple

from examples.upstream import generated
from examples.upstream.fields import COLUMNS, Fields, RefusedError, edited, identified, same, typed

TABLES = """
create table if not exists record (
    id text primary key, version integer not null unique, modified_at text not null,
    deleted integer not null, fields text not null
);
create table if not exists past (
    version integer primary key, id text not null, modified_at text not null,
    deleted integer not null, fields text not null
);
create index if not exists past_by_id on past (id, version);
create table if not exists step (number integer primary key, name text not null, version integer not null);
create table if not exists answer (
    key text primary key, digest text not null, results text not null, version integer not null
);
"""

INDEXES = (
    "create index record_by_life on record (deleted, id)",
    "create index record_by_time on record (modified_at, version)",
)
"""Made once the first load is in: sorting at the end is faster."""

RESTORE = """
insert into record (id, version, modified_at, deleted, fields)
select id, version, modified_at, deleted, fields from past
where version = (select max(version) from past as other where other.id = past.id)
  and not exists (select 1 from record where record.id = past.id)
"""

ROW = "select id, version, modified_at, deleted, fields from record"
Change = dict[str, Any]
Result = dict[str, Any]


class Row(NamedTuple):
    """A record as it stands. `fields` is JSON text."""

    id: str
    version: int
    modified_at: str
    deleted: int
    fields: str

    def values(self) -> Fields:
        """Its values by column."""
        values: Fields = json.loads(self.fields)
        return values

    def document(self) -> dict[str, Any]:
        """As it is answered; of a deleted record nothing but that."""
        head = {"id": self.id, "version": self.version, "modified_at": self.modified_at}
        return head | {"deleted": True} if self.deleted else head | self.values()


class Page(NamedTuple):
    """A part of a listing, the newest version at that moment, and how many there are in all, if that was counted."""

    rows: list[Row]
    version: int
    total: int | None


class KeyReusedError(Exception):
    """The idempotency key came with another body before."""


class UnknownRecordError(Exception):
    """There never was such a record."""


class NoStepError(Exception):
    """There is nothing to advance to, or no such version to go back to."""


@dataclass(frozen=True)
class Listing:
    """Which records: those whose version is greater than `since`, tombstones too with `deleted`."""

    since: int | None = None
    deleted: bool = False

    def condition(self) -> str:
        """As SQL, over `:since`."""
        if self.since is None:
            return "true" if self.deleted else "deleted = 0"
        return "version > :since" + ("" if self.deleted else " and +deleted = 0")  # the plus: by version, not by life


class Store:
    """One file. Safe to use from any thread."""

    def __init__(self, path: Path, style: str) -> None:
        self.path = path
        self.style = style
        self._idle: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        self._turn = Lock()
        with self._connection() as db:
            db.execute("pragma journal_mode = wal")
            db.executescript(TABLES)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            db = self._idle.get_nowait()
        except Empty:
            db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=60)
            db.execute("pragma synchronous = normal")
        try:
            yield db
        finally:
            if db.in_transaction:
                db.execute("rollback")
            self._idle.put(db)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._connection() as db:
            db.execute("begin")
            yield db

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._turn, self._connection() as db:
            db.execute("begin immediate")
            yield db
            db.execute("commit")

    def close(self) -> None:
        """Closes the connections that nobody uses."""
        while not self._idle.empty():
            self._idle.get().close()

    def origin(self) -> str:
        """What the records were first made from; empty in a new file."""
        with self._reading() as db:
            found = db.execute("select name from step where number = 0").fetchone()
            return str(found[0]) if found else ""

    def step(self) -> int:
        """How often it was advanced."""
        with self._reading() as db:
            return _step(db)

    def standing(self) -> dict[str, int]:
        """How many records there are, how many tombstones, and the newest version."""
        with self._reading() as db:
            counts = dict(db.execute("select deleted, count(*) from record group by deleted").fetchall())
            return {"records": counts.get(0, 0), "deleted": counts.get(1, 0), "version": _newest(db)}

    def load(self, origin: str, rows: Iterable[Fields]) -> None:
        """Fills a new file, all or nothing."""
        with self._writing() as db:
            db.execute("pragma cache_size = -65536")
            now = _now(db)
            numbered = enumerate(identified(rows), 1)
            db.executemany(
                "insert into record values (?, ?, ?, 0, ?)",
                ((id_, version, now, json.dumps(fields)) for version, (id_, fields) in numbered),
            )
            for statement in INDEXES:
                db.execute(statement)
            db.execute("insert into step values (0, ?, ?)", (origin, _newest(db)))

    def record(self, id_: str) -> Row:
        """A record or its tombstone. Raises UnknownRecordError."""
        with self._reading() as db:
            return _row(db, id_)

    def numbered_page(self, listing: Listing, page: int, per_page: int) -> Page:
        """The page of that number, by id. Records that come or go between two pages move the others."""
        values = {"since": listing.since, "limit": per_page, "offset": (page - 1) * per_page}
        with self._reading() as db:
            query = f"{ROW} where {listing.condition()} order by id limit :limit offset :offset"
            rows = [Row(*each) for each in db.execute(query, values)]
            return Page(rows, _newest(db), _total(db, listing))

    def following_page(self, listing: Listing, after: str | int | None, until: int | None, limit: int) -> Page:
        """What follows a record: by id, or by version when a version to start from is given, up to version `until`.

        The total is counted on the first page, where `after` is None.
        """
        with self._reading() as db:
            newest = _newest(db)
            values = {
                "since": listing.since,
                "limit": limit,
                "after": after,
                "until": newest if until is None else until,
            }
            condition, order = listing.condition(), "id"
            if listing.since is not None:
                condition, order = f"{condition} and version <= :until", "version"
            if after is not None:
                condition += f" and {order} > :after"
            rows = db.execute(f"{ROW} where {condition} order by {order} limit :limit", values)
            return Page([Row(*each) for each in rows], newest, _total(db, listing) if after is None else None)

    def version_before(self, instant: str) -> int:
        """The newest version that a record has from before an instant. Times never fall while versions rise."""
        with self._reading() as db:
            return int(
                db.execute("select coalesce(max(version), 0) from record where modified_at < ?", [instant]).fetchone()[
                    0
                ]
            )

    def change(self, change: Change, names: dict[str, str]) -> Result:
        """One edit, as `push` takes it. Raises UnknownRecordError."""
        with self._writing() as db:
            _row(db, change["id"])
            return self._changed(db, change, names)

    def delete(self, id_: str, version: int) -> Result:
        """Leaves a tombstone where the record has that version. Raises UnknownRecordError."""
        with self._writing() as db:
            row = _row(db, id_)
            if row.deleted or row.version != version:
                return _conflict(row)
            _write(db, id_, row.fields, deleted=True)
            return _confirmed(_row(db, id_))

    def push(
        self, key: str, digest: str, changes: list[Change], names: dict[str, str], only: int | None = None
    ) -> list[Result]:
        """A result per change, once for every key: what was answered before is answered again.

        With `only`, the first so many are applied and remembered; the next call with the key does the rest.
        Raises KeyReusedError when the key came with another body.
        """
        with self._writing() as db:
            found = db.execute("select digest, results from answer where key = ?", [key]).fetchone()
            if found and found[0] != digest:
                raise KeyReusedError
            results: list[Result] = json.loads(found[1]) if found else []
            missing = changes[len(results) : only]
            results += [self._changed(db, change, names) for change in missing]
            if missing or not found:
                answer = (key, digest, json.dumps(results), _newest(db))
                db.execute("insert or replace into answer values (?, ?, ?, ?)", answer)
            return results

    def _changed(self, db: sqlite3.Connection, change: Change, names: dict[str, str]) -> Result:
        try:
            row = _row(db, change["id"])
        except UnknownRecordError:
            return _refused(change["id"], "unknown-record", "There is no such record.")
        if row.deleted:
            return _refused(row.id, "deleted", "The record was deleted.") | {"current": row.document()}
        if row.version != change["version"]:
            return _conflict(row)
        try:
            fields = edited(row.values(), change["fields"], names, self.style)
        except RefusedError as refused:
            return _refused(row.id, refused.code, str(refused))
        if fields != row.values():
            _write(db, row.id, json.dumps(fields), deleted=False)
        return _confirmed(_row(db, row.id))

    def advance_to(self, name: str, old: Iterable[Fields], new: Iterable[Fields]) -> dict[str, int]:
        """Does to the records what happened to their source between two of its exports.

        A cell that the source did not change keeps what was pushed into it.
        """
        before, after = dict(identified(old)), dict(identified(new))
        counts = {"inserted": 0, "removed": 0, "changed": 0, "reformatted": 0}
        with self._writing() as db:
            for id_, fields in after.items():
                if id_ not in before:
                    _write(db, id_, json.dumps(fields), deleted=False)
                    counts["inserted"] += 1
                elif fields != before[id_]:
                    _merge(db, id_, before[id_], fields)
                    counts["reformatted" if same(fields, before[id_]) else "changed"] += 1
            counts["removed"] = _remove(db, before.keys() - after.keys())
            return counts | _stepped(db, name)

    def advance_by(self, seed: int, share: float) -> dict[str, int]:
        """Changes about that share of made-up records; a tenth as many come and go. The seed decides which."""
        counts = {"inserted": 0, "removed": 0, "changed": 0, "reformatted": 0}
        with self._writing() as db:
            number = _step(db) + 1
            random = Random(f"{seed}/step/{number}")  # noqa: S311
            ids = [id_ for (id_,) in db.execute("select id from record where deleted = 0 order by id")]
            gone = set()
            for id_ in ids:
                draw = random.random()
                if draw < share:
                    fields = generated.moved(_row(db, id_).values(), random, self.style)
                    _write(db, id_, json.dumps(fields), deleted=False)
                    counts["changed"] += 1
                elif draw < share * 1.1:
                    gone.add(id_)
            counts["removed"] = _remove(db, gone)
            coming = generated.rows(round(len(ids) * share / 10), seed, self.style, first=number * 10_000_000)
            for id_, fields in identified(coming):
                _write(db, id_, json.dumps(fields), deleted=False)
                counts["inserted"] += 1
            return counts | _stepped(db, f"made up, share {share}")

    def restore(self, version: int) -> None:
        """Everything as it was when that version was the newest, as from a backup: answers to pushes, too."""
        with self._writing() as db:
            if not (first := _first(db)) <= version <= _newest(db):
                raise NoStepError(f"There is no version {version} to go back to: {first} to {_newest(db)}.")
            db.execute("delete from past where version > ?", [version])
            db.execute("delete from record where version > ?", [version])
            db.execute(RESTORE)
            db.execute("delete from past where version in (select version from record)")
            db.execute("delete from step where version > ?", [version])
            db.execute("delete from answer where version > ?", [version])


def _row(db: sqlite3.Connection, id_: str) -> Row:
    found = db.execute(f"{ROW} where id = ?", [id_]).fetchone()
    if found is None:
        raise UnknownRecordError(id_)
    return Row(*found)


def _write(db: sqlite3.Connection, id_: str, fields: str, *, deleted: bool) -> None:
    """The record's next version; the one before moves into the past."""
    db.execute(
        "insert into past select version, id, modified_at, deleted, fields from record where id = ?",
        [id_],
    )
    row = (id_, _newest(db) + 1, _now(db), int(deleted), fields)
    db.execute("insert or replace into record values (?, ?, ?, ?, ?)", row)


def _merge(db: sqlite3.Connection, id_: str, old: Fields, new: Fields) -> None:
    row = _row(db, id_)
    if row.deleted:
        return
    fields = row.values()
    for column in COLUMNS:
        moved = typed(column, old[column]) != typed(column, new[column])
        if moved or fields[column] == old[column]:
            fields[column] = new[column]
    if fields != row.values():
        _write(db, id_, json.dumps(fields), deleted=False)


def _remove(db: sqlite3.Connection, ids: set[str]) -> int:
    live = [row for id_ in sorted(ids) if not (row := _row(db, id_)).deleted]
    for row in live:
        _write(db, row.id, row.fields, deleted=True)
    return len(live)


def _stepped(db: sqlite3.Connection, name: str) -> dict[str, int]:
    number = _step(db) + 1
    db.execute("insert into step values (?, ?, ?)", (number, name, _newest(db)))
    return {"step": number, "version": _newest(db), "records": _total(db, Listing())}


def _step(db: sqlite3.Connection) -> int:
    return int(db.execute("select coalesce(max(number), 0) from step").fetchone()[0])


def _first(db: sqlite3.Connection) -> int:
    """The newest version of the first load: nothing is older."""
    return int(db.execute("select version from step where number = 0").fetchone()[0])


def _newest(db: sqlite3.Connection) -> int:
    return int(db.execute("select coalesce(max(version), 0) from record").fetchone()[0])


def _total(db: sqlite3.Connection, listing: Listing) -> int:
    query = f"select count(*) from record where {listing.condition()}"  # noqa: S608
    return int(db.execute(query, {"since": listing.since}).fetchone()[0])


def _now(db: sqlite3.Connection) -> str:
    """Milliseconds in UTC, never before the last one given."""
    last = db.execute("select max(modified_at) from record").fetchone()[0] or ""
    return max(str(last), instant(datetime.now(UTC)))


def instant(moment: datetime) -> str:
    """`2025-06-30T12:00:00.000Z`: as text in the order of time."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _confirmed(row: Row) -> Result:
    return {"id": row.id, "status": "confirmed", "version": row.version, "record": row.document()}


def _conflict(row: Row) -> Result:
    return {"id": row.id, "status": "conflict", "version": row.version, "current": row.document()}


def _refused(id_: str, code: str, text: str) -> Result:
    return {"id": id_, "status": "refused", "reason": {"code": code, "text": text}}
