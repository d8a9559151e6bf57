"""The digest of an estimate version's content: what two parties compare to know that they speak of the same bid."""

import hashlib
from collections.abc import Iterator
from decimal import Decimal
from typing import Final

import msgspec

from domain.estimate_state import Estimate
from domain.lines import Line, in_order
from domain.markups import Markup
from domain.money import CENT, EXACT, plain
from domain.risks import Risk

CONTENT_FORMAT: Final = 2


def content_hash(estimate: Estimate) -> str:
    """SHA-256, in lower-case hexadecimal, of an estimate's content. Equal content has an equal hash in any version.

    The bytes hashed are UTF-8 JSON arrays without white space, each followed by a line feed (0x0A), in this order:

    - `["cairn-estimate-content/2", currency, target_margin, title, notes, aace_class, basis]`;
    - for each line in reading order `["line", line_id, wbs_path, code_set, code_edition, code, description, quantity,
      unit, unit_price, extension, submitted, cost_type, firmness, pricing, note, quote_reference, conversion]`, where
      conversion is `[currency, unit_price, rate, rated_on, source]`;
    - for each mark-up in order `["markup", kind, markup_id, name, on, rate, amount, annual_rate, months_to_midpoint]`;
    - for each risk in order of its id `["risk", risk_id, kind, title, category, cause, event, consequence, probability,
      low, likely, high, schedule_days, owner, review_on, status, mitigated_on, closed_on, closed_because, occurred_on,
      occurred_cost, response]`, where response is `[kind, strategy, cost, residual_probability, residual_low,
      residual_likely, residual_high]`.

    Absent is null, `wbs_path` an array of strings, `submitted` a boolean, an id in lower case with hyphens, a date like
    `2022-01-28`. A decimal is a string without exponent or trailing zeros (`1.5`, `0`), but money (extension, amount,
    impacts, costs) always has two places. Strings are escaped as in RFC 8785.

    Format 1, of submissions whose event names no format, had no risks and mark-ups: its first array is
    `["cairn-estimate-content/1", currency, target_margin, title, notes]`, and its lines have neither the first member
    `"line"` nor the last, conversion.
    """
    digest = hashlib.sha256()
    for row in _rows(estimate):
        digest.update(msgspec.json.encode(row) + b"\n")
    return digest.hexdigest()


def _rows(estimate: Estimate) -> Iterator[tuple[object, ...]]:
    name = f"cairn-estimate-content/{CONTENT_FORMAT}"
    margin = plain(estimate.target_margin)
    yield name, estimate.currency, margin, estimate.title, estimate.notes, estimate.aace_class, estimate.basis
    yield from map(_line, in_order(estimate.lines.values()))
    yield from map(_markup, estimate.markups)
    yield from map(_risk, sorted(estimate.risks.values(), key=lambda risk: risk.risk_id))


def _money(amount: Decimal | None) -> str | None:
    return None if amount is None else format(EXACT.quantize(amount, CENT), "f")


def _plain(number: Decimal | None) -> str | None:
    return None if number is None else plain(number)


def _line(line: Line) -> tuple[object, ...]:
    own = line.conversion
    conversion = own and (own.currency, plain(own.unit_price), plain(own.rate), own.rated_on, own.source)
    return (
        "line",
        line.line_id,
        line.wbs_path,
        line.code_set,
        line.code_edition,
        line.code,
        line.description,
        plain(line.quantity),
        line.unit,
        plain(line.unit_price),
        _money(line.extension),
        line.submitted,
        line.cost_type,
        line.firmness,
        line.pricing,
        line.note,
        line.quote_reference,
        conversion,
    )


def _markup(markup: Markup) -> tuple[object, ...]:
    rising = markup.escalation
    escalation = (None, None) if rising is None else (plain(rising.annual_rate), plain(rising.months_to_midpoint))
    figures = (_plain(markup.rate), _money(markup.amount), *escalation)
    return ("markup", markup.kind, markup.markup_id, markup.name, markup.on, *figures)


def _risk(risk: Risk) -> tuple[object, ...]:
    return (
        "risk",
        risk.risk_id,
        risk.kind,
        risk.title,
        risk.category,
        risk.cause,
        risk.event,
        risk.consequence,
        plain(risk.probability),
        _money(risk.low),
        _money(risk.likely),
        _money(risk.high),
        risk.schedule_days,
        risk.owner,
        risk.review_on,
        risk.status,
        risk.mitigated_on,
        risk.closed_on,
        risk.closed_because,
        risk.occurred_on,
        _money(risk.occurred_cost),
        _response(risk),
    )


def _response(risk: Risk) -> tuple[object, ...] | None:
    own = risk.response
    if own is None:
        return None
    impacts = (_money(own.residual_low), _money(own.residual_likely), _money(own.residual_high))
    return (own.kind, own.strategy, _money(own.cost), plain(own.residual_probability), *impacts)
