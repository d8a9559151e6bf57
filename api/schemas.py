"""What the API says of itself: event schemas, the AsyncAPI and OpenAPI documents, and what each problem code means."""

import functools
from collections.abc import Callable
from html import escape
from typing import Any, Final

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from api import problems
from api.problems import Explained
from api.views import found
from eventstore import asyncapi
from eventstore import schemas as event_schemas

VERSION: Final = "0.1.0"
SCHEMA_MEDIA_TYPE: Final = "application/schema+json"
HEADERS: Final = {"Cache-Control": "public, max-age=300"}


class Link(msgspec.Struct, frozen=True):
    """An event type, its version, and where its schema lies."""

    type: str
    version: int
    href: str


@get("/schemas", operation_id="Schemas", tags=["documents"], opt={"open": True})
async def schemas() -> list[Link]:
    """Every event type in every version ever written, with the path of the JSON Schema of its data.

    An event keeps the version it was written in, and `dataschema` names it: what was stored years ago stays readable.
    """
    parts = [(name.rpartition("/"), name) for name in _schemas()]
    return [Link(tag, int(version), f"/schemas/{name}") for (tag, _, version), name in parts]


@get("/schemas/{tag:str}/{version:int}", operation_id="EventSchema", tags=["documents"], opt={"open": True})
async def event_schema(tag: FromPath[str], version: FromPath[int]) -> Response[dict[str, Any]]:
    """The JSON Schema (2020-12) of the data of an event type, in one version."""
    schema = found(_schemas().get(f"{tag}/{version}"))
    return Response(schema, media_type=SCHEMA_MEDIA_TYPE, headers=HEADERS)


@get("/asyncapi.json", operation_id="AsyncApi", tags=["documents"], opt={"open": True})
async def asyncapi_document() -> Response[dict[str, Any]]:
    """The AsyncAPI 3 document: every subject on NATS and what is published there."""
    return Response(_asyncapi(), headers=HEADERS)


@get("/problems", operation_id="Problems", tags=["documents"], opt={"open": True})
async def problem_codes() -> list[Explained]:
    """Every code a problem document can have."""
    return problems.catalogue()


@get("/problems/{code:str}", operation_id="ProblemOfCode", tags=["documents"], opt={"open": True})
async def problem_of_code(code: FromPath[str]) -> Explained:
    """What one code means: where the `type` of a problem document leads."""
    return found(problems.explained(code))


@functools.cache
def _schemas() -> dict[str, dict[str, Any]]:
    return event_schemas.published()


@functools.cache
def _asyncapi() -> dict[str, Any]:
    return asyncapi.asyncapi(version=VERSION)


def routes(openapi: Callable[[], dict[str, Any]]) -> list[HTTPRouteHandler]:
    """The documents, `openapi` among them: it is made when first asked for."""

    @get("/schema/openapi.json", operation_id="OpenApi", tags=["documents"], opt={"open": True})
    async def openapi_document() -> Response[dict[str, Any]]:
        """This API as an OpenAPI 3.1 document."""
        return Response(openapi(), headers=HEADERS)

    @get("/schema", operation_id="Documentation", tags=["documents"], media_type="text/html", opt={"open": True})
    async def documentation() -> Response[str]:
        """The API for people; needs nothing from any other host."""
        return Response(_page(openapi()), media_type="text/html", headers=HEADERS)

    return [schemas, event_schema, asyncapi_document, problem_codes, problem_of_code, openapi_document, documentation]


_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code{background:#eee;padding:.1em .3em}summary{cursor:pointer}pre{overflow:auto;background:#f6f6f6;padding:1rem}"
)


def _page(document: dict[str, Any]) -> str:
    rows = "".join(
        f"<details><summary><code>{method.upper()} {escape(path)}</code> {escape(operation['summary'])}</summary>"
        f"<p>{escape(operation.get('description', ''))}</p>{_body(operation)}</details>"
        for path, item in document["paths"].items()
        for method, operation in item.items()
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Cairn API</title><style>{_STYLE}</style>'
        f"</head><body><h1>Cairn API</h1><p>{escape(document['info']['description'])} The whole of it for machines: "
        f'<a href="/schema/openapi.json">openapi.json</a>, <a href="/asyncapi.json">asyncapi.json</a>, '
        f'<a href="/schemas">event schemas</a>, <a href="/problems">problem codes</a>.</p>{rows}</body></html>'
    )


def _body(operation: dict[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    if "example" not in content:
        return ""
    text = msgspec.json.format(msgspec.json.encode(content["example"]), indent=2).decode()
    return f"<pre>{escape(text)}</pre>"
