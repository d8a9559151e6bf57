"""The simulator against a real log: a request becomes figures, once, whoever is killed in the middle of it."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psutil
import psycopg
import pytest
from uuid_utils.compat import uuid7

from domain.decider import Command
from domain.registry import BY_CATEGORY, COMMANDS
from domain.simulation import Figures, SimulatedRisk
from eventstore import operations
from eventstore.actors import SIMULATOR
from eventstore.db import Database, role_url
from eventstore.operations import Operation, Operations
from eventstore.settings import StoreSettings
from eventstore.transact import Context, Store, transact
from eventstore.wire import Broker, Hints
from projections.inline import InlineModels
from projections.registry import INLINE
from tests.workers.outside import ended, process, projector_role, until
from tests.workers.test_projector import QUICKLY
from workers.simulation import simulate
from workers.simulation_task import Task
from workers.simulator import ATTEMPTS_MAX

SWIFT: dict[str, Any] = {"simulator_poll_seconds": 0.1, "simulator_lease_seconds": 1, "worker_beat_seconds": 0.1}
LONG, MANY = 1_000_000, 150
"""Trials and risks that take some seconds: time to be killed in."""

PATIENCE_SECONDS = 150
"""A computation gives way to whatever else the machine does."""


class Company:
    """Sends commands to one company, and looks into its log."""

    def __init__(
        self, store: Store, owner: psycopg.Connection[Any], tenant: UUID, projector: subprocess.Popen[bytes]
    ) -> None:
        self.store = store
        self.owner = owner
        self.tenant = tenant
        self.projector = projector

    async def send(self, category: str, id: UUID, verb: str, **body: Any) -> None:
        """Sends a command."""
        _, kind = COMMANDS[category, verb]
        command: Command = kind.model_validate_json(msgspec.json.encode(body))
        context = Context(tenant=self.tenant, actor=UUID(int=7), command_id=uuid7(), request_hash=b"request1")
        await transact(self.store, BY_CATEGORY[category], id, command, context)

    async def estimate(self, risks: int = 2) -> UUID:
        """An estimate with so many risks: 40 % of 20,000 to 60,000 each."""
        project, estimate = uuid4(), uuid4()
        await self.send("project", project, "create-project", name=f"Project {project}")
        await self.send("estimate", estimate, "start-estimate", project_id=str(project), currency="USD")
        for number in range(risks):
            body = {"risk_id": str(UUID(int=number + 1)), "kind": "threat", "title": f"Risk {number}"}
            figures = {"probability": "0.4", "low": "20000", "high": "60000"}
            await self.send("estimate", estimate, "add-risk", **body, **figures)
        return estimate

    async def request(self, estimate: UUID, trials: int = 10_000) -> UUID:
        """Asks for a simulation."""
        simulation = uuid4()
        body = {"simulation_id": str(simulation), "trials": trials, "seed": 7}
        await self.send("estimate", estimate, "request-simulation", **body)
        return simulation

    def answers(self, simulation: UUID) -> list[dict[str, Any]]:
        """The events that end the simulation."""
        rows = self.owner.execute(
            "select convert_from(payload, 'UTF8')::jsonb, actor::text from cairn.events "
            "where tenant = %s and type in ('estimate.simulation-completed', 'estimate.simulation-failed') "
            "order by position",
            [self.tenant],
        ).fetchall()
        return [{**body, "actor": actor} for body, actor in rows if body["simulation_id"] == str(simulation)]

    def operation(self, simulation: UUID) -> tuple[Any, ...] | None:
        """What is told of its progress: attempts, done, total."""
        return self.owner.execute(
            "select attempts, done, total from cairn.operations where tenant = %s and operation_id = %s",
            [self.tenant, simulation],
        ).fetchone()

    async def answered(self, simulation: UUID) -> dict[str, Any]:
        """Its one answer, once it is there."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not self.answers(simulation):  # noqa: ASYNC110  # a row announces nothing
                await asyncio.sleep(0.02)
        [answer] = self.answers(simulation)
        return answer

    async def projected(self) -> None:
        """Until the read model has come to the end of the log."""

        async def there() -> bool:
            row = self.owner.execute(
                "select c.position = h.position from cairn.checkpoints c join cairn.heads h using (tenant) "
                "where c.tenant = %s and c.model = 'simulations'",
                [self.tenant],
            ).fetchone()
            return row == (True,)

        await until(there)

    async def under_way(self, simulation: UUID) -> None:
        """Until some trials are drawn, and not all."""

        async def moving() -> bool:
            found = self.operation(simulation)
            return found is not None and 0 < found[1] < found[2]

        await until(moving)


@pytest.fixture
async def company(database_url: str, nats_url: str, tenant: UUID) -> AsyncIterator[Company]:
    """A company whose log is followed by a projector."""
    broker = Broker(nats_url, name="test")
    await broker.open()
    hints = Hints(broker)
    writer = Database(role_url(database_url, "cairn_writer", None), name="writer", connections_max=2)
    store = Store(writer, StoreSettings(), inline=InlineModels(INLINE), committed=hints.log_moved)
    await store.open()
    with (
        process("projector", database_url, nats_url, **QUICKLY) as projector,
        psycopg.connect(database_url, autocommit=True) as owner,
    ):
        yield Company(store, owner, tenant, projector)
    await store.close()
    await broker.close()


@contextmanager
def simulating(company: Company, database_url: str, nats_url: str, **settings: Any) -> Iterator[Any]:
    """A simulator in a process of its own."""
    with process("simulator", database_url, nats_url, **SWIFT | settings) as started:
        yield started


async def test_a_request_becomes_figures(company: Company, database_url: str, nats_url: str) -> None:
    estimate = await company.estimate()
    first = await company.request(estimate)
    with simulating(company, database_url, nats_url) as simulator:
        answer = await company.answered(first)
        second = await company.request(estimate)  # while it runs
        again = await company.answered(second)
        said = await ended(simulator, signal.SIGTERM)
    risks = tuple(
        msgspec.convert(
            {"risk_id": str(UUID(int=number)), "probability": "0.4", "low": "20000.00", "high": "60000.00"},
            SimulatedRisk,
        )
        for number in (1, 2)
    )
    expected = simulate(Task(trials=10_000, seed=7, risks=risks))
    assert msgspec.convert(answer["figures"], Figures) == expected
    assert again["figures"] == answer["figures"]
    assert (answer["trials"], answer["seed"], answer["method"]) == (10_000, 7, "independent-triangular")
    assert answer["actor"] == str(SIMULATOR)
    assert "simulation_completed" in said
    assert "worker_stopped" in said


async def test_another_finishes_what_a_killed_one_began(company: Company, database_url: str, nats_url: str) -> None:
    simulation = await company.request(await company.estimate(MANY), LONG)
    with simulating(company, database_url, nats_url) as first:
        await company.under_way(simulation)
        computing = psutil.Process(first.pid).children()
        first.send_signal(signal.SIGKILL)
        await asyncio.to_thread(first.wait)
        _, left = await asyncio.to_thread(psutil.wait_procs, computing, PATIENCE_SECONDS)
        assert (len(computing), left) == (1, [])
    assert company.answers(simulation) == []
    with (
        simulating(company, database_url, nats_url) as second,
        simulating(company, database_url, nats_url) as third,
    ):
        answer = await company.answered(simulation)
        said = await ended(second, signal.SIGTERM) + await ended(third, signal.SIGTERM)
    assert answer["type"] == "estimate.simulation-completed"
    assert said.count('"simulation_begun"') == 1
    assert len(company.answers(simulation)) == 1
    assert company.operation(simulation) == (2, LONG, LONG)


async def test_one_that_stops_leaves_its_work_to_the_next_at_once(
    company: Company, database_url: str, nats_url: str
) -> None:
    simulation = await company.request(await company.estimate(MANY), LONG)
    with simulating(company, database_url, nats_url, simulator_lease_seconds=600) as first:
        await company.under_way(simulation)
        said = await ended(first, signal.SIGTERM)
        assert "simulation_left" in said
        assert "worker_stopped" in said
    with simulating(company, database_url, nats_url, simulator_lease_seconds=600):
        await company.answered(simulation)
    assert company.operation(simulation) == (1, LONG, LONG)


async def test_a_second_record_is_a_replay_of_the_first(company: Company, database_url: str, nats_url: str) -> None:
    """As when a worker was paused past its lease, and another did the same: both compute, both record."""
    simulation = await company.request(await company.estimate(1))
    await company.projected()
    company.projector.kill()  # from here on the read model says that nobody answered
    with simulating(company, database_url, nats_url) as first:
        await company.answered(simulation)
        await ended(first, signal.SIGTERM)
    company.owner.execute("delete from cairn.operations")
    with simulating(company, database_url, nats_url) as second:

        async def done() -> bool:
            return company.operation(simulation) == (1, 10_000, 10_000)

        await until(done)
        assert "simulation_completed" in await ended(second, signal.SIGTERM)
    assert len(company.answers(simulation)) == 1


async def test_what_never_ends_is_given_up(company: Company, database_url: str, nats_url: str) -> None:
    simulation = await company.request(await company.estimate(1))
    company.owner.execute(
        "insert into cairn.operations (tenant, operation_id, kind, owner, until, attempts, done, total) "
        "values (%s, %s, 'simulation', %s, '-infinity', %s, 0, 10000)",
        [company.tenant, simulation, uuid4(), ATTEMPTS_MAX],
    )
    with simulating(company, database_url, nats_url):
        answer = await company.answered(simulation)
    assert answer["type"] == "estimate.simulation-failed"
    assert answer["reason"] == "The computation was begun 5 times and never came to its end."


async def test_an_operation_is_one_workers_at_a_time(database_url: str, tenant: UUID) -> None:
    database = projector_role(database_url)
    await database.open()
    kept = Operations(database, 600)
    mine = Operation(tenant, uuid4(), "simulation", 100, uuid4())
    theirs = mine._replace(owner=uuid4())
    assert await kept.claim(mine) == 1
    assert await kept.claim(theirs) is None
    assert await kept.report(mine, 40)
    assert not await kept.report(theirs, 50)
    async with database.connection() as connection:
        await operations.give_back(connection, mine.owner)
    assert await kept.claim(theirs) == 1  # what was given back in order does not count
    assert not await kept.report(mine, 60)
    await kept.finish(theirs)
    assert await kept.claim(mine) is None
    assert not await kept.report(theirs, 100)
    await database.close()


async def test_progress_is_told_to_its_company_alone(database_url: str, tenant: UUID) -> None:
    database = projector_role(database_url)
    reading = Database(role_url(database_url, "cairn_reader", None), name="reader", read_only=True)
    await database.open()
    await reading.open()
    kept = Operations(database, 600)
    mine = Operation(tenant, uuid4(), "simulation", 100, uuid4())
    await kept.claim(mine)
    await kept.report(mine, 40)
    async with reading.bound(tenant) as reader:
        found = await operations.progress(reader, [mine.operation_id])
    assert [(each.kind, each.done, each.total) for each in found.values()] == [("simulation", 40, 100)]
    async with reading.bound(uuid4()) as reader:
        assert await operations.progress(reader, [mine.operation_id]) == {}
    await kept.finish(mine)
    async with reading.bound(tenant) as reader:
        assert await operations.progress(reader, [mine.operation_id]) == {}
    await database.close()
    await reading.close()
