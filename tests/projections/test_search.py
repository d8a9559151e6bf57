"""What is found is what a plain reading of the log finds: the same words, things and versions, now and in the past."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.decider import Command, Ref
from domain.estimate_state import Estimate
from domain.project import Project
from domain.registry import BY_CATEGORY
from eventstore import log
from eventstore.db import Reader
from eventstore.log import POSITION_MAX
from projections import builds, search, words
from projections.engine import Engine
from tests.projections.commands import command, edit, estimate, line, project
from tests.projections.conftest import Company, World
from tests.strategies import ESTIMATE_IDS, LINE_IDS, PROJECT_IDS

NOW = POSITION_MAX
SEEN = (
    "CAFÉ", "cafe\u0301", "C.Y.", "cy", "CY.", "2104504/00120", "2104504", "4'-0\"", "40", "mill-and-overlay", "mill",
    "and", "overlay", "Concrete", "conc.", "A/B/C", "b/c", "x_y", "straße", "--", "(bit.)",
)  # fmt: skip
phrases = st.lists(st.sampled_from(SEEN), min_size=1, max_size=4).map(" ".join).filter(lambda text: text.strip(" -"))
typed = st.lists(st.sampled_from(SEEN) | st.sampled_from("acm24bx"), min_size=1, max_size=2).map(" ".join)
Found = set[tuple[str, UUID, UUID, int, int]]


def _some(*optional: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={name: phrases | st.none() for name in optional})


def _one(ids: Sequence[UUID]) -> st.SearchStrategy[UUID]:
    return st.sampled_from(ids)


def _step(category: str, verb: str, ids: Sequence[UUID], body: st.SearchStrategy[dict[str, Any]]) -> Any:
    return st.builds(lambda id, given: (Ref(category, id), command(category, verb, **given)), _one(ids), body)


def _line_body(number: int, description: str, more: dict[str, Any]) -> dict[str, Any]:
    return line(number, line_id=str(LINE_IDS[number]), description=description, **more)


def _risk_body(risk_id: UUID, title: str, more: dict[str, Any]) -> dict[str, Any]:
    fixed = {"kind": "threat", "probability": "0.2", "low": "1", "high": "2"}
    return {"risk_id": str(risk_id), "title": title, **fixed, **more}


_lines = st.builds(_line_body, st.integers(0, 4), phrases, st.fixed_dictionaries({}, optional={"code": phrases}))
_started = st.builds(
    lambda project_id, parent, title: {
        "project_id": str(project_id),
        "currency": "USD",
        "parent_id": str(parent) if parent else None,
        "title": title,
    },
    _one(PROJECT_IDS),
    st.none() | _one(ESTIMATE_IDS),
    phrases,
)
steps = st.one_of(
    _step("project", "rename-project", PROJECT_IDS, st.fixed_dictionaries({"name": phrases})),
    _step("project", "change-metadata", PROJECT_IDS, st.fixed_dictionaries({"location": phrases})),
    _step("project", "change-metadata", PROJECT_IDS, st.fixed_dictionaries({"metadata": _some("a", "b")})),
    _step("project", "delete-project", PROJECT_IDS, st.just({})),
    _step("project", "restore-project", PROJECT_IDS, st.just({})),
    _step("estimate", "start-estimate", ESTIMATE_IDS, _started),
    _step("estimate", "change-notes", ESTIMATE_IDS, st.fixed_dictionaries({"notes": phrases | st.none()})),
    _step("estimate", "add-line", ESTIMATE_IDS, _lines),
    _step(
        "estimate",
        "revise-line",
        ESTIMATE_IDS,
        st.builds(lambda id, given: {"line_id": str(id), "quantity": "2", **given}, _one(LINE_IDS), _some("note")),
    ),
    _step(
        "estimate",
        "add-risk",
        ESTIMATE_IDS,
        st.builds(_risk_body, st.sampled_from(LINE_IDS[:2]), phrases, _some("cause", "event", "consequence")),
    ),
    _step(
        "estimate",
        "revise-risk",
        ESTIMATE_IDS,
        st.builds(
            lambda id, given: {"risk_id": str(id), "probability": "0.3", **given}, _one(LINE_IDS[:2]), _some("event")
        ),
    ),
    _step("estimate", "remove-risk", ESTIMATE_IDS, _one(LINE_IDS[:2]).map(lambda id: {"risk_id": str(id)})),
    _step("estimate", "undo-change", ESTIMATE_IDS, st.integers(1, 9).map(lambda version: {"stream_version": version})),
    _step("estimate", "remove-line", ESTIMATE_IDS, _one(LINE_IDS).map(lambda id: {"line_id": str(id)})),
)


def opening() -> list[tuple[Ref, Command]]:
    """Two projects; the first with two versions of two lines."""
    made = [
        (Ref("project", each), command("project", "create-project", name=f"CONCRETE {number} CAFÉ"))
        for number, each in enumerate(PROJECT_IDS)
    ]
    first, second = (Ref("estimate", each) for each in ESTIMATE_IDS[:2])
    body = {"project_id": str(PROJECT_IDS[0]), "currency": "USD"}
    made.append((first, command("estimate", "start-estimate", **body, title="Bid, mill-and-overlay")))
    lines = [_line_body(0, "CONCRETE C.Y.", {"code": "2104504/00120"}), _line_body(1, "straße (bit.)", {})]
    made.append((first, command("estimate", "import-lines", lines=lines)))
    risk = _risk_body(LINE_IDS[0], "café", {"cause": "mill C.Y."})
    made.append((first, command("estimate", "add-risk", **risk)))
    made.append((second, command("estimate", "start-estimate", **body, parent_id=str(first.id))))
    return made


def plain(text: str) -> str:
    """Without accents and letter case."""
    apart = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(each for each in apart if not unicodedata.combining(each))


def placed(text: str) -> list[set[str]]:
    """The words at each place; joined ones where their first is."""
    places: list[set[str]] = []
    for chunk in plain(text).split():
        found = re.findall(r"[^\W_]+", chunk)
        places += [{word} for word in found]
        if found:
            places[-len(found)].add("".join(found))
    return places


def has(texts: Sequence[str | None], chunk: str) -> bool:
    """Whether one of the texts has the words of a chunk, the last one's beginning, in their order."""
    wanted = re.findall(r"[^\W_]+", plain(chunk))
    for places in (placed(text) for text in texts if text):
        if any(word.startswith("".join(wanted)) for place in places for word in place):
            return True
        for start in range(len(places) - len(wanted) + 1):
            here = places[start : start + len(wanted)]
            before = all(word in place for word, place in zip(wanted[:-1], here[:-1], strict=True))
            if before and any(word.startswith(wanted[-1]) for word in here[-1]):
                return True
    return False


async def states_at(reader: Reader, at: int) -> dict[Ref, Any]:
    """Every stream's state at a position, by the domain's own fold."""
    states: dict[Ref, Any] = {}
    for stored in await log.read_log(reader, to=at, limit=1_000):
        seen = stored.decoded()
        ref = Ref(seen.category, seen.stream_id)
        decider = BY_CATEGORY[ref.category]
        states[ref] = decider.evolve(states.get(ref, decider.initial), seen.event)
    return states


def expected(states: dict[Ref, Any], query: str, project_id: UUID | None) -> Found:
    """(kind, project, id, version, versions) of everything that has all chunks of the query."""
    chunks = [chunk for chunk in query.split() if re.search(r"[^\W_]", chunk)]

    def fits(*texts: str | None) -> bool:
        return all(has(texts, chunk) for chunk in chunks)

    found: Found = set()
    parts: dict[tuple[str, UUID, UUID], list[int]] = {}
    for ref, state in states.items():
        if isinstance(state, Project) and not state.deleted and project_id in (None, ref.id):
            texts = (state.name, state.location, state.building_type, *state.metadata.values())
            found |= {("project", ref.id, ref.id, 0, 1)} if fits(*texts) else set()
        if isinstance(state, Estimate) and project_id in (None, state.project_id):
            if states[Ref("project", state.project_id)].deleted:
                continue
            if fits(state.title, state.notes):
                found.add(("estimate", state.project_id, ref.id, state.version, 1))
            for each in state.lines.values():
                if fits(each.description, each.code, each.note):
                    parts.setdefault(("line", state.project_id, each.line_id), []).append(state.version)
            for risk in state.risks.values():
                if fits(risk.title, risk.cause, risk.event, risk.consequence):
                    parts.setdefault(("risk", state.project_id, risk.risk_id), []).append(state.version)
    return found | {(*key, max(versions), len(versions)) for key, versions in parts.items()}


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    script=st.lists(steps, max_size=25),
    queries=st.lists(typed, min_size=3, max_size=6),
    part=st.integers(0, 100),
    of_one=st.booleans(),
)
async def test_found_is_what_a_plain_reading_finds(
    engine: Engine, world: World, *, script: list[tuple[Ref, Command]], queries: list[str], part: int, of_one: bool
) -> None:
    company = world.company()
    reached = await company.run([*opening(), *script])
    await engine.advance(company.tenant)
    project_id = PROJECT_IDS[0] if of_one else None
    for at in (1 + part * (reached - 1) // 100, NOW):
        async with company.reading() as reader:
            states = await states_at(reader, at)
            for query in queries:
                wanted = words.asked(query)
                found = await search.search(reader, wanted, at=at, limit=1_000, project_id=project_id)
                told = {(hit.kind, hit.project_id, hit.id, hit.version or 0, hit.versions) for hit in found.hits}
                assert told == (expected(states, query, project_id) if wanted else set()), (query, at)
                assert (found.count, found.at_least, len(found.hits)) == (len(told), False, len(told))


@pytest.fixture
async def engine(world: World) -> Engine:
    """Only the model that is tested."""
    return await world.engine([search.projection])


async def found_of(company: Company, query: str, **more: Any) -> search.Found:
    """What a reader finds."""
    async with company.reading() as reader:
        return await search.search(reader, words.asked(query), **({"at": NOW, "limit": 50} | more))


async def test_common_words_are_counted_only_so_far(engine: Engine, company: Company) -> None:
    estimate_id = await estimate(company, await project(company))
    for start in range(0, 2_000, 1_000):
        lines = [line(start + number, description=f"CONCRETE {start + number}") for number in range(1_000)]
        await edit(company, estimate_id, "import-lines", lines=lines)
    await engine.advance(company.tenant)
    first = await found_of(company, "co")
    assert search.CANDIDATES <= first.count < 2_000
    assert first.at_least
    pages = [await found_of(company, "co", after=after) for after in range(0, first.count, 50)]
    ids = [hit.id for page in pages for hit in page.hits]
    assert len(ids) == len(set(ids)) == first.count
    rare = await found_of(company, "concrete 1234")
    assert [hit.fields[0].pieces for hit in rare.hits] == [
        [search.Piece("CONCRETE", True), search.Piece(" ", False), search.Piece("1234", True)]
    ]
    assert (rare.count, rare.at_least) == (1, False)


async def test_the_best_comes_first(engine: Engine, company: Company) -> None:
    named = await project(company, "Concrete bridge")
    estimate_id = await estimate(company, await project(company, "TH 108"), notes="of concrete")
    await edit(company, estimate_id, "add-line", **line(1, description="CONCRETE WALK"))
    await edit(company, estimate_id, "add-line", **line(2, description="CONCRETELY SPOKEN"))
    await edit(company, estimate_id, "add-line", **line(3, description="WALK", note="on concrete"))
    await engine.advance(company.tenant)
    found = await found_of(company, "concrete")
    assert [hit.kind for hit in found.hits] == ["project", "line", "line", "estimate", "line"]
    assert found.hits[0].id == named
    assert [hit.id.int for hit in found.hits if hit.kind == "line"] == [1001, 1002, 1003]
    assert [each.kind for each in (await found_of(company, "concrete", kinds=["estimate"])).hits] == ["estimate"]


async def test_a_deleted_project_is_found_only_when_asked_for(engine: Engine, company: Company) -> None:
    project_id = await project(company, "Bridge 5512")
    estimate_id = await estimate(company, project_id)
    await edit(company, estimate_id, "add-line", **line(1, description="Bridge rail"))
    deleted = await company.send("project", project_id, command("project", "delete-project"))
    await engine.advance(company.tenant)
    assert (await found_of(company, "bridge")).hits == []
    assert (await found_of(company, "bridge", deleted=True)).count == 2
    assert (await found_of(company, "bridge", at=deleted.position - 1)).count == 2


async def test_only_changed_texts_are_written_anew(world: World, engine: Engine, company: Company) -> None:
    estimate_id = await estimate(company, await project(company))
    await edit(company, estimate_id, "add-line", **line(1))
    await edit(company, estimate_id, "revise-line", line_id=line(1)["line_id"], quantity="3", unit_price="9")
    await edit(company, estimate_id, "revise-line", line_id=line(1)["line_id"], note="sheet 14")
    await engine.advance(company.tenant)
    async with world.projector.connection() as connection:
        build = await builds.live_build(connection, "search")
        assert build is not None
        target = await engine.target(connection, build)
    async with world.projector.bound(company.tenant) as reader:
        digests = await target.tables.digests(reader, NOW)
    assert digests["search_texts"].rows == 3  # the project, the line, and the line with its note


async def test_an_excerpt_shows_where_it_is(engine: Engine, company: Company) -> None:
    estimate_id = await estimate(company, await project(company))
    note = "before " * 100 + "<b>CONCRETE</b> " + "after " * 100
    await edit(company, estimate_id, "add-line", **line(1, note=note))
    await engine.advance(company.tenant)
    [hit] = (await found_of(company, "concrete")).hits
    [called, told] = hit.fields
    assert called == search.FieldHit("description", [search.Piece("Line 1", False)])
    assert told.field == "note"
    assert [piece.text for piece in told.pieces if piece.hit] == ["CONCRETE"]
    shown = "".join(piece.text for piece in told.pieces)
    assert shown.startswith("…")
    assert shown.endswith("…")
    assert shown[1:-1] in note
    assert len(shown) == search.EXCERPT_CHARACTERS + 2


async def test_nobody_finds_another_companys(world: World, engine: Engine, company: Company) -> None:
    other = world.company()
    for each in (company, other):
        await project(each, "Concrete bridge")
        await engine.advance(each.tenant)
    assert (await found_of(company, "concrete")).count == 1
    async with world.company().reading() as reader:
        assert (await search.search(reader, words.asked("concrete"), at=NOW, limit=9)).hits == []


async def test_a_reader_sees_no_text_it_does_not_look_for(engine: Engine, company: Company) -> None:
    await project(company, "Concrete bridge")
    await engine.advance(company.tenant)
    async with company.reading() as reader:
        assert await reader.tuples(b"select id from search_texts", {}) == []
        await reader.connection.execute(search.projection.sql["look_for"], {"query": "concrete"})
        assert await reader.tuples(b"select id from search_texts", {}) == []


@pytest.mark.parametrize("query", ["'", "a' | 'b", "con:*|x", "!!con", "\\", "(((", "<->", "%s %(at)s", "con\x00c"])
async def test_what_looks_like_a_query_is_words(engine: Engine, company: Company, query: str) -> None:
    await project(company, "TH 108")
    await engine.advance(company.tenant)
    assert (await found_of(company, query)).hits == []
