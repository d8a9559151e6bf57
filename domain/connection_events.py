"""What happens to a connection to an upstream system of record: the events that are stored."""

from typing import Any, ClassVar, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from domain.decider import STREAM, Event, Sensitive
from domain.mapping import FieldMapping
from domain.subset import Change

Kind: TypeAlias = Literal["http", "folder", "sql"]
Mode: TypeAlias = Literal["full", "incremental"]

SEALED: Final[Sensitive] = {"secret": STREAM}


class Schedule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When a connection is synced of itself: a cron expression in a time zone, each time up to `jitter_seconds` later.
    Every `full_every`th of these runs is a full one, the others fetch what changed where the upstream can tell.
    """

    cron: str
    time_zone: str
    enabled: bool = True
    jitter_seconds: int = 0
    full_every: int = 1


class ConnectionPart(Change, frozen=True):
    """What a connection is, before or after a change. `upstream` is a whole configuration as `upstreams.as_stored`."""

    name: str | UnsetType = UNSET
    upstream: dict[str, Any] | UnsetType = UNSET


class ConnectionOpened(Event, frozen=True, kw_only=True, tag="connection.opened"):
    """`upstream` is the configuration as `upstreams.as_stored` wrote it, `kind` its kind."""

    name: str
    kind: Kind
    upstream: dict[str, Any]


class ConnectionRevised(Event, frozen=True, kw_only=True, tag="connection.revised"):
    """`credentials_dropped`: they would have gone to another address than they were given for, and are no more."""

    was: ConnectionPart
    now: ConnectionPart
    credentials_dropped: bool = False


class CredentialsReplaced(Event, frozen=True, kw_only=True, tag="connection.credentials-replaced"):
    """`secret` is sealed under the connection's own key and shown to nobody; `username` is whom the upstream knows."""

    sensitive: ClassVar[Sensitive] = SEALED
    secret_fields: ClassVar[frozenset[str]] = frozenset(SEALED)

    username: str
    secret: str

    def __repr__(self) -> str:
        return f"CredentialsReplaced(username={self.username!r})"


class MappingSet(Event, frozen=True, kw_only=True, tag="connection.mapping-set"):
    """The mapping is whole; its `version` counts up from 1. `currency` is that of all its money, None without any."""

    mapping: FieldMapping
    currency: str | None = None


class ScheduleSet(Event, frozen=True, kw_only=True, tag="connection.schedule-set"):
    was: Schedule | None
    now: Schedule | None


class ConnectionDisabled(Event, frozen=True, kw_only=True, tag="connection.disabled"):
    reason: str


class ConnectionEnabled(Event, frozen=True, kw_only=True, tag="connection.enabled"):
    pass


class ConnectionClosed(Event, frozen=True, kw_only=True, tag="connection.closed"):
    """For good: never synced again, its records are kept. Its key is not destroyed; replace the secret upstream."""

    reason: str


ConnectionEvent: TypeAlias = (
    ConnectionOpened
    | ConnectionRevised
    | CredentialsReplaced
    | MappingSet
    | ScheduleSet
    | ConnectionDisabled
    | ConnectionEnabled
    | ConnectionClosed
)
