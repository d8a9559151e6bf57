"""Mirrored records as a user sees them: pages of the merged view, one record, its history.

A page goes along one index as far as it takes. Where a condition means few records these are gathered by its own index
and then put in order: what a group means is known from the sums, what a range means is counted up to a limit. All other
conditions are written so that no index serves them, and the way is the same whatever the statistics say.
"""

from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import lru_cache
from operator import itemgetter
from time import monotonic
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args
from uuid import UUID

import msgspec
from psycopg import sql

from domain.mirror_events import mirror_of
from domain.pfa import PFA_FIELDS
from domain.pfa_values import OtherValue, PfaValues
from domain.record_filter import AMOUNTS, DAYS, GROUPS, AmountRange, RecordFilter
from eventstore.db import Reader
from eventstore.log import POSITION_MAX
from eventstore.sql import beside
from projections import pfa, words
from projections.pfa import (
    AXES,
    DraftRow,
    Plain,
    RecordRow,
    Terms,
    TermsRow,
    drafts_id,
    mirror_key,
    plain,
    terms_of,
    told,
    values_of,
)

SQL = beside(__file__)

Sort: TypeAlias = Literal[
    "record_no",
    "category",
    "source",
    "record_class",
    "area",
    "plan_cost",
    "forecast_cost",
    "actual_cost",
    "plan_start",
    "plan_end",
    "forecast_start",
    "forecast_end",
    "actual_start",
    "actual_end",
]
"""What pages may be in the order of; records that are alike in it go by `record_no`, the order they first came in."""
SORTS: Final[tuple[Sort, ...]] = get_args(Sort)
ENOUGH_OF_LOOKED: Final = 8
"""Of 500 records looked at. With fewer, gathering all that have the words is faster."""
EARLY_MAX: Final = 10_000
"""A mirror that had so few records at a position is read whole as of then: most entries of an index are later ones."""
GATHERED_MAX: Final = 5_000
"""Up to so many records are gathered and put in order; of more, a walk along an index finds a page sooner."""

KEPT_LIMIT: Final = 101
"""Records of the largest page that is kept for whoever asks next: what users ask for again and again."""
SPARE: Final = 25
"""Records kept besides, for those that somebody drafted on."""
RECORDS_KEPT: Final = 5_000
"""Of all pages together: some 15 MiB."""
_NOBODY: Final = UUID(int=0)
WAY_SECONDS: Final = 30.0
WAYS_KEPT: Final = 10_000
_FEWEST: Final[dict[Hashable, tuple["_Way | None", float]]] = {}
"""Which condition means the fewest records, by question, until when. Only how long a page takes depends on it."""

_ALWAYS_GIVEN: Final = frozenset({"record_no", *GROUPS})
_AXIS_OF: Final[Mapping[str, tuple[int, str]]] = {
    "category": (0, "first"),
    "source": (0, "second"),
    "record_class": (0, "third"),
    "area": (1, "first"),
}
_FIELDS: Final = tuple(PFA_FIELDS)


class Asked(NamedTuple):
    """Whose view of which connection, as of a position; `POSITION_MAX` is now."""

    connection_id: UUID
    user_id: UUID
    at: int = POSITION_MAX


class After(msgspec.Struct, frozen=True):
    """The last record of a page: its value of the field that the page goes by (as JSON has it), and its number."""

    value: Plain | int
    record_no: int


class DraftedField(msgspec.Struct, frozen=True):
    """A drafted field, as JSON has values. `base`: what the upstream said when it was drafted."""

    base: Plain
    now: Plain


class BehindField(msgspec.Struct, frozen=True):
    """A drafted field that the upstream moved since, from `base` to `theirs`, at a position."""

    base: Plain
    theirs: Plain
    position: int


class RecordDraft(msgspec.Struct, frozen=True):
    """What the asking user drafted on a record. `base_version` and `base_position` are what it was drafted on."""

    fields: dict[str, DraftedField]
    behind: dict[str, BehindField]
    base_version: str | None
    base_position: int
    modified_position: int
    modified_at: datetime
    computed: dict[str, Any] | None


class MergedRecord(msgspec.Struct, frozen=True):
    """A record with the asking user's draft put in. `absent` says why a value is missing, unless it is just blank."""

    record_id: UUID
    record_no: int
    identity: list[str]
    ordinal: int
    upstream_version: str | None
    values: PfaValues
    others: dict[str, OtherValue]
    absent: dict[str, str]
    removed: bool
    draft: RecordDraft | None


class Page(NamedTuple):
    """Records in order; `after` is where the next page goes on, None at the end."""

    records: list[MergedRecord]
    after: After | None


class Found(NamedTuple):
    """A record as it is and as the upstream has it; the same values where nothing is drafted."""

    merged: MergedRecord
    baseline: PfaValues


class RecordVersionShown(msgspec.Struct, frozen=True):
    """What the upstream said of a record from a position on. `was`: the values before, of those that changed."""

    position: int
    recorded_at: datetime
    upstream_version: str | None
    removed: bool
    values: PfaValues
    was: dict[str, Plain]
    others: dict[str, OtherValue]
    absent: dict[str, str]


class _Condition(NamedTuple):
    """A condition on a record or a draft, both called `r`: served by an index, and written so that none serves it."""

    about: str
    served: str
    plain: str
    values: Mapping[str, Any]


class _Shape(NamedTuple):
    """What the text of a page's statement depends on."""

    conditions: tuple[tuple[str, str], ...]
    """Served and plain."""
    driving: int | None
    gathered: bool
    sort: Sort
    descending: bool
    blank: bool
    """Of a field that may be missing: the records that have none of it, which come last."""
    after: bool
    removed: bool
    behind: bool | None
    mirrored: bool
    drafted: bool
    now: bool
    early: bool
    searched: str
    """Nothing, or where what is searched for is seen: `look` at each record, or the tables that show nothing else."""


class _Way(NamedTuple):
    """How records are found: by which condition's index, and whether all of them are before they are put in order."""

    driving: int | None = None
    gathered: bool = False
    searched: str = ""
    early: bool = False
    """Of all that there were at a position long ago, which are few."""


def _template(name: str) -> sql.SQL:
    return sql.SQL(SQL[name].decode())


def moment(statement: bytes, *, now: bool) -> bytes:
    """A statement as of `at`, or of now: then the planner knows that it need not look among what was."""
    return statement.replace(b"%(at)s", str(POSITION_MAX).encode()) if now else statement


def sums_of(axis: int, *, now: bool) -> sql.Composable:
    """The sums of an axis, of the baseline and of a user."""
    return _template("sums" if now else "sums_then").format(axis=sql.Literal(axis))


def _piece(text: str) -> sql.SQL:
    """A piece of a statement that this module wrote."""
    return sql.SQL(text)


def _conditions(wanted: RecordFilter) -> list[_Condition]:
    """The conditions that hold for records and drafts alike."""
    found: list[_Condition] = []
    for name, given in wanted.given().items():
        if name in GROUPS:
            found.append(_group(name, given))
        elif name in AMOUNTS:
            found.append(_range(name, *_cents(given), "bigint"))
        elif name in DAYS:
            found.append(_range(name, given.least, given.most, "date"))
        elif name in ("is_actualised", "is_discontinued"):
            text = f"r.{name} is {'true' if given else 'not true'}"
            found.append(_Condition(name, text, text, {}))
    return found


def _group(name: str, values: Sequence[str]) -> _Condition:
    if len(values) == 1:
        return _Condition(name, f"r.{name} = %({name})s", f"r.{name} || '' = %({name})s", {name: values[0]})
    served, hidden = f"r.{name} = any (%({name})s)", f"r.{name} || '' = any (%({name})s)"
    return _Condition(name, served, hidden, {name: list(values)})


def _cents(given: AmountRange) -> tuple[int | None, int | None]:
    least, most = given.least, given.most
    return (
        None if least is None else int((least * 100).to_integral_value(ROUND_CEILING)),
        None if most is None else int((most * 100).to_integral_value(ROUND_FLOOR)),
    )


def _range(name: str, least: int | date | None, most: int | date | None, kind: str) -> _Condition:
    ends = [(">=", "least", least), ("<=", "most", most)]
    given = [(sign, f"{name}_{end}", value) for sign, end, value in ends if value is not None]
    served = [f"r.{name} {sign} %({key})s::{kind}" for sign, key, _ in given] or [f"r.{name} is not null"]
    hidden = [f"r.{name} + 0 {sign} %({key})s::{kind}" for sign, key, _ in given] or [f"r.{name} + 0 is not null"]
    return _Condition(name, " and ".join(served), " and ".join(hidden), {key: value for _, key, value in given})


def _order(shape: _Shape, table: str, *, hidden: bool = False) -> sql.SQL:
    """The page's order; `hidden`: written so that no index has it."""
    way = " desc" if shape.descending else ""
    names = ["record_no"] if shape.blank or shape.sort == "record_no" else [shape.sort, "record_no"]
    same = {name: (" || ''" if name in GROUPS else " + 0") if hidden else "" for name in names}
    return _piece(", ".join(f"{table}{name}{same[name]}{way}" for name in names))


def _placed(shape: _Shape) -> list[str]:
    """That a record is where the page goes on."""
    name, sign = shape.sort, "<" if shape.descending else ">"
    texts: list[str] = []
    if shape.blank:
        texts.append(f"r.{name} is null")
    elif name not in _ALWAYS_GIVEN:
        texts.append(f"r.{name} is not null")
    if shape.after and (shape.blank or name == "record_no"):
        texts.append(f"r.record_no {sign} %(after_no)s")
    elif shape.after:
        kind = "text" if name in GROUPS else "date" if name in DAYS else "bigint"
        texts.append(f"(r.{name}, r.record_no) {sign} (%(after_value)s::{kind}, %(after_no)s)")
    return texts


@lru_cache(maxsize=1_024)
def _page_statement(shape: _Shape) -> bytes:
    parts = _piece(" union all ").join(_parts(shape))
    return moment(_template("page").format(parts=parts, order=_order(shape, "p.")).as_bytes(), now=shape.now)


@lru_cache(maxsize=256)
def _matching_statement(shape: _Shape) -> bytes:
    statement = _template("matching").format(parts=_piece(" union all ").join(_parts(shape))).as_bytes()
    return moment(statement, now=shape.now)


@lru_cache(maxsize=256)
def _total_statement(shape: _Shape) -> bytes:
    parts = _piece(" union all ").join(_parts(shape, limited=False))
    return moment(_template("total").format(parts=parts).as_bytes(), now=shape.now)


@lru_cache(maxsize=256)
def _looked_statement(shape: _Shape) -> bytes:
    """How many of the first records that an order has and that are otherwise meant have what is searched for."""
    texts = [served if number == shape.driving else hidden for number, (served, hidden) in enumerate(shape.conditions)]
    conditions = _piece(" and ".join(texts) or "true")
    return moment(_template("looked").format(conditions=conditions, looked=_piece(LOOKED)).as_bytes(), now=shape.now)


def _parts(shape: _Shape, *, limited: bool = True) -> Iterator[sql.Composable]:
    removed = _piece("r.removed" if shape.removed else "not r.removed")
    texts = [served if number == shape.driving else hidden for number, (served, hidden) in enumerate(shape.conditions)]
    texts += _placed(shape)
    early = ["r.record_no < (%(at)s::bigint + 1) * 4096"] if shape.early else []
    looked = [LOOKED] if shape.searched == LOOK else []
    if shape.mirrored:
        pieces: dict[str, sql.Composable] = {
            "fields": _piece(", ".join(f"r.{name}" for name in _FIELDS)),
            "records": _source("pfa_records", shape.searched),
            "removed": removed,
            "conditions": _piece(" and ".join([*texts, *early, *looked]) or "true"),
        }
        if shape.gathered and limited:
            yield _template("gathered").format(order=_order(shape, "r.", hidden=True), **pieces)
        else:
            part = _template("mirrored").format(**pieces)
            kind = _template("ordered") if limited else _piece("({part})")
            yield kind.format(part=part, order=_order(shape, "r."))
    if shape.drafted:
        mine = [] if shape.behind is None else [f"r.behind is {'not ' if shape.behind else ''}null"]
        part = _template("drafted").format(
            fields=_piece(", ".join(f"d.{name}" for name in _FIELDS)),
            drafts=_source("pfa_drafts", shape.searched),
            removed=removed,
            conditions=_piece(" and ".join([*texts, *looked, *mine]) or "true"),
            order=_order(shape, "r."),
            limited=_piece("limit %(limit)s" if limited else ""),
        )
        yield _piece("({})").format(part)


LOOK: Final = "look"
"""Records are looked at one by one for what is searched for."""
LOOKED: Final = "' ' || r.words || ' ' like all (%(looked)s)"
"""That a record or draft has what is searched for: much cheaper than making a document of its words first."""


def _source(table: str, searched: str) -> sql.Composable:
    """Where records or drafts are read: from the view, or from where only those are seen that are searched for."""
    if searched in ("", LOOK):
        return sql.Identifier(table)
    schema, _, past = searched.partition(" ")
    now = sql.Identifier(schema, f"{table}_now")
    if not past:
        return now
    return _template("now_and_past").format(now=now, past=sql.Identifier(schema, f"{table}_past"))


def _values(asked: Asked, conditions: Sequence[_Condition], search: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {"at": asked.at, "connection_id": asked.connection_id, "user_id": asked.user_id}
    for each in conditions:
        values |= each.values
    return values | ({"search": _tsquery(search), "looked": _patterns(search)} if search else {})


def searched_words(text: str) -> list[str]:
    """The words of a text that somebody searches for; the last may be the beginning of one."""
    return [word for chunk in words.asked(text) for word in chunk]


def _tsquery(wanted: Sequence[str]) -> str:
    return " & ".join(f"'{word}'" for word in wanted[:-1]) + f"{' & ' if wanted[1:] else ''}'{wanted[-1]}':*"


def _patterns(wanted: Sequence[str]) -> list[str]:
    return [*(f"% {word} %" for word in wanted[:-1]), f"% {wanted[-1]}%"]


async def is_early(reader: Reader, asked: Asked) -> bool:
    """Whether the mirror had so few records then that all of them are read."""
    if asked.at == POSITION_MAX:
        return False
    rows = await reader.tuples(SQL["existed"], asked._asdict())
    return not rows or rows[0][0] <= EARLY_MAX


class _Search:
    """One question for records: its conditions, and the way to what they mean."""

    def __init__(self, reader: Reader, asked: Asked, wanted: RecordFilter) -> None:
        self.reader = reader
        self.asked = asked
        self.wanted = wanted
        self.conditions = _conditions(wanted)
        self.search = searched_words(wanted.search or "")
        self.values = _values(asked, self.conditions, self.search)
        self.values["mirror_key"] = mirror_key(reader.tenant, asked.connection_id)
        self.mirrored = wanted.drafted is not True and wanted.behind is not True
        self.drafted = wanted.drafted is not False

    def shape(self, way: _Way, sort: Sort, *, descending: bool, blank: bool, after: bool) -> _Shape:
        return _Shape(
            conditions=tuple((each.served, each.plain) for each in self.conditions),
            driving=way.driving,
            gathered=way.gathered,
            sort=sort,
            descending=descending,
            blank=blank,
            after=after,
            removed=self.wanted.removed,
            behind=self.wanted.behind,
            mirrored=self.mirrored,
            drafted=self.drafted,
            now=self.asked.at == POSITION_MAX,
            early=way.early,
            searched=way.searched,
        )

    async def way(self, sort: Sort) -> _Way:
        """The way to a page in this order, with what statements that go it need to be told before."""
        way = await self._found(sort)
        told = "by_order" if not way.gathered else "alone" if way.early or way.searched not in ("", LOOK) else "once"
        await self.reader.connection.execute(SQL[told])
        return way

    async def _found(self, sort: Sort) -> _Way:
        if self.mirrored and await is_early(self.reader, self.asked):
            return _Way(gathered=True, searched=LOOK if self.search else "", early=True)
        if not self.mirrored:
            return _Way(searched=LOOK if self.search else "")
        if self.wanted.removed:
            return _Way(gathered=sort != "record_no", searched=LOOK if self.search else "")
        served = [number for number, each in enumerate(self.conditions) if each.about in SORTS]
        walked = self._walked(served, sort)
        if self.search:
            return await self._way_of_search(_Way(walked, searched=LOOK), served)
        if served in ([], [walked]):
            return _Way(walked)
        return await self._fewest(served) or _Way(walked)

    async def _way_of_search(self, walking: _Way, served: Sequence[int]) -> _Way:
        """Along the order where the first records looked at promise a page soon; else by what has the words."""
        found = await self._fewest(served)
        if found is not None:
            return found._replace(searched=LOOK)
        await self.reader.connection.execute(SQL["alone"])
        looked = self.shape(walking, "record_no", descending=False, blank=False, after=False)
        rows = await self.reader.tuples(_looked_statement(looked), self.values)
        return (
            walking if rows[0][0] >= ENOUGH_OF_LOOKED else _Way(gathered=True, searched=await self._searched_tables())
        )

    def _walked(self, served: Sequence[int], sort: Sort) -> int | None:
        """The condition that the index of the page's order serves too."""
        return next((number for number in served if self.conditions[number].about == sort), None)

    async def _fewest(self, served: Sequence[int]) -> _Way | None:
        """The condition that means the fewest records, if they are few enough to be gathered. What was found a moment
        ago is good enough: any way leads to the same page.
        """
        asked = (self.reader.tenant, self.asked.connection_id, self.asked.at == POSITION_MAX, *served)
        key = (asked, *((each.served, repr(each.values)) for each in self.conditions))
        kept = _FEWEST.get(key)
        if kept is not None and kept[1] > monotonic():
            return kept[0]
        found = await self._counted_fewest(served)
        while len(_FEWEST) >= WAYS_KEPT:
            del _FEWEST[next(iter(_FEWEST))]
        _FEWEST.pop(key, None)
        _FEWEST[key] = (found, monotonic() + WAY_SECONDS)
        return found

    async def _counted_fewest(self, served: Sequence[int]) -> _Way | None:
        await self.reader.connection.execute(SQL["alone"])
        groups = [number for number in served if self.conditions[number].about in GROUPS]
        ranges = [number for number in served if number not in groups]
        counts = await self._counted(groups, _group_count)
        if not counts or min(counts) > GATHERED_MAX:
            counts += await self._counted(ranges, _range_count)
            groups += ranges
        fewest, number = min(zip(counts, groups, strict=True), default=(GATHERED_MAX + 1, 0))
        return _Way(number, gathered=True) if fewest <= GATHERED_MAX else None

    async def _counted(self, numbers: Sequence[int], count: Callable[[_Condition], sql.Composable]) -> list[int]:
        if not numbers:
            return []
        counts = _piece(", ").join(count(self.conditions[number]) for number in numbers)
        statement = moment(_template("counted").format(counts=counts).as_bytes(), now=self.asked.at == POSITION_MAX)
        return list((await self.reader.tuples(statement, self.values))[0])

    async def _searched_tables(self) -> str:
        """The tables of the live build that show but what is searched for, and from here on that is this."""
        await self.reader.connection.execute(SQL["look_for"], self.values)
        rows = await self.reader.tuples(SQL["live_schema"], {"model": pfa.projection.name})
        return f"{rows[0][0]}" + ("" if self.asked.at == POSITION_MAX else " past")


def _count(condition: str) -> sql.SQL:
    text = SQL["count"].decode().replace("{condition}", condition).replace("{limit}", str(GATHERED_MAX + 1))
    return sql.SQL(text)


def _range_count(condition: _Condition) -> sql.Composable:
    return _count(condition.served).format(records=sql.Identifier("pfa_records"))


def _group_count(condition: _Condition) -> sql.Composable:
    axis, column = _AXIS_OF[condition.about]
    values = sql.Placeholder(condition.about)
    return _template("count_of_group").format(
        axis=sql.Literal(axis),
        column=sql.Identifier("s", column),
        values=values if " any " in condition.served else _piece("array[{}]").format(values),
    )


_PAGE_COLUMNS: Final = (
    *("record_id", "record_no", "connection_id", "identity", "ordinal", "upstream_version"),
    *_FIELDS,
    *("others", "absent", "removed", "drafted", "behind", "base_version", "base_position"),
    *("modified_position", "modified_at", "computed"),
)


async def page(
    reader: Reader,
    asked: Asked,
    wanted: RecordFilter,
    *,
    sort: Sort = "record_no",
    descending: bool = False,
    limit: int = 100,
    after: After | None = None,
) -> Page:
    """The records that a filter means in the asking user's view, in order of a field, those without it last, and then
    of their number; those that follow `after`.
    """
    if sort in GROUPS and not wanted.removed:
        return await _by_group(reader, asked, wanted, sort=sort, descending=descending, limit=limit, after=after)
    order = _Order(sort, descending)
    if asked.at == POSITION_MAX and after is None and limit <= KEPT_LIMIT and not _is_of_drafts(wanted):
        return await _first_page(reader, asked, wanted, order, limit)
    return await _read_page(reader, asked, wanted, order, limit, after)


class _Order(NamedTuple):
    sort: Sort
    descending: bool

    def of(self, records: list[MergedRecord]) -> list[MergedRecord]:
        """Records in this order; those without a value last."""
        if self.sort == "record_no":
            return sorted(records, key=lambda each: each.record_no, reverse=self.descending)
        told = [(getattr(each.values, self.sort), each.record_no, each) for each in records]
        given = sorted((each for each in told if each[0] is not None), key=_ahead, reverse=self.descending)
        blank = sorted((each for each in told if each[0] is None), key=_number, reverse=self.descending)
        return [each for _, _, each in (*given, *blank)]


_ahead: Final = itemgetter(0, 1)
_number: Final = itemgetter(1)


def _is_of_drafts(wanted: RecordFilter) -> bool:
    """Whether a filter looks at something else than records that are there, as everybody sees them but for drafts."""
    return wanted.removed or wanted.drafted is not None or wanted.behind is not None


class _Version(NamedTuple):
    """Which state of a mirror the model shows, and whether that is all that was recorded of it."""

    shown: bool
    epoch: int | None
    build: int | None
    position: int | None


class _Kept(NamedTuple):
    """The first records of a page as somebody without drafts sees it, and which state of the mirror that was."""

    version: _Version
    records: list[MergedRecord]
    whole: bool
    """Whether there are no more."""
    ids: str
    """Of the records, as PostgreSQL writes an array: taken apart here they would cost more than the question."""


_KEPT: Final[dict[Hashable, _Kept]] = {}


async def _first_page(reader: Reader, asked: Asked, wanted: RecordFilter, order: _Order, limit: int) -> Page:
    """A page from its start, now: what is kept of it, without what the asking user drafted on, and his own."""
    key = (reader.tenant, asked.connection_id, wanted, order, limit)
    known = _KEPT.get(key)
    kept = known or await _begun(reader, asked, wanted, order, limit, key)
    answer = await _ask_drafted(reader, asked, kept.ids)
    mine = wanted.model_copy(update={"drafted": True})
    own = (await _read_page(reader, asked, mine, order, limit, None)).records
    version, drafted = await answer()
    if known is not None and version != known.version:
        _KEPT.pop(key, None)
        if version.shown:
            return await _first_page(reader, asked, wanted, order, limit)
        return await _read_page(reader, asked, wanted, order, limit, None)
    found = [each for each in kept.records if each.record_id not in drafted] if drafted else kept.records
    if len(found) < limit and not kept.whole:
        return await _read_page(reader, asked, wanted, order, limit, None)
    records = (order.of([*found, *own]) if own else found)[:limit]
    return Page(records, place_of(records[-1], order.sort) if len(records) >= limit else None)


async def _read_page(
    reader: Reader, asked: Asked, wanted: RecordFilter, order: _Order, limit: int, after: After | None
) -> Page:
    sort, descending = order
    search = _Search(reader, asked, wanted)
    way = await search.way(sort)
    phases = [False] if sort in _ALWAYS_GIVEN else [False, True]
    if after is not None and after.value is None and len(phases) > 1:
        phases = [True]
    rows: list[tuple[Any, ...]] = []
    terms = await _ask_terms(reader, asked.connection_id, at=asked.at) if search.mirrored else None
    for blank in phases:
        going_on = after is not None and (blank == (after.value is None) or sort in _ALWAYS_GIVEN)
        shape = search.shape(way, sort, descending=descending, blank=blank, after=going_on)
        values = search.values | {"limit": limit - len(rows)}
        if after is not None and going_on:
            values |= {"after_no": after.record_no, "after_value": pfa.stored(sort, after.value)}
        rows += await reader.tuples(_page_statement(shape), values)
        if len(rows) >= limit:
            break
    if not rows:
        return Page([], None)
    records = _all_merged(rows, await (terms() if terms is not None else _terms_of(reader, asked)))
    return Page(records, place_of(records[-1], sort) if len(rows) >= limit else None)


async def _begun(reader: Reader, asked: Asked, wanted: RecordFilter, order: _Order, limit: int, key: Hashable) -> _Kept:
    """A page as nobody in particular sees it, and kept if it is known of which state of the mirror it is."""
    nobody = asked._replace(user_id=_NOBODY)
    answer = await _ask_drafted(reader, nobody, "{}")
    found = await _read_page(reader, nobody, wanted, order, limit + SPARE, None)
    version, _ = await answer()
    ids = ",".join(str(each.record_id) for each in found.records)
    kept = _Kept(version, found.records, found.after is None, f"{{{ids}}}")
    if version.shown:
        _KEPT[key] = kept
        while sum(1 + len(each.records) for each in _KEPT.values()) > RECORDS_KEPT:
            del _KEPT[next(iter(_KEPT))]
    return kept


async def _ask_drafted(reader: Reader, asked: Asked, ids: str) -> Callable[[], Awaitable[tuple[_Version, list[UUID]]]]:
    """How the mirror stands, and on which of some records the asking user drafted."""
    values = {"mirror_id": mirror_of(asked.connection_id), "model": pfa.projection.name}
    rows = await reader.ask(SQL["drafted_of"], values | {"user_id": asked.user_id, "record_ids": ids})

    async def answer() -> tuple[_Version, list[UUID]]:
        [(*version, drafted)] = await rows()
        return _Version(*version), drafted

    return answer


async def _by_group(
    reader: Reader,
    asked: Asked,
    wanted: RecordFilter,
    *,
    sort: Sort,
    descending: bool,
    limit: int,
    after: After | None,
) -> Page:
    """Group after group, as the sums know them: one with many records by itself, few with few at once."""
    groups = await _groups(reader, asked, sort, getattr(wanted, sort), descending=descending)
    if after is not None:
        first = str(after.value or "")
        groups = [each for each in groups if each[0] == first or (each[0] < first) == descending]
    records: list[MergedRecord] = []
    while groups and len(records) < limit:
        going_on = after if after is not None and groups[0][0] == (after.value or "") else None
        some = _at_once(groups, limit, alone=going_on is not None)
        del groups[: len(some)]
        narrowed = wanted.model_copy(update={sort: tuple(some)})
        left = limit - len(records)
        if len(some) == 1:
            on = None if going_on is None else After(None, going_on.record_no)
            found = await page(reader, asked, narrowed, descending=descending, limit=left, after=on)
            records += found.records
        else:
            records += await _few_groups(reader, asked, narrowed, sort=sort, descending=descending, limit=left)
    return Page(records, place_of(records[-1], sort) if len(records) >= limit and records else None)


def _at_once(groups: Sequence[tuple[str, int]], limit: int, *, alone: bool) -> list[str]:
    (first, together), *others = groups
    some = [first]
    for name, count in others:
        if alone or together >= limit or together + count > GATHERED_MAX:
            break
        some.append(name)
        together += count
    return some


async def _groups(
    reader: Reader, asked: Asked, sort: Sort, given: Sequence[str], *, descending: bool
) -> list[tuple[str, int]]:
    """The groups that the asking user's view has, in order, each with its number of records."""
    axis, column = _AXIS_OF[sort]
    sums = sums_of(axis, now=asked.at == POSITION_MAX)
    statement = _template("groups").format(sums=sums, column=sql.Identifier("s", column)).as_bytes()
    values = asked._asdict() | {"drafts_id": drafts_id(asked.user_id, asked.connection_id)}
    found = [(name, count) for name, count in await reader.tuples(statement, values) if not given or name in given]
    return sorted(found, reverse=descending)


async def _few_groups(
    reader: Reader, asked: Asked, wanted: RecordFilter, *, sort: Sort, descending: bool, limit: int
) -> list[MergedRecord]:
    search = _Search(reader, asked, wanted)
    await reader.connection.execute(SQL["alone"])
    driving = next(number for number, each in enumerate(search.conditions) if each.about == sort)
    way = _Way(driving, gathered=True, searched=LOOK if search.search else "")
    shape = search.shape(way, sort, descending=descending, blank=False, after=False)
    terms = await _ask_terms(reader, asked.connection_id, at=asked.at)
    rows = await reader.tuples(_page_statement(shape), search.values | {"limit": limit})
    return _all_merged(rows, await terms())


def place_of(record: MergedRecord, sort: Sort) -> After:
    """Where a page goes on that ended with this record."""
    if sort == "record_no":
        return After(None, record.record_no)
    value = plain(getattr(record.values, sort))
    return After("" if value is None and sort in GROUPS else value, record.record_no)


async def matching(reader: Reader, asked: Asked, wanted: RecordFilter, *, limit: int) -> list[MergedRecord]:
    """The records that a filter means in the asking user's view, in no order, `limit` at most."""
    search = _Search(reader, asked, wanted)
    way = await search.way("record_no")
    terms = await _ask_terms(reader, asked.connection_id, at=asked.at)
    shape = search.shape(way, "record_no", descending=False, blank=False, after=False)
    rows = await reader.tuples(_matching_statement(shape), search.values | {"limit": limit})
    return _all_merged(rows, await terms())


async def total(reader: Reader, asked: Asked, wanted: RecordFilter) -> int:
    """How many records a filter means in the asking user's view; from the sums, where groups alone say which."""
    given = wanted.given()
    axis = next((number for number, groups in enumerate(AXES) if set(given) - {"removed"} <= set(groups)), None)
    search = _Search(reader, asked, wanted)
    if axis is not None and not wanted.removed:
        columns = dict(zip(AXES[axis], ("first", "second", "third"), strict=False))
        texts = [each.served.replace(f"r.{each.about}", f"s.{columns[each.about]}") for each in search.conditions]
        conditions = _piece(" and ".join(texts) or "true")
        sums = sums_of(axis, now=asked.at == POSITION_MAX)
        statement = _template("total_of_groups").format(sums=sums, conditions=conditions).as_bytes()
        values = search.values | {"drafts_id": drafts_id(asked.user_id, asked.connection_id)}
        return int((await reader.tuples(statement, values))[0][0])
    way = await search.way("record_no")
    shape = search.shape(way, "record_no", descending=False, blank=False, after=False)
    return int((await reader.tuples(_total_statement(shape), search.values))[0][0])


async def connection_terms(reader: Reader, connection_id: UUID, *, at: int) -> Terms:
    """How the records of a connection spell what they keep besides."""
    return await (await _ask_terms(reader, connection_id, at=at))()


async def _ask_terms(reader: Reader, connection_id: UUID, *, at: int) -> Callable[[], Awaitable[Terms]]:
    """The same, to be waited for later."""
    values = {"connection_id": connection_id, "at": at}
    rows = await reader.ask(moment(SQL["terms"], now=at == POSITION_MAX), values)

    async def answer() -> Terms:
        found = await rows()
        return terms_of(TermsRow(*found[0]) if found else None)

    return answer


async def _terms_of(reader: Reader, asked: Asked) -> Terms:
    return await connection_terms(reader, asked.connection_id, at=asked.at)


_VALUES_AT: Final = _PAGE_COLUMNS.index(_FIELDS[0])
_AMOUNTS_AT: Final = tuple(_PAGE_COLUMNS.index(name) for name in _FIELDS if name in AMOUNTS)
_TEXTS_AT: Final = tuple(_PAGE_COLUMNS.index(name) for name in (*GROUPS, "description"))
_cells_of: Final = msgspec.json.Decoder(list[str]).decode


def _all_merged(rows: Sequence[tuple[Any, ...]], terms: Terms) -> list[MergedRecord]:
    return [_merged(list(row), terms) for row in rows]


def _merged(row: list[Any], terms: Terms) -> MergedRecord:
    """A row of a page, its values said as `told` does: of all there are a page's worth, so column by column."""
    for number in _AMOUNTS_AT:
        if row[number] is not None:
            row[number] = Decimal(row[number]).scaleb(-2)
    for number in _TEXTS_AT:
        row[number] = row[number] or None
    record_id, record_no, _, identity, ordinal, version = row[:_VALUES_AT]
    end = _VALUES_AT + len(_FIELDS)
    said = dict(zip(_FIELDS, row[_VALUES_AT:end], strict=True))
    others, absent, removed, drafted, behind, *draft = row[end:]
    return MergedRecord(
        record_id,
        record_no,
        _cells_of(identity),
        ordinal,
        version,
        PfaValues(**said),
        terms.told_others(others),
        {} if absent is None else _still_absent(terms.told_absent(absent), said),
        removed,
        None if drafted is None else RecordDraft(_fields(drafted), _behind(behind), *draft),
    )


def _still_absent(absent: dict[str, str], said: Mapping[str, Any]) -> dict[str, str]:
    """A drafted value is there, whatever the upstream withholds."""
    return {name: reason for name, reason in absent.items() if said.get(name) is None}


def theirs_of(record: MergedRecord) -> PfaValues:
    """What the upstream says of a record, whatever is drafted on it."""
    if record.draft is None:
        return record.values
    behind = record.draft.behind
    said = {
        name: told(name, pfa.stored(name, behind[name].theirs if name in behind else field.base))
        for name, field in record.draft.fields.items()
    }
    return msgspec.structs.replace(record.values, **said)


def _fields(drafted: Mapping[str, Mapping[str, Plain]]) -> dict[str, DraftedField]:
    return {name: DraftedField(**draft) for name, draft in drafted.items()}


def _behind(behind: Mapping[str, Mapping[str, Any]] | None) -> dict[str, BehindField]:
    return {name: BehindField(**each) for name, each in (behind or {}).items()}


class Stood(msgspec.Struct, frozen=True):
    """A record of the mirror as it stood, and since which position it did."""

    row: RecordRow
    since: int


async def stood(reader: Reader, connection_id: UUID, record_ids: Sequence[UUID], *, at: int) -> dict[UUID, Stood]:
    """Records of the mirror by id, without anybody's drafts; those that it does not have are left out."""
    values = {"connection_id": connection_id, "record_ids": list(record_ids), "at": at}
    rows = await reader.tuples(_RECORDS, values)
    return {row[_ID_AT]: Stood(RecordRow(*row[:-1]), row[-1]) for row in rows}


_COLUMNS: Final = pfa.records_table.columns
_ID_AT: Final = _COLUMNS.index("record_id")
_OWN: Final = _piece(", ".join(f"r.{name}" for name in _COLUMNS))
_RECORDS: Final = _template("records").format(columns=_OWN).as_bytes()
_VERSIONS: Final = _template("versions").format(columns=_OWN).as_bytes()
_DRAFT: Final = (
    _template("draft").format(columns=_piece(", ".join(f"d.{name}" for name in pfa.drafts_table.columns))).as_bytes()
)


async def record(reader: Reader, asked: Asked, record_id: UUID) -> Found | None:
    """A record with the asking user's draft, and without it. None when the mirror does not have it."""
    found = await stood(reader, asked.connection_id, [record_id], at=asked.at)
    if record_id not in found:
        return None
    terms = await _terms_of(reader, asked)
    rows = await reader.tuples(_DRAFT, asked._asdict() | {"record_id": record_id})
    draft = DraftRow(*rows[0]) if rows else None
    row = found[record_id].row
    seen = row if draft is None else draft
    said = values_of(seen)
    merged = MergedRecord(
        row.record_id,
        row.record_no,
        msgspec.json.decode(row.identity, type=list[str]),
        row.ordinal,
        row.upstream_version,
        said,
        terms.told_others(row.others),
        _still_absent(terms.told_absent(row.absent), msgspec.structs.asdict(said)),
        row.removed,
        None if draft is None else _draft_of(draft),
    )
    return Found(merged, values_of(row))


def _draft_of(row: DraftRow) -> RecordDraft:
    return RecordDraft(
        _fields(row.drafted),
        _behind(row.behind),
        row.base_version,
        row.base_position,
        row.modified_position,
        row.modified_at,
        row.computed,
    )


async def history(
    reader: Reader, connection_id: UUID, record_id: UUID, *, at: int, limit: int = 100, before: int = POSITION_MAX
) -> list[RecordVersionShown]:
    """What the upstream said of a record up to a position, the latest first: versions from before `before`. Empty when
    the mirror never had it.
    """
    asked = Asked(connection_id, UUID(int=0), at)
    values = asked._asdict() | {"record_id": record_id, "before": before, "limit": limit + 1}
    rows = [Stood(RecordRow(*row[:-1]), row[-1]) for row in await reader.tuples(_VERSIONS, values)]
    if not rows:
        return []
    terms = await _terms_of(reader, asked)
    times = await recorded_at(reader, [each.since for each in rows])
    earlier: list[Stood | None] = [*rows[1:], None]
    return [_version(each, was, terms, times) for each, was in zip(rows, earlier, strict=True)][:limit]


async def recorded_at(reader: Reader, positions: Sequence[int]) -> dict[int, datetime]:
    """When events were recorded, by position."""
    found: Any = await reader.tuples(SQL["recorded"], {"positions": list(positions)})
    return dict(found)


def _version(each: Stood, was: Stood | None, terms: Terms, times: Mapping[int, datetime]) -> RecordVersionShown:
    row = each.row
    before: dict[str, Plain] = {}
    if was is not None:
        names = [name for name in PFA_FIELDS if getattr(was.row, name) != getattr(row, name)]
        before = {name: plain(told(name, getattr(was.row, name))) for name in names}
    return RecordVersionShown(
        each.since,
        times[each.since],
        row.upstream_version,
        row.removed,
        values_of(row),
        before,
        terms.told_others(row.others),
        terms.told_absent(row.absent),
    )
