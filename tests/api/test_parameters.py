"""A query parameter that a route does not know is refused by name, on every route there is."""

from functools import cache
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api.callers import Caller, Company, problem
from tests.api.test_routes import LISTING, made

ROUTES = [tuple(line.split()[:2]) for line in LISTING.read_text().splitlines()]


@cache
def paths() -> dict[str, Any]:
    """Every path of the OpenAPI document; making it takes a while."""
    found: dict[str, Any] = made().openapi["paths"]
    return found


def filled(path: str) -> str:
    """A path with something in each place that fits there, though nothing is known by it."""
    (operation,) = paths()[path].values()
    for parameter in operation["parameters"]:
        if parameter["in"] == "path":
            schema = parameter["schema"]
            value = "1" if schema["type"] == "integer" else str(uuid4()) if schema.get("format") == "uuid" else "a"
            path = path.replace(f"{{{parameter['name']}}}", value)
    return path


def asked(caller: Caller, method: str, path: str, **parameters: Any) -> httpx.Response:
    """The route's answer to these parameters."""
    send = caller.get if method == "GET" else caller.post
    return send(filled(path) if "{" in path else path, params=parameters)


def described(method: str, path: str) -> set[str]:
    """The query parameters that the OpenAPI document gives a route."""
    operation = paths()[path][method.lower()]
    return {each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"}


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_refuses_a_parameter_it_does_not_know(company: Company, method: str, path: str) -> None:
    answer = asked(company.operator, method, path, zz="1")
    document = problem(answer, 400, "request.parameter-unknown")
    assert document["facts"] == {"unknown": ["zz"], "known": sorted(described(method, path))}
    (fault,) = document["faults"]
    assert (fault["path"], fault["code"]) == ("/zz", "parameter-unknown")


def test_a_misspelt_parameter_gets_a_suggestion(company: Company) -> None:
    document = problem(
        company.viewer.get("/projects?serch=road&limit=2&at=1&Status=lost"), 400, "request.parameter-unknown"
    )
    assert [fault["path"] for fault in document["faults"]] == ["/serch", "/Status"]
    assert [fault["message"].partition("mean ")[2] for fault in document["faults"]] == ["`search`?", "`status`?"]
    unlike = problem(company.viewer.get("/company?xyzzy"), 400, "request.parameter-unknown")
    assert "mean" not in unlike["faults"][0]["message"]


def test_known_parameters_are_taken(company: Company) -> None:
    for path in (
        "/projects?search=road&status=open&deleted=true&limit=2&at=1",
        "/log?type=project.created&after=0&limit=5",
    ):
        assert company.owner.get(path).status_code == 200


def test_a_command_with_a_parameter_changes_nothing(company: Company) -> None:
    estimator, id_ = company.estimator, uuid4()
    before = company.head()
    answer = estimator.post(f"/commands/project/{id_}/create-project?dry_run=1", json={"name": "Road"})
    problem(answer, 400, "request.parameter-unknown")
    assert company.head() == before
