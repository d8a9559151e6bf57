"""The process: health, metrics, limits of requests and of patience, and its end."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import psycopg
import pytest
from msgspec.structs import replace

from api.health import newest_migration
from api.identity import is_loopback
from eventstore import liveness
from eventstore.db import Database, role_url
from tests import keys
from tests.api.callers import OPERATOR_SECRET, SETTINGS, World, problem, register, serving


def test_it_lives(world: World) -> None:
    assert world.get("/health/live").json() == {"status": "live"}


async def test_it_is_ready_when_nothing_is_missing(world: World) -> None:
    document = problem(world.get("/health/ready"), 503, "system.not-ready")
    assert document["facts"]["missing"] == ["no projector is alive", "no relay is alive"]
    database = Database(
        role_url(world.database_url, "cairn_projector", urlsplit(world.database_url).password), name="t"
    )
    await database.open()
    workers = [(uuid4(), kind) for kind in liveness.KINDS]
    async with database.connection() as connection:
        for id_, kind in workers:
            await liveness.beat(connection, id=id_, kind=kind, host="here", waiting=False, moved=True, detail="")
        missing = ["no simulator is alive", "no syncer is alive"]
        assert world.get("/health/ready").json() == {"status": "ready", "degraded": missing}
        for kind in liveness.DEFERRING:
            workers.append((uuid4(), kind))
            await liveness.beat(
                connection, id=workers[-1][0], kind=kind, host="here", waiting=False, moved=True, detail=""
            )
        assert world.get("/health/ready").json() == {"status": "ready", "degraded": []}
        for id_, _ in workers:
            await liveness.farewell(connection, id_)
    await database.close()


def test_it_is_not_ready_on_an_older_database(database_url: str, world: World) -> None:
    with serving(database_url, world.nats_url, projecting=False) as own:
        with psycopg.connect(database_url) as connection:
            connection.execute("update alembic_version set version_num = '0001'")
        missing = problem(own.get("/health/ready"), 503, "system.not-ready")["facts"]["missing"]
    assert f"postgres (reader): migrated to 0001, this release needs {newest_migration()}" in missing


def test_figures_are_given_on_this_machine(world: World) -> None:
    world.get("/health/live")
    text = world.get("/metrics").text
    assert re.search(r'cairn_http_requests_total\{method="GET",route="/health/live",status="200"\} [1-9]', text)
    assert 'cairn_http_request_seconds_bucket{le="0.001",method="GET",route="/health/live"}' in text
    assert 'cairn_pool{figure="pool_size",pool="reader"}' in text
    assert "cairn_append_batch_units_bucket" in text
    assert "cairn_projection_lag_events" in text


@pytest.mark.parametrize(
    ("address", "here"), [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("10.0.0.1", False), ("", False)]
)
def test_what_this_machine_is(address: str, here: bool) -> None:
    assert is_loopback(address) is here


@contextmanager
def connected(world: World) -> Iterator[socket.socket]:
    """A bare connection."""
    parts = urlsplit(world.url)
    assert parts.hostname
    assert parts.port
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        yield connection


def received(connection: socket.socket) -> bytes:
    """Everything until the server hangs up."""
    parts = []
    try:
        while part := connection.recv(65_536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def test_a_head_that_is_too_large(world: World) -> None:
    with connected(world) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
        sent = 0
        try:
            while sent < 200_000:
                connection.sendall(b"X-Much: " + b"a" * 8_000 + b"\r\n")
                sent += 8_000
        except (BrokenPipeError, ConnectionResetError):
            pass
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 431 ") or answer == b""
    assert sent < 200_000 or b"request.head-too-large" in answer


def test_what_is_no_http(world: World) -> None:
    with connected(world) as connection:
        connection.sendall(b"EHLO mail.example\r\n\r\n")
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"request.malformed" in answer


def test_slow_clients(database_url: str, world: World) -> None:
    settings = replace(SETTINGS, api_head_seconds_max=0.3, api_body_seconds_max=0.3)
    with serving(database_url, world.nats_url, settings, projecting=False) as impatient:
        company = register(impatient)
        with connected(impatient) as connection:
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost")
            assert received(connection) == b""
        with connected(impatient) as connection:
            head = f"POST /commands/project/{uuid4()}/create-project HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n"
            fields = company.operator.headers | {"Idempotency-Key": str(uuid4())}
            lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
            connection.sendall((head + lines + "\r\n{").encode())
            answer = received(connection)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"request.body-too-slow" in answer


def test_more_requests_than_it_takes(database_url: str, world: World) -> None:
    settings = replace(SETTINGS, api_requests_max=1)
    with serving(database_url, world.nats_url, settings, projecting=False) as small:
        auditor = register(small).auditor
        with small.http.stream("GET", small.url + "/stream", headers=auditor.headers) as answer:
            lines = answer.iter_lines()  # kept: letting it go would close the stream
            next(lines)
            refused = auditor.get("/company")
            problem(refused, 503, "system.busy")
            assert refused.headers["Retry-After"] == "1"
            assert small.get("/health/live").status_code == 200


def test_a_forwarded_address_is_not_believed(world: World) -> None:
    company = register(world)
    answer = company.operator.command("project", uuid4(), "create-project", {"name": "A"}, X_Forwarded_For="6.6.6.6")
    (entry,) = company.auditor.seen(answer, "/activity?category=project&limit=1").json()["items"]
    assert entry["ip"] == "127.0.0.1"
    assert world.get("/metrics", **{"X-Forwarded-For": "6.6.6.6"}).status_code == 200


@contextmanager
def process(database_url: str, nats_url: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`python -m api`, and its URL once it listens."""
    environ = os.environ | {
        "CAIRN_DATABASE_URL": database_url,
        "CAIRN_KEK": keys.KEK,
        "CAIRN_NATS_URL": nats_url,
        "CAIRN_API_PORT": "0",
        "CAIRN_OPERATOR_TOKEN_HASH": SETTINGS.operator_token_hash or "",
        "CAIRN_RELAY_SOMETHING": "of another package",
    }
    with subprocess.Popen([sys.executable, "-m", "api"], env=environ, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            yield running, running.stdout.readline().strip()
        finally:
            running.kill()


def test_it_ends_in_order_when_asked(world: World) -> None:
    with process(world.database_url, world.nats_url) as (running, url):
        own = World(url, world.database_url, world.nats_url, world.http)
        company = register(own)
        acknowledged: list[int] = []
        halted = threading.Event()

        def write() -> None:
            while not halted.is_set():
                try:
                    answer = company.operator.command("project", uuid4(), "create-project", {"name": str(uuid4())})
                except httpx.TransportError:
                    return
                acknowledged.append(answer.json()["position"])
                if len(acknowledged) == 20:
                    running.send_signal(signal.SIGTERM)

        auditor = company.auditor
        with own.http.stream("GET", url + "/stream", headers=auditor.headers) as stream:
            lines = stream.iter_lines()
            next(lines)
            writer = threading.Thread(target=write)
            writer.start()
            for _ in lines:  # the stream ends by itself
                pass
        assert running.wait(20) == 0
        halted.set()
        writer.join()
    head = int(world.get("/company", **company.operator.headers).headers["Cairn-Position"])
    assert len(acknowledged) >= 20
    assert max(acknowledged) <= head


def test_settings_that_are_wrong(world: World) -> None:
    wrong = {"CAIRN_API_PROT": "1", "CAIRN_API_PORT": "many", "CAIRN_OPERATOR_TOKEN_HASH": OPERATOR_SECRET}
    done = subprocess.run(
        [sys.executable, "-m", "api"], env=os.environ | wrong, capture_output=True, text=True, check=False
    )
    assert done.returncode == 78
    assert "CAIRN_API_PROT is not a setting; did you mean CAIRN_API_PORT?" in done.stderr
    assert "CAIRN_API_PORT: " in done.stderr
    assert "CAIRN_OPERATOR_TOKEN_HASH: " in done.stderr
