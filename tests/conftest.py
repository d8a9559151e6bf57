"""Real servers for every test: those named by the environment, else our own, one pair per test process."""

import asyncio
import json
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from cairn import embedded
from cairn.embedded import Running, Servers
from eventstore.db import Database, role_url
from migrations import run as migrations
from projections import builds
from projections.registry import PROJECTIONS

DATABASE_URL = os.environ.get("CAIRN_TEST_DATABASE_URL", "")
NATS_URL = os.environ.get("CAIRN_TEST_NATS_URL", "")
SMALL = {"shared_buffers": "32MB", "max_wal_size": "256MB"}  # several test processes share one machine
MIGRATING = 7_201_511_033  # any number; roles belong to the cluster, which several test processes may share


def pytest_report_header() -> str:
    """The versions of the servers the tests run against."""
    installed = "" if DATABASE_URL and NATS_URL else f"{embedded.versions()} (ours, where none is named)"
    named = []
    if DATABASE_URL:
        with psycopg.connect(DATABASE_URL) as connection:
            named.append(f"PostgreSQL {connection.info.parameter_status('server_version')} (named)")
    if NATS_URL:
        named.append(f"NATS {_nats_version(NATS_URL)} (named)")
    return f"servers: {', '.join([*named, installed]).removesuffix(', ')}"


def _nats_version(url: str) -> str:
    address = urlsplit(url)
    with (
        socket.create_connection((address.hostname or "localhost", address.port or 4222)) as connection,
        connection.makefile("rb") as greeting,
    ):
        return str(json.loads(greeting.readline().removeprefix(b"INFO "))["version"])


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Asynchronous tests run as the product does."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The servers of this test process; they end with it, whatever ends it."""
    with (
        tempfile.TemporaryDirectory(prefix="cairn-tests-") as folder,
        embedded.start(
            Path(folder, "data"), postgres=not DATABASE_URL, nats=not NATS_URL, postgres_settings=SMALL
        ) as running,
    ):
        found = running.servers
        yield Servers(DATABASE_URL or found.database_url, NATS_URL or found.nats_url, found.folder)


@pytest.fixture(scope="session")
def nats_url(servers: Servers) -> str:
    """The broker shared by the tests of this process: choose names of your own for streams and subjects."""
    return servers.nats_url


@pytest.fixture(scope="session")
def bare_template(servers: Servers) -> Iterator[str]:
    """The name of a migrated database without any read model. Its roles sign in the way the given URL's user does."""
    with _database(servers, _template_name("bare"), template="template1") as url:
        with psycopg.connect(servers.database_url, autocommit=True) as connection:
            connection.execute("select pg_advisory_lock(%s)", [MIGRATING])
            migrations.upgrade(url, role_password=urlsplit(url).password)
        yield _name_in(url)


@pytest.fixture(scope="session")
def template_database(servers: Servers, bare_template: str) -> Iterator[str]:
    """The name of a database to copy: migrated, with the first builds of the read models."""
    with _database(servers, _template_name("built"), template=bare_template) as url:
        _grant(url)
        asyncio.run(_build(url))
        yield _name_in(url)


def _template_name(kind: str) -> str:
    return f"cairn_{kind}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{uuid4().hex[:8]}"


def _name_in(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


async def _build(url: str) -> None:
    """The first builds of the read models, as `cairn migrate` makes them: the copies have them too."""
    projector = Database(role_url(url, "cairn_projector", urlsplit(url).password), name="template")
    await projector.open()
    try:
        await builds.prepare(projector, PROJECTIONS)
    finally:
        await projector.close()


@pytest.fixture
def database_url(servers: Servers, template_database: str) -> Iterator[str]:
    """A migrated database for one test, with the read models' first builds, all empty."""
    with _database(servers, f"t_{uuid4().hex}", template=template_database) as url:
        _grant(url)
        yield url


@pytest.fixture
def bare_database_url(servers: Servers, bare_template: str) -> Iterator[str]:
    """A database for one test as the migrations alone leave it."""
    with _database(servers, f"t_{uuid4().hex}", template=bare_template) as url:
        _grant(url)
        yield url


def _grant(url: str) -> None:
    """A copy of a database has not the rights on it."""
    with psycopg.connect(url) as connection:
        name = sql.Identifier(_name_in(url))
        connection.execute(sql.SQL("grant create on database {} to cairn_owner, cairn_projector").format(name))


@contextmanager
def _database(servers: Servers, name: str, template: str) -> Iterator[str]:
    """Create a database; yields its URL; drops it even if connections are open."""
    identifiers = {"name": sql.Identifier(name), "template": sql.Identifier(template)}
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {name} template {template}").format(**identifiers))
        try:
            yield urlsplit(servers.database_url)._replace(path=f"/{name}").geturl()
        finally:
            connection.execute(sql.SQL("drop database {name} with (force)").format(**identifiers))


class NatsServer:
    """A broker of one test's own, which it may kill. Its port, password and data stay the same when started again."""

    def __init__(self, folder: Path, sync_interval: str = "always") -> None:
        self.folder = folder
        self.sync_interval = sync_interval
        self.running: Running | None = None
        self.start()

    @property
    def url(self) -> str:
        assert self.running is not None
        return self.running.servers.nats_url

    @property
    def pid(self) -> int:
        assert self.running is not None
        assert self.running.nats_pid is not None
        return self.running.nats_pid

    def start(self) -> None:
        """Start the broker and return when it answers."""
        self.running = embedded.start(self.folder, postgres=False, sync_interval=self.sync_interval)

    def kill(self) -> None:
        """End the broker with kill -9 and return when it is gone."""
        os.kill(self.pid, signal.SIGKILL)
        self.stop()

    def stop(self) -> None:
        """Stop the broker in order, if it runs, and return when it is gone."""
        assert self.running is not None
        self.running.stop()


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A broker for tests that kill or stop it."""
    server = NatsServer(tmp_path / "nats-server")
    yield server
    server.stop()
