"""Who may call: tokens that are wrong, late, revoked; roles that change; companies kept apart."""

from uuid import uuid4

import pytest

from api.identity import Addresses, mint, mint_operator
from domain.decider import Role
from tests.api.callers import Caller, Company, line, problem

STRANGE = ["Bearer", "Bearer token", "Bearer cairn_x_y", "Bearer cairn_" + "0" * 32 + "_short"]


@pytest.mark.parametrize("value", STRANGE)
def test_a_token_that_is_none_of_ours(company: Company, value: str) -> None:
    answer = company.world.get("/projects", Authorization=value)
    assert problem(answer, 401, answer.json()["code"])["code"] in {"identity.malformed", "identity.missing"}
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="cairn"'


def test_another_scheme(company: Company) -> None:
    problem(company.world.get("/projects", Authorization="Basic YTpi"), 401, "identity.missing")


def test_a_token_nobody_issued(company: Company) -> None:
    token, _ = mint(company.id)
    problem(company.world.get("/projects", Authorization=f"Bearer {token}"), 401, "identity.unknown")
    token, _ = mint(uuid4())
    problem(company.world.get("/projects", Authorization=f"Bearer {token}"), 401, "identity.unknown")
    token, _ = mint_operator()
    answer = company.world.get("/projects", Authorization=f"Bearer {token}", **{"Cairn-Company": str(company.id)})
    problem(answer, 401, "identity.unknown")


def test_a_secret_of_another_company(company: Company, other: Company) -> None:
    secret = company.viewer.headers["Authorization"].removeprefix(f"Bearer cairn_{company.id.hex}_")
    stolen = Caller(company.world, {"Authorization": f"Bearer cairn_{other.id.hex}_{secret}"})
    problem(stolen.get("/projects"), 401, "identity.unknown")


def test_a_revoked_token_is_refused_at_once(company: Company) -> None:
    caller, member, token = company.new_member(Role.ESTIMATOR)
    assert caller.get("/projects").status_code == 200
    company.operator.done("membership", member, "revoke-token", {"token_id": str(token)})
    problem(caller.get("/projects"), 401, "identity.unknown")


def test_a_removed_member_is_refused_at_once(company: Company) -> None:
    caller, member, _ = company.new_member(Role.ESTIMATOR)
    assert caller.get("/projects").status_code == 200
    company.operator.done("membership", member, "remove-member")
    problem(caller.get("/projects"), 401, "identity.unknown")
    problem(caller.command("project", uuid4(), "create-project", {"name": "A"}), 401, "identity.unknown")


def test_a_role_taken_away_is_gone_at_once(company: Company) -> None:
    caller, member, _ = company.new_member(Role.ESTIMATOR)
    estimate = company.estimate()
    assert caller.command("estimate", estimate, "add-line", line()).status_code == 201
    company.operator.done("membership", member, "change-role", {"role": "viewer"})
    problem(caller.command("estimate", estimate, "add-line", line()), 403, "identity.forbidden")
    assert caller.get("/projects").status_code == 200


def test_tokens_are_listed_without_their_secrets(company: Company) -> None:
    _, member, token = company.new_member(Role.SERVICE)
    listed = company.owner.get(f"/members/{member}/tokens").json()["items"]
    assert [row["token_id"] for row in listed] == [str(token)]
    assert not any("hash" in name for row in listed for name in row)


def test_the_operator_may_act_for_any_company(company: Company, other: Company) -> None:
    for each in (company, other):
        assert each.operator.get("/company").json()["company_id"] == str(each.id)
    problem(company.operator.get("/company", headers={"Cairn-Company": str(uuid4())}), 404, "company.unknown")
    problem(company.operator.get("/company", headers={"Cairn-Company": "mine"}), 400, "request.header-malformed")


def test_a_member_cannot_become_the_operator_by_a_header(company: Company, other: Company) -> None:
    answer = company.owner.get("/company", headers={"Cairn-Company": str(other.id)})
    assert answer.json()["company_id"] == str(company.id)


def test_companies_see_only_their_own(company: Company, other: Company) -> None:
    company.project("Ours")
    receipt = other.estimator.done("project", uuid4(), "create-project", {"name": "Theirs"})
    assert [row["name"] for row in other.viewer.seen(receipt, "/projects").json()["items"]] == ["Theirs"]
    events = other.auditor.get("/log").json()["events"]
    assert {event["tenant"] for event in events} == {str(other.id)}


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "address"),
    [
        ("", "127.0.0.1", "10.1.1.1", "127.0.0.1"),
        ("127.0.0.0/8", "127.0.0.1", "10.1.1.1", "10.1.1.1"),
        ("127.0.0.0/8", "127.0.0.1", "6.6.6.6, 10.1.1.1", "10.1.1.1"),
        ("127.0.0.0/8, 10.0.0.0/8", "127.0.0.1", "6.6.6.6, 10.1.1.1", "6.6.6.6"),
        ("127.0.0.0/8", "10.2.2.2", "6.6.6.6", "10.2.2.2"),
        ("127.0.0.0/8", "127.0.0.1", "nonsense", "127.0.0.1"),
        ("::1/128", "::1", "2001:db8::7", "2001:db8::7"),
    ],
)
def test_where_a_request_comes_from(trusted: str, peer: str, forwarded: str, address: str) -> None:
    assert Addresses(trusted).of(peer, {b"x-forwarded-for": forwarded.encode()}) == address
