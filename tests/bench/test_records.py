"""Records made up for measuring: always the same, readable under their mapping, and changed by as much as is said."""

from itertools import islice
from uuid import UUID

from bench import records
from domain.typed_rows import Identities, RecordKey, RowReader

COUNT = 5_000
CONNECTION = UUID(int=7)


def test_the_same_numbers_give_the_same_records_however_many_there_are() -> None:
    few, many = list(records.rows(COUNT)), list(islice(records.rows(10 * COUNT), COUNT))
    assert few == many
    assert few != list(records.rows(COUNT, seed=2))
    assert records.row(4_321) == few[4_321][1]


def test_every_record_is_read_without_a_fault() -> None:
    reader = RowReader(records.own_mapping())
    assert [number for number, made in records.rows(COUNT) if reader.typed(made)[1]] == []


def test_the_id_of_a_record_is_the_one_that_a_sync_gives_it() -> None:
    identities = Identities(records.own_mapping(), CONNECTION)
    for number, made in records.rows(COUNT):
        key = identities.of(made)
        assert isinstance(key, RecordKey)
        assert key.id == records.id_of(CONNECTION, made, repeats=records.repeats(number))
    assert identities.repeated == COUNT // 1_000


def test_a_state_later_a_hundredth_has_changed_and_few_came_and_went() -> None:
    before, after, last = (dict(records.rows(COUNT, state)) for state in (0, 1, 2))
    changed = sum(before[number] != after[number] for number in before.keys() & after.keys())
    assert COUNT / 200 < changed < COUNT / 50
    assert after.keys() - before.keys() == set(range(COUNT, COUNT + COUNT // 1_000))
    assert 0 < len(before.keys() - after.keys()) < COUNT / 300
    assert last.keys() & (before.keys() - after.keys()) == set()  # gone for good


def test_drafts_are_of_different_records_that_are_not_over() -> None:
    found = list(records.drafts(500, COUNT))
    assert len({number for number, _, _ in found}) == 500
    assert {made["STATUS_CD"] for _, made, _ in found} == {"PNS", "In-Progress"}
    assert found[0][2].keys() <= {"forecast_cost", "forecast_start", "forecast_end", "category"}
