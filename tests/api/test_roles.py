"""Who may do what: each role tries every command and every query, and the documents say the same."""

from typing import Any
from uuid import uuid4

import pytest

from api.identity import EVERYBODY
from domain.decider import Role
from domain.registry import COMMANDS
from tests.api.callers import Company
from tests.api.test_parameters import filled, paths

CONTENT = {"estimate", "actuals", "codeset", "pricebook", "mirror"}
PEOPLE_ALONE = {
    ("estimate", "submit-estimate"),
    ("estimate", "change-estimate-status"),
    ("estimate", "request-simulation"),
    ("actuals", "finish-actuals"),
    ("actuals", "reopen-actuals"),
    ("mirror", "cancel-sync"),
}
WORKERS_ALONE = {("mirror", verb) for verb in ("begin-sync", "record-changes", "finish-sync", "fail-sync")}
"""What commits the company is not a program's to send; nor is anything about projects, members and settings."""


def operations() -> dict[str, dict[str, Any]]:
    """Every operation that needs a token, by its id."""
    return {each["operationId"]: each for item in paths().values() for each in item.values() if "security" not in each}


@pytest.mark.parametrize("role", Role)
def test_a_role_may_what_the_registry_says_and_nothing_else(company: Company, role: Role) -> None:
    """A body without fields is refused for its faults or its facts, but only to those who may send it at all."""
    caller = company.member(role)
    for (aggregate, verb), (_, kind) in COMMANDS.items():
        id_ = company.id if aggregate == "company" else uuid4()
        forbidden = caller.command(aggregate, id_, verb).json().get("code") == "identity.forbidden"
        assert forbidden == (role not in kind.roles), f"{role}: {aggregate} {verb}"


def test_services_edit_content_and_decide_nothing() -> None:
    theirs = {name for name, (_, kind) in COMMANDS.items() if Role.SERVICE in kind.roles}
    assert theirs == {name for name in COMMANDS if name[0] in CONTENT} - PEOPLE_ALONE - WORKERS_ALONE
    assert not any(COMMANDS[name][1].roles for name in WORKERS_ALONE)


def test_architects_may_what_estimators_may_and_connect_upstreams() -> None:
    theirs = {name for name, (_, kind) in COMMANDS.items() if Role.ARCHITECT in kind.roles}
    of_estimators = {name for name, (_, kind) in COMMANDS.items() if Role.ESTIMATOR in kind.roles}
    assert theirs - of_estimators == {name for name in COMMANDS if name[0] == "connection"}
    assert of_estimators < theirs


@pytest.mark.parametrize("role", Role)
def test_the_document_says_who_may_ask(company: Company, role: Role) -> None:
    for path, item in paths().items():
        if "get" not in item or "x-roles" not in item["get"] or path == "/stream":
            continue
        asked = filled(path) if "{" in path else path
        forbidden = company.member(role).get(asked).status_code == 403
        assert forbidden == (role not in item["get"]["x-roles"]), f"{role}: {path}"


def test_every_operation_with_a_token_says_whom_it_is_for() -> None:
    described = operations()
    assert {name for name, each in described.items() if "x-roles" not in each} == {"Batch"}
    assert described["SubmitEstimate"]["x-roles"] == ["architect", "estimator", "owner"]
    assert described["SubmitEstimate"]["description"].endswith("For owner, architect, estimator.")
    assert described["ChangePreferences"]["description"].endswith("For owner; every member about themselves.")
    assert described["RegisterCompany"]["description"].endswith("For the operator alone.")
    assert described["Projects"]["x-roles"] == sorted(EVERYBODY)
