"""200 drafts on the records of June, half of them on rows that September changed: what conflicts, and what does not."""

from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from domain.cells import Absent
from domain.changeset_events import RecordRefused
from domain.mapping import FieldMapping
from domain.pfa_values import MirrorChanges, PfaValues
from domain.typed_rows import Identities, RecordKey, RowReader
from tests import schedules
from tests.domain.test_changeset import DRAFTS, MAPPING, OWN, answers, begin, connection, drafts, opening, scene
from tests.domain.test_drafts import CONNECTION, discard
from tests.mirrored import Mirrored
from tests.specs import Given

Records = Mapping[UUID, PfaValues]
HALF = 100
DRAFTED = ("forecast_cost", "forecast_end")
"""Both are decided by people, if both sides moved them."""


def published(path: Path) -> Records:
    """What the records of a file say."""
    reader, identities = RowReader(schedules.MAPPING), Identities(schedules.MAPPING, CONNECTION)
    feeds = {field.name: field.feeds for field in schedules.MAPPING.fields if field.feeds}
    found = {}
    for row in schedules.rows(path):
        key, (record, _) = identities.of(row), reader.typed(row)
        assert isinstance(key, RecordKey)
        says: dict[str, Any] = {
            feeds[name]: value
            for name, value in record.values.items()
            if name in feeds and not isinstance(value, Absent)
        }
        found[key.id] = PfaValues(**says)
    return found


def made_up() -> tuple[Records, Records]:
    """A like of them: every third row moves nothing, the others one field or two, or another than is drafted."""
    june = {
        UUID(int=n): PfaValues(
            category=f"Category {n % 7}",
            plan_cost=Decimal(n).quantize(Decimal("0.01")),
            forecast_cost=Decimal(1_000 + n).quantize(Decimal("0.01")),
            forecast_end=date(2026, 1, 1) + timedelta(days=n),
        )
        for n in range(1, 601)
    }
    moves: list[dict[str, Any]] = [
        {},
        {"forecast_cost": Decimal("7.00")},
        {"plan_cost": Decimal("7.00")},
        {},
        {"forecast_end": date(2030, 1, 1)},
        {"forecast_cost": None, "category": "Another"},
    ]
    september = {each: replace(values, **moves[each.int % len(moves)]) for each, values in june.items()}
    return june, september


def chosen(june: Records, september: Records) -> list[UUID]:
    """200 records that can be drafted on: half of them changed, in whatever field, and half not."""
    both = [each for each in sorted(june) if each in september and not june[each].is_actualised]
    changed = [each for each in both if june[each] != september[each]]
    unchanged = [each for each in both if june[each] == september[each]]
    return changed[:: len(changed) // HALF][:HALF] + unchanged[:: len(unchanged) // HALF][:HALF]


def wanted(ids: list[UUID]) -> dict[UUID, dict[str, str]]:
    """By turns the one field and the other, to what nobody else would say."""
    values = {"forecast_cost": "123456789.01", "forecast_end": "2099-12-31"}
    return {each: {name: values[name]} for n, each in enumerate(ids) for name in [DRAFTED[n % 2]]}


def committing(june: Records, september: Records, mapping: FieldMapping, rule: str) -> tuple[Given, dict[UUID, Any]]:
    """The drafts, made in June and committed in September."""
    mirror = Mirrored()
    mirror.load(june)
    fields = wanted(chosen(june, september))
    assert len(fields) == 2 * HALF
    of = scene(fields, mirror, connection(mapping=mapping), conflict_rule=rule)
    mirror.load(september, version="2")
    of.when(opening()).then_accepted()
    return of, fields


def check(june: Records, september: Records, mapping: FieldMapping) -> None:
    of, fields = committing(june, september, mapping, "field")
    moved = {
        each
        for each, drafted in fields.items()
        if all(getattr(june[each], name) != getattr(september[each], name) for name in drafted)
    }
    changed = {each for each in fields if june[each] != september[each]}
    assert len(changed) == HALF
    assert moved < changed, "some changed in another field than the drafted one"
    assert moved
    assert in_status(of, "conflict") == moved
    assert in_status(of, "waiting") == fields.keys() - moved
    for each in moved:
        found = of.state.records[each].conflict
        [name] = found.mine.given()
        assert found.base.given() == {name: getattr(june[each], name)}
        assert found.theirs.given() == {name: getattr(september[each], name)}
    push_half(of, fields.keys() - moved)
    by_record, _ = committing(june, september, mapping, "record")
    assert in_status(by_record, "conflict") == changed


def in_status(of: Given, status: str) -> set[UUID]:
    return {each for each, record in of.state.records.items() if record.status == status}


def push_half(of: Given, waiting: set[UUID]) -> None:
    """The upstream confirms every other record; pushed and told twice, the second time changes nothing."""
    before = drafts(of)
    ordered = sorted(waiting)
    refused = set(ordered[::2])
    for number, start in enumerate(range(0, len(ordered), 100)):
        batch, batch_id = tuple(ordered[start : start + 100]), UUID(int=number + 1)
        told = answers(
            batch_id,
            changes=MirrorChanges(),
            confirmed=tuple(each for each in batch if each not in refused),
            refused=tuple(RecordRefused(record_id=each, code="closed") for each in batch if each in refused),
        )
        of.when(begin(*batch, batch_id=batch_id)).then_accepted()
        of.when(begin(*batch, batch_id=batch_id)).then_nothing()
        of.when(told).then_accepted()
        of.when(told).then_nothing()
    assert in_status(of, "confirmed") == waiting - refused
    kept = {each: draft for each, draft in before.records.items() if each not in waiting - refused}
    assert dict(drafts(of).records.items()) == kept, "cleared only for successes, the others as they were"
    of.world.run(DRAFTS, discard())
    assert not drafts(of).records, "nothing stands between the user and the mirror"
    assert of.world.state(OWN).counts["conflict"] == 2 * HALF - len(waiting)


def test_exactly_those_conflict_whose_same_field_changed() -> None:
    check(*made_up(), MAPPING)


@pytest.mark.parametrize("folder", schedules.FOLDERS)
def test_in_published_schedules_too(folder: Path) -> None:
    check(published(folder / schedules.JUNE), published(folder / schedules.SEPTEMBER), schedules.MAPPING)
