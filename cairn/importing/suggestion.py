"""A plan to begin with: tables and columns whose names say what they are. What they do not say is left to a person."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from cairn.importing import sources
from cairn.importing.kinds import COMPANY, KINDS, Field, Kind
from cairn.importing.plan import ASK, TablePlan
from cairn.importing.sources import Found
from domain.mapping import FieldMapping, MappedField
from domain.mapping_preview import FieldPreview, preview
from domain.pfa import FieldType

SAMPLE_ROWS: Final = 5_000


def of(paths: Sequence[Path], encoding: str | None = None) -> str:
    """A plan in TOML for the tables of these files. Raises SourceWrong, Asks."""
    found = [table for path in paths for table in sources.tables(path, encoding)]
    kinds = {id(table): _kind_of(table) for table in found}
    text = ["# Names the source. Ids follow from it: never change it once something was imported.", 'source = "?"', ""]
    if "companies" not in kinds.values():
        text += ["# No table looks like companies: name the one that everything goes into.", 'company = "?"', ""]
    for table in found:
        what = kinds[id(table)]
        text += [*(_skipped(table) if what is None else _planned(table, what, set(kinds.values()), encoding)), ""]
    return "\n".join(text)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", name.casefold())


def _kind_of(table: Found) -> str | None:
    """What its name says, if its columns do not speak against it."""
    name = _plain((table.table or table.path.stem).rpartition(".")[2])
    for what, kind in KINDS.items():
        if name in {_plain(each) for each in (what, *kind.also)}:
            return what
    return None


def _skipped(table: Found) -> Iterator[str]:
    where = f"{table.path.name}" + (f" [{table.table}]" if table.table else "")
    yield f"# {where} is left out: its name does not say what it is. Its columns: {', '.join(table.columns)}"


def _planned(table: Found, what: str, kinds: set[str | None], encoding: str | None) -> Iterator[str]:
    single = "companies" not in kinds and what != "companies"
    columns = _columns(table.columns, what, KINDS[what], single=single)
    yield "[[tables]]"
    yield f'what = "{what}"'
    yield f"file = {_text(table.path.name)}"
    for name, value in [("table", table.table), ("delimiter", table.delimiter), ("encoding", encoding)]:
        if value is not None and (name != "encoding" or table.table is None):
            yield f"{name} = {_text(value)}"
    yield "[tables.columns]"
    seen = _seen(table, what, columns, encoding)
    for name, field in KINDS[what].fields.items():
        if name in columns:
            yield f"{name} = {_told(columns[name], seen.get(name))}"
        elif field.required and not (single and name == COMPANY):
            yield f"# {name} = ?  # {field.meaning}"
    if unused := [column for column in table.columns if column not in columns.values()]:
        yield f"# not used: {', '.join(unused)}"


def _columns(there: Sequence[str], what: str, kind: Kind, *, single: bool) -> dict[str, str]:
    """Field → column, where one name fits. Our own name goes before others'; each column is one field."""
    found: dict[str, str] = {}
    for names in (_own, _others):
        for name, field in kind.fields.items():
            if name in found or (single and name == COMPANY):
                continue
            wanted = names(name, field, what)
            fitting = [column for column in there if _plain(column) in wanted and column not in found.values()]
            if len(fitting) == 1:
                found[name] = fitting[0]
    return found


def _own(name: str, _: Field, __: str) -> set[str]:
    own = {_plain(name)}
    return own | {_plain(name + "id")} if name in {COMPANY, "project", "estimate"} else own


def _others(name: str, field: Field, what: str) -> set[str]:
    names = {_plain(each) for each in field.also}
    if name == COMPANY:
        names |= {each + "id" for each in names}
    if name == "key":
        singular = what.removesuffix("ies") + "y" if what.endswith("ies") else what.removesuffix("s")
        words = {singular, *(each.removesuffix("s") for each in map(_plain, KINDS[what].also))}
        names |= {each + "id" for each in words}
    return names


def _seen(table: Found, what: str, columns: Mapping[str, str], encoding: str | None) -> dict[str, FieldPreview]:
    """What a sample shows of fields that can be read in more than one way."""
    fields = [
        MappedField(upstream=column, name=name, type=KINDS[what].fields[name].type)
        for name, column in columns.items()
        if KINDS[what].fields[name].type in {FieldType.DATE, FieldType.DECIMAL}
    ]
    if not fields:
        return {}
    asked = TablePlan(what=what, columns={}, table=table.table, delimiter=table.delimiter, encoding=encoding)
    sheet = sources.opened(table.path, asked)
    rows = (dict(zip(sheet.columns, row.cells, strict=True)) for row in sheet.rows if row.fault is None)
    shown = preview(
        islice(rows, SAMPLE_ROWS), FieldMapping(version=1, fields=tuple(fields), identity=sheet.columns[:1])
    )
    return {each.name: each for each in shown.fields}


def _told(column: str, seen: FieldPreview | None) -> str:
    options = []
    if seen is not None and seen.date_order is not None and seen.date_order != "iso":
        options.append(("date_order", str(seen.date_order)))
    if seen is not None and seen.decimal_sign is not None:
        options.append(("decimal_sign", str(seen.decimal_sign)))
    if not options:
        return _text(column)
    listed = ", ".join(f"{name} = {_text(value)}" for name, value in [("column", column), *options])
    return "{ " + listed + " }" + ("  # ask: say which it is" if ASK in dict(options).values() else "")


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
