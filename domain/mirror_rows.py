"""An upstream's rows as records of the mirror: read under a mapping, fast, and with what events and digests need.

The values are those of `typed_rows`, and a digest is the first half of its digest; but a cell that was read before is
not read again, since most cells of a column repeat: categories, days, blanks.
"""

import re
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from msgspec import UNSET

from domain.cells import Absent, Unreadable, Value, as_text, reader_of
from domain.faults import Fault
from domain.mapping import DecimalSign, FieldMapping, MappedField
from domain.pfa import FieldType
from domain.pfa_values import MirroredRecord, OtherValue, PfaChange, PfaValue, PfaValues, RecordChange
from domain.typed_rows import Identities, RecordKey, Row, RowReader, TypedRecord, canonical, restored, stored

CELLS_KEPT: Final = 4_000
"""Cells of a column that are remembered: more than there are days in ten years."""
_AMOUNT: Final = re.compile(r"(?:0|[1-9][0-9]{0,12})\.[0-9][0-9]")
"""Most amounts, and hardly one comes twice: these read alike under any decimal sign but the comma."""
DIGEST_BYTES: Final = 16
BLANK: Final = "blank"

_encode: Final = msgspec.json.Encoder().encode
_Read = tuple[bytes, Any, str | None]
"""How it stands in the canonical form; its value, None where there is none, and then why, unless it is just blank."""


class ReadRow(NamedTuple):
    """A row that could be read: its PFA values, and by name the others that are not absent."""

    key: RecordKey
    digest: bytes
    upstream_version: str | None
    values: PfaValues
    others: dict[str, OtherValue]
    absent: dict[str, str]

    def order(self) -> tuple[str, str, str]:
        """What neighbours have in common: sums by it, and indexes of it, are then touched in one place."""
        values = self.values
        return values.area or "", values.category or "", values.source or ""

    def record(self) -> MirroredRecord:
        """As an event has it."""
        return MirroredRecord(
            record_id=self.key.id,
            identity=self.key.cells,
            ordinal=self.key.ordinal,
            upstream_version=self.upstream_version,
            digest=self.digest.hex(),
            values=self.values,
            others=self.others,
            absent=self.absent,
        )


class Mirrored(NamedTuple):
    """What the mirror has of a record."""

    values: PfaValues
    others: Mapping[str, OtherValue]
    absent: Mapping[str, str]


def change_of(was: Mirrored, row: ReadRow) -> RecordChange:
    """From what the mirror has to what a row says of the same record."""
    names = PfaValues.__struct_fields__
    differing = [name for name in names if getattr(was.values, name) != getattr(row.values, name)]
    return RecordChange(
        record_id=row.key.id,
        upstream_version=row.upstream_version,
        digest=row.digest.hex(),
        was=PfaChange(**{name: getattr(was.values, name) for name in differing}),
        now=PfaChange(**{name: getattr(row.values, name) for name in differing}),
        others=UNSET if was.others == row.others else row.others,
        absent=UNSET if was.absent == row.absent else row.absent,
    )


class _Column:
    """How one field is read. `name` is what its absence is told under: the PFA field, where it feeds one."""

    __slots__ = ("_before", "_is_amount", "_read", "cells", "feeds", "name", "upstream")

    def __init__(self, field: MappedField, mapping: FieldMapping) -> None:
        self.upstream = field.upstream
        self.feeds = field.feeds
        self.name = field.feeds or field.name
        self.cells: dict[object, _Read] = {}
        self._read = reader_of(field, mapping)
        self._before = _encode(field.name) + b":"
        plainly = field.type is FieldType.MONEY and field.decimal_sign is not DecimalSign.COMMA and field.feeds
        self._is_amount = _AMOUNT.fullmatch if plainly else None

    def read(self, cell: object) -> _Read:
        """Raises Unreadable."""
        if self._is_amount is not None and type(cell) is str and self._is_amount(cell):
            written = cell.rstrip("0").rstrip(".")
            return self._before + b'"' + written.encode() + b'"', Decimal(cell), None
        value = self._read(cell)
        fragment = self._before + _encode(value if type(value) is str else stored(value))
        if isinstance(value, Absent):
            found: _Read = fragment, None, None if value.reason == BLANK else value.reason
        elif type(value) is str:
            found = fragment, value, None
        else:
            found = fragment, value if self.feeds else _plain(value), None
        if type(cell) is str and len(self.cells) < CELLS_KEPT:  # numbers and booleans may be equal and not the same
            self.cells[cell] = found
        return found


def _plain(value: Value) -> OtherValue:
    """As it is kept: decimals and days as text."""
    if isinstance(value, Decimal | date):
        return str(stored(value))
    assert isinstance(value, str | int)
    return value


class MirrorRows:
    """Reads the rows of one fetch in its order: a whole one, or a list of changes. `namespace`: the connection's id."""

    def __init__(self, mapping: FieldMapping, namespace: UUID, *, whole: bool = True) -> None:
        self.identities = Identities(mapping, namespace, whole=whole)
        self.mapping = mapping
        self._slow = RowReader(mapping)
        columns = [_Column(field, mapping) for field in sorted(mapping.fields, key=lambda each: each.name)]
        self._places = [(each.upstream, each.cells.get, each.feeds is not None, each) for each in columns]
        self._version: Callable[[Row], str | None] = _version_in(mapping.version_column)

    def read(self, row: Row) -> ReadRow | tuple[RecordKey | None, tuple[Fault, ...]]:
        """The row; or which record it is, if that can be told, and everything that is wrong with it."""
        key = self.identities.of(row)
        if isinstance(key, Fault):
            return None, (key, *(fault for fault in self._slow.typed(row)[1] if fault.path != key.path))
        try:
            return self.of(key, row)
        except (Unreadable, KeyError):
            return key, self._slow.typed(row)[1]

    def of(self, key: RecordKey, row: Row) -> ReadRow:
        """The row as the record that it is known to be. Raises Unreadable, KeyError."""
        fragments: list[bytes] = []
        fed: dict[str, PfaValue] = {}
        others: dict[str, OtherValue] = {}
        absent: dict[str, str] = {}
        omitted = self.mapping.omitted_means_blank
        for upstream, remembered, target, column in self._places:
            cell = row.get(upstream) if omitted else row[upstream]
            try:
                found = remembered(cell)  # text alone is remembered, and equals nothing but text
            except TypeError:  # a list or an object
                found = None
            fragment, value, reason = column.read(cell) if found is None else found
            fragments.append(fragment)
            if value is not None:
                (fed if target else others)[column.name] = value
            elif reason is not None:
                absent[column.name] = reason
        digest = sha256(b"{" + b",".join(fragments) + b"}").digest()[:DIGEST_BYTES]
        values = PfaValues(**fed)  # type: ignore[arg-type]  # the mapping saw to the types
        return ReadRow(key, digest, self._version(row), values, others, absent)


def _version_in(column: str | None) -> Callable[[Row], str | None]:
    if column is None:
        return lambda _: None
    return lambda row: as_text(row.get(column)) or None


def with_changes(was: Mirrored, now: Mapping[str, PfaValue], mapping: FieldMapping, key: RecordKey) -> ReadRow:
    """What the mirror has with some PFA fields set: the record that an upstream has confirmed without showing it."""
    fed = {name: value for name, value in msgspec.structs.asdict(was.values).items() if value is not None}
    absent = {name: reason for name, reason in was.absent.items() if name not in now}
    for name, value in now.items():
        fed.pop(name, None)
        if value is not None:
            fed[name] = value
    values: dict[str, Value] = {}
    for field in mapping.fields:
        name = field.feeds or field.name
        found = fed.get(name) if field.feeds else was.others.get(name)
        if found is None:
            values[field.name] = Absent(absent.get(name, BLANK))
        else:
            values[field.name] = found if field.feeds else restored(found, field.type)
    digest = sha256(canonical(TypedRecord(values))).digest()[:DIGEST_BYTES]
    stands = PfaValues(**fed)
    return ReadRow(key, digest, None, stands, dict(was.others), absent)
