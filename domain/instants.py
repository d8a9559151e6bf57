"""Instants as they are sent: text with an offset from UTC, kept in UTC."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeAlias

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field
from pydantic_core import PydanticCustomError

_INSTANT: Final = re.compile(r"2[0-9]{3}-[0-9]{2}-[0-9]{2}[Tt]")


def _written_as_instant(value: Any) -> Any:
    if isinstance(value, datetime) or (isinstance(value, str) and _INSTANT.match(value)):
        return value
    raise PydanticCustomError(
        "instant",
        "An instant is a string such as 2027-01-31T23:00:00Z, with its offset from UTC, from the year 2000 on",
    )


def _in_utc(instant: datetime) -> datetime:
    return instant.astimezone(UTC)


Instant: TypeAlias = Annotated[
    AwareDatetime, Field(strict=False), BeforeValidator(_written_as_instant), AfterValidator(_in_utc)
]
