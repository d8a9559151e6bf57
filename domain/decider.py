"""The words every aggregate is written in: command, event, state, rejection, decider."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import UnionType
from typing import (
    Any,
    ClassVar,
    Final,
    Generic,
    Literal,
    NamedTuple,
    TypeAlias,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
)
from uuid import UUID

import msgspec
import pydantic

ERASED: Final = "[erased]"
"""What a sensitive field reads as once its subject's key is destroyed: then, now, and as of any moment."""

WITHHELD: Final = "[secret]"
"""What a secret field reads as wherever an event is shown."""

STREAM: Final = "stream"
"""As the subject of a sensitive field: the thing itself that the command or event is about, such as a member."""

Sensitive: TypeAlias = Mapping[str, str]
"""Field → whose it is: `STREAM`, or the field that holds the id of the person. Such a field is text, or null.

It is stored encrypted under that person's own key, and reads as `ERASED` once the key is gone. Deciders see it clear.
"""


class Role(StrEnum):
    """What a member of a company may do; a command names the roles it is open to."""

    OWNER = "owner"
    ARCHITECT = "architect"
    ESTIMATOR = "estimator"
    VIEWER = "viewer"
    AUDITOR = "auditor"
    SERVICE = "service"


EDITORS: Final = frozenset({Role.OWNER, Role.ARCHITECT, Role.ESTIMATOR})
"""People who work on projects. What an estimator may, an architect may, unless a command says otherwise."""
AUTHORS: Final = EDITORS | {Role.SERVICE}
"""Those, and services: imports, simulations and syncs act on content, but never decide what a bid is or who belongs."""


class Command(pydantic.BaseModel):
    """An intention. Validates shape and range; `decide` judges meaning.

    Unknown fields and types that would need converting are refused. Read it with `model_validate_json`: strictness
    knows that JSON writes ids and dates as strings.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    roles: ClassVar[frozenset[Role]] = EDITORS
    """Who may send it. The deployment's operator may send any command."""
    sensitive: ClassVar[Sensitive] = {}
    """Fields about a person. No trace that could be guessed from is kept of what such a command said."""
    roles_for_oneself: ClassVar[frozenset[Role]] = frozenset()
    """Who else may send it about their own membership."""


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that happened. Each subclass repeats `frozen=True` and gives a permanent `tag`."""

    schema_version: ClassVar[int] = 1
    sensitive: ClassVar[Sensitive] = {}
    secret_fields: ClassVar[frozenset[str]] = frozenset()
    """Sensitive fields that nothing shows, to nobody and in no form: only deciders and workers ever see them."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What `decide` needs to know, and no more. Anything a person wants to see is a read model."""


Severity = Literal["refused", "missing", "conflict"]


class Rejected(Exception):
    """A decision says no. `code` is stable and documented, `facts` are JSON values that explain it.

    `severity` tells a caller what kind of no it is: the rule forbids it (refused), the thing it speaks
    of does not exist (missing), or the present state stands against it (conflict).
    """

    def __init__(self, code: str, severity: Severity = "refused", **facts: object) -> None:
        super().__init__(code)
        self.code = code
        self.severity: Severity = severity
        self.facts = facts


class Ref(NamedTuple):
    """Names a stream: the aggregate's category and the thing's id."""

    category: str
    id: UUID


COMPANY: Final = Ref("company", UUID(int=0))
"""The stream of the company that asks, whichever it is: a decision does not know its company's id."""


class Recall(NamedTuple):
    """Names a command by the version of a stream that it wrote."""

    ref: Ref
    stream_version: int


class Lookup(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision has to know of the read models, which no stream that it could read says. Each kind documents its
    answer. It is what the read model said: it may lag and is not version-checked, so a decision may rest on it only
    where being a moment late is harmless.
    """


class WhoAsks(Lookup, frozen=True):
    """Answered with the id of whoever sent the command: a member's, the operator's or a worker's."""


C = TypeVar("C", bound=Command)
S = TypeVar("S", bound=State)
E = TypeVar("E", bound=Event)

Written = tuple[Ref, Event]
"""An event and the stream it belongs to."""


class Recalled(NamedTuple):
    """A command of the past: its id, and what it wrote, each event with its stream and its version there."""

    command_id: UUID
    written: tuple[tuple[Ref, int, Event], ...]


@dataclass(frozen=True)
class Spanning:
    """A decision over several streams. All it reads are version-checked in the one atomic append.

    `reads(id, command)` names the streams beside the command's own; `decide(id, command, states)` gets the state
    of the command's own stream and of each of those, and returns events with the stream each belongs to.
    `recalls(id, command)` names commands of the past: `states` then holds each one's `Recalled` under its `Recall`,
    None where the log has no such version. `follows(id, command, state)` names further streams that only the state of
    the command's own stream tells; once it does, it tells the same for ever.

    `looks_up(id, command, states)` asks read models: `states` then holds each answer under its `Lookup`. It is asked
    again with the answers, until it asks nothing new, so one may follow from another. `lookups` are the kinds it asks.
    """

    reads: Callable[[UUID, Any], Iterable[Ref]]
    decide: Callable[[UUID, Any, Mapping[Any, Any]], list[Written]]
    recalls: Callable[[UUID, Any], Iterable[Recall]] | None = None
    follows: Callable[[UUID, Any, Any], Iterable[Ref]] | None = None
    looks_up: Callable[[UUID, Any, Mapping[Any, Any]], Iterable[Lookup]] | None = None
    lookups: tuple[type[Lookup], ...] = ()


@dataclass(frozen=True)
class Decider(Generic[C, S, E]):
    """One aggregate: `decide(command, state) -> events`, `evolve(state, event) -> state`. Both pure.

    A command class listed in `spanning` is decided there instead. `snapshot_version` is raised when the meaning of
    the state changes, so that stored snapshots of the older meaning are ignored. `snapshot_every_events` is for streams
    of large events, of which few are to be read at once.
    """

    category: str
    initial: S
    decide: Callable[[C, S], list[E]]
    evolve: Callable[[S, E], S]
    commands: tuple[type[Command], ...]
    events: tuple[type[Event], ...]
    spanning: Mapping[type[Command], Spanning] = field(default_factory=dict)
    snapshot_version: int = 1
    snapshot_every_events: int | None = None


def members(union: object) -> tuple[type[Any], ...]:
    """The classes of a union alias, or the one class it is."""
    if get_origin(union) in (Union, UnionType):
        return tuple(get_args(union))
    return (cast("type[Any]", union),)


def tag_of(event: type[Event]) -> str:
    """The permanent name an event is stored under, `<category>.<what-happened>`."""
    tag = event.__struct_config__.tag
    if not isinstance(tag, str) or "." not in tag:
        raise TypeError(f"{event.__name__} needs an explicit tag 'category.what-happened'")
    return tag
