"""The servers Cairn brings along: nobody signs in by trust, nothing is lost by a kill, no process stays behind."""

import fcntl
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import nats
import psycopg
import pytest

from cairn import embedded
from cairn.embedded import EmbeddedError, Running

CHECKOUT = Path(embedded.__file__).parent.parent
SMALL = {"shared_buffers": "16MB", "max_wal_size": "64MB"}
OWNER = """
import json, resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from cairn import embedded
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell runs in the background
if sys.argv[4]:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), int(sys.argv[4])))
try:
    running = embedded.start(Path(sys.argv[2]), postgres_settings=json.loads(sys.argv[3]), say=lambda text: None)
except embedded.EmbeddedError as error:
    sys.exit(str(error))
pids = [running.postgres_pid, running.nats_pid]
print(json.dumps({"pids": pids, "database_url": running.servers.database_url}), flush=True)
try:
    sys.stdin.readline()
except KeyboardInterrupt:
    running.stop()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder that does not exist yet; pytest keeps its parent closed to all other users."""
    return tmp_path / "cairn"


def start(folder: Path, **choices: Any) -> Running:
    return embedded.start(folder, postgres_settings=SMALL, **choices)


def owner(folder: Path, file_bytes_max: int | None = None) -> subprocess.Popen[str]:
    """Another process that starts the servers, prints what it got, and ends with the next line it reads."""
    limit = "" if file_bytes_max is None else str(file_bytes_max)
    return subprocess.Popen(
        [sys.executable, "-c", OWNER, str(CHECKOUT), str(folder), json.dumps(SMALL), limit],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@contextmanager
def owned(folder: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """An owner whose servers answer; it is killed at the end."""
    with owner(folder) as process:
        assert process.stdout is not None
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def await_gone(*pids: int | None) -> None:
    """Return when the processes have ended; nobody announces the end of a process that is not one's child."""
    deadline = time.monotonic() + 60
    for pid in pids:
        assert pid is not None
        with suppress(ProcessLookupError):
            while time.monotonic() < deadline:
                os.kill(pid, 0)
                time.sleep(0.01)
            pytest.fail(f"process {pid} still runs")


def await_unlocked(folder: Path) -> None:
    """Return when no process of either server holds its lock any more."""
    for path in folder.glob("*.lock"):
        with path.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)


def query(url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement.encode()).fetchall()


def keep_a_row(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("create table kept (fact text)")
        connection.execute("insert into kept values ('committed')")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- what runs ---


def test_postgres_is_durable_and_trusts_nobody(folder: Path) -> None:
    with start(folder, nats=False) as running:
        url = running.servers.database_url
        settings = dict(query(url, "select name, setting from pg_settings"))
        rules = query(url, "select type, auth_method from pg_hba_file_rules where error is null")
        broken = query(url, "select count(*) from pg_hba_file_rules where error is not null")
        encoding = query(
            url, "select pg_encoding_to_char(encoding), datlocale from pg_database where datname = 'cairn'"
        )
        sockets = Path(parse_qs(urlsplit(url).query)["host"][0])
        assert mode(sockets) == 0o700
    expected = {"fsync": "on", "full_page_writes": "on", "data_checksums": "on", "listen_addresses": "", "jit": "off"}
    assert {name: settings[name] for name in expected} == expected
    assert settings["server_version"].startswith(embedded.POSTGRES_MAJOR)
    assert set(rules) == {("local", "peer")}
    assert broken == [(0,)]
    assert encoding == [("UTF8", "C.UTF-8")]
    assert mode(folder / "postgres") == 0o700


def test_the_user_of_the_socket_may_take_any_role(folder: Path) -> None:
    with start(folder, nats=False) as running:
        url = running.servers.database_url
        with psycopg.connect(url) as connection:
            connection.execute("create role some_writer login")
        assert query(url.replace("postgres@", "some_writer@"), "select current_user") == [("some_writer",)]
        assert query(url, "select current_user") == [("postgres",)]


def greeted_without_password(url: str) -> bytes:
    """All that a broker says to a client that names nobody, until it hangs up."""
    address = urlsplit(url)
    with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=10) as connection:
        connection.sendall(b"CONNECT {}\r\nPING\r\n")
        return b"".join(iter(lambda: connection.recv(4096), b""))


async def test_nats_wants_its_password_and_keeps_messages(folder: Path) -> None:
    with start(folder, postgres=False, sync_interval="always") as running:
        url = running.servers.nats_url
        assert b"Authorization Violation" in greeted_without_password(url)
        client = await nats.connect(url)
        assert client.max_payload == 8 * 1024 * 1024
        await client.jetstream().add_stream(name="kept", subjects=["kept"])
        assert (await client.jetstream().publish("kept", b"fact")).seq == 1
        await client.close()
    assert urlsplit(url).hostname == "127.0.0.1"
    assert mode(folder / "nats" / "nats.conf") == 0o600
    assert mode(folder / "nats" / "credentials.json") == 0o600


def test_stopping_twice_is_harmless_and_leaves_no_process(folder: Path) -> None:
    with start(folder) as running:
        pids = running.postgres_pid, running.nats_pid
        running.stop()
        await_gone(*pids)
    running.stop()
    assert "database system is shut down" in (folder / "postgres.log").read_text()


# --- finding each other ---


def test_a_second_start_uses_the_running_servers_and_leaves_them_alone(folder: Path) -> None:
    with owned(folder) as (_, first):
        with start(folder) as second:
            assert [second.postgres_pid, second.nats_pid] == first["pids"]
            assert second.servers.database_url == first["database_url"]
        assert query(first["database_url"], "select 1") == [(1,)]


def test_starts_at_the_same_time_agree_on_one_server(folder: Path) -> None:
    with ExitStack() as every:
        processes = [every.enter_context(owner(folder)) for _ in range(3)]
        answers = [json.loads(process.stdout.readline()) for process in processes if process.stdout]
        for process in processes:
            process.kill()
    assert len(answers) == 3
    assert answers[0] == answers[1] == answers[2]
    await_gone(*answers[0]["pids"])


def test_two_folders_do_not_meet(tmp_path: Path) -> None:
    with start(tmp_path / "one") as one, start(tmp_path / "two") as two:
        keep_a_row(one.servers.database_url)
        assert one.servers.nats_url != two.servers.nats_url
        assert query(two.servers.database_url, "select to_regclass('kept')") == [(None,)]


def test_a_folder_too_long_for_a_socket_still_works(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30) / "cairn"
    with start(folder, nats=False) as running:
        sockets = Path(parse_qs(urlsplit(running.servers.database_url).query)["host"][0])
        assert query(running.servers.database_url, "select 1") == [(1,)]
        assert folder not in sockets.parents
        assert mode(sockets) == 0o700
    assert not sockets.exists()


# --- whatever is killed ---


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, None], ids=str)
def test_no_server_outlives_its_owner(folder: Path, ending: signal.Signals | None) -> None:
    with owned(folder) as (process, found):
        keep_a_row(found["database_url"])
        if ending is None:
            process.communicate("go\n")
        elif ending == signal.SIGINT:  # as a terminal does: to the whole group
            os.killpg(process.pid, ending)
        else:
            process.send_signal(ending)
        await_gone(*found["pids"])
    await_unlocked(folder)
    assert "database system is shut down" in (folder / "postgres.log").read_text()
    with start(folder, nats=False) as running:
        assert query(running.servers.database_url, "select fact from kept") == [("committed",)]


async def test_killed_servers_start_again_with_all_they_confirmed(folder: Path) -> None:
    with start(folder, sync_interval="always") as first:
        keep_a_row(first.servers.database_url)
        client = await nats.connect(first.servers.nats_url)
        await client.jetstream().add_stream(name="kept", subjects=["kept"])
        await client.jetstream().publish("kept", b"committed")
        await client.close()
        assert first.postgres_pid is not None
        assert first.nats_pid is not None
        with psycopg.connect(first.servers.database_url, autocommit=True) as busy:
            os.kill(first.postgres_pid, signal.SIGKILL)
            os.kill(first.nats_pid, signal.SIGKILL)
            with start(folder, sync_interval="always") as second:
                assert second.servers == first.servers
                assert second.postgres_pid != first.postgres_pid
                assert query(second.servers.database_url, "select fact from kept") == [("committed",)]
                client = await nats.connect(second.servers.nats_url)
                assert (await client.jetstream().get_last_msg("kept", "kept")).data == b"committed"
                await client.close()
            with pytest.raises(psycopg.OperationalError):
                busy.execute("select 1")


def test_a_busy_backend_does_not_outlive_a_killed_postgres(folder: Path) -> None:
    with start(folder, nats=False) as running, closing(psycopg.connect(running.servers.database_url)) as connection:
        backend = connection.info.backend_pid
        spin = "do $$ begin loop end loop; end $$"
        connection.pgconn.send_query(spin.encode())
        assert running.postgres_pid is not None
        os.kill(running.postgres_pid, signal.SIGKILL)
        await_gone(running.postgres_pid, backend)


def test_killed_watchers_take_their_servers_along(folder: Path) -> None:
    with start(folder) as first:
        for pid in (first.postgres_pid, first.nats_pid):
            status = Path(f"/proc/{pid}/status").read_text()
            os.kill(int(status.partition("PPid:")[2].split()[0]), signal.SIGKILL)
        with start(folder) as second:
            assert second.postgres_pid != first.postgres_pid
            assert second.nats_pid != first.nats_pid
            assert query(second.servers.database_url, "select 1") == [(1,)]


def test_everything_killed_at_once_starts_again(folder: Path) -> None:
    with owned(folder) as (process, found):
        keep_a_row(found["database_url"])
        for pid in found["pids"]:
            status = Path(f"/proc/{pid}/status").read_text()
            os.kill(int(status.partition("PPid:")[2].split()[0]), signal.SIGKILL)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.kill()
        with start(folder) as running:
            assert query(running.servers.database_url, "select fact from kept") == [("committed",)]


def test_a_half_made_database_is_made_anew(folder: Path) -> None:
    (folder / "postgres.new").mkdir(parents=True)
    (folder / "postgres.new" / "PG_VERSION").write_text("half")
    with start(folder, nats=False) as running:
        assert query(running.servers.database_url, "select 1") == [(1,)]
    assert not (folder / "postgres.new").exists()


def test_a_stale_pid_that_now_names_another_program_is_no_obstacle(folder: Path) -> None:
    with start(folder, nats=False):
        content = (folder / "postgres" / "postmaster.pid").read_text().splitlines()
    (folder / "postgres" / "postmaster.pid").write_text("\n".join([str(os.getpid()), *content[1:]]) + "\n")
    with start(folder, nats=False) as running:
        assert query(running.servers.database_url, "select 1") == [(1,)]


# --- what cannot work says so ---


def test_data_of_another_major_version_is_refused_untouched(folder: Path) -> None:
    start(folder, nats=False).stop()
    (folder / "postgres" / "PG_VERSION").write_text("16\n")
    with pytest.raises(EmbeddedError, match=f"{folder}.* was made by PostgreSQL 16.*pg_upgrade"):
        start(folder)
    assert (folder / "postgres" / "PG_VERSION").read_text() == "16\n"


def test_a_file_in_the_way_is_named(folder: Path) -> None:
    folder.write_text("not a folder")
    with pytest.raises(EmbeddedError, match=f"{folder} .*Name another folder"):
        start(folder)


def test_a_folder_of_somebody_else_is_named_with_the_way_out(folder: Path) -> None:
    start(folder, nats=False).stop()
    if os.geteuid() == 0:
        os.chown(folder / "postgres", 0, 0)  # as after a copy made by root
    else:
        folder.chmod(0)
    with pytest.raises(EmbeddedError, match=f"{folder}.*chown -R"):
        start(folder)
    folder.chmod(0o700)


def test_a_held_lock_is_named_after_a_while(folder: Path) -> None:
    folder.mkdir()
    with (folder / "postgres.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(EmbeddedError, match=f"holds {folder}/postgres.lock .*start again"):
            start(folder, patience_seconds=0.1)


@pytest.mark.parametrize("already_made", [False, True])
def test_storage_that_takes_no_more_data_is_told_plainly(folder: Path, already_made: bool) -> None:
    """A limit on the size of a file refuses writes as a full disk does, in the same calls, for every user."""
    if already_made:
        start(folder, nats=False).stop()
    with owner(folder, file_bytes_max=4096) as process:
        _, said = process.communicate()
    assert process.returncode == 1
    assert f"The disk takes no more data in {folder}" in said
    assert "Traceback" not in said
    await_unlocked(folder)
    with start(folder, nats=False) as running:
        assert query(running.servers.database_url, "select 1") == [(1,)]


def test_a_setting_postgres_refuses_is_quoted_from_its_log(folder: Path) -> None:
    with pytest.raises(EmbeddedError, match="shared_buffers"):
        embedded.start(folder, nats=False, postgres_settings={"shared_buffers": "'plenty'"})
    with start(folder, nats=False) as running:
        assert query(running.servers.database_url, "select 1") == [(1,)]


def test_a_bad_interval_is_quoted_and_postgres_is_not_left_running(folder: Path) -> None:
    with pytest.raises(EmbeddedError, match="nats did not start"):
        start(folder, sync_interval="now and then")
    await_unlocked(folder)
