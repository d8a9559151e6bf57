"""Fields of commands that are msgspec structs, taken as workers make them: a thousand records are not read twice."""

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any, Final, get_origin

import msgspec
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from domain.money import CENT, EXACT, LARGEST_AMOUNT
from domain.text import many_lines

_DEFINITIONS: Final = "#/$defs/"


class Packed:
    """Marks a field of one such type. What is of it passes; JSON is read by msgspec, its texts and amounts judged."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        self._source = source
        written: Callable[[Any], Any] = msgspec.to_builtins
        return core_schema.no_info_plain_validator_function(
            partial(_read, source), serialization=core_schema.plain_serializer_function_ser_schema(written)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        (reference,), definitions = msgspec.json.schema_components([self._source], ref_template=_DEFINITIONS + "{name}")
        found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(_inlined(reference, definitions)))
        return found


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    match schema:
        case {"$ref": str(reference), **rest}:
            return _inlined(definitions[reference.removeprefix(_DEFINITIONS)], definitions) | rest
        case dict():
            return {key: _inlined(value, definitions) for key, value in schema.items()}
        case list() | tuple():
            return [_inlined(each, definitions) for each in schema]
    return schema


def _read(kind: Any, value: Any) -> Any:
    if isinstance(value, get_origin(kind) or kind):
        return value
    try:
        found = msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise PydanticCustomError("shape", "{found}", {"found": str(error)}) from None
    sound(found)
    return found


def sound(value: Any) -> Any:
    """The value, if every text in it is one that can be stored and every decimal an amount of money."""
    match value:
        case str():
            many_lines(value)
        case Decimal():
            _amount(value)
        case dict():
            sound((*value, *value.values()))
        case list() | tuple():
            for each in value:
                sound(each)
        case msgspec.Struct():
            sound([getattr(value, name) for name in value.__struct_fields__])
    return value


def _amount(value: Decimal) -> None:
    if not value.is_finite() or abs(value) > LARGEST_AMOUNT or value != value.quantize(CENT, context=EXACT):
        raise PydanticCustomError("amount", "An amount of money has at most 15 digits, the last two of them decimals")
