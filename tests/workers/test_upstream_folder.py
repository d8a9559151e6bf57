"""The folder kind of upstream: every oddity of real exports, read whole or refused with a reason."""

import json
import tracemalloc
import zipfile
from datetime import date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.mapping import MappingInput
from domain.typed_rows import Identities, RecordKey, RowReader, TypedRecord, differences
from domain.upstreams import FolderUpstream, upstream_of
from tests import schedules
from workers.upstreams.folder import FolderKind
from workers.upstreams.upstream import Batch, Broken, Change, Denied, Scope, Unavailable, UpstreamError

COLUMNS = frozenset({"Id", "Cost"})


def kind(
    folder: Path, *, columns: frozenset[str] = COLUMNS, roots: list[Path] | None = None, **other: Any
) -> FolderKind:
    sent = {"kind": "folder", "folder": str(folder)} | other
    config = upstream_of(json.dumps(sent))
    assert isinstance(config, FolderUpstream)
    return FolderKind(config, columns, [folder] if roots is None else roots)


async def fetched(upstream: FolderKind, since: str | None = None) -> list[Batch]:
    return [batch async for batch in upstream.fetch(since)]


async def rows(folder: Path, content: bytes, **other: Any) -> list[dict[str, object]]:
    (folder / "export.csv").write_bytes(content)
    return [dict(row) for batch in await fetched(kind(folder, **other)) for row in batch.rows]


async def refusal(folder: Path, content: bytes, **other: Any) -> tuple[str, dict[str, object]]:
    with pytest.raises(UpstreamError) as caught:
        await rows(folder, content, **other)
    return caught.value.code.removeprefix("upstream."), caught.value.facts


TWO = [{"Id": "1", "Cost": "5"}, {"Id": "2", "Cost": "6"}]


@pytest.mark.parametrize(
    "content",
    [
        b"Id,Cost\n1,5\n2,6\n", b"Id,Cost\n1,5\n2,6", b"\xef\xbb\xbfId,Cost\r\n1,5\r\n2,6\r\n", b"Id;Cost\r1;5\r2;6\r",
        b"Id\tCost\r\n1\t5\n2\t6\r", b"\n\n Id | Cost \n1|5\n\n2|6\n,\n".replace(b",\n", b"|\n"),
        b"Id,Cost,,\n1,5,,\n2,6,,\n",
        "Id,Cost\n1,5\n2,6\n".encode("utf-16"), b'"Id","Cost"\n"1","5"\n"2","6"\n', b"Id,Cost\n1,5,,\n2,6\n",
    ],
)  # fmt: skip
async def test_the_same_rows_in_every_dress(tmp_path: Path, content: bytes) -> None:
    assert await rows(tmp_path, content) == TWO


async def test_cells_of_several_lines_and_doubled_quotes(tmp_path: Path) -> None:
    content = b'Id,Cost,Note\r\n1,5,"two\r\nlines, and 3"" pipe"\r\n2,6,5\' x 6"\r\n'
    assert [row["Note"] for row in await rows(tmp_path, content)] == ['two\r\nlines, and 3" pipe', "5' x 6\""]


async def test_windows_1252_is_read_and_said(tmp_path: Path) -> None:
    content = "Id,Cost\nCafé – 1,5 €\n".encode("cp1252")
    (tmp_path / "export.csv").write_bytes(content)
    (batch,) = await fetched(kind(tmp_path))
    assert batch.rows == ({"Id": "Café – 1", "Cost": "5 €"},)
    assert [(fault.row, fault.code) for fault in batch.faults] == [(0, "encoding-assumed")]
    assert await rows(tmp_path, content, encoding="windows-1252") == [{"Id": "Café – 1", "Cost": "5 €"}]
    code, facts = await refusal(tmp_path, content, encoding="utf-8")
    assert (code, facts["offset"]) == ("encoding-unreadable", 11)
    assert (await refusal(tmp_path, b"Id,Cost\n1,\x81\n"))[0] == "encoding-unreadable"


async def test_headers_that_repeat_or_are_missing_get_names_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "export.csv").write_bytes(b"Id,Cost ,Cost,,Cost (2)\n1,2,3,4,5\n")
    (batch,) = await fetched(kind(tmp_path))
    assert batch.rows == ({"Id": "1", "Cost": "2", "Cost (3)": "3", "Column 4": "4", "Cost (2)": "5"},)
    assert [fault.code for fault in batch.faults] == ["column-renamed", "column-renamed"]


@pytest.mark.parametrize(
    ("content", "code", "facts"),
    [
        (b"", "file-empty", {}),
        (b"\n \n", "file-empty", {}),
        (b"Id,Cost\n", "file-empty", {"columns": ["Id", "Cost"]}),
        (b"Id,Cos", "file-truncated", {"row": 0}),
        (b"Id,Cost\n1,5\n2", "file-truncated", {"row": 2}),
        (b'Id,Cost\n1,5\n2,"6', "file-truncated", {"row": 2}),
        (b'Id,Cost\n1,5\n2,"6"7\n', "file-unreadable", {"row": 2}),
        (b"Id,Price\n1,5\n", "schema-changed", {"missing": ["Cost"], "found": ["Id", "Price"]}),
        (b"Id,Cost\n1,5\n2," + b"x" * 1_000_001 + b"\n", "cell-too-large", {"row": 2}),
        (b"Id,Cost\n1,5\n2," + b"x" * 10_485_760 + b"\n", "cell-too-large", {"row": 2}),
        (b'Id,Cost\n1,5\n2,"' + b"x\n" * 5_242_880 + b'"\n', "cell-too-large", {"row": 2}),
        (b'Id,Cost\n1,5\n2' + b',"x\n"' * 5_000_000, "cell-too-large", {"row": 2}),
    ],
)  # fmt: skip
async def test_what_is_no_whole_export_is_refused(
    tmp_path: Path, content: bytes, code: str, facts: dict[str, object]
) -> None:
    found, given = await refusal(tmp_path, content)
    assert found == code
    assert facts.items() <= given.items()


async def test_a_header_that_can_be_cut_in_two_ways_asks_for_the_delimiter(tmp_path: Path) -> None:
    content = b"Id;x,Id\n1;2,3\n"
    code, facts = await refusal(tmp_path, content, columns=frozenset())
    assert (code, facts) == ("delimiter-unclear", {"candidates": [",", ";", "\t", "|"]})
    assert await rows(tmp_path, content, columns=frozenset({"Id"}), delimiter=",") == [{"Id;x": "1;2", "Id": "3"}]


async def test_rows_that_do_not_fit_are_counted_and_named_by_their_number(tmp_path: Path) -> None:
    lines = [f"{n},5" for n in range(1, 2_501)]
    lines[1_233] = "1234"
    lines[2_000] = "2001,5,more"
    (tmp_path / "export.csv").write_text("Id,Cost\n" + "\n".join(lines) + "\n")
    batches = await fetched(kind(tmp_path))
    assert [len(batch.rows) for batch in batches] == [1_000, 999, 499]
    assert [(fault.row, fault.code) for batch in batches for fault in batch.faults] == [
        (1_234, "row-unfit"), (2_001, "row-unfit"),
    ]  # fmt: skip
    assert all(
        row["Id"] == str(number) for batch in batches for row, number in zip(batch.rows, batch.numbers, strict=True)
    )
    assert [batch.last for batch in batches] == [False, False, True]
    for place in (1, 2):
        assert await fetched(kind(tmp_path), batches[place - 1].cursor) == batches[place:]


async def test_the_newest_file_counts_and_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a-06.csv").write_text("Id,Cost\n1,5\n")
    (first,) = await fetched(kind(tmp_path))
    (again,) = await fetched(kind(tmp_path), first.cursor)
    assert (first.scope, again.scope, again.rows, again.last) == (Scope.FULL, Scope.NOTHING, (), True)
    (tmp_path / "a-09.csv").write_text("Id,Cost\n2,6\n")
    (second,) = await fetched(kind(tmp_path), again.cursor)
    assert second.rows == (TWO[1],)
    (tmp_path / "a-09.csv").unlink()
    with pytest.raises(Broken, match="went-back"):
        await fetched(kind(tmp_path), second.cursor)
    for cursor in ['{"of": "http"}', "?"]:
        with pytest.raises(Broken, match="cursor-unknown"):
            await fetched(kind(tmp_path), cursor)


async def test_a_file_that_is_still_being_written_is_for_later(tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    path.write_text("Id,Cost\n" + "1,5\n" * 1_500)
    batches = kind(tmp_path).fetch()
    await anext(batches)
    with path.open("a") as file:
        file.write("2,6\n")
    with pytest.raises(Unavailable, match="file-changed"):
        await anext(batches)


async def test_only_folders_that_the_operator_allows_are_read(tmp_path: Path) -> None:
    allowed, outside = tmp_path / "in", tmp_path / "out"
    allowed.mkdir()
    outside.mkdir()
    (outside / "export.csv").write_text("Id,Cost\n1,5\n")
    for folder in [outside, allowed / ".." / "out"]:
        with pytest.raises(Denied, match="folder-refused"):
            await fetched(kind(folder, roots=[allowed]))
    (allowed / "link").symlink_to(outside)
    with pytest.raises(Denied, match="folder-refused"):
        await fetched(kind(allowed / "link", roots=[allowed]))
    (allowed / "export.csv").symlink_to(outside / "export.csv")
    with pytest.raises(Broken, match="file-missing"):
        await fetched(kind(allowed))
    with pytest.raises(Denied, match="not-supported"):
        await kind(allowed).push([Change(record="r", identity={}, version=None, fields={})], "key")


def workbook(path: Path, table: list[list[Any]]) -> Path:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in table:
        sheet.append(row)
    book.save(path)
    return path


def rewritten(path: Path, part: str, old: bytes, new: bytes) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    assert old in parts[part]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content.replace(old, new) if name == part else content)


SHEET = "xl/worksheets/sheet1.xml"


async def test_a_workbook_gives_values(tmp_path: Path) -> None:
    day = datetime(2025, 6, 30)
    path = workbook(
        tmp_path / "a.xlsx", [[" Id ", "Cost", "Day", None], ["01", 5.5, day], [], [2, "=B2*2", None, None]]
    )
    rewritten(path, SHEET, b"<f>B2*2</f><v />", b"<f>B2*2</f><v>11</v>")
    (batch,) = await fetched(kind(tmp_path, pattern="*.xlsx"))
    assert batch.rows == ({"Id": "01", "Cost": 5.5, "Day": day}, {"Id": 2, "Cost": 11, "Day": None})
    assert batch.numbers == (1, 2)


async def test_a_formula_without_its_value_and_an_error_are_faults_of_their_rows(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", [["Id", "Cost"], [1, "=1+1"], [2, "#N/A"], [3, 4], [4, 5, 6]])
    (batch,) = await fetched(kind(tmp_path, pattern="*.xlsx"))
    assert batch.rows == ({"Id": 3, "Cost": 4},)
    assert [(fault.row, fault.message) for fault in batch.faults] == [
        (1, "B2 is a formula that was saved without its value"),
        (2, "B3 is the error #N/A"),
        (4, "3 cells, where the header has 2"),
    ]
    assert path.exists()


async def test_workbooks_that_are_refused(tmp_path: Path) -> None:
    async def code(**other: Any) -> str:
        with pytest.raises(UpstreamError) as caught:
            await fetched(kind(tmp_path, pattern="*.xlsx", **other))
        return caught.value.code.removeprefix("upstream.")

    path = workbook(tmp_path / "a.xlsx", [["Id", "Cost"], [1, 5]])
    whole = path.read_bytes()
    assert await code(sheet="Other") == "schema-changed"
    assert await code(columns=frozenset({"Price"})) == "schema-changed"
    path.write_bytes(whole[: len(whole) // 2])
    assert await code() == "file-truncated"
    path.write_bytes(b"Id,Cost\n1,5\n")
    assert await code() == "file-unreadable"
    path.write_bytes(b"")
    assert await code() == "file-empty"
    path.write_bytes(whole)
    rewritten(path, SHEET, b"<worksheet", b"<!DOCTYPE x><worksheet")
    assert await code() == "file-unreadable"
    path.write_bytes(whole)
    rewritten(path, SHEET, b"</sheetData>", b"</sheetDat")
    assert await code() == "file-unreadable"
    workbook(path, [["Id", "Cost"]])
    assert await code() == "file-empty"
    workbook(path, [])
    assert await code() == "file-empty"
    workbook(path, [["Id", "Cost"], [1, "x" * 30_000]])
    assert await code(cell_bytes_max=20_000) == "cell-too-large"
    rewritten(path, SHEET, b"x" * 30_000, b"x" * 3_000_000)
    with pytest.raises(Broken, match="cell-too-large: file="):  # before it is unpacked into memory
        await fetched(kind(tmp_path, pattern="*.xlsx", cell_bytes_max=2_000_000))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)] * 2), min_size=1
    ),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
async def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, str]], delimiter: str, end: str, encoding: str
) -> None:
    def quoted(cell: str) -> str:
        return '"' + cell.replace('"', '""') + '"'

    folder = tmp_path_factory.mktemp("export")
    lines = [delimiter.join(["Id", "Cost"]), *(delimiter.join(map(quoted, row)) for row in table)]
    written = [dict(zip(["Id", "Cost"], row, strict=True)) for row in table if any(cell.strip() for cell in row)]
    content = (end.join(lines) + end).encode(encoding)
    if written:
        assert await rows(folder, content) == written
    else:
        assert (await refusal(folder, content))[0] == "file-empty"


async def test_a_cell_of_another_type_is_found_in_its_row(tmp_path: Path) -> None:
    lines = [f"{n},5" for n in range(1, 130_001)]
    lines[123_455] = "123456,five"
    (tmp_path / "export.csv").write_text("Id,Cost\n" + "\n".join(lines) + "\n")
    money = {"upstream": "Cost", "name": "cost", "type": "money", "unit": "USD"}
    sent = {"fields": [money], "identity": ["Id"]}
    reader = RowReader(MappingInput.model_validate_json(json.dumps(sent)).as_mapping(1))
    found = [
        (number, fault.path, fault.code)
        for batch in await fetched(kind(tmp_path))
        for number, row in zip(batch.numbers, batch.rows, strict=True)
        for fault in reader.typed(row)[1]
    ]
    assert found == [(123_456, ("Cost",), "number_unreadable")]


async def test_a_large_file_takes_little_memory(tmp_path: Path) -> None:
    """20 MB of rows; what is held is a batch or two of 1 MB each."""
    with (tmp_path / "export.csv").open("w") as file:
        file.write("Id,Cost,Note\n")
        file.writelines(f"{n},5,{'x' * 1_000}\n" for n in range(20_000))
    count = 0
    tracemalloc.start()
    async for batch in kind(tmp_path).fetch():
        count += len(batch.rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 20_000
    assert peak < 10_000_000


CONNECTION = UUID(int=7)
NEEDED = schedules.MAPPING.required_columns()


async def published(folder: Path, **other: Any) -> dict[UUID, TypedRecord]:
    """Every record of the newest file, by id."""
    reader, identities = RowReader(schedules.MAPPING), Identities(schedules.MAPPING, CONNECTION)
    records = {}
    async for batch in kind(folder, columns=NEEDED, **other).fetch():
        assert batch.faulty == 0
        for row in batch.rows:
            key = identities.of(row)
            record, faults = reader.typed(row)
            assert isinstance(key, RecordKey)
            assert faults == ()
            records[key.id] = record
    return records


@pytest.mark.parametrize("folder", schedules.FOLDERS)
async def test_published_schedules_through_a_folder(folder: Path, tmp_path: Path) -> None:
    june = await published(folder, pattern=schedules.JUNE)
    september = await published(folder, pattern=schedules.SEPTEMBER)
    common = june.keys() & september.keys()
    updated = sum(bool(differences(june[id], september[id])) for id in common)
    assert len(june) == 13_153
    assert (updated, len(common) - updated, len(september) - len(common), len(june) - len(common)) == (
        6_453, 5_522, 1_663, 1_178,
    )  # fmt: skip
    content = (folder / schedules.SEPTEMBER).read_bytes().decode()
    (tmp_path / "x.csv").write_bytes(("\ufeff" + content).encode("utf-16"))
    assert await published(tmp_path) == september


def as_cell(text: str) -> object:
    """As somebody who opened the file in a spreadsheet would have saved it."""
    parts = text.split("/")
    if len(parts) == 3 and all(part.isdigit() for part in parts):
        return date(int(parts[2]), int(parts[0]), int(parts[1]))
    return float(text) if text.isdigit() and text[0] != "0" and len(text) > 4 else text


@pytest.mark.parametrize("folder", schedules.FOLDERS)
async def test_published_schedules_as_a_workbook_are_unchanged(folder: Path, tmp_path: Path) -> None:
    read = [dict(row) for row in schedules.rows(folder / schedules.SEPTEMBER)][:3_000]
    workbook(tmp_path / "s.xlsx", [[*read[0]][::-1], *([as_cell(str(c)) for c in row.values()][::-1] for row in read)])
    reader, identities = RowReader(schedules.MAPPING), Identities(schedules.MAPPING, CONNECTION)
    wanted = {key.id: reader.typed(row)[0] for row in read if isinstance(key := identities.of(row), RecordKey)}
    assert await published(tmp_path, pattern="*.xlsx") == wanted


def test_a_mapping_names_columns_as_the_reader_of_files_does() -> None:
    sent = {"fields": [{"upstream": " Two  words ", "name": "x", "type": "text"}], "identity": ["Id "]}
    mapping = MappingInput.model_validate_json(json.dumps(sent)).as_mapping(1)
    assert mapping.columns() == {"Two words", "Id"}
