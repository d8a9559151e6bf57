"""A connection to an upstream system of record: how it is reached, what its columns mean, when it is synced."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, TypeAlias, assert_never
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
import pydantic
from croniter import CroniterBadCronError, CroniterBadDateError, croniter
from msgspec import field
from msgspec.structs import replace
from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from domain import upstreams
from domain.connection_events import (
    ConnectionClosed,
    ConnectionDisabled,
    ConnectionEnabled,
    ConnectionEvent,
    ConnectionOpened,
    ConnectionPart,
    ConnectionRevised,
    CredentialsReplaced,
    Kind,
    MappingSet,
    Schedule,
    ScheduleSet,
)
from domain.decider import (
    STREAM,
    Command,
    Decider,
    Ref,
    Rejected,
    Role,
    Sensitive,
    Spanning,
    State,
    Written,
    members,
)
from domain.mapping import FieldMapping, MappingInput
from domain.mirror_events import SyncCancelled, mirror_of
from domain.mirror_state import Mirror
from domain.pfa import FieldType
from domain.places import TimeZone
from domain.subset import Subset, difference, optional
from domain.text import Name, Phrase, Sentence, many_lines
from domain.upstreams import UpstreamInput

REJECTIONS: Final[Mapping[str, str]] = {
    "connection.unknown": "No connection was opened under this id.",
    "connection.already-opened": "A connection with other particulars was opened under this id.",
    "connection.closed": "The connection was closed for good; what follows it is a new one.",
    "connection.disabled": "The connection is disabled; enable it first.",
    "connection.unmapped": "The connection has no field mapping yet, so nothing of it can be read.",
    "connection.kind-fixed": "A connection keeps the kind it was opened with; another kind is another connection.",
    "connection.currencies-mixed": "The mapping feeds amounts of several currencies; a connection has one.",
    "connection.currency-fixed": "The connection's amounts are of another currency; that stays as it was first mapped.",
    "connection.identity-fixed": "Records are known by the columns they were first synced by; these stay.",
}

_SINCE: Final = datetime(2024, 1, 1)  # any day does: a cron expression has no zone of its own
_CRON_LETTERS: Final = frozenset("0123456789*,-/ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_CRON_FIELDS: Final = 5


def _cron(text: str) -> str:
    fields = text.upper().split()
    if len(fields) != _CRON_FIELDS or not _CRON_LETTERS.issuperset("".join(fields)):
        raise PydanticCustomError(
            "cron", "A schedule is five fields, minute, hour, day, month and weekday: 30 5 * * 1-5"
        )
    try:
        croniter(text, _SINCE).get_next()
    except CroniterBadDateError:
        raise PydanticCustomError("cron_never", "There is no such day: this would never run") from None
    except (CroniterBadCronError, ValueError, KeyError, IndexError):
        raise PydanticCustomError("cron", "This is no cron expression of five fields, such as 30 5 * * 1-5") from None
    return " ".join(fields)


Cron: TypeAlias = Annotated[str, StringConstraints(max_length=100), AfterValidator(_cron)]
Secret: TypeAlias = Annotated[
    str,
    StringConstraints(max_length=10_000),
    AfterValidator(many_lines),
    Field(repr=False, json_schema_extra={"format": "password"}),
]


class CredentialsInput(pydantic.BaseModel):
    """What is shown to the upstream."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    username: Phrase = Field(
        default="", description="Whom the upstream knows; empty where a key is enough.", examples=["cairn"]
    )
    secret: Secret = Field(
        min_length=1, description="Password, key or client secret. It is never shown again.", examples=["s3cret"]
    )


class ScheduleInput(pydantic.BaseModel):
    """When a connection is synced of itself, as it is sent."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    cron: Cron = Field(
        description="Minute, hour, day, month, weekday; of day and weekday, if both are given, either.",
        examples=["30 5 * * 1-5"],
    )
    time_zone: TimeZone = Field(
        description="The zone that it is meant in, by its IANA name.", examples=["America/Chicago"]
    )
    enabled: bool = Field(default=True, description="False: kept for later.")
    jitter_seconds: int = Field(default=0, ge=0, le=3600, description="Each run begins up to so much later.")
    full_every: int = Field(default=1, ge=1, le=1000, description="Every so many runs a full one; else what changed.")

    def as_schedule(self) -> Schedule:
        """As events tell it."""
        return Schedule(**self.model_dump())


class ConnectionCommand(Command):
    """What the company is connected to is its owners' and architects' business."""

    roles: ClassVar[frozenset[Role]] = frozenset({Role.OWNER, Role.ARCHITECT})


_UPSTREAM_EXAMPLE: Final = {
    "kind": "http",
    "url": "https://erp.northern.example/api",
    "paging": {"by": "cursor"},
    "auth": {"by": "api-key"},
}
_MAPPING_EXAMPLE: Final = {
    "fields": [
        {"upstream": "Budget", "name": "plan_cost", "type": "money", "feeds": "plan_cost", "unit": "USD"},
        {"upstream": "Trade", "name": "category", "type": "category", "feeds": "category"},
    ],
    "identity": ["Item"],
}


class OpenConnection(ConnectionCommand):
    """Describes an upstream. Nothing is fetched before its columns are mapped and a sync is requested."""

    sensitive: ClassVar[Sensitive] = {"credentials": STREAM}

    name: Name = Field(description="What people call it.", examples=["Plant ERP"])
    upstream: UpstreamInput = Field(description="Its kind, and how it is reached.", examples=[_UPSTREAM_EXAMPLE])
    credentials: CredentialsInput | None = Field(
        default=None, description="What is shown to it; null if nothing, or not yet."
    )


class ReviseConnection(ConnectionCommand, Subset):
    """Changes the name or the configuration. The kind stays. Where the configuration leads to another address, the
    credentials are dropped: they were not given for that one.
    """

    name: Name = optional("What people call it.", ["Plant ERP, new"])
    upstream: UpstreamInput = optional("All of it: how the upstream is reached.", [_UPSTREAM_EXAMPLE])


class ReplaceCredentials(ConnectionCommand):
    """Gives other credentials, which are used from the next call on."""

    sensitive: ClassVar[Sensitive] = {"secret": STREAM}

    username: Phrase = Field(
        default="", description="Whom the upstream knows; empty where a key is enough.", examples=["cairn"]
    )
    secret: Secret = Field(
        min_length=1, description="Password, key or client secret. It is never shown again.", examples=["s3cret"]
    )


class SetMapping(ConnectionCommand):
    """Says what the upstream's columns mean, whole. Each mapping has a version, from 1; the next sync goes by it."""

    mapping: MappingInput = Field(description="Columns, and what identifies a record.", examples=[_MAPPING_EXAMPLE])


class SetSchedule(ConnectionCommand):
    """Says when the connection is synced of itself; null: never."""

    schedule: ScheduleInput | None = Field(description="The schedule, or null.")


class DisableConnection(ConnectionCommand):
    """Neither syncs nor pushes until it is enabled again. A sync that goes on is cancelled."""

    reason: Sentence = Field(description="Why.", examples=["The ERP is being moved"])


class EnableConnection(ConnectionCommand):
    """Lets it be synced again."""


class CloseConnection(ConnectionCommand):
    """Ends it for good; its records stay. A sync that goes on is cancelled."""

    reason: Sentence = Field(description="Why.", examples=["Replaced by another ERP"])


ConnectionCommands: TypeAlias = (
    OpenConnection
    | ReviseConnection
    | ReplaceCredentials
    | SetMapping
    | SetSchedule
    | DisableConnection
    | EnableConnection
    | CloseConnection
)


class Credentials(msgspec.Struct, frozen=True):
    """In clear, in memory only: the states of connections are never snapshotted."""

    username: str
    secret: str

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r})"


class Connection(State, frozen=True, kw_only=True):
    """`name` is empty until it is opened. `currency` is the one its amounts were first mapped in."""

    name: str = ""
    kind: Kind | None = None
    upstream: dict[str, Any] = field(default_factory=dict)
    credentials: Credentials | None = None
    mapping: FieldMapping | None = None
    currency: str | None = None
    schedule: Schedule | None = None
    disabled: bool = False
    closed: bool = False


def must_be_usable(connection: Connection) -> FieldMapping:
    """The mapping of a connection that may be synced and pushed to. Raises Rejected for one that may not."""
    _must_be_open(connection)
    if connection.disabled:
        raise Rejected("connection.disabled", "conflict")
    if connection.mapping is None:
        raise Rejected("connection.unmapped", "conflict")
    return connection.mapping


def _must_be_open(connection: Connection) -> None:
    if not connection.name:
        raise Rejected("connection.unknown", "missing")
    if connection.closed:
        raise Rejected("connection.closed", "conflict")


def decide(
    command: OpenConnection | ReviseConnection | ReplaceCredentials | SetSchedule | EnableConnection,
    connection: Connection,
) -> list[ConnectionEvent]:
    if isinstance(command, OpenConnection):
        return _open(command, connection)
    _must_be_open(connection)
    match command:
        case ReviseConnection():
            return _revise(command, connection)
        case ReplaceCredentials(username=username, secret=secret):
            if connection.credentials == Credentials(username, secret):
                return []
            return [CredentialsReplaced(username=username, secret=secret)]
        case SetSchedule(schedule=schedule):
            wanted = None if schedule is None else schedule.as_schedule()
            return [] if wanted == connection.schedule else [ScheduleSet(was=connection.schedule, now=wanted)]
        case EnableConnection():
            return [ConnectionEnabled()] if connection.disabled else []
    assert_never(command)


def _open(command: OpenConnection, connection: Connection) -> list[ConnectionEvent]:
    upstream = upstreams.as_stored(command.upstream)
    given = command.credentials
    events: list[ConnectionEvent] = [ConnectionOpened(name=command.name, kind=command.upstream.kind, upstream=upstream)]
    if given is not None:
        events.append(CredentialsReplaced(username=given.username, secret=given.secret))
    if not connection.name:
        return events
    _must_be_open(connection)
    asked = (command.name, upstream, None if given is None else Credentials(given.username, given.secret))
    if asked == (connection.name, connection.upstream, connection.credentials):
        return []
    raise Rejected("connection.already-opened", "conflict", name=connection.name)


def _revise(command: ReviseConnection, connection: Connection) -> list[ConnectionEvent]:
    wanted = command.given()
    if "upstream" in wanted:
        if command.upstream.kind != connection.kind:
            raise Rejected("connection.kind-fixed", kind=connection.kind, asked=command.upstream.kind)
        wanted["upstream"] = upstreams.as_stored(command.upstream)
    change = difference(ConnectionPart, connection, wanted)
    if change is None:
        return []
    elsewhere = "upstream" in wanted and _shown_to(wanted["upstream"]) != _shown_to(connection.upstream)
    dropped = elsewhere and connection.credentials is not None
    return [ConnectionRevised(was=change[0], now=change[1], credentials_dropped=dropped)]


def _shown_to(upstream: Mapping[str, Any]) -> tuple[Any, ...]:
    """Where credentials go: whoever may change that must not get to see them."""
    urls = [upstream.get("url"), (upstream.get("auth") or {}).get("token_url")]
    origins = [None if url is None else urlsplit(url)[:2] for url in urls]
    return (*origins, *(upstream.get(name) for name in ("host", "port", "tls")))


def _with_mirror(id: UUID, _: Command) -> list[Ref]:
    return [Ref("mirror", mirror_of(id))]


def _map(id: UUID, command: SetMapping, states: Mapping[Ref, Any]) -> list[Written]:
    own = Ref("connection", id)
    connection: Connection = states[own]
    mirror: Mirror = states[Ref("mirror", mirror_of(id))]
    _must_be_open(connection)
    before = connection.mapping
    mapping = command.mapping.as_mapping(1 if before is None else before.version)
    if mapping == before:
        return []
    if before is not None:
        mapping = replace(mapping, version=before.version + 1)
        begun = mirror.run is not None and mirror.run.attempt > 0
        if mapping.identity != before.identity and (mirror.synced or begun):
            raise Rejected("connection.identity-fixed", identity=list(before.identity))
    currency = _currency_of(mapping)
    if None not in (currency, connection.currency) and currency != connection.currency:
        raise Rejected("connection.currency-fixed", currency=connection.currency, asked=currency)
    return [(own, MappingSet(mapping=mapping, currency=currency))]


def _currency_of(mapping: FieldMapping) -> str | None:
    found = sorted({each.unit for each in mapping.fields if each.feeds and each.type == FieldType.MONEY and each.unit})
    if len(found) > 1:
        raise Rejected("connection.currencies-mixed", currencies=found)
    return found[0] if found else None


def _stop(id: UUID, command: DisableConnection | CloseConnection, states: Mapping[Ref, Any]) -> list[Written]:
    own, beside = Ref("connection", id), Ref("mirror", mirror_of(id))
    connection: Connection = states[own]
    mirror: Mirror = states[beside]
    closes = isinstance(command, CloseConnection)
    if closes and connection.closed:
        return []
    _must_be_open(connection)
    if not closes and connection.disabled:
        return []
    stopped = ConnectionClosed(reason=command.reason) if closes else ConnectionDisabled(reason=command.reason)
    if mirror.run is None:
        return [(own, stopped)]
    cancelled = SyncCancelled(
        connection_id=id, run_id=mirror.run.run_id, reason=command.reason, counts=mirror.run.counts
    )
    return [(own, stopped), (beside, cancelled)]


def evolve(connection: Connection, event: ConnectionEvent) -> Connection:
    match event:
        case ConnectionOpened(name=name, kind=kind, upstream=upstream):
            return replace(connection, name=name, kind=kind, upstream=upstream)
        case ConnectionRevised():
            credentials = None if event.credentials_dropped else connection.credentials
            return replace(connection, credentials=credentials, **event.now.given())
        case CredentialsReplaced(username=username, secret=secret):
            return replace(connection, credentials=Credentials(username, secret))
        case MappingSet(mapping=mapping, currency=currency):
            return replace(connection, mapping=mapping, currency=currency or connection.currency)
        case ScheduleSet():
            return replace(connection, schedule=event.now)
        case ConnectionDisabled():
            return replace(connection, disabled=True)
        case ConnectionEnabled():
            return replace(connection, disabled=False)
        case ConnectionClosed():
            return replace(connection, closed=True)
    assert_never(event)


_STOPPING: Final = Spanning(reads=_with_mirror, decide=_stop)

connection = Decider(
    category="connection",
    initial=Connection(),
    decide=decide,
    evolve=evolve,
    commands=members(ConnectionCommands),
    events=members(ConnectionEvent),
    spanning={
        SetMapping: Spanning(reads=_with_mirror, decide=_map),
        DisableConnection: _STOPPING,
        CloseConnection: _STOPPING,
    },
)
