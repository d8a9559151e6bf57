"""The projector as a process: killed and replaced; and what it took in, published as ranges that join."""

import asyncio
import signal
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest

from eventstore import envelope
from eventstore.db import Connection, Unavailable
from eventstore.envelope import ViewChange
from eventstore.wire import Broker, Hints, Kept, Stream
from projections.registry import FOLLOWED
from tests.workers.outside import ended, fill, process, relaying, stream_of, until
from tests.workers.test_worker import QUICK
from workers import ranges
from workers.ranges import Progress, next_change

QUICKLY = {name: getattr(QUICK, name) for name in QUICK.__struct_fields__ if name.startswith("projector_")}
MODEL = FOLLOWED[0].name


def reached(owner: psycopg.Connection[Any], tenant: UUID) -> dict[str, int]:
    """How far each live read model has come in a company."""
    rows = owner.execute(
        "select c.model, c.position from cairn.checkpoints c join cairn.builds b using (model, build) "
        "where b.state = 'live' and c.tenant = %s",
        [tenant],
    ).fetchall()
    return dict(rows)


async def changes(stream: Stream, tenant: UUID, model: str) -> list[ViewChange]:
    """Every range of a read model that the stream holds, in its order."""
    found = []
    message: Kept | None = await stream.next(1, envelope.view_subject(tenant, model))
    while message is not None:
        found.append(msgspec.json.decode(message.body, type=ViewChange))
        message = await stream.next(message.sequence + 1, envelope.view_subject(tenant, model))
    return found


def joined(found: list[ViewChange], to: int) -> bool:
    """Whether the ranges lead from 0 to `to` without hole or overlap."""
    ends = [change.to for change in found]
    return [change.after for change in found] == [0, *ends[:-1]] and ends[-1:] == [to]


async def test_a_killed_projector_is_replaced_and_nothing_is_left_out(
    database_url: str, nats_url: str, writer: Connection
) -> None:
    companies = [uuid4() for _ in range(4)]
    heads: dict[UUID, int] = {}
    with (
        process("projector", database_url, nats_url, **QUICKLY) as first,
        process("projector", database_url, nats_url, **QUICKLY) as second,
        psycopg.connect(database_url, autocommit=True) as owner,
    ):

        async def shared() -> bool:
            rows = owner.execute("select count(distinct owner) from cairn.leases where until > now()").fetchone()
            return rows == (2,)

        async def caught_up() -> bool:
            return all(
                reached(owner, company).get(projection.name) == head
                for company, head in heads.items()
                for projection in FOLLOWED
            )

        await until(shared)
        heads |= {company: await fill(writer, company, 200) for company in companies}
        first.kill()
        heads |= {company: await fill(writer, company, 50) for company in companies}
        await until(caught_up)
        await ended(second, signal.SIGTERM)


async def test_what_read_models_take_in_is_published_as_ranges_that_join(
    database_url: str, nats_server: Any, writer: Connection, tenant: UUID
) -> None:
    head = 0
    with process("projector", database_url, nats_server.url, **QUICKLY):
        async with stream_of(nats_server.url, ranges.STREAM) as stream:

            async def told() -> bool:
                try:
                    last = await stream.last(envelope.view_subject(tenant, MODEL))
                except Unavailable:  # no relay has made the stream yet
                    return False
                return last is not None and msgspec.json.decode(last.body, type=ViewChange).to == head

            for _ in range(3):  # relays come and go: each goes on where the stream ends
                async with relaying(database_url, nats_server.url):
                    for _ in range(3):
                        head = await fill(writer, tenant, 20)
                        await until(told)
                head = await fill(writer, tenant, 20)
            async with relaying(database_url, nats_server.url):
                await until(told)
            assert joined(await changes(stream, tenant, MODEL), head)


async def test_a_commit_is_hinted_to_those_who_wait_for_it(
    database_url: str, nats_url: str, writer: Connection, tenant: UUID
) -> None:
    broker = Broker(nats_url, name="test")
    await broker.open()
    assert await broker.wait_connected(10)
    moved: asyncio.Queue[tuple[UUID, str, int]] = asyncio.Queue()
    await Hints(broker).follow_views(lambda *what: moved.put_nowait(what), tenant, MODEL)
    with process("projector", database_url, nats_url, **QUICKLY):
        head = await fill(writer, tenant, 3)
        assert await asyncio.wait_for(moved.get(), 20) == (tenant, MODEL, head)
    await broker.close()


TENANT = uuid4()
EPOCHS = [(100, 0), (200, 50)]


@pytest.mark.parametrize(
    ("last", "version", "position", "expected"),
    [
        (None, 1, 30, ViewChange("m", 1, "100", 0, 30)),
        (ViewChange("m", 1, "100", 0, 30), 1, 30, None),
        (ViewChange("m", 1, "100", 0, 30), 1, 29, None),
        (ViewChange("m", 1, "100", 0, 30), 1, 45, ViewChange("m", 1, "100", 30, 45)),
        (ViewChange("m", 1, "100", 0, 30), 2, 45, ViewChange("m", 2, "100", 0, 45)),
        (ViewChange("m", 1, "100", 0, 30), 1, 60, ViewChange("m", 1, "200", 30, 60)),
        (ViewChange("m", 1, "100", 40, 70), 1, 60, ViewChange("m", 1, "200", 50, 60)),
        (ViewChange("m", 1, "100", 40, 70), 1, 50, None),
    ],
)
def test_the_next_range_begins_where_the_last_is_still_true(
    last: ViewChange | None, version: int, position: int, expected: ViewChange | None
) -> None:
    assert next_change(last, Progress(TENANT, "m", version, position, 200), EPOCHS) == expected
