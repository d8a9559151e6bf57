"""Where embedded servers live: the folder, its locks and logs, the user they run as, and the watcher of each."""

import fcntl
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

LOG_BYTES_MAX = 16 * 1024 * 1024  # a longer log is set aside at the next start
FREE_BYTES_MIN = 32 * 1024 * 1024  # two segments of the write-ahead log; asked only when a start failed
STORAGE_REFUSED = re.compile("No space left on device|Disk quota exceeded|File too large|File size limit exceeded")
FAILURE = re.compile(r"LOG:  (invalid|syntax|unrecog)|FATAL|PANIC|\[FTL\]|[Ee]rror:|nats-server: ")
START_MARK = b"--- starting ---\n"


class EmbeddedError(Exception):
    """An embedded server cannot run; the message names the folder and the way out."""


@dataclass(frozen=True)
class Account:
    """The operating system's user the servers run as; `user`, `group` and `groups` are None when we are that user."""

    name: str
    uid: int
    gid: int

    @property
    def user(self) -> int | None:
        return None if self.uid == os.geteuid() else self.uid

    @property
    def group(self) -> int | None:
        return None if self.user is None else self.gid

    @property
    def groups(self) -> list[int] | None:
        return None if self.user is None else []

    def give(self, path: Path) -> None:
        """Make this user the owner of a file or folder of ours."""
        if self.user is not None:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def may(self, flag: str, path: Path) -> bool:
        """Ask the system, as this user, whether `test FLAG PATH` holds: the modes of all parent folders count."""
        if self.user is None:
            return True
        command = ["/bin/sh", "-c", 'test "$0" "$1"', flag, str(path)]
        done = subprocess.run(command, cwd="/", user=self.user, group=self.group, extra_groups=self.groups, check=False)
        return done.returncode == 0


@dataclass(frozen=True)
class Place:
    """One server's corner of the folder: who runs it, its data, lock and log, and the settings its caller chose."""

    name: str
    folder: Path
    account: Account
    say: Callable[[str], None]
    patience_seconds: float
    settings: Mapping[str, str]

    @property
    def data(self) -> Path:
        return self.folder / self.name

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"


@dataclass
class Server:
    """A server that runs: `watcher` is None when another process started it."""

    place: Place
    url: str
    pid: int
    watcher: subprocess.Popen[bytes] | None = None

    def stop(self) -> None:
        """Ask the watcher to stop the server, and wait until it did."""
        if self.watcher is None or self.watcher.stdin is None or self.watcher.stdin.closed:
            return
        with suppress(BrokenPipeError):  # the server, and so its watcher, ended before
            os.write(self.watcher.stdin.fileno(), b"stop")
        self.watcher.stdin.close()
        if self.watcher.wait() < 0:  # killed: where the kernel did not tell the server to stop, we do
            deadline = time.monotonic() + self.place.patience_seconds
            while lives(self.pid) and time.monotonic() < deadline:
                with suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGINT)
                time.sleep(0.02)  # nobody announces the end of a process that is not our child


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn what the operating system refuses into an EmbeddedError that names the folder and the way out."""
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        if STORAGE_REFUSED.search(str(error)):
            raise EmbeddedError(_storage_refused(folder, str(error))) from error
        if isinstance(error, PermissionError):
            way_out = f"Give {_my_name()} the folder (chown -R), or name another one."
            raise EmbeddedError(f"{_my_name()} may not use {where}, which {folder} needs. {way_out}") from error
        if isinstance(error, FileExistsError | NotADirectoryError):
            raise EmbeddedError(f"{where} is in the way of the data folder {folder}. Name another folder.") from error
        raise EmbeddedError(f"The data folder {folder} cannot be used: {error}. Name another folder.") from error


def _storage_refused(folder: Path, detail: str) -> str:
    return (
        f"The disk takes no more data in {folder} ({detail}). Make room there or name another folder; nothing is lost."
    )


def _my_name() -> str:
    entry = known(os.geteuid())
    return f"user {os.geteuid()}" if entry is None else entry.pw_name


def prepare(folder: Path) -> Account:
    """Make the folder if need be, and choose the user the servers run as."""
    made = not folder.exists()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    account = _account(folder)
    if made:
        account.give(folder)
    for name in ("postgres", "nats"):
        data = folder / name
        if data.exists() and data.stat().st_uid != account.uid:
            owner = f"{data} belongs to user {data.stat().st_uid}, but the server must run as {account.name}"
            raise EmbeddedError(f"{owner}. Run `chown -R {account.name} {data}`, or name another folder.")
    return account


def _account(folder: Path) -> Account:
    """Ourselves; for root, the owner of the data, else `postgres`, else `nobody`."""
    if os.geteuid() != 0:
        entry = known(os.geteuid())
        if entry is None:  # PostgreSQL looks names up: neither initdb nor peer works without
            unknown = f"This system has no name for user {os.geteuid()}, so PostgreSQL cannot run in {folder}"
            raise EmbeddedError(f"{unknown}. Add the user to /etc/passwd, or set CAIRN_DATABASE_URL.")
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    owners = [path.stat().st_uid for path in (folder / "postgres", folder / "nats", folder) if path.exists()]
    candidates: list[int | str] = [*(owner for owner in owners if owner != 0), "postgres", "nobody"]
    chosen = next((entry for candidate in candidates if (entry := known(candidate))), None)
    if chosen is None:
        raise EmbeddedError(f"PostgreSQL refuses to run as root. Run as another user, who owns {folder}.")
    return Account(chosen.pw_name, chosen.pw_uid, chosen.pw_gid)


def known(user: int | str) -> pwd.struct_passwd | None:
    """The system's entry for a user id or name, if it has one."""
    with suppress(KeyError):
        return pwd.getpwuid(user) if isinstance(user, int) else pwd.getpwnam(user)
    return None


def lives(pid: int) -> bool:
    """Whether the process still does anything; one that nobody collected after its end does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with suppress(OSError):  # only Linux tells more
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return True


def claim(place: Place, found: Callable[[], Server | None]) -> int | Server:
    """Take the lock on this server's data (a descriptor), or return the server that holds it once it is `found`."""
    path = place.folder / f"{place.name}.lock"
    deadline = time.monotonic() + place.patience_seconds
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        place.account.give(path)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return lock
        server = found()
        if server is not None:
            return server
        if time.monotonic() > deadline:
            held = f"Another process holds {path} but {place.name} does not answer there"
            raise EmbeddedError(f"{held}. See {place.log}; stop that process (`fuser {path}`) and start again.")
        time.sleep(0.02)  # the holder is starting or stopping; it has no way to tell a process it does not know


def write(place: Place, path: Path, text: str) -> None:
    """Replace a file by one only the server's user may read. Never follows a link: root may not be led astray."""
    descriptor, staged = tempfile.mkstemp(dir=path.parent)  # mode 0600
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        place.account.give(Path(staged))
        file.write(text)
    Path(staged).replace(path)


# --- starting a server ---


def environment() -> dict[str, str]:
    """A clean one: what PG* variables, a locale or a time zone outside say must not change what happens here."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def watch(
    place: Place, lock: int, command: list[str], stop: list[tuple[str, float]], sockets: Path | None = None
) -> tuple[subprocess.Popen[bytes], int]:
    """Start a watcher that runs the command in the data folder; returns it and the pid of the server.

    `stop` is a list of signals with the seconds each may take; the folder `sockets` is removed in the end.
    """
    order = {
        "command": command,
        "folder": str(place.data),
        "environment": environment(),
        "user": place.account.user,
        "group": place.account.group,
        "lock": lock,
        "owner": os.getpid(),
        "stop": stop,
        "sockets": None if sockets is None else str(sockets),
    }
    program = [sys.executable, "-I", "-S", str(Path(__file__).with_name("embedded_watcher.py")), json.dumps(order)]
    with _opened_log(place) as log:
        watcher = subprocess.Popen(
            program,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd="/",
            pass_fds=[lock],
            start_new_session=True,  # Ctrl-C in the terminal is for the owner, who then stops us in order
        )
    assert watcher.stdout is not None
    with watcher.stdout as announced:
        pid = announced.readline().strip()
    if not pid:
        raise failure(place, watcher)
    return watcher, int(pid)


def _opened_log(place: Place) -> BinaryIO:
    """Open the log for appending; a line marks where this start begins."""
    with suppress(FileNotFoundError):
        if place.log.stat().st_size > LOG_BYTES_MAX:
            place.log.replace(place.log.with_suffix(".log.1"))
    log = os.fdopen(os.open(place.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600), "wb")
    place.account.give(place.log)
    log.write(START_MARK)
    log.flush()
    return log


def failure(place: Place, watcher: subprocess.Popen[bytes] | None, said: str = "") -> EmbeddedError:
    """Why a server did not start, in the words of its log since this start."""
    if watcher is not None:
        watcher.wait()
        said = place.log.read_bytes().rpartition(START_MARK)[2].decode(errors="replace")
    refused = STORAGE_REFUSED.search(said)
    if refused:
        return EmbeddedError(_storage_refused(place.folder, refused.group()))
    free_bytes = shutil.disk_usage(place.folder).free
    if free_bytes < FREE_BYTES_MIN:  # then the log could not be written either
        return EmbeddedError(_storage_refused(place.folder, f"{free_bytes // 1024} KiB are free"))
    causes = [line for line in said.splitlines() if FAILURE.search(line)]
    reason = " / ".join(causes[-3:] or said.splitlines()[-3:]) or "it said nothing"
    return EmbeddedError(f"{place.name} did not start in {place.folder}: {reason}. The whole story is in {place.log}.")


def await_ready(
    place: Place, watcher: subprocess.Popen[bytes], pid: int, find: Callable[[Place], Server | None]
) -> Server:
    deadline = time.monotonic() + place.patience_seconds
    try:
        while (server := find(place)) is None or server.pid != pid:
            with suppress(subprocess.TimeoutExpired):
                watcher.wait(0.02)
                raise failure(place, watcher)
            if time.monotonic() > deadline:
                raise EmbeddedError(f"{place.name} in {place.folder} is not ready in time. See {place.log}.")
    except BaseException:
        Server(place, "", pid, watcher).stop()
        raise
    server.watcher = watcher
    return server
