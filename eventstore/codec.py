"""Event ↔ stored bytes, through the registry and the upcasts; state ↔ snapshot bytes."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any, TypeVar, get_args

import msgspec

from domain.decider import WITHHELD, Decider, Event, Sensitive, State
from domain.maps import decode_map, encode_map
from domain.registry import EVENTS
from domain.upcasts import upcast

S = TypeVar("S", bound=State)

_encoder = msgspec.json.Encoder()
_DECODERS: Mapping[str, tuple[int, Callable[[bytes], Event]]] = {
    tag: (event.schema_version, msgspec.json.Decoder(event).decode) for tag, event in EVENTS.items()
}
"""By tag: today's schema version, and how its body is read. One decoder a type is faster than one for all."""
_CURRENT = frozenset((tag, event.schema_version, event) for tag, event in EVENTS.items())
_EVERY: Any = reduce(or_, EVENTS.values())
_decode_array: Callable[[bytes], list[Event]] = msgspec.json.Decoder(list[_EVERY]).decode
"""Many events at once are faster still."""
_TAGS: Mapping[type[Event], str] = {event: tag for tag, event in EVENTS.items()}
SENSITIVE: Mapping[str, Sensitive] = {tag: event.sensitive for tag, event in EVENTS.items() if event.sensitive}
"""By tag: the fields that are stored sealed (eventstore/vault.py)."""
SECRET_FIELDS: Mapping[str, frozenset[str]] = {
    tag: event.secret_fields for tag, event in EVENTS.items() if event.secret_fields
}
"""By tag: the fields that are never shown, neither in clear nor sealed."""
SENSITIVE_CATEGORIES = frozenset(tag.partition(".")[0] for tag in SENSITIVE)
"""Aggregates whose states hold what is about a person."""
_FINGERPRINTS: dict[tuple[str, int, type[State]], bytes] = {}


class Undecodable(Exception):
    """A stored event that today's code cannot read: its type is unknown, or its body does not fit."""


def encode(event: Event) -> bytes:
    """The exact bytes that are stored and hashed: JSON, fields in declaration order, defaults left out."""
    return _encoder.encode(event)


def tag(event: Event) -> str:
    """The type an event is stored under."""
    return _TAGS[type(event)]


def decode(kind: str, schema_version: int, payload: bytes) -> Event:
    """The event as today's code knows it. Older shapes pass through the upcasts, oldest first."""
    known = _DECODERS.get(kind)
    if known is None or known[0] != schema_version:
        return _decode_older(kind, schema_version, payload)
    try:
        return known[1](payload)
    except msgspec.MsgspecError as error:
        raise Undecodable(f"{kind} version {schema_version}: {error}") from error


def decode_joined(kinds: Sequence[str], schema_versions: Sequence[int], joined: bytes) -> list[Event] | None:
    """What `decode` gives for each of the payloads that stand here with commas between them, read in one call; None
    when one of them is not of today's version of the type it was stored under, or cannot be read: then each by itself.
    """
    try:
        events = _decode_array(b"[" + joined + b"]")
    except msgspec.MsgspecError:
        return None
    if len(events) != len(kinds):
        return None
    found = set(zip(kinds, schema_versions, map(type, events), strict=True))
    return events if found <= _CURRENT else None


def _decode_older(kind: str, schema_version: int, payload: bytes) -> Event:
    body, version = upcast(kind, schema_version, msgspec.json.decode(payload))
    known = EVENTS.get(kind)
    if known is None or known.schema_version != version:
        raise Undecodable(f"{kind} version {schema_version} is not known to this release")
    try:
        return msgspec.convert(body, known, strict=False)
    except msgspec.MsgspecError as error:
        raise Undecodable(f"{kind} version {schema_version}: {error}") from error


def encode_state(state: State) -> bytes:
    """A folded state as a snapshot keeps it (MessagePack)."""
    return msgspec.msgpack.encode(state, enc_hook=encode_map)


def decode_state(kind: type[S], body: bytes) -> S:
    """The state of a snapshot. Raises msgspec.MsgspecError when it does not fit."""
    return msgspec.msgpack.decode(body, type=kind, dec_hook=decode_map, strict=False)


def withheld(kind: str, payload: bytes) -> bytes:
    """A stored body as it may be shown: with its secret fields as `WITHHELD`."""
    fields = SECRET_FIELDS.get(kind)
    if fields is None:
        return payload
    body = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
    return _encoder.encode({name: WITHHELD if name in fields else value for name, value in body.items()})


def fingerprint(decider: Decider[Any, Any, Any]) -> bytes:
    """Changes when a stored state may not mean the same any more: other fields, or another snapshot version."""
    of = (decider.category, decider.snapshot_version, type(decider.initial))
    found = _FINGERPRINTS.get(of)
    if found is None:
        text = f"{decider.category}/{decider.snapshot_version}/{_shape(type(decider.initial), set())}"
        found = _FINGERPRINTS[of] = hashlib.sha256(text.encode()).digest()[:16]
    return found


def _shape(kind: Any, seen: set[Any]) -> str:
    """A type written out with the fields of every struct within it."""
    inner = "".join(_shape(argument, seen) for argument in get_args(kind))
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)) or kind in seen:
        return f"{kind}{inner}"
    seen.add(kind)
    return f"{kind}" + "".join(f"{field.name}:{_shape(field.type, seen)};" for field in msgspec.structs.fields(kind))
