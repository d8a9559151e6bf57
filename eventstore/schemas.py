"""JSON Schemas of events, of every version ever written: an event keeps its version, and its schema, for ever."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from domain.decider import Event, tag_of
from domain.registry import EVENTS
from eventstore.envelope import schema_of

FOLDER: Final = Path(__file__).parent / "event_schemas"
"""One file per event type and version, `<tag>.<version>.json`; those of today's versions too, to compare with."""

Schema: TypeAlias = dict[str, Any]

_ABOUT: Final = frozenset({"$schema", "$id", "$defs", "$ref", "title", "description", "examples", "required"})
"""Keywords that restrict no value, or are looked at by themselves."""


class Incompatible(Exception):
    """An event's schema changed in a way that its readers or its stored events do not bear, and kept its version."""

    def __init__(self, breaches: Mapping[str, list[str]]) -> None:
        listed = "\n".join(f"  {name}: {breach}" for name, found in sorted(breaches.items()) for breach in found)
        way_out = "Raise `schema_version` and add an upcast; if no release has written this version, delete its file."
        super().__init__(f"schemas changed incompatibly:\n{listed}\n{way_out}")
        self.breaches = breaches


def published(events: Iterable[type[Event]] = tuple(EVENTS.values()), folder: Path = FOLDER) -> dict[str, Schema]:
    """The schema of every event type in every version, by `<tag>/<version>`: today's as derived, older ones as kept."""
    found: dict[str, Schema] = {}
    for event in sorted(events, key=tag_of):
        for version in range(1, event.schema_version):
            found[_name(event, version)] = msgspec.json.decode(_file(folder, event, version).read_bytes())
        found[_name(event, event.schema_version)] = schema_of(event)
    return found


def keep(events: Iterable[type[Event]] = tuple(EVENTS.values()), folder: Path = FOLDER) -> list[Path]:
    """Writes the schemas of today's versions that differ from those kept; the files written. Raises Incompatible."""
    changed = [event for event in events if kept(event, folder) != schema_of(event)]
    broken = {
        _name(event, event.schema_version): found
        for event in changed
        if (was := kept(event, folder)) is not None and (found := breaches(was, schema_of(event)))
    }
    if broken:
        raise Incompatible(broken)
    files = [_file(folder, event, event.schema_version) for event in changed]
    for event, file in zip(changed, files, strict=True):
        file.write_bytes(msgspec.json.format(msgspec.json.encode(schema_of(event))) + b"\n")
    return files


def kept(event: type[Event], folder: Path = FOLDER) -> Schema | None:
    """The schema that is kept of an event's present version."""
    file = _file(folder, event, event.schema_version)
    return msgspec.json.decode(file.read_bytes(), type=Schema) if file.exists() else None


def _name(event: type[Event], version: int) -> str:
    return f"{tag_of(event)}/{version}"


def _file(folder: Path, event: type[Event], version: int) -> Path:
    return folder / f"{tag_of(event)}.{version}.json"


def breaches(was: Schema, now: Schema) -> list[str]:
    """What makes `now` another version of an event than `was`. Only optional fields may come, and words may change.

    Whatever was stored must fit `now`, and what is written now must fit `was`: subscribers may check either. A field
    that is at its default is not stored, so another default would give stored events another meaning.
    """
    return list(_Comparison(was["$defs"], now["$defs"]).of(was, now, ""))


class _Comparison:
    """Two schemas, walked together; `$defs` of both."""

    def __init__(self, definitions_was: Schema, definitions_now: Schema) -> None:
        self._was = definitions_was
        self._now = definitions_now
        self._seen: set[tuple[str, str]] = set()

    def of(self, was: Schema, now: Schema, path: str) -> Iterator[str]:
        """What differs at this place and below."""
        pair = repr(was), repr(now)
        if pair in self._seen:
            return
        self._seen.add(pair)
        was, now = _resolved(was, self._was), _resolved(now, self._now)
        for name in sorted({*was, *now} - _ABOUT):
            yield from self._of_keyword(name, was.get(name), now.get(name), path)
        fields = was.get("properties", {}).keys() - now.get("properties", {}).keys()  # these are said to be gone
        for field in sorted((set(was.get("required", ())) ^ set(now.get("required", ()))) - fields):
            yield f"{path}/{field} is {'now' if field in now.get('required', ()) else 'no longer'} required"

    def _of_keyword(self, name: str, was: Any, now: Any, path: str) -> Iterator[str]:
        match was, now:
            case dict(), dict() if name == "properties":
                yield from (f"{path}/{field} is gone" for field in sorted(was.keys() - now.keys()))
                for field in sorted(was.keys() & now.keys()):
                    yield from self.of(was[field], now[field], f"{path}/{field}")
            case dict(), dict() if name in {"items", "additionalProperties"}:
                yield from self.of(was, now, f"{path}/*")
            case list(), list() if name == "anyOf" and len(was) == len(now):
                for number, (one, other) in enumerate(zip(was, now, strict=True)):
                    yield from self.of(one, other, f"{path}#{number}")
            case _ if was != now:
                yield f"{path or '/'}: `{name}` was {was!r} and is {now!r}"


def _resolved(schema: Schema, definitions: Schema) -> Schema:
    """The schema that is referred to, with what stands beside the reference (a default, say)."""
    if "$ref" not in schema:
        return schema
    return {**definitions[schema["$ref"].removeprefix("#/$defs/")], **schema}
