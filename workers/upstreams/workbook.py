"""Rows of a sheet in an .xlsx workbook, streamed: formulas as the values they had when the workbook was saved."""

import re
import zipfile
import zlib
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final
from xml.etree.ElementTree import ParseError

import openpyxl
from openpyxl.utils.exceptions import InvalidFileException

from domain.upstreams import FolderUpstream
from workers.upstreams.tables import Sheet, TableRow, columns_of
from workers.upstreams.upstream import Broken

_PIECE: Final = 1 << 20
_UNPACKED_MAX: Final = 4_000_000_000
_SHARED_MAX: Final = 200_000_000
"""Bytes of the table of shared texts, which is held in memory whole."""
_FORMULA: Final = re.compile(rb"<(?:\w+:)?f[ />]")
_ENTITY: Final = re.compile(rb"<!(?:DOCTYPE|ENTITY)")
_BROKEN: Final = (
    zipfile.BadZipFile,
    InvalidFileException,
    ParseError,
    KeyError,
    IndexError,
    ValueError,
    EOFError,
    OSError,
)


def opened(path: Path, config: FolderUpstream, columns: frozenset[str]) -> Sheet:
    """The sheet's header and rows. Raises Broken."""
    formulas = _judged(path, config.cell_bytes_max)
    rows = _rows(path, config, formulas=formulas)
    header = next((row for _, row, _ in rows if any(_said(cell) for cell in row)), None)
    if header is None:
        raise Broken("upstream.file-empty", rows=0)
    names, remarks = columns_of(header)
    if missing := columns.difference(names):
        raise Broken("upstream.schema-changed", missing=sorted(missing), found=list(names)[:100])
    return Sheet(names, remarks, _numbered(rows, len(names)))


def sheets(path: Path, config: FolderUpstream) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Name and columns of every sheet that has a header. Raises Broken."""
    _judged(path, config.cell_bytes_max)
    try:
        book = openpyxl.load_workbook(path, read_only=True)
        names = [sheet.title for sheet in book.worksheets]
        book.close()
    except _BROKEN as error:
        raise Broken("upstream.file-unreadable", file=path.name, why=str(error)[:200]) from error
    for name in names:
        rows = _rows(path, config.model_copy(update={"sheet": name}), formulas=False)
        if header := next((row for _, row, _ in rows if any(_said(cell) for cell in row)), None):
            yield name, columns_of(header)[0]


def _said(cell: object) -> bool:
    return cell is not None and (not isinstance(cell, str) or bool(cell.strip()))


def _judged(path: Path, cell_bytes_max: int) -> bool:
    """Whether there are formulas in it. Refuses what is no archive, unpacks to too much, or declares entities."""
    formulas = False
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(part.file_size for part in archive.infolist()) > _UNPACKED_MAX:
                raise Broken("upstream.file-too-large", file=path.name, unpacked_bytes_max=_UNPACKED_MAX)
            for part in archive.infolist():
                if part.filename.endswith("sharedStrings.xml") and part.file_size > _SHARED_MAX:
                    raise Broken("upstream.file-too-large", file=path.name, shared_bytes_max=_SHARED_MAX)
                if part.filename.endswith((".xml", ".rels")):
                    formulas |= _scanned(archive, part, path.name, cell_bytes_max)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        with path.open("rb") as file:
            begun = file.read(4) == b"PK\x03\x04"
        code = "upstream.file-truncated" if begun else "upstream.file-unreadable"
        raise Broken(code, file=path.name, why=str(error)[:200]) from error
    return formulas


def _scanned(archive: zipfile.ZipFile, part: zipfile.ZipInfo, name: str, cell_bytes_max: int) -> bool:
    """Whether the part has formulas. Texts beyond a cell and a piece end here: the reader would hold them whole."""
    sheet = part.filename.startswith("xl/worksheets/")
    formulas = False
    tail = b""
    silent = 0
    with archive.open(part) as file:
        while piece := file.read(_PIECE):
            window = tail + piece
            if _ENTITY.search(window):
                raise Broken("upstream.file-unreadable", file=name, why="it declares entities")
            formulas |= sheet and _FORMULA.search(window) is not None
            first = piece.find(b"<")
            silent += len(piece) if first < 0 else first
            if silent > cell_bytes_max:
                raise Broken("upstream.cell-too-large", file=name, cell_bytes_max=cell_bytes_max)
            silent = silent if first < 0 else len(piece) - piece.rfind(b"<")
            tail = piece[-16:]
    return formulas


def _rows(path: Path, config: FolderUpstream, *, formulas: bool) -> Iterator[tuple[int, tuple[Any, ...], str | None]]:
    """Row of the sheet, its values, and what is wrong with it."""
    books = [openpyxl.load_workbook(path, read_only=True, data_only=True)]
    try:
        books += [openpyxl.load_workbook(path, read_only=True)] if formulas else []
        sheets = [_sheet(book, config.sheet) for book in books]
        written = sheets[1].iter_rows() if formulas else iter(())
        for number, (cells, sources) in enumerate(zip_longest(sheets[0].iter_rows(), written, fillvalue=()), 1):
            fault = None
            for cell, source in zip_longest(cells, sources):
                if cell is not None and cell.data_type == "e":
                    fault = f"{cell.coordinate} is the error {cell.value}"
                elif isinstance(value := getattr(cell, "value", None), str) and len(value) > config.cell_bytes_max:
                    raise Broken("upstream.cell-too-large", row=number, cell_bytes_max=config.cell_bytes_max)
                elif value is None and getattr(source, "data_type", None) == "f":
                    fault = f"{source.coordinate} is a formula that was saved without its value"
            yield number, tuple(cell.value for cell in cells), fault
    except _BROKEN as error:
        raise Broken("upstream.file-unreadable", file=path.name, why=str(error)[:200]) from error
    finally:
        for book in books:
            book.close()


def _sheet(book: Any, name: str | None) -> Any:
    if name is None:
        sheet = book.worksheets[0]
    elif name in book.sheetnames:
        sheet = book[name]
    else:
        raise Broken("upstream.schema-changed", missing=[f"sheet {name}"], found=book.sheetnames[:100])
    sheet.reset_dimensions()  # what the file says of its size is often wrong
    return sheet


def _numbered(rows: Iterator[tuple[int, tuple[Any, ...], str | None]], width: int) -> Iterator[TableRow]:
    number = 0
    for _, values, found in rows:
        fault = found
        if fault is None and not any(_said(cell) for cell in values):
            continue
        number += 1
        if fault is None and any(_said(cell) for cell in values[width:]):
            fault = f"{len(values)} cells, where the header has {width}"
        cells = values[:width] + (None,) * (width - len(values))
        yield TableRow(number, () if fault else cells, fault)
