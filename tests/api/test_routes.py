"""The committed listing of every route: what changes in it is a change of the contract."""

from pathlib import Path
from typing import Any

from api.app import SIDES, Api, create_app
from api.settings import ApiSettings
from eventstore.settings import StoreSettings
from tests import keys

LISTING = Path(__file__).with_name("routes.txt")


def made(sides: frozenset[str] = SIDES) -> Api:
    """An application that is not started."""
    return create_app(StoreSettings(database_url="postgresql:///none"), ApiSettings(kek=keys.KEK), sides)


def listed(api: Api) -> list[str]:
    """Every route, as `METHOD path  OperationId`."""
    operations = [
        (method, path, operation["operationId"])
        for path, item in api.openapi["paths"].items()
        for method, operation in item.items()
    ]
    return [f"{method.upper():4} {path}  {name}" for method, path, name in sorted(operations, key=lambda each: each[1])]


def test_the_listing_is_the_committed_one() -> None:
    assert listed(made()) == LISTING.read_text().splitlines()


def test_every_route_has_a_docstring_and_a_name_of_its_own() -> None:
    operations: list[dict[str, Any]] = [each for item in made().openapi["paths"].values() for each in item.values()]
    assert all(operation["description"].strip() for operation in operations)
    assert len({operation["operationId"] for operation in operations}) == len(operations)


def test_sides_share_only_what_both_need() -> None:
    commands, queries = listed(made(frozenset({"commands"}))), listed(made(frozenset({"queries"})))
    shared = [route for route in commands if route in queries]
    assert sorted({*commands, *queries}) == sorted(listed(made()))
    assert all(
        "/health" in each or "/schema" in each or "/problems" in each or "/metrics" in each or "/asyncapi" in each
        for each in shared
    )
    assert not any(route.startswith("POST /commands") for route in queries)
