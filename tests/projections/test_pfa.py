"""Mirrored records, drafts and their sums: always what a plain program makes of the same events, then and now."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from uuid_utils.compat import uuid7

from domain.baselines import Baselines, Selection
from domain.decider import Event
from domain.pfa_values import PfaValues
from domain.record_filter import AMOUNTS, DAYS, GROUPS, AmountRange, DayRange, RecordFilter
from eventstore import log
from eventstore.db import Reader
from eventstore.log import POSITION_MAX, Check, NewEvent, Unit
from eventstore.transact import LookedUp
from projections import builds, pfa, pfa_figures, pfa_lookups, pfa_records, rebuild, words
from projections.pfa import plain
from projections.pfa_figures import Figures
from projections.pfa_records import SORTS, After, Asked, MergedRecord, Sort
from tests.projections import mirrored
from tests.projections.conftest import Company, World
from tests.projections.mirrored import CONNECTION, RECORDS, USERS, Story

SOMEBODY_ELSE = UUID(int=603)
SHORT = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


async def append(company: Company, events: Iterable[tuple[UUID, Event]]) -> None:
    """Writes events to the log without deciding anything, each in a unit of its own."""
    versions: dict[UUID, int] = {}
    for stream_id, event in events:
        kind, payload = mirrored.payload(event)
        version = versions.get(stream_id, 0)
        versions[stream_id] = version + 1
        unit = Unit(
            command_id=uuid7(),
            request_hash=b"request1",
            actor=USERS[0],
            metadata=b"{}",
            checks=[Check(stream_id, version, 1)],
            events=[NewEvent(stream_id, version + 1, kind, 1, uuid7(), payload)],
            salts=[os.urandom(16)],
        )
        async with company.world.writer.connection() as connection:
            [outcome] = await log.append(connection, company.tenant, [unit])
        assert isinstance(outcome, log.Appended), outcome


async def told(world: World, random: Random, count: int = 25) -> tuple[Company, Story]:
    """A company of which so much was told, not yet projected."""
    company, story = world.company(), Story(random)
    story.tell(count)
    await append(company, story.events)
    return company, story


def shown(now: mirrored.Company, user: UUID, record_id: UUID) -> tuple[Any, ...]:
    """A record as a page should have it."""
    record, values = now.records[record_id], now.merged(user, record_id)
    draft = now.drafts.get((user, record_id))
    absent = {name: why for name, why in record.absent.items() if getattr(values, name, None) is None}
    fields = draft and {name: (plain(base), plain(value)) for name, (base, value) in draft.fields.items()}
    behind = {name: (plain(base), plain(theirs)) for name, (base, theirs) in now.behind(user, record_id).items()}
    return (record_id, record.number, values, record.others, absent, record.version, record.removed, fields, behind)


def as_shown(record: MergedRecord) -> tuple[Any, ...]:
    """What a page has of a record, to compare."""
    draft = record.draft
    fields = draft and {name: (each.base, each.now) for name, each in draft.fields.items()}
    behind = {} if draft is None else {name: (each.base, each.theirs) for name, each in draft.behind.items()}
    told = (record.record_id, record.record_no, record.values, record.others, record.absent)
    return (*told, record.upstream_version, record.removed, fields, behind)


def means(wanted: RecordFilter, now: mirrored.Company, user: UUID, record_id: UUID) -> bool:
    """Whether a filter means a record."""
    values, draft = now.merged(user, record_id), now.drafts.get((user, record_id))
    if now.records[record_id].removed != wanted.removed:
        return False
    there: dict[str, Callable[[str, Any], bool]] = {
        **dict.fromkeys(GROUPS, lambda name, any_of: (getattr(values, name) or "") in any_of),
        **dict.fromkeys((*AMOUNTS, *DAYS), lambda name, ends: within(getattr(values, name), ends.least, ends.most)),
        **dict.fromkeys(("is_actualised", "is_discontinued"), lambda name, yes: (getattr(values, name) is True) == yes),
        "drafted": lambda _, yes: (draft is not None) == yes,
        "behind": lambda _, yes: bool(now.behind(user, record_id)) == yes,
        "search": lambda _, text: finds(text, record_id, values),
        "removed": lambda _, yes: True,
    }
    return all(there[name](name, wanting) for name, wanting in wanted.given().items())


def within(value: Any, least: Any, most: Any) -> bool:
    """Whether a value is in a range."""
    return value is not None and (least is None or value >= least) and (most is None or value <= most)


def finds(search: str, record_id: UUID, values: PfaValues) -> bool:
    """Whether all words are there, the last as the beginning of one."""
    texts = [f"R-{record_id.int}", "Straße 7", values.description, *(getattr(values, name) for name in GROUPS)]
    there = {word.folded for text in texts for chunk in words.chunks(text or "") for word in chunk}
    *whole, last = [word for chunk in words.asked(search) for word in chunk]
    return {*whole} <= there and any(word.startswith(last) for word in there)


def in_order(ids: Iterable[UUID], now: mirrored.Company, user: UUID, sort: Sort, *, descending: bool) -> list[UUID]:
    """By the field, those without it last, then by number."""

    def value(record_id: UUID) -> Any:
        found = None if sort == "record_no" else getattr(now.merged(user, record_id), sort)
        return (found or "") if sort in GROUPS else found

    numbered = sorted(ids, key=lambda record_id: now.records[record_id].number, reverse=descending)
    if sort == "record_no":
        return numbered
    having = [record_id for record_id in numbered if value(record_id) is not None]
    return sorted(having, key=value, reverse=descending) + [each for each in numbered if value(each) is None]


def filters() -> st.SearchStrategy[RecordFilter]:
    """What people filter by."""
    day, amount = (
        st.sampled_from([date(2026, 1, 31), date(2027, 1, 1)]),
        st.sampled_from([Decimal("0"), Decimal("50.5")]),
    )
    groups = st.lists(st.sampled_from(["Crane", "Pump", "Rental", "Open", "North", "Süd", ""]), max_size=2).map(tuple)
    yes_no = st.none() | st.booleans()
    parts: Mapping[str, st.SearchStrategy[Any]] = {
        **dict.fromkeys(GROUPS, groups),
        "is_actualised": yes_no,
        "is_discontinued": yes_no,
        "plan_cost": st.builds(AmountRange, least=amount),
        "purchase_price": st.builds(AmountRange, most=amount),
        "forecast_start": st.builds(DayRange, most=day),
        "actual_end": st.builds(DayRange, least=day),
        "search": st.sampled_from(["crane", "tow", "grua", "pump 12", "12-A", "strasse r", "701", "r 70", "sud"]),
        "drafted": yes_no,
        "behind": yes_no,
        "removed": st.just(True),
    }
    names = st.lists(st.sampled_from(sorted(parts)), max_size=2, unique=True)
    return names.flatmap(lambda chosen: st.builds(RecordFilter, **{name: parts[name] for name in chosen}))


async def pages(reader: Reader, asked: Asked, question: "Question") -> list[MergedRecord]:
    """All pages, two records each."""
    found: list[MergedRecord] = []
    after: After | None = None
    while True:
        page = await pfa_records.page(
            reader,
            asked,
            question.wanted,
            sort=question.sort,
            descending=question.descending,
            limit=2,
            after=after,
        )
        found += page.records
        after = page.after
        if after is None:
            return found


def figures(all_values: Sequence[PfaValues]) -> Figures:
    """What records add up to, counted."""

    def total(name: str) -> tuple[Decimal, int]:
        given = [amount for each in all_values if (amount := getattr(each, name)) is not None]
        return sum(given, Decimal("0.00")), len(all_values) - len(given)

    remaining = [
        each.forecast_cost - (each.actual_cost or 0)
        for each in all_values
        if each.forecast_cost is not None and not each.is_actualised and not each.is_discontinued
    ]
    return Figures(
        len(all_values),
        sum(each.is_actualised is True for each in all_values),
        sum(each.is_discontinued is True for each in all_values),
        *total("plan_cost"),
        *total("forecast_cost"),
        *total("actual_cost"),
        sum(remaining, Decimal("0.00")),
    )


async def check_figures(reader: Reader, asked: Asked, now: mirrored.Company) -> None:
    """Figures, bounds and the state are those of a count."""
    there = [record_id for record_id, each in now.records.items() if not each.removed]
    baseline = {record_id: now.records[record_id].values for record_id in there}
    merged = {record_id: now.merged(asked.user_id, record_id) for record_id in there}
    for by in (("category", "source"), ("record_class", "category"), ("area", "source"), ("record_class", "area")):
        for kpi in (found := await pfa_figures.kpis(reader, asked, by)):
            for values, told in ((baseline, kpi.baseline), (merged, kpi.merged)):
                alike = [
                    each for each in values.values() if {name: getattr(each, name) or "" for name in by} == kpi.groups
                ]
                assert told == figures(alike)
        assert sum(kpi.merged.records for kpi in found) == sum(kpi.baseline.records for kpi in found) == len(there)
    timeline = await pfa_figures.bounds(reader, asked)
    for values, bounds in ((baseline, timeline.baseline), (merged, timeline.merged)):
        for day in DAYS:
            days = [found for each in values.values() if (found := getattr(each, day)) is not None]
            assert (bounds[day].first, bounds[day].last) == (min(days, default=None), max(days, default=None))
    state = await pfa_figures.state(reader, asked)
    mine = [record_id for user, record_id in now.drafts if user == asked.user_id]
    if state is None:
        assert not now.records
        return
    assert (state.records, state.removed) == (len(there), len(now.records) - len(there))
    assert (state.drafts, state.behind, state.drafts_removed) == (
        len(mine),
        sum(bool(now.behind(asked.user_id, record_id)) for record_id in mine),
        sum(now.records[record_id].removed for record_id in mine),
    )
    assert (state.last_synced_at is not None) == (now.synced > 0)


@dataclass(frozen=True)
class Question:
    """What somebody asks of records."""

    wanted: RecordFilter
    sort: Sort
    descending: bool


def questions() -> st.SearchStrategy[list[Question]]:
    """A few of them."""
    one = st.builds(Question, wanted=filters(), sort=st.sampled_from(SORTS), descending=st.booleans())
    return st.lists(one, min_size=3, max_size=3)


@pytest.fixture(params=["few", "many"])
def counted_world(request: pytest.FixtureRequest, world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Where records are taken for few, which are gathered, or for many, of which pages walk along an index."""
    if request.param == "many":
        monkeypatch.setattr(pfa_records, "EARLY_MAX", -1)
        monkeypatch.setattr(pfa_records, "GATHERED_MAX", 0)
    return world


@SHORT
@given(seed=st.integers(0, 2**32), count=st.integers(1, 30), cut=st.integers(1, 30), asking=questions())
async def test_merged_view_equals_a_full_computation_then_and_now(
    counted_world: World, seed: int, count: int, cut: int, asking: list[Question]
) -> None:
    world = counted_world
    company, story = await told(world, Random(seed), count)
    engine = await world.engine([pfa.projection], projection_batch_events_max=5)
    await engine.advance(company.tenant, to=min(cut, len(story.events)))
    await engine.advance(company.tenant)
    await _nothing_waits(company)
    for at in (min(cut, len(story.events)), POSITION_MAX):
        now = story.after[min(at, len(story.events))]
        for user in (*USERS, SOMEBODY_ELSE):
            asked = Asked(CONNECTION, user, at)
            async with company.reading() as reader:
                await check_figures(reader, asked, now)
            for question in asking:
                await check_records(company, asked, question, now)


async def _nothing_waits(company: Company) -> None:
    async with company.world.projector.bound(company.tenant) as reader:
        assert not await reader.tuples(b"select key, error from cairn.parked where tenant = cairn.bound_tenant()", {})


async def check_records(company: Company, asked: Asked, question: Question, now: mirrored.Company) -> None:
    """All pages together are the records that are meant, in order, none twice."""
    user, wanted, sort, descending = asked.user_id, question.wanted, question.sort, question.descending
    meant = [record_id for record_id in now.records if means(wanted, now, user, record_id)]
    ordered = in_order(meant, now, user, sort, descending=descending)
    async with company.reading() as reader:
        found = await pages(reader, asked, question)
    assert [as_shown(record) for record in found] == [shown(now, user, record_id) for record_id in ordered]
    async with company.reading() as reader:
        assert await pfa_records.total(reader, asked, wanted) == len(meant)


@SHORT
@given(seed=st.integers(0, 2**32), count=st.integers(5, 30), cuts=st.lists(st.integers(1, 7), min_size=1, max_size=9))
async def test_batches_do_not_matter(world: World, seed: int, count: int, cuts: list[int]) -> None:
    company, story = await told(world, Random(seed), count)
    engine = await world.engine([pfa.projection], projection_batch_events_max=3)
    [target] = engine.targets.values()
    async with world.projector.connection() as connection, connection.transaction():
        build = await builds.create(connection, pfa.projection, "scratch")
        beside = await engine.target(connection, build)
    reached = 0
    for cut in cuts:
        reached = min(reached + cut, len(story.events))
        await engine.advance(company.tenant, targets=[target], to=reached)
    await engine.advance(company.tenant, targets=[target])
    await engine.advance(company.tenant, targets=[beside])
    await _nothing_waits(company)
    for at in (reached, len(story.events)):
        async with world.projector.bound(company.tenant) as reader:
            assert await target.tables.digests(reader, at) == await beside.tables.digests(reader, at)


async def test_a_record_its_history_and_what_decisions_ask(world: World) -> None:
    company, story = await told(world, Random(7), 60)
    engine = await world.engine([pfa.projection])
    await engine.advance(company.tenant)
    now = story.now
    lookups = pfa_lookups.answers(world.reader, _at_once)
    for user in USERS:
        asked = Asked(CONNECTION, user)
        for record_id in RECORDS:
            async with company.reading() as reader:
                found = await pfa_records.record(reader, asked, record_id)
                versions = await pfa_records.history(reader, CONNECTION, record_id, at=POSITION_MAX)
            if record_id not in now.records:
                assert found is None
                assert versions == []
                continue
            assert found is not None
            assert as_shown(found.merged) == shown(now, user, record_id)
            assert found.baseline == now.records[record_id].values
            for version in versions:
                then = story.after[version.position].records[record_id]
                assert (version.values, version.removed, version.others) == (then.values, then.removed, then.others)
            assert len(versions) > 1
    looked = Baselines(connection_id=CONNECTION, record_ids=RECORDS, position=20)
    answer: Any = await lookups[Baselines](LookedUp(company.tenant, USERS[0], looked))
    assert answer.position == len(story.events)
    assert {key: each.values for key, each in answer.now.items()} == {key: r.values for key, r in now.records.items()}
    assert {key: each.values for key, each in answer.then.items()} == {
        key: record.values for key, record in story.after[20].records.items()
    }
    assert set(answer.moved_at) == set(now.records)
    wanted = RecordFilter(category=("Crane",))
    selected: Any = await lookups[Selection](
        LookedUp(company.tenant, USERS[0], Selection(connection_id=CONNECTION, filter=wanted, limit=100))
    )
    meant = [record_id for record_id in now.records if means(wanted, now, USERS[0], record_id)]
    assert (selected.matching, {*selected.records}) == (len(meant), {*meant})
    none = Selection(connection_id=CONNECTION, filter=wanted, limit=0)
    refused: Any = await lookups[Selection](LookedUp(company.tenant, USERS[0], none))
    assert (refused.matching, refused.records) == (len(meant), {})


async def test_a_decision_knows_all_that_was_recorded_of_the_mirror(world: World) -> None:
    company, story = await told(world, Random(7), 60)
    engine = await world.engine([pfa.projection])

    async def until(tenant: UUID, _: str, position: int) -> None:
        await engine.advance(tenant, to=position)

    lookups = pfa_lookups.answers(world.reader, until)
    looked = LookedUp(company.tenant, USERS[0], Baselines(connection_id=CONNECTION, record_ids=RECORDS))
    answer: Any = await lookups[Baselines](looked)
    assert {key: each.values for key, each in answer.now.items()} == {
        key: record.values for key, record in story.now.records.items()
    }


async def _at_once(tenant: UUID, model: str, position: int) -> None:
    """Nobody writes in these tests while something is looked up."""


async def test_a_preview_says_what_the_drafts_then_make(world: World) -> None:
    company, story = await told(world, Random(3), 40)
    engine = await world.engine([pfa.projection])
    await engine.advance(company.tenant)
    asked, wanted = Asked(CONNECTION, USERS[0]), RecordFilter(record_class=("Open",))
    meant = [record_id for record_id in story.now.records if means(wanted, story.now, USERS[0], record_id)]
    before = [story.now.merged(USERS[0], record_id) for record_id in meant]
    later = [replace(values, forecast_cost=Decimal("10.00"), source="Lease") for values in before]
    async with company.reading() as reader:
        effect = await pfa_figures.preview(reader, asked, wanted, _leased, limit=100)
        beyond = await pfa_figures.preview(reader, asked, wanted, _leased, limit=1)
    assert len(meant) > 1
    assert (effect.matching, effect.before, effect.after) == (len(meant), figures(before), figures(later))
    assert (beyond.matching, beyond.after) == (len(meant), None)


def _leased(record: MergedRecord) -> PfaValues:
    return replace(record.values, forecast_cost=Decimal("10.00"), source="Lease")


async def test_companies_see_nothing_of_each_other(world: World) -> None:
    company, story = await told(world, Random(5), 30)
    other = world.company()
    engine = await world.engine([pfa.projection])
    await engine.advance(company.tenant)
    asked = Asked(CONNECTION, USERS[0])
    async with other.reading() as reader:
        assert (await pfa_records.page(reader, asked, RecordFilter())).records == []
        assert await pfa_figures.kpis(reader, asked, ("category", "source")) == []
        assert await pfa_figures.state(reader, asked) is None
        assert await pfa_records.record(reader, asked, RECORDS[0]) is None
    async with other.reading() as reader:
        assert (await pfa_records.page(reader, asked, RecordFilter(search="crane"))).records == []
    assert story.now.records


async def test_pages_neither_skip_nor_repeat_what_stays_while_others_write(world: World) -> None:
    company = world.company()
    story = Story(Random(11))
    story.tell(80)
    half = len(story.events) // 2
    await append(company, story.events)
    engine = await world.engine([pfa.projection])
    await engine.advance(company.tenant, to=half)
    asked, seen, after = Asked(CONNECTION, USERS[0]), list[UUID](), None
    there = {record_id for record_id, each in story.after[half].records.items() if not each.removed}
    for position in range(half + 1, len(story.events) + 1):
        async with company.reading() as reader:
            page = await pfa_records.page(reader, asked, RecordFilter(), limit=1, after=after)
        seen += [record.record_id for record in page.records]
        await engine.advance(company.tenant, to=position)
        stays = {record_id for record_id, each in story.after[position].records.items() if not each.removed}
        there &= stays
        after = page.after
        if after is None:
            break
    assert after is None
    assert len(seen) == len({*seen})
    assert there <= {*seen}


async def test_a_rebuild_is_what_is_live(world: World) -> None:
    company, story = await told(world, Random(13), 40)
    engine = await world.engine([pfa.projection])
    await engine.advance(company.tenant)
    rebuilt = await rebuild.rebuild(world.projector, "pfa")
    assert rebuilt.differences == []
    async with company.reading() as reader:
        await check_figures(reader, Asked(CONNECTION, USERS[0]), story.now)
    question = Question(RecordFilter(search="crane"), "category", descending=True)
    await check_records(company, Asked(CONNECTION, USERS[0]), question, story.now)


async def test_words_of_any_kind_are_found(world: World) -> None:
    long = "x" * 5_000
    texts = ["Straße 12-A", long, 'tab\tbed \\ "quoted"', "日本 crane", "İstanbul", "", "_under_score"]
    story = Story(Random(1))
    for number, text in enumerate(texts):
        story.insert(UUID(int=900 + number), text)
    company = world.company()
    await append(company, story.events)
    engine = await world.engine([pfa.projection])
    await engine.advance(company.tenant)
    await _nothing_waits(company)
    asked = Asked(CONNECTION, USERS[0])
    for typed, number in (
        ("strasse", 0),
        ("12-a", 0),
        (long, 1),
        ("bed quot", 2),
        ("日本", 3),
        ("istan", 4),
        ("under", 6),
    ):
        async with company.reading() as reader:
            found = await pfa_records.page(reader, asked, RecordFilter.model_construct(search=typed))
        assert [record.record_id for record in found.records] == [UUID(int=900 + number)], typed
