"""What an event looks like outside: its subject, its message id, its CloudEvents 1.0 envelope, its JSON Schema.

The envelope is put together from bytes: the payload goes in as it was stored and hashed, so an event that today's code
cannot decode is published all the same.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import msgspec

from domain.decider import ERASED, WITHHELD, Event
from eventstore.codec import withheld
from eventstore.log import Recorded, Stored

CONTENT_TYPE: Final = "application/cloudevents+json"
EVERY_EVENT: Final = "cairn.*.event.>"
EVERY_VIEW: Final = "cairn.*.view.*"
EVERY_LOG_HINT: Final = "cairn.hint.*.log"
EVERY_VIEW_HINT: Final = "cairn.hint.*.view.*"
SEALED: Final = (
    "About a person: sealed (`sealed:1:` and base64) on NATS and for services, opened for those who may see it, and "
    f"{ERASED!r} once the person is forgotten. `x-sensitive` says whose key it is sealed under: that of the stream, or "
    "of the person whose id the named field holds."
)
SECRET: Final = f"Kept sealed under the stream's key, and shown to nobody: {WITHHELD!r} wherever the event is shown."
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def event_subject(tenant: UUID, kind: str) -> str:
    """`cairn.<tenant>.event.<aggregate>.<what-happened>`; `kind` is the event's tag."""
    return f"cairn.{tenant}.event.{kind}"


def events_of(tenant: UUID) -> str:
    """Every event of one company."""
    return f"cairn.{tenant}.event.>"


def view_subject(tenant: UUID, model: str) -> str:
    """`cairn.<tenant>.view.<model>`: the ranges of positions a read model has taken in."""
    return f"cairn.{tenant}.view.{model}"


def log_hint(tenant: UUID) -> str:
    """The core subject that says a company's log moved."""
    return f"cairn.hint.{tenant}.log"


def hinted_models(token: str) -> list[str]:
    """The models that the last token of a view hint's subject names."""
    return token.split(",")


def view_hint(tenant: UUID, models: Sequence[str]) -> str:
    """The core subject that says a company's read model moved."""
    return f"cairn.hint.{tenant}.view.{','.join(models)}"


def message_id(tenant: UUID, epoch: int, position: int) -> str:
    """`<tenant>.<epoch>.<position>`: what the broker recognises a repetition by."""
    return f"{tenant}.{epoch}.{position}"


def epoch_of(epochs: Sequence[tuple[int, int]], position: int) -> int:
    """The epoch an event was written in. `epochs` as `log.epochs` gives them: (epoch, last position before it)."""
    return max(epoch for epoch, after in epochs if after < position)


def shared_until(epochs: Sequence[tuple[int, int]], epoch: int, position: int) -> int:
    """How much of what somebody saw of this log is still true: he saw it up to `position`, when it was in `epoch`."""
    later = [after for began, after in epochs if began > epoch]
    return min([position, *later])


def envelope_of(stored: Stored, epoch: int) -> bytes:
    """The envelope of an event's row. `epoch` is the one it was written in (`epoch_of`)."""
    tenant = stored.tenant
    position, recorded_at, stream_version, schema_version, stream, event, actor, command = stored.row[:8]
    kind, leaf, metadata, payload = stored.row[8:]
    source, named = _of_kind(tenant, kind, schema_version)
    subject, command_id = _text(stream), _text(command)
    head = (
        f'{{"specversion":"1.0","id":"{_text(event)}","source":"{source}{subject}","subject":"{subject}","time":"'
        f'{_instant(recorded_at)}",{named},"tenant":"{tenant}","position":{position},"epoch":"{epoch}",'
        f'"streamversion":{stream_version},"actor":"{_text(actor)}","commandid":"{command_id}",'
        f'{_conversation(metadata, command_id)},"leaf":"{leaf.hex()}","data":'
    )
    return head.encode() + withheld(kind, bytes(payload)) + b"}"


def envelope(recorded: Recorded[Any], epoch: int) -> bytes:
    """The envelope of a decoded event."""
    row = (
        recorded.position,
        recorded.recorded_at,
        recorded.stream_version,
        recorded.schema_version,
        recorded.raw_stream_id,
        recorded.raw_event_id,
        recorded.raw_actor,
        recorded.raw_command_id,
        recorded.type,
        recorded.leaf,
        recorded.raw_metadata,
        recorded.payload,
    )
    return envelope_of(Stored(recorded.tenant, row), epoch)


def without_data(stored: Stored, epoch: int) -> bytes:
    """The envelope of an event too large for the broker: instead of `data`, `dataref` says where to read it."""
    whole = envelope_of(Stored(stored.tenant, (*stored.row[:11], b"null")), epoch)
    reference = f"/log?after={stored.position - 1}&limit=1".encode()
    return whole.removesuffix(b'"data":null}') + b'"dataref":"' + reference + b'"}'


class _Conversation(msgspec.Struct):
    correlation_id: UUID | None = None
    causation_id: UUID | None = None


@lru_cache(maxsize=1024)
def _conversation(metadata: bytes, command_id: str) -> str:
    if b"_id" not in metadata:
        return f'"correlationid":"{command_id}"'
    found = msgspec.json.decode(metadata, type=_Conversation)
    caused = f',"causationid":"{found.causation_id}"' if found.causation_id else ""
    return f'"correlationid":"{found.correlation_id or command_id}"{caused}'


def _text(raw: bytes) -> str:
    digits = raw.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


@lru_cache(maxsize=4096)
def _of_kind(tenant: UUID, kind: str, schema_version: int) -> tuple[str, str]:
    """What all events of a kind have in common: the beginning of their source, and the attributes that name it."""
    quoted = msgspec.json.encode(kind).decode()
    schema = msgspec.json.encode(f"/schemas/{kind}/{schema_version}").decode()
    named = f'"type":{quoted},"datacontenttype":"application/json","dataschema":{schema}'
    return f"/companies/{tenant}/{kind.partition('.')[0]}/", f'{named},"schemaversion":{schema_version}'


@lru_cache(maxsize=64)
def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def schema_of(event: type[Event]) -> dict[str, Any]:
    """The JSON Schema of one event type's data, in the version this release writes."""
    (reference,), definitions = msgspec.json.schema_components([event], ref_template="#/$defs/{name}")
    tag = event.__struct_config__.tag
    for field, whose in event.sensitive.items():
        definitions[event.__name__]["properties"][field] |= {"x-sensitive": whose, "description": SEALED}
    for field in event.secret_fields:
        definitions[event.__name__]["properties"][field] |= {"x-secret": True, "description": SECRET}
    whole = {
        "$schema": DIALECT,
        "$id": f"/schemas/{tag}/{event.schema_version}",
        "title": event.__name__,
        **reference,
        "$defs": definitions,
    }
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(whole))  # as JSON has it: a default may be a tuple
    return found


def envelope_schema() -> dict[str, Any]:
    """The JSON Schema of the envelope, whatever the event."""
    identity = {"type": "string", "format": "uuid"}
    count = {"type": "integer", "minimum": 1}
    properties: dict[str, Any] = {
        "specversion": {"const": "1.0"},
        "id": identity | {"description": "The event's own id, a UUIDv7."},
        "source": {"type": "string", "format": "uri-reference", "description": "/companies/<tenant>/<aggregate>/<id>"},
        "type": {"type": "string", "description": "The event's permanent tag."},
        "subject": identity | {"description": "The id of the thing it happened to: the stream."},
        "time": {"type": "string", "format": "date-time", "description": "When it was recorded; never falls."},
        "datacontenttype": {"const": "application/json"},
        "dataschema": {"type": "string", "format": "uri-reference"},
        "schemaversion": count,
        "tenant": identity | {"description": "The company."},
        "position": count
        | {"description": "1, 2, 3 … in the company's log, without gap. The inbox key of a consumer."},
        "epoch": {
            "type": "string",
            "pattern": "^[0-9]+$",
            "description": "The incarnation of the log it was written in; digits, because it exceeds 32 bits. "
            "A greater one replaces all positions from the first event that carries it.",
        },
        "streamversion": count,
        "actor": identity,
        "commandid": identity,
        "correlationid": identity,
        "causationid": identity,
        "leaf": {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "The event's leaf in the proof tree."},
        "data": {"type": "object", "description": "As `dataschema` describes it."},
        "dataref": {"type": "string", "description": "Where to read an event that is too large for the broker."},
    }
    optional = {"causationid", "data", "dataref"}
    return {
        "$schema": DIALECT,
        "$id": "/schemas/envelope/1",
        "title": "Envelope",
        "description": "An event as it leaves: CloudEvents 1.0 in JSON.",
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "oneOf": [{"required": ["data"]}, {"required": ["dataref"]}],
    }


class ViewChange(msgspec.Struct, frozen=True, rename={"after": "from"}):
    """A read model has taken in the positions above `from` up to `to`. `epoch` is that of `to`, in digits.

    Ranges of one version and epoch join without hole or overlap. A new version starts from 0: all may have changed.
    """

    model: str
    version: int
    epoch: str
    after: int
    to: int


def view_change_schema() -> dict[str, Any]:
    """The JSON Schema of what `cairn.<tenant>.view.<model>` carries."""
    (reference,), definitions = msgspec.json.schema_components([ViewChange], ref_template="#/$defs/{name}")
    return {"$schema": DIALECT, "$id": "/schemas/view-change/1", **reference, "$defs": definitions}
