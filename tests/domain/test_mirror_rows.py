"""Rows as the mirror's records: read fast and the same as slowly, compared with what the mirror has."""

import json
from datetime import date
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID, uuid5

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from domain.mapping import FieldMapping, MappingInput
from domain.mirror_rows import DIGEST_BYTES, Mirrored, MirrorRows, ReadRow, change_of, with_changes
from domain.pfa_values import PfaChange, PfaValues, after
from domain.typed_rows import RecordKey, Row, _Seen, as_upstream, digest, record_id, typed

CONNECTION = UUID(int=7)


def _mapping() -> FieldMapping:
    sent = {
        "fields": [
            {"upstream": "Kind", "name": "kind", "feeds": "category", "type": "category"},
            {"upstream": "Cost", "name": "cost", "feeds": "plan_cost", "type": "money", "unit": "USD"},
            {"upstream": "Forecast", "name": "forecast", "feeds": "forecast_cost", "type": "money", "unit": "USD"},
            {"upstream": "Start", "name": "start", "feeds": "plan_start", "type": "date"},
            {"upstream": "Over", "name": "over", "feeds": "is_actualised", "type": "boolean"},
            {"upstream": "Weight", "name": "weight", "type": "decimal", "unit": "kg"},
            {"upstream": "Built", "name": "built", "type": "date"},
            {"upstream": "Note", "name": "note", "type": "text"},
        ],
        "identity": ["Id"],
        "missing": [{"word": "n/p", "reason": "not published"}],
        "version_column": "Version",
    }
    return MappingInput.model_validate_json(json.dumps(sent)).as_mapping(1)


MAPPING = _mapping()
ROW = {
    "Id": "A-1",
    "Kind": "Crane",
    "Cost": "1,250.5",
    "Forecast": "n/p",
    "Start": "2025-01-31",
    "Over": "yes",
    "Weight": "1.50",
    "Built": "",
    "Note": " old ",
    "Version": 7,
}


def read(row: Row, rows: MirrorRows | None = None) -> ReadRow:
    found = (rows or MirrorRows(MAPPING, CONNECTION)).read(row)
    assert isinstance(found, ReadRow), found
    return found


def mirrored(row: ReadRow) -> Mirrored:
    record = row.record()
    return Mirrored(record.values, record.others, record.absent)


def test_a_record_says_what_the_row_says() -> None:
    record = read(ROW).record()
    assert record.record_id == uuid5(CONNECTION, '["A-1",1]')
    assert record.values == PfaValues(
        category="Crane", plan_cost=Decimal("1250.50"), plan_start=date(2025, 1, 31), is_actualised=True
    )  # fmt: skip
    assert record.others == {"weight": "1.5", "note": "old"}
    assert record.absent == {"forecast_cost": "not published"}
    assert (record.identity, record.ordinal, record.upstream_version) == (("A-1",), 1, "7")


AMOUNTS = ["0", "1", "1.50", "0.00", "10.00", "007.10", "-3.20", "1,250.50", "99999999999999.99"]
CELLS = st.sampled_from(["", " ", *AMOUNTS, "n/p", "2025-01-31", "2025-02-01", "yes", "no", "Crane", "a\nb", "é"])
ROWS = st.fixed_dictionaries(
    {"Id": st.sampled_from(["A", "B", "C"])}
    | {name: CELLS | st.none() | st.booleans() | st.integers(0, 2) | st.just(1.5) for name in ROW if name != "Id"}
)


@given(st.lists(ROWS, max_size=12))
def test_it_reads_as_the_slow_reader_does(rows: list[dict[str, Any]]) -> None:
    reader = MirrorRows(MAPPING, CONNECTION)
    seen: dict[str, int] = {}
    for row in rows:
        record, faults = typed(row, MAPPING)
        seen[row["Id"]] = ordinal = seen.get(row["Id"], 0) + 1
        found = reader.read(row)
        if faults:
            assert not isinstance(found, ReadRow)
            assert found[1] == faults
            assert found[0] is not None
            assert found[0].ordinal == ordinal
        else:
            assert isinstance(found, ReadRow)
            assert found.digest == digest(record)[:DIGEST_BYTES]
            assert found.key == RecordKey(record_id(CONNECTION, (row["Id"],), ordinal), (row["Id"],), ordinal)
            assert found.upstream_version == record.upstream_version


@given(ROWS, ROWS)
def test_a_change_leads_from_one_to_the_other(before: dict[str, Any], then: dict[str, Any]) -> None:
    rows = [MirrorRows(MAPPING, CONNECTION).read(row | {"Id": "A"}) for row in (before, then)]
    was, now = (row if isinstance(row, ReadRow) else read(ROW) for row in rows)
    change = change_of(mirrored(was), now)
    wanted = mirrored(now)
    assert after(mirrored(was).values, change.now) == wanted.values
    assert after(wanted.values, change.was) == mirrored(was).values
    assert (mirrored(was).others if change.others is UNSET else change.others) == wanted.others
    assert (mirrored(was).absent if change.absent is UNSET else change.absent) == wanted.absent
    if was.digest == now.digest:
        assert (change.was, change.now, change.others, change.absent) == (PfaChange(), PfaChange(), UNSET, UNSET)


@given(ROWS, st.sampled_from([None, "5.00", "1250.50"]), st.sampled_from([None, "Pump", "Crane"]))
def test_what_an_upstream_confirms_unseen_is_what_it_would_show(
    row: dict[str, Any], forecast: str | None, category: str | None
) -> None:
    found = MirrorRows(MAPPING, CONNECTION).read(row)
    was = found if isinstance(found, ReadRow) else read(ROW)
    shown = row if isinstance(found, ReadRow) else ROW
    fields = {"forecast_cost": None if forecast is None else Decimal(forecast), "category": category}
    now = with_changes(mirrored(was), fields, MAPPING, was.key)
    cells = {"Forecast": forecast, "Kind": category}
    then = MirrorRows(MAPPING, CONNECTION).of(was.key, {**shown, **cells})
    assert now._replace(upstream_version=None) == then._replace(upstream_version=None)


def test_neighbours_of_one_area_stand_together() -> None:
    assert read(ROW).order() == ("", "Crane", "")


def test_in_a_list_of_changes_a_row_that_repeats_is_the_same_record() -> None:
    whole, changes = MirrorRows(MAPPING, CONNECTION), MirrorRows(MAPPING, CONNECTION, whole=False)
    assert [read(ROW, whole).key.ordinal for _ in range(3)] == [1, 2, 3]
    assert [read(ROW, changes).key.ordinal for _ in range(3)] == [1, 1, 1]
    assert (whole.identities.repeated, changes.identities.repeated) == (2, 2)
    assert (len(whole.identities), len(changes.identities)) == (3, 1)
    assert all(whole.identities.saw(record_id(CONNECTION, ("A-1",), ordinal)) for ordinal in (1, 2, 3))
    assert not whole.identities.saw(record_id(CONNECTION, ("A-2",), 1))


@pytest.mark.parametrize("row", [{}, {"Id": ""}, {"Id": None}])
def test_a_row_without_identity_is_no_record(row: dict[str, Any]) -> None:
    found = MirrorRows(MAPPING, CONNECTION).read(row)
    assert not isinstance(found, ReadRow)
    assert found[0] is None
    assert found[1][0].code in {"column_missing", "identity_blank"}


def test_an_event_of_it_is_read_back() -> None:
    record = read(ROW).record()
    assert msgspec.json.decode(msgspec.json.encode(record), type=type(record)) == record
    assert as_upstream({"kind": "Crane"}, MAPPING) == {"Kind": "Crane"}


@given(st.integers(0, 2**32), st.integers(1, 3_000), st.sampled_from([6, 12, 64]))
@settings(max_examples=30)
def test_what_was_seen_is_known(seed: int, count: int, bits: int) -> None:
    draw = Random(seed)
    seen, known = _Seen(), set[int]()
    for number in (draw.getrandbits(bits) for _ in range(count)):
        assert seen.add(number) is ((number or 1) not in known)
        known.add(number or 1)
    assert len(seen) == len(known)
    assert all(number in seen for number in known)
    assert not any(number in seen for number in range(1, 5_000) if number not in known)
