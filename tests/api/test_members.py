"""Members: what each prefers, who may change it, and when each was last active."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from cairn.embedded import Servers
from domain.decider import Role
from tests.api.callers import Company, problem, register, serving


def listed(company: Company, path: str = "/members") -> dict[UUID, dict[str, Any]]:
    """The members, by id."""
    return {UUID(each["member_id"]): each for each in company.operator.get(path).json()["items"]}


@pytest.mark.parametrize("role", Role)
def test_members_change_their_own_preferences(company: Company, role: Role) -> None:
    caller, member, _ = company.new_member(role)
    caller.done("membership", member, "change-preferences", {"time_zone": "Europe/Berlin", "date_format": "DD.MM.YYYY"})
    found = listed(company)[member]
    assert (found["time_zone"], found["language"], found["date_format"]) == ("Europe/Berlin", None, "DD.MM.YYYY")
    changed = company.operator.get(f"/log?after={company.head() - 1}").json()["events"][0]
    assert (changed["type"], changed["actor"]) == ("membership.preferences-changed", str(member))


def test_others_preferences_are_an_owners_to_change(company: Company) -> None:
    _, member, _ = company.new_member(Role.ESTIMATOR)
    body = {"language": "es-US"}
    for role in set(Role) - {Role.OWNER}:
        answer = company.member(role).command("membership", member, "change-preferences", body)
        problem(answer, 403, "identity.forbidden")
    item = {"aggregate": "membership", "id": str(member), "verb": "change-preferences", "body": body}
    batch = company.viewer.post("/commands", json=[item | {"command_id": str(uuid4())}]).json()["outcomes"]
    assert batch[0]["problem"]["code"] == "identity.forbidden"
    before = company.head()
    company.owner.done("membership", member, "change-preferences", body)
    now, then = listed(company)[member], listed(company, f"/members?at={before}")[member]
    assert (now["language"], then["language"]) == ("es-US", None)


def test_an_architect_may_what_an_estimator_may(company: Company) -> None:
    estimate, architect = company.estimate(), company.member(Role.ARCHITECT)
    architect.done("estimate", estimate, "change-margin", {"target_margin": "0.1"})
    architect.done("estimate", estimate, "submit-estimate")
    refused = architect.command("company", company.id, "rename-company", {"name": "Mine"})
    problem(refused, 403, "identity.forbidden")


def test_last_activity_is_shown_and_the_answer_has_no_tag(servers: Servers, database_url: str, nats_url: str) -> None:
    began = datetime.now(UTC) - timedelta(seconds=5)
    with serving(database_url, nats_url, projecting=False) as world:
        company = register(world)
        caller, ada, _ = company.new_member(Role.VIEWER)
        _, bert, _ = company.new_member(Role.VIEWER)
        assert caller.get("/members").status_code == 200
        head = company.head()
    with serving(database_url, nats_url, projecting=False) as world:  # at its end a server has written what it saw
        again = Company(world, company.id, company.operator)
        again.operator.world = world
        assert again.head() == head
        found = again.operator.get("/members")
        assert "ETag" not in found.headers
        members = listed(again)
        assert members[bert]["last_active_at"] is None
        assert (
            began <= datetime.fromisoformat(members[ada]["last_active_at"]) <= datetime.now(UTC) + timedelta(seconds=5)
        )
