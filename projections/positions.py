"""How far read models have come, in the same snapshot as the query that is answered."""

from functools import cache

from psycopg import sql

from eventstore.db import Reader
from eventstore.log import Head
from eventstore.sql import beside
from projections.registry import projection_of

SQL = beside(__file__)
QUERY_SEARCH_PATH = "read"
"""Where query functions find their views; the reader's role has it set."""


@cache
def _statement(name: str, model: str) -> bytes:
    view = sql.Identifier("read", f"{projection_of(model).name}_position")
    return sql.SQL(SQL[name].decode()).format(view=view).as_bytes()


async def position_of(reader: Reader, model: str) -> int:
    """The position in the bound company's log that the model's live build shows; 0 before its first event.

    A model applied in the append's own transaction is always at the head. Raises KeyError for an unknown model.
    """
    rows = await reader.tuples(_statement("position", model), {})
    return int(rows[0][0]) if rows else 0


async def with_head(reader: Reader, model: str) -> tuple[Head | None, int]:
    """The head of the bound company's log, and how far the model has come: both in one statement."""
    rows = await reader.tuples(_statement("with_head", model), {})
    if not rows:
        return None, 0
    position, epoch, reached = rows[0]
    return Head(reader.tenant, position, epoch), int(reached or 0)
