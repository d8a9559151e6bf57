"""The log as it grows, over server-sent events: in position order, resuming without a gap or a repeat."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Any, Final, NamedTuple
from uuid import UUID

from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import HeaderParameter, QueryParameter
from litestar.response import Stream

from api import positions, problems
from api.identity import READERS_OF_THE_LOG, Caller, Headers, Identities
from api.positions import Token
from api.problems import Problem
from api.queries.log import Types, known_types
from api.settings import ApiSettings
from api.waiting import LogFollowers
from eventstore import envelope, log
from eventstore.db import Database, Reader, Unavailable
from eventstore.vault import Vault

AnyRequest = Request[Any, Any, Any]

HEARTBEAT: Final = b": still here\n\n"
HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

LastEventId = Annotated[
    str | None,
    HeaderParameter(
        name="Last-Event-ID", description="The id of the last event seen: the stream goes on after it.", required=False
    ),
]
Start = Annotated[
    str | None,
    QueryParameter(
        description="Where to begin, as a position or token; 0 for the first event ever. Without it and without "
        "Last-Event-ID the stream begins with what is written from now on.",
        required=False,
    ),
]


class _Page(NamedTuple):
    """What a look at the log found: blocks ready to send, the position seen up to, and whether there may be more."""

    blocks: list[bytes]
    seen: Token
    more: bool


class LiveSide:
    """What event streams share."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        identities: Identities,
        followers: LogFollowers,
        settings: ApiSettings,
    ) -> None:
        self.database = database
        self.vault = vault
        self.identities = identities
        self.followers = followers
        self.settings = settings
        self.stopping = False
        self.open = 0

    def stop(self) -> None:
        """Ends every stream after the event it is sending; clients resume elsewhere."""
        self.stopping = True
        self.followers.wake_all()

    async def begin(
        self, request: AnyRequest, last_event_id: str | None, start: str | None, types: list[str] | None
    ) -> Stream:
        """The answer to a stream's request: everything that can be refused is refused before it begins."""
        headers: Headers = dict(request.scope["headers"])
        tenant = (await self._allowed(headers)).tenant
        asked = _asked(last_event_id, start)
        wanted = known_types(types)
        if self.open >= self.settings.api_streams_max:
            raise Problem("stream.too-many", headers={"Retry-After": "10"}, streams_max=self.settings.api_streams_max)
        async with self.database.bound(tenant) as reader:
            after = await _checked(reader, asked)
        return Stream(self._events(headers, tenant, after, wanted), media_type="text/event-stream", headers=HEADERS)

    async def _allowed(self, headers: Headers) -> Caller:
        caller = await self.identities.of(headers)
        caller.must_be(READERS_OF_THE_LOG)
        return caller

    async def _events(
        self, headers: Headers, tenant: UUID, after: Token, types: list[str] | None
    ) -> AsyncGenerator[bytes, None]:
        moved = self.followers.join(tenant)
        self.open += 1
        try:
            yield b"retry: 1000\n: connected\n\n"
            async for block in self._following(headers, after, types, moved):
                yield block
        except (Problem, Unavailable) as problem:  # the token was revoked, the log restored: say so, and end
            document, _ = problems.document_of(problem)
            yield b"event: problem\ndata: " + problems.encoded(document) + b"\n\n"
        finally:
            self.open -= 1
            self.followers.leave(tenant, moved)

    async def _following(
        self, headers: Headers, after: Token, types: list[str] | None, moved: asyncio.Event
    ) -> AsyncGenerator[bytes, None]:
        loop = asyncio.get_running_loop()
        spoke_at = loop.time()
        while not self.stopping:
            moved.clear()
            caller = await self._allowed(headers)
            page = await self._look(caller, after, types)
            after = page.seen
            for block in page.blocks:
                yield block
            if page.blocks:
                spoke_at = loop.time()
            elif loop.time() - spoke_at >= self.settings.api_stream_heartbeat_seconds:
                yield HEARTBEAT
                spoke_at = loop.time()
            if not page.more:
                await self._nap(moved)

    async def _nap(self, moved: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(
                min(self.settings.api_stream_poll_seconds, self.settings.api_stream_heartbeat_seconds)
            ):
                await moved.wait()
        except TimeoutError:  # no hint came: look all the same
            return

    async def _look(self, caller: Caller, after: Token, types: list[str] | None) -> _Page:
        limit = self.settings.api_stream_page_events
        async with self.database.bound(caller.tenant) as reader:
            await _checked(reader, after)
            head = await log.head(reader)
            assert head is not None  # it was there when the stream began, and logs don't end
            events: Sequence[log.Stored] = await log.read_log(
                reader, after=after.position, to=head.position, limit=limit, types=types
            )
            if caller.may_open:
                events = await self.vault.shown_rows(reader, events)
            epochs = await log.epochs(reader) if events else []
        blocks = [_block(stored, envelope.epoch_of(epochs, stored.position)) for stored in events]
        more = len(events) == limit
        return _Page(blocks, Token(head.epoch, events[-1].position if more else head.position), more)


def _asked(last_event_id: str | None, start: str | None) -> Token | None:
    if last_event_id:
        return positions.token(last_event_id, "Last-Event-ID")
    if start is None:
        return None
    found = positions.at(start)
    if isinstance(found, Token):
        return found
    raise Problem("request.parameter-invalid", "`after` is a position or a token.", parameter="after")


async def _checked(reader: Reader, asked: Token | None) -> Token:
    """Where to begin. Raises Problem when the log never went there."""
    head = await log.head(reader)
    if head is None or head.position == 0:
        raise Problem("company.unknown", company=str(reader.tenant))
    if asked is None:
        return Token(head.epoch, head.position)
    await positions.must_belong(reader, head, asked)
    positions.not_ahead(head, asked.position)
    return Token(head.epoch, asked.position)


def _block(stored: log.Stored, epoch: int) -> bytes:
    kind: str = stored.row[-4]
    data = envelope.envelope_of(stored, epoch)
    return f"id: {epoch}.{stored.position}\nevent: {kind}\ndata: ".encode() + data + b"\n\n"


def route(side: LiveSide) -> HTTPRouteHandler:
    """The route of event streams."""

    about = {"streams": True, "roles": READERS_OF_THE_LOG}

    @get("/stream", operation_id="Stream", tags=["log"], media_type="text/event-stream", opt=about)
    async def stream(
        request: AnyRequest, last_event_id: LastEventId = None, after: Start = None, types: Types = None
    ) -> Stream:
        """Events as they are written, as server-sent events; for services with sensitive fields sealed.

        `id` is a token, `event` the type, `data` a CloudEvent. A browser resumes by itself; others send Last-Event-ID.
        """
        return await side.begin(request, last_event_id, after, types)

    return stream
