"""NATS: a connection nobody waits for, hints that save latency, and streams written in one order by one writer."""

import asyncio
import contextlib
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID, uuid4

import msgspec
from nats import errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from eventstore import envelope, telemetry
from eventstore.db import Unavailable

EVENTS: Mapping[str, str] = {
    "broker_connected": "A connection to NATS stands.",
    "broker_lost": "The connection to NATS broke; commands go on, and what waits is published later.",
    "broker_refused": "NATS answered with an error of its own, such as a permission that is missing.",
}
"""Names this module logs under."""

T = TypeVar("T")

BATCH_MESSAGES_MAX: Final = 1000
"""The most messages the server takes in one atomic batch."""
WINDOW_MESSAGES_MAX: Final = 4
"""So few messages go one behind the other: for an atomic batch the server makes files of its own and deletes them,
which costs it 1.5 ms of processor time where a message takes 0.15 to 0.3.
"""

_NOT_FOUND: Final = 10059
_NO_MESSAGE: Final = 10037
_WRONG_SEQUENCE: Final = frozenset({10070, 10071, 10164})
_DUPLICATE_IN_BATCH: Final = 10201
_NANOSECONDS: Final = 1_000_000_000
_HEADERS_BYTES: Final = 512  # more than the headers of a message take


class Refused(Exception):
    """The stream is not where the writer thought: somebody else wrote to it, or it lost what it had acknowledged."""


class Broker:
    """One connection to NATS. It is opened without waiting, comes back by itself for ever, and fails no caller.

    `generation` changes whenever the connection breaks or stands again: what was known about a stream is then in doubt.
    `up` is set while it stands. Without `echo` its own messages do not come back to it.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        reconnect_seconds: float = 0.5,
        answer_seconds_max: float = 5,
        echo: bool = True,
    ) -> None:
        self.generation = 0
        self._url = url
        self._name = name
        self._echo = echo
        self._reconnect_seconds = reconnect_seconds
        self._answer_seconds_max = answer_seconds_max
        self._client = Client()
        self._followings: dict[Following, None] = {}
        self._maintaining: asyncio.Task[None] | None = None
        self.up = asyncio.Event()
        self._down = asyncio.Event()
        self._closed = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Whether messages would go out now."""
        return self.up.is_set() and self._client.is_connected

    @property
    def payload_bytes_max(self) -> int:
        """The largest payload the connected server takes, beside our headers."""
        return int(self._client.max_payload) - _HEADERS_BYTES

    async def open(self) -> None:
        """Begins to connect, and returns at once. Harmless when open."""
        if self._maintaining is None:
            self._maintaining = asyncio.create_task(self._maintain())

    async def close(self) -> None:
        """Disconnects. Harmless when closed."""
        task, self._maintaining = self._maintaining, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        await self._drop_client()

    async def wait_connected(self, seconds: float) -> bool:
        """Whether the connection stood within `seconds`."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.up.wait(), seconds)
        return self.connected

    async def _maintain(self) -> None:
        while True:  # the client reconnects by itself; a new one is made when it gave up, as on a refused sign-in
            self._closed.clear()
            self._client = Client()
            try:
                await self._connect()
                await self._closed.wait()
            except (OSError, errors.Error, ValueError) as error:
                telemetry.log().warning("broker_lost", broker=self._name, error=repr(error))
            await self._drop_client()
            await asyncio.sleep(self._reconnect_seconds)

    async def _connect(self) -> None:
        await self._client.connect(
            self._url,
            name=f"cairn {self._name}",
            no_echo=not self._echo,
            allow_reconnect=True,
            max_reconnect_attempts=-1,
            reconnect_time_wait=self._reconnect_seconds,  # type: ignore[arg-type]  # it sleeps that long; a fraction is fine
            connect_timeout=2,
            ping_interval=10,
            max_outstanding_pings=2,
            error_cb=self._on_error,
            disconnected_cb=self._on_lost,
            reconnected_cb=self._on_connected,
            closed_cb=self._on_closed,
        )
        for following in list(self._followings):
            await following.subscribe(self._client)
        await self._on_connected()

    async def _drop_client(self) -> None:
        self._mark_down()
        if not self._client.is_connected:  # else closing it would write what is left to a socket that is gone
            self._client._pending = []
            self._client._pending_data_size = 0
        with contextlib.suppress(OSError, errors.Error, TimeoutError, RuntimeError):
            await self._client.close()

    def _mark_down(self) -> None:
        self.generation += 1
        self.up.clear()
        self._down.set()

    async def _on_connected(self) -> None:
        self.generation += 1
        self._down.clear()
        self.up.set()
        telemetry.log().info("broker_connected", broker=self._name)

    async def _on_lost(self) -> None:
        if self.up.is_set():
            telemetry.log().warning("broker_lost", broker=self._name)
        self._mark_down()

    async def _on_closed(self) -> None:
        self._mark_down()
        self._closed.set()

    async def _on_error(self, error: Exception) -> None:
        if not isinstance(error, OSError | errors.NoServersError | errors.UnexpectedEOF):  # told by broker_lost
            telemetry.log().warning("broker_refused", broker=self._name, error=repr(error))

    async def follow(self, subject: str, received: Callable[[str, bytes], None]) -> "Following":
        """Calls `received(subject, body)` for each core message, now and after every reconnection, until stopped."""
        following = Following(self, subject, received)
        self._followings[following] = None
        if self._client.is_connected:
            await following.subscribe(self._client)
        return following

    def unfollow(self, following: "Following") -> None:
        """Forgets a following."""
        self._followings.pop(following, None)

    async def publish(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Sends core messages and returns when the server has them. Raises Unavailable when it is not there."""

        async def send() -> None:
            for subject, body in messages:
                await self._client.publish(subject, body)
            await self._client.flush(timeout=int(self._answer_seconds_max) or 1)

        await self.while_connected(send())

    async def tell(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Hands core messages to the connection, and does not wait for the server. Raises Unavailable."""
        if not self.connected:
            raise Unavailable("NATS is not there")
        try:
            for subject, body in messages:
                await self._client.publish(subject, body)
        except (OSError, errors.Error, RuntimeError) as error:  # the last is uvloop's, of a closed socket
            raise Unavailable(f"NATS does not take messages: {error!r}") from error

    async def ask(self, subject: str, question: Any) -> Msg:
        """A request and its answer. Raises Unavailable when none comes."""
        body = msgspec.json.encode(question)
        return await self.while_connected(self._client.request(subject, body, timeout=self._answer_seconds_max))

    async def while_connected(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`. Raises Unavailable as soon as the connection breaks, instead of waiting it out."""
        if not self.connected:
            work.close()
            raise Unavailable("NATS is not there")
        task = asyncio.ensure_future(work)
        down = asyncio.ensure_future(self._down.wait())
        try:
            await asyncio.wait([task, down], return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise Unavailable("the connection to NATS broke")
            return task.result()
        except (OSError, errors.Error, TimeoutError, RuntimeError) as error:  # the last is uvloop's, of a closed socket
            raise Unavailable(f"NATS does not answer: {error!r}") from error
        finally:
            down.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait([task])

    @contextlib.asynccontextmanager
    async def answers(self, received: Callable[[Msg], None]) -> AsyncIterator[str]:
        """An inbox whose messages are handed to `received`; yields its subject."""

        async def take(message: Msg) -> None:
            received(message)

        inbox = self._client.new_inbox()
        subscription = await self._client.subscribe(inbox, cb=take)
        try:
            yield inbox
        finally:
            with contextlib.suppress(errors.Error):
                await subscription.unsubscribe()

    async def send(self, message: "Message", headers: Mapping[str, str], reply: str) -> None:
        """One message into the connection's buffer. For streams."""
        await self._client.publish(message.subject, message.body, reply=reply, headers=dict(headers))

    async def request(self, message: "Message", headers: Mapping[str, str]) -> Msg:
        """One message and the server's word on it. For streams."""
        seconds = self._answer_seconds_max
        return await self._client.request(message.subject, message.body, timeout=seconds, headers=dict(headers))


class Following:
    """A subscription that outlives the connection."""

    def __init__(self, broker: Broker, subject: str, received: Callable[[str, bytes], None]) -> None:
        self._broker = broker
        self._subject = subject
        self._received = received
        self._subscription: Subscription | None = None

    async def subscribe(self, client: Client) -> None:
        """Takes the subscription up on a fresh connection."""

        async def take(message: Msg) -> None:
            self._received(message.subject, message.data)

        self._subscription = await client.subscribe(self._subject, cb=take)

    async def stop(self) -> None:
        """Ends it. Harmless when ended."""
        self._broker.unfollow(self)
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with contextlib.suppress(errors.Error):
                await subscription.unsubscribe()


class Hints:
    """Core messages that say something moved. Lossy by design: who acts on one also polls.

    Sending is fire and forget. What moves several times before it is sent goes as one, the greatest.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._logs: dict[UUID, int] = {}
        self._views: dict[UUID, dict[str, int]] = {}
        self._sending: asyncio.Task[None] | None = None

    def log_moved(self, tenant: UUID, position: int) -> None:
        """After a commit. Returns at once and never fails; nothing is sent while NATS is away."""
        if self._broker.connected:
            self._logs[tenant] = max(position, self._logs.get(tenant, 0))
            self._begin()

    def view_moved(self, tenant: UUID, model: str, position: int) -> None:
        """After a read model's commit. Returns at once and never fails. Models that came as far go as one."""
        if self._broker.connected:
            views = self._views.setdefault(tenant, {})
            views[model] = max(position, views.get(model, 0))
            self._begin()

    def _begin(self) -> None:
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())

    async def _send(self) -> None:
        try:
            while self._logs or self._views:
                await self._broker.tell(self._messages())
        except Unavailable:
            self._messages()  # nothing is kept while NATS is away
        finally:
            self._sending = None

    def _messages(self) -> list[tuple[str, bytes]]:
        """What waits, which then waits no more."""
        logs, self._logs = self._logs, {}
        views, self._views = self._views, {}
        messages = [(envelope.log_hint(tenant), str(position).encode()) for tenant, position in logs.items()]
        for tenant, positions in views.items():
            for position in set(positions.values()):
                models = [model for model, reached in positions.items() if reached == position]
                messages.append((envelope.view_hint(tenant, models), str(position).encode()))
        return messages

    async def sent(self) -> None:
        """Until the server has everything, if it is there."""
        if self._sending is not None:
            await asyncio.wait([self._sending])
        with contextlib.suppress(Unavailable):
            await self._broker.publish([])

    async def follow_log(self, moved: Callable[[UUID, int], None], tenant: UUID | None = None) -> Following:
        """Calls `moved(tenant, position)` when a company's log moved: one company's, or every one's."""

        def received(subject: str, body: bytes) -> None:
            parts = subject.split(".")
            with contextlib.suppress(ValueError):
                moved(UUID(parts[2]), int(body))

        return await self._broker.follow(
            envelope.EVERY_LOG_HINT if tenant is None else envelope.log_hint(tenant), received
        )

    async def follow_views(
        self, moved: Callable[[UUID, str, int], None], tenant: UUID | None = None, model: str | None = None
    ) -> Following:
        """Calls `moved(tenant, model, position)` when a read model moved. None: every one."""

        def received(subject: str, body: bytes) -> None:
            parts = subject.split(".")
            with contextlib.suppress(ValueError):
                for named in envelope.hinted_models(parts[4]):
                    if model is None or model == named:
                        moved(UUID(parts[2]), named, int(body))

        return await self._broker.follow(f"cairn.hint.{tenant or '*'}.view.*", received)


class Message(NamedTuple):
    """What goes into a stream. `id` is what a repetition is recognised by."""

    subject: str
    id: str
    body: bytes
    headers: Mapping[str, str] = {}


class Kept(NamedTuple):
    """A message the stream holds."""

    sequence: int
    subject: str
    headers: Mapping[str, str]
    body: bytes


class StreamState(NamedTuple):
    """Where a stream is. `created` tells a stream from one of the same name that took its place."""

    created: datetime
    first: int
    last: int
    messages: int


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a stream keeps what it gets. 0 is without limit."""

    name: str
    subjects: tuple[str, ...]
    description: str = ""
    replicas: int = 1
    age_seconds_max: int = 0
    bytes_max: int = 0
    duplicate_seconds: int = 120


class _Fault(msgspec.Struct):
    err_code: int = 0
    description: str = ""


class _Numbers(msgspec.Struct):
    first_seq: int
    last_seq: int
    messages: int


class _Entry(msgspec.Struct):
    seq: int
    subject: str
    hdrs: str = ""
    data: str = ""


class _Answer(msgspec.Struct):
    """Any answer of the server about a stream."""

    error: _Fault | None = None
    config: dict[str, Any] = {}
    state: _Numbers | None = None
    created: datetime | None = None
    message: _Entry | None = None
    seq: int = 0
    duplicate: bool = False


class Stream:
    """A JetStream stream, written by one writer who says each time what came last before."""

    def __init__(self, broker: Broker, options: StreamOptions) -> None:
        self._broker = broker
        self.options = options
        self.atomic = False

    async def _ask(self, verb: str, question: Any) -> _Answer:
        answer = await self._broker.ask(f"$JS.API.STREAM.{verb}.{self.options.name}", question)
        return msgspec.json.decode(answer.data, type=_Answer)

    async def ensure(self) -> StreamState:
        """Makes the stream, or brings it to the options. Raises Unavailable, also when the server will not have it."""
        found = await self._ask("INFO", {})
        wanted = self._wanted()
        if found.error is not None and found.error.err_code == _NOT_FOUND:
            placed = {"num_replicas": self.options.replicas, "storage": "file", "retention": "limits"}
            found = await self._ask("CREATE", wanted | placed)
        elif found.error is None and any(found.config.get(key, False) != value for key, value in wanted.items()):
            changed = await self._ask("UPDATE", found.config | wanted)
            if changed.error is None or not found.config.get("subjects"):
                found = changed
        if found.error is not None or found.state is None:
            raise Unavailable(f"the stream {self.options.name}: {found.error and found.error.description}")
        self.atomic = bool(found.config.get("allow_atomic"))
        return self._state_in(found)

    def _wanted(self) -> dict[str, Any]:
        """The configuration as the server spells it. A server too old for atomic batches leaves that field out."""
        return {
            "name": self.options.name,
            "description": self.options.description,
            "subjects": list(self.options.subjects),
            "discard": "old",
            "max_age": self.options.age_seconds_max * _NANOSECONDS,
            "max_bytes": self.options.bytes_max or -1,
            "duplicate_window": self.options.duplicate_seconds * _NANOSECONDS,
            "allow_direct": True,
            "allow_atomic": True,
        }

    def _state_in(self, answer: _Answer) -> StreamState:
        if answer.state is None or answer.created is None:
            raise Unavailable(f"the stream {self.options.name}: {answer.error and answer.error.description}")
        return StreamState(answer.created, answer.state.first_seq, answer.state.last_seq, answer.state.messages)

    async def state(self) -> StreamState:
        """Where the stream is now. Raises Unavailable when it is gone."""
        return self._state_in(await self._ask("INFO", {}))

    async def last(self, subject: str) -> Kept | None:
        """The last message on a subject, which may hold wildcards."""
        return self._kept(await self._ask("MSG.GET", {"last_by_subj": subject}))

    async def next(self, sequence: int, subject: str) -> Kept | None:
        """The first message from `sequence` on that is on this subject."""
        return self._kept(await self._ask("MSG.GET", {"seq": sequence, "next_by_subj": subject}))

    def _kept(self, answer: _Answer) -> Kept | None:
        if answer.error is not None and answer.error.err_code == _NO_MESSAGE:
            return None
        if answer.message is None:
            raise Unavailable(f"the stream {self.options.name}: {answer.error and answer.error.description}")
        found = answer.message
        return Kept(found.seq, found.subject, _headers(b64decode(found.hdrs)), b64decode(found.data))

    async def publish(self, messages: Sequence[Message], after: int) -> int:
        """Adds messages behind sequence `after`, in this order; returns the last one's sequence.

        At most BATCH_MESSAGES_MAX. Where the server can, more than WINDOW_MESSAGES_MAX are added all or none, with one
        sync to disk. Of fewer, the first may be added and the others not.
        Raises Refused when the stream's last sequence is not `after`; Unavailable when the outcome is not known.
        """
        if len(messages) == 1:
            return await self._broker.while_connected(self._publish_one(messages[0], after))
        if self.atomic and len(messages) > WINDOW_MESSAGES_MAX:
            return await self._broker.while_connected(self._publish_atomic(messages, after))
        return await self._broker.while_connected(self._publish_window(messages, after))

    async def _publish_one(self, message: Message, after: int) -> int:
        headers = {"Nats-Msg-Id": message.id, "Nats-Expected-Last-Sequence": str(after), **message.headers}
        return self._acknowledged(await self._broker.request(message, headers), after + 1)

    async def _publish_atomic(self, messages: Sequence[Message], after: int) -> int:
        batch = uuid4().hex
        first = {"Nats-Expected-Last-Sequence": str(after)}
        for number, message in enumerate(messages[:-1], 1):
            headers = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number), "Nats-Msg-Id": message.id}
            await self._broker.send(message, headers | first | dict(message.headers), "")
            first = {}
        number, message = len(messages), messages[-1]
        headers = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number), "Nats-Msg-Id": message.id}
        headers |= {"Nats-Batch-Commit": "1"} | dict(message.headers)
        return self._acknowledged(await self._broker.request(message, headers), after + number)

    async def _publish_window(self, messages: Sequence[Message], after: int) -> int:
        """For a few, and for servers before 2.12: each message expects the one before it, so what follows a refused one
        is refused.

        It expects it by its id too: a stream that somebody else moved on by a few messages would refuse the first of a
        window, and take the one that then has the right number.
        """
        answers: list[Msg] = []
        complete = asyncio.Event()

        def received(answer: Msg) -> None:
            answers.append(answer)
            if len(answers) == len(messages):
                complete.set()

        async with self._broker.answers(received) as inbox:
            for number, message in enumerate(messages):
                expected = {"Nats-Msg-Id": message.id, "Nats-Expected-Last-Sequence": str(after + number)}
                if number:
                    expected["Nats-Expected-Last-Msg-Id"] = messages[number - 1].id
                await self._broker.send(message, expected | dict(message.headers), inbox)
            try:
                await asyncio.wait_for(complete.wait(), 10)
            except TimeoutError as error:
                raise Unavailable(f"{len(answers)} of {len(messages)} messages were acknowledged") from error
        for number, answer in enumerate(answers, 1):
            self._acknowledged(answer, after + number)
        return after + len(messages)

    def _acknowledged(self, answer: Msg, sequence: int) -> int:
        """`sequence` if that is what the server gave the message."""
        told = msgspec.json.decode(answer.data, type=_Answer)
        if told.error is not None:
            if told.error.err_code in _WRONG_SEQUENCE or told.error.err_code == _DUPLICATE_IN_BATCH:
                raise Refused(told.error.description)
            raise Unavailable(f"the stream {self.options.name}: {told.error.description}")
        if told.duplicate and told.seq != sequence:  # as a server with atomic batches says by an error
            raise Refused(f"a duplicate of {told.seq}, which was to become {sequence}")
        if told.duplicate or told.seq != sequence:
            raise Refused(f"stored as {told.seq} before, or by another, instead of {sequence}")
        return sequence


def _headers(raw: bytes) -> Mapping[str, str]:
    lines = raw.decode().split("\r\n")[1:]
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
