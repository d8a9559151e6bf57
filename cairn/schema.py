"""What is written down to read and to compare: the schema of the migrated database, and those of events."""

import re
import subprocess
import tempfile
from pathlib import Path

from cairn import embedded
from cairn.embedded_programs import installed_programs
from eventstore import schemas
from migrations import run as migrations

FILE = Path(migrations.__file__).parent / "schema.sql"
CHANGING = re.compile(r"^(--.*|\\(un)?restrict .*|SET .*|SELECT pg_catalog\.set_config.*)?$")
"""Lines of a dump that say when and with what it was made, or nothing."""


def written() -> list[Path]:
    """Writes the events' schemas that changed, and that of a new, migrated database to `migrations/schema.sql`.

    Raises Incompatible when an event's schema changed and had to get another version; EmbeddedError.
    """
    changed = schemas.keep()
    with (
        tempfile.TemporaryDirectory(prefix="cairn-schema-") as folder,
        embedded.start(Path(folder, "data"), nats=False) as running,
    ):
        migrations.upgrade(running.servers.database_url)
        FILE.write_text(dumped(running.servers.database_url), encoding="utf-8")
    return [FILE, *changed]


def dumped(database_url: str) -> str:
    """Everything the migrations made in this database, one statement after the other, but for what a library makes."""
    program = str(installed_programs().postgres / "pg_dump")
    command = [program, "--schema-only", "--exclude-schema=jobs", "--dbname", database_url]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    kept = (line for line in text.splitlines() if not CHANGING.match(line))
    return "-- The schema after all migrations. Written by `make schema`.\n" + "\n".join(kept) + "\n"
