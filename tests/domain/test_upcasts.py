"""Old shapes go through every step on the way to today's, and come out unharmed otherwise."""

from domain.registry import EVENTS
from domain.upcasts import UPCASTS, Body, upcast


def _first(body: Body) -> Body:
    body["cents"] = body.pop("amount") * 100
    return body


def _second(body: Body) -> Body:
    return {**body, "currency": "USD"}


STEPS = {("thing.done", 1): _first, ("thing.done", 2): _second}


def test_steps_are_taken_in_order_from_the_stored_version() -> None:
    stored = {"type": "thing.done", "amount": 7}
    assert upcast("thing.done", 1, stored, STEPS) == ({"type": "thing.done", "cents": 700, "currency": "USD"}, 3)
    assert stored == {"type": "thing.done", "amount": 7}
    assert upcast("thing.done", 2, {"cents": 700}, STEPS) == ({"cents": 700, "currency": "USD"}, 3)
    assert upcast("thing.done", 3, {"cents": 700}, STEPS) == ({"cents": 700}, 3)
    assert upcast("other.done", 1, {"cents": 700}, STEPS) == ({"cents": 700}, 1)


def test_the_steps_lead_to_the_version_of_today() -> None:
    older = {(tag, version) for tag, event in EVENTS.items() for version in range(1, event.schema_version)}
    assert {key for key in UPCASTS if key[0] in EVENTS} == older
