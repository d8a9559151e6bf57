"""PostgreSQL in a folder of ours: make it, set it up, start it, recognise it."""

import hashlib
import os
import shutil
import signal
import stat
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from cairn.embedded_place import (
    EmbeddedError,
    Place,
    Server,
    await_ready,
    environment,
    failure,
    known,
    lives,
    watch,
    write,
)
from cairn.embedded_programs import POSTGRES_MAJOR, Programs, programs

SOCKET_PATH_BYTES_MAX = 107  # what every unix allows, without the closing zero
SOCKET_NAME = ".s.PGSQL.5432"
CREATE_DATABASE = r"""
SELECT 'CREATE DATABASE cairn' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'cairn') \gexec
"""
POSTGRES_SETTINGS = {
    "fsync": "on",
    "full_page_writes": "on",
    "jit": "off",
    "listen_addresses": "",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_timezone": "UTC",
    "logging_collector": "off",
    "max_connections": "100",
    "max_wal_size": "2GB",
    "shared_buffers": "256MB",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "unix_socket_permissions": "0700",
    "wal_compression": "pglz",
}


def launch_postgres(place: Place, lock: int) -> Server:
    tools = programs(place)
    _check_version(place)
    if not place.data.exists():
        _create_cluster(place, tools, lock)
    sockets = _socket_folder(place)
    _forget_stale_pid(place.data / "postmaster.pid")
    _forget_stale_pid(sockets / f"{SOCKET_NAME}.lock")
    _write_settings(place, sockets)
    command = [str(tools.postgres / "postgres"), "-D", _own_name(place, place.data)]
    # Fast shutdown first; after a minute of checkpoint leave the rest to recovery, which loses nothing.
    watcher, pid = watch(place, lock, command, [("SIGINT", 60.0), ("SIGQUIT", 10.0)], sockets)
    return await_ready(place, watcher, pid, found_postgres)


def _check_version(place: Place) -> None:
    with suppress(FileNotFoundError):
        version = (place.data / "PG_VERSION").read_text(encoding="ascii").strip()
        if version != POSTGRES_MAJOR:
            found = f"{place.data} was made by PostgreSQL {version}, and this one is {POSTGRES_MAJOR}"
            raise EmbeddedError(f"{found}. Move it with pg_dump or pg_upgrade, or name another folder.")


def _create_cluster(place: Place, tools: Programs, lock: int) -> None:
    """Make the data folder beside its place and move it there when complete, so that a half-made one is never used."""
    place.say(f"making a new database in {place.data}")
    staged = place.folder / "postgres.new"
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(mode=0o700)
    place.account.give(staged)
    choices = (
        "--username=postgres --auth-local=peer --auth-host=reject --data-checksums --encoding=UTF8 --no-instructions"
    )
    locale = "--locale-provider=builtin --builtin-locale=C.UTF-8 --locale=C"  # sorts the same on every system, forever
    done = subprocess.run(
        [str(tools.postgres / "initdb"), *choices.split(), *locale.split(), "-D", _own_name(place, staged)],
        cwd=staged,
        env=environment(),
        user=place.account.user,
        group=place.account.group,
        extra_groups=place.account.groups,
        umask=0o077,
        pass_fds=[lock],  # if we are killed meanwhile, the folder stays locked until initdb ended
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        shutil.rmtree(staged, ignore_errors=True)
        ending = signal.strsignal(-done.returncode) if done.returncode < 0 else ""
        raise failure(place, None, f"{done.stdout} {ending}")
    with (staged / "postgresql.conf").open("a") as settings:
        settings.write("\ninclude 'cairn.conf'  # rewritten at each start; ALTER SYSTEM overrides it\n")
    staged.rename(place.data)


def _own_name(place: Place, data: Path) -> str:
    """How the server names its data folder; it starts in it, so this works even where the path leads through /root."""
    return str(data) if place.account.may("-x", data) else "/proc/self/cwd"


def _forget_stale_pid(path: Path) -> None:
    """Remove a lock file of PostgreSQL whose pid ended, maybe uncollected, or names another program by now.

    PostgreSQL would take it for itself and refuse to start. We hold our own lock, so no server of ours runs here; one
    started by other means is called postgres and is respected.
    """
    with suppress(FileNotFoundError, IndexError, ValueError):
        pid = int(path.read_text(encoding="utf-8").split()[0])
        program = Path(f"/proc/{pid}/comm")
        if not lives(pid) or (program.exists() and program.read_text(encoding="utf-8").strip() != "postgres"):
            path.unlink()


def _socket_folder(place: Place) -> Path:
    """A folder only the servers' user enters, in the data folder or, if that path is too long or closed, elsewhere."""
    sockets = place.folder / "sockets"
    if len(os.fsencode(sockets / SOCKET_NAME)) > SOCKET_PATH_BYTES_MAX or not place.account.may("-x", place.data):
        digest = hashlib.sha256(os.fsencode(place.folder.resolve())).hexdigest()[:20]
        sockets = _short_temporary_folder() / f"cairn-{digest}"
    with suppress(FileExistsError):
        sockets.mkdir(mode=0o700)
        place.account.give(sockets)
    state = sockets.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != place.account.uid or state.st_mode & 0o077:
        raise EmbeddedError(
            f"{sockets}, for the sockets of {place.folder}, is not a folder of {place.account.name} alone. Remove it."
        )
    return sockets


def _short_temporary_folder() -> Path:
    folder = Path(tempfile.gettempdir())
    return folder if len(os.fsencode(folder)) < 60 else Path("/tmp")  # noqa: S108 # a private folder is made in it


def _write_settings(place: Place, sockets: Path) -> None:
    settings = POSTGRES_SETTINGS | dict(place.settings) | {"unix_socket_directories": str(sockets)}
    lines = [f"{name} = '{_escaped(value)}'\n" for name, value in settings.items()]
    write(place, place.data / "cairn.conf", "".join(lines))
    write(place, place.data / "pg_hba.conf", "local all all peer map=cairn\nlocal replication all peer map=cairn\n")
    root = known(0)  # who may become the servers' user anyway, and may have been the one to start them
    users = {place.account.name} | ({root.pw_name} if root else set())
    write(place, place.data / "pg_ident.conf", "".join(f'cairn "{user}" all\n' for user in sorted(users)))


def _escaped(value: str) -> str:
    """A value as it stands between quotes in PostgreSQL's configuration."""
    return value.replace("\\", "\\\\").replace("'", "''")


def found_postgres(place: Place) -> Server | None:
    """The server of this folder once it answers and has the database `cairn`, or None."""
    try:
        lines = (place.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    if len(lines) < 8 or lines[7].strip() not in {"ready", "standby"}:
        return None
    sockets = lines[4]
    psql = programs(place).postgres / "psql"
    done = subprocess.run(
        [str(psql), "-XAtqw", "-h", sockets, "-U", "postgres", "-d", "postgres", "-v", "ON_ERROR_STOP=1"],
        input=CREATE_DATABASE,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        return None
    return Server(place, f"postgresql://postgres@/cairn?host={quote(sockets)}", int(lines[0]))
