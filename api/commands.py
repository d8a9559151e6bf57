"""One route per command, derived from the registry; and a batch of them."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

import msgspec
from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send
from msgspec.structs import replace

from api import bodies, problems
from api.identity import Addresses, Caller, Headers, Identities, uuid_of
from api.problems import Fault, Problem
from api.settings import ApiSettings
from domain.decider import COMPANY, Command, Decider, Ref, Rejected
from domain.registry import COMMANDS, kebab
from eventstore.db import Unavailable
from eventstore.log import Metadata
from eventstore.transact import Context, Receipt, Store, transact
from projections.inline import InlineModels
from projections.registry import INLINE

AnyRequest = Request[Any, Any, Any]

USER_AGENT_MAX: Final = 300
"""Characters of the User-Agent header that are recorded."""

_IN_ORDER: Final = frozenset(tag.partition(".")[0] for tag in InlineModels(INLINE).types)
"""Aggregates whose things share what is unique in a company: in a batch their commands keep its order."""

GOES_ON: Final[Mapping[tuple[str, str], str]] = {
    ("mirror", "request-sync"): "/connections/{command.connection_id}/runs/{command.run_id}",
    ("changeset", "open-changeset"): "/changesets/{id}",
}
"""Commands with which the work only begins, and where it is told how far that is: answered 202, with a Location."""

_encoder = msgspec.json.Encoder()


class BatchItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A command in a batch. `body` is what its own route would take; `expected_version` what If-Match would say."""

    command_id: UUID
    aggregate: str
    id: UUID
    verb: str
    body: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"{}"))
    expected_version: int | None = None
    correlation_id: UUID | None = None
    causation_id: UUID | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one command of a batch: its receipt, or the problem document of its refusal."""

    command_id: UUID | None
    receipt: Receipt | None = None
    problem: problems.Document | None = None


class Answer:
    """A receipt on its way out: ASGI of its own, because Litestar's response takes three times as long."""

    __slots__ = ("_body", "_headers", "_status")

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self._status = status
        self._headers = headers
        self._body = body

    async def __call__(self, _: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._body, "more_body": False})


class Outcomes(msgspec.Struct, frozen=True):
    """One outcome per command, in the order they were sent."""

    outcomes: list[Outcome]


class CommandSide:
    """What the command routes share: the store they write to, and who may."""

    def __init__(self, store: Store, identities: Identities, settings: ApiSettings) -> None:
        self.store = store
        self.identities = identities
        self.settings = settings
        self.addresses = Addresses(settings.api_trusted_proxies)

    async def accept(
        self, decider: Decider[Any, Any, Any], kind: type[Command], id_: UUID, scope: HTTPScope, receive: Receive
    ) -> Answer:
        """One command: parsed, allowed, decided, appended. Answers once that is durable."""
        headers: Headers = dict(scope["headers"])
        caller = await self.identities.of(headers)
        caller.must_be_allowed(kind, id_)
        command_id, expected_version = _required_id(headers), _expected_version(headers)
        metadata = self._metadata(scope, headers, caller)
        command = kind.model_validate_json(await bodies.read(receive, headers, self.settings))
        context = Context(
            tenant=caller.tenant,
            actor=caller.actor,
            command_id=command_id,
            request_hash=request_hash(decider.category, id_, kebab(kind.__name__), command),
            metadata=metadata,
        )
        receipt = await self.transact(decider, id_, command, caller, context, expected_version=expected_version)
        place = GOES_ON.get((decider.category, kebab(kind.__name__)))
        return _answer(receipt, None if place is None else place.format(id=id_, command=command))

    async def transact(
        self,
        decider: Decider[Any, Any, Any],
        id_: UUID,
        command: Command,
        caller: Caller,
        context: Context,
        *,
        expected_version: int | None,
    ) -> Receipt:
        """The command's receipt. Raises Problem, and what the store's `transact` raises."""
        await self._must_be_in_company(decider, id_, command, caller)
        try:
            async with asyncio.timeout(self.settings.api_command_seconds_max):
                return await transact(self.store, decider, id_, command, context, expected_version=expected_version)
        except TimeoutError:
            raise Problem("command.timed-out", headers={"Retry-After": "1"}) from None

    async def _must_be_in_company(
        self, decider: Decider[Any, Any, Any], id_: UUID, command: Command, caller: Caller
    ) -> None:
        """A company's own stream has the company's id, in its own log. Only registering begins a log."""
        if decider.category == "company" and id_ != caller.tenant:
            raise Rejected("company.unknown", "missing")
        if caller.role is None and type(command) is not COMMANDS["company", "register-company"][1]:
            await self.identities.must_exist(caller.tenant)

    def _metadata(self, scope: HTTPScope, headers: Headers, caller: Caller) -> Metadata:
        peer = scope["client"]
        agent = headers.get(b"user-agent")
        return Metadata(
            correlation_id=_optional_id(headers, b"correlation-id", "Correlation-Id"),
            causation_id=_optional_id(headers, b"causation-id", "Causation-Id"),
            ip=self.addresses.of(None if peer is None else peer[0], headers),
            user_agent=None if agent is None else agent.decode("latin-1")[:USER_AGENT_MAX],
            session=None if caller.token_id is None else str(caller.token_id),
        )

    async def accept_batch(self, request: AnyRequest) -> Outcomes:
        """Commands of one batch. A later one may rest on an earlier one; a refusal ends nothing."""
        headers: Headers = dict(request.scope["headers"])
        caller = await self.identities.of(headers)
        items = _items(await bodies.read(request.receive, headers, self.settings), self.settings)
        return await _Batch(self, caller, self._metadata(request.scope, headers, caller)).run(items)


class _Parsed(NamedTuple):
    """A command of a batch that may be tried."""

    item: BatchItem
    decider: Decider[Any, Any, Any]
    command: Command

    @property
    def is_of_company(self) -> bool:
        """Whether it changes what any other command may rest on."""
        return self.decider.category == COMPANY.category

    def touches(self) -> set[object]:
        """What it may not overtake: the streams it reads or writes, and names that are unique in the company.

        The company itself is not among them: many read it, and what writes it lets nobody pass.
        """
        own = Ref(self.decider.category, self.item.id)
        spanning = self.decider.spanning.get(type(self.command))
        touched: set[object] = {own, *(spanning.reads(own.id, self.command) if spanning is not None else ())}
        return touched - {COMPANY} | ({own.category} if own.category in _IN_ORDER else set())


class _Batch:
    """The commands of one request. Those that touch the same streams go one after the other, others together."""

    def __init__(self, side: CommandSide, caller: Caller, metadata: Metadata) -> None:
        self._side = side
        self._caller = caller
        self._metadata = metadata
        self._together = asyncio.Semaphore(side.settings.api_batch_together_max)
        self._latest: dict[object, asyncio.Task[Outcome]] = {}
        self._all: set[asyncio.Task[Outcome]] = set()
        self._company: set[asyncio.Task[Outcome]] = set()
        self._away: Unavailable | None = None

    async def run(self, items: Sequence[msgspec.Raw]) -> Outcomes:
        """An outcome for each, in their order."""
        outcomes: list[Outcome | asyncio.Task[Outcome]] = []
        async with asyncio.TaskGroup() as group:
            for raw in items:
                try:
                    parsed = self._parsed(raw)
                except Exception as error:
                    outcomes.append(self._refused(raw, error))
                    continue
                touched = parsed.touches()
                before = {self._latest[each] for each in touched if each in self._latest} | self._company
                before = self._all.copy() if parsed.is_of_company else before
                task = group.create_task(self._outcome(raw, parsed, before))
                self._latest |= dict.fromkeys(touched, task)
                self._all.add(task)
                if parsed.is_of_company:
                    self._company = {task}
                outcomes.append(task)
                await asyncio.sleep(0)  # those that were begun go on while the next is parsed
        return Outcomes([each if isinstance(each, Outcome) else each.result() for each in outcomes])

    def _parsed(self, raw: msgspec.Raw) -> _Parsed:
        item = _decoded(raw)
        known = COMMANDS.get((item.aggregate, item.verb))
        if known is None:
            raise Problem("command.unknown", aggregate=item.aggregate, verb=item.verb)
        decider, kind = known
        self._caller.must_be_allowed(kind, item.id)
        return _Parsed(item, decider, kind.model_validate_json(bytes(item.body)))

    async def _outcome(self, raw: msgspec.Raw, parsed: _Parsed, before: set[asyncio.Task[Outcome]]) -> Outcome:
        if before:
            await asyncio.wait(before)
        async with self._together:
            if self._away is not None:
                return _refused(raw, Problem("batch.not-tried", self._away.what))
            try:
                receipt = await self._transacted(parsed)
            except Exception as error:
                if isinstance(error, Unavailable):
                    self._away = error
                return self._refused(raw, error)
        return Outcome(command_id=parsed.item.command_id, receipt=receipt)

    def _refused(self, raw: msgspec.Raw, error: Exception) -> Outcome:
        """A refusal is an outcome; so is a fault, which `document_of` gives no words."""
        problems.report(error)
        return _refused(raw, error)

    async def _transacted(self, parsed: _Parsed) -> Receipt:
        item, decider, command = parsed
        context = Context(
            tenant=self._caller.tenant,
            actor=self._caller.actor,
            command_id=item.command_id,
            request_hash=request_hash(item.aggregate, item.id, item.verb, command),
            metadata=replace(
                self._metadata,
                correlation_id=item.correlation_id or self._metadata.correlation_id,
                causation_id=item.causation_id or self._metadata.causation_id,
            ),
        )
        expected = item.expected_version
        return await self._side.transact(decider, item.id, command, self._caller, context, expected_version=expected)


def routes(side: CommandSide) -> list[HTTPRouteHandler]:
    """A route per command in the registry, and the batch."""
    derived = [_route(side, decider, kind, verb) for (_, verb), (decider, kind) in COMMANDS.items()]
    return [*derived, _batch_route(side)]


def _route(side: CommandSide, decider: Decider[Any, Any, Any], kind: type[Command], verb: str) -> HTTPRouteHandler:
    async def accept(request: AnyRequest) -> ASGIApp:
        id_ = cast("UUID", request.scope["path_params"]["id"])
        return await side.accept(decider, kind, id_, request.scope, request.receive)

    accept.__doc__ = kind.__doc__
    return post(
        f"/commands/{decider.category}/{{id:uuid}}/{verb}",
        name=kind.__name__,
        operation_id=kind.__name__,
        opt={"command": kind},
        tags=[decider.category],
        status_code=202 if (decider.category, verb) in GOES_ON else 201,
    )(accept)


def shortcut(side: CommandSide) -> Callable[[HTTPScope], ASGIApp | None]:
    """Finds a derived route by one look-up, past the framework, which would take a fifth of a command's time.

    What it does not know, or cannot read, is the framework's to answer.
    """
    known = {
        (category, verb): (decider, kind, f"/commands/{category}/{{id}}/{verb}")
        for (category, verb), (decider, kind) in COMMANDS.items()
    }

    def find(scope: HTTPScope) -> ASGIApp | None:
        parts = scope["path"].split("/")
        if len(parts) != 5 or parts[1] != "commands" or scope["method"] != "POST" or scope["query_string"]:
            return None
        found = known.get((parts[2], parts[4]))
        try:
            id_ = UUID(parts[3])
        except ValueError:
            return None
        if found is None:
            return None
        decider, kind, scope["path_template"] = found

        async def accept(_: Scope, receive: Receive, send: Send) -> None:
            answer = await side.accept(decider, kind, id_, scope, receive)
            await answer(scope, receive, send)

        return accept

    return find


def _batch_route(side: CommandSide) -> HTTPRouteHandler:
    @post("/commands", operation_id="Batch", tags=["commands"], status_code=200)
    async def batch(request: AnyRequest) -> Response[bytes]:
        """Several commands in one request, one outcome each, in their order.

        Commands that touch the same streams go one after the other: a later one may rest on an earlier one. All others
        go together. Projects and memberships, whose names and addresses are unique, keep their order each. A refusal
        stops none of the others.
        """
        return Response(
            _encoder.encode(await side.accept_batch(request)), media_type="application/json", status_code=200
        )

    return batch


def request_hash(category: str, id_: UUID, verb: str, command: Command) -> bytes:
    """Eight bytes that tell requests apart: the route, and the body as the validated command spells it.

    Spacing and the order of fields make no difference; a field left out and a field sent do.
    """
    body = command.model_dump_json(exclude_unset=True, warnings=False)  # it expects decimals, and writes them as text
    return hashlib.sha256(f"{category}/{id_}/{verb}\n{body}".encode()).digest()[:8]


def token_of(receipt: Receipt) -> str:
    """What to send as Cairn-After to read at least as new as this."""
    return f"{receipt.epoch}.{receipt.position}"


def _answer(receipt: Receipt, location: str | None) -> Answer:
    recorded_now = receipt.first_position is not None and not receipt.replayed
    body = _encoder.encode(receipt)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cairn-position", str(receipt.position).encode()),
        (b"cairn-epoch", str(receipt.epoch).encode()),
        (b"cairn-token", token_of(receipt).encode()),
        (b"etag", f'"{receipt.stream_version}"'.encode()),
    ]
    if location is not None:
        headers.append((b"location", location.encode()))
    recorded = 201 if location is None else 202
    return Answer(recorded if recorded_now else 200, headers, body)


def _required_id(headers: Headers) -> UUID:
    value = headers.get(b"idempotency-key")
    if value is None:
        detail = "Idempotency-Key is the command's id, a UUID of your making. Send the same one when you try again."
        raise Problem("request.header-missing", detail, header="Idempotency-Key")
    return uuid_of(value, "Idempotency-Key")


def _optional_id(headers: Headers, name: bytes, spelling: str) -> UUID | None:
    value = headers.get(name)
    return None if value is None else uuid_of(value, spelling)


def _expected_version(headers: Headers) -> int | None:
    value = headers.get(b"if-match")
    if value is None or value == b"*":
        return None
    digits = value.strip().strip(b'"')
    if not digits.isdigit() or len(digits) > 9:
        detail = 'If-Match is the version a receipt named, in quotes: "7". 0 means: not there yet.'
        raise Problem("request.header-malformed", detail, header="If-Match")
    return int(digits)


def _items(body: bytes, settings: ApiSettings) -> list[msgspec.Raw]:
    try:
        items = msgspec.json.decode(body, type=list[msgspec.Raw])
    except msgspec.ValidationError as error:
        raise Problem("request.body-invalid", faults=[Fault("", "array-type", str(error))]) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Problem("request.json-malformed", str(error)) from None
    if len(items) > settings.api_batch_commands_max:
        raise Problem("batch.too-long", commands=len(items), commands_max=settings.api_batch_commands_max)
    return items


def _decoded(raw: msgspec.Raw) -> BatchItem:
    try:
        return msgspec.json.decode(raw, type=BatchItem)
    except msgspec.ValidationError as error:
        message, _, at = str(error).partition(" - at `$")
        path = problems.pointer(at.rstrip("`").strip(".").split(".")) if at else ""
        raise Problem("request.body-invalid", faults=[Fault(path, "batch-item", message)]) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Problem("request.json-malformed", str(error)) from None


def _refused(raw: msgspec.Raw, error: Exception) -> Outcome:
    document, _ = problems.document_of(error)
    return Outcome(command_id=_id_in(raw), problem=document)


def _id_in(raw: msgspec.Raw) -> UUID | None:
    """The command id of an item, even of one with faults."""
    try:
        found = msgspec.json.decode(raw, type=Mapping[str, Any]).get("command_id")
        return UUID(found)
    except (msgspec.MsgspecError, ValueError, TypeError, AttributeError, RecursionError):
        return None
