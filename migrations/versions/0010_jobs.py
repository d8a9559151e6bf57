"""The queue of background jobs, in a schema and for a role of its own. What is in it the library makes."""

from pathlib import Path
from typing import Final

from procrastinate.schema import SchemaManager

from migrations.run import beside, execute

revision = "0010"
down_revision = "0009"

LIBRARYS: Final = "c70ec4b400a60ad9592787653aae5ae77ae41bf801d56b5bd2712751a07f2009"
"""SHA-256 of that schema. A release with another one needs a migration of ours, which runs the library's."""

_begin, downgrade = beside(__file__)


def upgrade() -> None:
    """Ours, the library's, ours."""
    _begin()
    execute(SchemaManager.get_schema().encode())
    execute(Path(__file__).with_name("0010_jobs.grants.sql").read_bytes())
