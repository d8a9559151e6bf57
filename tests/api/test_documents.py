"""What the API says of itself is true, complete and readable by others' tools."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
from openapi_spec_validator import validate

from api import roles
from api.commands import GOES_ON
from api.problems import KINDS, REJECTED
from domain.registry import COMMANDS, EVENTS
from tests.api.callers import Company, World, problem
from tests.api.test_routes import made

ROOT = Path(__file__).parents[2]


def test_the_openapi_document_is_valid(world: World) -> None:
    validate(world.get("/schema/openapi.json").json())


def operations(world: World) -> dict[str, dict[str, Any]]:
    """Every operation, by its id."""
    document = world.get("/schema/openapi.json").json()
    return {each["operationId"]: each for item in document["paths"].values() for each in item.values()}


def test_every_operation_can_be_called_by_a_generated_client(world: World) -> None:
    for name, operation in operations(world).items():
        assert operation["summary"], name
        assert operation["description"], name
        assert operation["tags"], name
        assert any(status.startswith("4") for status in operation["responses"]), name
        assert any(status.startswith("2") for status in operation["responses"]), name


def test_every_commands_body_is_described_with_an_example_that_fits(world: World) -> None:
    described = operations(world)
    for _, command in COMMANDS.values():
        content = described[command.__name__]["requestBody"]["content"]["application/json"]
        assert content["schema"] == {"$ref": f"#/components/schemas/{command.__name__}"}
        command.model_validate_json(json.dumps(content["example"]))


def test_every_query_that_takes_a_body_is_described_with_an_example_that_fits(world: World) -> None:
    described = operations(world)
    taken = [
        (each.operation_id, each.opt["takes"]) for _, each in roles.handlers(made().litestar) if "takes" in each.opt
    ]
    assert taken
    for name, kind in taken:
        content = described[str(name)]["requestBody"]["content"]["application/json"]
        assert content["schema"] == {"$ref": f"#/components/schemas/{kind.__name__}"}
        kind.model_validate_json(json.dumps(content["example"]))
        assert {"413", "415"} <= set(described[str(name)]["responses"])


def test_commands_that_go_on_say_where(world: World) -> None:
    described = operations(world)
    going_on = [COMMANDS[each][1].__name__ for each in GOES_ON]
    for name in going_on:
        assert "Location" in described[name]["responses"]["202"]["headers"]
        assert "201" not in described[name]["responses"]


def test_references_lead_somewhere(world: World) -> None:
    text = world.get("/schema/openapi.json").text
    document = json.loads(text)
    for reference in set(re.findall(r'"\$ref":"#/([^"]+)"', text)):
        found = document
        for step in reference.split("/"):
            found = found[step]
        assert found


def test_an_answer_is_what_its_schema_says(company: Company) -> None:
    document = company.world.get("/schema/openapi.json").json()
    paths = {
        "/projects": company.viewer,
        "/company": company.viewer,
        "/members": company.viewer,
        "/log": company.auditor,
    }
    company.estimate()
    for path, caller in paths.items():
        schema = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.validate(caller.get(path).json(), schema | {"components": document["components"]})


def test_the_page_for_people_needs_no_other_host(world: World) -> None:
    page = world.get("/schema")
    assert page.headers["content-type"].startswith("text/html")
    assert "/commands/estimate/{id}/add-line" in page.text
    assert not re.search(r'(src|href)="(https?:)?//', page.text)


def test_every_event_has_a_schema_that_its_events_fit(company: Company) -> None:
    company.estimate()
    links = company.world.get("/schemas").json()
    assert {link["type"] for link in links} == set(EVENTS)
    schemas = {link["href"]: company.world.get(link["href"]).json() for link in links}
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for event in company.auditor.get("/log").json()["events"]:
        jsonschema.validate(event["data"], schemas[event["dataschema"]], jsonschema.Draft202012Validator)


def test_a_schema_that_is_not_there(world: World) -> None:
    problem(world.get("/schemas/estimate.exploded/1"), 404, "thing.unknown")
    problem(world.get("/schemas/company.registered/99"), 404, "thing.unknown")


def test_the_asyncapi_document_names_every_event(world: World) -> None:
    document = world.get("/asyncapi.json").json()
    assert document["asyncapi"].startswith("3.")
    assert all(tag in json.dumps(document) for tag in EVENTS)


def test_every_code_is_explained(world: World) -> None:
    codes = [each["code"] for each in world.get("/problems").json()]
    assert codes == sorted({*KINDS, *REJECTED})
    for code in codes:
        explained = world.get(f"/problems/{code}").json()
        assert explained["title"]
        assert explained["statuses"]
    problem(world.get("/problems/nonsense"), 404, "thing.unknown")


def raised(folder: str, name: str) -> set[str]:
    """The codes that the calls of `name` in a package's sources are given."""
    trees = [ast.parse(file.read_text()) for file in (ROOT / folder).rglob("*.py")]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    named = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == name and call.args]
    codes = [node for call in named for node in ast.walk(call.args[0]) if isinstance(node, ast.Constant)]
    return {code.value for code in codes if isinstance(code.value, str)}


def test_every_code_that_is_raised_is_in_the_catalogue_and_no_other() -> None:
    assert raised("api", "Problem") == set(KINDS)
    for folder in ("domain", "eventstore", "projections", "api"):
        assert {code for code in raised(folder, "Rejected") if "." in code} <= {*REJECTED, ".id-in-use"}


def test_what_is_not_served(world: World) -> None:
    problem(world.get("/nothing"), 404, "route.unknown")
    problem(world.get("/projects/not-a-uuid"), 404, "route.unknown")
    answer = world.http.delete(world.url + "/projects")
    problem(answer, 405, "route.method-not-allowed")
    assert "GET" in answer.headers["Allow"]
