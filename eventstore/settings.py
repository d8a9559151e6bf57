"""Settings shared by every process, and the one function that reads the environment."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Meta

PREFIX = "CAIRN_"

UNREAD = frozenset({"CAIRN_SAMPLE_DATA", "CAIRN_TEST_DATABASE_URL", "CAIRN_TEST_NATS_URL", "CAIRN_TOKEN", "CAIRN_URL"})
"""Names that mean something to the command line and the tests, and nothing to a server."""

T = TypeVar("T", bound=msgspec.Struct)


class SettingsError(Exception):
    """The environment does not describe a system that could run. The message names every fault."""


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What every process of Cairn needs to know."""

    database_url: Annotated[
        str | None,
        Meta(
            description="PostgreSQL 16 or later, as libpq names it. Without it Cairn starts its own.",
            extra={"unit": "URL"},
        ),
    ] = None
    database_role_password: Annotated[
        str | None,
        Meta(
            description="Password of cairn_writer, cairn_projector, cairn_reader and cairn_jobs.",
            extra={"unit": "secret"},
        ),
    ] = None
    nats_url: Annotated[
        str | None,
        Meta(
            description="nats-server 2.10 or later with JetStream. Without it Cairn starts its own.",
            extra={"unit": "URL"},
        ),
    ] = None
    data_folder: Annotated[
        Path, Meta(description="Where servers that Cairn starts itself keep their data.", extra={"unit": "path"})
    ] = Path(".cairn")
    log_format: Annotated[
        str, Meta(pattern="^(json|text)$", description="How log lines look: json or text.", extra={"unit": "name"})
    ] = "json"
    log_level: Annotated[
        str,
        Meta(
            pattern="^(debug|info|warning|error)$",
            description="The least severe line that is written.",
            extra={"unit": "name"},
        ),
    ] = "info"
    append_batch_units_max: Annotated[
        int, Meta(ge=1, le=4096, description="Commands that join one append.", extra={"unit": "commands"})
    ] = 256
    append_batch_bytes_max: Annotated[
        int, Meta(ge=65_536, description="Payload bytes that join one append.", extra={"unit": "bytes"})
    ] = 4_194_304
    append_queue_units_max: Annotated[
        int,
        Meta(
            ge=1,
            description="Commands that may wait for their append; more are answered 503.",
            extra={"unit": "commands"},
        ),
    ] = 2048
    append_wait_seconds_max: Annotated[
        float,
        Meta(
            gt=0,
            description="How long a command may wait for its append before it is answered 503.",
            extra={"unit": "seconds"},
        ),
    ] = 10
    decide_attempts_max: Annotated[
        int,
        Meta(
            ge=1,
            description="How often a command is decided again when its stream moved on.",
            extra={"unit": "attempts"},
        ),
    ] = 50
    cached_streams_max: Annotated[
        int, Meta(ge=0, description="Folded states kept in memory.", extra={"unit": "streams"})
    ] = 2_000
    cached_events_max: Annotated[
        int,
        Meta(
            ge=0,
            description="Sum of the versions of the states kept in memory: a bound on their size.",
            extra={"unit": "events"},
        ),
    ] = 500_000
    snapshot_every_events: Annotated[
        int,
        Meta(ge=1, description="A stream this much longer than its snapshot gets a new one.", extra={"unit": "events"}),
    ] = 1_000
    writer_connections_max: Annotated[
        int, Meta(ge=1, description="Connections that append and load streams.", extra={"unit": "connections"})
    ] = 8


class KeySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the key-encryption keys are, for the processes that open what is sealed."""

    kek: Annotated[
        str | None,
        Meta(
            description="Key-encryption keys, comma-separated, the newest first: `cairn keys new` makes one. They wrap "
            "the keys that what is known of people, and what upstreams are reached with, is encrypted under.",
            extra={"unit": "secret"},
        ),
    ] = None
    kek_file: Annotated[
        Path | None,
        Meta(
            description="File with the same, one key a line. `cairn up` makes one beside a database of its own.",
            extra={"unit": "path"},
        ),
    ] = None


def read(*kinds: type[T], environ: Mapping[str, str]) -> list[T]:
    """One struct per kind, from the environment. Raises SettingsError with every fault, unknown names included."""
    faults: list[str] = []
    known = {PREFIX + field.name.upper() for kind in kinds for field in msgspec.structs.fields(kind)}
    for name in sorted(set(environ) - known - UNREAD):
        if name.startswith(PREFIX):
            near = difflib.get_close_matches(name, known, n=1)
            faults.append(f"{name} is not a setting" + (f"; did you mean {near[0]}?" if near else ""))
    made = [_build(kind, environ, faults) for kind in kinds]
    if faults:
        raise SettingsError("\n".join(faults))
    return [struct for struct in made if struct is not None]


def _build(kind: type[T], environ: Mapping[str, str], faults: list[str]) -> T | None:
    given: dict[str, Any] = {}
    hints = get_type_hints(kind, include_extras=True)
    for field in msgspec.structs.fields(kind):
        name = PREFIX + field.name.upper()
        if name not in environ:
            continue
        try:
            given[field.name] = msgspec.convert(environ[name], hints[field.name], strict=False, dec_hook=_path)
        except msgspec.ValidationError as error:
            faults.append(f"{name}: {error}")
    return None if faults else kind(**given)


def _path(kind: type[Any], value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError(str(kind))


class Described(msgspec.Struct, frozen=True):
    """A setting as it is listed for people."""

    name: str
    unit: str
    default: str
    description: str


def describe(*kinds: type[msgspec.Struct]) -> list[Described]:
    """Every setting of these kinds. Raises ValueError for one without unit, default or description."""
    found = []
    for kind in kinds:
        hints = get_type_hints(kind, include_extras=True)
        for field in msgspec.structs.fields(kind):
            metas = [meta for meta in get_args(hints[field.name])[1:] if isinstance(meta, Meta)]
            unit = next((str(meta.extra["unit"]) for meta in metas if meta.extra and "unit" in meta.extra), None)
            description = next((meta.description for meta in metas if meta.description), None)
            if unit is None or description is None or field.required:
                raise ValueError(f"{kind.__name__}.{field.name} needs a unit, a default and a description")
            default = "none" if field.default is None else str(field.default)
            found.append(Described(PREFIX + field.name.upper(), unit, default, description))
    return found
