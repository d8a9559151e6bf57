"""A batch of events → the row versions it makes and closes, in memory and in position order. Pure."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

import msgspec

from eventstore.codec import Undecodable
from eventstore.log import Recorded, Stored
from projections.projection import Key, Projection, Seen, Table

FOREVER = 2**63 - 1
"""The `valid_to` of a row that still holds."""

_COLUMNS = Recorded.__struct_fields__[1:-1]  # a stored row has all but the tenant and the decoded event
_UNDECODED = [_COLUMNS.index(name) for name in ("type", "leaf", "raw_stream_id")]
PAYLOAD = _COLUMNS.index("payload")
"""Where a stored row has its payload."""


class Unreadable(msgspec.Struct, frozen=True):
    """An event that today's code cannot decode. Its parking key is its stream."""

    position: int
    type: str
    leaf: bytes
    raw_stream_id: bytes
    error: str


Read = Seen | Unreadable


def read_one(stored: Stored) -> Read:
    """The event, or why it cannot be read."""
    try:
        return stored.decoded()
    except (Undecodable, msgspec.MsgspecError, ValueError) as error:
        kind, leaf, stream_id = (stored.row[index] for index in _UNDECODED)
        return Unreadable(stored.position, kind, leaf, stream_id, f"{type(error).__name__}: {error}")


class Parked(msgspec.Struct, frozen=True):
    """An event that must wait, and why; `error` is None when it waits behind another of its key."""

    event: Read
    key: str
    error: str | None


Row = Any
_Fold = Callable[[Any, Seen, Any], Any]
_Step = tuple["Rows", _Fold, Key, Any]
_Undo = tuple["Rows", Key, tuple[Row | None, int], int, int]


class Rows:
    """What a batch makes of one table. `closed`: where stored versions lie that ended. `made`: versions with valid_from
    and valid_to, but for those that still hold: they are the last of each key in `state`, with the position they hold
    from; a negative one says that the table has it already.
    """

    __slots__ = ("closed", "made", "places", "state", "table")

    def __init__(self, table: Table[Any]) -> None:
        self.table = table
        self.state: dict[Key, tuple[Row | None, int]] = {}
        self.closed: list[str] = []
        self.places: dict[Key, str] = {}
        self.made: list[tuple[Row, int, int]] = []

    def finished(self) -> list[tuple[Row, int, int]]:
        """Every version to insert."""
        holding = [(row, since, FOREVER) for row, since in self.state.values() if row is not None and since >= 0]
        return self.made + holding


class Batch:
    """Events of one company on their way into one model: `touched()`, then `begin` with the rows found, then `fold`."""

    def __init__(self, projection: Projection, events: Sequence[Read]) -> None:
        self.projection = projection
        self.rows = {table.name: Rows(table) for table in projection.tables}
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
        elif isinstance(event, Unreadable):
            self._plan.append((event, (), ValueError(event.error)))
        else:
            try:
                steps = [
                    (self.rows[change.table.name], change.fold, key, part)
                    for change in changes
                    for key, part in change.parts(event)
                ]
            except Exception as error:  # the model's own code: its key is parked, the rest flows
                self._plan.append((event, (), error))
            else:
                self._plan.append((event, steps, None))

    def touched(self) -> dict[str, list[Key]]:
        """The keys, by table, whose current rows the fold needs. Append-only tables need none."""
        keys: dict[str, dict[Key, None]] = {name: {} for name, rows in self.rows.items() if not rows.table.append_only}
        for _, steps, _ in self._plan:
            for rows, _, key, _ in steps:
                if not rows.table.append_only:
                    keys[rows.table.name][key] = None
        return {name: list(found) for name, found in keys.items() if found}

    def begin(self, table_name: str, found: Iterable[tuple[Key, Row, int, str]]) -> None:
        """Gives the rows that now hold, of the keys touched: since when, and where they lie."""
        rows = self.rows[table_name]
        for key, row, since, place in found:
            rows.state[key] = (row, -since)
            rows.places[key] = place

    def fold(self, waiting: set[str]) -> None:
        """Folds every event whose key is not among those `waiting`; a key whose fold fails joins them."""
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

    def _key(self, event: Read) -> str:
        if isinstance(event, Unreadable):
            return str(UUID(bytes=event.raw_stream_id))
        return str(self.projection.key(event))

    def _attempt(self, event: Read, steps: Sequence[_Step]) -> Exception | None:
        undo: list[_Undo] = []
        try:
            for rows, fold, key, part in steps:
                _step(rows, fold, key, part, event, undo)
        except Exception as error:  # the model's own code
            for rows, key, before, closed, made in reversed(undo):
                rows.state[key] = before
                del rows.closed[closed:], rows.made[made:]
            return error
        return None


def _step(rows: Rows, fold: _Fold, key: Key, part: Any, event: Any, undo: list[_Undo]) -> None:
    position = event.position
    if rows.table.append_only:
        undo.append((rows, key, (None, 0), len(rows.closed), len(rows.made)))
        row = fold(None, event, part)
        if row is not None:
            rows.made.append((row, position, FOREVER))
        return
    before = rows.state.get(key, (None, 0))
    row, since = before
    after = fold(row, event, part)
    if after is row or after == row:
        return
    undo.append((rows, key, before, len(rows.closed), len(rows.made)))
    if row is not None:
        if since < 0:
            rows.closed.append(rows.places[key])
            rows.made.append((row, -since, position))
        elif since != position:
            rows.made.append((row, since, position))
    rows.state[key] = (after, position)


def _text(event: Read, error: Exception) -> str:
    return event.error if isinstance(event, Unreadable) else f"{type(error).__name__}: {error}"
