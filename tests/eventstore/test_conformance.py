"""The field's known ways to lose events, tried against real backends. Each test is named after its case."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from cairn import embedded
from cairn.embedded_programs import installed_programs
from domain.project import CreateProject, RenameProject
from eventstore import log
from eventstore.db import Database, Unavailable
from eventstore.transact import Context, Receipt, Store
from migrations import run as migrations
from tests.eventstore.conftest import context, open_store, send
from tests.eventstore.units import appended, reader, unit, waits_for_lock, writer


@pytest.fixture
async def query(database_url: str) -> AsyncIterator[Database]:
    database = reader(database_url)
    await database.open()
    yield database
    await database.close()


async def positions(query: Database, tenant: UUID, after: int = 0) -> list[int]:
    async with query.bound(tenant) as bound:
        return [stored.position for stored in await log.read_log(bound, after=after)]


async def test_case_01_writer_paused_between_number_and_commit(
    database_url: str, query: Database, tenant: UUID
) -> None:
    async with await writer(database_url) as paused, await writer(database_url) as later:
        async with paused.transaction():
            await appended(paused, tenant, unit((uuid4(), 0, 2)))
            overtaking = asyncio.create_task(appended(later, tenant, unit((uuid4(), 0, 1))))
            await waits_for_lock(database_url, later.info.backend_pid)
            assert await positions(query, tenant) == []
        (outcome,) = await overtaking
        assert outcome.first == 3
        assert await positions(query, tenant) == [1, 2, 3]


async def test_case_01_another_company_is_not_held_up(database_url: str, query: Database, tenant: UUID) -> None:
    async with await writer(database_url) as paused, await writer(database_url) as later, paused.transaction():
        await appended(paused, tenant, unit((uuid4(), 0, 1)))
        other = uuid4()
        await appended(later, other, unit((uuid4(), 0, 1)))
        assert await positions(query, other) == [1]


async def test_case_02_pause_longer_than_every_timeout(database_url: str, query: Database, tenant: UUID) -> None:
    paused = await writer(database_url, idle_in_transaction_session_timeout="200ms")
    async with await writer(database_url) as later:
        await paused.execute(b"begin")
        await appended(paused, tenant, unit((uuid4(), 0, 2)))
        (outcome,) = await appended(later, tenant, unit((uuid4(), 0, 1)))
        assert outcome.first == 1
        with pytest.raises(psycopg.Error, match="idle-in-transaction"):
            await paused.execute(b"commit")
        assert await positions(query, tenant) == [1]
    await paused.close()


async def test_case_04_start_from_the_end_while_an_older_transaction_is_open(
    database_url: str, query: Database, tenant: UUID
) -> None:
    async with await writer(database_url) as older, await writer(database_url) as later:
        await appended(later, tenant, unit((uuid4(), 0, 1)))
        async with older.transaction():
            await appended(older, tenant, unit((uuid4(), 0, 1)))
            async with query.bound(tenant) as bound:
                end = await log.head(bound)
            overtaking = asyncio.create_task(appended(later, tenant, unit((uuid4(), 0, 1))))
            await waits_for_lock(database_url, later.info.backend_pid)
        await overtaking
        assert end is not None
        assert await positions(query, tenant, after=end.position) == [2, 3]


async def test_case_05_rolled_back_append_at_the_head(database_url: str, query: Database, tenant: UUID) -> None:
    async with await writer(database_url) as connection:
        await appended(connection, tenant, unit((uuid4(), 0, 1)))
        async with connection.transaction(force_rollback=True):
            await appended(connection, tenant, unit((uuid4(), 0, 5)))
        async with query.bound(tenant) as bound:
            assert (await log.head(bound) or log.Head(tenant, 0, 0)).position == 1
        (outcome,) = await appended(connection, tenant, unit((uuid4(), 0, 1)))
        assert outcome.first == 2
        assert await positions(query, tenant) == [1, 2]


async def test_case_06_a_session_idle_in_its_transaction(database_url: str, query: Database, tenant: UUID) -> None:
    async with await psycopg.AsyncConnection.connect(database_url) as idle:
        await idle.execute(b"select pg_current_xact_id(), count(*) from cairn.events")
        async with await writer(database_url) as connection:
            for version in range(3):
                await appended(connection, tenant, unit((tenant, version, 1)))
                assert await positions(query, tenant, after=version) == [version + 1]


async def test_case_08_twenty_parallel_appends(database_url: str, query: Database, tenant: UUID) -> None:
    async with open_store(database_url) as one, open_store(database_url) as other:
        project_id = uuid4()
        await send(one, tenant, "project", project_id, CreateProject(name="Road"))
        receipts = await asyncio.gather(
            *(
                send(store, tenant, "project", project_id, RenameProject(name=f"Road {number}{side}"))
                for number in range(10)
                for side, store in (("a", one), ("b", other))
            )
        )
    assert sorted(receipt.position for receipt in receipts) == list(range(2, 22))
    assert await positions(query, tenant) == list(range(1, 22))


async def test_case_09_two_appends_in_one_transaction(database_url: str, query: Database, tenant: UUID) -> None:
    one, other = uuid4(), uuid4()
    async with await writer(database_url) as connection, await writer(database_url) as between:
        async with connection.transaction():
            await appended(connection, tenant, unit((one, 0, 1)))
            extending = asyncio.create_task(appended(between, tenant, unit((other, 0, 1))))
            await waits_for_lock(database_url, between.info.backend_pid)
            await appended(connection, tenant, unit((one, 1, 1)))
        await extending
    async with query.bound(tenant) as bound:
        seen = [(each.decoded().stream_id, each.decoded().stream_version) for each in await log.read_log(bound)]
    assert seen == [(one, 1), (one, 2), (other, 1)]


async def test_case_10_database_killed_and_restarted(tmp_path: Path, tenant: UUID) -> None:
    """Nothing acknowledged is lost and nothing is applied twice, whatever a command met."""
    folder, project_id = tmp_path / "data", uuid4()
    with embedded.start(folder, nats=False) as first:
        url = first.servers.database_url
        migrations.upgrade(url)
        async with open_store(url, settings={"append_wait_seconds_max": 2}) as store:
            await send(store, tenant, "project", project_id, CreateProject(name="Road"))
            assert first.postgres_pid is not None
            os.kill(first.postgres_pid, signal.SIGKILL)
            acknowledged, doubtful = await renamed_until_unavailable(store, tenant, project_id)
            with embedded.start(folder, nats=False) as second:
                receipt = await until_available(store, tenant, project_id, doubtful, f"Road {acknowledged + 1}")
                query = reader(second.servers.database_url)
                await query.open()
                assert await positions(query, tenant) == list(range(1, receipt.position + 1))
                await query.close()
    assert receipt.position == acknowledged + 2


async def renamed_until_unavailable(store: Store, tenant: UUID, project_id: UUID) -> tuple[int, Context]:
    """Renames until the database is gone: how many were acknowledged, and the command of which we do not know."""
    async with asyncio.timeout(30):
        acknowledged = 0
        while True:
            about = context(tenant)
            try:
                name = RenameProject(name=f"Road {acknowledged + 1}")
                await send(store, tenant, "project", project_id, name, about=about)
            except Unavailable:
                return acknowledged, about
            acknowledged += 1


async def until_available(store: Store, tenant: UUID, project_id: UUID, about: Context, name: str) -> Receipt:
    """What a client does: the same command again until it is answered."""
    async with asyncio.timeout(30):
        while True:
            with suppress(Unavailable):
                return await send(store, tenant, "project", project_id, RenameProject(name=name), about=about)


async def test_case_11_dump_and_restore_into_a_new_cluster(tmp_path: Path, tenant: UUID) -> None:
    project_id = uuid4()
    dump = tmp_path / "dump.sql"
    programs = installed_programs().postgres
    with embedded.start(tmp_path / "old", nats=False) as old:
        migrations.upgrade(old.servers.database_url)
        async with open_store(old.servers.database_url) as store:
            before = await send(store, tenant, "project", project_id, CreateProject(name="Road"))
        run = await asyncio.create_subprocess_exec(
            programs / "pg_dump", "--file", dump, "--dbname", old.servers.database_url
        )
        assert await run.wait() == 0
    with embedded.start(tmp_path / "new", nats=False) as new:
        migrations.create_roles(new.servers.database_url)
        run = await asyncio.create_subprocess_exec(
            programs / "psql",
            "--quiet",
            "--set",
            "ON_ERROR_STOP=1",
            "--output",
            os.devnull,
            "--file",
            dump,
            "--dbname",
            new.servers.database_url,
        )
        assert await run.wait() == 0
        async with open_store(new.servers.database_url) as store:
            after = await send(store, tenant, "project", project_id, RenameProject(name="Bridge"))
        query = reader(new.servers.database_url)
        await query.open()
        assert await positions(query, tenant) == [1, 2]
        async with query.bound(tenant) as bound:
            assert await log.epochs(bound) == [(before.epoch, 0), (after.epoch, 1)]
        await query.close()
    assert after.epoch > before.epoch
    assert (after.position, after.stream_version) == (2, 2)


async def test_case_19_page_boundary_inside_one_transaction(database_url: str, query: Database, tenant: UUID) -> None:
    async with await writer(database_url) as connection:
        await appended(connection, tenant, unit((uuid4(), 0, 50)))
    seen: list[int] = []
    while True:
        async with query.bound(tenant) as bound:
            page = await log.read_log(bound, after=seen[-1] if seen else 0, limit=7)
        if not page:
            break
        seen += [stored.position for stored in page]
    assert seen == list(range(1, 51))


ARCHIVING = {"archive_mode": "on", "archive_command": "mkdir -p archive && cp %p archive/%f"}
RECOVERING = {
    "restore_command": "cp archive/%f %p",
    "recovery_target_name": "here",
    "recovery_target_action": "promote",
}


async def until_recovered(database_url: str) -> None:
    """What a supervisor does: opens the store again until the database has recovered."""
    async with asyncio.timeout(30):
        while True:
            with suppress(Unavailable):
                async with open_store(database_url):
                    return


def copied(*paths: Path) -> None:
    """Copies a stopped server's files as they are, owner and all."""
    subprocess.run(["cp", "-a", *paths], check=True)


async def test_case_12_recovery_to_an_earlier_moment(tmp_path: Path, tenant: UUID) -> None:
    """A recovered log is a fork: it goes on under a new epoch, and what was after the moment is not its own."""
    live, recovered = tmp_path / "live", tmp_path / "recovered"
    stream = uuid4()
    with embedded.start(live, nats=False, postgres_settings=ARCHIVING) as running:
        migrations.upgrade(running.servers.database_url)
        async with await writer(running.servers.database_url) as connection:
            await appended(connection, tenant, unit((stream, 0, 2)))
    copied(live, recovered)
    with embedded.start(live, nats=False, postgres_settings=ARCHIVING) as running:
        url = running.servers.database_url
        async with open_store(url), await writer(url) as connection:
            (third,) = await appended(connection, tenant, unit((stream, 2, 1)))
            with psycopg.connect(url, autocommit=True) as admin:
                admin.execute("select pg_create_restore_point('here')")
            await appended(connection, tenant, unit((stream, 3, 2)))
            with psycopg.connect(url, autocommit=True) as admin:
                admin.execute("select pg_switch_wal()")
    copied(live / "postgres" / "archive", recovered / "postgres")
    copied(recovered / "postgres" / "PG_VERSION", recovered / "postgres" / "recovery.signal")
    with embedded.start(recovered, nats=False, postgres_settings=RECOVERING) as running:
        url = running.servers.database_url
        await until_recovered(url)
        async with open_store(url), await writer(url) as connection:
            (fourth,) = await appended(connection, tenant, unit((stream, 3, 1)))
        query = reader(url)
        await query.open()
        assert await positions(query, tenant) == [1, 2, 3, 4]
        async with query.bound(tenant) as bound:
            assert await log.epochs(bound) == [(third.epoch, 0), (fourth.epoch, 3)]
        await query.close()
    assert (fourth.first, fourth.epoch > third.epoch) == (4, True)
