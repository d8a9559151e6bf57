"""What holds for every worker: it starts, gets ready, stops, stops again; signals, exit codes, a lost database."""

import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import psycopg
import pytest

from eventstore import liveness
from eventstore.db import Database, Unsafe, role_url
from eventstore.settings import KeySettings, SettingsError, StoreSettings
from eventstore.wire import Broker
from projections.settings import EngineSettings
from tests.keys import KEK
from tests.workers.outside import FAST, ROOT, ended, process, projector_role, until
from workers import __main__ as command
from workers.projector import Projector
from workers.relay import Relay
from workers.settings import WorkerSettings
from workers.worker import Worker

QUICK = EngineSettings(projector_heartbeat_seconds=0.1, projector_poll_seconds=0.05, projector_lease_seconds=0.5)


def relay(database: Database, broker: Broker) -> Worker:
    return Relay(database, broker, WorkerSettings(**FAST))


def projector(database: Database, broker: Broker) -> Worker:
    return Projector(database, broker, QUICK, WorkerSettings(**FAST))


Make = Callable[[Database, Broker], Worker]
every_worker = pytest.mark.parametrize("make", [relay, projector])
every_name = pytest.mark.parametrize("name", command.NAMES)


def wide(database_url: str, role: str = "cairn_projector") -> Database:
    return Database(
        role_url(database_url, role, None), name="test", connections_max=QUICK.projector_connections_max + 1
    )


@every_worker
async def test_it_starts_is_ready_and_stops_twice(make: Make, database_url: str, nats_url: str) -> None:
    worker = make(wide(database_url), Broker(nats_url, name="test"))
    await worker.start()
    await worker.start()
    await worker.wait_ready()
    await worker.stop()
    await worker.stop()
    await worker.ended()


@every_worker
async def test_stopping_what_never_started_is_harmless(make: Make, database_url: str, nats_url: str) -> None:
    worker = make(wide(database_url), Broker(nats_url, name="test"))
    await worker.stop()
    await worker.stop()


@every_worker
async def test_it_says_that_it_lives_and_leaves_no_trace(make: Make, database_url: str, nats_url: str) -> None:
    looking = projector_role(database_url)
    await looking.open()
    worker = make(wide(database_url), Broker(nats_url, name="test"))

    async def alive() -> list[liveness.Liveness]:
        async with looking.connection() as connection:
            return [found for found in await liveness.workers(connection) if found.id == worker.id]

    async def beats() -> bool:
        return bool(await alive())

    await worker.start()
    await worker.wait_ready()
    await until(beats)
    assert (await alive())[0].kind == worker.kind
    await worker.stop()
    assert await alive() == []
    await looking.close()


@every_worker
async def test_it_goes_on_after_the_database_threw_it_out(make: Make, database_url: str, nats_url: str) -> None:
    worker = make(wide(database_url), Broker(nats_url, name="test"))
    await worker.start()
    await worker.wait_ready()
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and usename = 'cairn_projector'"
        )

        async def back() -> bool:
            row = owner.execute(
                "select count(*) from cairn.workers where beat_at > now() - interval '0.3 s'"
            ).fetchone()
            return row == (1,)

        beaten = owner.execute("select max(beat_at) from cairn.workers").fetchone()
        assert beaten is not None

        async def beats_again() -> bool:
            row = owner.execute("select max(beat_at) > %s from cairn.workers", beaten).fetchone()
            return row == (True,) and await back()

        await until(beats_again)
    await worker.stop()


@every_worker
async def test_it_refuses_a_role_that_could_bypass_row_level_security(
    make: Make, database_url: str, nats_url: str
) -> None:
    worker = make(wide(database_url, "postgres"), Broker(nats_url, name="test"))
    await worker.start()
    with pytest.raises(Unsafe):
        await worker.wait_ready()
    await worker.stop()


@every_name
@pytest.mark.parametrize("missing", ["database_url", "nats_url"])
def test_it_says_which_setting_is_missing(name: str, missing: str) -> None:
    whole = StoreSettings(database_url="postgresql://nowhere", nats_url="nats://nowhere")
    part = msgspec.structs.replace(whole, **{missing: None})
    with pytest.raises(SettingsError, match=missing.upper()):
        command.build(name, part, QUICK, WorkerSettings(), KeySettings(kek=KEK))


@every_name
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_process_in_order(
    name: str, number: signal.Signals, database_url: str, nats_url: str
) -> None:
    with (
        process(name, database_url, nats_url) as started,
        psycopg.connect(database_url, autocommit=True) as owner,
    ):

        async def beats() -> bool:
            return owner.execute("select count(*) from cairn.workers").fetchone() == (1,)

        await until(beats)
        assert "worker_stopped" in await ended(started, number)
        assert owner.execute("select count(*) from cairn.workers").fetchone() == (0,)


@pytest.mark.parametrize(
    ("arguments", "variables", "code", "words"),
    [
        (["relay"], {"CAIRN_RELAY_POL_SECONDS": "1"}, command.EXIT_SETTINGS, "did you mean CAIRN_RELAY_POLL_SECONDS"),
        (["relay"], {"CAIRN_RELAY_POLL_SECONDS": "-1"}, command.EXIT_SETTINGS, "CAIRN_RELAY_POLL_SECONDS"),
        (["relay"], {"CAIRN_API_PORT": "1"}, command.EXIT_SETTINGS, "CAIRN_DATABASE_URL is not set"),
        (["juggler"], {}, command.EXIT_USAGE, "usage"),
    ],
)
def test_the_command_line_says_what_is_wrong(
    arguments: list[str], variables: dict[str, str], code: int, words: str
) -> None:
    done: Any = subprocess.run(
        [sys.executable, "-m", "workers", *arguments],
        cwd=ROOT,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert words in done.stderr
