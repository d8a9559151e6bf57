"""A simulation's curve as a picture: what the risks may cost, and how sure it is that they cost no more."""

from collections.abc import Sequence
from decimal import ROUND_CEILING, Decimal
from html import escape
from typing import Final, NamedTuple

MARKS: Final = (10, 50, 80, 90)
"""Percentiles that are marked and spelled out."""

_WIDTH, _HEIGHT = 760, 430
_LEFT, _TOP, _RIGHT, _BOTTOM = 64, 52, 540, 362
_TICKS: Final = 5

_PICTURE: Final = """<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="title desc" \
viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="sans-serif" font-size="12" fill="#222">
<title id="title">{title}</title>
<desc id="desc">{description}</desc>
<rect width="{width}" height="{height}" fill="#fff"/>
<text x="{left}" y="28" font-size="15" font-weight="bold">{title}</text>
<g stroke="#ddd">{grid}</g>
<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="#222"/>
<g text-anchor="middle">{amounts}</g>
<g text-anchor="end">{percents}</g>
<text x="{middle}" y="412" text-anchor="middle">{across}</text>
<text transform="translate(16 {centre}) rotate(-90)" text-anchor="middle">Trials that cost no more</text>
<polyline points="{points}" fill="none" stroke="#06c" stroke-width="2"/>
{marks}
<g font-size="13">{legend}</g>
</svg>
"""


class Curve(NamedTuple):
    """What is drawn: percentiles 0 to 100, the expected value, their currency, and how it was found."""

    percentiles: Sequence[Decimal]
    expected_value: Decimal
    currency: str
    trials: int
    seed: int


class _Scale(NamedTuple):
    """Amounts across the picture, from `least`, in so many `steps`."""

    least: Decimal
    step: Decimal
    steps: int

    def x(self, amount: Decimal) -> float:
        return _LEFT + float((amount - self.least) / (self.step * self.steps)) * (_RIGHT - _LEFT)

    def ticks(self) -> list[Decimal]:
        return [self.least + self.step * number for number in range(self.steps + 1)]


def svg(curve: Curve) -> str:
    """The picture. Its title and description say in words what it shows."""
    scale = _scale(curve)
    title = "What the risks may cost"
    marked = [(f"P{percent}", curve.percentiles[percent]) for percent in MARKS]
    told = ", ".join(f"{name} {_money(amount)}" for name, amount in marked)
    ticks = scale.ticks()
    return _PICTURE.format(
        width=_WIDTH,
        height=_HEIGHT,
        left=_LEFT,
        top=_TOP,
        right=_RIGHT,
        bottom=_BOTTOM,
        middle=(_LEFT + _RIGHT) / 2,
        centre=(_TOP + _BOTTOM) / 2,
        title=escape(title),
        description=escape(
            f"Share of {curve.trials:,} trials (seed {curve.seed}) in which the risks together cost no more than an "
            f"amount in {curve.currency}: {told}. The expected value, which is no percentile, is "
            f"{_money(curve.expected_value)}."
        ),
        across=escape(f"Cost of the open and mitigated risks, {curve.currency}"),
        grid="".join(f'<path d="M{scale.x(tick):.1f} {_TOP}V{_BOTTOM}"/>' for tick in ticks)
        + "".join(f'<path d="M{_LEFT} {_y(percent):.1f}H{_RIGHT}"/>' for percent in range(0, 101, 20)),
        amounts="".join(_text(scale.x(tick), _BOTTOM + 18, _tick(tick, scale.step)) for tick in ticks),
        percents="".join(_text(_LEFT - 8, _y(percent) + 4, f"{percent} %") for percent in range(0, 101, 20)),
        points=" ".join(f"{scale.x(amount):.1f},{_y(p):.1f}" for p, amount in enumerate(curve.percentiles)),
        marks="".join(_mark(scale.x(curve.percentiles[percent]), _y(percent)) for percent in MARKS)
        + f'<path d="M{scale.x(curve.expected_value):.1f} {_TOP}V{_BOTTOM}" stroke="#b30" stroke-dasharray="6 4"/>',
        legend=_legend(curve, marked),
    )


def _scale(curve: Curve) -> _Scale:
    """Round amounts that leave nothing out."""
    least = min(*curve.percentiles, curve.expected_value)
    greatest = max(*curve.percentiles, curve.expected_value)
    rough = (greatest - least) / _TICKS or Decimal(1)
    power = Decimal(1).scaleb(rough.adjusted())
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first = (least / step).to_integral_value("ROUND_FLOOR") * step
    steps = max(1, int(((greatest - first) / step).to_integral_value(ROUND_CEILING)))
    return _Scale(first, step, steps)


def _y(percent: float) -> float:
    return _BOTTOM - percent / 100 * (_BOTTOM - _TOP)


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _tick(amount: Decimal, step: Decimal) -> str:
    return f"{amount:,.0f}" if step >= 1 else f"{amount:,.2f}"


def _mark(x: float, y: float) -> str:
    return (
        f'<path d="M{_LEFT} {y:.1f}H{x:.1f}V{_BOTTOM}" fill="none" stroke="#888" stroke-dasharray="2 3"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#06c"/>'
    )


def _legend(curve: Curve, marked: Sequence[tuple[str, Decimal]]) -> str:
    """Percentiles, the highest first as in the picture; apart from them the expected value."""
    x, y = _RIGHT + 20, _TOP + 14
    rows = [f"{name}: {_money(amount)}" for name, amount in reversed(marked)]
    lines = [_text(x, y + 20 * number, row) for number, row in enumerate(rows)]
    below = y + 20 * len(rows) + 16
    apart = [_text(x, below, "Expected value:"), _text(x, below + 18, _money(curve.expected_value))]
    return "".join(lines) + f'<g fill="#b30">{"".join(apart)}</g>'


def _money(amount: Decimal) -> str:
    return f"{amount:,.2f}"
