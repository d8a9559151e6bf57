"""What every query sees: one read-only transaction of its company, at one position, and the headers it owes."""

import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import msgspec
from litestar import Request, Response
from litestar.di import Provide
from litestar.params import HeaderParameter, QueryParameter

from api import bodies, cursors, positions
from api.cursors import Cursor
from api.identity import EVERYBODY, Caller, Identities
from api.positions import Token
from api.problems import Problem
from api.settings import ApiSettings
from api.waiting import CatchUp
from eventstore import log
from eventstore.db import Database, Reader
from eventstore.log import POSITION_MAX, Head
from eventstore.vault import Vault
from projections import positions as models
from projections.registry import PROJECTIONS

T = TypeVar("T")
K = TypeVar("K")
AnyRequest = Request[Any, Any, Any]

At = Annotated[
    str | None,
    QueryParameter(
        description="The past: a position, a token, or an RFC 3339 instant. The answer names its position.",
        required=False,
    ),
]
After = Annotated[
    str | None,
    HeaderParameter(
        name="Cairn-After",
        description="A token from a receipt (header Cairn-Token): waits until the answer is at least as new.",
        required=False,
    ),
]
CursorText = Annotated[
    str | None,
    QueryParameter(
        description="`next` of the page before. Later pages are true at the first one's position.", required=False
    ),
]
Limit = Annotated[int | None, QueryParameter(ge=1, description="Rows of a page, at most.", required=False)]

_VERSIONS = {projection.name: projection.version for projection in PROJECTIONS}


class NotModified(Exception):
    """The caller's copy is still good: 304."""

    def __init__(self, headers: dict[str, str]) -> None:
        super().__init__("not modified")
        self.headers = headers


class Snapshot(NamedTuple):
    """A transaction, what its model has reached, and the position asked for if it was the past."""

    reader: Reader
    head: Head
    reached: int
    pinned: int | None
    query: bytes
    cursor: Cursor | None
    vault: Vault
    caller: Caller
    body: bytes

    @property
    def position(self) -> int:
        """What the answer is true at."""
        return self.reached if self.pinned is None else self.pinned


class _Asked(NamedTuple):
    """How a caller said what he wants to see, word for word."""

    at: str | None
    cairn_after: str | None
    cursor: str | None = None

    def past(self, cursor: Cursor | None) -> Token | datetime | None:
        """The moment asked for; a later page stays at the first one's unless it asks otherwise. None: now."""
        if self.at is not None:
            return positions.at(self.at)
        return None if cursor is None else Token(cursor.epoch, cursor.position)

    def newer(self) -> Token | None:
        """What the answer must be at least as new as."""
        return None if self.cairn_after is None else positions.token(self.cairn_after, "Cairn-After")


class _PageAsked(NamedTuple):
    query: bytes
    cursor: Cursor | None
    limit: int


class View:
    """A query's transaction. Queries take `reader` and `at`; the answer is true at `position` of `epoch`.

    `body` is what came with a query that takes one.
    """

    __slots__ = ("at", "body", "caller", "epoch", "etag", "head", "may_open", "position", "reader", "vault")

    def __init__(self, snapshot: Snapshot, etag: str | None) -> None:
        self.reader = snapshot.reader
        self.head = snapshot.head
        self.epoch = snapshot.head.epoch
        self.position = snapshot.position
        self.at = POSITION_MAX if snapshot.pinned is None else snapshot.pinned
        self.etag = etag
        self.vault = snapshot.vault
        self.caller = snapshot.caller
        self.may_open = snapshot.caller.may_open
        self.body = snapshot.body

    @property
    def headers(self) -> dict[str, str]:
        """What every answer says of itself."""
        tag = {} if self.etag is None else {"ETag": self.etag}
        return tag | {
            "Cairn-Position": str(self.position),
            "Cairn-Epoch": str(self.epoch),
            "Cairn-Token": f"{self.epoch}.{self.position}",
            "Cache-Control": "private, no-cache",
            "Vary": "Authorization, Cairn-Company",
        }

    def answer(self, content: T) -> Response[T]:
        """The content, with its headers."""
        return Response(content, headers=self.headers)


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Some rows, in order. `next` is the cursor of the page after it; null at the end."""

    items: list[T]
    next: str | None
    position: int


class PagedView(View):
    """A view that answers one page of at most `limit` rows. Ask a query for `limit + 1`, to learn if there are more."""

    __slots__ = ("_page", "limit")

    def __init__(self, snapshot: Snapshot, etag: str | None, page: _PageAsked) -> None:
        super().__init__(snapshot, etag)
        self._page = page
        self.limit = page.limit

    def after(self, kind: type[K]) -> K | None:
        """The key of the last row before this page; None on the first."""
        return None if self._page.cursor is None else cursors.key(self._page.cursor, kind)

    def page(self, rows: Sequence[T], key: Callable[[T], object]) -> Response[Page[T]]:
        """The answer: of the rows found, those that belong on this page."""
        more = len(rows) > self.limit
        kept = list(rows[: self.limit])
        last = cursors.written(self._page.query, self.epoch, self.position, key(kept[-1])) if more else None
        return self.answer(Page(kept, last, self.position))


class Views:
    """A query that can wait for what is going to happen: a transaction for each look, and none in between."""

    def __init__(self, side: "QuerySide", request: AnyRequest, asked: _Asked) -> None:
        self._side = side
        self._request = request
        self._asked = asked

    async def look(
        self, see: Callable[[View], Awaitable[T]], goes_on: Callable[[T], bool], seconds: float
    ) -> Response[T]:
        """What is seen once it does not go on any more, or after `seconds`: what is not there yet may be by then. The
        past is seen once: it stays.
        """
        deadline = time.monotonic() + seconds
        while True:
            async with self._side.opened(self._request, self._asked) as snapshot:
                view = View(snapshot, _etag(self._request, snapshot))
                last = snapshot.pinned is not None or time.monotonic() >= deadline
                try:
                    seen = await see(view)
                except Problem as problem:
                    if last or problem.code != "thing.unknown":
                        raise
                else:
                    if last or not goes_on(seen):
                        return _conditional(self._request, view).answer(seen)
            await self._side.moved(self._request, snapshot, deadline - time.monotonic())


class QuerySide:
    """What the query routes share: the connections they read with, and who may."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        identities: Identities,
        catch_up: CatchUp,
        settings: ApiSettings,
        *,
        primary: Database | None = None,
    ) -> None:
        self.database = database
        self.vault = vault
        self.identities = identities
        self.catch_up = catch_up
        self.settings = settings
        self.primary = primary
        """What `database` is a replica of; None when it is none."""

    def dependencies(self) -> tuple[Provide, Provide, Provide]:
        """How a route gets its view: of one thing, of a page, of what is waited for. Functions: Litestar copies what a
        method is bound to.
        """

        async def view(request: AnyRequest, at: At = None, cairn_after: After = None) -> AsyncGenerator[View, None]:
            asked = _Asked(at=at, cairn_after=cairn_after)
            async with self.opened(request, asked) as snapshot:
                yield _conditional(request, View(snapshot, _etag(request, snapshot)))

        async def paged(
            request: AnyRequest,
            at: At = None,
            cairn_after: After = None,
            cursor: CursorText = None,
            limit: Limit = None,
        ) -> AsyncGenerator[PagedView, None]:
            asked = _Asked(at=at, cairn_after=cairn_after, cursor=cursor)
            async with self.opened(request, asked) as snapshot:
                page = _PageAsked(snapshot.query, snapshot.cursor, self._rows(request, limit))
                yield _conditional(request, PagedView(snapshot, _etag(request, snapshot), page))

        async def views(request: AnyRequest, at: At = None, cairn_after: After = None) -> Views:
            return Views(self, request, _Asked(at=at, cairn_after=cairn_after))

        return Provide(view), Provide(paged), Provide(views)

    def _rows(self, request: AnyRequest, limit: int | None) -> int:
        """Rows of a page: as many as were asked for, within what the route gives (`rows`: usually, at most)."""
        all_there_may_be = self.settings.api_page_rows_max
        rows: tuple[int, int] = request.route_handler.opt.get("rows", (all_there_may_be, all_there_may_be))
        usual, most = rows
        return min(limit or usual, most, all_there_may_be)

    async def moved(self, request: AnyRequest, seen: Snapshot, seconds: float) -> None:
        """Returns once there is something newer than was seen, or after `seconds`."""
        names = _models(request)
        try:
            await self.catch_up.until(seen.head.tenant, names[0] if names else "", seen.reached + 1, seconds)
        except Problem:  # nothing came
            return

    async def _allowed(self, request: AnyRequest) -> Caller:
        caller = await self.identities.of(dict(request.scope["headers"]))
        caller.must_be(request.route_handler.opt.get("roles", EVERYBODY))
        return caller

    @asynccontextmanager
    async def opened(self, request: AnyRequest, asked: "_Asked") -> AsyncIterator["Snapshot"]:
        """A transaction of the caller's company in which the route's models have reached what was asked. What rests on
        several models is told as of where the one furthest behind stands, so that they agree.
        """
        caller = await self._allowed(request)
        body = await self._body(request)
        tenant = caller.tenant
        query = _query(request, caller)
        cursor = None if asked.cursor is None else cursors.read(asked.cursor, query)
        past, newer = asked.past(cursor), asked.newer()
        names = _models(request)
        model = names[0] if names else None
        deadline = time.monotonic() + self.settings.api_catch_up_seconds_max
        pinned: int | None = None
        if newer is not None and model is not None and self.catch_up.is_too_early(tenant, model, newer):
            await self.catch_up.until(tenant, model, newer.position, deadline - time.monotonic())
        judged = False
        wanted = 1  # of a company that a replica has not heard of
        while True:
            async with self.database.bound(tenant) as reader:
                head, reached, model = await _reached(reader, names)
                if head is None and self.primary is None:
                    raise Problem("company.unknown", company=str(tenant))
                if head is not None:
                    if not judged:
                        pinned, judged = await self._judged(reader, head, past, newer), True
                        wanted = max(pinned or 0, newer.position if newer else 0)
                    self.catch_up.saw(head, model or "", reached)
                    if reached >= wanted:
                        if pinned is None and len(names) > 1:
                            pinned = reached
                        yield Snapshot(reader, head, reached, pinned, query, cursor, self.vault, caller, body)
                        return
            if head is None:
                await self.identities.must_exist(tenant)
            await self.catch_up.until(tenant, model or "", wanted, deadline - time.monotonic())

    async def _body(self, request: AnyRequest) -> bytes:
        """What came with a query that takes a body: all of it, before a connection is taken."""
        if request.method != "POST":
            return b""
        return await bodies.read(request.receive, dict(request.scope["headers"]), self.settings)

    async def _judged(
        self, reader: Reader, head: Head, past: Token | datetime | None, newer: Token | None
    ) -> int | None:
        """The position that `past` names. Raises Problem for what was never written.

        What a replica cannot tell yet, the primary does: an instant's position, and what lies beyond its head.
        """
        tokens = [token for token in (past, newer) if isinstance(token, Token)]
        told = all(token.epoch in (None, head.epoch) and token.position <= head.position for token in tokens)
        if self.primary is None or (told and not isinstance(past, datetime)):
            return await _asked_position(reader, head, past, tokens)
        async with self.primary.bound(reader.tenant) as primary:
            newest = await log.head(primary)
            return await _asked_position(primary, newest or head, past, tokens)


async def _asked_position(
    reader: Reader, head: Head, past: Token | datetime | None, tokens: Sequence[Token]
) -> int | None:
    for token in tokens:
        await positions.must_belong(reader, head, token)
    for token in tokens:
        positions.not_ahead(head, token.position)
    return None if past is None else await positions.resolved(reader, past)


def _models(request: AnyRequest) -> tuple[str, ...]:
    """The models that a route's answer rests on: `model`, and those named in `beside`; none for the log itself."""
    opt = request.route_handler.opt
    return (opt["model"], *opt.get("beside", ())) if "model" in opt else ()


async def _reached(reader: Reader, names: Sequence[str]) -> tuple[Head | None, int, str | None]:
    """The log's head, if any, how far the models have come, and which is furthest behind; a query of the log itself is
    always at the head.
    """
    head, reached = await models.with_head(reader, names[0]) if names else (await log.head(reader), 0)
    if head is None or head.position == 0:
        return None, 0, None
    if not names:
        return head, head.position, None
    others = [(await models.position_of(reader, name), name) for name in names[1:]]
    return head, *min([(reached, names[0]), *others])


_PAGING = frozenset({"cursor", "limit", "at"})

V = TypeVar("V", bound=View)


def _query(request: AnyRequest, caller: Caller) -> bytes:
    """What tells a query from others. One that is `personal` is another one when somebody else asks it."""
    filters = sorted((key, value) for key, value in request.query_params.multi_items() if key not in _PAGING)
    whose = (caller.actor,) if request.route_handler.opt.get("personal") else ()
    return cursors.query_of(caller.tenant, *whose, request.scope["path"], filters)


def _etag(request: AnyRequest, snapshot: Snapshot) -> str | None:
    """Two answers of one tag are the same answer: same query, same model version, same position of the same log.

    None for a route that takes a body, or is `volatile`: its answer tells what the log does not. What is told of
    people, even of the past, may be erased by any later event; and not everybody is told it.
    """
    if request.route_handler.opt.get("volatile") or request.method == "POST":
        return None
    versions = [(name, _VERSIONS[name]) for name in _models(request)]
    answered: tuple[Any, ...] = (snapshot.head.epoch, snapshot.position, snapshot.query, request.scope["query_string"])
    if request.route_handler.opt.get("persons"):
        answered = (*answered, snapshot.head.position, snapshot.caller.may_open)
    return f'"{hashlib.blake2b(repr((versions, answered)).encode(), digest_size=12).hexdigest()}"'


def _conditional(request: AnyRequest, view: V) -> V:
    """The view. Raises NotModified when the caller has this answer already."""
    known = request.headers.get("if-none-match")
    if known is not None and view.etag and view.etag in {tag.strip().removeprefix("W/") for tag in known.split(",")}:
        raise NotModified(view.headers)
    return view


def found(thing: T | None) -> T:
    """The thing. Raises Problem when there is none: then or now, here or in this company."""
    if thing is None:
        raise Problem("thing.unknown")
    return thing
