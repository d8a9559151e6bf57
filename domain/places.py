"""How people in different places see the same figures: time zone, language, the order of day, month and year."""

import re
from typing import Annotated, Final, Literal, TypeAlias
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, StringConstraints
from pydantic_core import PydanticCustomError

_ZONE: Final = re.compile(r"[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*")


def _known_zone(name: str) -> str:
    try:
        if _ZONE.fullmatch(name):
            ZoneInfo(name)
            return name
    except (KeyError, ValueError, OSError):  # not there, no zone, or a folder of zones
        pass
    raise PydanticCustomError("time_zone_unknown", "A time zone is named as IANA does, such as America/Chicago")


TimeZone: TypeAlias = Annotated[str, StringConstraints(max_length=60), AfterValidator(_known_zone)]
"""A name of the time zone database. Checked when it is chosen, against this system's copy."""
Language: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?$")]
"""A language tag as RFC 5646 has it, of language, script and region, each in its usual case."""
DateFormat: TypeAlias = Literal["YYYY-MM-DD", "DD.MM.YYYY", "DD/MM/YYYY", "MM/DD/YYYY"]
