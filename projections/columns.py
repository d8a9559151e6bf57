"""Rows → arrays in the wire's binary form, one per column. By hand: the driver's own take several times as long."""

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from psycopg.adapt import Buffer, Dumper, Loader, PyFormat
from psycopg.pq import Format

_LENGTH = struct.Struct(">i").pack
_SMALL = struct.Struct(">ih").pack
_INT = struct.Struct(">ii").pack
_BIG = struct.Struct(">iq").pack
_HEADER = struct.Struct(">iiiii").pack
_COUNT = struct.Struct(">i").unpack_from
_PLACES = struct.Struct(">H").unpack_from
_WEIGHTS = ("", "C", "B", "A")
_NULL = b"\xff\xff\xff\xff"
_SIXTEEN = _LENGTH(16)
_TRUE, _FALSE = _LENGTH(1) + b"\x01", _LENGTH(1) + b"\x00"
_json = msgspec.json.Encoder().encode
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_EPOCH_DAY = _EPOCH.toordinal()

Packing = Callable[[Sequence[Any]], list[bytes]]


class Column:
    """An array of one column's values, ready to send."""

    __slots__ = ("body", "oid")

    def __init__(self, oid: int, body: bytes) -> None:
        self.oid = oid
        self.body = body


class _ColumnDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Column) -> bytes:
        return obj.body

    def get_key(self, obj: Column, format: PyFormat) -> Any:  # noqa: ARG002
        return (self.cls, obj.oid)

    def upgrade(self, obj: Column, format: PyFormat) -> "_ColumnDumper":  # noqa: ARG002
        dumper = _ColumnDumper(self.cls)
        dumper.oid = obj.oid
        return dumper


class _WordsLoader(Loader):
    """A tsvector, as text in the form `words.document` writes."""

    format = Format.BINARY

    def load(self, data: Buffer) -> str:
        body, at, words = bytes(data), 4, []
        for _ in range(_COUNT(body)[0]):
            end = body.index(0, at)
            places = struct.unpack_from(f">{_PLACES(body, end + 1)[0]}H", body, end + 3)
            words.append(
                f"{body[at:end].decode()}:{','.join(f'{place & 0x3FFF}{_WEIGHTS[place >> 14]}' for place in places)}"
            )
            at = end + 3 + 2 * len(places)
        return " ".join(words)


psycopg.adapters.register_dumper(Column, _ColumnDumper)  # for every connection opened from here on
psycopg.adapters.register_loader("tsvector", _WordsLoader)


def _uuids(values: Sequence[UUID | None]) -> list[bytes]:
    """Versions of one row, one after the other, share the objects that did not change."""
    packed: list[bytes] = []
    last: UUID | None = None
    form = _NULL
    for value in values:
        if value is not last:
            last = value
            form = _NULL if value is None else _SIXTEEN + value.int.to_bytes(16, "big")
        packed.append(form)
    return packed


def _bigs(values: Sequence[int | None]) -> list[bytes]:
    return [_NULL if value is None else _BIG(8, value) for value in values]


def _ints(values: Sequence[int | None]) -> list[bytes]:
    return [_NULL if value is None else _INT(4, value) for value in values]


def _smalls(values: Sequence[int | None]) -> list[bytes]:
    return [_NULL if value is None else _SMALL(2, value) for value in values]


def _booleans(values: Sequence[bool | None]) -> list[bytes]:
    return [_NULL if value is None else (_TRUE if value else _FALSE) for value in values]


def _sized(values: Iterable[bytes | None]) -> list[bytes]:
    return [_NULL if value is None else _LENGTH(len(value)) + value for value in values]


def _texts(values: Sequence[str | None]) -> list[bytes]:
    distinct = set(values)
    if len(distinct) * 4 > len(values):
        return _texts_of(values)
    packed = dict(zip(distinct, _texts_of(distinct), strict=True))
    return list(map(packed.__getitem__, values))


def _texts_of(values: Iterable[str | None]) -> list[bytes]:
    return _sized([None if value is None else value.encode() for value in values])


def _spelled(values: Sequence[Any]) -> list[bytes]:
    """Versions of one row share what did not change: the same object is spelled once. Not the same number: 1.0 and 1.00
    are equal, and differ.
    """
    names = list(map(id, values))
    distinct = dict(zip(names, values, strict=True))
    texts = [None if value is None else str(value).encode() for value in distinct.values()]
    packed = dict(zip(distinct, _sized(texts), strict=True))
    return list(map(packed.__getitem__, names))


def _documents(values: Sequence[Any]) -> list[bytes]:
    return _sized([None if value is None else _json(value) for value in values])


def _dates(values: Sequence[date | None]) -> list[bytes]:
    packed = {
        value: _NULL if value is None else _INT(4, value.toordinal() - _EPOCH_DAY) for value in dict.fromkeys(values)
    }
    return list(map(packed.__getitem__, values))


def _instants(values: Sequence[datetime | None]) -> list[bytes]:
    packed: list[bytes] = []
    last: datetime | None = None
    form = _NULL
    for value in values:
        if value is not last and value != last:  # events of one append share their instant
            last = value
            form = _NULL if value is None else _instant(value)
        packed.append(form)
    return packed


def _instant(value: datetime) -> bytes:
    since = value - _EPOCH
    return _BIG(8, (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)


class Packed:
    """How a column of one PostgreSQL type is sent: the type its array has on the wire, and the packing."""

    __slots__ = ("array_oid", "element_oid", "pack", "wire_type")

    def __init__(self, wire_type: str, array_oid: int, element_oid: int, pack: Packing) -> None:
        self.wire_type = wire_type
        self.array_oid = array_oid
        self.element_oid = element_oid
        self.pack = pack

    def column(self, values: Sequence[Any]) -> Column:
        """The values as one array."""
        if not values:
            return Column(self.array_oid, struct.pack(">iii", 0, 0, self.element_oid))
        header = _HEADER(1, 1, self.element_oid, len(values), 1)
        return Column(self.array_oid, header + b"".join(self.pack(values)))


def document(rows: Sequence[Any]) -> Column:
    """Rows as one JSON array of objects, ready to send."""
    return Column(114, _json(rows))


BIG = Packed("bigint", 1016, 20, _bigs)
INTEGER = Packed("integer", 1007, 23, _ints)
TEXT = Packed("text", 1009, 25, _texts)
PACKED: Mapping[str, Packed] = {
    "uuid": Packed("uuid", 2951, 2950, _uuids),
    "bigint": BIG,
    "integer": INTEGER,
    "smallint": Packed("smallint", 1005, 21, _smalls),
    "boolean": Packed("boolean", 1000, 16, _booleans),
    "text": TEXT,
    "timestamp with time zone": Packed("timestamptz", 1185, 1184, _instants),
    "numeric": Packed("text", 1009, 25, _spelled),
    "jsonb": Packed("text", 1009, 25, _documents),
    "date": Packed("date", 1182, 1082, _dates),
    "tsvector": TEXT,
}
"""PostgreSQL type → packing. Decimals, documents and words travel as text: cheaper than their binary form."""
