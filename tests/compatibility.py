"""`python -m tests.compatibility`: the tests that speak to servers, run against the oldest ones that are promised.

NATS comes as an older wheel, into an environment of its own that borrows everything else from this one; PostgreSQL 16
lies in the wheel of 18. What is downloaded is pinned with hashes and kept in `.cairn/compatibility`.
"""

import os
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from cairn.embedded_place import Account, prepare
from cairn.embedded_postgres import POSTGRES_SETTINGS
from cairn.embedded_programs import installed_programs
from tests.conftest import SMALL

ROOT: Final = Path(__file__).parents[1]
KEPT: Final = ROOT / ".cairn" / "compatibility"
FOLDERS: Final = ("tests/eventstore", "tests/projections", "tests/workers")
COMBINATIONS: Final = ((True, "2.10"), (False, "2.11"))
"""Whether PostgreSQL is 16 instead of ours, and the version of NATS."""
SECONDS_MAX: Final = 900
"""Of one combination."""
READY_SECONDS_MAX: Final = 60


def python_with(nats: str) -> Path:
    """An interpreter whose environment has this NATS server, and all else of ours."""
    folder = KEPT / f"nats-{nats}"
    python = folder / "bin" / "python"
    requirements = ROOT / "requirements" / f"compatibility-nats-{nats}.txt"
    mark = folder / "installed"
    if mark.exists() and mark.read_text() == requirements.read_text():
        return python
    venv.create(folder, clear=True, with_pip=False)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "--require-hashes", "-r", str(requirements)], check=True)
    where = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    theirs = Path(subprocess.check_output(where, text=True).strip())
    borrowed = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    (theirs / "borrowed.pth").write_text("\n".join(borrowed) + "\n")
    mark.write_text(requirements.read_text())
    return python


@contextmanager
def postgres_16() -> Iterator[str]:
    """A server of version 16; yields its URL. Only its user, and root, enter the folder of its socket."""
    programs = installed_programs().postgres.parent.parent / "pginstall" / "bin"
    with tempfile.TemporaryDirectory(prefix="cairn-16-") as name:
        folder = Path(name)
        account = prepare(folder)
        account.give(folder)
        _as(
            account,
            [str(programs / "initdb"), "-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"],
            folder,
        )
        settings = POSTGRES_SETTINGS | SMALL | {"unix_socket_directories": str(folder), "fsync": "on"}
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [str(programs / "postgres"), "-D", "data", *options],
                cwd=folder,
                user=account.user,
                group=account.group,
                extra_groups=account.groups,
                stdout=log,
                stderr=log,
            )
        try:
            _await_ready([str(programs / "pg_isready"), "-q", "-h", str(folder)], server, folder / "log")
            yield f"postgresql://postgres@/postgres?host={quote(str(folder))}"
        finally:
            server.terminate()
            server.wait()


def _as(account: Account, command: list[str], folder: Path) -> None:
    subprocess.run(
        command,
        cwd=folder,
        user=account.user,
        group=account.group,
        extra_groups=account.groups,
        stdout=subprocess.DEVNULL,
        check=True,
    )


def _await_ready(question: list[str], server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS_MAX
    while subprocess.run(question, check=False).returncode != 0:
        if server.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"PostgreSQL 16 does not start:\n{log.read_text()}")
        time.sleep(0.1)  # nobody announces it


def tested(nats: str, **environment: str) -> int:
    """Runs the tests; the exit code."""
    command = [str(python_with(nats)), "-m", "pytest", "-q", "-n", "2", *FOLDERS]
    try:
        return subprocess.run(
            command, cwd=ROOT, env=os.environ | environment, timeout=SECONDS_MAX, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        _say(f"not done after {SECONDS_MAX} s")
        return 1


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201  # to whoever typed `make compatibility`


def main() -> int:
    """Every combination, one after the other; 0 when all pass."""
    failed = 0
    for is_16, nats in COMBINATIONS:
        _say(f"PostgreSQL {'16' if is_16 else 'as installed'}, nats-server {nats}")
        if is_16:
            with postgres_16() as url:
                failed |= tested(nats, CAIRN_TEST_DATABASE_URL=url)
        else:
            failed |= tested(nats)
    return failed


if __name__ == "__main__":
    sys.exit(main())
