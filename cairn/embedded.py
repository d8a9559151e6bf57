"""PostgreSQL and NATS of our own, from their wheels: start, wait until ready, stop, never leave a stray process.

Everything lives in one folder: `postgres/` and `nats/` (data), `*.log`, and one `*.lock` per server. The lock is held
(flock) by the server and each of its processes, so it says who runs, whatever was killed: a free lock means that no
process of that server is left. `embedded_watcher.py` ties each server to the process that started it.

Nobody signs in by trust. PostgreSQL listens on a unix socket in a folder of mode 0700 and asks the kernel who calls
(peer); that user may take any role. NATS listens on loopback and wants the password kept in `nats/nats.conf` (0600).

PostgreSQL refuses to run as root. Started by root, both servers run as the owner of their data; for new data that is
`postgres` if the system has that user (it exists for this purpose), else `nobody` (every system has it). That user may
be unable to reach the data or the wheels, say under /root. The data stays where it was asked for all the same: root
enters the folder before it changes user, and the server names it /proc/self/cwd. The programs are copied, once.
"""

import atexit
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from cairn.embedded_nats import found_nats, launch_nats
from cairn.embedded_place import EmbeddedError, Place, Server, claim, explained, prepare
from cairn.embedded_postgres import found_postgres, launch_postgres
from cairn.embedded_programs import POSTGRES_MAJOR, versions

__all__ = ["POSTGRES_MAJOR", "EmbeddedError", "Running", "Servers", "start", "versions"]


@dataclass(frozen=True)
class Servers:
    """How to reach the servers; the URL of a server that was not asked for is empty.

    Any role may replace the user of `database_url`: the socket lets the operating system's user take every role.
    """

    database_url: str
    nats_url: str
    folder: Path


class Running:
    """The servers `start` found or started. Leaving it as a context manager, or the program, stops what it started."""

    def __init__(self, folder: Path) -> None:
        self.servers = Servers("", "", folder)
        self.postgres_pid: int | None = None
        self.nats_pid: int | None = None
        self._started: list[Server] = []
        self._owner = os.getpid()

    def stop(self) -> None:
        """Stop the servers started here, cleanly, and wait for them; a server found running is left alone."""
        if os.getpid() != self._owner:  # a forked copy owns nothing
            return
        atexit.unregister(self.stop)
        with ExitStack() as every:  # an interrupted wait for one still stops the others
            for server in self._started:
                every.callback(server.stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def start(
    folder: Path,
    *,
    postgres: bool = True,
    nats: bool = True,
    sync_interval: str = "always",
    say: Callable[[str], None] = lambda _: None,
    max_payload_bytes: int = 8 * 1024 * 1024,
    postgres_settings: Mapping[str, str] = MappingProxyType({}),
    patience_seconds: float = 60.0,
) -> Running:
    """Find the servers of this folder, or start them, and return when they answer and the database `cairn` exists.

    `sync_interval` is how long JetStream may hold written messages in the memory of the system: a duration like "2m",
    or "always". `postgres_settings` override `POSTGRES_SETTINGS`. `patience_seconds` limits each wait. A server that
    another process started is used as it is and stops when that process does. Raises EmbeddedError.
    """
    folder = folder.absolute()
    running = Running(folder)
    atexit.register(running.stop)
    try:
        with explained(folder):
            account = prepare(folder)
            if postgres:
                place = Place("postgres", folder, account, say, patience_seconds, postgres_settings)
                server = _find_or_start(running, place, found_postgres, launch_postgres)
                running.postgres_pid, running.servers = server.pid, replace(running.servers, database_url=server.url)
            if nats:
                limits = {"sync_interval": sync_interval, "max_payload": str(max_payload_bytes)}
                place = Place("nats", folder, account, say, patience_seconds, limits)
                server = _find_or_start(running, place, found_nats, launch_nats)
                running.nats_pid, running.servers = server.pid, replace(running.servers, nats_url=server.url)
    except BaseException:
        running.stop()
        raise
    return running


def _find_or_start(
    running: Running,
    place: Place,
    found: Callable[[Place], Server | None],
    launch: Callable[[Place, int], Server],
) -> Server:
    claimed = claim(place, lambda: found(place))
    if isinstance(claimed, Server):
        place.say(f"{place.name} already runs here (process {claimed.pid})")
        return claimed
    try:
        server = launch(place, claimed)
    finally:
        os.close(claimed)  # the server holds the lock now, or nobody
    running._started.append(server)
    place.say(f"{place.name} is ready (process {server.pid})")
    return server
