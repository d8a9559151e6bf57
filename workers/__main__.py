"""`python -m workers projector`, `relay`, `simulator` or `syncer`: one worker in a process of its own; signals, codes.

`python -m workers republish <company> <after> <to>` has a range of events published once more.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Final
from uuid import UUID

import uvloop
from prometheus_client import start_http_server

from eventstore import process
from eventstore import settings as environment
from eventstore.db import Database, Unsafe, role_url
from eventstore.keyring import keyring_of
from eventstore.settings import KeySettings, SettingsError, StoreSettings
from eventstore.vault import Vault
from eventstore.wire import Broker
from projections.settings import EngineSettings
from workers import outbound
from workers.settings import WorkerSettings
from workers.worker import Worker

NAMES: Final = ("projector", "relay", "simulator", "syncer")
"""Each is the module that has it, and, with a capital, its class."""
EXIT_UNSAFE: Final = 77  # as sysexits: permission
EXIT_SETTINGS: Final = 78  # as sysexits: configuration
EXIT_USAGE: Final = 64
OF_THE_API: Final = ("CAIRN_API_", "CAIRN_OPERATOR_")
"""Settings of another package, which a shared environment may hold."""

RELAY_CONNECTIONS: Final = 4
SIMULATOR_CONNECTIONS: Final = 3
SYNCER_CONNECTIONS: Final = 2


def build(
    name: str, store: StoreSettings, engine: EngineSettings, workers: WorkerSettings, keys: KeySettings
) -> Worker:
    """The worker of this name. Raises SettingsError when it could not run.

    Only the syncer holds keys, for what upstreams are reached with; the others see sealed text.
    """
    if store.database_url is None:
        raise SettingsError("CAIRN_DATABASE_URL is not set: a worker of its own needs to be told where PostgreSQL is")
    if store.nats_url is None:
        raise SettingsError("CAIRN_NATS_URL is not set: a worker of its own needs to be told where NATS is")
    broker = Broker(store.nats_url, name=name)
    if name == "projector":
        database = _database(store, name, engine.projector_connections_max + 1)
        return _made(name, database, broker, engine, workers)
    if name == "simulator":
        return _made(name, _database(store, name, SIMULATOR_CONNECTIONS), broker, store, workers)
    if name == "syncer":
        vault = Vault(keyring_of(keys.kek, keys.kek_file))
        return _made(name, _database(store, name, SYNCER_CONNECTIONS), broker, store, workers, vault)
    return _made(name, _database(store, name, RELAY_CONNECTIONS), broker, workers)


def _made(name: str, *parts: object) -> Worker:
    """One of `NAMES`. Its module is loaded only here: what the others import, this process needs no memory for."""
    made: Worker = getattr(import_module(f"workers.{name}"), name.capitalize())(*parts)
    return made


def _database(store: StoreSettings, name: str, connections: int) -> Database:
    conninfo = role_url(store.database_url or "", "cairn_projector", store.database_role_password)
    return Database(conninfo, name=name, connections_max=connections)


def run(name: str, store: StoreSettings, engine: EngineSettings, workers: WorkerSettings, keys: KeySettings) -> int:
    """Runs a worker until SIGTERM or SIGINT; the exit code of the process. 0 means that it ended in order."""
    process.begin(store, os.environ, f"cairn-{name}")
    try:
        return uvloop.run(_until_signalled(build(name, store, engine, workers, keys)))
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201  # the operator reads it before there is a log
        return EXIT_SETTINGS


async def _until_signalled(worker: Worker) -> int:
    signalled = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled.set)
    metrics = None
    if worker.settings.worker_metrics_port:
        metrics, _ = start_http_server(worker.settings.worker_metrics_port, addr="127.0.0.1")
    await worker.start()
    waits = [asyncio.ensure_future(signalled.wait()), asyncio.ensure_future(worker.ended())]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    await worker.stop()
    waits[0].cancel()
    if metrics is not None:
        metrics.shutdown()
    if worker.failed is not None:
        print(worker.failed, file=sys.stderr)  # noqa: T201  # the operator must see why
    return EXIT_UNSAFE if isinstance(worker.failed, Unsafe) else 0


async def _republish(store: StoreSettings, tenant: UUID, after: int, to: int) -> None:
    database = _database(store, "republish", 1)
    await database.open()
    try:
        await outbound.ask_again(database, tenant, after, to)
    finally:
        await database.close()


def main(arguments: list[str], environ: Mapping[str, str]) -> int:
    """The command line."""
    own = {name: value for name, value in environ.items() if not name.startswith(OF_THE_API)}
    try:
        store, engine, workers, keys = _settings(own)
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201  # the operator reads it before there is a log
        return EXIT_SETTINGS
    match arguments:
        case [name] if name in NAMES:
            return run(name, store, engine, workers, keys)
        case ["republish", tenant, after, to] if int(after) < int(to):
            uvloop.run(_republish(store, UUID(tenant), int(after), int(to)))
            return 0
    print(f"usage: python -m workers {' | '.join(NAMES)} | republish COMPANY AFTER TO", file=sys.stderr)  # noqa: T201  # help
    return EXIT_USAGE


def _settings(environ: Mapping[str, str]) -> tuple[StoreSettings, EngineSettings, WorkerSettings, KeySettings]:
    store, engine, workers, keys = environment.read(
        StoreSettings, EngineSettings, WorkerSettings, KeySettings, environ=environ
    )
    assert isinstance(store, StoreSettings)
    assert isinstance(engine, EngineSettings)
    assert isinstance(workers, WorkerSettings)
    assert isinstance(keys, KeySettings)
    return store, engine, workers, keys


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
