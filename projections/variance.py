"""A project's variance, row by row: what its actuals and its baseline's lines say at one position, side by side."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from uuid import UUID

import msgspec

from domain.costs import Scope, code_key, scope_key
from domain.markups import Bridge, BridgeStep
from domain.variance import Spent, beyond, variance
from eventstore.db import Reader
from projections import actuals_detail, estimate_detail
from projections.actuals_detail import ActualsHeader, CodeSum, ExplanationRow
from projections.estimate_detail import CodeBudget


class VarianceRow(msgspec.Struct, frozen=True, kw_only=True):
    """Budget and actual cost of a cost code, of the risks, of a mark-up, or of the whole project.

    `variance` is actual − budget: positive is `over`, negative `under`. `fraction` is it as a fraction of the budget,
    null at budget 0. `quantity_part` (what more or less was done, at budgeted prices) and `price_part` add up to it;
    null where quantities are missing or in several units. `needs_explanation`: it passes the company's threshold. The
    actual cost of a mark-up is what was booked against it; one that the baseline has not has no `name` and no budget.
    """

    kind: str
    code: str | None
    code_set: str | None
    code_edition: str | None
    markup_id: UUID | None
    name: str | None
    budget: Decimal
    actual: Decimal
    budget_quantity: Decimal | None
    budget_unit: str | None
    actual_quantity: Decimal | None
    actual_unit: str | None
    variance: Decimal
    word: str
    fraction: Decimal | None
    quantity_part: Decimal | None
    price_part: Decimal | None
    needs_explanation: bool
    explained: bool
    narrative: str | None
    cause: str | None
    owner: str | None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """All rows of a project's variance. The budgets of codes, risks and mark-ups add up to the total's, and so do the
    actual costs; the codes are in order of `code_key`, the mark-ups in the baseline's, then those it has not by id.
    """

    header: ActualsHeader
    total: VarianceRow
    risks: VarianceRow
    markups: list[VarianceRow]
    codes: list[VarianceRow]

    @property
    def rows(self) -> list[VarianceRow]:
        """Every row but the total."""
        return [*self.codes, self.risks, *self.markups]


async def of_actuals(reader: Reader, actuals_id: UUID, *, at: int, threshold: Decimal) -> Comparison | None:
    """The variance; None of actuals that were not opened. Both models must have reached `at`."""
    header = await actuals_detail.actuals(reader, actuals_id, at=at)
    if header is None:
        return None
    baseline = await estimate_detail.estimate(reader, header.baseline_id, at=at)
    if baseline is None:
        raise LookupError("the baseline was never started")
    return compared(
        header,
        estimate_detail.bridge_of(baseline),
        await estimate_detail.budget_by_code(reader, header.baseline_id, at=at),
        await actuals_detail.sums(reader, actuals_id, at=at),
        await actuals_detail.explanations(reader, actuals_id, at=at),
        threshold,
    )


def compared(
    header: ActualsHeader,
    bridge: Bridge,
    lines: Iterable[CodeBudget],
    sums: Sequence[CodeSum],
    explanations: Iterable[ExplanationRow],
    threshold: Decimal,
) -> Comparison:
    """The rows of these answers. Without I/O."""
    told = _Telling({each.scope_key: each for each in explanations}, threshold)
    planned = {code_key(each.code_set, each.code_edition, each.code): each for each in lines}
    spent = {each.scope_key: each for each in sums if each.markup_id is None}
    marked = {each.markup_id: each for each in sums if each.markup_id is not None}
    steps = {step.markup_id: step for step in bridge.steps if step.markup_id is not None}
    codes = [told.code(planned.get(key), spent.get(key)) for key in sorted({*planned, *spent})]
    return Comparison(
        header=header,
        total=told.row(None, "total", None, Spent(amount=bridge.cost), Spent(amount=header.amount)),
        risks=told.row(
            Scope(kind="risk"), "risk", None, Spent(amount=bridge.risk_adjustment), Spent(amount=header.risk_amount)
        ),
        markups=[
            told.markup(markup_id, steps.get(markup_id), marked.get(markup_id))
            for markup_id in [*steps, *sorted(marked.keys() - steps.keys())]
        ],
        codes=codes,
    )


class _Telling:
    """How a row is told: with what is said of it, and whether something must be."""

    def __init__(self, explanations: dict[str, ExplanationRow], threshold: Decimal) -> None:
        self._explanations = explanations
        self._threshold = threshold

    def code(self, planned: CodeBudget | None, spent: CodeSum | None) -> VarianceRow:
        """The row of a code that is in the budget, in the actuals, or in both."""
        named = planned or spent
        assert named is not None
        scope = Scope(code=named.code, code_set=named.code_set, code_edition=named.code_edition)
        return self.row(scope, "code", None, _spent(planned), _spent(spent))

    def markup(self, markup_id: UUID, step: BridgeStep | None, spent: CodeSum | None) -> VarianceRow:
        """The row of a mark-up that is in the budget, in the actuals, or in both."""
        scope, budget = Scope(kind="markup", markup_id=markup_id), Spent(amount=step.amount) if step else Spent()
        return self.row(scope, "markup", step.name if step else None, budget, _spent(spent))

    def row(self, scope: Scope | None, kind: str, name: str | None, budget: Spent, actual: Spent) -> VarianceRow:
        """One row; without a scope, the total."""
        found = variance(budget, actual)
        said = self._explanations.get(scope_key(scope))
        return VarianceRow(
            kind=kind,
            code=scope.code if scope else None,
            code_set=scope.code_set if scope else None,
            code_edition=scope.code_edition if scope else None,
            markup_id=scope.markup_id if scope else None,
            name=name,
            budget=budget.amount,
            actual=actual.amount,
            budget_quantity=budget.quantity,
            budget_unit=budget.unit,
            actual_quantity=actual.quantity,
            actual_unit=actual.unit,
            variance=found.amount,
            word=found.word,
            fraction=found.fraction,
            quantity_part=found.quantity_part,
            price_part=found.price_part,
            needs_explanation=beyond(found.amount, budget.amount, self._threshold),
            explained=said is not None,
            narrative=said.narrative if said else None,
            cause=said.cause if said else None,
            owner=said.owner if said else None,
        )


def _spent(row: CodeBudget | CodeSum | None) -> Spent:
    if row is None:
        return Spent()
    return Spent(amount=row.amount, quantity=row.quantity, unit=row.unit)
