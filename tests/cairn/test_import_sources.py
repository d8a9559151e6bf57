"""Sources that are not what they should be: each is refused in plain words, or asked about, and never guessed."""

import csv
import json
import sqlite3
import zipfile
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from click.testing import CliRunner

from cairn.cli import cairn
from cairn.importing import rows, suggestion
from cairn.importing.faults import Faults, Place
from cairn.importing.plan import Plan, PlanWrong
from cairn.importing.plan import read as read_plan
from cairn.importing.rows import Rows
from cairn.importing.sources import Asks, SourceWrong
from tests.cairn import old_product

HEADER = "id,org,name,city\n"


def planned(tmp_path: Path, table: dict[str, Any] | None = None, **of_plan: Any) -> Plan:
    """A plan of one table, of projects unless it says otherwise."""
    columns = {"company": "org", "key": "id", "name": "name", "location": "city"}
    file = tmp_path / "plan.json"
    file.write_text(
        json.dumps({"source": "s", "tables": [{"what": "projects", "columns": columns, **(table or {})}], **of_plan})
    )
    return read_plan(file)


def read(plan: Plan, *paths: Path, shown: int = 100) -> tuple[Rows, Faults]:
    """What is read, and what is wrong with it."""
    faults = Faults(shown)
    return rows.read(plan, paths, faults, lambda *_: None), faults


def file(tmp_path: Path, name: str, body: str | bytes) -> Path:
    """A file of the test's own."""
    path = tmp_path / name
    path.write_bytes(body if isinstance(body, bytes) else body.encode())
    return path


def named(found: Rows) -> list[str]:
    """The names of the projects."""
    return [row.text("name") for row in found["projects"]]


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("a.csv", ""),
        ("a.csv", "\n \n"),
        ("a.csv", HEADER),
        ("a.json", ""),
        ("a.json", "[]"),
        ("a.jsonl", "\n"),
        ("a.xlsx", ""),
        ("a.db", ""),
    ],
)
def test_an_empty_file(name: str, body: str, tmp_path: Path) -> None:
    with pytest.raises(SourceWrong, match=rf"{name}: .*\(file-empty"):
        read(planned(tmp_path), file(tmp_path, name, body))


def test_a_sheet_and_a_table_without_rows(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.create_sheet("jobs", 0).append(["id", "org", "name", "city"])
    book.save(tmp_path / "a.xlsx")
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("create table jobs (id, org, name, city)")
    for name in ("a.xlsx", "a.db"):
        with pytest.raises(SourceWrong, match="file-empty"):
            read(planned(tmp_path), tmp_path / name)


def half(path: Path) -> Path:
    """The file, cut in the middle."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.mark.parametrize("kind", ["csv", "xlsx", "sqlite", "json", "jsonl"])
def test_half_a_file(kind: str, tmp_path: Path) -> None:
    jobs = [{"id": str(number), "org": "1", "name": f"Road {number}", "city": "x" * 30} for number in range(1_000)]
    plan_file, path = old_product.written(tmp_path, kind, {"jobs": jobs})
    plan = read_plan(plan_file)
    assert len(read(plan, path)[0]["projects"]) == 1_000
    half(path)
    if kind == "csv":  # not between two rows, which nobody could tell
        path.write_bytes(path.read_bytes().rpartition(b"\n")[0] + b'\n999,"1')
    with pytest.raises(SourceWrong, match=rf"{path.name}: .*\(file-truncated"):
        read(plan, path)


@pytest.mark.parametrize(("name", "said"), [("a.db", "no SQLite database"), ("a.xlsx", "file-unreadable")])
def test_a_file_of_another_kind(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(SourceWrong, match=said):
        read(planned(tmp_path), file(tmp_path, name, HEADER + "1,1,Road,X\n"))


def test_a_damaged_database(tmp_path: Path) -> None:
    jobs = [{"id": str(number), "org": "1", "name": f"Road {number}", "city": "x" * 30} for number in range(1_000)]
    plan_file, path = old_product.written(tmp_path, "sqlite", {"jobs": jobs})
    body = bytearray(path.read_bytes())
    body[8_192:12_288] = b"\xaa" * 4_096
    path.write_bytes(body)
    with pytest.raises(SourceWrong, match=r"file-unreadable.*malformed"):
        read(read_plan(plan_file), path)


@pytest.mark.parametrize("body", ["{", '{"jobs": 3}', '{"jobs": [3]}', "nonsense", "[1, 2]"])
def test_json_that_is_no_table(body: str, tmp_path: Path) -> None:
    with pytest.raises(SourceWrong, match=r"a\.json: "):
        read(planned(tmp_path, {"table": "jobs"}), file(tmp_path, "a.json", body))


def test_a_table_or_column_that_is_not_there(tmp_path: Path) -> None:
    plan_file, *paths = old_product.written(tmp_path, "sqlite", {"jobs": old_product.database()["jobs"]})
    plan = json.loads(plan_file.read_text())
    plan["tables"][0]["table"] = "projects"
    plan_file.write_text(json.dumps(plan))
    with pytest.raises(SourceWrong, match=r"table projects.*\['jobs'\]"):
        read(read_plan(plan_file), *paths)
    with pytest.raises(SourceWrong, match=r"schema-changed: missing \['city'\]"):
        read(planned(tmp_path), file(tmp_path, "a.csv", "id,org,name\n1,1,Road\n"))


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    for name, body in [
        ("a.csv", HEADER + "1,1,Road,X\n"),
        ("a.json", '[{"id":"1","org":"1","name":"Road","city":"X"}]'),
    ]:
        assert named(read(planned(tmp_path), file(tmp_path, name, b"\xef\xbb\xbf" + body.encode()))[0]) == ["Road"]
    utf16 = file(tmp_path, "b.csv", (HEADER + "1,1,Straße,X\n").encode("utf-16"))
    assert named(read(planned(tmp_path), utf16)[0]) == ["Straße"]


def test_windows_1252_is_asked_about_and_then_read(tmp_path: Path) -> None:
    path = file(tmp_path, "a.csv", (HEADER + "1,1,Straße – Süd,X\n").encode("cp1252"))
    with pytest.raises(Asks, match='State encoding = "windows-1252"'):
        read(planned(tmp_path), path)
    assert named(read(planned(tmp_path, {"encoding": "windows-1252"}), path)[0]) == ["Straße – Süd"]
    with pytest.raises(SourceWrong, match="encoding-unreadable"):
        read(planned(tmp_path, {"encoding": "utf-8"}), path)


def test_semicolons_are_seen_and_two_ways_are_asked_about(tmp_path: Path) -> None:
    found, _ = read(planned(tmp_path), file(tmp_path, "a.csv", "id;org;name;city\n1;1;Road, new;X\n"))
    assert named(found) == ["Road, new"]
    twice = file(tmp_path, "b.csv", "id,org,name,city;id;org;name;city\n1;1;Road;X\n")
    with pytest.raises(Asks, match="State delimiter"):
        read(planned(tmp_path, {"columns": {"company": {"value": "1"}, "key": "id", "name": "name"}}), twice)


BOOK = {"company": "org", "book": "book", "edition": "year", "currency": "ccy", "dated_on": "date", "code": "code"} | {
    "description": "title",
    "unit": "uom",
    "unit_price": "price",
}


def prices(tmp_path: Path, date: str, price: str, **columns: Any) -> tuple[Rows, Faults]:
    """One price, whose day and amount are written as given."""
    row = {"org": "1", "book": "B", "year": "1", "ccy": "USD", "date": date, "code": "1", "title": "T", "uom": "EA"}
    with (tmp_path / "a.csv").open("w", newline="") as out:
        writer = csv.DictWriter(out, [*row, "price"])
        writer.writeheader()
        writer.writerow({**row, "price": price})
    return read(planned(tmp_path, {"what": "prices", "columns": {**BOOK, **columns}}), tmp_path / "a.csv")


def test_a_day_that_reads_in_two_ways_is_asked_about(tmp_path: Path) -> None:
    _, faults = prices(tmp_path, "03/04/2025", "1")
    assert faults.counted == {"date-order-unstated": 1}
    (asked,) = faults.asks
    assert asked.startswith("a.csv: '03/04/2025'")
    assert "State date_order of dated_on in the plan" in asked
    found, faults = prices(tmp_path, "03/04/2025", "1", dated_on={"column": "date", "date_order": "day-first"})
    assert (str(found["prices"][0].values["dated_on"]), faults.total) == ("2025-04-03", 0)


def test_a_number_that_reads_in_two_ways_is_asked_about(tmp_path: Path) -> None:
    _, faults = prices(tmp_path, "2025-04-03", "1.234")
    assert "State decimal_sign of unit_price in the plan" in next(iter(faults.asks))
    found, _ = prices(tmp_path, "2025-04-03", "1.234", unit_price={"column": "price", "decimal_sign": "comma"})
    assert found["prices"][0].values["unit_price"] == Decimal(1234)


def test_what_is_asked_ends_with_its_own_exit_code(tmp_path: Path) -> None:
    path = file(tmp_path, "a.csv", (HEADER + "1,1,Straße,X\n").encode("cp1252"))
    planned(tmp_path)
    result = CliRunner().invoke(cairn, ["import", str(tmp_path / "plan.json"), str(path)])
    assert result.exit_code == 3
    assert 'State encoding = "windows-1252"' in result.stderr


@pytest.mark.parametrize("kind", ["csv", "xlsx", "sqlite", "json", "jsonl"])
def test_a_cell_of_ten_megabytes(kind: str, tmp_path: Path) -> None:
    jobs = [{"id": "1", "org": "1", "name": "Road", "city": "x"}]
    plan_file, path = old_product.written(tmp_path, kind, {"jobs": jobs})
    if kind == "xlsx":  # which cannot be written with one
        swollen(path)
    else:
        old_product.written(tmp_path, kind, {"jobs": [jobs[0], {**jobs[0], "id": "2", "city": "x" * 10_000_000}]})
    with pytest.raises(SourceWrong, match=r"\(cell-too-large"):
        read(read_plan(plan_file), path)


def swollen(path: Path) -> None:
    """The workbook with ten megabytes in its last text."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["xl/worksheets/sheet1.xml"] = parts["xl/worksheets/sheet1.xml"].replace(b">x<", b">%b<" % (b"x" * 10_000_000))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in parts.items():
            archive.writestr(name, body)


def test_a_wrong_type_in_row_123456(tmp_path: Path) -> None:
    row = "1,B,1,USD,2025-01-01,{0},T,EA,{1}\n"
    text = ["org,book,year,ccy,date,code,title,uom,price\n"]
    text += [row.format(number, "12.5x" if number == 123_456 else "12.50") for number in range(1, 130_001)]
    plan = planned(tmp_path, {"what": "prices", "columns": BOOK})
    found, faults = read(plan, file(tmp_path, "a.csv", "".join(text)))
    assert len(found["prices"]) == 129_999
    (fault,) = faults.listed
    assert (fault.place, fault.column, fault.code) == (Place("a.csv", None, 123_456), "price", "number-unreadable")
    assert fault.message == "'12.5x' is no number"


def test_a_repeated_id_names_the_row_it_repeats(tmp_path: Path) -> None:
    body = HEADER + "1,1,Road,X\n2,1,Street,X\n1,1,Way,X\n1,2,Elsewhere,X\n"
    found, faults = read(planned(tmp_path), file(tmp_path, "a.csv", body))
    assert named(found) == ["Road", "Street", "Elsewhere"]
    (fault,) = faults.listed
    assert (fault.place.row, fault.column, fault.code) == (3, "id", "key-repeated")
    assert "row 1 of a.csv" in fault.message


def test_the_list_of_faults_is_bounded_and_all_are_counted(tmp_path: Path) -> None:
    body = HEADER + "".join(f"{number},1,,X\n" for number in range(500)) + "x,1\n"
    _, faults = read(planned(tmp_path), file(tmp_path, "a.csv", body), shown=10)
    assert (len(faults.listed), faults.total) == (10, 501)
    assert faults.counted == {"blank": 500, "row-unfit": 1}


def test_bytes_in_a_column_that_is_used(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("create table jobs (id, org, name, city, picture)")
        connection.execute("insert into jobs values (1, 1, 'Road', x'00ff', x'00')")
        connection.commit()
    _, faults = read(planned(tmp_path), tmp_path / "a.db")
    assert [(each.column, each.code) for each in faults.listed] == [("city", "binary")]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"what": "project"}, "tables[0].what: 'project' is no kind of thing; did you mean projects?"),
        ({"columns": {"key": "id", "company": "o", "nam": "n"}}, "columns.nam: 'nam' is no field of projects; did you"),
        ({"columns": {"key": "id", "company": "o"}}, "tables[0].columns.name: is missing"),
        ({"colums": {}}, "unknown field `colums` - at `$.tables[0]`"),
        ({"encoding": "latin-1"}, "encoding: 'latin-1' is no encoding"),
        ({"expect": {"sums": {"name": "1"}}}, "expect.sums.name: no column of this table is a number"),
        ({"columns": {"key": {}, "company": "o", "name": "n"}}, "columns.key.column: give the column, or a value"),
        (
            {"columns": {"key": "i", "company": "o", "name": {"column": "n", "date_order": "day-first"}}},
            "columns.name.date_order: name is text, which has none",
        ),
    ],
)
def test_a_plan_that_cannot_be_followed(table: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(PlanWrong) as wrong:
        planned(tmp_path, table)
    assert said in str(wrong.value)


def test_half_a_plan(tmp_path: Path) -> None:
    with pytest.raises(PlanWrong, match=r"plan\.toml"):
        read_plan(file(tmp_path, "plan.toml", 'source = "s"\n[[tabl'))


@pytest.mark.parametrize("kind", ["xlsx", "sqlite", "json"])
def test_a_suggested_plan_is_one(kind: str, tmp_path: Path) -> None:
    """Once what it leaves open is filled in, it can be followed."""
    database = old_product.database()
    _, path = old_product.written(tmp_path, kind, {name: database[name] for name in ("organizations", "users", "jobs")})
    suggested = suggestion.of([path])
    assert 'tier_expires_on = { column = "expires", date_order = "day-first" }' in suggested
    plan = read_plan(file(tmp_path, "plan.toml", suggested.replace('source = "?"', 'source = "old"')))
    assert sorted(table.what for table in plan.tables) == ["companies", "members", "projects"]
    found, faults = read(plan, path)
    assert faults.total == 0
    assert found["members"][0].text("email") == "ada@northern.example"


def test_a_suggestion_asks_where_the_cells_do_not_tell(tmp_path: Path) -> None:
    text = "org;name;plan;ccy;expires\n1;Northern;Pro;USD;03/04/2025\n"
    suggested = suggestion.of([file(tmp_path, "companies.csv", text)])
    assert 'date_order = "ask" }  # ask: say which it is' in suggested
    assert 'delimiter = ";"' in suggested
    with pytest.raises(PlanWrong, match=r"date_order: somebody has to say it: iso or day-first or month-first"):
        read_plan(file(tmp_path, "plan.toml", suggested))
    with pytest.raises(Asks, match="--encoding windows-1252"):
        suggestion.of([file(tmp_path, "b.csv", "id,größe\n1,2\n".encode("cp1252"))])


def test_a_suggestion_leaves_out_what_no_name_tells(tmp_path: Path) -> None:
    suggested = suggestion.of([file(tmp_path, "sync_log.csv", "id,at\n1,2\n")])
    assert "# sync_log.csv is left out" in suggested
    assert 'company = "?"' in suggested
