"""Tables of a SQLite file, read only."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from struct import Struct
from typing import Any, Final

from eventstore import sql
from workers.upstreams.tables import Sheet, TableRow, columns_of
from workers.upstreams.upstream import Broken

SQL = sql.beside(__file__)

_MAGIC: Final = b"SQLite format 3\0"
_PAGE_BYTES, _PAGES = Struct(">H"), Struct(">I")
"""As the file's header has them; 1 stands for 65,536 bytes."""


def connected(path: Path) -> sqlite3.Connection:
    """A connection that cannot write. Raises Broken for a file that is none of SQLite's."""
    with path.open("rb") as file:
        header = file.read(100)
    if header[: len(_MAGIC)] != _MAGIC:
        raise Broken("upstream.file-unreadable", file=path.name, why="it is no SQLite database")
    page_bytes, pages = _PAGE_BYTES.unpack_from(header, 16)[0], _PAGES.unpack_from(header, 28)[0]
    if path.stat().st_size < (65_536 if page_bytes == 1 else page_bytes) * pages:
        raise Broken("upstream.file-truncated", file=path.name, why="it has fewer pages than it says")
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def tables(path: Path) -> list[str]:
    """Names of its tables and views. Raises Broken."""
    with closing(connected(path)) as connection:
        try:
            listed = SQL["listed"].decode().format(catalogue="sqlite_master")
            return [name for (name,) in connection.execute(listed)]
        except sqlite3.DatabaseError as error:
            raise _broken(path, error) from error


def columns(connection: sqlite3.Connection, table: str) -> tuple[str, ...]:
    """Names of a table's columns."""
    cursor = connection.execute(_all_rows(table))
    return columns_of([column[0] for column in cursor.description])[0]


def opened(path: Path, table: str | None, wanted: frozenset[str], cell_bytes_max: int) -> Sheet:
    """A table's columns, and its rows in the order the database gives them. Raises Broken."""
    there = tables(path)
    if table is None and len(there) == 1:
        table = there[0]
    if table is None or table not in there:
        raise Broken("upstream.schema-changed", missing=[f"table {table or '(state one)'}"], found=there[:100])
    try:
        with closing(connected(path)) as connection:
            cursor = connection.execute(_all_rows(table))
            names, remarks = columns_of([column[0] for column in cursor.description])
    except sqlite3.DatabaseError as error:
        raise _broken(path, error) from error
    if missing := wanted.difference(names):
        raise Broken("upstream.schema-changed", missing=sorted(missing), found=list(names)[:100])
    return Sheet(names, remarks, _rows(path, table, cell_bytes_max))


def _rows(path: Path, table: str, cell_bytes_max: int) -> Iterator[TableRow]:
    with closing(connected(path)) as connection:
        try:
            for number, cells in enumerate(connection.execute(_all_rows(table)), 1):
                yield _row(number, cells, cell_bytes_max)
        except sqlite3.DatabaseError as error:
            raise _broken(path, error) from error


def _row(number: int, cells: tuple[Any, ...], cell_bytes_max: int) -> TableRow:
    if any(isinstance(cell, str | bytes) and len(cell) > cell_bytes_max for cell in cells):
        raise Broken("upstream.cell-too-large", row=number, cell_bytes_max=cell_bytes_max)
    return TableRow(number, cells, None)


def _all_rows(table: str) -> str:
    quoted = '"' + table.replace('"', '""') + '"'
    return SQL["all_rows"].decode().format(table=quoted)


def _broken(path: Path, error: sqlite3.DatabaseError) -> Broken:
    if "decode" in str(error):
        return Broken("upstream.encoding-unreadable", file=path.name, why=str(error)[:200])
    return Broken("upstream.file-unreadable", file=path.name, why=str(error)[:200])
