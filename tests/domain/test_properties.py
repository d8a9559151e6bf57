"""What holds after any script of commands, whichever aggregate they are for."""

from collections import deque
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.decider import Ref, Rejected, tag_of
from domain.estimate import AddLine, Estimate, MoveLine, RemoveLine
from domain.lines import Line, in_order
from domain.maps import decode_map, encode_map
from domain.registry import BY_CATEGORY, COMMANDS, EVENTS, REJECTIONS
from tests.specs import World
from tests.strategies import BODIES, ESTIMATE_IDS, LINE_IDS, PROJECT_IDS, Step, commands, line_bodies, scripts

DECODER = msgspec.json.Decoder(EVENTS["company.registered"] | EVENTS["company.renamed"])
for _event in EVENTS.values():
    DECODER = msgspec.json.Decoder(DECODER.type | _event)

OWN = Ref("estimate", ESTIMATE_IDS[0])
START: list[Step] = [
    (Ref("project", PROJECT_IDS[0]), COMMANDS["project", "create-project"][1].model_validate({"name": "TH 108"})),
    (OWN, COMMANDS["estimate", "start-estimate"][1].model_validate({"project_id": PROJECT_IDS[0], "currency": "USD"})),
]


def run(script: Iterable[Step]) -> World:
    """Runs what is accepted, and checks of each step what must hold of any."""
    world = World()
    for ref, command in script:
        try:
            written = world.decided(ref, command)
        except Rejected as rejection:
            check_rejection(rejection)
            continue
        before = dict(world.states)
        world.run(ref, command)
        for target, event in written:
            check_event(target, event)
            if target.category == "estimate" and target in before:
                assert not before[target].submitted, "a submitted estimate never changes"
        assert world.decided(ref, command) == [], "retry adds nothing"
    return world


def check_rejection(rejection: Rejected) -> None:
    """It is documented, and its facts can be sent."""
    assert rejection.code in REJECTIONS
    msgspec.json.encode(rejection.facts)


def check_event(target: Ref, event: Any) -> None:
    """It is of the aggregate's own, and its stored form reads back as the same, byte for byte."""
    assert type(event) in BY_CATEGORY[target.category].events
    stored = msgspec.json.encode(event)
    again = DECODER.decode(stored)
    assert again == event
    assert msgspec.json.encode(again) == stored
    assert msgspec.json.decode(stored)["type"] == tag_of(type(event))


def check_states(world: World) -> None:
    """Each survives being stored and loaded as a snapshot."""
    for state in world.states.values():
        stored = msgspec.msgpack.encode(state, enc_hook=encode_map)
        assert msgspec.msgpack.decode(stored, type=type(state), dec_hook=decode_map) == state


def cents_half_up(amount: Fraction) -> Decimal:
    """Rounding worked out in integers, by other means than the code under test."""
    cents, rest = divmod(abs(amount) * 100, 1)
    rounded = int(cents) + (1 if rest >= Fraction(1, 2) else 0)
    return Decimal(rounded if amount >= 0 else -rounded).scaleb(-2)


def check_estimate(estimate: Estimate) -> None:
    """Totals agree with a computation of their own; the order names every line once."""
    lines = list(estimate.lines.values())
    for pricing in ("base", "allowance", "alternate"):
        counting = [line for line in lines if line.pricing == pricing]
        assert getattr(estimate.totals, pricing) == sum((extension(line) for line in counting), Decimal(0))
    ordinals = [ordinal for run in estimate.ordinals for ordinal in run]
    assert ordinals == sorted(line.ordinal for line in lines)
    assert len(set(ordinals)) == len(lines)
    assert not set(estimate.lines) & set(estimate.removed)
    assert all(line.unit != "LS" or line.quantity == 1 for line in lines)


def extension(line: Line) -> Decimal:
    """A submitted amount as it is, another from quantity and price."""
    if line.submitted:
        return line.extension
    return cents_half_up(Fraction(line.quantity) * Fraction(line.unit_price))


def check_versions(world: World) -> None:
    """Every project's versions are 1, 2, 3 … without gap or repeat."""
    for ref, state in world.states.items():
        if ref.category == "project":
            numbered = [
                e.version for r, e in world.states.items() if r.category == "estimate" and e.project_id == ref.id
            ]
            assert sorted(numbered) == list(range(1, state.versions + 1))


def test_every_command_has_a_strategy() -> None:
    assert set(BODIES) == set(COMMANDS)


@settings(max_examples=60, deadline=None)
@given(scripts("company"))
def test_company(script: list[Step]) -> None:
    check_states(run(script))


@settings(max_examples=60, deadline=None)
@given(scripts("membership"))
def test_membership(script: list[Step]) -> None:
    check_states(run(script))


@settings(max_examples=60, deadline=None)
@given(scripts("project"))
def test_project(script: list[Step]) -> None:
    check_states(run(script))


@settings(max_examples=150, deadline=None)
@given(scripts("estimate", "project"))
def test_estimate(script: list[Step]) -> None:
    world = run(START + script)
    check_states(world)
    check_versions(world)
    for ref, state in world.states.items():
        if ref.category == "estimate":
            check_estimate(state)


different_lines = st.lists(
    line_bodies(st.uuids(version=4).map(str)).map(lambda body: {**body, "currency": "USD"}),
    max_size=8,
    unique_by=lambda body: str(body["line_id"]),
)


@settings(max_examples=50, deadline=None)
@given(different_lines, st.randoms())
def test_totals_do_not_depend_on_the_order(bodies: list[dict[str, Any]], random: Any) -> None:
    added: list[Step] = [(OWN, AddLine.model_validate_json(msgspec.json.encode(body))) for body in bodies]
    shuffled = random.sample(added, len(added))
    assert run(START + added).state(OWN).totals == run(START + shuffled).state(OWN).totals


moves = st.lists(
    commands("estimate", "add-line") | commands("estimate", "move-line") | commands("estimate", "remove-line"),
    max_size=30,
)


@settings(max_examples=100, deadline=None)
@given(moves)
def test_reading_order_is_that_of_a_plain_list(script: list[AddLine | MoveLine | RemoveLine]) -> None:
    world, expected = run(START), list[UUID]()
    for command in script:
        try:
            written = world.run(OWN, command)
        except Rejected:
            continue
        if isinstance(command, RemoveLine):
            expected = [line_id for line_id in expected if line_id != command.line_id]
        elif isinstance(command, AddLine):
            expected += [command.line_id] if written else []
        elif "after_line_id" in command.given():
            expected.remove(command.line_id)
            after = command.given()["after_line_id"]
            expected.insert(0 if after is None else expected.index(after) + 1, command.line_id)
        assert [line.line_id for line in in_order(world.state(OWN).lines.values())] == expected


def test_a_gap_takes_many_moves_and_then_says_so() -> None:
    line = {"wbs_path": ("A",), "description": "x", "quantity": 1, "unit": "EA", "unit_price": 1}
    added: list[Step] = [(OWN, AddLine.model_validate({"line_id": id, **line})) for id in LINE_IDS[:3]]
    world = run(START + added)
    first, *two = LINE_IDS[:3]
    into_the_gap = (MoveLine(line_id=two[turn % 2], after_line_id=first) for turn in range(10_000))
    with pytest.raises(Rejected, match=r"estimate\.no-room"):
        deque((world.run(OWN, move) for move in into_the_gap), maxlen=0)
    moved = 10_000 - sum(1 for _ in into_the_gap)
    assert moved > 700
    check_estimate(world.state(OWN))
