"""A project's life: created, changed, deleted, restored."""

from typing import Any

import pydantic
import pytest

from domain.project import (
    ChangeMetadata,
    ChangeStatus,
    CreateProject,
    DeleteProject,
    Metadata,
    MetadataChanged,
    ProjectCreated,
    ProjectDeleted,
    ProjectRenamed,
    ProjectRestored,
    RenameProject,
    RestoreProject,
    StatusChanged,
    project,
)
from tests.specs import given

CREATE = CreateProject(name="TH 108", building_type="highway", metadata={"contract": "220005"})
CREATED = ProjectCreated(name="TH 108", status="active", building_type="highway", metadata={"contract": "220005"})
DELETED = ProjectDeleted(name="TH 108", reason="entered twice")


def test_creating() -> None:
    given(project).when(CREATE).then(CREATED)
    given(project, CREATED).when(CREATE).then_nothing()
    given(project, CREATED).when(CreateProject(name="TH 108")).then_rejected("project.already-exists", "conflict")
    given(project, CREATED, DELETED).when(CREATE).then_rejected("project.already-exists", "conflict")


def test_name_and_status() -> None:
    given(project, CREATED).when(RenameProject(name="TH 109")).then(ProjectRenamed(was="TH 108", now="TH 109"))
    given(project, CREATED).when(RenameProject(name="TH 108")).then_nothing()
    given(project, CREATED).when(ChangeStatus(status="lost")).then(StatusChanged(was="active", now="lost"))
    given(project, CREATED).when(ChangeStatus(status="active")).then_nothing()


def test_metadata_changes_entry_by_entry() -> None:
    change = ChangeMetadata(location="Otter Tail", metadata={"contract": None, "county": "56"})
    was = Metadata(location=None, metadata={"contract": "220005", "county": None})
    now = Metadata(location="Otter Tail", metadata={"contract": None, "county": "56"})
    scene = given(project, CREATED)
    scene.when(change).then(MetadataChanged(was=was, now=now))
    assert scene.state.metadata == {"county": "56"}
    scene.when(change).then_nothing()
    assert scene.state.building_type == "highway"


def test_null_clears_and_absence_keeps() -> None:
    cleared = MetadataChanged(was=Metadata(building_type="highway"), now=Metadata(building_type=None))
    given(project, CREATED).when(ChangeMetadata(building_type=None)).then(cleared)
    assert CREATED.location is None
    given(project, CREATED).when(ChangeMetadata(location=None)).then_nothing()


def test_metadata_is_bounded() -> None:
    full = CreateProject(name="TH 108", metadata={f"fact {n}": "x" for n in range(50)})
    given(project).when(full, ChangeMetadata(metadata={"one more": "x"})).then_rejected(
        "project.metadata-full", limit=50
    )
    given(project).when(full, ChangeMetadata(metadata={"fact 0": None, "one more": "x"}))
    with pytest.raises(pydantic.ValidationError, match="at most 50"):
        CreateProject(name="TH 108", metadata={f"fact {n}": "x" for n in range(51)})


def test_deleting_and_restoring() -> None:
    given(project, CREATED).when(DeleteProject(reason="entered twice")).then(DELETED)
    given(project, CREATED, DELETED).when(DeleteProject()).then_nothing()
    given(project, CREATED, DELETED).when(RestoreProject()).then(ProjectRestored(was="TH 108", name="TH 108"))
    scene = given(project, CREATED, DELETED)
    scene.when(RestoreProject(name="TH 108 (2)")).then(ProjectRestored(was="TH 108", name="TH 108 (2)"))
    scene.when(RestoreProject(name="TH 108 (2)")).then_nothing()
    scene.when(RestoreProject()).then_nothing()
    scene.when(RestoreProject(name="TH 108 (3)")).then_rejected("project.not-deleted", "conflict", name="TH 108 (2)")


@pytest.mark.parametrize(
    "command",
    [RenameProject(name="x"), ChangeStatus(status="lost"), ChangeMetadata(location="x")],
    ids=lambda c: type(c).__name__,
)
def test_a_deleted_project_changes_no_more(command: Any) -> None:
    given(project, CREATED, DELETED).when(command).then_rejected("project.deleted", "conflict", name="TH 108")


@pytest.mark.parametrize("command", [RenameProject(name="x"), DeleteProject(), RestoreProject()])
def test_nothing_before_it_is_created(command: Any) -> None:
    given(project).when(command).then_rejected("project.unknown", "missing")
