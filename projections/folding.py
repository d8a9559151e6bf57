"""A batch of events → the row versions it makes and closes, in memory and in position order. Pure."""

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import groupby
from operator import add, itemgetter, neg, sub
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from eventstore.codec import Undecodable
from eventstore.log import COLUMNS, Run, Stored
from projections.projection import EVERYTHING, Beside, Change, Key, Projection, Seen, Sums, Table

FOREVER = 2**63 - 1
"""The `valid_to` of a row that still holds."""

_LEAF = COLUMNS.index("leaf")
_UNDECODED = [COLUMNS.index(name) for name in ("type", "leaf", "stream_id")]


class Unreadable(msgspec.Struct, frozen=True):
    """An event that today's code cannot decode. Its parking key is its stream."""

    position: int
    type: str
    leaf: bytes
    raw_stream_id: bytes
    error: str


class Passed(msgspec.Struct, frozen=True):
    """An event that nobody who reads this page handles, not decoded."""

    position: int
    type: str
    leaf: bytes


Read = Seen | Unreadable | Passed


def read_one(stored: Stored) -> Read:
    """The event, or why it cannot be read."""
    try:
        return stored.decoded()
    except (Undecodable, msgspec.MsgspecError, ValueError) as error:
        kind, leaf, stream_id = (stored.row[index] for index in _UNDECODED)
        return Unreadable(stored.position, kind, leaf, stream_id, f"{type(error).__name__}: {error}")


def read_run(run: Run, types: Collection[str] | None = None) -> Sequence[Read]:
    """Neighbours, of which those that cannot be read come out one by one; `types` are those that somebody handles."""
    if types is not None and run.is_apart:
        return [read_one(stored) if stored.type in types else _passed(stored) for stored in run.stored()]
    try:
        return run.decoded()
    except (Undecodable, msgspec.MsgspecError, ValueError):
        return [read_one(stored) for stored in run.stored()]


def _passed(stored: Stored) -> Passed:
    return Passed(stored.position, stored.type, stored.row[_LEAF])


class Parked(msgspec.Struct, frozen=True):
    """An event that must wait, and why; `error` is None when it waits behind another of its key."""

    event: Read
    key: str
    error: str | None


Row = Any
_Fold = Callable[[Any, Seen, Any], Any]


Place = str | Key
Held = dict[str, dict[Key, tuple[Row | None, int]]]
"""By table and key: the row that holds and since when; None and 0 where it is known that none does."""


class Cell:
    """One key of a table during a batch: its row, the position that holds from, and where the table has it: a place, or
    the key to look it up by.

    `since` is negative while the table has the row already, and 0 when there is none. `new`: it was not looked for,
    because the first event about it says that there is none.
    """

    __slots__ = ("new", "place", "row", "since")

    def __init__(self, new: bool = False) -> None:
        self.row: Row | None = None
        self.since = 0
        self.place: Place = ""
        self.new = new

    @property
    def replaces(self) -> bool:
        """Whether its row is to take the place of one that the table has."""
        return self.row is not None and self.since > 0 and self.place != ""


class Group(list[Key]):
    """The keys of a group's rows that a batch knows of, in the order it came to know them. `wanted`: by a change of
    every one of them, so that the table is to be asked for more.
    """

    wanted = False


_Step = tuple["Rows", _Fold, Cell | Group | None, Any]
_Undo = tuple["Rows", Cell | None, Row | None, int, int, int]
_Move = tuple[Seen, Row | None, Row | None]
"""An event, and a row before and after it."""


class Rows:
    """What a batch makes of one table. `closed`: where stored versions lie that ended, or their keys. `made`: versions
    with valid_from and valid_to, but for those that still hold: they are the last of each key in `cells`.
    """

    __slots__ = ("cells", "closed", "groups", "made", "moves", "table")

    def __init__(self, table: Table[Any], *, summed: bool = False) -> None:
        self.table = table
        self.groups: dict[Any, Group] = {}
        self.moves: list[_Move] | None = [] if summed else None
        self.cells: dict[Key, Cell] = {}
        self.closed: list[Place] = []
        self.made: list[tuple[Row, int, int]] = []

    def cell(self, key: Key, new: bool = False) -> Cell | None:
        """The cell of a key; None where rows are only ever added."""
        if self.table.append_only:
            return None
        found = self.cells.get(key)
        if found is None:
            found = self.cells[key] = Cell(new)
            if self.table.grouped_at is not None:
                self.group(key[self.table.grouped_at]).append(key)
        return found

    def standing(self, key: Key) -> Cell:
        """The cell of a key that may have one."""
        found = self.cells.get(key) or self.cell(key)
        assert found is not None
        return found

    def group(self, of: Any) -> Group:
        """The keys of a group."""
        found = self.groups.get(of)
        if found is None:
            found = self.groups[of] = Group()
        return found

    def wanted(self, of: Any) -> Group:
        """The keys of a group, to which all are to come that the table has."""
        group = self.group(of)
        group.wanted = True
        return group

    def held(self, keys: Iterable[Key]) -> list[tuple[Key, Row, int, Place]]:
        """Of these keys the rows that hold after the batch, as a later one may `begin` with them."""
        cells = ((key, self.cells[key]) for key in keys)
        return [(key, cell.row, abs(cell.since), key) for key, cell in cells if cell.row is not None]

    def left(self) -> dict[Key, tuple[Row | None, int]]:
        """What holds after the batch, of every key it touched."""
        return {key: (cell.row, abs(cell.since)) for key, cell in self.cells.items()}

    def gone(self) -> list[Place]:
        """Where stored versions lie that ended without another in their place."""
        replaced = {cell.place for cell in self.cells.values() if cell.replaces}
        return [place for place in self.closed if place not in replaced]

    def replacing(self) -> list[tuple[Row, int, int]]:
        """Versions that take the place of stored ones."""
        return [(cell.row, cell.since, FOREVER) for cell in self.cells.values() if cell.replaces]

    def beginning(self) -> list[tuple[Row, int, int]]:
        """Versions that hold, of keys of which the table has none that does."""
        cells = self.cells.values()
        return [
            (cell.row, cell.since, FOREVER)
            for cell in cells
            if cell.row is not None and cell.since > 0 and not cell.replaces
        ]

    def finished(self) -> list[tuple[Row, int, int]]:
        """Every version to insert."""
        cells = self.cells.values()
        return self.made + [
            (cell.row, cell.since, FOREVER) for cell in cells if cell.row is not None and cell.since > 0
        ]


class Batch:
    """Events of one company on their way into one model: `touched()`, then `begin` with the rows found, then `fold`.

    Of a model with sums then `summed()`, `begin` with the rows of those, and `add_up`. A `trusting` batch does not have
    keys looked up that are new by what the events say; ask whether it was `right_to_trust()`.
    """

    def __init__(self, projection: Projection, events: Sequence[Read], *, trusting: bool = False) -> None:
        self.projection = projection
        self._trusting = trusting
        summed = {sums.of.name for sums in projection.sums}
        self.rows = {table.name: Rows(table, summed=table.name in summed) for table in projection.tables}
        self._sums: list[tuple[Rows, list[_Added]]] = []
        self.folded = False
        self.handled: list[Read] = []
        self.ignored: list[Read] = []
        self.parked: list[Parked] = []
        self._plan: list[tuple[Read, Sequence[_Step], Exception | None]] = []
        for event in events:
            self._add(event)

    def _add(self, event: Read) -> None:
        changes = self.projection.changes.get(event.type)
        if changes is None:
            self.ignored.append(event)
        elif isinstance(event, Passed):
            raise TypeError(f"{event.type} was passed over, but {self.projection.name} handles it")
        elif isinstance(event, Unreadable):
            self._plan.append((event, (), ValueError(event.error)))
        else:
            try:
                steps = [step for change in changes for step in self._steps(change, event)]
            except Exception as error:  # the model's own code: its key is parked, the rest flows
                self._plan.append((event, (), error))
            else:
                self._plan.append((event, steps, None))

    def _steps(self, change: Change, event: Seen) -> list[_Step]:
        rows, fold = self.rows[change.table.name], change.fold
        new = change.new and self._trusting
        if change.beside is None:
            return [(rows, fold, rows.cell(key, new), part) for key, part in change.parts(event)]
        table, key_there = change.beside
        others = self.rows[table.name]
        steps: list[_Step] = []
        for key, part in change.parts(event):
            cell = rows.wanted(key) if change.every else rows.cell(key, new)
            steps.append((rows, fold, cell, Beside(part, others.standing(key_there(event, key)))))
        return steps

    def changes_rows(self) -> bool:
        """Whether there is anything to fold."""
        return bool(self._plan)

    def groups(self) -> dict[str, list[Any]]:
        """The groups, by table, of which the fold needs all current rows."""
        wanted = {name: [of for of, group in rows.groups.items() if group.wanted] for name, rows in self.rows.items()}
        return {name: groups for name, groups in wanted.items() if groups}

    def touched(self) -> dict[str, list[Key]]:
        """The keys, by table, whose current rows the fold needs. Append-only tables need none."""
        return self._sought(self.rows)

    def _sought(self, names: Iterable[str]) -> dict[str, list[Key]]:
        sought = {name: [key for key, cell in self.rows[name].cells.items() if not cell.new] for name in names}
        return {name: keys for name, keys in sought.items() if keys}

    def right_to_trust(self) -> bool:
        """After the fold: whether a row that holds all the same cannot escape notice. The table refuses a second one;
        but a row that went again would not meet it, nor does a fold that failed.
        """
        new = [cell for rows in self.rows.values() for cell in rows.cells.values() if cell.new]
        return not new or (not self.parked and all(cell.row is not None for cell in new))

    def left(self) -> Held:
        """What holds after the batch, of every key it touched."""
        return {name: rows.left() for name, rows in self.rows.items() if rows.cells}

    def begin(self, table_name: str, found: Iterable[tuple[Key, Row, int, Place]]) -> None:
        """Gives the rows that now hold, of the keys and groups touched: since when, and where they lie."""
        rows = self.rows[table_name]
        for key, row, since, place in found:
            cell = rows.standing(key)
            cell.row, cell.since, cell.place = row, -since, place

    def fold(self, waiting: set[str]) -> None:
        """Folds every event whose key is not among those `waiting`; a key whose fold fails joins them."""
        self.folded = True
        for event, steps, fault in self._plan:
            if waiting and (key := self._key(event)) in waiting:
                self.parked.append(Parked(event, key, None))
                continue
            error = fault or self._attempt(event, steps)
            if error is None:
                self.handled.append(event)
            else:
                key = self._key(event)
                waiting.add(key)
                self.parked.append(Parked(event, key, _text(event, error)))

    def fold_strictly(self) -> None:
        """Folds every event, and lets the first error out, with the event in its attribute `event`."""
        for event, steps, fault in self._plan:
            error = fault or self._attempt(event, steps)
            if error is not None:
                error.event = event  # type: ignore[attr-defined]  # for whoever asked: which event it was
                raise error
            self.handled.append(event)

    def park(self, event: Read, error: str) -> None:
        """Parks the only event of this batch, which the database refused."""
        self.parked.append(Parked(event, self._key(event), error))

    def summed(self) -> dict[str, list[Key]]:
        """After the fold: the keys, by table, of the sums that its changes touch."""
        tables = dict.fromkeys(sums.into.name for sums in self.projection.sums)
        for name in tables:
            into = self.rows[name]
            added = _added(
                [(sums, self.rows[sums.of.name].moves or ()) for sums in self.projection.sums if sums.into.name == name]
            )
            for each in added:
                for key in each.amounts:
                    into.cell(key)
            self._sums.append((into, added))
        return self._sought(tables)

    def add_up(self) -> None:
        """Puts the changes into the sums, each event's into versions of its own."""
        for into, added in self._sums:
            for each in added:
                for key, amounts in each.amounts.items():
                    _change_row(into, _plus, into.cells[key], (into.table.row, key, amounts), each.event, [])

    def _key(self, event: Read) -> str:
        if self.projection.sums:
            return EVERYTHING
        assert not isinstance(event, Passed)  # such a one is only ever ignored
        if isinstance(event, Unreadable):
            return str(UUID(bytes=event.raw_stream_id))
        return str(self.projection.key(event))

    def _attempt(self, event: Read, steps: Sequence[_Step]) -> Exception | None:
        undo: list[_Undo] = []
        try:
            for rows, fold, cell, part in steps:
                if cell is None:
                    _add_row(rows, fold, part, event, undo)
                elif isinstance(cell, Cell):
                    _change_row(rows, fold, cell, part, event, undo)
                else:
                    _change_every(rows, fold, cell, part, event, undo)
        except Exception as error:  # the model's own code
            for rows, cell, row, since, closed, made in reversed(undo):
                if cell is not None:
                    cell.row, cell.since = row, since
                del rows.closed[closed:], rows.made[made:]
                if rows.moves is not None:  # those of this event are the last
                    while rows.moves and rows.moves[-1][0] is event:
                        rows.moves.pop()
            return error
        return None


class _Added(NamedTuple):
    """What an event adds to the sums of one table, by key."""

    event: Seen
    amounts: dict[Key, tuple[Any, ...]]


_Amounts = dict[Any, tuple[Any, ...]]


def _added(moved: Iterable[tuple[Sums, Sequence[_Move]]]) -> list[_Added]:
    """By event, in their order: new contributions less old ones, without those that cancel out."""
    by_position: dict[int, _Added] = {}
    for sums, moves in moved:
        for event, group in groupby(moves, key=itemgetter(0)):
            into = by_position.setdefault(event.position, _Added(event, {})).amounts
            if sums.spread is None:
                _add_moves(into, sums, group)
                continue
            buckets: _Amounts = {}
            _add_moves(buckets, sums, group)
            for bucket, amounts in buckets.items():
                for key in sums.spread(bucket):
                    into[key] = tuple(map(add, into[key], amounts)) if key in into else amounts
    added = [
        _Added(event, {key: amounts for key, amounts in all_amounts.items() if any(amounts)})
        for _, (event, all_amounts) in sorted(by_position.items())
    ]
    return [each for each in added if each.amounts]


def _add_moves(amounts: _Amounts, sums: Sums, moves: Iterable[_Move]) -> None:
    for _, before, after in moves:
        if before is not None:
            for key, parts in sums.parts(before):
                amounts[key] = tuple(map(sub, amounts[key], parts)) if key in amounts else tuple(map(neg, parts))
        if after is not None:
            for key, parts in sums.parts(after):
                amounts[key] = tuple(map(add, amounts[key], parts)) if key in amounts else parts


def _plus(row: Row | None, _: Seen, part: tuple[type[Any], Key, tuple[Any, ...]]) -> Row | None:
    kind, key, amounts = part
    if row is not None:
        amounts = tuple(map(add, msgspec.structs.astuple(row)[len(key) :], amounts))
    return kind(*key, *amounts) if any(amounts) else None


def _add_row(rows: Rows, fold: _Fold, part: Any, event: Any, undo: list[_Undo]) -> None:
    row = fold(None, event, part)
    if row is not None:
        undo.append((rows, None, None, 0, 0, len(rows.made)))
        rows.made.append((row, event.position, FOREVER))
        if rows.moves is not None:
            rows.moves.append((event, None, row))


def _change_row(rows: Rows, fold: _Fold, cell: Cell, part: Any, event: Any, undo: list[_Undo]) -> None:
    row, since = cell.row, cell.since
    after = fold(row, event, part)
    if after is row or after == row:
        return
    undo.append((rows, cell, row, since, len(rows.closed), len(rows.made)))
    position = event.position
    if row is not None:
        if since < 0:
            rows.closed.append(cell.place)
            rows.made.append((row, -since, position))
        elif since != position:
            rows.made.append((row, since, position))
    cell.row, cell.since = after, position
    if rows.moves is not None:
        rows.moves.append((event, row, after))


def _change_every(rows: Rows, fold: _Fold, group: Group, part: Any, event: Any, undo: list[_Undo]) -> None:
    for key in group:
        cell = rows.cells[key]
        if cell.row is not None:
            _change_row(rows, fold, cell, part, event, undo)


def _text(event: Read, error: Exception) -> str:
    return event.error if isinstance(event, Unreadable) else f"{type(error).__name__}: {error}"
