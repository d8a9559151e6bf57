"""The files of an import, whatever their format: the tables in each, and the rows of one, read once in their order."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from cairn.importing import json_dump, sqlite_file
from cairn.importing.plan import DELIMITERS, ENDINGS, Format, TablePlan
from domain.upstreams import FolderUpstream
from workers.upstreams import delimited, workbook
from workers.upstreams.tables import Sheet
from workers.upstreams.upstream import CODES, Broken

CELL_BYTES_MAX: Final = 1_000_000


class Asks(Exception):
    """The source can be read in more than one way. The message names what to state, and where."""


class SourceWrong(Exception):
    """A source cannot be read. The message names the file."""


class Found(NamedTuple):
    """A table that is there: of which file, its name in it (None where a file is one table), and its columns."""

    path: Path
    table: str | None
    columns: tuple[str, ...]
    delimiter: str | None = None


def of_plan(table: TablePlan, paths: Sequence[Path]) -> Path:
    """The file that is meant. Raises SourceWrong."""
    if table.file is None:
        if len(paths) == 1:
            return paths[0]
        raise SourceWrong(f"{table.what}: the plan names no file, and {len(paths)} were given")
    found = [path for path in paths if path.name == table.file]
    if len(found) != 1:
        given = ", ".join(path.name for path in paths)
        raise SourceWrong(f"{table.what}: {len(found)} files are called {table.file!r}; given: {given}")
    return found[0]


def opened(path: Path, table: TablePlan) -> Sheet:
    """The table's header and rows. Raises SourceWrong, Asks, and Broken while the rows are read."""
    _must_exist(path)
    kind = _format(path, table.format)
    try:
        sheet = _opened(path, kind, table, table.read())
    except Broken as error:
        raise wrong(path, error) from error
    if any(remark.code == "encoding-assumed" for remark in sheet.remarks):
        raise Asks(f'{path.name}: it is not UTF-8. State encoding = "windows-1252" in the plan, if that is what it is')
    return sheet


def wrong(path: Path, error: Broken) -> Exception:
    """What cannot be read, for people; or what has to be stated."""
    facts = ", ".join(f"{name} {value}" for name, value in error.facts.items() if name != "file")
    if error.code == "upstream.delimiter-unclear":
        return Asks(f"{path.name}: its header can be cut in several ways. State delimiter in the plan ({facts})")
    return SourceWrong(f"{path.name}: {CODES[error.code]} ({error.code.partition('.')[2]}: {facts})")


def tables(path: Path, encoding: str | None = None) -> Iterator[Found]:
    """Each table of a file, for a plan that is still to be made. Raises SourceWrong, Asks."""
    _must_exist(path)
    kind = _format(path, None)
    try:
        match kind:
            case Format.CSV:
                yield _delimited(path, encoding)
            case Format.XLSX:
                for name, columns in workbook.sheets(path, _config()):
                    yield Found(path, name, columns)
            case Format.SQLITE:
                for name in sqlite_file.tables(path):
                    with closing(sqlite_file.connected(path)) as connection:
                        yield Found(path, name, sqlite_file.columns(connection, name))
            case Format.JSON | Format.JSON_LINES:
                for place in json_dump.tables(path, lines=kind is Format.JSON_LINES):
                    yield Found(path, place, _opened(path, kind, _any(table=place), frozenset()).columns)
    except Broken as error:
        raise wrong(path, error) from error


def _must_exist(path: Path) -> None:
    if not path.is_file():
        raise SourceWrong(f"{path}: there is no such file")
    if path.stat().st_size == 0:
        raise wrong(path, Broken("upstream.file-empty", bytes=0))


def _format(path: Path, stated: str | None) -> Format:
    kind = Format(stated) if stated is not None else ENDINGS.get(path.suffix.lower())
    if kind is None:
        raise Asks(f"{path.name}: its name does not say what it is. State format in the plan: {', '.join(Format)}")
    return kind


def _opened(path: Path, kind: Format, table: TablePlan, columns: frozenset[str]) -> Sheet:
    match kind:
        case Format.CSV:
            return delimited.opened(path, _config(table), columns)
        case Format.XLSX:
            return workbook.opened(path, _config(table), columns)
        case Format.SQLITE:
            return sqlite_file.opened(path, table.table, columns, CELL_BYTES_MAX)
        case Format.JSON | Format.JSON_LINES:
            lines = kind is Format.JSON_LINES
            return json_dump.opened(path, table.table, columns, CELL_BYTES_MAX, lines=lines)


def _config(table: TablePlan | None = None) -> FolderUpstream:
    given = {} if table is None else {"encoding": table.encoding, "delimiter": table.delimiter, "sheet": table.table}
    return FolderUpstream.model_validate({"kind": "folder", "folder": ".", "cell_bytes_max": CELL_BYTES_MAX, **given})


def _any(**given: str | None) -> TablePlan:
    return TablePlan(what="", columns={}, **given)  # type: ignore[arg-type]  # only what is given here is read


def _delimited(path: Path, encoding: str | None) -> Found:
    """Cut by the one delimiter that gives several columns."""
    cuts = {
        each: _opened(path, Format.CSV, _any(encoding=encoding, delimiter=each), frozenset()) for each in DELIMITERS
    }
    if any(remark.code == "encoding-assumed" for remark in cuts[","].remarks):
        raise Asks(f"{path.name}: it is not UTF-8. Say --encoding windows-1252, if that is what it is")
    several = [each for each, sheet in cuts.items() if len(sheet.columns) > 1]
    if len(several) > 1:
        raise Asks(f"{path.name}: its header can be cut by each of {several}. Write the plan by hand, with delimiter")
    chosen = several[0] if several else ","
    return Found(path, None, cuts[chosen].columns, chosen)
