"""Mirrored records, drafts and their sums: always what a plain program makes of the same events, then and now."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from domain.decider import Event
from domain.pfa_values import PfaValues
from domain.record_filter import AMOUNTS, DAYS, GROUPS, AmountRange, DayRange, RecordFilter
from eventstore import log
from eventstore.db import Reader
from eventstore.log import POSITION_MAX, Check, NewEvent, Unit
from projections import pfa, pfa_figures, pfa_records, words
from projections.pfa import plain
from projections.pfa_figures import Figures
from projections.pfa_records import SORTS, After, Asked, MergedRecord, Sort
from tests.projections import mirrored
from tests.projections.conftest import Company, World
from tests.projections.mirrored import CONNECTION, USERS, Story

SOMEBODY_ELSE = UUID(int=603)
SHORT = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


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


@SHORT
@given(seed=st.integers(0, 2**32), count=st.integers(1, 30), cut=st.integers(1, 30), asking=questions())
async def test_merged_view_equals_a_full_computation_then_and_now(
    world: World, seed: int, count: int, cut: int, asking: list[Question]
) -> None:
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
