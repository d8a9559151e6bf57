"""The whole surface on NATS as one AsyncAPI 3.0 document, computed from the event registry."""

from typing import Any

from domain.decider import Event
from domain.registry import EVENTS
from eventstore.envelope import CONTENT_TYPE, envelope_schema, schema_of, view_change_schema

TENANT = {"tenant": {"description": "The company's id. A subscriber is allowed its own company's subjects only."}}


def asyncapi(*, version: str, server: str = "localhost:4222") -> dict[str, Any]:
    """The document. `server` is host and port of NATS, never credentials."""
    channels: dict[str, Any] = {"view": _view_channel()}
    messages: dict[str, Any] = {"ViewChange": _view_message()}
    for tag, event in sorted(EVENTS.items()):
        channels[tag] = _event_channel(tag, event)
        messages[event.__name__] = _event_message(tag, event)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Cairn events",
            "version": version,
            "description": "Every event of every company in position order, once, on the JetStream stream CAIRN_EVENTS "
            "(`cairn.*.event.>`), and every range a read model has taken in on CAIRN_VIEWS (`cairn.*.view.*`). "
            "Delivery is at least once: keep an inbox keyed by position. "
            "A hole or a new epoch is filled from `GET /log?after=`. "
            "Fields marked `x-sensitive` are sealed here: a copy in clear would outlive the erasure of what it says.",
            "license": {"name": "Apache-2.0"},
        },
        "servers": {"nats": {"host": server, "protocol": "nats"}},
        "defaultContentType": CONTENT_TYPE,
        "channels": channels,
        "operations": {_name(channel): _operation(channel, channels[channel]) for channel in channels},
        "components": {"messages": messages, "schemas": _schemas()},
    }


def _schemas() -> dict[str, Any]:
    """Each schema, its inner definitions pointed at where they now stand."""
    found = {"Envelope": envelope_schema(), "ViewChange": view_change_schema()}
    found |= {event.__name__: schema_of(event) for event in EVENTS.values()}
    placed: dict[str, Any] = {
        name: _moved(schema, f"#/components/schemas/{name}/$defs/") for name, schema in found.items()
    }
    return placed


def _moved(schema: Any, place: str) -> Any:
    match schema:
        case dict():
            kept = {key: value for key, value in schema.items() if key not in {"$id", "$schema"}}
            return {key: _moved(value, place) for key, value in kept.items()}
        case list():
            return [_moved(item, place) for item in schema]
        case str() if schema.startswith("#/$defs/"):
            return place + schema.removeprefix("#/$defs/")
        case _:
            return schema


def _event_channel(tag: str, event: type[Event]) -> dict[str, Any]:
    return {
        "address": f"cairn.{{tenant}}.event.{tag}",
        "title": event.__name__,
        "parameters": TENANT,
        "messages": {event.__name__: {"$ref": f"#/components/messages/{event.__name__}"}},
    }


def _event_message(tag: str, event: type[Event]) -> dict[str, Any]:
    described = {"description": event.__doc__.strip()} if event.__doc__ and "(" not in event.__doc__[:60] else {}
    return {
        "name": tag,
        "title": event.__name__,
        **described,
        "contentType": CONTENT_TYPE,
        "headers": {
            "type": "object",
            "properties": {"Nats-Msg-Id": {"type": "string", "description": "<tenant>.<epoch>.<position>"}},
        },
        "payload": {
            "allOf": [
                {"$ref": "#/components/schemas/Envelope"},
                {
                    "type": "object",
                    "properties": {"type": {"const": tag}, "data": {"$ref": f"#/components/schemas/{event.__name__}"}},
                },
            ]
        },
    }


def _view_channel() -> dict[str, Any]:
    return {
        "address": "cairn.{tenant}.view.{model}",
        "title": "ViewChange",
        "parameters": TENANT | {"model": {"description": "The read model's name."}},
        "messages": {"ViewChange": {"$ref": "#/components/messages/ViewChange"}},
    }


def _view_message() -> dict[str, Any]:
    return {
        "name": "view-change",
        "title": "ViewChange",
        "contentType": "application/json",
        "payload": {"$ref": "#/components/schemas/ViewChange"},
    }


def _name(channel: str) -> str:
    return "publish-" + channel.replace(".", "-")


def _operation(channel: str, described: dict[str, Any]) -> dict[str, Any]:
    pointer = "#/channels/" + channel.replace("~", "~0").replace("/", "~1")
    return {
        "action": "send",
        "channel": {"$ref": pointer},
        "messages": [{"$ref": f"{pointer}/messages/{name}"} for name in described["messages"]],
    }
