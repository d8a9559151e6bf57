"""Every aggregate, one line each. The union of all events and the command names are computed from it."""

from collections.abc import Mapping
from typing import Any

from domain.actuals import REJECTIONS as ACTUALS_REJECTIONS
from domain.actuals import actuals
from domain.changeset import REJECTIONS as CHANGESET_REJECTIONS
from domain.changeset import changeset
from domain.codeset import REJECTIONS as CODESET_REJECTIONS
from domain.codeset import codeset
from domain.company import REJECTIONS as COMPANY_REJECTIONS
from domain.company import company
from domain.connection import REJECTIONS as CONNECTION_REJECTIONS
from domain.connection import connection
from domain.decider import Command, Decider, Event, tag_of
from domain.drafts import REJECTIONS as DRAFTS_REJECTIONS
from domain.drafts import drafts
from domain.estimate import REJECTIONS as ESTIMATE_REJECTIONS
from domain.estimate import estimate
from domain.membership import REJECTIONS as MEMBERSHIP_REJECTIONS
from domain.membership import membership
from domain.mirror import REJECTIONS as MIRROR_REJECTIONS
from domain.mirror import mirror
from domain.pricebook import REJECTIONS as PRICEBOOK_REJECTIONS
from domain.pricebook import pricebook
from domain.project import REJECTIONS as PROJECT_REJECTIONS
from domain.project import project

DECIDERS: tuple[Decider[Any, Any, Any], ...] = (
    company,
    membership,
    project,
    estimate,
    actuals,
    codeset,
    pricebook,
    connection,
    mirror,
    drafts,
    changeset,
)


def kebab(name: str) -> str:
    """`MitigateRisk` → `mitigate-risk`: the one spelling of a command in URLs and batches."""
    return "".join(("-" + letter.lower()) if letter.isupper() else letter for letter in name).lstrip("-")


def _events_by_tag() -> dict[str, type[Event]]:
    found: dict[str, type[Event]] = {}
    for decider in DECIDERS:
        for event in decider.events:
            tag = tag_of(event)
            if tag in found:
                raise TypeError(f"two events are tagged {tag!r}")
            if not tag.startswith(decider.category + "."):
                raise TypeError(f"the tag {tag!r} is not in the category {decider.category!r}")
            found[tag] = event
    return found


OF_UPSTREAMS: frozenset[type[Event]] = frozenset(
    (*connection.events, *mirror.events, *drafts.events, *changeset.events)
)
"""What is of connected systems of record alone; read models of other things take no notice."""
BY_CATEGORY: Mapping[str, Decider[Any, Any, Any]] = {decider.category: decider for decider in DECIDERS}
EVENTS: Mapping[str, type[Event]] = _events_by_tag()
COMMANDS: Mapping[tuple[str, str], tuple[Decider[Any, Any, Any], type[Command]]] = {
    (decider.category, kebab(command.__name__)): (decider, command)
    for decider in DECIDERS
    for command in decider.commands
}
"""(category, verb) → its decider and command class: what routes and batches are derived from."""

REJECTIONS: Mapping[str, str] = {
    **COMPANY_REJECTIONS,
    **MEMBERSHIP_REJECTIONS,
    **PROJECT_REJECTIONS,
    **ESTIMATE_REJECTIONS,
    **ACTUALS_REJECTIONS,
    **CODESET_REJECTIONS,
    **PRICEBOOK_REJECTIONS,
    **CONNECTION_REJECTIONS,
    **MIRROR_REJECTIONS,
    **DRAFTS_REJECTIONS,
    **CHANGESET_REJECTIONS,
}
"""Every code a decision can refuse with → what it means, in a sentence."""
