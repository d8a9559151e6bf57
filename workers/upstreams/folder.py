"""An upstream that leaves exports in a folder: the newest file, by name, is everything there is."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, Literal

import msgspec

from domain.upstreams import FolderUpstream
from workers.upstreams import delimited, workbook
from workers.upstreams.tables import Sheet, TableRow
from workers.upstreams.upstream import (
    Batch,
    Broken,
    Change,
    Denied,
    PushResult,
    RowFault,
    Scope,
    Unavailable,
)

ROWS: Final = 1_000
"""Rows of a batch."""
FAULTS_SHOWN: Final = 100


class Place(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a cursor of ours holds: the file, and how many of its rows were read, or that all were."""

    of: Literal["folder"]
    file: str
    bytes: int
    changed_ns: int
    row: int = 0
    whole: bool = False


class FolderKind:
    """See `Upstream`. `columns` are those without which the mapping cannot read a row."""

    def __init__(self, config: FolderUpstream, columns: frozenset[str], roots: Sequence[Path]) -> None:
        self._config = config
        self._columns = columns
        self._roots = [root.resolve() for root in roots]

    @property
    def pushes(self) -> bool:
        """Exports are not written back to."""
        return False

    async def close(self) -> None:
        """Nothing is open between two batches but the file, which the fetch closes."""

    async def push(self, changes: Sequence[Change], idempotency_key: str) -> tuple[PushResult, ...]:  # noqa: ARG002  # as the protocol has it
        """Raises Denied."""
        raise Denied("upstream.not-supported", why="a folder of exports takes no changes", changes=len(changes))

    async def fetch(self, since: str | None = None) -> AsyncGenerator[Batch, None]:
        """A thousand rows a batch, read beside the loop."""
        before = _place(since)
        path = await asyncio.to_thread(self._newest)
        place = await asyncio.to_thread(_stand, path, before)
        if place.whole:
            yield Batch(scope=Scope.NOTHING, cursor=_cursor(place), last=True)
            return
        sheet = await asyncio.to_thread(self._opened, path)
        batches = _batches(sheet, place)
        while (batch := await asyncio.to_thread(next, batches, None)) is not None:
            if batch.last:
                await asyncio.to_thread(_unchanged, path, place)
            yield batch

    def _newest(self) -> Path:
        folder = Path(self._config.folder).resolve()
        if not any(folder == root or folder.is_relative_to(root) for root in self._roots):
            raise Denied("upstream.folder-refused", folder=self._config.folder)
        try:
            named = sorted(folder.glob(self._config.pattern))
            found = [path for path in named if path.is_file() and path.resolve().parent == folder]
        except OSError as error:
            raise Unavailable("upstream.unreachable", folder=self._config.folder, why=str(error)) from error
        if not found:
            raise Broken("upstream.file-missing", folder=self._config.folder, pattern=self._config.pattern)
        if (size := found[-1].stat().st_size) > self._config.file_bytes_max:
            raise Broken("upstream.file-too-large", file=found[-1].name, bytes=size)
        return found[-1]

    def _opened(self, path: Path) -> Sheet:
        if path.stat().st_size == 0:
            raise Broken("upstream.file-empty", file=path.name, rows=0)
        opened = workbook.opened if path.suffix.lower() == ".xlsx" else delimited.opened
        return opened(path, self._config, self._columns)


def _stand(path: Path, before: Place | None) -> Place:
    """Where to begin: in the middle only of the very file that was left there. Raises Broken."""
    stat = path.stat()
    fresh = Place(of="folder", file=path.name, bytes=stat.st_size, changed_ns=stat.st_mtime_ns)
    if before is None:
        return fresh
    if path.name < before.file:
        raise Broken("upstream.went-back", stands_at=path.name, stood_at=before.file)
    same = (before.file, before.bytes, before.changed_ns) == (fresh.file, fresh.bytes, fresh.changed_ns)
    return before if same else fresh


def _unchanged(path: Path, place: Place) -> None:
    stat = path.stat()
    if (stat.st_size, stat.st_mtime_ns) != (place.bytes, place.changed_ns):
        raise Unavailable("upstream.file-changed", file=path.name)


def _batches(sheet: Sheet, place: Place) -> Iterator[Batch]:
    """Those after the place's row. Remarks on the whole come with the first; without any row it is an empty file."""
    rows = (row for row in sheet.rows if row.number > place.row)
    taken = list(islice(rows, ROWS))
    if not taken and not place.row:
        raise Broken("upstream.file-empty", file=place.file, rows=0, columns=list(sheet.columns)[:100])
    remarks = sheet.remarks
    while True:
        following = list(islice(rows, ROWS))
        reached = taken[-1].number if taken else place.row
        then = msgspec.structs.replace(place, row=reached if following else 0, whole=not following)
        yield _batch(sheet.columns, taken, remarks, _cursor(then), last=not following)
        if not following:
            return
        taken, remarks = following, ()


def _batch(
    columns: Sequence[str], taken: Sequence[TableRow], remarks: tuple[RowFault, ...], cursor: str, *, last: bool
) -> Batch:
    good = [row for row in taken if row.fault is None]
    faults = [RowFault(row=row.number, code="row-unfit", message=row.fault) for row in taken if row.fault is not None]
    return Batch(
        scope=Scope.FULL,
        rows=tuple(dict(zip(columns, row.cells, strict=True)) for row in good),
        numbers=tuple(row.number for row in good),
        faults=(*remarks, *faults[:FAULTS_SHOWN]),
        faulty=len(faults),
        cursor=cursor,
        last=last,
    )


def _cursor(place: Place) -> str:
    return msgspec.json.encode(place).decode()


def _place(cursor: str | None) -> Place | None:
    if cursor is None:
        return None
    try:
        return msgspec.json.decode(cursor, type=Place)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise Broken("upstream.cursor-unknown", why=str(error)[:200]) from error
