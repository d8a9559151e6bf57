"""Field mappings: their faults, what cells mean under them, which rows are equal, and what a preview asks."""

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.cells import Absent, Value
from domain.faults import Fault
from domain.mapping import BUILT_IN_REASONS, FieldMapping, MappingInput
from domain.mapping_preview import ASK, preview
from domain.pfa import PFA_FIELDS, ConflictPolicy, FieldType
from domain.typed_rows import (
    Identities,
    RecordKey,
    Row,
    RowReader,
    TypedRecord,
    as_upstream,
    canonical,
    differences,
    digest,
    from_canonical,
    typed,
)
from tests import schedules

CONNECTION = UUID(int=7)


def field(type: str, **other: Any) -> dict[str, Any]:
    """A field `x` of column `X`."""
    unit = {"unit": "USD"} if type == "money" else {}
    return {"upstream": "X", "name": "x", "type": type} | unit | other


def mapping(*fields: dict[str, Any], **other: Any) -> FieldMapping:
    sent = {"fields": [*fields], "identity": ["Id"]} | other
    return MappingInput.model_validate_json(json.dumps(sent)).as_mapping(3)


def value(cell: object, type: str, **other: Any) -> Value | str:
    """What the cell says; of one that cannot be read, the fault's code."""
    record, faults = typed({"X": cell}, mapping(field(type, **other)))
    return faults[0].code if faults else record.values["x"]


def refused(sent: Mapping[str, Any]) -> dict[tuple[str | int, ...], str]:
    with pytest.raises(pydantic.ValidationError) as caught:
        MappingInput.model_validate_json(json.dumps(sent))
    return {each["loc"]: each["type"] for each in caught.value.errors()}


def test_every_fault_of_a_mapping_is_named_with_its_path() -> None:
    twice = [{"word": "N/A", "reason": "unknown"}, {"word": "n/a", "reason": "withheld"}]
    faults = refused(
        {
            "fields": [
                field("money", feeds="plan_costs"),
                field("number", upstream="Y"),
                field("money", name="plan_cost", feeds="plan_cost", unit=None),
                field("money", name="b", feeds="plan_cost", unit="JPY"),
                field("text", name="plan_end", feeds="plan_end", date_order="us"),
                field("boolean", name="c", true_words=["ja", "Ja?"]),
                field("boolean", name="d", true_words=["ja"], false_words=["JA"]),
                field("decimal", name="e", unit="hogshead", decimal_sign="dot"),
                field("integer", name="area", missing=twice),
                field("text", name="f", decimal_sign="point"),
            ],
            "identity": ["Id", "Id "],
            "missing": [{"word": "-", "reason": "blank"}],
        }
    )
    assert faults == {
        ("fields", 0, "feeds"): "feeds_unknown",
        ("fields", 1, "type"): "type_unknown",
        ("fields", 1, "name"): "mapped_twice",
        ("fields", 2, "unit"): "currency_missing",
        ("fields", 3, "feeds"): "mapped_twice",
        ("fields", 3, "unit"): "currency_unknown",
        ("fields", 4, "type"): "type_mismatch",
        ("fields", 4, "date_order"): "out_of_place",
        ("fields", 5, "false_words"): "words_missing",
        ("fields", 6, "false_words"): "words_contradict",
        ("fields", 7, "unit"): "unit_unknown",
        ("fields", 7, "decimal_sign"): "decimal_sign_unknown",
        ("fields", 8, "name"): "name_taken",
        ("fields", 8, "missing", 1, "reason"): "word_twice",
        ("fields", 9, "decimal_sign"): "out_of_place",
        ("identity", 1): "mapped_twice",
        ("missing", 0, "reason"): "reason_taken",
    }


def test_a_mapping_of_another_shape_is_refused() -> None:
    shape = {"fields": [field("text", name="Two Words", colour="red") | {"upstream": " "}], "identity": []}
    assert refused(shape) == {
        ("fields", 0, "upstream"): "text_blank",
        ("fields", 0, "name"): "field_name",
        ("fields", 0, "colour"): "extra_forbidden",
        ("identity",): "too_short",
    }
    with pytest.raises(pydantic.ValidationError, match="did you mean plan_cost"):
        MappingInput.model_validate_json(
            json.dumps({"fields": [field("money", feeds="plan_costs")], "identity": ["I"]})
        )


def test_a_mapping_keeps_the_number_its_owner_gave_and_the_canonical_unit() -> None:
    found = mapping(field("decimal", unit="C Y"))
    assert (found.version, found.fields[0].unit) == (3, "CY")


def test_what_may_be_drafted_is_never_the_servers_alone() -> None:
    assert {name for name, each in PFA_FIELDS.items() if each.editable} == {
        name for name, each in PFA_FIELDS.items() if each.policy != ConflictPolicy.SERVER_WINS
    }
    assert not [name for name in PFA_FIELDS if name.startswith(("plan_", "actual_")) and PFA_FIELDS[name].editable]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("206654.00", "206654"), ("$206,654", "206654"), (" 206 654.005 ", "206654.01"), ("(1,234.5)", "-1234.5"),
        ("-$.01", "-0.01"), ("17-", "-17"), ("USD 5", "5"), ("5 USD", "5"), (206654, "206654"), (0.1 + 0.2, "0.3"),
        (Decimal("1e2"), "100"), ("1'000'000", "1000000"), ("−3", "-3"), ("-0", "0"), ("0", "0"),
    ],
)  # fmt: skip
def test_money(cell: object, expected: str) -> None:
    found = value(cell, "money", decimal_sign="point")
    assert found == Decimal(expected)
    assert str(found) == f"{Decimal(expected):.2f}"


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        ("EUR 5", "currency_other"), ("€5", "currency_other"), ("1,23", "number_unreadable"),
        (True, "number_unreadable"), ("1 234,567", "number_unreadable"), ("1E+05", "number_unreadable"),
        ("twelve", "number_unreadable"),
        (float("nan"), "number_unreadable"), (float("inf"), "number_unreadable"), ("9" * 16, "number_range"),
        ("99999999999999", "number_range"), ("٣", "number_unreadable"), ("", None), ([1], "number_unreadable"),
    ],
)  # fmt: skip
def test_what_is_no_money_is_refused_and_blank_is_not_zero(cell: object, code: str | None) -> None:
    assert value(cell, "money", decimal_sign="point") == (code or Absent("blank"))


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("1.234,56", Decimal("1234.56")), ("1,234.56", Decimal("1234.56")), ("12.5", Decimal("12.5")),
        ("12", Decimal(12)), ("1.234", "decimal_sign_unstated"), ("1,234", "decimal_sign_unstated"),
        ("1.234.567", Decimal(1234567)),
    ],
)  # fmt: skip
def test_without_a_stated_sign_a_number_of_two_readings_is_refused(cell: str, expected: object) -> None:
    assert value(cell, "decimal") == expected


def test_a_decimal_comma() -> None:
    assert value("1.234", "decimal", decimal_sign="comma") == 1234
    assert value("1,234", "decimal", decimal_sign="comma") == Decimal("1.234")
    assert value("1,2345678901", "decimal", decimal_sign="comma") == Decimal("1.2345678901")
    assert value("1,23456789012", "decimal", decimal_sign="comma") == "number_places"


@pytest.mark.parametrize(
    ("cell", "order", "expected"),
    [
        ("2/19/2024", "month-first", date(2024, 2, 19)), ("02/19/2024 12:00:00 AM", "month-first", date(2024, 2, 19)),
        ("19.2.2024", "day-first", date(2024, 2, 19)), ("2024-02-19T23:59:59-05:00", "day-first", date(2024, 2, 19)),
        (datetime(2024, 2, 19, 23), None, date(2024, 2, 19)), (date(2024, 2, 19), None, date(2024, 2, 19)),
        ("2024-02-19", None, date(2024, 2, 19)), ("2/19/2024", None, "date_order_unstated"),
        ("2/2/2024", None, "date_order_unstated"), ("2/19/2024", "day-first", "date_unreadable"),
        ("2/19/2024", "iso", "date_unreadable"), ("2/19/24", "month-first", "date_unreadable"),
        ("2/30/2024", "month-first", "date_unreadable"), ("2/19-2024", "month-first", "date_unreadable"),
        ("0202-02-19", None, "date_range"), (45341, None, "date_unreadable"),
    ],
)  # fmt: skip
def test_dates(cell: object, order: str | None, expected: object) -> None:
    assert value(cell, "date", date_order=order) == expected


def test_other_types() -> None:
    assert value("1,000", "integer", decimal_sign="point") == 1000
    assert value(3.0, "integer") == 3
    assert value("3.5", "integer") == "integer_unreadable"
    assert [value(each, "boolean") for each in ["Yes", True, 1, "0"]] == [True, True, True, False]
    assert value("maybe", "boolean") == "boolean_unreadable"
    assert value(" Café\r\nbar ", "text") == "Café\nbar"
    assert value(12.0, "text") == "12"
    assert value("a\x00b", "text") == "text_control_character"
    assert value("x" * 10_001, "text") == "text_too_long"
    assert value("x" * 201, "category") == "text_too_long"
    assert value({"a": 1}, "text") == "value_shape"


def test_withheld_values_are_absent_with_their_reason_and_only_where_the_mapping_says() -> None:
    words = [{"word": "DOER", "reason": "not published"}]
    assert value(" doer ", "money", missing=words) == Absent("not published")
    record, _ = typed(
        {"X": "DOER", "Y": "DOER"}, mapping(field("text"), field("date", upstream="Y", name="y"), missing=words)
    )
    assert record.values == {"x": "DOER", "y": Absent("not published")}
    assert value("DOER", "money") == "number_unreadable"


def test_a_row_without_a_mapped_column_is_faulty_unless_columns_may_be_left_out() -> None:
    assert value("x", "text") == "x"
    _, faults = typed({}, mapping(field("text")))
    assert [(fault.path, fault.code) for fault in faults] == [(("X",), "column_missing")]
    record, faults = typed({}, mapping(field("text"), omitted_means_blank=True))
    assert (record.values, faults) == ({"x": Absent("blank")}, ())


CELLS: dict[str, st.SearchStrategy[Any]] = {
    "text": st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=20),
    "integer": st.integers(-(10**12), 10**12),
    "decimal": st.decimals(-(10**9), 10**9, places=6),
    "money": st.decimals(-(10**12), 10**12, places=2),
    "date": st.dates(date(1900, 1, 1), date(2199, 12, 31)),
    "boolean": st.booleans(),
}
EVERYTHING = mapping(
    *(field(kind, upstream=kind.title(), name=f"a_{kind}", date_order="month-first" if kind == "date" else None,
            decimal_sign="point" if kind in {"integer", "decimal", "money"} else None) for kind in CELLS),
    missing=[{"word": "N/A", "reason": "unknown"}],
)  # fmt: skip
RECORDS = st.fixed_dictionaries({kind.title(): st.sampled_from([None, "N/A"]) | cells for kind, cells in CELLS.items()})
PADDING = st.text(" \t\u00a0", max_size=3)


def rewritten(cell: object, choose: st.DataObject) -> object:
    """The same value, in some other spelling."""
    if cell is None:
        return choose.draw(st.sampled_from([None, "", "  "]))
    if isinstance(cell, date):
        text = choose.draw(st.sampled_from([cell.isoformat(), f"{cell.month}/{cell.day}/{cell.year}",
                                            f"{cell.month:02}.{cell.day:02}.{cell.year} 00:00"]))  # fmt: skip
    elif isinstance(cell, int | Decimal) and not isinstance(cell, bool):
        text = choose.draw(st.sampled_from([format(cell, "f"), f"{cell:,}", f"{cell:.8f}"]))
    else:
        text = str(cell)
    return choose.draw(PADDING) + text + choose.draw(PADDING)


@given(RECORDS, st.data())
def test_spelling_and_order_of_columns_are_of_no_account(row: Row, choose: st.DataObject) -> None:
    before, faults = typed(row, EVERYTHING)
    columns = choose.draw(st.permutations([*row]))
    after, others = typed({column: rewritten(row[column], choose) for column in columns}, EVERYTHING)
    assert (faults, others) == ((), ())
    assert before == after
    assert canonical(before) == canonical(after)
    assert digest(before) == digest(after)
    assert differences(before, after) == {}


@given(RECORDS, RECORDS)
def test_the_canonical_form_is_equal_where_the_records_are_and_reads_back(one: Row, other: Row) -> None:
    first, second = typed(one, EVERYTHING)[0], typed(other, EVERYTHING)[0]
    assert (canonical(first) == canonical(second)) is (first == second)
    assert from_canonical(canonical(first), EVERYTHING) == first
    moved = differences(first, second)
    assert {name for name in first.values if first.values[name] != second.values[name]} == set(moved)
    assert TypedRecord(first.values | {name: is_ for name, (_, is_) in moved.items()}) == second


@given(RECORDS)
def test_what_is_written_back_reads_the_same(row: Row) -> None:
    record, _ = typed(row, EVERYTHING)
    back, faults = typed(as_upstream(record.values, EVERYTHING), EVERYTHING)
    assert faults == ()
    assert back == record


def test_writing_back_refuses_what_cannot_be_said() -> None:
    with pytest.raises(ValueError, match="no word says"):
        as_upstream({"x": Absent("unreadable")}, mapping(field("text")))
    with pytest.raises(ValueError, match="not mapped"):
        as_upstream({"y": 1}, mapping(field("text")))
    both = mapping(field("date"), field("date", name="y"))
    assert as_upstream({"x": date(2024, 1, 2), "y": date(2024, 1, 2)}, both) == {"X": "2024-01-02"}
    with pytest.raises(ValueError, match="at once"):
        as_upstream({"x": date(2024, 1, 2), "y": date(2024, 1, 3)}, both)
    days = mapping(
        field("date", date_order="day-first"), field("decimal", name="y", upstream="Y", decimal_sign="comma")
    )
    assert as_upstream({"x": date(2024, 1, 2), "y": Decimal("1.50")}, days) == {"X": "02/01/2024", "Y": "1,5"}
    said = mapping(field("boolean", true_words=["Complete"], false_words=["PNS", "In-Progress"]))
    assert as_upstream({"x": True}, said) == {"X": "Complete"}
    with pytest.raises(ValueError, match="all say false"):
        as_upstream({"x": False}, said)


def test_differences_between_mappings_name_what_was_not_mapped() -> None:
    before, after = TypedRecord({"a": 1}), TypedRecord({"b": 2})
    assert differences(before, after) == {"a": (1, Absent("unmapped")), "b": (Absent("unmapped"), 2)}
    assert {"unmapped", "unreadable", "blank"} == BUILT_IN_REASONS


def test_repeated_identities_are_numbered_in_file_order() -> None:
    of = mapping(field("text"), identity=["Id", "Part"])
    rows: list[Row] = [
        {"Id": " 1 ", "Part": None}, {"Id": 1, "Part": ""}, {"Id": 2, "Part": "a"}, {"Id": 1.0, "Part": " "},
    ]  # fmt: skip
    first, again = Identities(of, CONNECTION), Identities(of, CONNECTION)
    keys = [first.of(row) for row in rows]
    assert [key[1:] for key in keys] == [(("1", ""), 1), (("1", ""), 2), (("2", "a"), 1), (("1", ""), 3)]
    assert len({key.id for key in keys if isinstance(key, RecordKey)}) == 4
    assert first.repeated == 2
    assert [again.of(row) for row in rows] == keys
    assert Identities(of, UUID(int=8)).of(rows[0]) != keys[0]


def test_a_row_without_identity_has_a_fault() -> None:
    found = [Identities(mapping(field("text")), CONNECTION).of(row) for row in ({"Id": " "}, {"X": 1})]
    assert [each.code for each in found if isinstance(each, Fault)] == ["identity_blank", "column_missing"]


@pytest.mark.parametrize(
    ("cells", "seen"),
    [
        (["3/4/2024", "2024-01-01"], ASK), (["3/4/2024", "13/4/2024"], "day-first"),
        (["3/4/2024", "3/14/2024"], "month-first"), (["13/4/2024", "3/14/2024"], ASK),
        (["2024-01-01", "PNS"], "iso"), (["", None], None), (["99/99/2024"], None),
    ],
)  # fmt: skip
def test_a_preview_says_how_dates_are_written_or_asks(cells: list[str], seen: str | None) -> None:
    found = preview([{"Id": n, "X": cell} for n, cell in enumerate(cells)], mapping(field("date")))
    assert found.fields[0].date_order == seen
    assert found.asks == (("/fields/0/date_order",) if seen == ASK else ())


@pytest.mark.parametrize(
    ("cells", "seen"),
    [(["1.234"], ASK), (["1.234", "1,5"], "comma"), (["1.234", "1.5"], "point"), (["1.5", "1,5"], ASK), (["12"], None)],
)
def test_a_preview_says_what_stands_before_decimals_or_asks(cells: list[str], seen: str | None) -> None:
    found = preview([{"Id": n, "X": cell} for n, cell in enumerate(cells)], mapping(field("money")))
    assert found.fields[0].decimal_sign == seen


def test_a_preview_shows_what_became_of_the_sample() -> None:
    words = [{"word": "IEH", "reason": "in-house"}]
    rows: list[Row] = [
        {"Id": "1", "X": "5", "More": 1},
        {"Id": "1", "X": "IEH"},
        {"Id": "", "X": "FTK"},
        {"Id": "3", "X": ""},
    ]
    wanted = mapping(
        field("money", missing=words), field("text", upstream="Gone", name="gone"), omitted_means_blank=True
    )
    found = preview(rows, wanted)
    money, gone = found.fields
    assert (found.rows, found.repeated, found.without_identity) == (4, 1, 1)
    assert (found.unmapped_columns, found.missing_columns) == (("More",), ("Gone",))
    assert (money.values, money.absent, money.faulty) == (1, {"in-house": 1, "blank": 1}, 1)
    assert (money.examples, money.words) == ((("5", Decimal("5.00")),), {"FTK": 1})
    assert [(fault.row, fault.code) for fault in money.faults] == [(3, "number-unreadable")]
    assert (gone.found, gone.absent) == (False, {"blank": 4})


def loaded(rows: Any) -> tuple[dict[UUID, TypedRecord], Identities]:
    """Every record by id. A faulty row fails."""
    reader, identities = RowReader(schedules.MAPPING), Identities(schedules.MAPPING, CONNECTION)
    records = {}
    for row in rows:
        key = identities.of(row)
        record, faults = reader.typed(row)
        assert isinstance(key, RecordKey)
        assert faults == ()
        records[key.id] = record
    return records, identities


def compared(before: Mapping[UUID, TypedRecord], after: Mapping[UUID, TypedRecord]) -> tuple[int, int, int, int]:
    """Updated, unchanged, inserted, removed."""
    common = before.keys() & after.keys()
    updated = sum(bool(differences(before[id], after[id])) for id in common)
    return updated, len(common) - updated, len(after.keys() - common), len(before.keys() - common)


@pytest.mark.parametrize("folder", schedules.FOLDERS)
def test_published_schedules_compare_by_value(folder: Path) -> None:
    june, in_june = loaded(schedules.rows(folder / schedules.JUNE))
    september, in_september = loaded(schedules.rows(folder / schedules.SEPTEMBER))
    assert (len(june), len(september)) == (13_153, 13_638)
    assert (in_june.repeated, in_september.repeated) == (12, 14)
    assert compared(june, september) == (6_453, 5_522, 1_663, 1_178)
    assert compared(september, september) == (0, 13_638, 0, 0)
    moved = Counter(name for id in june.keys() & september.keys() for name in differences(june[id], september[id]))
    assert moved == {
        "record_class": 1_056, "actual_start": 513, "plan_end": 510, "forecast_end": 510, "actual_end": 1_056,
        "plan_cost": 945, "forecast_cost": 5_065, "actual_cost": 5_746, "area": 25, "is_actualised": 672,
    }  # fmt: skip
    for records, sums in [(june, (8_372, 17_588_161_331)), (september, (8_309, 17_763_782_939))]:
        budgets = [cost for each in records.values() if isinstance(cost := each.values["plan_cost"], Decimal)]
        assert (len(budgets), round(sum(budgets))) == sums


@pytest.mark.parametrize("folder", schedules.FOLDERS)
def test_published_schedules_padded_reordered_and_reformatted_are_unchanged(folder: Path) -> None:
    september = [*schedules.rows(folder / schedules.SEPTEMBER)]
    file = io.StringIO()
    writer = csv.DictWriter(file, [*september[0]][::-1])
    writer.writeheader()
    for row in september:
        writer.writerow({column: f"  {reformatted(str(cell or ''))} " for column, cell in row.items()})
    file.seek(0)
    before, after = loaded(september)[0], loaded(csv.DictReader(file))[0]
    assert compared(before, after) == (0, 13_638, 0, 0)
    assert {digest(each) for each in before.values()} == {digest(each) for each in after.values()}


def reformatted(cell: str) -> str:
    """Whole amounts as `$206,654.00`, dates with zeros. What merely looks so is no money: not reformatted."""
    if cell.count("/") == 2 and cell.replace("/", "").isdigit():
        month, day, year = cell.split("/")
        return f"{int(month):02}/{int(day):02}/{year} 12:00:00 AM"
    return f"${int(cell):,}.00" if cell.isdigit() and len(cell) > 4 and cell[0] != "0" else cell


def test_every_type_of_field_is_read() -> None:
    assert {FieldType(kind) for kind in CELLS} | {FieldType.CATEGORY} == {*FieldType}
