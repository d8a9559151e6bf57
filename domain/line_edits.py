"""Decisions on the lines of an estimate: what adding, revising, moving, removing and importing may do."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, TypeAlias
from uuid import UUID

from msgspec.structs import replace

from domain.decider import Rejected
from domain.estimate_commands import AddLine, ImportLines, MoveLine, RemoveLine, ReviseLine
from domain.estimate_events import EstimateEvent, LineAdded, LineMoved, LineRemoved, LineRevised, LinesImported
from domain.estimate_state import Estimate, existing_line
from domain.lines import (
    Line,
    LineChange,
    LineInput,
    LinePlace,
    conversion_from,
    converted_price,
    counted,
    extension_fits,
    in_chunks,
    line_from,
    lump_sum_is_one,
    unit_price_fits,
)
from domain.money import extension_of
from domain.ordinals import beyond, ordinal_after
from domain.subset import difference

Editions: TypeAlias = Mapping[str, Mapping[str, UUID]]
"""Code sets the company registered → their editions → the stream of each. A set that is not here is free text."""
NO_EDITIONS: Final[Editions] = {}
RESTS_ON: Final = ("quantity", "unit", "unit_price")
"""What an extension rests on."""


def add(command: AddLine, estimate: Estimate, editions: Editions) -> list[EstimateEvent]:
    line = _acceptable(command, estimate, Decimal(beyond(estimate.ordinals)), editions)
    return [] if line is None else [LineAdded(line=line)]


def _acceptable(sent: LineInput, estimate: Estimate, ordinal: Decimal, editions: Editions) -> Line | None:
    """The new line; None when it is already there just so."""
    if sent.currency is not None and sent.currency != estimate.currency:
        raise Rejected("estimate.foreign-currency", line=sent.currency, estimate=estimate.currency)
    if sent.conversion is not None and sent.conversion.currency == estimate.currency:
        raise Rejected("estimate.conversion-not-foreign", currency=estimate.currency)
    existing = estimate.lines.get(sent.line_id)
    if existing is not None:
        if line_from(sent, existing.ordinal) == existing:
            return None
        raise Rejected("estimate.line-already-exists", "conflict", line_id=str(sent.line_id))
    if sent.line_id in estimate.removed:
        raise Rejected("estimate.line-removed", "conflict", line_id=str(sent.line_id))
    _must_be_known(sent.code_set, sent.code_edition, editions)
    return sound(line_from(sent, ordinal))


def _must_be_known(code_set: str | None, code_edition: str | None, editions: Editions) -> None:
    """A set that the company registered has editions it registered. Raises Rejected."""
    if code_set is not None and code_edition is not None:
        known = editions.get(code_set)
        if known is not None and code_edition not in known:
            facts: dict[str, Any] = {"code_set": code_set, "code_edition": code_edition, "known": sorted(known)}
            raise Rejected("estimate.code-edition-unknown", **facts)


def sound(line: Line) -> Line:
    """The line, when it can be one. Raises Rejected."""
    if not lump_sum_is_one(line):
        raise Rejected("estimate.lump-sum-quantity", line_id=str(line.line_id), quantity=str(line.quantity))
    if not unit_price_fits(line):
        raise Rejected("estimate.unit-price-too-large", line_id=str(line.line_id), unit_price=str(line.unit_price))
    if not extension_fits(line):
        raise Rejected("estimate.extension-too-large", line_id=str(line.line_id), extension=str(line.extension))
    return line


def revise(command: ReviseLine, estimate: Estimate, editions: Editions) -> list[EstimateEvent]:
    line = existing_line(command.line_id, estimate)
    wanted = command.given()
    _settle_price(wanted, estimate)
    revised = sound(_with_extension(line, wanted))
    if "code_set" in wanted or "code_edition" in wanted:
        _must_be_known(revised.code_set, revised.code_edition, editions)
    return revision(line, revised)


def _settle_price(wanted: dict[str, Any], estimate: Estimate) -> None:
    """A conversion brings its unit price; a unit price of its own ends the conversion."""
    if wanted.get("conversion") is not None:
        conversion = conversion_from(wanted["conversion"])
        assert conversion is not None
        if conversion.currency == estimate.currency:
            raise Rejected("estimate.conversion-not-foreign", currency=estimate.currency)
        wanted |= {"conversion": conversion, "unit_price": converted_price(conversion)}
    elif "unit_price" in wanted:
        wanted["conversion"] = None


def revision(line: Line, revised: Line) -> list[EstimateEvent]:
    """The event that makes one of the other; none when they are the same."""
    change = difference(LineChange, line, {name: getattr(revised, name) for name in LineChange.__struct_fields__})
    if change is None:
        return []
    return [
        LineRevised(
            line_id=line.line_id,
            was=change[0],
            now=change[1],
            counted_was=counted(line),
            counted_now=counted(revised),
        )
    ]


def _with_extension(line: Line, wanted: dict[str, Any]) -> Line:
    """A submitted amount is never derived again unasked: whoever changes what it rests on says what becomes of it."""
    if "extension" in wanted:
        wanted["submitted"] = wanted["extension"] is not None
        if wanted["extension"] is None:
            del wanted["extension"]
    revised = replace(line, **wanted)
    if not revised.submitted:
        return replace(revised, extension=extension_of(revised.quantity, revised.unit_price))
    if "extension" not in wanted and any(getattr(revised, name) != getattr(line, name) for name in RESTS_ON):
        raise Rejected("estimate.extension-stands", line_id=str(line.line_id), extension=str(line.extension))
    return revised


def move(command: MoveLine, estimate: Estimate) -> list[EstimateEvent]:
    line = existing_line(command.line_id, estimate)
    wanted = command.given()
    if "after_line_id" in wanted:
        wanted["ordinal"] = _ordinal_after(wanted.pop("after_line_id"), line, estimate)
    change = difference(LinePlace, line, wanted)
    return [LineMoved(line_id=line.line_id, was=change[0], now=change[1])] if change else []


def _ordinal_after(after_line_id: UUID | None, line: Line, estimate: Estimate) -> Decimal:
    if after_line_id == line.line_id:
        raise Rejected("estimate.move-after-itself", line_id=str(line.line_id))
    after = None if after_line_id is None else existing_line(after_line_id, estimate)
    ordinal = ordinal_after(estimate.ordinals, line.ordinal, after.ordinal if after else None)
    if ordinal is None:
        raise Rejected("estimate.no-room", "conflict", line_id=str(line.line_id), after_line_id=str(after_line_id))
    return ordinal


def remove(command: RemoveLine, estimate: Estimate) -> list[EstimateEvent]:
    if command.line_id in estimate.removed:
        return []
    return [LineRemoved(line=existing_line(command.line_id, estimate))]


def import_(command: ImportLines, estimate: Estimate, editions: Editions) -> list[EstimateEvent]:
    """All faults are found before anything is refused, so that a file can be mended in one go."""
    accepted: list[Line] = []
    faults: list[dict[str, object]] = []
    seen: set[UUID] = set()
    first = beyond(estimate.ordinals)
    for index, sent in enumerate(command.lines):
        try:
            if sent.line_id in seen:
                raise Rejected("estimate.line-repeated", line_id=str(sent.line_id))
            seen.add(sent.line_id)
            line = _acceptable(sent, estimate, Decimal(first + len(accepted)), editions)
        except Rejected as fault:
            faults.append({"index": index, "line_id": str(sent.line_id), "code": fault.code} | fault.facts)
        else:
            accepted += [line] if line else []
    if faults:
        raise Rejected("estimate.import-refused", faults=faults)
    return [LinesImported(source="import", lines=chunk) for chunk in in_chunks(accepted)]
