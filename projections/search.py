"""Full-text search over projects, estimates, risks and lines, ranked: what a company's people find by typing words.

Every word that is typed is a prefix, and all of them must be in one thing's texts. A line, or a risk, keeps its id in
every version of its project, and is found once: as it stands in the latest version that has the words, with the number
of versions that have them. What a deleted project holds is found only when asked for.

A common prefix is in most lines of a company. So that its answer costs no more than a rare word's, each kind of thing
is spread over shelves by a digest of its id, each twice as large as the one before: they are searched from the smallest
on until CANDIDATES matches were found. The answer then is the best of those, the same each time, and says that there
are at least so many.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal
from uuid import UUID
from zlib import crc32

import msgspec
from msgspec.structs import replace
from psycopg import AsyncCursor
from psycopg.rows import class_row

from domain import actuals, codeset, company, membership, pricebook
from domain.decider import Event, members
from domain.estimate_events import (
    ChangeUndone,
    Classified,
    EstimateStarted,
    EstimateStatusChanged,
    EstimateSubmitted,
    LineAdded,
    LineMoved,
    LineRemoved,
    LineRestored,
    LineRevised,
    LinesImported,
    LinesRemoved,
    MarginChanged,
    MarkupsSet,
    MitigationApplied,
    MitigationWithdrawn,
    NotesChanged,
    OccurrenceCorrected,
    RiskAdded,
    RiskClosed,
    RiskOccurred,
    RiskRemoved,
    RiskReopened,
    RiskRestored,
    RiskRevised,
    RisksCopied,
    Tagged,
    Untagged,
)
from domain.lines import Line
from domain.project import (
    ActualsOpened,
    MetadataChanged,
    ProjectCreated,
    ProjectDeleted,
    ProjectRenamed,
    ProjectRestored,
    StatusChanged,
    VersionNumbered,
)
from domain.registry import OF_UPSTREAMS
from domain.risks import Risk
from domain.simulation import SimulationEvent
from eventstore.db import Reader
from eventstore.sql import beside
from projections import words
from projections.projection import Key, Projection, Seen, Table, change, changes, identity, of_stream
from projections.told import named_line, named_risk, told_lines, told_risks

Kind = Literal["project", "estimate", "risk", "line"]
Texts = dict[str, str]

KINDS: Final[tuple[Kind, ...]] = ("project", "estimate", "risk", "line")
CANDIDATES: Final = 200
"""So many things of a kind, in the versions they are in, are enough to choose the best from."""
DOUBTS: Final = 3
"""Matches more than there were are expected of the next shelves, so that a few are not taken for a sign of few."""
WANTED_CHARACTERS_MAX: Final = 200
WANTED_WORDS_MAX: Final = 20
DRIVEN_MAX: Final = 2_000
"""Of so many texts with the rarest word it is cheaper to look for the other words in each than in the index."""
EXCERPT_CHARACTERS: Final = 240
"""Of a longer text, so much is shown around the first hit."""

_SHELVES: Final[Mapping[str, str]] = {
    "project": "01234",
    "estimate": "ABCDEF",
    "risk": "PQRSTUVW",
    "line": "abcdefghijk",
}
"""Per kind its shelves, the smallest first. A letter or digit each, which begins every word on it."""
_LETTERS: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_WEIGHTS: Final[Mapping[str, str]] = {
    "name": "A",
    "title": "A",
    "code": "B",
    "description": "B",
    "location": "C",
    "building_type": "C",
}
"""What a hit in a field is worth, A the most; all others are worth D."""


_RISK_FIELDS: Final = ("title", "cause", "event", "consequence")


class TextRow(msgspec.Struct, frozen=True):
    """What is searched of a thing: its texts by field, and their words as a tsvector. `of_id` is its stream."""

    kind: str
    of_id: UUID
    id: UUID
    texts: Texts
    words: str


class ProjectRow(msgspec.Struct, frozen=True):
    """What an answer says of a project."""

    project_id: UUID
    name: str
    deleted: bool
    latest_version: int


class EstimateRow(msgspec.Struct, frozen=True):
    """Whose version an estimate is."""

    estimate_id: UUID
    project_id: UUID
    version: int


class Piece(msgspec.Struct, frozen=True):
    """A piece of a text as it was written; `hit` says that it is what was looked for."""

    text: str
    hit: bool


class FieldHit(msgspec.Struct, frozen=True):
    """A field that has what was looked for (or what the thing is called), in pieces that together are its text. Of a
    long text they are an excerpt, which begins or ends with `…` where it was cut. `field` of a project's metadata is
    `metadata.<name>`.
    """

    field: str
    pieces: list[Piece]


class Hit(msgspec.Struct, frozen=True):
    """A thing that was found, `id` in its kind. Of an estimate, risk or line: in which version of the project, the
    latest that has the words, and in how many.
    """

    kind: Kind
    id: UUID
    project_id: UUID
    project_name: str
    latest_version: int
    estimate_id: UUID | None
    version: int | None
    versions: int
    fields: list[FieldHit]


class Found(msgspec.Struct, frozen=True):
    """The best hits, best first, and how many there are; `at_least` when there may be more that were not looked at."""

    hits: list[Hit]
    count: int
    at_least: bool


texts_table = Table("search_texts", TextRow, key=("kind", "of_id", "id"))
projects_table = Table("search_projects", ProjectRow, key=("project_id",))
estimates_table = Table("search_estimates", EstimateRow, key=("estimate_id",))


@lru_cache(maxsize=1_024)
def _company_letters(tenant: UUID) -> str:
    """Three letters that begin a company's words, so that the index keeps them apart from other companies'."""
    digest = crc32(tenant.bytes)
    return "".join(_LETTERS[digest >> shift & 31] for shift in (0, 5, 10))


def _shelf(tenant: UUID, kind: str, id: UUID) -> str:
    """What begins every word of a thing."""
    digest, shelves = crc32(id.bytes), _SHELVES[kind]
    number = len(shelves) - 1
    while number and not digest & 1:
        digest >>= 1
        number -= 1
    return _company_letters(tenant) + shelves[number]


def _row(seen: Seen, kind: str, id: UUID, texts: Mapping[str, str | None]) -> TextRow | None:
    """The row of a thing with these texts; None when there is nothing to find."""
    kept = {field: text for field, text in texts.items() if text}
    fields = [(_WEIGHTS.get(field, ""), kept[field]) for field in sorted(kept)]
    written = words.document(_shelf(seen.tenant, kind, id), fields)
    return TextRow(kind, identity(seen.raw_stream_id), id, kept, written) if written else None


def _changed(row: TextRow | None, seen: Seen, kind: str, id: UUID, texts: Mapping[str, str | None]) -> TextRow | None:
    """The row once some texts are others; the same row when they are not."""
    before: Texts = row.texts if row else {}
    if all(before.get(field) == (text or None) for field, text in texts.items()):
        return row
    return _row(seen, kind, id, {**before, **texts})


def project_text(seen: Seen) -> list[Key]:
    project_id = identity(seen.raw_stream_id)
    return [("project", project_id, project_id)]


def estimate_text(seen: Seen) -> list[Key]:
    estimate_id = identity(seen.raw_stream_id)
    return [("estimate", estimate_id, estimate_id)]


def line_text(seen: Seen) -> list[Key]:
    return [("line", *key) for key in named_line(seen)]


def line_texts(seen: Seen) -> list[tuple[Key, Line]]:
    return [(("line", *key), line) for key, line in told_lines(seen)]


def risk_text(seen: Seen) -> list[Key]:
    return [("risk", *key) for key in named_risk(seen)]


def risk_texts(seen: Seen) -> list[tuple[Key, Risk]]:
    return [(("risk", *key), risk) for key, risk in told_risks(seen)]


def project_created(row: TextRow | None, seen: Seen, key: Key) -> TextRow | None:
    event: ProjectCreated = seen.event
    facts = {"name": event.name, "location": event.location, "building_type": event.building_type}
    return _row(seen, "project", key[2], facts | _metadata(event.metadata))


def project_renamed(row: TextRow | None, seen: Seen, key: Key) -> TextRow | None:
    return _changed(row, seen, "project", key[2], {"name": seen.event.now})


def project_restored(row: TextRow | None, seen: Seen, key: Key) -> TextRow | None:
    return _changed(row, seen, "project", key[2], {"name": seen.event.name})


def metadata_changed(row: TextRow | None, seen: Seen, key: Key) -> TextRow | None:
    given: dict[str, Any] = seen.event.now.given()
    entries = _metadata(given.pop("metadata", {}))
    return _changed(row, seen, "project", key[2], given | entries)


def _metadata(entries: Mapping[str, str | None]) -> dict[str, str | None]:
    return {f"metadata.{name}": value for name, value in entries.items()}


def estimate_started(row: TextRow | None, seen: Seen, key: Key) -> TextRow | None:
    event: EstimateStarted = seen.event
    return _row(seen, "estimate", key[2], {"title": event.title, "notes": event.notes})


def notes_changed(row: TextRow | None, seen: Seen, key: Key) -> TextRow | None:
    return _changed(row, seen, "estimate", key[2], seen.event.now.given())


def line_added(row: TextRow | None, seen: Seen, line: Line) -> TextRow | None:
    texts = {"description": line.description, "code": line.code, "note": line.note}
    return _row(seen, "line", line.line_id, texts)


def line_revised(row: TextRow | None, seen: Seen, key: Key) -> TextRow | None:
    given = seen.event.now.given()
    texts = {field: given[field] for field in ("description", "code", "note") if field in given}
    return _changed(row, seen, "line", key[2], texts)


def risk_came(row: TextRow | None, seen: Seen, risk: Risk) -> TextRow | None:
    return _row(seen, "risk", risk.risk_id, {field: getattr(risk, field) for field in _RISK_FIELDS})


def risk_revised(row: TextRow | None, seen: Seen, key: Key) -> TextRow | None:
    given = seen.event.now.given()
    return _changed(row, seen, "risk", key[2], {field: given[field] for field in _RISK_FIELDS if field in given})


def removed(row: TextRow | None, seen: Seen, part: object) -> None:
    return None


def known_project(row: ProjectRow | None, seen: Seen, key: Key) -> ProjectRow:
    return ProjectRow(key[0], seen.event.name, False, row.latest_version if row else 0)


def name_changed(row: ProjectRow | None, seen: Seen, key: Key) -> ProjectRow:
    return replace(_known(row), name=seen.event.now)


def project_deleted(row: ProjectRow | None, seen: Seen, key: Key) -> ProjectRow:
    return replace(_known(row), deleted=True)


def version_numbered(row: ProjectRow | None, seen: Seen, key: Key) -> ProjectRow:
    return replace(_known(row), latest_version=seen.event.version)


def _known(row: ProjectRow | None) -> ProjectRow:
    if row is None:
        raise LookupError("the project was never created")
    return row


def known_estimate(row: EstimateRow | None, seen: Seen, key: Key) -> EstimateRow:
    return EstimateRow(key[0], seen.event.project_id, seen.event.version)


projection = Projection(
    name="search",
    version=1,
    sql=beside(__file__),
    tables=(texts_table, projects_table, estimates_table),
    on={
        ProjectCreated: (
            change(projects_table, of_stream, known_project),
            change(texts_table, project_text, project_created),
        ),
        ProjectRenamed: (
            change(projects_table, of_stream, name_changed),
            change(texts_table, project_text, project_renamed),
        ),
        MetadataChanged: (change(texts_table, project_text, metadata_changed),),
        ProjectDeleted: (change(projects_table, of_stream, project_deleted),),
        ProjectRestored: (
            change(projects_table, of_stream, known_project),
            change(texts_table, project_text, project_restored),
        ),
        VersionNumbered: (change(projects_table, of_stream, version_numbered),),
        EstimateStarted: (
            change(estimates_table, of_stream, known_estimate),
            change(texts_table, estimate_text, estimate_started),
        ),
        NotesChanged: (change(texts_table, estimate_text, notes_changed),),
        LineAdded: (changes(texts_table, line_texts, line_added),),
        LineRestored: (changes(texts_table, line_texts, line_added),),
        LinesImported: (changes(texts_table, line_texts, line_added),),
        LineRevised: (change(texts_table, line_text, line_revised),),
        LineRemoved: (changes(texts_table, line_texts, removed),),
        LinesRemoved: (changes(texts_table, line_texts, removed),),
        RiskAdded: (changes(texts_table, risk_texts, risk_came),),
        RiskRestored: (changes(texts_table, risk_texts, risk_came),),
        RisksCopied: (changes(texts_table, risk_texts, risk_came),),
        RiskRevised: (change(texts_table, risk_text, risk_revised),),
        RiskRemoved: (changes(texts_table, risk_texts, removed),),
    },
    ignores=frozenset[type[Event]](
        (
            StatusChanged,
            LineMoved,
            MarginChanged,
            MarkupsSet,
            MitigationApplied,
            MitigationWithdrawn,
            RiskClosed,
            RiskReopened,
            OccurrenceCorrected,
            RiskOccurred,
            Classified,
            Tagged,
            Untagged,
            EstimateStatusChanged,
            ChangeUndone,
            EstimateSubmitted,
            ActualsOpened,
            *members(SimulationEvent),
            *actuals.actuals.events,
            *codeset.codeset.events,
            *pricebook.pricebook.events,
            *company.company.events,
            *membership.membership.events,
            *OF_UPSTREAMS,
        )
    ),
)


class _Candidate(msgspec.Struct, frozen=True):
    """A thing of one shelf. `texts` are JSON: only of the best they are read. `things` and `matches` are how many the
    shelf has, once each and in every version.
    """

    id: UUID
    project_id: UUID
    name: str
    latest_version: int
    version: int
    versions: int
    texts: str
    score: float
    things: int
    matches: int
    estimate_id: UUID | None = None


class _Way:
    """How far one kind of thing has been searched. Sizes of shelves are in terms of the smallest."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.shelves = list(_SHELVES[kind])
        self.best: list[_Candidate] = []
        self.things = 0
        self.matches = 0
        self.rarest: tuple[int, words.Asked] | None = None
        """How many texts of the smallest shelf have the rarest chunk, and the chunk; only if there are several."""
        self._size = 0

    def next(self) -> list[tuple[str, int]]:
        """The shelves to search now, with their sizes: as many as are not expected to have too many matches."""
        if self.matches >= CANDIDATES:
            return []
        taken: list[tuple[str, int]] = []
        size = 0
        while self.shelves:
            more = self._size + size or 1
            if taken and (self.matches + DOUBTS) * (size + more) > CANDIDATES * self._size:
                break
            taken.append((self.shelves.pop(0), more))
            size += more
        self._size += size
        return taken

    def driver(self, wanted: words.Asked, size: int) -> words.Asked:
        """What to ask the index for: all chunks, or the rarest one alone where few texts of such a shelf have it. The
        index would read every text that has any word beginning like one of the others.
        """
        if self.rarest is None or (self.rarest[0] + DOUBTS) * size > DRIVEN_MAX:
            return wanted
        return self.rarest[1]

    def add(self, found: Sequence[_Candidate]) -> None:
        """What a shelf has."""
        self.best += found
        if found:
            self.things += found[0].things
            self.matches += found[0].matches


async def search(
    reader: Reader,
    wanted: words.Asked,
    *,
    at: int,
    limit: int,
    after: int = 0,
    kinds: Sequence[Kind] = KINDS,
    project_id: UUID | None = None,
    deleted: bool = False,
) -> Found:
    """At most `limit` hits, those after the best `after`. `wanted` is what `words.asked` makes of what was typed.

    Hits are in order of how well they match; equal ones projects first, then estimates, risks and lines, those of a
    project's latest version before others.
    """
    if not wanted:
        return Found([], 0, False)
    values = {"at": at, "limit": after + limit, "project_id": project_id, "deleted": deleted}
    ways = [_Way(kind) for kind in kinds]
    if len(wanted) > 1:
        await _weigh(reader, wanted, ways, at)
    while taken := [(way, *shelf) for way in ways for shelf in way.next()]:
        asked = [(way, await _ask(reader, wanted, way, shelf, size, values)) for way, shelf, size in taken]
        for way, asking in asked:
            way.add(await asking.fetchall())
    best = sorted(((way.kind, each) for way in ways for each in way.best), key=_order)[after : after + limit]
    hits = [_hit(kind, each, wanted) for kind, each in best]
    return Found(hits, sum(way.things for way in ways), any(way.shelves for way in ways))


async def _weigh(reader: Reader, wanted: words.Asked, ways: Sequence[_Way], at: int) -> None:
    """Finds which chunk is the rarest, by kind, on the smallest shelves."""
    asked = []
    for way in ways:
        shelf = _company_letters(reader.tenant) + way.shelves[0]
        for chunk in wanted:
            await reader.connection.execute(projection.sql["look_for"], {"query": words.matching((chunk,), shelf)})
            counting = await reader.connection.execute(projection.sql["how_many"], {"at": at}, binary=True)
            asked.append((way, chunk, counting))
    for way, chunk, counting in asked:
        [count] = await counting.fetchone() or (0,)
        if way.rarest is None or count < way.rarest[0]:
            way.rarest = count, (chunk,)


async def _ask(
    reader: Reader, wanted: words.Asked, way: _Way, shelf: str, size: int, values: Mapping[str, Any]
) -> AsyncCursor[_Candidate]:
    """Asks for what a shelf has. Nobody waits yet."""
    kind, shelf = way.kind, _company_letters(reader.tenant) + shelf
    driver, query = words.matching(way.driver(wanted, size), shelf), words.matching(wanted, shelf)
    statement = "projects" if kind == "project" else "parts" if values["project_id"] is None else "parts_of_project"
    await reader.connection.execute(projection.sql["look_for"], {"query": driver})
    given = {**values, "kind": kind, "query": query, "exact": words.exact(wanted, shelf)}
    cursor = reader.connection.cursor(binary=True, row_factory=class_row(_Candidate))
    return await cursor.execute(projection.sql[statement], given)


def _order(found: tuple[Kind, _Candidate]) -> tuple[float, int, bool, int, int]:
    kind, each = found
    old = each.version != each.latest_version
    return -each.score, KINDS.index(kind), old, -each.project_id.int, each.id.int


def _hit(kind: Kind, found: _Candidate, wanted: words.Asked) -> Hit:
    called = {"project": "name", "line": "description"}.get(kind, "title")
    texts = msgspec.json.decode(found.texts, type=Texts)
    told = [
        (field, texts[field], words.hits(texts[field], wanted))
        for field in sorted(texts, key=lambda name: (name != called, name))
    ]
    return Hit(
        kind=kind,
        id=found.id,
        project_id=found.project_id,
        project_name=found.name,
        latest_version=found.latest_version,
        estimate_id=found.estimate_id,
        version=found.version or None,
        versions=found.versions,
        fields=[FieldHit(field, _pieces(text, hits)) for field, text, hits in told if hits or field == called],
    )


def _pieces(text: str, hits: Sequence[tuple[int, int]]) -> list[Piece]:
    """The text, or an excerpt of it around the first hit, cut where hits begin and end."""
    begin, end = 0, len(text)
    if end > EXCERPT_CHARACTERS:
        first = hits[0][0] if hits else 0
        begin = max(0, min(first - EXCERPT_CHARACTERS // 4, end - EXCERPT_CHARACTERS))
        end = begin + EXCERPT_CHARACTERS
    pieces = [Piece("…", False)] if begin else []
    for start, stop in hits:
        if start >= end:
            break
        if start > begin:
            pieces.append(Piece(text[begin:start], False))
        if stop > begin:
            pieces.append(Piece(text[max(begin, start) : min(stop, end)], True))
        begin = max(begin, min(stop, end))
    if begin < end:
        pieces.append(Piece(text[begin:end], False))
    return [*pieces, Piece("…", False)] if end < len(text) else pieces
