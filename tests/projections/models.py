"""A read model of the tests' own: it counts, and fails when told to."""

from uuid import UUID

import msgspec

from domain.decider import Event
from domain.project import ProjectCreated, ProjectRenamed, StatusChanged
from domain.registry import EVENTS
from eventstore.sql import parse
from projections.projection import Change, Key, Projection, Seen, Sums, Table, change, of_stream

SCHEMA = b"""
-- name: schema
create table if not exists names_seen (
  tenant uuid not null, project_id uuid not null, name text not null, renamed smallint not null,
  valid_from bigint not null, valid_to bigint not null, primary key (tenant, project_id, valid_to)
) partition by range (valid_to)
"""
LENGTHS_SCHEMA = b""";
create table if not exists names_by_length (
  tenant uuid not null, length integer not null, names integer not null, renamed integer not null,
  valid_from bigint not null, valid_to bigint not null, primary key (tenant, length, valid_to)
) partition by range (valid_to)
"""


class NameSeen(msgspec.Struct, frozen=True):
    project_id: UUID
    name: str
    renamed: int


class NamesOfLength(msgspec.Struct, frozen=True):
    length: int
    names: int
    renamed: int


names_seen = Table("names_seen", NameSeen, key=("project_id",))
names_by_length = Table("names_by_length", NamesOfLength, key=("length",))
fails_on: set[str] = set()
"""Names whose fold raises."""


def created(row: NameSeen | None, seen: Seen, key: Key) -> NameSeen:
    if seen.event.name in fails_on:
        raise ValueError(f"no {seen.event.name}")
    return NameSeen(key[0], seen.event.name, 0)


def renamed(row: NameSeen | None, seen: Seen, key: Key) -> NameSeen:
    if seen.event.now in fails_on:
        raise ValueError(f"no {seen.event.now}")
    assert row is not None
    renames = 40_000 if seen.event.now == "too many" else row.renamed + 1  # more than a smallint holds
    return NameSeen(key[0], seen.event.now, renames)


def forgiving(row: NameSeen | None, seen: Seen, key: Key) -> NameSeen:
    return NameSeen(key[0], seen.event.now, 0 if row is None else row.renamed + 1)


def erased(row: NameSeen | None, seen: Seen, key: Key) -> None:
    return None


def model(version: int = 1, *, summed: bool = False, prompt: bool = False, lying: bool = False) -> Projection:
    """The model, as of some release; `summed`: with the names counted by their length; `lying`: it says of renamings
    that no row holds when they come, and forgets projects that change their status.
    """
    renaming = change(names_seen, of_stream, forgiving, new=True) if lying else change(names_seen, of_stream, renamed)
    handled: dict[type[Event], tuple[Change, ...]] = {
        ProjectCreated: (change(names_seen, of_stream, created),),
        ProjectRenamed: (renaming,),
    }
    if lying:
        handled[StatusChanged] = (change(names_seen, of_stream, erased),)
    return Projection(
        name="names_seen",
        version=version,
        prompt=prompt,
        sql=parse(SCHEMA + (LENGTHS_SCHEMA if summed else b"")),
        tables=(names_seen, names_by_length) if summed else (names_seen,),
        sums=(Sums(names_seen, names_by_length, lambda row: [((len(row.name),), (1, row.renamed))]),) if summed else (),
        on=handled,
        ignores=frozenset(EVENTS.values()) - frozenset(handled),
    )
