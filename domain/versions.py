"""How an estimate version comes to be, moves through review and submission, and is classified and marked."""

from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from domain import project
from domain.content import CONTENT_FORMAT, content_hash
from domain.decider import Ref, Rejected, Written
from domain.estimate_commands import (
    ChangeEstimateStatus,
    Classify,
    StartEstimate,
    Status,
    SubmitEstimate,
    TagVersion,
    UntagVersion,
)
from domain.estimate_events import (
    Classification,
    Classified,
    EstimateEvent,
    EstimateStarted,
    EstimateStatusChanged,
    EstimateSubmitted,
    LinesImported,
    RisksCopied,
    Tagged,
    Untagged,
)
from domain.estimate_state import Estimate, bridge_of
from domain.lines import in_chunks, in_order
from domain.subset import difference

TAGS_LIMIT: Final = 100

_NEXT: Final[Mapping[Status, Mapping[Status, bool]]] = {
    "draft": {"in-review": False},
    "in-review": {"draft": True},
    "submitted": {"awarded": False, "lost": False},
    "awarded": {"submitted": True},
    "lost": {"submitted": True},
}
"""From one status to which others, and whether that needs a reason. Every one can go to the archive and back."""


def start_reads(_: UUID, command: StartEstimate) -> list[Ref]:
    project_ref = Ref("project", command.project_id)
    return [project_ref] if command.parent_id is None else [project_ref, Ref("estimate", command.parent_id)]


def start(id: UUID, command: StartEstimate, states: Mapping[Ref, Any]) -> list[Written]:
    own, project_ref = Ref("estimate", id), Ref("project", command.project_id)
    started: Estimate = states[own]
    if started.version:
        return _started_already(command, started)
    project_state: project.Project = states[project_ref]
    if not project_state.name:
        raise Rejected("estimate.project-unknown", "missing", project_id=str(command.project_id))
    if project_state.deleted:
        raise Rejected("estimate.project-deleted", "conflict", project_id=str(command.project_id))
    parent = None if command.parent_id is None else _parent_of(command, states[Ref("estimate", command.parent_id)])
    if parent is not None and command.basis is None:
        _must_not_improve(parent.aace_class, command.aace_class)
    version = project_state.versions + 1
    numbered = project.VersionNumbered(estimate_id=id, version=version, parent_id=command.parent_id)
    return [(project_ref, numbered), *((own, event) for event in _first_events(command, version, parent))]


def _started_already(command: StartEstimate, started: Estimate) -> list[Written]:
    particulars = ("project_id", "parent_id", "currency", "title", "notes", "effective_on")
    same = all(getattr(command, name) == getattr(started, name) for name in particulars)
    taken_over = {"target_margin": command.target_margin, "aace_class": command.aace_class, "basis": command.basis}
    if same and all(value in (None, getattr(started, name)) for name, value in taken_over.items()):
        return []
    raise Rejected("estimate.already-started", "conflict", version=started.version)


def _parent_of(command: StartEstimate, parent: Estimate) -> Estimate:
    if not parent.version:
        raise Rejected("estimate.parent-unknown", "missing", parent_id=str(command.parent_id))
    if parent.project_id != command.project_id:
        raise Rejected("estimate.parent-elsewhere", parent_project_id=str(parent.project_id))
    if parent.currency != command.currency:
        raise Rejected("estimate.foreign-currency", parent=parent.currency, estimate=command.currency)
    return parent


def _first_events(command: StartEstimate, version: int, parent: Estimate | None) -> Iterable[EstimateEvent]:
    of = parent or Estimate()
    yield EstimateStarted(
        project_id=command.project_id,
        version=version,
        currency=command.currency,
        target_margin=of.target_margin if command.target_margin is None else command.target_margin,
        parent_id=command.parent_id,
        title=command.title,
        notes=command.notes,
        effective_on=command.effective_on,
        aace_class=of.aace_class if command.aace_class is None else command.aace_class,
        basis=of.basis if command.basis is None else command.basis,
        markups=of.markups,
    )
    for lines in in_chunks(in_order(of.lines.values())):
        yield LinesImported(source="parent", lines=lines)
    for risks in in_chunks(sorted(of.risks.values(), key=lambda risk: risk.risk_id)):
        yield RisksCopied(risks=risks)


def submit(_: SubmitEstimate, estimate: Estimate) -> list[EstimateEvent]:
    if estimate.status not in {"draft", "in-review"}:
        return []
    bid = bridge_of(estimate)
    return [
        EstimateSubmitted(
            content_hash=content_hash(estimate),
            totals=estimate.totals,
            target_margin=estimate.target_margin,
            final_bid=bid.final_bid,
            line_count=len(estimate.lines),
            content_format=CONTENT_FORMAT,
            risk_adjustment=estimate.risk_adjustment,
            cost=bid.cost,
            bridge=bid.steps,
            risk_count=len(estimate.risks),
            aace_class=estimate.aace_class,
        )
    ]


def change_status(command: ChangeEstimateStatus, estimate: Estimate) -> list[EstimateEvent]:
    was, now = estimate.status, command.status
    if now == was:
        return []
    possible: Mapping[Status, bool] = (
        {estimate.shelved: True} if was == "archived" else {**_NEXT[was], "archived": True}
    )
    if now not in possible:
        raise Rejected("estimate.transition-impossible", "conflict", status=was, wanted=now, possible=sorted(possible))
    if possible[now] and command.reason is None:
        raise Rejected("estimate.reason-missing", status=was, wanted=now)
    return [EstimateStatusChanged(was=was, now=now, reason=command.reason)]


def classify(command: Classify, estimate: Estimate) -> list[EstimateEvent]:
    if command.reason is None:
        _must_not_improve(estimate.aace_class, command.aace_class)
    wanted = {"aace_class": command.aace_class, "basis": command.basis}
    change = difference(Classification, estimate, wanted)
    return [Classified(was=change[0], now=change[1], reason=command.reason)] if change else []


def _must_not_improve(was: int | None, wanted: int | None) -> None:
    """A lower class number claims a better defined estimate; whoever claims it says what that rests on."""
    if was is not None and wanted is not None and wanted < was:
        raise Rejected("estimate.class-reason-missing", aace_class=was, wanted=wanted)


def tag(command: TagVersion, estimate: Estimate) -> list[EstimateEvent]:
    if command.tag in estimate.tags:
        return []
    if len(estimate.tags) >= TAGS_LIMIT:
        raise Rejected("estimate.tags-full", limit=TAGS_LIMIT)
    return [Tagged(tag=command.tag, final_bid=bridge_of(estimate).final_bid)]


def untag(command: UntagVersion, estimate: Estimate) -> list[EstimateEvent]:
    return [Untagged(tag=command.tag)] if command.tag in estimate.tags else []
