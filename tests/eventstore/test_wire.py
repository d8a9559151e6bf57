"""What leaves over NATS: envelopes, schemas, hints, and streams written in one order."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import jsonschema
import msgspec
import pytest

from domain.registry import EVENTS
from eventstore import envelope, log
from eventstore.asyncapi import asyncapi
from eventstore.db import Unavailable
from eventstore.wire import (
    BATCH_MESSAGES_MAX,
    WINDOW_MESSAGES_MAX,
    Broker,
    Hints,
    Message,
    Refused,
    Stream,
    StreamOptions,
)
from tests.eventstore import units

EPOCHS = [(100, 0), (200, 7), (300, 7), (400, 20)]
EXTENSION_NAMES_MAX = 20


async def stored(database_url: str, tenant: UUID) -> log.Stored:
    """A real event of a real log."""
    writer = await units.writer(database_url)
    await units.appended(writer, tenant, units.unit((uuid4(), 0, 1)))
    await writer.close()
    database = units.reader(database_url)
    await database.open()
    async with database.bound(tenant) as reader:
        found = await log.read_log(reader)
    await database.close()
    return found[0]


async def test_an_envelope_is_a_cloud_event_and_fits_its_schema(database_url: str) -> None:
    tenant = uuid4()
    event = await stored(database_url, tenant)
    body = msgspec.json.decode(envelope.envelope_of(event, 1_763_000_000_000_000))
    jsonschema.Draft202012Validator(envelope.envelope_schema()).validate(body)
    assert body["specversion"] == "1.0"
    assert body["source"] == f"/companies/{tenant}/project/{body['subject']}"
    assert (body["position"], body["epoch"]) == (1, "1763000000000000")
    assert body["correlationid"] == body["commandid"]
    assert body["data"] == msgspec.json.decode(units.PAYLOAD)
    assert datetime.fromisoformat(body["time"]).astimezone(UTC) == event.row[1]
    assert all(name.isalnum() and name.islower() and len(name) <= EXTENSION_NAMES_MAX for name in body)
    assert all(isinstance(value, str | int) for name, value in body.items() if name != "data")


async def test_the_payload_goes_out_byte_for_byte_even_if_nobody_can_decode_it(database_url: str) -> None:
    event = await stored(database_url, uuid4())
    odd = b'{ "type" : "from.another-release","amount":1.10,  "nested":[1, 2,\t3] }'
    strange = log.Stored(event.tenant, (*event.row[:8], 'from."another"-release', *event.row[9:11], odd))
    body = envelope.envelope_of(strange, 5)
    assert body.endswith(b'"data":' + odd + b"}")
    assert msgspec.json.decode(body)["type"] == 'from."another"-release'


async def test_an_envelope_is_the_same_from_the_row_and_from_the_decoded_event(database_url: str) -> None:
    event = await stored(database_url, uuid4())
    assert envelope.envelope(event.decoded(), 5) == envelope.envelope_of(event, 5)


async def test_a_conversation_and_its_cause_are_attributes(database_url: str) -> None:
    event = await stored(database_url, uuid4())
    metadata = log.Metadata(correlation_id=UUID(int=1), causation_id=UUID(int=2), ip="10.0.0.1")
    row = (*event.row[:10], msgspec.json.encode(metadata), event.row[11])
    body = msgspec.json.decode(envelope.envelope_of(log.Stored(event.tenant, row), 5))
    assert (body["correlationid"], body["causationid"]) == (str(UUID(int=1)), str(UUID(int=2)))
    assert "10.0.0.1" not in str(body)


async def test_an_envelope_without_data_names_where_it_is(database_url: str) -> None:
    event = await stored(database_url, uuid4())
    body = msgspec.json.decode(envelope.without_data(event, 5))
    jsonschema.Draft202012Validator(envelope.envelope_schema()).validate(body)
    assert body["dataref"] == "/log?after=0&limit=1"


@pytest.mark.parametrize(("position", "epoch"), [(1, 100), (7, 100), (8, 300), (20, 300), (21, 400), (99, 400)])
def test_an_event_belongs_to_the_latest_epoch_begun_before_it(position: int, epoch: int) -> None:
    assert envelope.epoch_of(EPOCHS, position) == epoch


@pytest.mark.parametrize(
    ("epoch", "position", "shared"),
    [(100, 5, 5), (100, 9, 7), (200, 9, 7), (250, 9, 7), (300, 25, 20), (400, 30, 30), (350, 19, 19), (999, 50, 50)],
)
def test_what_was_seen_of_an_older_epoch_holds_until_the_next_began(epoch: int, position: int, shared: int) -> None:
    assert envelope.shared_until(EPOCHS, epoch, position) == shared


def test_the_schema_of_view_changes_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(envelope.view_change_schema())


def _references(node: Any) -> list[str]:
    match node:
        case dict():
            here = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return here + [found for value in node.values() for found in _references(value)]
        case list():
            return [found for value in node for found in _references(value)]
    return []


def test_the_asyncapi_document_names_every_event_and_every_reference_resolves() -> None:
    document = asyncapi(version="1.2.3", server="nats.example:4222")
    assert {f"cairn.{{tenant}}.event.{tag}" for tag in EVENTS} < {
        channel["address"] for channel in document["channels"].values()
    }
    references = _references(document)
    assert references
    for reference in references:
        node: Any = document
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]


@pytest.fixture
async def broker(nats_url: str) -> AsyncIterator[Broker]:
    """A connection to the broker the tests share."""
    opened = Broker(nats_url, name="test")
    await opened.open()
    assert await opened.wait_connected(10)
    yield opened
    await opened.close()


async def test_hints_reach_whoever_follows_and_several_become_the_greatest(broker: Broker) -> None:
    hints, tenant = Hints(broker), uuid4()
    moved: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
    following = await hints.follow_log(lambda *what: moved.put_nowait(what), tenant)
    views = await hints.follow_views(lambda *what: moved.put_nowait(what), tenant)
    for position in (1, 3, 2):
        hints.log_moved(tenant, position)
    assert await asyncio.wait_for(moved.get(), 5) == (tenant, 3)
    hints.view_moved(tenant, "project_list", 4)
    assert await asyncio.wait_for(moved.get(), 5) == (tenant, "project_list", 4)
    await following.stop()
    await views.stop()
    hints.log_moved(tenant, 9)
    await hints.sent()
    assert moved.empty()


async def test_hints_do_not_come_back_to_who_wants_no_echo(broker: Broker, nats_url: str) -> None:
    deaf = Broker(nats_url, name="deaf", echo=False)
    await deaf.open()
    assert await deaf.wait_connected(10)
    tenant = uuid4()
    own: asyncio.Queue[int] = asyncio.Queue()
    others: asyncio.Queue[int] = asyncio.Queue()
    await Hints(deaf).follow_log(lambda _, position: own.put_nowait(position), tenant)
    following = await Hints(broker).follow_log(lambda _, position: others.put_nowait(position), tenant)
    await deaf.publish([(envelope.log_hint(tenant), b"1")])
    assert await asyncio.wait_for(others.get(), 5) == 1
    await broker.publish([(envelope.log_hint(tenant), b"2")])
    assert await asyncio.wait_for(own.get(), 5) == 2
    await following.stop()
    await deaf.close()


async def test_a_hint_that_is_not_one_is_ignored(broker: Broker) -> None:
    moved: asyncio.Queue[int] = asyncio.Queue()
    tenant = uuid4()
    following = await Hints(broker).follow_log(lambda _, position: moved.put_nowait(position), tenant)
    await broker.publish([(envelope.log_hint(tenant), b"soon"), (envelope.log_hint(tenant), b"8")])
    assert await asyncio.wait_for(moved.get(), 5) == 8
    await following.stop()


async def test_nobody_waits_for_a_broker_that_is_not_there_and_it_is_found_when_it_comes(nats_server: Any) -> None:
    url = nats_server.url
    nats_server.kill()
    broker = Broker(url, name="early", reconnect_seconds=0.05)
    async with asyncio.timeout(1):
        await broker.open()
        hints, tenant = Hints(broker), uuid4()
        hints.log_moved(tenant, 1)
        moved = asyncio.Event()
        await hints.follow_log(lambda *_: moved.set())
        assert not await broker.wait_connected(0.05)
        with pytest.raises(Unavailable):
            await broker.ask("$JS.API.INFO", {})
    for _ in range(2):
        nats_server.start()
        assert await broker.wait_connected(10)
        moved.clear()
        while not moved.is_set():
            hints.log_moved(tenant, 2)
            await hints.sent()
        nats_server.kill()
        async with asyncio.timeout(5):
            while broker.connected:
                hints.log_moved(tenant, 3)
                await hints.sent()
                await asyncio.sleep(0)
    await broker.close()
    await broker.close()


def _stream(broker: Broker, **options: Any) -> Stream:
    name = f"T_{uuid4().hex}"
    return Stream(broker, StreamOptions(name=name, subjects=(f"{name}.>",), **options))


def _messages(stream: Stream, *names: str) -> list[Message]:
    return [Message(f"{stream.options.name}.{name}", name, name.encode()) for name in names]


def _version(broker: Broker) -> tuple[int, int]:
    """The server's: batches are atomic from 2.12 on."""
    found = broker._client.connected_server_version
    return found.major, found.minor


@pytest.mark.parametrize("atomic", [True, False])
async def test_a_stream_takes_messages_in_order_behind_the_one_that_was_last(broker: Broker, atomic: bool) -> None:
    stream = _stream(broker)
    assert (await stream.ensure()).last == 0
    assert stream.atomic == (_version(broker) >= (2, 12))
    stream.atomic = stream.atomic and atomic
    assert await stream.publish(_messages(stream, "a"), 0) == 1
    assert await stream.publish(_messages(stream, "b", "c", "d"), 1) == 4
    for stale in (["x"], ["x", "y"], ["x", "y", "z", "w"]):  # z would have the right number
        with pytest.raises(Refused):
            await stream.publish(_messages(stream, *stale), 2)
    assert (await stream.state()).last == 4
    many = "efghijk"
    assert len(many) > WINDOW_MESSAGES_MAX
    with pytest.raises(Refused, match="duplicate"):
        await stream.publish(_messages(stream, *many, "b"), 4)  # b was there before
    state = await stream.state()
    assert state.last == (4 if stream.atomic else 4 + len(many))
    with pytest.raises(Refused, match="duplicate"):
        await stream.publish(_messages(stream, "l", "c"), state.last)  # so few are added one by one
    assert (await stream.state()).last == state.last + 1
    found = await stream.next(2, f"{stream.options.name}.*")
    assert found is not None
    assert (found.sequence, found.body, found.headers["Nats-Msg-Id"]) == (2, b"b", "b")
    assert await stream.last(f"{stream.options.name}.z") is None
    assert await stream.next(99, f"{stream.options.name}.*") is None


async def test_a_full_batch_is_one_publication(broker: Broker) -> None:
    stream = _stream(broker)
    await stream.ensure()
    names = [str(number) for number in range(BATCH_MESSAGES_MAX)]
    assert await stream.publish(_messages(stream, *names), 0) == BATCH_MESSAGES_MAX


async def test_a_stream_is_brought_to_its_options_and_keeps_what_it_holds(broker: Broker) -> None:
    stream = _stream(broker)
    made = await stream.ensure()
    await stream.publish(_messages(stream, "a"), 0)
    changed = Stream(broker, msgspec.structs.replace(stream.options, age_seconds_max=3600, duplicate_seconds=60))
    state = await changed.ensure()
    assert (state.created, state.last) == (made.created, 1)
    found = await changed._ask("INFO", {})
    assert found.config["max_age"] == 3600 * 10**9
    assert found.config["storage"] == "file"


async def test_a_stream_that_is_gone_is_unavailable(broker: Broker) -> None:
    stream = _stream(broker)
    with pytest.raises(Unavailable):
        await stream.state()
    with pytest.raises(Unavailable):
        await stream.publish(_messages(stream, "a"), 0)
