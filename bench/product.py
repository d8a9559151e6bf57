"""The product as processes: API, projector and relay, each as `cairn up` starts it, over servers of their own."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Self
from uuid import UUID, uuid4

import httpx
import psutil

from api.identity import mint, mint_operator
from bench import traffic
from bench.client import request
from bench.load import PLACES
from cairn import care, embedded
from cairn.client import Client, Command
from cairn.settings import PROCESSES, known_to
from eventstore.keyring import minted
from eventstore.settings import StoreSettings
from migrations import run as migrations

ROOT = Path(__file__).parent.parent
READY_SECONDS_MAX = 60


class Member(NamedTuple):
    """Somebody of the company."""

    id: UUID
    token: str


class Product:
    """Starts what is named of PROCESSES, and stops it. `settings` are environment variables besides the usual ones."""

    def __init__(self, *names: str, settings: Mapping[str, str] | None = None) -> None:
        self.names = names or tuple(PROCESSES)
        self.settings = settings or {}
        self.host, self.port = "127.0.0.1", free_port()
        self.url = f"http://{self.host}:{self.port}"
        self.operator_token, self._operator_hash = mint_operator()
        self._kek = minted()
        self.company = uuid4()
        self.token = ""
        self._stack = ExitStack()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            self._folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="cairn-bench-")))
            self._folder.chmod(0o755)
            self._running = undo.enter_context(embedded.start(self._folder / "data"))
            self.servers = self._running.servers
            undo.callback(self.stop)
            migrations.upgrade(self.servers.database_url)
            asyncio.run(care.prepare(StoreSettings(database_url=self.servers.database_url)))
            for name in self.names:
                self.start(name)
            if "api" in self.names:
                self._until_ready()
            self._stack = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def environment(self) -> dict[str, str]:
        """What its processes are told, and a verb of `cairn` that is to work on the same servers."""
        return {
            "CAIRN_DATABASE_URL": self.servers.database_url,
            "CAIRN_NATS_URL": self.servers.nats_url,
            "CAIRN_OPERATOR_TOKEN_HASH": self._operator_hash,
            "CAIRN_KEK": self._kek,
            "CAIRN_DATA_FOLDER": str(self._folder / "data"),
            "CAIRN_API_PORT": str(self.port),
        }

    def tool_environment(self) -> dict[str, str]:
        """What a verb of `cairn` needs to work on the same servers."""
        return {**os.environ, **self.environment, **self.settings}

    def start(self, name: str) -> None:
        """Starts one process."""
        arguments, kinds = PROCESSES[name]
        environment = known_to(kinds, self.tool_environment())
        with self._log(name) as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "cairn.leash", *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=ROOT,
            )

    def _log(self, name: str) -> IO[bytes]:
        return (self._folder / f"{name}.log").open("ab")

    def log_of(self, name: str) -> str:
        """The end of what a process logged."""
        return (self._folder / f"{name}.log").read_text(encoding="utf-8")[-2_000:]

    def stop(self, *names: str) -> None:
        """Stops processes, or all of them, and waits."""
        chosen = [self._processes.pop(name) for name in names or list(self._processes)]
        for process in chosen:
            process.terminate()
        for process in chosen:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdin is not None
            process.stdin.close()

    def kill_broker(self) -> None:
        """Ends the broker with kill -9."""
        assert self._running.nats_pid is not None
        os.kill(self._running.nats_pid, signal.SIGKILL)

    def start_broker(self) -> None:
        """Starts it again, with its data, where it was."""
        again = self._stack.enter_context(embedded.start(self._folder / "data", postgres=False))
        assert again.servers.nats_url == self.servers.nats_url

    def memory_bytes(self) -> dict[str, int]:
        """Resident set of each process."""
        return {name: psutil.Process(process.pid).memory_info().rss for name, process in self._processes.items()}

    def cpu_seconds(self) -> dict[str, float]:
        """Processor time each process has used."""
        times = {name: psutil.Process(process.pid).cpu_times() for name, process in self._processes.items()}
        return {name: used.user + used.system for name, used in times.items()}

    def _until_ready(self) -> None:
        wanted = "/health/ready" if set(PROCESSES) <= set(self.names) else "/health/live"
        deadline = time.monotonic() + READY_SECONDS_MAX
        answer = "no answer"
        while time.monotonic() < deadline:
            try:
                found = httpx.get(self.url + wanted, trust_env=False)
            except httpx.TransportError:
                time.sleep(0.05)
                continue
            if found.is_success:
                return
            answer = found.text
            time.sleep(0.05)
        logs = "\n".join(f"--- {name}\n{self.log_of(name)}" for name in self.names)
        raise RuntimeError(f"not ready after {READY_SECONDS_MAX} s: {answer}\n{logs}")

    def found_company(self, estimates: int, lines: int = 0) -> list[UUID]:
        """Registers a company with an owner and a token, a project and estimates, each with so many lines."""
        with Client(self.url, self.operator_token, self.company) as operator:
            registered = {"name": "Bench", "tier": "sample", "currency": "USD"}
            operator.send(Command("company", self.company, "register-company", registered))
        self.token = self.member("owner").token
        with Client(self.url, self.token) as owner:
            project, found = uuid4(), [uuid4() for _ in range(estimates)]
            owner.send(Command("project", project, "create-project", {"name": f"Project {project}"}))
            for number, estimate in enumerate(found):
                started = {"project_id": str(project), "currency": "USD"}
                owner.send(Command("estimate", estimate, "start-estimate", started))
                if lines:
                    bodies = [line_body(line_id(number, index)) for index in range(lines)]
                    owner.send(Command("estimate", estimate, "import-lines", {"lines": bodies}))
        return found

    def member(self, role: str) -> Member:
        """Another member of the company, with a token."""
        member, (token, secret_hash) = uuid4(), mint(self.company)
        with Client(self.url, self.operator_token, self.company) as operator:
            added = {"name": "Bea Bench", "email": f"{member}@bench.example", "role": role}
            operator.send(Command("membership", member, "add-member", added))
            until = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0).isoformat()
            issued = {"token_id": str(uuid4()), "secret_hash": secret_hash, "label": "bench", "expires_at": until}
            operator.send(Command("membership", member, "issue-token", issued))
        return Member(member, token)

    def headers(self, token: str | None = None) -> dict[str, str]:
        """What a command carries; the load generator puts a new id in its place."""
        agent = traffic.METADATA.user_agent or ""
        return {
            "authorization": f"Bearer {token or self.token}",
            "idempotency-key": PLACES[0].decode(),
            "user-agent": agent,
        }

    def adding(self, estimates: Sequence[UUID]) -> list[bytes]:
        """One request per estimate: add a line to it."""
        body = traffic.as_json(line_body(UUID(PLACES[1].decode())))
        return [request("POST", f"/commands/estimate/{id}/add-line", self.headers(), body) for id in estimates]


def line_id(estimate: int, index: int) -> UUID:
    """The id of a line of `found_company`'s estimates."""
    return UUID(int=(0xB << 120) + (estimate << 32) + index)


def line_body(id: UUID) -> dict[str, object]:
    """The body of a command that adds a line; about 400 bytes as an event."""
    return {
        "line_id": str(id),
        "wbs_path": ["SP 5625-20", "Removals"],
        "description": "REMOVE BITUMINOUS PAVEMENT 4 INCHES",
        "quantity": "4366.25",
        "unit": "S Y",
        "unit_price": "5.728820",
        "code": "2104504/00120",
        "code_set": "MnDOT",
        "code_edition": "2020",
        "cost_type": "subcontract",
        "note": "Quantity from sheet 14",
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
