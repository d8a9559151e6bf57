"""`cairn up`: the servers, the migrations, the API and the workers on one machine, watched until somebody says stop.

Each process writes its log to the data folder and is started again when it dies. None outlives this one: they hold the
other end of a pipe (`leash.py`; for the servers `embedded_watcher.py`). This one ends when it is told to, or when the
process that started it is gone, so nothing is left behind by a closed terminal or a killed `make`.
"""

import asyncio
import fcntl
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from api.identity import secret_hash_of
from cairn import erp, keys, servers
from cairn.embedded import EmbeddedError, Running
from cairn.embedded import start as start_servers
from cairn.settings import PROCESSES, Settings, known_to
from migrations import run as migrations

PORTS_TRIED = 100
BACK_OFF_SECONDS = (0.2, 30.0)
STEADY_SECONDS = 60.0
"""A process that lived this long is started again without delay."""
READY_SECONDS_MAX = 120.0
STOP_SECONDS_MAX = 30.0
PORT_SECONDS_MAX = 12.0
"""How long the port of last time is waited for: a little longer than an orphaned API may take to end."""
LOG_BYTES_MAX = 16 * 1024 * 1024
WATCH_SECONDS = 1.0

LOOPBACK = "127.0.0.1"

Say = Callable[[str], None]


class Program(NamedTuple):
    """A module to run as a process of its own, with its arguments, and the environment it gets."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]


class UpError(Exception):
    """The system cannot run, or runs already; the message says where and what to do."""


class AlreadyUp(UpError):
    """Another `cairn up` has this data folder."""


class System:
    """Everything that runs. `url` is the API's, `erp_url` that of the example ERP, "" without one."""

    def __init__(self, settings: Settings, say: Say, *, stay: bool = False, with_erp: bool = False) -> None:
        self.settings = settings
        self.say = say
        self.folder = settings.store.data_folder.absolute()
        self.url = ""
        self.erp_url = ""
        self.operator_token = ""
        self.stopping = asyncio.Event()
        self._stay = stay
        self._with_erp = with_erp
        self._starter = os.getppid()
        self._closing = ExitStack()
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._running: list[Running] = []

    async def start(self) -> None:
        """Starts everything and returns when it is ready to serve. Raises UpError, EmbeddedError."""
        start_servers(self.folder, postgres=False, nats=False)  # makes the folder, with the owner it must have
        self._claim()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self.stopping.set)
        self._tasks.append(asyncio.create_task(self._follow_the_starter()))
        environment = await asyncio.to_thread(self._environment)
        programs = {name: Program(run, known_to(kinds, environment)) for name, (run, kinds) in PROCESSES.items()}
        if self._with_erp:
            programs["erp"] = Program(await asyncio.to_thread(self._erp), known_to((), environment))
        for name, program in programs.items():
            self._tasks.append(asyncio.create_task(self._keep(name, program)))
        self._tasks.append(asyncio.create_task(self._watch_servers()))
        await self._until_ready()

    def _claim(self) -> None:
        """Take this data folder, or say who has it."""
        lock = os.open(self.folder / "up.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        self._closing.callback(os.close, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            seen = self._remembered()
            where = f"at {seen['url']}" if "url" in seen else "and is starting"
            raise AlreadyUp(f"Cairn already runs here {where} (process {seen.get('pid', 'unknown')}).") from None
        self._remember(pid=os.getpid())

    def _remembered(self) -> dict[str, Any]:
        """What is known of this folder's last or present run: `port`, `erp_port`, and while it runs `pid` and `url`."""
        with suppress(FileNotFoundError, ValueError):
            seen: dict[str, Any] = json.loads((self.folder / "up.json").read_text(encoding="utf-8"))
            return seen
        return {}

    def _remember(self, **facts: Any) -> None:
        kept = {name: value for name, value in self._remembered().items() if name in {"port", "erp_port"}}
        staged = self.folder / "up.json.new"
        staged.write_text(json.dumps(kept | facts), encoding="utf-8")
        staged.replace(self.folder / "up.json")

    def _environment(self) -> dict[str, str]:
        """Start the servers, migrate, and say to the processes what they need to know. Raises SettingsError."""
        keks = servers.with_keys(self.settings)
        self._running.append(servers.own(self.settings.store, self.say))
        store = servers.named(self.settings.store, self._running[0])
        assert store.database_url is not None
        assert store.nats_url is not None
        self.say("bringing the database to the newest schema")
        migrations.upgrade(store.database_url, role_password=store.database_role_password)
        asyncio.run(keys.check(store, keks))
        self.operator_token = self._operator_token()
        port = self._port()
        self.url = f"http://{self.settings.api.api_host}:{port}"
        self._remember(pid=os.getpid(), url=self.url, port=port)
        return dict(os.environ) | {
            "CAIRN_DATABASE_URL": store.database_url,
            "CAIRN_NATS_URL": store.nats_url,
            "CAIRN_OPERATOR_TOKEN_HASH": self.settings.api.operator_token_hash or secret_hash_of(self.operator_token),
            "CAIRN_DATA_FOLDER": str(self.folder),
            "CAIRN_API_PORT": str(port),
            **({"CAIRN_UPSTREAM_NETWORKS": self._networks()} if self._with_erp else {}),
            **({} if keks.kek_file is None else {"CAIRN_KEK_FILE": str(keks.kek_file)}),
            "PYTHONUNBUFFERED": "1",
        }

    def _operator_token(self) -> str:
        """The one given; else this folder's own; "" when only the hash of another was given."""
        given = self.settings.tools.token or ""
        if self.settings.api.operator_token_hash is None:
            return servers.operator_token(self.folder)
        return given if given.startswith("cairn_operator_") else ""

    def _networks(self) -> str:
        """Those that were allowed, and the address of the example ERP."""
        given = self.settings.workers.upstream_networks
        return f"{given},{LOOPBACK}" if given else LOOPBACK

    def _erp(self) -> tuple[str, ...]:
        """How the example ERP is started, at the port of last time: the connection to it knows no other."""
        port = int(self._remembered().get("erp_port", 0))
        if not port or not self._had_before(LOOPBACK, port):
            found = self._free_port(LOOPBACK, map(_any_port, [LOOPBACK] * PORTS_TRIED))
            assert found is not None  # the system names free ones
            port = found
        self.erp_url = f"http://{LOOPBACK}:{port}"
        self._remember(pid=os.getpid(), url=self.url, erp_port=port, erp_url=self.erp_url)
        return erp.arguments(self.folder, port, self.settings.tools.sample_data)

    def _port(self) -> int:
        """The port that was asked for; else the one of last time, the usual one or the next that is free."""
        host, usual = self.settings.api.api_host, self.settings.api.api_port
        if usual != 0 and "CAIRN_API_PORT" in os.environ:
            if not _is_free(host, usual):
                raise UpError(f"Port {usual} is taken by another program. Set CAIRN_API_PORT to another, or unset it.")
            return usual
        remembered = self._remembered().get("port")
        if remembered is not None and self._had_before(host, int(remembered)):
            return int(remembered)
        port = self._free_port(
            host, range(usual, usual + PORTS_TRIED) if usual else map(_any_port, [host] * PORTS_TRIED)
        )
        if port is None:
            raise UpError(f"No port from {usual} to {usual + PORTS_TRIED} is free. Set CAIRN_API_PORT.")
        return port

    def _free_port(self, host: str, chosen: Iterable[int]) -> int | None:
        """The first of these that nobody listens on and nobody of ours is about to."""
        return next((port for port in chosen if self._claim_port(port) and _is_free(host, port)), None)

    def _had_before(self, host: str, port: int) -> bool:
        """Takes the port of last time. An API whose `cairn up` was killed may be on it still, finishing its answers."""
        deadline = time.monotonic() + PORT_SECONDS_MAX
        claimed = told = False
        while time.monotonic() < deadline:
            claimed = claimed or self._claim_port(port)
            if claimed and _is_free(host, port):
                return True
            if not told:
                self.say(f"port {port}, the one of last time, is taken; waiting {PORT_SECONDS_MAX:.0f} s at most")
                told = True
            time.sleep(0.05)
        return False

    def _claim_port(self, port: int) -> bool:
        """Keeps other checkouts from choosing this port before our API listens there."""
        path = Path(tempfile.gettempdir(), f"cairn-port-{port}.lock")
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError:  # another user's
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._closing.callback(os.close, lock)
        return True

    async def _keep(self, name: str, program: Program) -> None:
        """Run a process, again and again, each time later if it does not live long."""
        delay = BACK_OFF_SECONDS[0]
        while not self.stopping.is_set():
            began = time.monotonic()
            process = await self._spawn(name, program)
            code = await process.wait()
            if self.stopping.is_set():
                return
            steady = time.monotonic() - began > STEADY_SECONDS
            delay = BACK_OFF_SECONDS[0] if steady else min(delay * 2, BACK_OFF_SECONDS[1])
            self.say(f"{name} ended ({_ending(code)}); starting it again. Its log: {self._log(name)}")
            await self._stops_within(delay)

    async def _spawn(self, name: str, program: Program) -> asyncio.subprocess.Process:
        with self._log(name).open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "cairn.leash",
                *program.arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=program.environment,
                cwd=Path(__file__).parent.parent,
                start_new_session=True,  # Ctrl-C in the terminal is for us, who then stop them in order
            )
        self._processes[name] = process
        return process

    def _log(self, name: str) -> Path:
        path = self.folder / f"{name}.log"
        with suppress(FileNotFoundError):
            if path.stat().st_size > LOG_BYTES_MAX:
                path.replace(path.with_suffix(".log.1"))
        return path

    async def _follow_the_starter(self) -> None:
        """Stop when whoever started us is gone."""
        while not await self._stops_within(WATCH_SECONDS):
            if os.getppid() != self._starter and not self._stay:
                self.stopping.set()

    async def _watch_servers(self) -> None:
        """Start a killed server again."""
        while not await self._stops_within(WATCH_SECONDS):
            if not all(map(_lives, self._server_pids())):
                self.say("a server ended; starting it again")
                await self._restart_servers()

    async def _stops_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)
        return self.stopping.is_set()

    def _server_pids(self) -> list[int]:
        last = self._running[-1]
        return [pid for pid in (last.postgres_pid, last.nats_pid) if pid is not None]

    async def _restart_servers(self) -> None:
        """The servers that still run are found, the others started, where they were before."""
        try:
            self._running.append(await asyncio.to_thread(servers.own, self.settings.store, self.say))
            await self._until_ready()
            self.say("everything is ready again")
        except (EmbeddedError, UpError) as error:
            self.say(str(error))

    async def _until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS_MAX
        missing = "the API does not answer"
        async with httpx.AsyncClient(base_url=self.url, timeout=5, trust_env=False) as client:
            while not self.stopping.is_set():
                with suppress(httpx.TransportError):
                    answer = await client.get("/health/ready")
                    if answer.status_code == httpx.codes.OK and not answer.json()["degraded"]:
                        return
                    missing = answer.text
                if time.monotonic() > deadline:
                    raise UpError(
                        f"Not ready after {READY_SECONDS_MAX:.0f} s: {missing}. The logs are in {self.folder}."
                    )
                await self._stops_within(0.1)

    async def stop(self) -> None:
        """Stops everything in order: who takes commands first, who keeps the data last. Harmless twice."""
        self.stopping.set()
        alive = {name: process for name, process in self._processes.items() if process.returncode is None}
        for process in alive.values():
            process.terminate()
        if alive:
            await asyncio.wait(
                [asyncio.create_task(process.wait()) for process in alive.values()], timeout=STOP_SECONDS_MAX
            )
        for name, process in alive.items():
            if process.returncode is None:
                self.say(f"{name} did not stop in {STOP_SECONDS_MAX:.0f} s; killing it")
                process.kill()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for running in reversed(self._running):
            await asyncio.to_thread(running.stop)
        if self._running:
            self._remember()
        self._closing.close()


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of a former run may linger
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def _any_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's, and there
        return True
    return True


def _ending(code: int) -> str:
    return f"exit {code}" if code >= 0 else signal.Signals(-code).name


def url_of(folder: Path) -> str | None:
    """Where the API of the `cairn up` that has this data folder listens; None when there is none."""
    return _remembered_url(folder, "url")


def erp_url_of(folder: Path) -> str | None:
    """Where its example ERP listens; None when there is none."""
    return _remembered_url(folder, "erp_url")


def _remembered_url(folder: Path, name: str) -> str | None:
    try:
        url = json.loads((folder / "up.json").read_text(encoding="utf-8")).get(name)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return None if url is None else str(url)
