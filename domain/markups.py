"""Mark-ups of an estimate: the ordered steps from its base total to its cost, and the margin on top of it."""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Final, Literal, Self, TypeAlias
from uuid import UUID

import msgspec
import pydantic
from pydantic import Field, model_validator

from domain.faults import Fault, refuse
from domain.money import CENT, EXACT, ZERO, Amount, AnnualRate, Months, Rate, final_bid
from domain.text import Name

MarkupKind: TypeAlias = Literal["indirect", "contingency", "escalation", "overhead", "profit", "other", "risk"]
"""`risk` is not a mark-up but the place where the risk adjustment joins the running total."""
MarkupOn: TypeAlias = Literal["direct", "running"]
"""Of what a rate is taken: of the base total alone, or of all that stands before it in the order."""

MARKUPS_LIMIT: Final = 50
GROWTH_LIMIT: Final = 1_000
"""By which factor all mark-ups together may raise a cost: far more than any bid, and few enough digits to be exact."""


class EscalationInput(pydantic.BaseModel):
    """Price rises until the midpoint of construction, compounded yearly."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    annual_rate: AnnualRate = Field(description="Price rise a year, as a fraction.", examples=["0.035"])
    months_to_midpoint: Months = Field(description="Months until half of the work is done.", examples=["18"])


class MarkupInput(pydantic.BaseModel):
    """One step: a rate, an amount or an escalation; or `{"kind": "risk"}`, where the risk adjustment comes in."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: MarkupKind = Field(description="What it is for; `risk` says where the risk adjustment joins.")
    markup_id: UUID | None = Field(
        default=None,
        description="Names the mark-up; none for `risk`.",
        examples=["0197b2a4-5f6e-7c3d-8a9b-0c1d2e3f4a5b"],
    )
    name: Name | None = Field(default=None, description="What it is called; none for `risk`.", examples=["Overhead"])
    on: MarkupOn = Field(
        default="running", description="Of what: of the base total alone, or of all before it.", examples=["direct"]
    )
    rate: Rate | None = Field(default=None, description="A fraction of that.", examples=["0.08"])
    amount: Amount | None = Field(default=None, description="A fixed amount.", examples=["25000.00"])
    escalation: EscalationInput | None = Field(default=None, description="Price rises until the midpoint.")

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        refuse(self, self._faults())
        return self

    def _faults(self) -> Iterator[Fault]:
        given = [name for name in ("rate", "amount", "escalation") if getattr(self, name) is not None]
        if self.kind == "risk":
            surplus = [*given, *(name for name in ("markup_id", "name") if getattr(self, name) is not None)]
            for name in surplus:
                yield Fault((name,), "risk_step_alone", "The step `risk` has no figure, id or name of its own")
            return
        for name in ("markup_id", "name"):
            if getattr(self, name) is None:
                yield Fault((name,), "missing", "Field required")
        if not given:
            yield Fault(("rate",), "markup_figure_missing", "A mark-up is a rate, an amount or an escalation")
        for name in given[1:]:
            yield Fault((name,), "markup_figures", "A mark-up is a rate, an amount or an escalation: only one of them")


class Escalation(msgspec.Struct, frozen=True, kw_only=True):
    """Price rises until the midpoint of construction, compounded yearly."""

    annual_rate: Decimal
    months_to_midpoint: Decimal


class Markup(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A step, as it stands. Of kind `risk`, it only says where the risk adjustment joins."""

    kind: MarkupKind
    markup_id: UUID | None = None
    name: str | None = None
    on: MarkupOn = "running"
    rate: Decimal | None = None
    amount: Decimal | None = None
    escalation: Escalation | None = None


RISK_STEP: Final = Markup(kind="risk")

StepKind: TypeAlias = MarkupKind | Literal["margin"]


class BridgeStep(msgspec.Struct, frozen=True, kw_only=True):
    """What one step adds: `amount`, worked out on `on_amount`; `running` is the total after it."""

    kind: StepKind
    name: str
    markup_id: UUID | None
    on_amount: Decimal
    amount: Decimal
    running: Decimal


class Bridge(msgspec.Struct, frozen=True, kw_only=True):
    """From base total to final bid. base + the amounts of all steps = final bid, to the cent; the last step is the
    margin, the ones before it make the cost.
    """

    base: Decimal
    risk_adjustment: Decimal
    steps: tuple[BridgeStep, ...]
    cost: Decimal
    target_margin: Decimal
    final_bid: Decimal


def markup_from(sent: MarkupInput) -> Markup:
    """The step that was sent."""
    if sent.kind == "risk":
        return RISK_STEP
    escalation = None if sent.escalation is None else Escalation(**dict(sent.escalation))
    return Markup(**dict(sent) | {"escalation": escalation})


def list_faults(markups: Sequence[MarkupInput]) -> Iterator[Fault]:
    """What is wrong with a list of mark-ups whose members are each sound."""
    seen: set[UUID | None] = set()
    for index, markup in enumerate(markups):
        if markup.markup_id in seen:
            if markup.kind == "risk":
                yield Fault((index, "kind"), "risk_step_repeated", "The risk adjustment joins in one place only")
            else:
                yield Fault((index, "markup_id"), "markup_repeated", "Another mark-up of the list has this id")
        seen.add(markup.markup_id)
    if _growth(map(markup_from, markups)) > GROWTH_LIMIT:
        message = (
            f"Together the mark-ups multiply a cost by more than {GROWTH_LIMIT:,}; a rate of 1 is a hundred percent"
        )
        yield Fault((), "markups_too_large", message)


def _growth(markups: Iterable[Markup]) -> Decimal:
    """A factor that no cost is raised beyond, fixed amounts apart."""
    factor = Decimal(1)
    for markup in markups:
        factor = EXACT.multiply(factor, EXACT.add(Decimal(1), abs(_rate(markup))))
    return factor


def _rate(markup: Markup) -> Decimal:
    if markup.escalation is not None:
        return _escalated(markup.escalation.annual_rate, markup.escalation.months_to_midpoint)
    return markup.rate or Decimal(0)


@lru_cache(maxsize=1_024)
def _escalated(annual_rate: Decimal, months: Decimal) -> Decimal:
    """(1 + r) ^ (months / 12) − 1: the compounding of US federal practice, to the midpoint of construction."""
    years = EXACT.divide(months, Decimal(12))
    return EXACT.subtract(EXACT.power(EXACT.add(Decimal(1), annual_rate), years), Decimal(1))


def bridge(base: Decimal, risk_adjustment: Decimal, markups: Sequence[Markup], target_margin: Decimal) -> Bridge:
    """Every step from base total to final bid, each rounded once, half-up to cents. The risk adjustment joins first
    unless the list says where.
    """
    steps = tuple(_steps(base, risk_adjustment, markups))
    cost = steps[-1].running
    bid = final_bid(cost, target_margin)
    margin = BridgeStep(
        kind="margin", name="Margin", markup_id=None, on_amount=bid, amount=EXACT.subtract(bid, cost), running=bid
    )
    return Bridge(
        base=base,
        risk_adjustment=risk_adjustment,
        steps=(*steps, margin),
        cost=cost,
        target_margin=target_margin,
        final_bid=bid,
    )


def _steps(base: Decimal, risk_adjustment: Decimal, markups: Sequence[Markup]) -> Iterator[BridgeStep]:
    running = base
    for markup in markups if RISK_STEP in markups else (RISK_STEP, *markups):
        on_amount = base if markup.on == "direct" else running
        amount = risk_adjustment if markup.kind == "risk" else _amount(markup, on_amount)
        running = EXACT.add(running, amount)
        yield BridgeStep(
            kind=markup.kind,
            name=markup.name or "Risk adjustment",
            markup_id=markup.markup_id,
            on_amount=on_amount,
            amount=amount,
            running=running,
        )


def _amount(markup: Markup, on_amount: Decimal) -> Decimal:
    if markup.amount is not None:
        return markup.amount
    return EXACT.quantize(EXACT.multiply(on_amount, _rate(markup)), CENT) or ZERO


def cost_of(base: Decimal, risk_adjustment: Decimal, markups: Sequence[Markup]) -> Decimal:
    """The cost that the margin is put on: base total, risk adjustment and mark-ups."""
    running = EXACT.add(base, risk_adjustment)
    if not markups:
        return running
    for step in _steps(base, risk_adjustment, markups):
        running = step.running
    return running
