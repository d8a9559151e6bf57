"""Rows of an upstream as typed values under a mapping: which record each is, whether two are equal, what differs."""

from array import array
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from functools import lru_cache
from hashlib import sha1, sha256
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from domain.cells import Absent, Unreadable, Value, as_text, reader_of
from domain.faults import Fault
from domain.mapping import TRUE_WORDS, DateOrder, DecimalSign, FieldMapping, MappedField
from domain.money import plain
from domain.pfa import FieldType

Row = Mapping[str, object]
"""Column → cell, as the upstream gave it."""

UNREADABLE: Final = Absent("unreadable")
UNMAPPED: Final = Absent("unmapped")
_encode: Final = msgspec.json.Encoder().encode
_LOW: Final = 2**64 - 1
_KEPT_BITS: Final = ~(0xF000 << 64 | 0xC000 << 48)
_VERSION_5: Final = 5 << 76 | 0x8000 << 48
"""Where RFC 9562 has a UUID's version and variant."""


class TypedRecord(msgspec.Struct, frozen=True):
    """Our name → value of every mapped field. The upstream's version is no part of what makes two records equal."""

    values: dict[str, Value]
    upstream_version: str | None = None


class RowReader:
    """Reads rows under one mapping. Made once, used for every row."""

    def __init__(self, mapping: FieldMapping) -> None:
        self._mapping = mapping
        self._fields = [(field.name, field.upstream, reader_of(field, mapping)) for field in mapping.fields]

    def typed(self, row: Row) -> tuple[TypedRecord, tuple[Fault, ...]]:
        """The record and what is wrong with it, each fault at the name of its column.

        A cell that cannot be read is absent in the record: one with faults is for showing, not for storing.
        """
        values: dict[str, Value] = {}
        faults: list[Fault] = []
        for name, column, read in self._fields:
            try:
                cell = row[column]
            except KeyError:
                if not self._mapping.omitted_means_blank:
                    faults.append(Fault((column,), "column_missing", "The row does not have this column"))
                cell = None
            try:
                values[name] = read(cell)
            except Unreadable as error:
                values[name] = UNREADABLE
                faults.append(Fault((column,), error.code.replace("-", "_"), str(error)))
        own = self._mapping.version_column
        version = None if own is None else as_text(row.get(own)) or None
        return TypedRecord(values, version), tuple(faults)


@lru_cache(maxsize=16)
def _reader(mapping: FieldMapping) -> RowReader:
    return RowReader(mapping)


def typed(row: Row, mapping: FieldMapping) -> tuple[TypedRecord, tuple[Fault, ...]]:
    """As `RowReader.typed`, for a row now and then."""
    return _reader(mapping).typed(row)


def canonical(record: TypedRecord) -> bytes:
    """The one spelling of the mapped values: JSON, names in order, numbers without trailing zeros. Equal iff equal."""
    return msgspec.json.encode({name: stored(record.values[name]) for name in sorted(record.values)})


def digest(record: TypedRecord) -> bytes:
    """SHA-256 of the canonical form: 32 bytes."""
    return sha256(canonical(record)).digest()


def from_canonical(stored: bytes, mapping: FieldMapping) -> TypedRecord:
    """What `canonical` wrote, under the mapping it was read with. Raises ValueError."""
    kinds = {field.name: field.type for field in mapping.fields}
    found: dict[str, Any] = msgspec.json.decode(stored, type=dict[str, Any])
    return TypedRecord({name: restored(value, kinds.get(name, FieldType.TEXT)) for name, value in found.items()})


def stored(value: Value) -> object:
    """As the canonical form has it."""
    match value:
        case Absent(reason=reason):
            return {"absent": reason}
        case Decimal():
            return plain(value)
        case date():
            return value.isoformat()
    return value


def restored(value: Any, kind: FieldType) -> Value:
    """From the canonical form. Raises ValueError."""
    if isinstance(value, dict):
        return Absent(value["absent"])
    match kind:
        case FieldType.DECIMAL:
            return Decimal(value)
        case FieldType.MONEY:
            return Decimal(value).quantize(Decimal("0.01"))
        case FieldType.DATE:
            return date.fromisoformat(value)
    restored: Value = value
    return restored


def differences(before: TypedRecord, after: TypedRecord) -> dict[str, tuple[Value, Value]]:
    """Field → (was, is) where they differ. 1.50 is 1.5; a field that only one mapping knows was, or is, unmapped."""
    if before.values == after.values:
        return {}
    names = {**before.values, **after.values}
    pairs = {name: (before.values.get(name, UNMAPPED), after.values.get(name, UNMAPPED)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


class RecordKey(NamedTuple):
    """Which record a row is: its id here, the identifying cells as text, and which of the rows alike in them it is."""

    id: UUID
    cells: tuple[str, ...]
    ordinal: int


class _Seen:
    """A set of numbers of 64 bits whose low bits are spread evenly, as a hash's are: a quarter of what a set takes."""

    def __init__(self) -> None:
        self._cells = array("Q", bytes(8 * 1024))
        self._mask = 1023
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, number: int) -> bool:
        return self._cells[self._place(number or 1)] != 0

    def add(self, number: int) -> bool:
        """False: it was there."""
        number = number or 1  # zero is what an empty cell holds
        place = self._place(number)
        if self._cells[place]:
            return False
        self._cells[place] = number
        self._count += 1
        if self._count * 3 > self._mask * 2:
            self._grow()
        return True

    def _place(self, number: int) -> int:
        """Where it is, or would be."""
        cells, mask = self._cells, self._mask
        place = number & mask
        while (found := cells[place]) and found != number:
            place = (place + 1) & mask
        return place

    def _grow(self) -> None:
        before = self._cells
        self._cells = array("Q", bytes(8 * 2 * len(before)))
        self._mask = len(self._cells) - 1
        for number in before:
            if number:
                self._cells[self._place(number)] = number


class Identities:
    """Gives the rows of one fetch their ids, in its order. `namespace` is the connection's id.

    A row that repeats the identity of an earlier one gets the next ordinal, from 1, and so an id of its own; in a fetch
    that is not `whole`, a list of changes, it is the same record once more.
    It holds 64 bits of each id: rows that only collide there would get ids of their own all the same.
    """

    def __init__(self, mapping: FieldMapping, namespace: UUID, *, whole: bool = True) -> None:
        self._columns = mapping.identity
        self._namespace = namespace
        self._whole = whole
        self._seen = _Seen()
        self._repeats: dict[int, int] = {}
        self.repeated = 0

    def saw(self, record: UUID) -> bool:
        """Whether a row was that record."""
        return record.int & _LOW in self._seen

    def __len__(self) -> int:
        return len(self._seen)

    def of(self, row: Row) -> RecordKey | Fault:
        """The row's key, or why it has none."""
        try:
            cells = tuple([as_text(row[column]) for column in self._columns])
        except KeyError as missing:
            column = str(missing.args[0])
            return Fault((column,), "column_missing", "The row does not have this column, which identifies it")
        if not any(cells):
            return Fault((self._columns[0],), "identity_blank", "Every column that identifies the row is blank")
        found = record_id(self._namespace, cells, 1)
        short = found.int & _LOW
        if self._seen.add(short):
            return RecordKey(found, cells, 1)
        self.repeated += 1
        if not self._whole:
            return RecordKey(found, cells, 1)
        ordinal = self._repeats[short] = self._repeats.get(short, 1) + 1
        found = record_id(self._namespace, cells, ordinal)
        self._seen.add(found.int & _LOW)
        return RecordKey(found, cells, ordinal)


def record_id(namespace: UUID, cells: tuple[str, ...], ordinal: int) -> UUID:
    """The id follows from the identity, so that the same row is the same record in every fetch: the UUIDv5 of its JSON,
    worked out here because a row cannot wait for `uuid5`.
    """
    hashed = sha1(namespace.bytes + _encode([*cells, ordinal]), usedforsecurity=False).digest()
    return UUID(int=int.from_bytes(hashed[:16], "big") & _KEPT_BITS | _VERSION_5)


def as_upstream(changes: Mapping[str, Value], mapping: FieldMapping) -> dict[str, object]:
    """Our name → value as column → cell, written the way the mapping reads it.

    Raises ValueError: an unknown field, an absence that no word of the mapping stands for, or two fields of one column
    that would have to be written differently.
    """
    fields = {field.name: field for field in mapping.fields}
    cells: dict[str, object] = {}
    for name, value in changes.items():
        if name not in fields:
            raise ValueError(f"{name} is not mapped")
        cell = _cell(value, fields[name], mapping)
        column = fields[name].upstream
        if column in cells and cells[column] != cell:
            raise ValueError(f"{column} cannot be {cells[column]!r} and {cell!r} at once")
        cells[column] = cell
    return cells


def _cell(value: Value, field: MappedField, mapping: FieldMapping) -> object:
    match value:
        case Absent(reason="blank"):
            return None
        case Absent(reason=reason):
            words = (each.word for each in (*field.missing, *mapping.missing) if each.reason == reason)
            if (word := next(words, None)) is None:
                raise ValueError(f"{field.name}: no word says {reason!r}")
            return word
        case bool():
            return value if field.true_words == TRUE_WORDS else _word(value, field)
        case Decimal():
            text = f"{value:.2f}" if field.type is FieldType.MONEY else plain(value)
            return text.replace(".", ",") if field.decimal_sign is DecimalSign.COMMA else text
        case date():
            return _written(value, field.date_order)
    return value


def _word(value: bool, field: MappedField) -> str:
    words = field.true_words if value else field.false_words
    if len(words) > 1:
        raise ValueError(f"{field.name}: {', '.join(words)} all say {str(value).lower()}")
    return words[0]


def _written(day: date, order: DateOrder | None) -> str:
    match order:
        case DateOrder.DAY_FIRST:
            return f"{day.day:02}/{day.month:02}/{day.year}"
        case DateOrder.MONTH_FIRST:
            return f"{day.month:02}/{day.day:02}/{day.year}"
    return day.isoformat()


def repeated_keys(keys: Iterable[RecordKey]) -> list[RecordKey]:
    """Those that are not the first of their identity, for the report."""
    return [key for key in keys if key.ordinal > 1]
