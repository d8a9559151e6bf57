"""Queries on a read replica, a second PostgreSQL that streams from the first: what it lacks is waited for, or said."""

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from msgspec.structs import replace

from cairn import embedded
from cairn.embedded_place import Place, prepare
from cairn.embedded_programs import programs
from migrations import run as migrations
from tests.api.callers import SETTINGS, Company, World, problem, register, serving
from tests.conftest import SMALL

PATIENCE_SECONDS = 20


@dataclass
class Replica:
    """A standby, which can be told to stand still."""

    url: str

    def ask(self, statement: str) -> object:
        """One value from the standby."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute(statement.encode()).fetchone()
        return None if row is None else row[0]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What the primary writes meanwhile is not seen here."""
        self.ask("select pg_wal_replay_pause()")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.ask("select pg_get_wal_replay_pause_state()") != "paused":
            assert time.monotonic() < deadline
        try:
            yield
        finally:
            self.resume()

    def resume(self) -> None:
        """Goes on, if it stood still."""
        self.ask("select pg_wal_replay_resume()")


@dataclass
class Both:
    """A server whose queries go to a replica."""

    world: World
    replica: Replica


def copied(folder: Path, primary_url: str) -> None:
    """The data folder of a standby of a running server."""
    account = prepare(folder)
    place = Place("postgres", folder, account, lambda _: None, 60, {})
    place.data.mkdir(mode=0o700)
    account.give(place.data)
    command = [str(programs(place).postgres / "pg_basebackup"), "--write-recovery-conf", "--checkpoint=fast"]
    subprocess.run(
        [*command, "--wal-method=stream", "--pgdata=.", f"--dbname={primary_url}"],
        cwd=place.data,
        user=account.user,
        group=account.group,
        extra_groups=account.groups,
        check=True,
        capture_output=True,
    )


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, nats_url: str) -> Iterator[Both]:
    """Two servers of our own, whatever servers the other tests use."""
    first, second = (tmp_path_factory.mktemp(name) / "data" for name in ("primary", "replica"))
    with embedded.start(first, nats=False, postgres_settings=SMALL) as primary:
        migrations.upgrade(primary.servers.database_url)
        copied(second, primary.servers.database_url)
        with embedded.start(second, nats=False, postgres_settings=SMALL) as standby:
            replica = Replica(standby.servers.database_url)
            settings = replace(SETTINGS, api_query_database_url=replica.url, api_catch_up_seconds_max=1)
            with serving(primary.servers.database_url, nats_url, settings) as world:
                yield Both(world, replica)


@pytest.fixture
def company(both: Both) -> Company:
    """A company that the replica knows."""
    company = register(both.world)
    company.viewer.seen(company.estimator.done("project", uuid4(), "create-project", {"name": "First"}), "/projects")
    return company


def names(company: Company, **headers: str) -> list[str]:
    """The names of the projects, as a query answers."""
    return [each["name"] for each in company.viewer.get("/projects", headers=headers).json()["items"]]


def test_it_is_a_replica_that_follows(both: Both, company: Company) -> None:
    assert both.replica.ask("select pg_is_in_recovery()")
    receipt = company.estimator.done("project", uuid4(), "create-project", {"name": "Second"})
    answer = company.viewer.seen(receipt, "/projects")
    assert {each["name"] for each in answer.json()["items"]} == {"First", "Second"}
    assert int(answer.headers["Cairn-Position"]) >= receipt.json()["position"]


def test_queries_go_to_the_replica_and_commands_to_the_primary(both: Both, company: Company) -> None:
    with both.replica.paused():
        receipt = company.estimator.done("project", uuid4(), "create-project", {"name": "Second"}).json()
        answer = company.viewer.get("/projects")
        assert [each["name"] for each in answer.json()["items"]] == ["First"]
        assert int(answer.headers["Cairn-Position"]) < receipt["position"]


@pytest.mark.parametrize("path", ["/projects", "/members", "/company", "/log"])
def test_a_replica_that_is_behind_says_so(both: Both, company: Company, path: str) -> None:
    owner = company.owner
    owner.seen(company.estimator.done("project", uuid4(), "create-project", {"name": "Second"}), path)
    with both.replica.paused():
        receipt = company.estimator.done("project", uuid4(), "create-project", {"name": "Third"})
        after = {"Cairn-After": receipt.headers["Cairn-Token"]}
        facts = problem(owner.get(path, headers=after), 503, "model.behind")["facts"]
        assert facts["reached"] < facts["wanted"] == receipt.json()["position"]
    assert owner.seen(receipt, path).status_code == 200


@pytest.mark.parametrize("path", ["/projects", "/company", "/log"])
def test_a_query_waits_until_the_replica_has_it(both: Both, company: Company, path: str) -> None:
    owner = company.owner
    owner.seen(company.estimator.done("project", uuid4(), "create-project", {"name": "Second"}), path)
    with both.replica.paused():
        receipt = company.estimator.done("project", uuid4(), "create-project", {"name": "Third"})
        going_on = threading.Timer(0.2, both.replica.resume)
        going_on.start()
        answer = owner.seen(receipt, path)
        going_on.join()
    assert int(answer.headers["Cairn-Position"]) >= receipt.json()["position"]


def test_an_instant_names_the_position_it_has_in_the_log(both: Both, company: Company) -> None:
    with both.replica.paused():
        receipt = company.estimator.done("project", uuid4(), "create-project", {"name": "Second"}).json()
        moment = {"at": receipt["recorded_at"]}
        facts = problem(company.viewer.get("/projects", params=moment), 503, "model.behind")["facts"]
        assert facts["wanted"] == receipt["position"]
    answer = company.viewer.get("/projects", params=moment)
    assert int(answer.headers["Cairn-Position"]) == receipt["position"]
    assert len(answer.json()["items"]) == 2


def test_what_was_never_written_is_not_waited_for(both: Both, company: Company) -> None:
    head = company.head()
    problem(company.viewer.get(f"/projects?at={head + 1}"), 422, "position.ahead")
    epoch = int(company.viewer.get("/company").headers["Cairn-Epoch"])
    after = {"Cairn-After": f"{epoch}.{head + 1}"}
    problem(company.viewer.get("/projects", headers=after), 422, "position.ahead")
    problem(company.viewer.get(f"/projects?at={epoch + 1}.1"), 409, "position.other-epoch")


def test_a_company_the_replica_has_not_heard_of(both: Both) -> None:
    with both.replica.paused():
        company = register(both.world)
        problem(company.operator.get("/company"), 503, "model.behind")
    stranger = {"Cairn-Company": str(uuid4())}
    problem(company.operator.get("/company", headers=stranger), 404, "company.unknown")


def test_streams_do_not_wait_for_the_replica(both: Both, company: Company) -> None:
    auditor = company.auditor
    with both.replica.paused():
        receipt = company.estimator.done("project", uuid4(), "create-project", {"name": "Second"}).json()
        path = f"{both.world.url}/stream?after={receipt['position'] - 1}"
        with both.world.http.stream("GET", path, headers=auditor.headers) as answer:
            lines = answer.iter_lines()
            assert (
                next(line for line in lines if line.startswith("id: "))
                == f"id: {receipt['epoch']}.{receipt['position']}"
            )
