"""Faults that only show when several fields of a body are seen together, each at the path of the field it is about."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import pydantic
from pydantic_core import PydanticCustomError


class Fault(NamedTuple):
    """One thing wrong: where, a stable code, and a sentence for people."""

    path: tuple[str | int, ...]
    code: str
    message: str

    def as_fact(self) -> dict[str, object]:
        """As a rejection lists it: as a problem document would, with a JSON pointer."""
        pointer = "".join(f"/{part}" for part in self.path)
        return {"path": pointer, "code": self.code.replace("_", "-"), "message": self.message}


def refuse(thing: pydantic.BaseModel, faults: Iterable[Fault]) -> None:
    """Raises one validation error with every fault, if there are any. For use in a model's own validator."""
    lines: list[Any] = [
        {"type": PydanticCustomError(fault.code, fault.message), "loc": fault.path, "input": None} for fault in faults
    ]
    if lines:
        raise pydantic.ValidationError.from_exception_data(type(thing).__name__, lines)
