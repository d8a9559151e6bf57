"""Text as people type it: kept unaltered, bounded in length, without characters that break tools downstream."""

import re
from typing import Annotated, Any, Final, TypeAlias, TypeVar

from pydantic import AfterValidator, GetCoreSchemaHandler, GetJsonSchemaHandler, StringConstraints
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

T = TypeVar("T")

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_CONTROL_BUT_LINES: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def _without(forbidden: re.Pattern[str], text: str) -> str:
    if found := forbidden.search(text):
        raise PydanticCustomError(
            "text_control_character",
            "Text may not contain the control character {character} (at index {index})",
            {"character": f"U+{ord(found[0]):04X}", "index": found.start()},
        )
    return text


def one_line(text: str) -> str:
    """Refuses control characters, line ends and tabs among them, and lone surrogates."""
    return _without(_CONTROL, text)


def many_lines(text: str) -> str:
    """Like `one_line`, but allows tab, line feed and carriage return."""
    return _without(_CONTROL_BUT_LINES, text)


def not_blank(text: str) -> str:
    """Like `one_line`, and refuses text that is empty or only white space."""
    if not text or text.isspace():
        raise PydanticCustomError("text_blank", "Text is required here, not blank")
    return _without(_CONTROL, text)


def _not_empty(items: tuple[T, ...]) -> tuple[T, ...]:
    if not items:
        raise PydanticCustomError("too_short", "At least one item is required")
    return items


class NotEmpty:
    """For tuples. pydantic's own minimum counts only items without faults, and so names a second fault that is none."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(_not_empty, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "minItems": 1}


Name: TypeAlias = Annotated[str, StringConstraints(max_length=200), AfterValidator(not_blank)]
Label: TypeAlias = Annotated[str, StringConstraints(max_length=60), AfterValidator(not_blank)]
"""A short word or code."""
Sentence: TypeAlias = Annotated[str, StringConstraints(max_length=1_000), AfterValidator(not_blank)]
Phrase: TypeAlias = Annotated[str, StringConstraints(max_length=500), AfterValidator(one_line)]
"""One line that may be empty."""
Note: TypeAlias = Annotated[str, StringConstraints(max_length=10_000), AfterValidator(many_lines)]
"""Several lines that may be empty."""

_EMAIL: Final = re.compile(r"[^@\s<>(),;:\"\\\[\]]+@[^@\s<>(),;:\"\\\[\]]+\.[^@\s<>(),;:\"\\\[\].]+")


def _email(text: str) -> str:
    if not _EMAIL.fullmatch(not_blank(text)):
        raise PydanticCustomError("email", "An e-mail address looks like name@company.example")
    return text


Email: TypeAlias = Annotated[str, StringConstraints(max_length=254), AfterValidator(_email)]
"""An address as written; whether two are the same mailbox (letter case) is the reader's rule."""
