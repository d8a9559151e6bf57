"""Changes to some fields of a thing: commands that give any subset, events that tell old from new."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self, TypeVar

import msgspec
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from domain.decider import Command


def _no_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


def optional(description: str, examples: list[Any]) -> Any:
    """A field that may be left out, which means: leave it as it is. Sending null is another thing, and only valid
    where the field's type says so. Never read the attribute itself, ask `given()`.
    """
    return Field(default=None, description=description, examples=examples, json_schema_extra=_no_default)


class Subset(Command):
    """A command that changes the fields it was given and leaves the others. Dump it with `exclude_unset=True`."""

    identifying: ClassVar[frozenset[str]] = frozenset()
    """Fields that say what is changed, not what it becomes."""

    @model_validator(mode="after")
    def _gives_something(self) -> Self:
        if not self.model_fields_set - self.identifying:
            raise PydanticCustomError("nothing_given", "Give at least one field to change")
        return self

    def given(self) -> dict[str, Any]:
        """Field → wanted value, of the fields that were sent."""
        return {name: getattr(self, name) for name in self.model_fields_set - self.identifying}


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Some fields of a thing, before or after a change. A field that did not change is UNSET and is not stored."""

    def given(self) -> dict[str, Any]:
        """Field → value, of the fields that changed."""
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not msgspec.UNSET}


Ch = TypeVar("Ch", bound=Change)


def difference(kind: type[Ch], current: object, wanted: Mapping[str, Any]) -> tuple[Ch, Ch] | None:
    """(was, now) of what would differ from `current`, or None when it is already so. 1.50 and 1.5 are the same."""
    changed = {name: value for name, value in wanted.items() if getattr(current, name) != value}
    if not changed:
        return None
    return kind(**{name: getattr(current, name) for name in changed}), kind(**changed)
