"""What a read model is: tables, and for each event the pure folds that change their rows."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Generic, NamedTuple, Protocol, TypeVar
from uuid import UUID

import msgspec

from domain.decider import Event, tag_of
from eventstore.log import Recorded

R = TypeVar("R", bound=msgspec.Struct)
P = TypeVar("P")
Key = tuple[Any, ...]
Seen = Recorded[Any]


@lru_cache(maxsize=65_536)
def identity(raw: bytes) -> UUID:
    """The id that these 16 bytes are. A batch names the same few again and again."""
    return UUID(bytes=raw)


class Table(Generic[R]):
    """A table of a read model. Its columns are the fields of `row`, and the engine's: tenant, valid_from, valid_to.

    `key` names the fields that tell rows apart. In an `append_only` table a row is written once and stays: a fold
    always starts from None there, and may not make one key twice. `group` names the field of the key that rows which
    change together have in common: an index must begin with tenant and it.
    """

    __slots__ = ("append_only", "columns", "group", "grouped_at", "key", "name", "row")

    def __init__(
        self,
        name: str,
        row: type[R],
        *,
        key: tuple[str, ...],
        append_only: bool = False,
        group: str | None = None,
    ) -> None:
        self.name = name
        self.row = row
        self.key = key
        self.append_only = append_only
        self.group = group
        self.columns: tuple[str, ...] = row.__struct_fields__
        missing = set(key) - set(self.columns)
        if missing:
            raise TypeError(f"the key of {name} names no column: {sorted(missing)}")
        if group is not None and (append_only or group not in key):
            raise TypeError(f"{name} cannot be grouped by {group}: it is not in the key, or rows are only added")
        self.grouped_at: int | None = None if group is None else key.index(group)
        """Where the group stands in a key."""


class Standing(Protocol):
    """A row as it stands while an event is folded, and since which position; None and 0 when there is none."""

    @property
    def row(self) -> Any: ...

    @property
    def since(self) -> int: ...


class Beside(NamedTuple, Generic[P]):
    """What an event says of a row, and a row of another table as it then stands."""

    part: P
    other: Standing

    @property
    def row(self) -> Any:
        """The other row; None when there is none."""
        return self.other.row

    @property
    def since(self) -> int:
        """The position that the other row holds from."""
        return abs(self.other.since)


@dataclass(frozen=True, slots=True)
class Change:
    """How an event changes rows of one table: which keys it touches, each with the part of the event that is about it,
    and the fold from the row before (None: there is none) to the row after (None: there is none any more).

    `new`: by the rules of the domain no row of these keys holds when such an event comes, so that whoever is in a hurry
    need not look. Nothing rests on it: where one holds all the same, the table refuses a second, and all is looked up.

    `every`: `parts` gives groups instead of keys, and the fold is for every row of the group that there then is.
    `beside`: another table of the model, and the key there by the event and the key or group here: the fold's part is a
    `Beside` with that row.
    """

    table: Table[Any]
    parts: Callable[[Seen], Iterable[tuple[Any, Any]]]
    fold: Callable[[Any, Seen, Any], Any]
    new: bool = False
    every: bool = False
    beside: tuple[Table[Any], Callable[[Seen, Any], Key]] | None = None


@dataclass(frozen=True, slots=True)
class Sums:
    """Rows of `into` that add up what rows of `of` contribute: with every change of a row its old contribution is taken
    out and its new one put in, so nothing is ever counted again.

    `parts` gives, for a row, the keys it counts under, each with its measures, which the columns of `into` that follow
    its key add up, in their order. A sum of which nothing is left but zeros is no row. Several tables may add up into
    one. `spread`: what `parts` gives are no keys but buckets, and this names the keys that a bucket counts under: many
    rows of an event that count alike are added once.
    """

    of: Table[Any]
    into: Table[Any]
    parts: Callable[[Any], Iterable[tuple[Any, tuple[Any, ...]]]]
    spread: Callable[[Any], Iterable[Key]] | None = None


def change(
    table: Table[R],
    keys: Callable[[Seen], Iterable[Key]],
    fold: Callable[[R | None, Seen, Key], R | None],
    *,
    new: bool = False,
) -> Change:
    """A change whose fold needs no more than the row, the event and the key."""
    return Change(table, lambda seen: [(key, key) for key in keys(seen)], fold, new)


def changes(
    table: Table[R],
    parts: Callable[[Seen], Iterable[tuple[Key, P]]],
    fold: Callable[[R | None, Seen, P], R | None],
    *,
    new: bool = False,
) -> Change:
    """A change of many rows by one event: `parts` gives each key with what the event says of it."""
    return Change(table, parts, fold, new)


def changes_beside(
    table: Table[R],
    parts: Callable[[Seen], Iterable[tuple[Key, P]]],
    fold: Callable[[R | None, Seen, Beside[P]], R | None],
    beside: Table[Any],
    key: Callable[[Seen, Key], Key],
    *,
    new: bool = False,
) -> Change:
    """A change that has to know a row of another table of the model: that of `key` of the event and the key."""
    return Change(table, parts, fold, new, beside=(beside, key))


def changes_of_every(
    table: Table[R],
    parts: Callable[[Seen], Iterable[tuple[Any, P]]],
    fold: Callable[[R, Seen, Beside[P]], R | None],
    beside: Table[Any],
    key: Callable[[Seen, Any], Key],
) -> Change:
    """A change of every row of groups: `parts` gives each group with what the event says of it. The fold knows the row
    of another table too: that of `key` of the event and the group.
    """
    if table.group is None:
        raise TypeError(f"{table.name} has no groups")
    return Change(table, parts, fold, every=True, beside=(beside, key))


def of_stream(seen: Seen) -> list[Key]:
    """The key of a table with one row per stream."""
    return [(identity(seen.raw_stream_id),)]


def stream_of(seen: Seen) -> UUID:
    """The usual parking key: what went wrong with one thing says nothing about others."""
    return identity(seen.raw_stream_id)


EVERYTHING = "everything"
"""The parking key of a model with sums: things share rows there, so all that follows waits."""


@dataclass(frozen=True, eq=False)
class Projection:
    """A read model. Bump `version` when what is computed changes; an index added to the schema needs no bump.

    `key` names what is parked together when a fold fails: changes of different keys must touch different rows, so a
    model with `sums` parks everything. `inline` models are applied in the append's own transaction, and their folds may
    raise Rejected; they have no sums. `prompt` models show an edit to whoever made it at once: the others follow a
    moment later, with all that came meanwhile.
    """

    name: str
    version: int
    sql: Mapping[str, bytes]
    tables: tuple[Table[Any], ...]
    on: Mapping[type[Event], tuple[Change, ...]]
    ignores: frozenset[type[Event]] = frozenset()
    key: Callable[[Seen], object] = stream_of
    inline: bool = False
    prompt: bool = False
    sums: tuple[Sums, ...] = ()
    changes: Mapping[str, tuple[Change, ...]] = field(init=False)
    """By event tag."""

    def __post_init__(self) -> None:
        both = set(self.on) & self.ignores
        if both:
            raise TypeError(f"{self.name} both handles and ignores {sorted(event.__name__ for event in both)}")
        used = {each.table.name for made in self.on.values() for each in made}
        used |= {each.beside[0].name for made in self.on.values() for each in made if each.beside}
        foreign = used - {t.name for t in self.tables}
        if foreign:
            raise TypeError(f"{self.name} changes tables that are not its own: {sorted(foreign)}")
        if self.inline and self.sums:
            raise TypeError(f"{self.name} is applied inline and cannot have sums")
        object.__setattr__(self, "changes", {tag_of(event): made for event, made in self.on.items()})
