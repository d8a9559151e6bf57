"""The OpenAPI document: what Litestar derives from the queries, and what only the command registry knows."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import pydantic
from litestar import Litestar
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from pydantic.json_schema import models_json_schema

from api import problems, roles
from api.commands import BatchItem, Outcomes
from api.schemas import VERSION
from domain.registry import COMMANDS
from eventstore.transact import Receipt

DESCRIPTION: Final = (
    "An event-sourced backend for people who price and control construction work. Commands are acknowledged when they "
    "are durable; queries are true at the position they name, now or as of any moment."
)
_REFERENCE: Final = "#/components/schemas/{name}"
_UUID: Final = {"type": "string", "format": "uuid"}
_EXAMPLE_ID: Final = "0197b2a4-5f6e-7c3d-8a9b-0c1d2e3f4a5b"

_COMMAND_ERRORS: Final = ("400", "401", "403", "404", "408", "409", "412", "413", "415", "422", "503")
_QUERY_ERRORS: Final = ("400", "401", "403", "404", "409", "422", "503")
_OPEN_ERRORS: Final = ("400", "404", "503")

CONFIG: Final = OpenAPIConfig(
    title="Cairn",
    version=VERSION,
    description=DESCRIPTION,
    components=Components(
        security_schemes={
            "token": SecurityScheme(
                type="http", scheme="bearer", description="An API token, `cairn_<company>_<secret>`."
            )
        }
    ),
    security=[{"token": []}],
    path="/schema/unused",
    render_plugins=(),
    use_handler_docstrings=True,
)


def document(litestar: Litestar) -> dict[str, Any]:
    """The document, complete: every operation with its body, headers, examples and the codes it can answer."""
    made: dict[str, Any] = litestar.openapi_schema.to_schema()
    schemas = made["components"].setdefault("schemas", {})
    _, ours = msgspec.json.schema_components([Receipt, BatchItem, Outcomes, problems.Document], ref_template=_REFERENCE)
    schemas.update(ours)
    found = dict(roles.handlers(litestar))
    kinds: dict[str, type[pydantic.BaseModel]] = {kind.__name__: kind for _, kind in COMMANDS.values()}
    kinds |= {str(each.operation_id): each.opt["takes"] for each in found.values() if "takes" in each.opt}
    bodies = _bodies(schemas, kinds)
    made["components"]["responses"] = {status: _problem_response(status) for status in _statuses()}
    for path, item in made["paths"].items():
        for operation in item.values():
            _complete(path, operation, bodies, is_open=bool(found[path].opt.get("open")))
            _say_who(operation, roles.allowed(found[path]))
    return made


def _say_who(operation: dict[str, Any], allowed: roles.Allowed | None) -> None:
    """Adds who may call it, for people, and for tools as `x-roles`; the operator may call anything."""
    if allowed is not None:
        operation["description"] = f"{operation['description']}\n\nFor {allowed}."
        operation["x-roles"] = sorted(allowed.roles)


def _bodies(schemas: dict[str, Any], kinds: Mapping[str, type[pydantic.BaseModel]]) -> dict[str, dict[str, Any]]:
    """Adds the schema of every body to the components; operation id → the body that refers to it."""
    references, defined = models_json_schema(
        [(kind, "validation") for kind in kinds.values()], ref_template=_REFERENCE.replace("name", "model")
    )
    definitions = defined.get("$defs", {})
    schemas.update(definitions)
    return {
        name: _json_body(references[kind, "validation"], _example({**definitions[kind.__name__]}, definitions))
        for name, kind in kinds.items()
    }


def _json_body(schema: dict[str, Any], example: Any) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}


def _example(schema: dict[str, Any], definitions: dict[str, Any]) -> Any:
    """A value of this schema, from the examples its fields give."""
    if schema.get("examples"):
        return schema["examples"][0]
    if "$ref" in schema:
        return _example(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "default" in schema:
        return schema["default"]
    if schema.get("type") == "object":
        fields = schema.get("properties", {}).items()
        return {name: _example(field, definitions) for name, field in fields if _shown(name, field, schema)}
    if schema.get("type") == "array":
        return [_example(schema["items"], definitions)]
    alternatives = schema.get("anyOf") or schema.get("oneOf") or [{}]
    return _example(alternatives[0], definitions) if alternatives != [{}] else None


def _shown(name: str, field: dict[str, Any], schema: dict[str, Any]) -> bool:
    return name in schema.get("required", ()) or bool(field.get("examples"))


def _complete(path: str, operation: dict[str, Any], bodies: dict[str, dict[str, Any]], *, is_open: bool) -> None:
    name = operation["operationId"]
    operation["summary"], _, _ = operation.get("description", name).partition("\n")
    for parameter in operation.get("parameters", ()):
        _without_null(parameter)
    is_command = path.startswith("/commands")
    if is_command and name in bodies:
        _complete_command(operation, bodies[name])
    elif path == "/commands":
        _complete_batch(operation)
    else:
        operation["responses"] = {status: kept for status, kept in operation["responses"].items() if status < "400"}
        if not is_open:
            _describe_answer(operation)
        if name in bodies:
            operation["requestBody"] = bodies[name]
            del operation["responses"]["304"]
    errors = _COMMAND_ERRORS if is_command or name in bodies else _OPEN_ERRORS if is_open else _QUERY_ERRORS
    operation["responses"] |= {status: {"$ref": f"#/components/responses/{status}"} for status in errors}
    if is_open:
        operation["security"] = []


def _without_null(parameter: dict[str, Any]) -> None:
    """A parameter is left out, never null."""
    alternatives = [each for each in parameter["schema"].pop("oneOf", ()) if each != {"type": "null"}]
    if len(alternatives) == 1:
        parameter["schema"] |= alternatives[0]
    elif alternatives:
        parameter["schema"]["oneOf"] = alternatives
    for empty in ("deprecated", "allowEmptyValue", "allowReserved"):
        parameter.pop(empty, None)


def _header(name: str, description: str, schema: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": required, "description": description, "schema": schema}


def _complete_command(operation: dict[str, Any], body: dict[str, Any]) -> None:
    operation["parameters"] = [
        {"name": "id", "in": "path", "required": True, "description": "The thing it is about.", "schema": _UUID},
        _header("Idempotency-Key", "The command's id, of your making; the same for a retry.", _UUID, required=True),
        _header("If-Match", 'The version it must have, as a receipt named it: `"7"`.', {"type": "string"}),
        _header("Correlation-Id", "The conversation it belongs to.", _UUID),
        _header("Causation-Id", "The event that caused it.", _UUID),
        _header("Cairn-Company", "The company that the operator acts for.", _UUID),
    ]  # fmt: skip
    operation["requestBody"] = body
    goes_on = "202" in operation["responses"]
    recorded = _receipt_response("Events were recorded, durably." + (" `Location` tells how it goes on." * goes_on))
    if goes_on:
        recorded["headers"] |= {"Location": {"description": "Ask there how far it is.", "schema": {"type": "string"}}}
    operation["responses"] = {
        "202" if goes_on else "201": recorded,
        "200": _receipt_response("Nothing new: there was nothing to do, or this id was committed before (`replayed`)."),
    }


def _receipt_response(description: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Receipt"}, "example": _RECEIPT}}
    return {"description": description, "headers": _answer_headers(), "content": content}


_RECEIPT: Final = {
    "command_id": _EXAMPLE_ID,
    "first_position": 42,
    "last_position": 42,
    "position": 42,
    "stream_version": 7,
    "epoch": 1763735471123456,
    "recorded_at": "2026-11-21T14:31:11.123456Z",
    "leaves": ["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    "replayed": False,
}


def _complete_batch(operation: dict[str, Any]) -> None:
    item = {
        "command_id": _EXAMPLE_ID,
        "aggregate": "project",
        "id": _EXAMPLE_ID,
        "verb": "rename-project",
        "body": {"name": "TH 108"},
    }
    schema = {"type": "array", "items": {"$ref": "#/components/schemas/BatchItem"}}
    operation["requestBody"] = _json_body(schema, [item])
    outcomes = {
        "schema": {"$ref": "#/components/schemas/Outcomes"},
        "example": {"outcomes": [{"command_id": _EXAMPLE_ID, "receipt": _RECEIPT}]},
    }
    operation["parameters"] = [_header("Cairn-Company", "The company that the operator acts for.", _UUID)]
    operation["responses"] = {
        "200": {"description": "One outcome per command.", "content": {"application/json": outcomes}}
    }


def _answer_headers() -> dict[str, Any]:
    described: dict[str, tuple[str, str, object]] = {
        "Cairn-Position": ("The position the answer is true at.", "integer", 42),
        "Cairn-Epoch": ("The log's epoch.", "integer", 1763735471123456),
        "Cairn-Token": ("Both; send it as Cairn-After to read at least as new.", "string", "1763735471123456.42"),
    }
    return {
        name: {"description": description, "schema": {"type": kind}, "example": example}
        for name, (description, kind, example) in described.items()
    }


def _describe_answer(operation: dict[str, Any]) -> None:
    operation.setdefault("parameters", []).append(
        _header("Cairn-Company", "The company that the operator acts for.", _UUID)
    )
    answered = operation["responses"]["200"]
    answered["headers"] = _answer_headers()
    answered["description"] = "The answer, true at the position its header names."
    if operation["operationId"] not in {"Stream", "Members"}:
        operation["responses"]["304"] = {"description": "What If-None-Match names is still the answer."}


def _statuses() -> list[str]:
    return sorted({*_COMMAND_ERRORS, *_QUERY_ERRORS, *_OPEN_ERRORS})


def _problem_response(status: str) -> dict[str, Any]:
    codes = [each.code for each in problems.catalogue() if int(status) in each.statuses]
    example = {
        "type": f"/problems/{codes[0]}",
        "title": "What the code always means.",
        "status": int(status),
        "code": codes[0],
    }
    return {
        "description": "One of: " + ", ".join(f"`{code}`" for code in codes),
        "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Document"}, "example": example}},
    }
