"""Two versions compared: fates of lines, and bridges that add up to the cent."""

from collections.abc import Sequence
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cairn import contract
from domain.comparison import Step, bridge_between, line_difference, risk_difference
from domain.lines import Line
from domain.markups import Bridge, Markup, bridge
from domain.money import ZERO, extension_of
from domain.risks import Risk

CONTRACT = contract.load(None)
EMPTY = bridge(ZERO, ZERO, (), ZERO)


def _line(**fields: object) -> Line:
    line = Line(
        line_id=UUID(int=1),
        ordinal=Decimal(1),
        wbs_path=("A",),
        description="REMOVE CONCRETE PAVEMENT",
        quantity=Decimal(10),
        unit="SY",
        unit_price=Decimal("2.5"),
        extension=Decimal("25.00"),
    )
    return replace(line, **fields)


def _effects(was: Line | None, now: Line | None) -> dict[str, str]:
    found = line_difference(was, now)
    assert found is not None
    return {reason: str(amount) for reason, amount in found.effects.items()}


def test_a_line_that_stayed_is_no_difference() -> None:
    assert line_difference(_line(), _line(ordinal=Decimal(7))) is None
    assert line_difference(_line(quantity=Decimal("10.0")), _line()) is None


def test_a_line_is_added_or_removed_with_all_it_costs() -> None:
    assert _effects(None, _line()) == {"added": "25.00"}
    assert _effects(_line(), None) == {"removed": "-25.00"}


def test_quantity_at_the_earlier_price_then_price_at_the_later_quantity() -> None:
    now = _line(quantity=Decimal(12), unit_price=Decimal(3), extension=Decimal("36.00"))
    assert _effects(_line(), now) == {"quantity": "5.00", "price": "6.00"}


def test_a_submitted_extension_is_a_price() -> None:
    now = _line(extension=Decimal("24.00"), submitted=True)
    assert _effects(_line(), now) == {"price": "-1.00"}
    assert line_difference(_line(), now).changed == ("extension", "submitted")  # type: ignore[union-attr]  # it differs


def test_another_unit_has_no_quantity_or_price_part() -> None:
    assert _effects(_line(), _line(unit="SF", extension=Decimal("30.00"))) == {"unit": "5.00"}


def test_a_line_that_counts_elsewhere_leaves_the_base() -> None:
    assert _effects(_line(), _line(pricing="allowance")) == {"pricing": "-25.00"}
    assert _effects(_line(pricing="alternate"), _line(pricing="allowance", extension=Decimal("9.00"))) == {}


def test_a_line_that_moved_says_so_and_costs_the_same() -> None:
    found = line_difference(_line(), _line(wbs_path=("A", "B")))
    assert found is not None
    assert (found.moved, found.changed, found.base_effect) == (True, (), ZERO)


def test_a_risk_counts_with_what_it_adds() -> None:
    risk = Risk(
        risk_id=UUID(int=2),
        kind="threat",
        title="Peat",
        probability=Decimal("0.4"),
        low=Decimal(20_000),
        high=Decimal(60_000),
    )
    likelier = replace(risk, probability=Decimal("0.5"))
    found = risk_difference(risk, likelier)
    assert found is not None
    assert (found.fate, found.changed, found.effect) == ("changed", ("probability",), Decimal("4000.00"))
    assert risk_difference(risk, risk) is None
    assert risk_difference(risk, None).effect == Decimal("-16000.00")  # type: ignore[union-attr]  # it went


def test_mark_ups_are_matched_by_id_then_by_name() -> None:
    def overhead(id: int, rate: str, name: str = "Overhead") -> Markup:
        return Markup(kind="overhead", markup_id=UUID(int=id), name=name, rate=Decimal(rate))

    was = bridge(Decimal(1000), ZERO, (overhead(1, "0.1"), overhead(2, "0.2", "Head office")), Decimal("0.1"))
    now = bridge(Decimal(1000), ZERO, (overhead(1, "0.15", "Site"), overhead(9, "0.2", "Head office")), Decimal("0.1"))
    steps = [(step.kind, step.name, str(step.amount)) for step in bridge_between(was, now, ())]
    assert steps == [("markup", "Site", "50.00"), ("markup", "Head office", "10.00"), ("margin", "Margin", "6.66")]


@pytest.mark.parametrize("index", range(5))
def test_every_bid_is_bridged_from_the_engineers_estimate(index: int) -> None:
    offer = CONTRACT.offers[index]
    pairs = []
    for number, line in enumerate(CONTRACT.lines):
        was = _line(line_id=UUID(int=number), quantity=line.quantity, unit_price=line.engineers_price)
        was = replace(was, extension=extension_of(was.quantity, was.unit_price))
        price = offer.prices[line.number]
        submitted = offer.submitted.get(line.number)
        extension = extension_of(line.quantity, price) if submitted is None else submitted
        pairs.append((was, replace(was, unit_price=price, extension=extension, submitted=submitted is not None)))
    steps = _bridged(pairs)
    assert [step.name for step in steps] == ["price"]
    assert steps[-1].running == CONTRACT.offered(offer)
    assert steps[0].amount == CONTRACT.offered(offer) - CONTRACT.estimated()


def _bridge_of(lines: Sequence[Line | None], markups: tuple[Markup, ...] = (), margin: Decimal = ZERO) -> Bridge:
    base = sum((line.extension for line in lines if line and line.pricing == "base"), ZERO)
    return bridge(base, ZERO, markups, margin)


def _bridged(pairs: Sequence[tuple[Line | None, Line | None]]) -> tuple[Step, ...]:
    was, now = _bridge_of([pair[0] for pair in pairs]), _bridge_of([pair[1] for pair in pairs])
    found = [line_difference(*pair) for pair in pairs]
    return bridge_between(was, now, [line.effects for line in found if line])


amounts = st.decimals(-10_000, 10_000, places=2)
prices = st.decimals(-1_000, 1_000, places=6)


@st.composite
def lines(draw: st.DrawFn) -> Line:
    """A line at which anything may be odd."""
    quantity, price = draw(prices), draw(prices)
    submitted = draw(st.booleans())
    return _line(
        quantity=quantity,
        unit_price=price,
        unit=draw(st.sampled_from(["SY", "SF"])),
        submitted=submitted,
        extension=draw(amounts) if submitted else extension_of(quantity, price),
        pricing=draw(st.sampled_from(["base", "base", "allowance", "alternate"])),
        wbs_path=draw(st.sampled_from([("A",), ("B",)])),
    )


pairs_of_lines = st.lists(
    st.tuples(st.none() | lines(), st.none() | lines()).filter(lambda pair: pair != (None, None)), max_size=12
)
markups = st.lists(
    st.builds(
        Markup,
        kind=st.sampled_from(["overhead", "profit", "contingency"]),
        markup_id=st.integers(1, 3).map(lambda number: UUID(int=number)),
        name=st.sampled_from(["One", "Two", "Three"]),
        on=st.sampled_from(["direct", "running"]),
        rate=st.decimals("-0.5", 2, places=4),
    ),
    max_size=4,
    unique_by=lambda markup: markup.markup_id,
).map(tuple)
margins = st.decimals("-0.5", "0.9", places=3)


@given(pairs_of_lines, markups, markups, margins, margins)
def test_a_bridge_adds_up_to_the_difference_of_the_bids(
    pairs: list[tuple[Line | None, Line | None]],
    markups_was: tuple[Markup, ...],
    markups_now: tuple[Markup, ...],
    margin_was: Decimal,
    margin_now: Decimal,
) -> None:
    was = _bridge_of([pair[0] for pair in pairs], markups_was, margin_was)
    now = _bridge_of([pair[1] for pair in pairs], markups_now, margin_now)
    found = [line for line in (line_difference(*pair) for pair in pairs) if line]
    assert sum((line.base_effect for line in found), ZERO) == now.base - was.base
    steps = bridge_between(was, now, [line.effects for line in found])
    assert was.final_bid + sum((step.amount for step in steps), ZERO) == now.final_bid
    assert not steps or steps[-1].running == now.final_bid
    assert all(step.amount for step in steps)


@given(pairs_of_lines)
def test_the_way_back_is_the_way_there_with_the_other_sign(pairs: list[tuple[Line | None, Line | None]]) -> None:
    there = [line_difference(was, now) for was, now in pairs]
    back = [line_difference(now, was) for was, now in pairs]
    assert [line and line.base_effect for line in there] == [line and -line.base_effect for line in back]
