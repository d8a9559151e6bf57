"""Tables of a JSON dump: a list of objects, lists of objects within an object, or an object a line."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec

from domain.mapping import column_name
from workers.upstreams.tables import Sheet, TableRow
from workers.upstreams.upstream import Broken

FILE_BYTES_MAX: Final = 1_000_000_000
"""A document is held whole in memory while it is read; its rows are taken apart one by one."""
_DEEP: Final = 5
_ROW: Final = msgspec.json.Decoder(float_hook=Decimal)


def tables(path: Path, *, lines: bool) -> list[str | None]:
    """Places of lists of objects: None for the document itself, `data.users` for one within. Raises Broken."""
    return [None] if lines else [place or None for place in _lists(path, _body(path), "")]


def _lists(path: Path, body: msgspec.Raw, place: str, depth: int = 0) -> Iterator[str]:
    text = bytes(body).lstrip()[:1]
    if text == b"[":
        rows = _as(path, body, list[msgspec.Raw])
        if rows and bytes(rows[0]).lstrip()[:1] == b"{":
            yield place
    elif text == b"{" and depth < _DEEP:
        for name, inner in _as(path, body, dict[str, msgspec.Raw]).items():
            yield from _lists(path, inner, f"{place}.{name}" if place else name, depth + 1)


def opened(path: Path, place: str | None, wanted: frozenset[str], cell_bytes_max: int, *, lines: bool) -> Sheet:
    """The objects at a place, one row each. Columns are the names in any of them. Raises Broken."""
    rows = _lines(path) if lines else _as(path, _at(path, place), list[msgspec.Raw])
    if not rows:
        raise Broken("upstream.file-empty", file=path.name, rows=0)
    names = dict.fromkeys(name for _, row in _objects(path, rows) for name in row)
    if missing := wanted.difference(names):
        raise Broken("upstream.schema-changed", missing=sorted(missing), found=list(names)[:100])
    return Sheet(tuple(names), (), _rows(path, rows, tuple(names), cell_bytes_max))


def _rows(path: Path, rows: list[msgspec.Raw], names: tuple[str, ...], cell_bytes_max: int) -> Iterator[TableRow]:
    for number, row in _objects(path, rows):
        if any(isinstance(cell, str) and len(cell) > cell_bytes_max for cell in row.values()):
            raise Broken("upstream.cell-too-large", row=number, cell_bytes_max=cell_bytes_max)
        yield TableRow(number, tuple(row.get(name) for name in names), None)


def _objects(path: Path, rows: list[msgspec.Raw]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, body in enumerate(rows, 1):
        try:
            row = _ROW.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _broken(path, error, row=number) from error
        if not isinstance(row, dict):
            raise Broken("upstream.file-unreadable", file=path.name, row=number, why="it is not an object")
        yield number, {column_name(name): cell for name, cell in row.items()}


def _lines(path: Path) -> list[msgspec.Raw]:
    return [msgspec.Raw(line) for line in bytes(_body(path)).split(b"\n") if line.strip()]


def _at(path: Path, place: str | None) -> msgspec.Raw:
    body = _body(path)
    for name in (place or "").split(".") if place else ():
        inner = _as(path, body, dict[str, msgspec.Raw])
        if name not in inner:
            raise Broken("upstream.schema-changed", missing=[f"table {place}"], found=list(inner)[:100])
        body = inner[name]
    return body


def _body(path: Path) -> msgspec.Raw:
    if (size := path.stat().st_size) > FILE_BYTES_MAX:
        raise Broken("upstream.file-too-large", file=path.name, bytes=size)
    return msgspec.Raw(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))


def _as(path: Path, body: msgspec.Raw, kind: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _broken(path, error) from error


def _broken(path: Path, error: Exception, **facts: object) -> Broken:
    code = "upstream.file-truncated" if "truncated" in str(error) else "upstream.file-unreadable"
    if isinstance(error, UnicodeDecodeError) or "utf-8" in str(error).lower():
        code = "upstream.encoding-unreadable"
    return Broken(code, file=path.name, why=str(error)[:200], **facts)
