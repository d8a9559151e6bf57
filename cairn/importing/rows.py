"""Rows of the sources as typed values of our fields, every fault at its row and column."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from cairn.importing import sources
from cairn.importing.faults import Fault, Faults, Place
from cairn.importing.kinds import COMPANY, KINDS
from cairn.importing.plan import Plan, PlanWrong, TablePlan
from domain.cells import BLANK, Absent, Unreadable, as_text, reader_of
from domain.mapping import FieldMapping, column_name
from domain.money import plain
from workers.upstreams.tables import TableRow
from workers.upstreams.upstream import Broken

Told: TypeAlias = str | int | Decimal | date | bool | dict[str, Any]
"""A value, or a document; a field that is blank is not there."""
_OPTIONS: Final = {"date-order-unstated": "date_order", "decimal-sign-unstated": "decimal_sign"}
"""What cannot be read without being stated → the option that states it."""


class Row(NamedTuple):
    """A row that was read: where it stands, the columns its fields are from, and field → value."""

    place: Place
    columns: Mapping[str, str]
    values: dict[str, Told]

    def text(self, field: str) -> str:
        """The value of a text field; "" when it is blank."""
        return str(self.values.get(field, ""))

    def fault(self, field: str, code: str, message: str) -> Fault:
        """Something wrong with a field of it, or with all of it when the field is ""."""
        return Fault(self.place, self.columns.get(field, field), code, message)


Rows: TypeAlias = dict[str, list[Row]]
"""Kind → its rows, in the order of the sources."""


class _Reading(NamedTuple):
    """How one field of a table is read."""

    field: str
    column: str
    place: int
    read: Callable[[object], object]
    words: Mapping[str, str]
    required: bool


def read(plan: Plan, paths: Sequence[Path], faults: Faults, advance: Callable[[str, int, int | None], None]) -> Rows:
    """Every row of every table of the plan. Raises SourceWrong, Asks, PlanWrong."""
    found: Rows = {what: [] for what in KINDS}
    seen: dict[str, dict[tuple[str, ...], Place]] = {what: {} for what in KINDS}
    for table in plan.tables:
        path = sources.of_plan(table, paths)
        rows = found[table.what]
        before = len(rows)
        for row in _of_table(plan, table, path, faults):
            if len(rows) % 10_000 == 0:
                advance(f"reading {path.name}", len(rows), None)
            if _is_first(row, table, seen[table.what], faults):
                rows.append(row)
        faults.add_all(_unexpected(table, path, rows[before:]))
    return found


def _of_table(plan: Plan, table: TablePlan, path: Path, faults: Faults) -> Iterator[Row]:
    sheet = sources.opened(path, table)
    readings = _readings(table, sheet.columns)
    columns = {reading.field: reading.column for reading in readings}
    fixed = _fixed(plan, table)
    empty = True
    try:
        for cells in sheet.rows:
            empty = False
            place = Place(path.name, table.table, cells.number)
            if cells.fault is not None:
                faults.add(Fault(place, "", "row-unfit", cells.fault))
            elif (values := _values(cells, readings, fixed, place, faults)) is not None:
                yield Row(place, columns, values)
    except Broken as error:
        raise sources.wrong(path, error) from error
    if empty:
        raise sources.wrong(path, Broken("upstream.file-empty", rows=0))


def _readings(table: TablePlan, there: Sequence[str]) -> list[_Reading]:
    mapping = FieldMapping(version=1, fields=(), identity=())
    readings = []
    for name in table.columns:
        field, given = table.field(name), table.column(name)
        if given.column is None:
            continue
        column = column_name(given.column)
        words = {word.casefold(): ours for word, ours in given.words.items()}
        read = _document if field.document else reader_of(given.as_mapped(name, field.type), mapping)
        readings.append(_Reading(name, column, there.index(column), read, words, field.required))
    return readings


def _fixed(plan: Plan, table: TablePlan) -> dict[str, Told]:
    """What all rows of the table have in common."""
    fixed: dict[str, Told] = {} if plan.company is None or table.what == "companies" else {COMPANY: str(plan.company)}
    mapping = FieldMapping(version=1, fields=(), identity=())
    for name in table.columns:
        given = table.column(name)
        if given.value is not None:
            try:
                field = table.field(name)
                read = _document if field.document else reader_of(given.as_mapped(name, field.type), mapping)
                value = read(given.value)
            except Unreadable as error:
                raise PlanWrong([f"{table.what}: columns.{name}.value: {error}"]) from error
            if not isinstance(value, Absent):
                fixed[name] = _told(value)
    return fixed


def _values(
    cells: TableRow, readings: Sequence[_Reading], fixed: Mapping[str, Told], place: Place, faults: Faults
) -> dict[str, Told] | None:
    """Field → value; None when something is wrong with one of them."""
    values = dict(fixed)
    good = True
    for reading in readings:
        cell = cells.cells[reading.place]
        try:
            if isinstance(cell, bytes):
                raise Unreadable("binary", "Bytes are no value")
            if reading.words and (ours := reading.words.get(as_text(cell).casefold())) is not None:
                cell = ours
            value = reading.read(cell)
        except Unreadable as error:
            good = False
            faults.add(Fault(place, reading.column, error.code, str(error)))
            if option := _OPTIONS.get(error.code):
                faults.ask(f"{place.file}: {error}. State {option} of {reading.field} in the plan (row {place.row})")
            continue
        if not isinstance(value, Absent):
            values[reading.field] = _told(value)
        elif reading.required:
            good = False
            faults.add(Fault(place, reading.column, "blank", f"{reading.field} is required"))
    return values if good else None


def _told(value: object) -> Told:
    assert isinstance(value, str | int | Decimal | date | bool | dict)
    return value


def _document(cell: object) -> dict[str, Any] | Absent:
    """A JSON object, as a dump has it or as its text. Raises Unreadable."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return BLANK
    try:
        found = msgspec.json.decode(cell) if isinstance(cell, str) else cell
    except msgspec.DecodeError as error:
        raise Unreadable("document-unreadable", f"It is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise Unreadable("document-unreadable", "It is no JSON object")
    return found


def _is_first(row: Row, table: TablePlan, seen: dict[tuple[str, ...], Place], faults: Faults) -> bool:
    """Whether no row before it is of the same thing."""
    key = tuple(as_text(row.values.get(field)) for field in table.kind.key)
    before = seen.setdefault(key, row.place)
    if before is row.place:
        return True
    where = f"row {before.row} of {before.file}" + (f" [{before.table}]" if before.table else "")
    own = table.kind.key[-1] if table.kind.key[-1] in row.columns else "code"
    faults.add(row.fault(own, "key-repeated", f"{' / '.join(filter(None, key[-2:]))} is in {where} already"))
    return False


def _unexpected(table: TablePlan, path: Path, rows: Sequence[Row]) -> Iterator[Fault]:
    """Where the table is not what its keeper says of it."""
    place = Place(path.name, table.table, 0)
    if table.expect.rows is not None and table.expect.rows != len(rows):
        message = f"{table.expect.rows:,} rows were expected, and {len(rows):,} read"
        yield Fault(place, "", "rows-unexpected", message)
    for field, expected in table.expect.sums.items():
        found = sum_of(rows, field)
        if found != Decimal(expected):
            message = f"the sum of {field} was expected to be {expected}, and is {plain(found)}"
            yield Fault(place, str(table.column(field).column), "sum-unexpected", message)


def sum_of(rows: Sequence[Row], field: str) -> Decimal:
    """What a number adds up to; blank ones add nothing."""
    return sum((value for row in rows if isinstance(value := row.values.get(field), Decimal)), Decimal(0))
