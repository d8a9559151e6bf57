"""The example ERP over exports: made ones of a few rows, and the published ones where they are at hand."""

import csv
from pathlib import Path

import pytest

from examples.upstream.fields import COLUMNS, KEY, typed
from tests.upstream import PUBLISHED, Upstream, edit, upstream

Row = dict[str, str]
FIRST: Row = {
    **dict.fromkeys(COLUMNS, "x"),
    **{"DIST_NO": "1", "STATUS_CD": "In-Progress", "ACT_START_DT": "6/28/2024", "PLAN_END_DT": "DOER"},
    **{"ACT_END_DT": "", "BUDGET_AMT": "DOER", "EST_FINAL_AMT": "206654.00", "SPENT_AMT": "0.00"},
}


def write(path: Path, rows: list[Row]) -> None:
    """As the publisher writes: some headers end in a blank."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(f"{name} " if column in {"DIST_NO", "PROJ_TYPE"} else name for column, name in COLUMNS.items())
        table.writerows([row[column] for column in COLUMNS] for row in rows)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """June: a, b twice, c. September: a reformatted, the second b changed, c gone, d new."""
    a, b, c, d = (FIRST | {"BLDG_ID": name} for name in "abcd")
    other = b | {"EST_FINAL_AMT": "7.00"}
    write(tmp_path / "2025-06-30.csv", [a, b, other, c])
    write(tmp_path / "2025-09-30.csv", [b, a | {"EST_FINAL_AMT": "206654"}, d, other | {"EST_FINAL_AMT": "8"}])
    return tmp_path


def test_an_advance_does_what_happened_between_two_exports(folder: Path, tmp_path: Path) -> None:
    with upstream("--data", str(folder), "--state", str(tmp_path / "state")) as erp:
        june = erp.records()
        assert sorted((each["BLDG_ID"], each["EST_FINAL_AMT"]) for each in june.values()) == [
            *(("a", "206654.00"), ("b", "206654.00"), ("b", "7.00"), ("c", "206654.00")),
        ]
        did = erp.advance()
        counts = {"inserted": 1, "removed": 1, "changed": 1, "reformatted": 1, "records": 4, "step": 1}
        assert did == counts | {"export": "2025-09-30.csv", "version": 8}
        september = erp.records(deleted=1)
        assert len(september) == 5
        by_amount = {each["id"]: each["EST_FINAL_AMT"] for each in september.values() if not each.get("deleted")}
        (second_b,) = [each["id"] for each in june.values() if each["EST_FINAL_AMT"] == "7.00"]
        assert by_amount[second_b] == "8"
        refused = erp.http.post("/advance")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "no-further-step")
    with upstream("--data", str(folder), "--state", str(tmp_path / "state")) as again:
        assert again.records(deleted=1) == september


def test_a_cell_that_the_source_left_alone_keeps_what_was_pushed(folder: Path) -> None:
    with upstream("--data", str(folder)) as erp:
        june = {(each["BLDG_ID"], each["EST_FINAL_AMT"]): each for each in erp.records().values()}
        a, b = june["a", "206654.00"], june["b", "7.00"]
        erp.push("key", edit(a, EST_FINAL_AMT="1.00"), edit(b, EST_FINAL_AMT="2.00", SCHOOL_NM="Pushed"))
        erp.advance()
        assert erp.get(f"/records/{a['id']}")["EST_FINAL_AMT"] == "1.00"
        now = erp.get(f"/records/{b['id']}")
        assert (now["EST_FINAL_AMT"], now["SCHOOL_NM"]) == ("8", "Pushed")


def test_a_folder_without_exports_or_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"has no \.csv file"):
        Upstream("--data", str(tmp_path))
    (tmp_path / "a.csv").write_text("Project Type \nx\n")
    with pytest.raises(RuntimeError, match=r"^upstream: a\.csv has no column 'Project Geographic District'"):
        Upstream("--data", str(tmp_path))


@pytest.mark.parametrize("money", ["as-exported", "dollars"] if PUBLISHED.is_dir() else [])
def test_the_published_exports_give_the_counts_known_of_them(money: str) -> None:
    with upstream("--data", str(PUBLISHED), "--money", money) as erp:
        june = erp.records()
        assert (erp.ready["records"], len(june)) == (13_153, 13_153)
        did = erp.advance()
        reformatted = 5_522 if money == "as-exported" else 0
        counts = {"inserted": 1_663, "removed": 1_178, "changed": 6_453, "reformatted": reformatted}
        assert {name: did[name] for name in counts} == counts
        september = erp.records()
        assert (did["records"], len(september)) == (13_638, 13_638)
        assert len(june.keys() & september.keys()) == 11_975
        assert len(erp.records(since_version=13_153, deleted=1)) == 1_663 + 1_178 + 6_453 + reformatted
    common = [(june[id_], september[id_]) for id_ in june.keys() & september.keys()]
    assert {one[column] == other[column] for one, other in common for column in KEY} == {True}
    changed = {
        column: sum(typed(column, a[column]) != typed(column, b[column]) for a, b in common) for column in COLUMNS
    }
    known = {"STATUS_CD": 1_056, "ACT_START_DT": 513, "PLAN_END_DT": 510, "ACT_END_DT": 1_056, "SCHOOL_NM": 25}
    known |= {"BUDGET_AMT": 945, "EST_FINAL_AMT": 5_065, "SPENT_AMT": 5_746}
    assert {column: count for column, count in changed.items() if count} == known
