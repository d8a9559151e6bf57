"""The simulator: computes the simulations that were asked for, one after the other, and records what they found.

The event that asks is the durable job: the read model of simulations says which have no answer yet. A lease keeps two
simulators from computing the same one, and is not what makes the answer single: it is recorded under a command id that
follows from the simulation's, so a second record is a replay of the first. Killed in the middle, another begins anew.
"""

import asyncio
import contextlib
import hashlib
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final
from uuid import UUID, uuid5

import msgspec
from prometheus_client import Counter, Gauge, Histogram

from domain.decider import Command, Rejected
from domain.estimate import estimate
from domain.simulation import FailSimulation, Figures, RecordSimulation
from eventstore import log, operations, sql, telemetry
from eventstore.actors import SIMULATOR
from eventstore.db import Database, DriverError, Unavailable, role_url
from eventstore.operations import Operation, Operations
from eventstore.settings import StoreSettings
from eventstore.transact import Context, Store, transact
from eventstore.wire import Broker, Following, Hints
from projections import simulations
from projections.inline import InlineModels
from projections.registry import INLINE
from projections.simulations import SimulationRow
from workers.settings import WorkerSettings
from workers.simulation_task import Task, Word
from workers.worker import Worker

SQL = sql.beside(__file__)

EVENTS: Mapping[str, str] = {
    "simulation_begun": "A simulation is being computed; `attempt` counts those that were not finished.",
    "simulation_completed": "A simulation's figures were recorded.",
    "simulation_failed": "A simulation could not be computed, which was recorded.",
    "simulation_left": "A simulation is left to another simulator: this one stops, or lost its lease.",
    "simulation_settled": "The estimate had an answer already, and keeps it.",
}
"""Names the simulator logs under."""

OUTCOMES = Counter("cairn_simulations_total", "Simulations this process ended, by how.", ["outcome"])
SECONDS = Histogram(
    "cairn_simulation_seconds", "Time a computed simulation took.", buckets=(0.3, 1, 3, 10, 30, 100, 300, 1000)
)
RUNNING = Gauge("cairn_simulations_running", "1 while a simulation is computed.")

KIND: Final = "simulation"
ATTEMPTS_MAX: Final = 5
"""A simulation that ended so many workers is not tried again."""
REPORT_SECONDS: Final = 0.5
PAUSE_SECONDS: Final = 0.1
"""Between two looks, however many hints come."""
LOOKED_AT_ONCE: Final = 20
FOLDER: Final = Path(__file__).parent.parent


class Broken(Exception):
    """The computation ended without an answer."""


class Simulator(Worker):
    """Computes in a process of its own per simulation, so that numpy's memory and time are nobody else's."""

    kind: ClassVar[str] = "simulator"

    def __init__(self, database: Database, broker: Broker, store: StoreSettings, settings: WorkerSettings) -> None:
        super().__init__(database, settings)
        self.broker = broker
        self.hints = Hints(broker)
        self._operations = Operations(database, settings.simulator_lease_seconds)
        self._store_settings = store
        self._store: Store | None = None
        self._reader: Database | None = None
        self._following: Following | None = None
        self._wake = asyncio.Event()
        self._due: set[UUID] = set()
        self._looked: dict[UUID, int] = {}
        self._polled_at = 0.0
        self._operation: Operation | None = None
        self._done = 0

    def waiting(self) -> bool:
        """Whether it is in the middle of a simulation."""
        return self._operation is not None

    def detail(self) -> str:
        """What it computes, and how far it is."""
        if self._operation is None:
            return "idle"
        return f"simulation {self._operation.operation_id}, {self._done} of {self._operation.total} trials"

    async def live(self) -> None:
        """Computes what waits until it shall stop."""
        await self.broker.open()
        reader, store = self._reader, self._store = self._reader_pool(), self._new_store()
        await reader.open()
        await store.open()
        self._following = await self.hints.follow_views(self._moved, model=simulations.projection.name)
        self._due.clear()
        self._looked.clear()
        self._polled_at = 0.0
        self.be_ready()
        while not self.stopping.is_set():
            self._wake.clear()
            if time.monotonic() - self._polled_at >= self.settings.simulator_poll_seconds:
                await self._poll()
            found = [await self._serve(tenant, reader, store) for tenant in list(self._due)]
            await self.rest(PAUSE_SECONDS)
            if not any(found):
                await self.rest(self.settings.simulator_poll_seconds, self._wake)

    async def leave(self) -> None:
        """Ends its life. What it was computing is left to others: at once when it stops, else when the lease runs out,
        so that a simulation which ends its simulators counts as begun.
        """
        following, self._following = self._following, None
        if following is not None:
            await following.stop()
        if self.stopping.is_set():
            with contextlib.suppress(DriverError, Unavailable):
                async with self.database.connection() as connection:
                    await operations.give_back(connection, self.id)
        store, self._store = self._store, None
        if store is not None:
            await store.close()
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()
        if self.stopping.is_set():
            await self.hints.sent()
            await self.broker.close()

    def _reader_pool(self) -> Database:
        return Database(self._url("cairn_reader"), name="simulator reader", connections_max=2, read_only=True)

    def _new_store(self) -> Store:
        writer = Database(self._url("cairn_writer"), name="simulator writer", connections_max=2)
        return Store(writer, self._store_settings, inline=InlineModels(INLINE), committed=self.hints.log_moved)

    def _url(self, role: str) -> str:
        settings = self._store_settings
        return role_url(settings.database_url or "", role, settings.database_role_password)

    def _moved(self, tenant: UUID, _model: str, _position: int) -> None:
        self._due.add(tenant)
        self._wake.set()

    async def _poll(self) -> None:
        """Companies whose simulations were not looked at since the read model moved."""
        async with self.database.connection() as connection:
            cursor = await connection.execute(SQL["reached"], {"model": simulations.projection.name})
            reached = await cursor.fetchall()
        self._due |= {tenant for tenant, position in reached if position > self._looked.get(tenant, 0)}
        self._looked |= dict(reached)
        self._polled_at = time.monotonic()

    async def _serve(self, tenant: UUID, reader: Database, store: Store) -> bool:
        """Computes one of a company's simulations: companies take turns. False: there is none that is free."""
        if self.stopping.is_set():
            return False
        self._due.discard(tenant)  # a hint that comes from now on puts it back
        async with reader.bound(tenant) as bound:
            rows = await simulations.waiting(bound, limit=LOOKED_AT_ONCE)
        if rows:
            self._due.add(tenant)
        for row in rows:
            operation = Operation(tenant, row.simulation_id, KIND, row.trials, self.id)
            attempt = await self._operations.claim(operation)
            if attempt is not None:
                await self._settle(operation, row, attempt, store)
                return True
        return False

    async def _settle(self, operation: Operation, row: SimulationRow, attempt: int, store: Store) -> None:
        """Brings one simulation to its end, unless it shall stop or another took over."""
        telemetry.log().info("simulation_begun", simulation=str(row.simulation_id), attempt=attempt)
        self._operation, self._done = operation, 0
        RUNNING.set(1)
        try:
            if attempt > ATTEMPTS_MAX:
                raise Broken(f"The computation was begun {ATTEMPTS_MAX} times and never came to its end.")
            began = time.monotonic()
            figures = await self._computed(operation, row)
            if figures is None:
                telemetry.log().info("simulation_left", simulation=str(row.simulation_id))
                return
            SECONDS.observe(time.monotonic() - began)
            await self._record(operation, row, _recording(row, figures), store)
        except Broken as broken:
            failing = FailSimulation(simulation_id=row.simulation_id, reason=str(broken))
            await self._record(operation, row, failing, store)
        finally:
            self._operation = None
            RUNNING.set(0)
        await self._operations.finish(operation)
        self.progressed()

    async def _computed(self, operation: Operation, row: SimulationRow) -> Figures | None:
        """The figures; None when it shall stop, or the lease is another's. Raises Broken."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "workers.simulation",
            stdin=PIPE,
            stdout=PIPE,
            cwd=FOLDER,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # it has no use for more, and each takes memory
        )
        answering = asyncio.create_task(self._answered(process, row))
        others = [asyncio.create_task(self._keep(operation)), asyncio.create_task(self.stopping.wait())]
        try:
            await asyncio.wait([answering, *others], return_when=asyncio.FIRST_COMPLETED)
            return answering.result() if answering.done() else None
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            for task in (answering, *others):
                task.cancel()
            await asyncio.gather(answering, *others, return_exceptions=True)
            await process.wait()

    async def _answered(self, process: Process, row: SimulationRow) -> Figures:
        assert process.stdin is not None
        assert process.stdout is not None
        task = Task(trials=row.trials, seed=row.seed, risks=row.risks)
        with contextlib.suppress(ConnectionError):  # why it ended is told below
            process.stdin.write(msgspec.json.encode(task))
            await process.stdin.drain()
        process.stdin.close()
        async for line in process.stdout:
            word = msgspec.json.decode(line, type=Word)
            if word.figures is not None:
                return word.figures
            self._done = word.done
            self.progressed()
        raise Broken(f"The computation ended without an answer (exit code {await process.wait()}).")

    async def _keep(self, operation: Operation) -> None:
        """Tells how far it is, and so keeps the lease. Ends when the lease is another's."""
        while True:
            await asyncio.sleep(min(REPORT_SECONDS, self.settings.simulator_lease_seconds / 4))
            try:
                if not await self._operations.report(operation, self._done):
                    return
            except (DriverError, Unavailable):
                continue  # recording will meet the same trouble, and decide

    async def _record(self, operation: Operation, row: SimulationRow, command: Command, store: Store) -> None:
        outcome = "completed" if isinstance(command, RecordSimulation) else "failed"
        name = f"{outcome}:{row.simulation_id}"
        context = Context(
            tenant=operation.tenant,
            actor=SIMULATOR,
            command_id=uuid5(row.simulation_id, outcome),
            request_hash=hashlib.sha256(name.encode()).digest()[:8],  # a second record is the first one's replay
            metadata=log.Metadata(causation_id=row.request_event_id),
        )
        try:
            receipt = await transact(store, estimate, row.estimate_id, command, context)
        except Rejected as refused:
            telemetry.log().warning("simulation_settled", simulation=str(row.simulation_id), reason=refused.code)
            return
        OUTCOMES.labels(outcome).inc()
        telemetry.log().info(f"simulation_{outcome}", simulation=str(row.simulation_id), position=receipt.position)


def _recording(row: SimulationRow, figures: Figures) -> RecordSimulation:
    sent = msgspec.json.encode({"simulation_id": row.simulation_id, "figures": figures})
    return RecordSimulation.model_validate_json(sent)
