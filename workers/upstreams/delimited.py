"""Rows of a delimited text file, streamed: encoding and delimiter found out or stated, half a file refused."""

import codecs
import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, TextIO

from domain.upstreams import FolderUpstream
from workers.upstreams.tables import Sheet, TableRow, columns_of
from workers.upstreams.upstream import Broken, RowFault

_PIECE: Final = 1 << 20
_DELIMITERS: Final = (",", ";", "\t", "|")
_MARKS: Final = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_LINE_MAX: Final = 10_000_000
"""Characters of a line, and of a cell, whatever was configured. No more than twice that is held of a row."""
_UNENDED: Final = re.compile(r"unexpected end of data")


def opened(path: Path, config: FolderUpstream, columns: frozenset[str]) -> Sheet:
    """The file's header and rows. The file is read once through before, to know its encoding. Raises Broken."""
    encoding, notes = _encoding(path, config.encoding)
    with path.open(encoding=encoding, newline="") as file:
        header, delimiter = _header(_Lines(file), config, columns)
    names, remarks = columns_of(header)
    return Sheet(names, (*notes, *remarks), _rows(path, encoding, delimiter, len(names), config))


def _encoding(path: Path, stated: str | None) -> tuple[str, tuple[RowFault, ...]]:
    """What the bytes are: as their mark says, else as stated, else UTF-8 where all of it is, else Windows-1252."""
    with path.open("rb") as file:
        first = file.read(4)
    marked = next((name for mark, name in _MARKS if first.startswith(mark)), None)
    wanted = marked or stated or "utf-8"
    known = {"utf-8": "utf-8-sig", "windows-1252": "cp1252"}
    wrong = _undecodable(path, known.get(wanted, wanted))
    if wrong is None:
        return known.get(wanted, wanted), ()
    if marked is None and stated is None and _undecodable(path, "cp1252") is None:
        message = f"Read as Windows-1252: byte {wrong:,} is no UTF-8"
        return "cp1252", (RowFault(row=0, code="encoding-assumed", message=message),)
    raise Broken("upstream.encoding-unreadable", file=path.name, encoding=wanted, offset=wrong)


def _undecodable(path: Path, encoding: str) -> int | None:
    """Where the first bytes are that are no text in it."""
    decoder = codecs.getincrementaldecoder(encoding)()
    done = 0
    with path.open("rb") as file:
        while True:
            piece = file.read(_PIECE)
            held = len(decoder.getstate()[0])
            try:
                decoder.decode(piece, final=not piece)
            except UnicodeDecodeError as error:
                return done - held + error.start
            done += len(piece)
            if not piece:
                return None


class _Lines:
    """Lines of bounded length, with their ends: LF, CR LF or CR, also mixed. Knows how the last one ended."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.row = 0
        self.of_row = 0
        self.ended = True

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._file.readline(_LINE_MAX + 2)
        if not line:
            raise StopIteration
        self.ended = line.endswith(("\n", "\r"))
        self.of_row += len(line)
        if (not self.ended and len(line) > _LINE_MAX) or self.of_row > 2 * _LINE_MAX:
            raise Broken("upstream.cell-too-large", row=self.row + 1, row_bytes_max=_LINE_MAX)
        return line


def _header(lines: _Lines, config: FolderUpstream, columns: frozenset[str]) -> tuple[list[str], str]:
    """The first row that is not blank, and what cuts it."""
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        raise Broken("upstream.file-empty", rows=0)
    delimiters = (config.delimiter,) if config.delimiter else _DELIMITERS
    cuts = {delimiter: _cut(first, lines, delimiter) for delimiter in delimiters}
    missing = {delimiter: columns.difference(columns_of(cut)[0]) for delimiter, cut in cuts.items()}
    fitting = [delimiter for delimiter in delimiters if not missing[delimiter]]
    if len(fitting) == 1 or (fitting and len({tuple(cuts[each]) for each in fitting}) == 1):
        return cuts[fitting[0]], fitting[0]
    if fitting:
        raise Broken("upstream.delimiter-unclear", candidates=fitting)
    best = max(delimiters, key=lambda delimiter: (len(columns) - len(missing[delimiter]), len(cuts[delimiter])))
    if not lines.ended and len(missing[best]) < len(columns):
        raise Broken("upstream.file-truncated", row=0, why="the file ends within its header")
    found = columns_of(cuts[best])[0]
    raise Broken("upstream.schema-changed", missing=sorted(missing[best]), found=list(found)[:100])


def _cut(first: str, following: _Lines, delimiter: str) -> list[str]:
    """A header may have line ends within quotes; then it needs the following lines, which the delimiter must fit."""
    try:
        return next(csv.reader([first], delimiter=delimiter, strict=True))
    except csv.Error:
        if '"' not in first:
            return [first]
    try:
        rest = [first, *(line for line, _ in zip(following, range(20), strict=False))]
        return next(csv.reader(rest, delimiter=delimiter, strict=True))
    except (csv.Error, StopIteration):
        return [first]


def _rows(path: Path, encoding: str, delimiter: str, width: int, config: FolderUpstream) -> Iterator[TableRow]:
    """Every row after the header. Blank ones are passed over; one that is cut short or long is a fault of the row."""
    with path.open(encoding=encoding, newline="") as file:
        lines = _Lines(file)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        read = _guarded(reader, lines, config)
        next(row for row in read if any(cell.strip() for cell in row))
        for cells in read:
            if not any(cells) or not any(cell.strip() for cell in cells):
                continue
            lines.row += 1
            yield _fitted(cells, width, lines)


def _guarded(reader: Iterator[list[str]], lines: _Lines, config: FolderUpstream) -> Iterator[list[str]]:
    """What the parser finds wrong, as ours. Its own bound on cells is the process's; ours is lower."""
    csv.field_size_limit(max(csv.field_size_limit(), _LINE_MAX))
    while True:
        lines.of_row = 0
        try:
            cells = next(reader, None)
        except csv.Error as error:
            if _UNENDED.search(str(error)):
                raise Broken("upstream.file-truncated", row=lines.row + 1, why="the last cell does not end") from error
            if "field larger" in str(error):
                raise Broken(
                    "upstream.cell-too-large", row=lines.row + 1, cell_bytes_max=config.cell_bytes_max
                ) from error
            raise Broken("upstream.file-unreadable", row=lines.row + 1, why=str(error)) from error
        if cells is None:
            return
        if max(map(len, cells), default=0) > config.cell_bytes_max:
            raise Broken("upstream.cell-too-large", row=lines.row + 1, cell_bytes_max=config.cell_bytes_max)
        yield cells


def _fitted(cells: Sequence[str], width: int, lines: _Lines) -> TableRow:
    if len(cells) < width:
        if not lines.ended:
            raise Broken(
                "upstream.file-truncated", row=lines.row, why=f"{len(cells)} of {width} cells, and no line end"
            )
        return TableRow(lines.row, (), f"{len(cells)} cells, where the header has {width}")
    if any(cell.strip() for cell in cells[width:]):
        return TableRow(lines.row, (), f"{len(cells)} cells, where the header has {width}")
    return TableRow(lines.row, tuple(cells[:width]), None)
