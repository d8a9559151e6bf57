"""The plan of an import: which table of which file is what, and which column which field. Data, judged as a whole."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec

from cairn.importing.kinds import COMPANY, KINDS, Field, Kind
from domain.mapping import FALSE_WORDS, TRUE_WORDS, DateOrder, DecimalSign, MappedField, MissingWord, column_name
from domain.pfa import FieldType

ASK: Final = "ask"
"""Stands in a plan that was suggested where a person has to say what is meant."""
ENCODINGS: Final = ("utf-8", "windows-1252", "utf-16")
DELIMITERS: Final = (",", ";", "\t", "|")


WITHIN: Final = (FieldType.TEXT, FieldType.INTEGER, FieldType.BOOLEAN)
"""What a place within a document may be."""


class Format(StrEnum):
    """How a file is read; without it the ending of its name says so."""

    CSV = "csv"
    XLSX = "xlsx"
    SQLITE = "sqlite"
    JSON = "json"
    JSON_LINES = "json-lines"


ENDINGS: Final[Mapping[str, Format]] = {
    ".csv": Format.CSV,
    ".tsv": Format.CSV,
    ".txt": Format.CSV,
    ".xlsx": Format.XLSX,
    ".db": Format.SQLITE,
    ".sqlite": Format.SQLITE,
    ".sqlite3": Format.SQLITE,
    ".json": Format.JSON,
    ".jsonl": Format.JSON_LINES,
    ".ndjson": Format.JSON_LINES,
}


class PlanWrong(Exception):
    """The plan cannot be followed. Every fault is listed, each with its place in the plan."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = list(faults)


class Column(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a field is from: a column, or one value for all rows. `words` are the source's words with ours; `missing`
    are its words for no value. A place within a document has a `type`: text, unless it says integer or boolean.
    """

    column: str | None = None
    value: str | None = None
    type: str | None = None
    words: dict[str, str] = {}
    missing: tuple[str, ...] = ()
    date_order: str | None = None
    decimal_sign: str | None = None
    true_words: tuple[str, ...] = ()
    false_words: tuple[str, ...] = ()

    def as_mapped(self, name: str, kind: FieldType) -> MappedField:
        """As cells are read under it; call it in a plan without faults."""
        return MappedField(
            upstream=column_name(self.column or ""),
            name=name,
            type=kind,
            missing=tuple(MissingWord(word=word, reason="blank") for word in self.missing),
            date_order=None if self.date_order is None else DateOrder(self.date_order),
            decimal_sign=None if self.decimal_sign is None else DecimalSign(self.decimal_sign),
            true_words=self.true_words or TRUE_WORDS,
            false_words=self.false_words or FALSE_WORDS,
        )


class Expected(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What whoever keeps the source says of the table: held against what was read."""

    rows: int | None = None
    sums: dict[str, str] = {}


class TablePlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table: of which file, of which name in it (a sheet, a table, a place in a JSON document), and what it is."""

    what: str
    columns: dict[str, str | Column]
    file: str | None = None
    table: str | None = None
    format: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    expect: Expected = Expected()

    @property
    def kind(self) -> Kind:
        """What it is."""
        return KINDS[self.what]

    def column(self, field: str) -> Column:
        """Where a field is from."""
        given = self.columns[field]
        return Column(column=given) if isinstance(given, str) else given

    def field(self, name: str) -> Field:
        """What a field of the plan is. Raises KeyError."""
        given = self.column(name).type
        found = self.kind.field(name, FieldType(given) if given in WITHIN else FieldType.TEXT)
        if found is None:
            raise KeyError(name)
        return found

    def read(self) -> frozenset[str]:
        """The columns that must be there."""
        given = (self.column(field).column for field in self.columns)
        return frozenset(column_name(column) for column in given if column is not None)


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it. `source` names the database that is imported: ids follow from it, so it never changes. `company` is
    one that is here already, which everything goes into; without it the companies are imported too.
    """

    source: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    tables: tuple[TablePlan, ...]
    company: UUID | None = None


def read(path: Path) -> Plan:
    """The plan in a TOML or JSON file. Raises PlanWrong, OSError."""
    body = path.read_bytes()
    try:
        if path.suffix.lower() == ".json":
            plan = msgspec.json.decode(body, type=Plan)
        else:
            plan = msgspec.toml.decode(body, type=Plan)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PlanWrong([f"{path.name}: {error}"]) from error
    if faults := [f"{path.name}: {fault}" for fault in _faults(plan)]:
        raise PlanWrong(faults)
    return plan


def _faults(plan: Plan) -> Iterator[str]:
    if not plan.tables:
        yield "tables: a plan without tables imports nothing"
    for index, table in enumerate(plan.tables):
        for fault in _of_table(table, plan):
            yield f"tables[{index}].{fault}"


def _of_table(table: TablePlan, plan: Plan) -> Iterator[str]:
    if table.what not in KINDS:
        yield f"what: {_no(table.what, KINDS, 'kind of thing')}"
        return
    for name, given, known in [
        ("format", table.format, [*Format]),
        ("encoding", table.encoding, ENCODINGS),
        ("delimiter", table.delimiter, DELIMITERS),
    ]:
        if given is not None and given not in known:
            yield f"{name}: {_no(given, known, name)}"
    if table.what == "companies" and plan.company is not None:
        yield "what: the plan names the company that everything goes into, so that none is imported"
    for name in table.columns:
        if table.kind.field(name) is None:
            yield f"columns.{name}: {_no(name, table.kind.fields, f'field of {table.what}')}"
        elif name == COMPANY and plan.company is not None:
            yield f"columns.{name}: the plan names the company that everything goes into"
        else:
            yield from (f"columns.{name}.{fault}" for fault in _of_column(table, name))
    for name, field in table.kind.fields.items():
        given_for_all = name == COMPANY and plan.company is not None
        if field.required and name not in table.columns and not given_for_all:
            yield f"columns.{name}: is missing: {field.meaning}"
    for name, total in table.expect.sums.items():
        if name not in table.columns or table.field(name).type is not FieldType.DECIMAL:
            yield f"expect.sums.{name}: no column of this table is a number of that name"
        elif not _number(total):
            yield f"expect.sums.{name}: {total!r} is no number such as 1234.50"


def _of_column(table: TablePlan, name: str) -> Iterator[str]:
    column, kind = table.column(name), table.field(name).type
    if (column.column is None) == (column.value is None):
        yield "column: give the column, or a value for all rows"
    if column.type is not None and (name in table.kind.fields or column.type not in WITHIN):
        yield f"type: only a place within a document has one: {', '.join(WITHIN)}"
    for option, given, known, type in [
        ("date_order", column.date_order, [*DateOrder], FieldType.DATE),
        ("decimal_sign", column.decimal_sign, [*DecimalSign], FieldType.DECIMAL),
    ]:
        if given == ASK:
            yield f"{option}: somebody has to say it: {' or '.join(known)}"
        elif given is not None and given not in known:
            yield f"{option}: {_no(given, known, option)}"
        elif given is not None and kind is not type:
            yield f"{option}: {name} is {kind}, which has none"
    if bool(column.true_words) != bool(column.false_words):
        yield "true_words: give words for true and for false, or none for the usual ones"


def _number(text: str) -> bool:
    whole, point, places = text.removeprefix("-").partition(".")
    return whole.isdecimal() and (not point or places.isdecimal())


def _no(given: str, known: Mapping[str, Any] | Sequence[str], what: str) -> str:
    near = get_close_matches(given, list(known), n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(map(repr, known))}"
    return f"{given!r} is no {what}; {hint}"
