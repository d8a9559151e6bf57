"""Two versions of an estimate side by side: what became of each line and risk, and a bridge from one bid to the other.

Every amount of the bridge is the later figure less the earlier one, or a part of it, so its steps add up to the
difference of the bids to the cent.
"""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Final, Literal, Protocol, TypeAlias

import msgspec

from domain.lines import Line
from domain.markups import Bridge, BridgeStep
from domain.money import CENT, EXACT, ZERO
from domain.risks import Risk, contribution

Fate: TypeAlias = Literal["added", "removed", "changed"]
Reason: TypeAlias = Literal["added", "removed", "quantity", "price", "unit", "pricing"]
"""Why a line adds another amount to the base total. `pricing`: it counts in another total now, an allowance's say."""
StepKind: TypeAlias = Literal["lines", "risk", "markup", "margin"]

REASONS: Final[tuple[Reason, ...]] = ("added", "removed", "quantity", "price", "unit", "pricing")
LINE_FIELDS: Final = (
    "description",
    "quantity",
    "unit",
    "unit_price",
    "extension",
    "submitted",
    "code",
    "code_set",
    "code_edition",
    "cost_type",
    "firmness",
    "pricing",
    "note",
    "quote_reference",
)
RISK_FIELDS: Final = tuple(name for name in Risk.__struct_fields__ if name != "risk_id")


class Priced(Protocol):
    """What of a line decides how much it adds to the base total. Every `Line` has it."""

    @property
    def quantity(self) -> Decimal: ...
    @property
    def unit(self) -> str: ...
    @property
    def unit_price(self) -> Decimal: ...
    @property
    def extension(self) -> Decimal: ...
    @property
    def submitted(self) -> bool: ...
    @property
    def pricing(self) -> str: ...


Effects: TypeAlias = dict[Reason, Decimal]
"""The parts of a line's effect on the base total. They add up to it exactly; parts of 0 are left out."""


class LineDifference(msgspec.Struct, frozen=True, kw_only=True):
    """A line that is not the same in both. `changed` names the fields that differ; `moved`: it stands elsewhere in the
    work breakdown. `base_effect` is what it adds to the difference of the base totals, in the parts of `effects`.
    """

    fate: Fate
    was: Line | None
    now: Line | None
    changed: tuple[str, ...]
    moved: bool
    base_effect: Decimal
    effects: Effects


class RiskDifference(msgspec.Struct, frozen=True, kw_only=True):
    """A risk that is not the same in both, and what it adds to the difference of the risk adjustments."""

    fate: Fate
    was: Risk | None
    now: Risk | None
    changed: tuple[str, ...]
    effect: Decimal


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step from the earlier bid to the later one; `running` is the bid after it."""

    kind: StepKind
    name: str
    amount: Decimal
    running: Decimal


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """From the earlier version to the later. Of the lines that differ those with the largest effects are listed;
    `lines_differing` counts all of them, `lines_alike` the lines in which nothing differs.
    """

    currency: str
    final_bid_was: Decimal
    final_bid_now: Decimal
    difference: Decimal
    bridge: tuple[Step, ...]
    lines: tuple[LineDifference, ...]
    lines_differing: int
    lines_alike: int
    risks: tuple[RiskDifference, ...]


def line_difference(was: Line | None, now: Line | None) -> LineDifference | None:
    """What became of a line; None when nothing did. One of the two is given at least."""
    changed = tuple(name for name in LINE_FIELDS if was and now and getattr(was, name) != getattr(now, name))
    moved = bool(was and now and was.wbs_path != now.wbs_path)
    if was and now and not changed and not moved:
        return None
    parts = effects(was, now)
    return LineDifference(
        fate="added" if was is None else "removed" if now is None else "changed",
        was=was,
        now=now,
        changed=changed,
        moved=moved,
        base_effect=sum(parts.values(), ZERO),
        effects=parts,
    )


def effects(was: Priced | None, now: Priced | None) -> Effects:
    """What a line adds to the difference of the base totals. One of the two is given at least."""
    whole = EXACT.subtract(_counted(now), _counted(was))
    if was is None or now is None:
        found: Effects = {"added" if was is None else "removed": whole}
    elif "base" not in (was.pricing, now.pricing):
        found = {}
    elif was.pricing != now.pricing:
        found = {"pricing": whole}
    elif was.unit != now.unit:
        found = {"unit": whole}
    else:
        quantity = _of_quantity(was, now, whole)
        found = {"quantity": quantity, "price": EXACT.subtract(whole, quantity)}
    return {reason: amount for reason, amount in found.items() if amount}


def _counted(line: Priced | None) -> Decimal:
    return line.extension if line is not None and line.pricing == "base" else ZERO


def _of_quantity(was: Priced, now: Priced, whole: Decimal) -> Decimal:
    """(later − earlier quantity) × earlier price, rounded once; what is left of the whole is the price's, at the later
    quantity. A price that did not move has no part, so neither has the rounding.
    """
    if was.quantity == now.quantity:
        return ZERO
    if was.unit_price == now.unit_price and not (was.submitted or now.submitted):
        return whole
    more = EXACT.subtract(now.quantity, was.quantity)
    return EXACT.quantize(EXACT.multiply(more, was.unit_price), CENT) or ZERO


def risk_difference(was: Risk | None, now: Risk | None) -> RiskDifference | None:
    """What became of a risk; None when nothing did. One of the two is given at least."""
    changed = tuple(name for name in RISK_FIELDS if was and now and getattr(was, name) != getattr(now, name))
    if was and now and not changed:
        return None
    return RiskDifference(
        fate="added" if was is None else "removed" if now is None else "changed",
        was=was,
        now=now,
        changed=changed,
        effect=EXACT.subtract(contribution(now) if now else ZERO, contribution(was) if was else ZERO),
    )


def bridge_between(was: Bridge, now: Bridge, lines: Iterable[Effects]) -> tuple[Step, ...]:
    """The steps from the earlier final bid to the later: lines by reason, risks, each mark-up, margin. `lines`: the
    effects of all lines that differ.
    """
    running = was.final_bid
    steps: list[Step] = []
    for kind, name, amount in (*_line_steps(lines), *_priced_steps(was, now)):
        if amount:
            running = EXACT.add(running, amount)
            steps.append(Step(kind=kind, name=name, amount=amount, running=running))
    return tuple(steps)


_Named: TypeAlias = tuple[StepKind, str, Decimal]


def _line_steps(lines: Iterable[Effects]) -> Iterator[_Named]:
    sums = dict.fromkeys(REASONS, ZERO)
    for parts in lines:
        for reason, amount in parts.items():
            sums[reason] = EXACT.add(sums[reason], amount)
    for reason, amount in sums.items():
        yield "lines", reason, amount


def _priced_steps(was: Bridge, now: Bridge) -> Iterator[_Named]:
    """What is put on the base total, step by step."""
    before = list(was.steps)
    for step in now.steps:
        twin = _twin(step, before)
        if twin is not None:
            before.remove(twin)
        yield _kind(step), step.name, EXACT.subtract(step.amount, twin.amount if twin else ZERO)
    for step in before:
        yield _kind(step), step.name, EXACT.subtract(ZERO, step.amount)


def _twin(step: BridgeStep, among: Sequence[BridgeStep]) -> BridgeStep | None:
    """The same step of the other version: of the same id, else of the same kind and name."""
    same_id = (other for other in among if (other.kind, other.markup_id) == (step.kind, step.markup_id))
    same_name = (other for other in among if (other.kind, other.name) == (step.kind, step.name))
    return next(same_id, None) or next(same_name, None)


def _kind(step: BridgeStep) -> StepKind:
    return "risk" if step.kind == "risk" else "margin" if step.kind == "margin" else "markup"
