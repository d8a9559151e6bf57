"""Who may see what is known of people, and what everybody sees of whom was forgotten."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.decider import ERASED, Role
from eventstore.vault import FORM
from tests.api.callers import Caller, Company, problem
from tests.api.test_proof import leaf
from tests.api.test_stream import stream

AGENT = "canary-agent/7 (of the tests)"


class Bert:
    """A member who renamed nothing but a project, and what is known of him."""

    def __init__(self, company: Company) -> None:
        self.company = company
        self.caller, self.id, _ = company.new_member(Role.ESTIMATOR)
        self.caller.headers["User-Agent"] = AGENT
        self.email = f"{self.id}@company.example"
        self.project = uuid4()
        self.caller.done("project", self.project, "create-project", {"name": f"Project {self.project}"})

    def forget(self) -> Any:
        """Removed and forgotten: the receipt of the last."""
        owner = self.company.owner
        owner.done("membership", self.id, "remove-member")
        return owner.done("membership", self.id, "forget-member", {"reason": "requested"})


def added(caller: Caller, member: UUID, at: str = "") -> dict[str, Any]:
    """The event that added a member, as /log shows it to this caller."""
    events = caller.get(f"/log?limit=1000&type=membership.added{at}").json()["events"]
    (found,) = [event for event in events if event["subject"] == str(member)]
    data: dict[str, Any] = found["data"]
    return data


def entries(caller: Caller, bert: Bert, at: str = "", **headers: str) -> dict[str, Any]:
    """The activity about a project of Bert's, and about him, by type."""
    answers = [caller.get(f"/activity?entity_id={id_}{at}", headers=headers) for id_ in (bert.project, bert.id)]
    return {entry["type"]: entry for answer in answers for entry in answer.json()["items"]}


def test_the_log_is_opened_for_owners_and_auditors_and_sealed_for_services(company: Company) -> None:
    bert = Bert(company)
    for caller in (company.operator, company.owner, company.auditor):
        assert added(caller, bert.id) | {"type": 0} == {
            "type": 0, "name": "Estimator", "email": bert.email, "role": "estimator",
        }  # fmt: skip
    service = company.member(Role.SERVICE)
    told = added(service, bert.id)
    assert (told["name"].startswith(FORM), told["email"].startswith(FORM)) == (True, True)
    for caller, clear in ((company.auditor, True), (service, False)):
        with stream(caller, "/stream?after=0&type=membership.added") as events:
            seen = events.take(2)
        assert [event.data["data"]["email"].startswith(FORM) for event in seen] == [not clear] * 2


def test_who_asks_first_decides_nothing_for_who_asks_next(company: Company) -> None:
    bert = Bert(company)
    path = "/log?limit=1000&type=membership.added"
    tag = company.auditor.get(path).headers["ETag"]
    again = company.member(Role.SERVICE).get(path, headers={"If-None-Match": tag})
    assert again.status_code == 200
    assert bert.email not in again.text


def test_a_forgotten_member_reads_as_erased_everywhere_and_at_all_times(company: Company) -> None:
    bert, owner = Bert(company), company.owner
    seen = company.owner.seen(
        bert.caller.done("project", bert.project, "change-status", {"status": "on-hold"}), "/activity"
    )
    before = int(seen.headers["Cairn-Position"])
    known = entries(owner, bert)
    assert known["project.created"]["user_agent"] == AGENT
    assert known["project.created"]["ip"] == "127.0.0.1"
    assert (known["membership.added"]["now"]["email"], known["project.created"]["actor_name"]) == (
        bert.email,
        "Estimator",
    )
    tags = {path: owner.get(path).headers["ETag"] for path in (f"/activity?at={before}", f"/log?at={before}")}
    token = bert.forget().headers["Cairn-Token"]
    for at in ("", f"&at={before}"):
        told = entries(owner, bert, at, **{"Cairn-After": token})
        assert {told["project.created"][name] for name in ("actor_name", "ip", "user_agent")} == {ERASED}
        assert told["membership.added"]["now"] | {"name": ERASED, "email": ERASED} == told["membership.added"]["now"]
        assert bert.email not in str(told)
        assert AGENT not in str(told)
        data = added(owner, bert.id, at)
        assert (data["name"], data["email"]) == (ERASED, ERASED)
    then = {row["member_id"]: row for row in owner.get(f"/members?at={before}").json()["items"]}
    assert (then[str(bert.id)]["name"], then[str(bert.id)]["email"]) == (ERASED, ERASED)
    for path, tag in tags.items():  # a copy of the past is no longer good
        assert owner.get(path, headers={"If-None-Match": tag}).status_code == 200


def test_every_leaf_can_be_computed_again_after_an_erasure(company: Company) -> None:
    bert = Bert(company)
    before = [company.auditor.get(f"/log/{position}").json() for position in range(1, company.head() + 1)]
    bert.forget()
    for position, known in enumerate(before, 1):
        proof = company.auditor.get(f"/log/{position}").json()
        assert leaf(proof) == proof["leaf"] == known["leaf"]
        assert (proof["payload_base64"], proof["metadata_base64"]) == (
            known["payload_base64"],
            known["metadata_base64"],
        )
        assert bert.email not in str(proof)


def test_only_a_former_member_is_forgotten_and_by_an_owner(company: Company) -> None:
    bert = Bert(company)
    body = {"reason": "requested"}
    problem(company.owner.command("membership", bert.id, "forget-member", body), 409, "membership.present")
    problem(company.estimator.command("membership", bert.id, "forget-member", body), 403, "identity.forbidden")
    problem(company.owner.command("membership", uuid4(), "forget-member", body), 404, "membership.unknown")
    said = {"reason": f"{bert.email} asked for it"}
    problem(company.owner.command("membership", bert.id, "forget-member", said), 422, "request.body-invalid")
    bert.forget()
    again = company.owner.command("membership", bert.id, "forget-member", body)
    assert (again.status_code, again.json()["first_position"]) == (200, None)


@pytest.mark.parametrize("tag", ["membership.added", "membership.removed"])
def test_the_schemas_say_what_is_sensitive(company: Company, tag: str) -> None:
    schema = company.world.get(f"/schemas/{tag}/1").json()
    (definition,) = [each for each in schema["$defs"].values() if "email" in each.get("properties", ())]
    marked = {name: field["x-sensitive"] for name, field in definition["properties"].items() if "x-sensitive" in field}
    assert marked == {"name": "stream", "email": "stream"}
