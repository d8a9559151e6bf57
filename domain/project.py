"""A project: what is to be built, where it stands, and how many estimate versions it has numbered."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal, TypeAlias, assert_never
from uuid import UUID

from msgspec import UNSET, UnsetType, field
from msgspec.structs import replace
from pydantic import Field

from domain.decider import Command, Decider, Event, Rejected, State, members
from domain.subset import Change, Subset, difference, optional
from domain.text import Label, Name, Note, Phrase

Status: TypeAlias = Literal["active", "on-hold", "awarded", "lost", "completed", "archived"]

METADATA_LIMIT: Final = 50

REJECTIONS: Final[Mapping[str, str]] = {
    "project.unknown": "No project was created under this id.",
    "project.already-exists": "A project with other particulars was created under this id.",
    "project.deleted": "The project is deleted; restore it first.",
    "project.not-deleted": "The project is not deleted, so it cannot be restored under another name; rename it.",
    "project.metadata-full": f"A project carries at most {METADATA_LIMIT} further facts.",
}


class CreateProject(Command):
    """Opens a project. That the name is free among live projects is checked beside this decision."""

    name: Name = Field(description="Unique among the company's live projects.", examples=["TH 108 resurfacing"])
    status: Status = Field(default="active", description="Where the project stands.", examples=["active"])
    building_type: Label | None = Field(default=None, description="What is built.", examples=["highway"])
    location: Name | None = Field(default=None, description="Where.", examples=["Otter Tail County, MN"])
    metadata: Annotated[dict[Label, Phrase], Field(max_length=METADATA_LIMIT)] = Field(
        default_factory=dict, description="Further facts by name.", examples=[{"contract": "220005"}]
    )


class RenameProject(Command):
    """Gives the project another name."""

    name: Name = Field(description="Unique among the company's live projects.", examples=["TH 108 mill and overlay"])


class ChangeStatus(Command):
    """Says where the project stands now; any status may follow any other."""

    status: Status = Field(description="Where the project stands.", examples=["awarded"])


class ChangeMetadata(Subset):
    """Changes the facts it is given; of `metadata`, the entries it is given."""

    building_type: Label | None = optional("What is built; null when unknown.", ["highway"])
    location: Name | None = optional("Where; null when unknown.", ["Otter Tail County, MN"])
    metadata: Annotated[dict[Label, Phrase | None], Field(max_length=METADATA_LIMIT)] = optional(
        "Further facts to set, by name; null takes one out. Others stay.", [{"letting": "2022-01-28"}]
    )


class DeleteProject(Command):
    """Takes the project out of sight, with all it holds. Its name is free again; it can be restored."""

    reason: Note | None = Field(default=None, description="Why.", examples=["entered twice"])


class RestoreProject(Command):
    """Brings a deleted project back, under another name where the old one has been taken meanwhile."""

    name: Name | None = Field(default=None, description="A new name; null keeps the old.", examples=["TH 108 (2022)"])


class Metadata(Change, frozen=True):
    """Facts of a project before or after a change. In `metadata` only the entries that changed; None is: not there."""

    building_type: str | UnsetType | None = UNSET
    location: str | UnsetType | None = UNSET
    metadata: dict[str, str | None] | UnsetType = UNSET


class ProjectCreated(Event, frozen=True, kw_only=True, tag="project.created"):
    name: str
    status: Status
    building_type: str | None = None
    location: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)


class ProjectRenamed(Event, frozen=True, kw_only=True, tag="project.renamed"):
    was: str
    now: str


class StatusChanged(Event, frozen=True, kw_only=True, tag="project.status-changed"):
    was: Status
    now: Status


class MetadataChanged(Event, frozen=True, kw_only=True, tag="project.metadata-changed"):
    was: Metadata
    now: Metadata


class ProjectDeleted(Event, frozen=True, kw_only=True, tag="project.deleted"):
    """`name` is the one that became free."""

    name: str
    reason: str | None = None


class ProjectRestored(Event, frozen=True, kw_only=True, tag="project.restored"):
    """`was` is the name it was deleted under, `name` the one it has now; often the same."""

    was: str
    name: str


class VersionNumbered(Event, frozen=True, kw_only=True, tag="project.version-numbered"):
    """The estimate was given the project's next version number: 1, 2, 3 … without gap."""

    estimate_id: UUID
    version: int
    parent_id: UUID | None = None


class ActualsOpened(Event, frozen=True, kw_only=True, tag="project.actuals-opened"):
    """What the project really costs is recorded under this id."""

    actuals_id: UUID


ProjectCommand: TypeAlias = (
    CreateProject | RenameProject | ChangeStatus | ChangeMetadata | DeleteProject | RestoreProject
)
ProjectEvent: TypeAlias = (
    ProjectCreated
    | ProjectRenamed
    | StatusChanged
    | MetadataChanged
    | ProjectDeleted
    | ProjectRestored
    | VersionNumbered
    | ActualsOpened
)


class Project(State, frozen=True, kw_only=True):
    """`name` is empty until the project is created; `versions` is the highest version number given; `actuals_id` is
    None until actuals are opened.
    """

    name: str = ""
    status: Status = "active"
    building_type: str | None = None
    location: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    deleted: bool = False
    versions: int = 0
    actuals_id: UUID | None = None


def decide(command: ProjectCommand, project: Project) -> list[ProjectEvent]:
    if isinstance(command, CreateProject):
        return _create(command, project)
    if not project.name:
        raise Rejected("project.unknown", "missing")
    if project.deleted and not isinstance(command, DeleteProject | RestoreProject):
        raise Rejected("project.deleted", "conflict", name=project.name)
    match command:
        case RenameProject(name=name):
            return [] if name == project.name else [ProjectRenamed(was=project.name, now=name)]
        case ChangeStatus(status=status):
            return [] if status == project.status else [StatusChanged(was=project.status, now=status)]
        case ChangeMetadata():
            return _change_metadata(command, project)
        case DeleteProject(reason=reason):
            return [] if project.deleted else [ProjectDeleted(name=project.name, reason=reason)]
        case RestoreProject(name=name):
            return _restore(name or project.name, project)
    assert_never(command)


def _create(command: CreateProject, project: Project) -> list[ProjectEvent]:
    created = ProjectCreated(
        name=command.name,
        status=command.status,
        building_type=command.building_type,
        location=command.location,
        metadata=command.metadata,
    )
    if not project.name:
        return [created]
    if evolve(replace(project, deleted=False), created) == project:
        return []
    raise Rejected("project.already-exists", "conflict", name=project.name)


def _change_metadata(command: ChangeMetadata, project: Project) -> list[ProjectEvent]:
    wanted = command.given()
    entries: dict[str, str | None] = wanted.pop("metadata", {})
    changed = {key: value for key, value in entries.items() if project.metadata.get(key) != value}
    if len(_merged(project.metadata, changed)) > METADATA_LIMIT:
        raise Rejected("project.metadata-full", limit=METADATA_LIMIT)
    was, now = difference(Metadata, project, wanted) or (Metadata(), Metadata())
    if changed:
        was = replace(was, metadata={key: project.metadata.get(key) for key in changed})
        now = replace(now, metadata=changed)
    return [MetadataChanged(was=was, now=now)] if now.given() else []


def _merged(entries: Mapping[str, str], changed: Mapping[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in {**entries, **changed}.items() if value is not None}


def _restore(name: str, project: Project) -> list[ProjectEvent]:
    if project.deleted:
        return [ProjectRestored(was=project.name, name=name)]
    if name == project.name:
        return []
    raise Rejected("project.not-deleted", "conflict", name=project.name)


def evolve(project: Project, event: ProjectEvent) -> Project:
    match event:
        case ProjectCreated():
            return replace(
                project,
                name=event.name,
                status=event.status,
                building_type=event.building_type,
                location=event.location,
                metadata=event.metadata,
            )
        case ProjectRenamed():
            return replace(project, name=event.now)
        case StatusChanged():
            return replace(project, status=event.now)
        case MetadataChanged():
            facts = event.now.given()
            return replace(project, **facts | {"metadata": _merged(project.metadata, facts.get("metadata", {}))})
        case ProjectDeleted():
            return replace(project, deleted=True)
        case ProjectRestored():
            return replace(project, deleted=False, name=event.name)
        case VersionNumbered():
            return replace(project, versions=event.version)
        case ActualsOpened():
            return replace(project, actuals_id=event.actuals_id)
    assert_never(event)


project = Decider(
    category="project",
    initial=Project(),
    decide=decide,
    evolve=evolve,
    commands=members(ProjectCommand),
    events=members(ProjectEvent),
)
