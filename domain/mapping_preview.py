"""What a mapping makes of a sample of rows, and what it cannot know: a person is asked instead of a guess."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Final, Literal, TypeVar
from uuid import UUID

import msgspec

from domain.cells import Absent, Unreadable, Value, as_text, date_of, number_of, reader_of, year_last
from domain.faults import Fault
from domain.mapping import DateOrder, DecimalSign, FieldMapping, MappedField
from domain.pfa import FieldType
from domain.typed_rows import Identities, Row

T = TypeVar("T")

SHOWN_LIMIT: Final = 10
"""Examples, faults and words listed of a field."""
SAMPLE_LIMIT: Final = 10_000
ASK: Final = "ask"
_ANY: Final = UUID(int=0)
_NUMBERS: Final = frozenset({FieldType.INTEGER, FieldType.DECIMAL, FieldType.MONEY})


class RowFault(msgspec.Struct, frozen=True, kw_only=True):
    """A cell that cannot be read. Rows count from 1."""

    row: int
    code: str
    message: str


class FieldPreview(msgspec.Struct, frozen=True, kw_only=True):
    """One field over the sample.

    `date_order` and `decimal_sign` are what the cells show: `ask` where they can be read in more than one way, null
    where nothing shows it. `words` are texts that could not be read, with how often: candidates for missing words.
    """

    name: str
    column: str
    found: bool
    values: int
    absent: dict[str, int]
    faulty: int
    examples: tuple[tuple[str, Value], ...]
    faults: tuple[RowFault, ...]
    words: dict[str, int]
    date_order: DateOrder | Literal["ask"] | None = None
    decimal_sign: DecimalSign | Literal["ask"] | None = None


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """`asks` names what must be stated before the mapping can be used, as paths into it."""

    rows: int
    fields: tuple[FieldPreview, ...]
    unmapped_columns: tuple[str, ...]
    missing_columns: tuple[str, ...]
    repeated: int
    without_identity: int
    asks: tuple[str, ...]


def preview(sample: Iterable[Row], mapping: FieldMapping) -> Preview:
    """Reads at most `SAMPLE_LIMIT` rows. Nothing is decided: what is stated is held to what the cells show."""
    rows = [row for row, _ in zip(sample, range(SAMPLE_LIMIT), strict=False)]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    fields = tuple(_field(field, mapping, rows) for field in mapping.fields)
    identities = Identities(mapping, _ANY)
    unidentified = sum(isinstance(identities.of(row), Fault) for row in rows)
    return Preview(
        rows=len(rows),
        fields=fields,
        unmapped_columns=tuple(column for column in columns if column not in mapping.columns()),
        missing_columns=tuple(sorted(mapping.columns() - set(columns))),
        repeated=identities.repeated,
        without_identity=unidentified,
        asks=tuple(_asks(mapping.fields, fields)),
    )


def _asks(mapped: Sequence[MappedField], fields: Sequence[FieldPreview]) -> Iterable[str]:
    for index, (field, seen) in enumerate(zip(mapped, fields, strict=True)):
        if seen.date_order == ASK and field.date_order is None:
            yield f"/fields/{index}/date_order"
        if seen.decimal_sign == ASK and field.decimal_sign is None:
            yield f"/fields/{index}/decimal_sign"


def _field(field: MappedField, mapping: FieldMapping, rows: Sequence[Row]) -> FieldPreview:
    read = reader_of(field, mapping)
    absent: Counter[str] = Counter()
    words: Counter[str] = Counter()
    examples: dict[str, Value] = {}
    faults: list[RowFault] = []
    cells: list[str] = []
    values = faulty = 0
    for number, row in enumerate(rows, 1):
        cell = row.get(field.upstream)
        try:
            value = read(cell)
        except Unreadable as error:
            faulty += 1
            words[as_text(cell)[:100]] += 1
            faults += [RowFault(row=number, code=error.code, message=str(error))][: SHOWN_LIMIT - len(faults)]
        else:
            if isinstance(value, Absent):
                absent[value.reason] += 1
                continue
            values += 1
            if len(examples) < SHOWN_LIMIT:
                examples.setdefault(as_text(cell)[:100], value)
        if isinstance(cell, str):
            cells.append(cell.strip())
    return FieldPreview(
        name=field.name,
        column=field.upstream,
        found=any(field.upstream in row for row in rows),
        values=values,
        absent=dict(absent),
        faulty=faulty,
        examples=tuple(examples.items()),
        faults=tuple(faults),
        words=dict(words.most_common(SHOWN_LIMIT)),
        date_order=_date_order(cells) if field.type is FieldType.DATE else None,
        decimal_sign=_decimal_sign(cells) if field.type in _NUMBERS else None,
    )


def _date_order(cells: Sequence[str]) -> DateOrder | Literal["ask"] | None:
    ambiguous = [cell for cell in cells if year_last(cell)]
    if not ambiguous:
        return DateOrder.ISO if cells else None
    return _shown(ambiguous, (DateOrder.DAY_FIRST, DateOrder.MONTH_FIRST), date_of)


def _decimal_sign(cells: Sequence[str]) -> DecimalSign | Literal["ask"] | None:
    marked = [cell.strip("$€£¥ ()-") for cell in cells if "," in cell or "." in cell]
    return _shown(marked, tuple(DecimalSign), number_of) if marked else None


W = TypeVar("W", bound=StrEnum)


def _shown(cells: Sequence[str], ways: Sequence[W], read: Callable[[str, W], object]) -> W | Literal["ask"] | None:
    """The one way in which all of them can be read that can be read at all; `ask` where it is two, or none."""
    readings = [[_read(read, cell, way) is not None for way in ways] for cell in cells]
    known = [each for each in readings if any(each)]
    if not known:
        return None
    fitting = [way for index, way in enumerate(ways) if all(each[index] for each in known)]
    return fitting[0] if len(fitting) == 1 else ASK


def _read(read: Callable[[str, W], T], cell: str, way: W) -> T | None:
    try:
        return read(cell, way)
    except Unreadable:
        return None
