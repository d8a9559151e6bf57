"""The relay against a real log and a real broker: order, once, and every way of losing one or the other."""

import asyncio
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest

from eventstore import envelope, liveness
from eventstore.db import Connection
from eventstore.wire import Message, Refused
from tests.eventstore import units
from tests.workers.outside import (
    FAST,
    ended,
    fill,
    kept,
    last_position,
    positions,
    process,
    projector_role,
    reaches,
    relay_of,
    relaying,
    stream_of,
    until,
)
from workers import outbound
from workers.settings import WorkerSettings


def counted(to: int, after: int = 0) -> list[int]:
    return list(range(after + 1, to + 1))


async def test_every_company_is_published_in_order_and_once(
    database_url: str, nats_server: Any, writer: Connection
) -> None:
    companies = [uuid4() for _ in range(5)]
    async with relaying(database_url, nats_server.url, relay_batch_events_max=7), stream_of(nats_server.url) as stream:
        heads = {}
        for events in (3, 40, 11):
            for company in companies:
                heads[company] = await fill(writer, company, events)
        for company, head in heads.items():
            await reaches(stream, company, head)
            assert await positions(stream, company) == counted(head)


async def test_what_is_published_is_the_envelope_of_what_is_stored(
    database_url: str, nats_server: Any, writer: Connection, tenant: UUID
) -> None:
    head = await fill(writer, tenant, 1)
    async with relaying(database_url, nats_server.url), stream_of(nats_server.url) as stream:
        await reaches(stream, tenant, head)
        message = await stream.last(envelope.events_of(tenant))
    assert message is not None
    assert message.subject == f"cairn.{tenant}.event.project.renamed"
    body = msgspec.json.decode(message.body)
    assert message.headers["Nats-Msg-Id"] == f"{tenant}.{body['epoch']}.1"
    assert message.body.endswith(b'"data":' + units.PAYLOAD + b"}")


async def test_a_server_without_atomic_batches_gets_one_message_after_the_other(
    database_url: str, nats_server: Any, writer: Connection, tenant: UUID
) -> None:
    head = await fill(writer, tenant, 250)
    relay = relay_of(database_url, nats_server.url)
    ensure = relay.outbound._stream.ensure

    async def as_an_older_server() -> Any:
        state = await ensure()
        relay.outbound._stream.atomic = False
        return state

    relay.outbound._stream.ensure = as_an_older_server  # type: ignore[method-assign]  # no such server is at hand
    await relay.start()
    async with stream_of(nats_server.url) as stream:
        await reaches(stream, tenant, head)
        assert await positions(stream, tenant) == counted(head)
    await relay.stop()


async def test_a_second_relay_stands_by_and_takes_over(
    database_url: str, nats_server: Any, writer: Connection, tenant: UUID
) -> None:
    async with stream_of(nats_server.url) as stream, relaying(database_url, nats_server.url) as first:
        await reaches(stream, tenant, await fill(writer, tenant, 5))
        async with relaying(database_url, nats_server.url) as second:
            assert (first.detail().split()[0], second.detail()) == ("leader", "standby")
            await first.stop()
            head = await fill(writer, tenant, 5)
            await reaches(stream, tenant, head)
            assert second.detail().startswith("leader")
            assert await positions(stream, tenant) == counted(head)


async def test_a_leader_that_lost_its_lease_unawares_is_refused_and_stops(
    database_url: str, nats_server: Any, writer: Connection, tenant: UUID
) -> None:
    async with stream_of(nats_server.url) as stream, relaying(database_url, nats_server.url) as old:
        await reaches(stream, tenant, await fill(writer, tenant, 5))
        # As if it had been paused: its lease is given away, and it goes on with what it knows.
        with psycopg.connect(database_url, autocommit=True) as owner:
            owner.execute("update cairn.relay_lease set owner = %s, until = now() + interval '1 h'", [uuid4()])
        state = await stream.state()
        probe = Message(f"cairn.{uuid4()}.event.project.renamed", "another relay", b"{}")
        assert await stream.publish([probe], state.last) == state.last + 1
        with pytest.raises(Refused):
            await stream.publish([probe._replace(id="a third")], state.last)
        await fill(writer, tenant, 5)

        async def stands_by() -> bool:
            return old.detail() == "standby"

        await until(stands_by)
        assert await last_position(stream, tenant) == 5


async def test_case_17_killed_between_publish_and_checkpoint_and_restarted_after_the_window(
    database_url: str, nats_server: Any, writer: Connection, tenant: UUID
) -> None:
    async with stream_of(nats_server.url) as stream:
        head = await fill(writer, tenant, 300)
        window = {"relay_duplicate_seconds": 1}
        with process("relay", database_url, nats_server.url, relay_batch_events_max=50, **window) as killed:
            await reaches(stream, tenant, head)
            killed.kill()
        with psycopg.connect(database_url, autocommit=True) as owner:  # the checkpoint it had no time to write
            owner.execute("delete from cairn.published")
        await asyncio.sleep(1.2)  # the window is over by the broker's clock, and nobody announces it
        head = await fill(writer, tenant, 30)
        with process("relay", database_url, nats_server.url, **window) as restarted:
            await reaches(stream, tenant, head)
            await ended(restarted, signal.SIGTERM)
        assert await positions(stream, tenant) == counted(head)


def store_of(server: Any) -> Path:
    return Path(server.folder, "nats", "jetstream")


def copy_store(source: Path, target: Path) -> None:
    """As a copy of the files, owners kept."""
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-a", source, target], check=True)


async def test_case_18_a_broker_that_lost_its_last_minute_is_noticed_and_repaired(
    database_url: str, nats_server: Any, writer: Connection, tmp_path: Path
) -> None:
    steady, late = uuid4(), uuid4()
    before = outbound.LOST._value.get()
    async with relaying(database_url, nats_server.url), stream_of(nats_server.url) as stream:
        await reaches(stream, steady, await fill(writer, steady, 40))
        nats_server.stop()
        copy_store(store_of(nats_server), tmp_path / "older")
        nats_server.start()
        heads = {steady: await fill(writer, steady, 60), late: await fill(writer, late, 20)}
        for company, head in heads.items():
            await reaches(stream, company, head)
        nats_server.kill()
        copy_store(tmp_path / "older", store_of(nats_server))
        nats_server.start()
        for company, head in heads.items():
            await reaches(stream, company, head)
            assert await positions(stream, company) == counted(head)
        assert outbound.LOST._value.get() > before


async def test_case_18_also_when_no_relay_ran_meanwhile(
    database_url: str, nats_server: Any, writer: Connection, tmp_path: Path, tenant: UUID
) -> None:
    before = outbound.LOST._value.get()
    async with stream_of(nats_server.url) as stream:
        async with relaying(database_url, nats_server.url):
            await reaches(stream, tenant, await fill(writer, tenant, 10))
        nats_server.stop()
        copy_store(store_of(nats_server), tmp_path / "older")
        nats_server.start()
        async with relaying(database_url, nats_server.url):
            await reaches(stream, tenant, head := await fill(writer, tenant, 25))
        nats_server.kill()
        copy_store(tmp_path / "older", store_of(nats_server))
        nats_server.start()
        async with relaying(database_url, nats_server.url):
            await reaches(stream, tenant, head)
        assert await positions(stream, tenant) == counted(head)
        assert outbound.LOST._value.get() == before + 25


async def test_a_broker_that_lost_everything_gets_everything(
    database_url: str, nats_server: Any, writer: Connection, tenant: UUID
) -> None:
    async with relaying(database_url, nats_server.url), stream_of(nats_server.url) as stream:
        await reaches(stream, tenant, head := await fill(writer, tenant, 30))
        nats_server.kill()
        shutil.rmtree(store_of(nats_server))
        nats_server.start()
        await reaches(stream, tenant, head)
        assert await positions(stream, tenant) == counted(head)


async def test_a_broker_that_is_away_stops_no_command_and_gets_everything_once(
    database_url: str, nats_server: Any, writer: Connection, tenant: UUID
) -> None:
    async with relaying(database_url, nats_server.url) as relay, stream_of(nats_server.url) as stream:
        await reaches(stream, tenant, await fill(writer, tenant, 10))
        nats_server.kill()
        for _ in range(20):
            head = await fill(writer, tenant, 10)

        async def waits() -> bool:
            return relay.waiting()

        await until(waits)
        nats_server.start()
        await reaches(stream, tenant, head)
        assert await positions(stream, tenant) == counted(head)


async def test_messages_dropped_with_age_are_not_published_again(
    database_url: str, nats_server: Any, writer: Connection, tenant: UUID
) -> None:
    other = uuid4()
    async with stream_of(nats_server.url) as stream:
        async with relaying(database_url, nats_server.url):
            await reaches(stream, tenant, await fill(writer, tenant, 20))
        # A purge does what age does: the sequence goes on, the messages are gone.
        answer = await stream._ask("PURGE", {})
        assert answer.error is None
        async with relaying(database_url, nats_server.url):
            await reaches(stream, other, await fill(writer, other, 5))
            head = await fill(writer, tenant, 5)
            await reaches(stream, tenant, head)
        assert await positions(stream, tenant) == counted(head, after=20)


async def test_a_company_purged_from_the_stream_is_published_again_within_the_window(
    database_url: str, nats_server: Any, writer: Connection, tenant: UUID
) -> None:
    other = uuid4()
    async with stream_of(nats_server.url) as stream:
        async with relaying(database_url, nats_server.url):
            await reaches(stream, other, await fill(writer, other, 1))
            await reaches(stream, tenant, await fill(writer, tenant, 20))
            await reaches(stream, other, await fill(writer, other, 1))
        answer = await stream._ask("PURGE", {"filter": envelope.events_of(tenant)})
        assert answer.error is None
        async with relaying(database_url, nats_server.url):
            await reaches(stream, tenant, 20)
        assert await positions(stream, tenant) == counted(20)


async def test_a_range_is_published_again_on_demand(
    database_url: str, nats_server: Any, writer: Connection, tenant: UUID
) -> None:
    database = projector_role(database_url)
    await database.open()
    async with stream_of(nats_server.url) as stream:
        async with relaying(database_url, nats_server.url, relay_batch_events_max=10):
            await reaches(stream, tenant, await fill(writer, tenant, 50))
            await outbound.ask_again(database, tenant, 5, 30)

            async def twice() -> bool:
                return (await stream.state()).messages == 75

            await until(twice)
        async with relaying(database_url, nats_server.url):  # what was last said is an older position: it is not misled
            await fill(writer, tenant, 5)
            await reaches(stream, tenant, 55)
        assert await positions(stream, tenant) == [*counted(50), *counted(30, after=5), *counted(55, after=50)]
    await database.close()


async def test_a_restored_log_is_published_anew_under_its_epoch(
    database_url: str, nats_server: Any, writer: Connection, tenant: UUID
) -> None:
    async with stream_of(nats_server.url) as stream:
        async with relaying(database_url, nats_server.url):
            await reaches(stream, tenant, await fill(writer, tenant, 30))
        go_back(database_url, tenant, 20)
        with psycopg.connect(database_url, autocommit=True) as owner:
            owner.execute("update cairn.incarnation set identity = 'where it came from'")
        async with relaying(database_url, nats_server.url):
            # Not before the relay has opened the log: the new epoch begins where the log stood then.
            head = await fill(writer, tenant, 15)
            await reaches(stream, tenant, head)
        found = await kept(stream, tenant)
        old, new = found[:30], found[30:]
        assert [event.position for event in new] == counted(35, after=20)
        assert {event.epoch for event in old} < {min(event.epoch for event in new), *(e.epoch for e in old)}
        assert int(new[0].epoch) > int(old[0].epoch)


@pytest.mark.parametrize("appended_since", [0, 4, 25])
async def test_a_log_that_was_replaced_without_a_trace_is_found_out(
    database_url: str, nats_server: Any, writer: Connection, tenant: UUID, appended_since: int
) -> None:
    async with stream_of(nats_server.url) as stream:
        async with relaying(database_url, nats_server.url):
            await reaches(stream, tenant, await fill(writer, tenant, 30))
        go_back(database_url, tenant, 20)
        if appended_since:
            await fill(writer, tenant, appended_since)
        async with relaying(database_url, nats_server.url):
            head = await fill(writer, tenant, 15)

            async def published() -> bool:
                return len(await kept(stream, tenant)) >= 30 + head - 20

            await until(published)
        found = await kept(stream, tenant)
        assert [event.position for event in found[30:]] == counted(head, after=20)
        assert len({event.epoch for event in found[30:]}) == 1
        assert int(found[30].epoch) > int(found[29].epoch)
        assert len({event.id for event in found}) == len(found)
    with psycopg.connect(database_url) as owner:
        row = owner.execute("select after_position from cairn.epochs order by epoch desc limit 1").fetchone()
    assert row == (20,)


def go_back(database_url: str, tenant: UUID, position: int) -> None:
    """Makes the log what a copy of its files from an earlier moment would be."""
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("set session_replication_role = replica")  # the triggers that forbid it
        for table in ("events", "published"):
            owner.execute(f"delete from cairn.{table} where tenant = %s and position > %s", [tenant, position])
        owner.execute("update cairn.heads set position = %s where tenant = %s", [position, tenant])


async def test_case_20_a_shutdown_cut_off_in_the_middle_loses_and_repeats_nothing(
    database_url: str, nats_server: Any, writer: Connection, tenant: UUID
) -> None:
    head = await fill(writer, tenant, 2000)
    async with stream_of(nats_server.url) as stream:
        for reached in (100, 600, 1100):
            relay = relay_of(database_url, nats_server.url, relay_batch_events_max=40)
            await relay.start()
            await reaches(stream, tenant, reached)
            await relay.cut_off()
            await relay.stop()
        assert await last_position(stream, tenant) < head
        async with relaying(database_url, nats_server.url):
            await reaches(stream, tenant, head)
        assert await positions(stream, tenant) == counted(head)


async def test_a_killed_leader_is_replaced_within_seconds(
    database_url: str, nats_server: Any, writer: Connection, tenant: UUID
) -> None:
    async with stream_of(nats_server.url) as stream:
        with process("relay", database_url, nats_server.url) as leader:
            await reaches(stream, tenant, await fill(writer, tenant, 5))
            async with relaying(database_url, nats_server.url) as standby:
                assert standby.detail() == "standby"
                leader.kill()
                await reaches(stream, tenant, head := await fill(writer, tenant, 5))
                assert await positions(stream, tenant) == counted(head)


async def test_health_names_a_relay_that_stands_still_while_events_wait(
    database_url: str, nats_server: Any, writer: Connection, tenant: UUID
) -> None:
    database = projector_role(database_url)
    await database.open()
    nats_server.kill()
    await fill(writer, tenant, 3)
    relay = relay_of(database_url, nats_server.url)
    await relay.start()

    async def faults() -> list[str]:
        async with database.connection() as connection:
            return [fault for fault in await liveness.standing_still(connection, 0.5) if "projector" not in fault]

    async def stands_still() -> bool:
        return any("stood still" in fault for fault in await faults())

    async def healthy() -> bool:
        return not await faults()

    await until(stands_still)
    nats_server.start()
    await until(healthy)
    await relay.stop()
    assert await faults() == ["no relay is alive"]
    await database.close()


async def test_an_event_too_large_for_the_broker_is_published_as_a_reference(
    database_url: str, nats_server: Any, writer: Connection, tenant: UUID
) -> None:
    large = units.unit((uuid4(), 0, 1))
    large = msgspec.structs.replace(large, events=[large.events[0]._replace(payload=b'"' + b"x" * 9_000_000 + b'"')])
    await units.appended(writer, tenant, large, units.unit((uuid4(), 0, 1)))
    async with relaying(database_url, nats_server.url), stream_of(nats_server.url) as stream:
        await reaches(stream, tenant, 2)
        message = await stream.next(1, envelope.events_of(tenant))
    assert message is not None
    body = msgspec.json.decode(message.body)
    assert body["dataref"] == "/log?after=0&limit=1"
    assert "data" not in body


def test_fast_settings_are_settings() -> None:
    assert set(FAST) <= set(WorkerSettings.__struct_fields__)
