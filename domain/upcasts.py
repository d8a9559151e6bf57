"""Yesterday's stored shape of an event → today's, oldest first, for ever."""

from collections.abc import Callable, Mapping
from typing import Any, Final

Body = dict[str, Any]
"""An event's stored JSON object, its tag under `type` included."""
Step = Callable[[Body], Body]

UPCASTS: Final[Mapping[tuple[str, int], Step]] = {}
"""(tag, schema version it was stored with) → the step to the next version of that shape. A step is never edited."""


def upcast(
    tag: str, schema_version: int, body: Body, steps: Mapping[tuple[str, int], Step] = UPCASTS
) -> tuple[Body, int]:
    """The body after every step from the stored version on, and the version it is of now. `body` is not altered."""
    while step := steps.get((tag, schema_version)):
        body, schema_version = step(dict(body)), schema_version + 1
    return body, schema_version
