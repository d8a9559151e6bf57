"""Which live project has which name: a name belongs to one live project of a company at a time."""

from uuid import UUID

import msgspec

from domain import actuals, codeset, company, estimate, membership, pricebook
from domain.decider import Event, Rejected
from domain.project import (
    ActualsOpened,
    MetadataChanged,
    ProjectCreated,
    ProjectDeleted,
    ProjectRenamed,
    ProjectRestored,
    StatusChanged,
    VersionNumbered,
)
from domain.registry import OF_UPSTREAMS
from eventstore.db import Reader
from eventstore.sql import beside
from projections.projection import Key, Projection, Seen, Table, changes, identity


class HeldName(msgspec.Struct, frozen=True):
    """A name in use. `normalised` is what two names are compared by."""

    normalised: str
    project_id: UUID
    name: str


names_table = Table("project_names", HeldName, key=("normalised",))


def normalised(name: str) -> str:
    """Letter case and space at the ends don't tell names apart."""
    return name.strip().casefold()


def taken(seen: Seen) -> list[tuple[Key, str]]:
    """The name that a project was created or restored with."""
    return [((normalised(seen.event.name),), seen.event.name)]


def former(seen: Seen) -> list[tuple[Key, str]]:
    """The name that a renamed project gives up."""
    return [((normalised(seen.event.was),), seen.event.was)]


def chosen(seen: Seen) -> list[tuple[Key, str]]:
    """The name that a renamed project has now."""
    return [((normalised(seen.event.now),), seen.event.now)]


def take(row: HeldName | None, seen: Seen, name: str) -> HeldName:
    project_id = identity(seen.raw_stream_id)
    if row is not None and row.project_id != project_id:
        raise Rejected("project.name-taken", "conflict", name=name, project_id=str(row.project_id))
    return HeldName(normalised(name), project_id, name)


def give_up(row: HeldName | None, seen: Seen, name: str) -> HeldName | None:
    return row if row is not None and row.project_id != identity(seen.raw_stream_id) else None


REJECTIONS = {"project.name-taken": "Another live project of the company has this name."}

projection = Projection(
    name="project_names",
    version=1,
    sql=beside(__file__),
    tables=(names_table,),
    on={
        ProjectCreated: (changes(names_table, taken, take),),
        ProjectRestored: (changes(names_table, taken, take),),
        ProjectDeleted: (changes(names_table, taken, give_up),),
        ProjectRenamed: (
            changes(names_table, former, give_up),
            changes(names_table, chosen, take),
        ),
    },
    ignores=frozenset[type[Event]](
        (
            ActualsOpened,
            MetadataChanged,
            StatusChanged,
            VersionNumbered,
            *actuals.actuals.events,
            *codeset.codeset.events,
            *pricebook.pricebook.events,
            *company.company.events,
            *membership.membership.events,
            *estimate.estimate.events,
            *OF_UPSTREAMS,
        )
    ),
    inline=True,
)


async def holder(reader: Reader, name: str, *, at: int) -> UUID | None:
    """The live project that has this name."""
    values = {"normalised": normalised(name), "at": at}
    held = await reader.row(projection.sql["holder"], values, HeldName)
    return held.project_id if held else None
