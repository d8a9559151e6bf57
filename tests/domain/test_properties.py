"""What holds after any script of commands, whichever aggregate they are for."""

from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.actuals import Actuals, recorded_amount
from domain.costs import Entry, Sum, code_key
from domain.decider import Command, Ref, Rejected, tag_of
from domain.estimate_commands import AddLine, MoveLine, RemoveLine, ReviseLine, UndoChange
from domain.estimate_state import Estimate, bridge_of
from domain.lines import Line, in_order
from domain.maps import decode_map, encode_map
from domain.mirror import RecordChanges
from domain.mirror_events import RecordsChanged, SyncBegan, mirror_of
from domain.registry import BY_CATEGORY, COMMANDS, EVENTS, REJECTIONS
from domain.risks import contribution, impact_faults
from tests.specs import World
from tests.strategies import (
    ACTUALS_IDS,
    BODIES,
    CONNECTION_IDS,
    ESTIMATE_IDS,
    LINE_IDS,
    PROJECT_IDS,
    RISK_IDS,
    Step,
    commands,
    line_bodies,
    scripts,
)

DECODER = msgspec.json.Decoder(EVENTS["company.registered"] | EVENTS["company.renamed"])
for _event in EVENTS.values():
    DECODER = msgspec.json.Decoder(DECODER.type | _event)

OWN = Ref("estimate", ESTIMATE_IDS[0])
START: list[Step] = [
    (Ref("project", PROJECT_IDS[0]), COMMANDS["project", "create-project"][1].model_validate({"name": "TH 108"})),
    (OWN, COMMANDS["estimate", "start-estimate"][1].model_validate({"project_id": PROJECT_IDS[0], "currency": "USD"})),
]


_LINE = {"wbs_path": ["A"], "description": "x", "quantity": "10", "unit": "EA", "unit_price": "1.5"}
_RESPONSE: dict[str, Any] = {"kind": "mitigate", "cost": 8_000, "residual_probability": "0.05"}
_RESPONSE |= {"residual_low": -9_000, "residual_high": 30_000}
_RISK: dict[str, Any] = {"kind": "uncertainty", "title": "Peat", "probability": "0.4", "low": -20_000, "high": 60_000}
_RISK |= {"response": _RESPONSE}
FURNISHED: list[Step] = [
    *START,
    *(
        (OWN, COMMANDS["estimate", "add-line"][1].model_validate_json(msgspec.json.encode({"line_id": id, **_LINE})))
        for id in LINE_IDS[:2]
    ),
    *(
        (OWN, COMMANDS["estimate", "add-risk"][1].model_validate_json(msgspec.json.encode({"risk_id": id, **_RISK})))
        for id in RISK_IDS[:2]
    ),
]
"""A draft with lines and risks, so that random edits meet something."""


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
            if target.category == "estimate" and target in before and before[target].submitted:
                assert content(world.state(target)) == content(before[target]), "a submitted estimate never changes"
        if isinstance(command, UndoChange):
            with pytest.raises(Rejected, match="already-undone"):
                world.decided(ref, command)
        elif not isinstance(command, RecordChanges):  # a mirror does not know its records: the command's id keeps it
            assert world.decided(ref, command) == [], "retry adds nothing"
    return world


def content(estimate: Estimate) -> tuple[Any, ...]:
    """What a bid is made of, and what undo brings back. What becomes of a risk later is not of the bid."""
    risks = {risk.risk_id: replace(risk, **OPEN) for risk in estimate.risks.values()}
    figures = (estimate.totals, estimate.risk_adjustment, estimate.markups, estimate.target_margin)
    words = (estimate.title, estimate.notes, estimate.aace_class, estimate.basis, estimate.effective_on)
    return (dict(estimate.lines.items()), risks, *figures, *words)


OPEN: dict[str, Any] = {"status": "open", "closed_on": None, "closed_because": None}
OPEN |= {"occurred_on": None, "occurred_cost": None}


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
    assert not set(estimate.risks) & set(estimate.removed_risks)
    check_bid(estimate)


def check_bid(estimate: Estimate) -> None:
    """Before the bid is frozen the adjustment is what the risks add; the bridge leads from base to bid."""
    if not estimate.submitted:
        assert estimate.risk_adjustment == sum(map(contribution, estimate.risks.values()), Decimal(0))
    for risk in estimate.risks.values():
        assert not list(impact_faults(risk))
        assert risk.response is not None or risk.mitigated_on is None or risk.status != "mitigated"
    bid = bridge_of(estimate)
    assert estimate.totals.base + sum(step.amount for step in bid.steps) == bid.final_bid
    exact = Fraction(bid.cost) / (1 - Fraction(estimate.target_margin))
    assert bid.final_bid == cents_half_up(exact)


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
            assert state.stream_version == world.versions[ref]


_OCCURRED = {"estimate_id": OWN.id, "risk_id": RISK_IDS[0], "cost": "48000", "occurred_on": "2020-01-01"}
OPENED: list[Step] = [
    (OWN, COMMANDS["estimate", "submit-estimate"][1].model_validate({})),
    (
        Ref("actuals", ACTUALS_IDS[0]),
        COMMANDS["actuals", "open-actuals"][1].model_validate({"project_id": PROJECT_IDS[0], "baseline_id": OWN.id}),
    ),
    (
        Ref("actuals", ACTUALS_IDS[0]),
        COMMANDS["actuals", "record-risk-occurrence"][1].model_validate_json(msgspec.json.encode(_OCCURRED)),
    ),
]


@settings(max_examples=150, deadline=None)
@given(scripts("actuals"), st.booleans())
def test_actuals(script: list[Step], opened: bool) -> None:
    world = run(FURNISHED + OPENED * opened + script)
    check_states(world)
    for ref, state in world.states.items():
        if ref.category == "actuals":
            check_actuals(state)
            assert world.state(Ref("project", state.project_id)).actuals_id == ref.id
            assert world.state(Ref("estimate", state.baseline_id)).submitted
            for risk_id, known in state.risk_costs.items():
                risk = world.state(Ref("estimate", known.estimate_id)).risks[risk_id]
                assert (risk.occurred_cost, risk.occurred_on) == (known.cost, known.occurred_on)


@settings(max_examples=100, deadline=None)
@given(scripts("codeset", "pricebook", "company"))
def test_code_sets_and_price_books(script: list[Step]) -> None:
    world = run(script)
    check_states(world)
    registered = {
        ref.id: (state.code_set, state.edition) for ref, state in world.states.items() if ref.category == "codeset"
    }
    kept = {
        each: (code_set, edition)
        for ref, state in world.states.items()
        if ref.category == "company"
        for code_set, editions in state.code_editions.items()
        for edition, each in editions.items()
    }
    assert kept == registered


CONNECTED = Ref("connection", CONNECTION_IDS[0])
MIRRORED = Ref("mirror", mirror_of(CONNECTION_IDS[0]))
_UPSTREAM = {"kind": "folder", "folder": "exports"}
_MAPPED = {"fields": [{"upstream": "Trade", "name": "trade", "type": "text"}], "identity": ["Item"]}
_BODIES_BEFORE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("open-connection", {"name": "ERP", "upstream": _UPSTREAM}),
    ("set-mapping", {"mapping": _MAPPED}),
)
MAPPED: list[Step] = [
    (CONNECTED, COMMANDS["connection", verb][1].model_validate_json(msgspec.json.encode(body)))
    for verb, body in _BODIES_BEFORE
]


@settings(max_examples=200, deadline=None)
@given(scripts("connection", "mirror", "mirror"), st.booleans())
def test_connections_and_mirrors(script: list[Step], mapped: bool) -> None:
    world = run(MAPPED * mapped + script)
    check_states(world)
    inserted = 0
    begun: set[tuple[UUID, int]] = set()
    for ref, _, event in (each for past in world.past for each in past.written):
        if isinstance(event, SyncBegan):
            assert (event.run_id, event.attempt) not in begun
            begun.add((event.run_id, event.attempt))
        if isinstance(event, RecordsChanged):
            inserted += len(event.changes.inserted)
        assert ref.category != "mirror" or ref == MIRRORED
    mirror = world.state(MIRRORED)
    assert mirror.record_count == inserted
    assert mirror.run is None or mirror.ended is None or mirror.run.run_id != mirror.ended.run_id
    if mirror.run is not None:
        connection = world.state(CONNECTED)
        assert not connection.disabled
        assert not connection.closed


def check_actuals(actuals: Actuals) -> None:
    """Sums agree with a computation of their own; what was removed is gone."""
    entries = list(actuals.entries.values())
    assert all((entry.quantity is None) == (entry.unit is None) for entry in entries)
    assert all(entry.markup_id is None or _place(entry) == (None, None, None) for entry in entries)
    assert dict(actuals.sums.items()) == recomputed(entries)
    costs = [*(entry.amount for entry in entries), *(risk.cost for risk in actuals.risk_costs.values())]
    assert recorded_amount(actuals) == sum(costs, Decimal(0))
    assert not set(actuals.entries) & set(actuals.removed)
    assert not set(actuals.findings) & set(actuals.findings_removed)


def recomputed(entries: list[Entry]) -> dict[tuple[str, str], Sum]:
    """What entries add up to, code by code, mark-up by mark-up and unit by unit, in fractions."""
    found = {}
    for key in {(*_place(entry), entry.markup_id, entry.unit) for entry in entries}:
        own = [each for each in entries if (*_place(each), each.markup_id, each.unit) == key]
        row = f"markup\x1f{key[3]}" if key[3] else code_key(*key[:3])
        amount = sum((Fraction(each.amount) for each in own), Fraction(0))
        quantity = sum((Fraction(each.quantity or 0) for each in own), Fraction(0))
        found[row, key[4] or ""] = Sum(
            amount=Decimal(int(amount * 100)).scaleb(-2),
            quantity=Decimal(int(quantity * 10**6)).scaleb(-6),
            entries=len(own),
        )
    return found


def _place(entry: Entry) -> tuple[str | None, str | None, str | None]:
    return entry.code_set, entry.code_edition, entry.code


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


NOT_CONTENT = {
    *("start-estimate", "submit-estimate", "change-estimate-status"),
    *("tag-version", "untag-version", "undo-change"),
    *("request-simulation", "record-simulation", "fail-simulation"),
}
risk_edits = st.one_of(
    [commands(category, verb) for category, verb in BODIES if category == "estimate" and "risk" in verb]
    + [commands("estimate", verb) for verb in ("apply-mitigation", "withdraw-mitigation")]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(risk_edits, max_size=12), st.booleans(), st.lists(risk_edits, max_size=6))
def test_the_adjustment_is_what_the_risks_add(before: list[Command], submits: bool, after: list[Command]) -> None:
    submitting = [COMMANDS["estimate", "submit-estimate"][1]()] if submits else []
    world = run(FURNISHED + [(OWN, command) for command in [*before, *submitting, *after]])
    check_estimate(world.state(OWN))
    check_states(world)


edits = st.one_of(
    [commands(category, verb) for category, verb in BODIES if category == "estimate" and verb not in NOT_CONTENT]
)
"""Whatever changes the content of a draft."""


@settings(max_examples=150, deadline=None)
@given(st.lists(edits, max_size=15), edits)
def test_undoing_the_last_change_brings_back_what_was(script: list[Command], change: Command) -> None:
    world = run(FURNISHED + [(OWN, command) for command in script])
    before = world.state(OWN)
    try:
        written = world.run(OWN, change)
    except Rejected:
        return
    if not written:
        return
    world.run(OWN, UndoChange(stream_version=world.versions[OWN]))
    after = world.state(OWN)
    assert exactly(after) == exactly(before)
    check_estimate(after)
    check_states(world)
    with pytest.raises(Rejected, match=r"estimate\.cannot-be-undone"):
        world.run(OWN, UndoChange(stream_version=world.versions[OWN]))


def exactly(estimate: Estimate) -> tuple[Any, ...]:
    """Its content, the risks' status included."""
    return (*content(estimate), dict(estimate.risks.items()), [o for run in estimate.ordinals for o in run])


elsewhere = st.one_of(
    commands("estimate", "change-margin"),
    commands("estimate", "set-markups"),
    commands("estimate", "change-notes"),
    commands("estimate", "add-risk"),
    commands("estimate", "classify"),
    commands("estimate", "revise-line").map(lambda revised: revised.model_copy(update={"line_id": LINE_IDS[1]})),
    commands("estimate", "add-line").map(lambda added: added.model_copy(update={"line_id": LINE_IDS[2]})),
)


@settings(max_examples=150, deadline=None)
@given(commands("estimate", "revise-line"), st.lists(elsewhere, max_size=8))
def test_undoing_a_change_keeps_later_ones_elsewhere(change: ReviseLine, later: list[Command]) -> None:
    line = {"wbs_path": ("A",), "description": "x", "quantity": 1, "unit": "EA", "unit_price": 1}
    lines: list[Step] = [(OWN, AddLine.model_validate({"line_id": id, **line})) for id in LINE_IDS[:2]]
    changed, plain = run(START + lines), run(START + lines)
    try:
        written = changed.run(OWN, change.model_copy(update={"line_id": LINE_IDS[0]}))
    except Rejected:
        return
    version = changed.versions[OWN]
    for command in later:
        for world in (changed, plain):
            with suppress(Rejected):
                world.run(OWN, command)
    if written:
        changed.run(OWN, UndoChange(stream_version=version))
    assert exactly(changed.state(OWN)) == exactly(plain.state(OWN))


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
