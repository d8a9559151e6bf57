"""The reading order of an estimate's lines: unique decimals, so that a move changes one line and no other."""

import math
from bisect import bisect_left, bisect_right
from decimal import Context, Decimal
from typing import Final, TypeAlias

Ordinals: TypeAlias = tuple[tuple[Decimal, ...], ...]
"""All ordinals in use, ascending, in runs of at most 256: a changed copy shares every run but one."""

_RUN: Final = 256
_WIDE: Final = Context(prec=1_000)
_DEEPEST: Final = 300


def _run_of(ordinals: Ordinals, ordinal: Decimal) -> int:
    """Index of the run that holds the ordinal, or would."""
    return min(bisect_left(ordinals, ordinal, key=lambda run: run[-1]), len(ordinals) - 1)


def with_ordinal(ordinals: Ordinals, ordinal: Decimal) -> Ordinals:
    """With an ordinal that is not there yet."""
    if not ordinals or ordinal > ordinals[-1][-1]:
        return _with_last(ordinals, ordinal)
    index = _run_of(ordinals, ordinal)
    run = ordinals[index]
    at = bisect_left(run, ordinal)
    longer = (*run[:at], ordinal, *run[at:])
    runs = (longer,) if len(longer) <= _RUN else (longer[: _RUN // 2], longer[_RUN // 2 :])
    return (*ordinals[:index], *runs, *ordinals[index + 1 :])


def _with_last(ordinals: Ordinals, ordinal: Decimal) -> Ordinals:
    """The usual case; concatenation copies a tuple twice as fast as unpacking does."""
    if not ordinals or len(ordinals[-1]) >= _RUN:
        return ordinals + ((ordinal,),)  # noqa: RUF005
    return ordinals[:-1] + (ordinals[-1] + (ordinal,),)  # noqa: RUF005


def without_ordinal(ordinals: Ordinals, ordinal: Decimal) -> Ordinals:
    """Without an ordinal that is there."""
    index = _run_of(ordinals, ordinal)
    run = ordinals[index]
    at = bisect_left(run, ordinal)
    shorter = (*run[:at], *run[at + 1 :])
    return (*ordinals[:index], *((shorter,) if shorter else ()), *ordinals[index + 1 :])


def beyond(ordinals: Ordinals) -> int:
    """The whole number a new last line gets."""
    return math.floor(ordinals[-1][-1]) + 1 if ordinals else 1


def _following(ordinals: Ordinals, low: Decimal | None) -> Decimal | None:
    """The first ordinal above `low`, or of all."""
    if low is None:
        return ordinals[0][0] if ordinals else None
    index = bisect_right(ordinals, low, key=lambda run: run[-1])
    return ordinals[index][bisect_right(ordinals[index], low)] if index < len(ordinals) else None


def ordinal_after(ordinals: Ordinals, own: Decimal, low: Decimal | None) -> Decimal | None:
    """The ordinal that moves the line at `own` to next after `low` (None: first); `own` when it already stands there.

    None when some thousand moves into the same gap have used it up.
    """
    others = without_ordinal(ordinals, own)
    high = _following(others, low)
    if (low is None or low < own) and (high is None or own < high):
        return own
    if high is None:
        return Decimal(beyond(others))
    return Decimal(math.ceil(high) - 1) if low is None else _between(low, high)


def nearest_free(ordinals: Ordinals, wanted: Decimal) -> Decimal | None:
    """The ordinal itself when no line has it, else one right after it; None when that gap is used up."""
    if not ordinals or wanted > ordinals[-1][-1]:
        return wanted
    run = ordinals[_run_of(ordinals, wanted)]
    if run[bisect_left(run, wanted)] != wanted:
        return wanted
    following = _following(ordinals, wanted)
    return Decimal(beyond(ordinals)) if following is None else _between(wanted, following)


def _between(low: Decimal, high: Decimal) -> Decimal | None:
    """About the middle, with as few decimal places as keep it strictly between; None when 300 would not do."""
    middle = _WIDE.divide(_WIDE.add(low, high), Decimal(2))
    for places in range(_DEEPEST):
        candidate = middle.quantize(Decimal(1).scaleb(-places), context=_WIDE)
        if low < candidate < high:
            return candidate
    return None
