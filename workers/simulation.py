"""The Monte Carlo of an estimate's risks, in a process of its own: `python -m workers.simulation`.

It reads a `Task` from standard input, and writes a `Word` to standard output after each chunk of trials and one with
the figures. Apart from the worker, so that only a simulation pays for numpy, none holds up a worker's loop, and the
memory of a large one goes with its process. It ends when nobody reads what it writes.
"""

import os
import sys
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from domain.money import CENT, EXACT, ZERO
from domain.simulation import Figures, SimulatedRisk
from workers.simulation_task import Task, Word

METHOD_VERSION: Final = 1
"""Raised when the same inputs would give other figures."""
CHUNK_TRIALS: Final = 100_000
"""Trials that are drawn at once: what bounds the memory beside the totals. It has no influence on the figures."""
_BLOCK: Final = 65_536
"""Totals whose squares are added at once. It belongs to the method: another one could round another way."""

Totals = NDArray[np.float64]


def simulate(task: Task, progress: Callable[[int], None] = lambda _done: None, *, chunk: int = CHUNK_TRIALS) -> Figures:
    """The figures of the task: the same for the same task, whatever the chunk, the order of risks or the machine.

    Every risk has two streams of PCG64, one for whether it occurs and one for its impact, begun from the seed and the
    risk's id. So a risk meets the same fate whichever others there are, and two simulations of one seed, before and
    after a risk was mitigated, say, differ by that risk alone. Impacts are drawn for the trials in which it occurs.
    """
    totals = np.zeros(task.trials)
    drawing = [_Drawn(risk, task.seed) for risk in sorted(task.risks, key=lambda risk: risk.risk_id.int)]
    for start in range(0, task.trials, chunk):
        part = totals[start : start + chunk]
        for drawn in drawing:
            drawn.add_to(part)
        progress(start + len(part))
    certain = sum((risk.certain for risk in task.risks), ZERO)
    return _figures(totals, certain)


class _Drawn:
    """A risk while it is drawn."""

    def __init__(self, risk: SimulatedRisk, seed: int) -> None:
        self._probability = float(risk.probability)
        self._low, self._high = float(risk.low), float(risk.high)
        self._likely = None if risk.likely is None else float(risk.likely)
        self._occurrences, self._impacts = (
            np.random.Generator(np.random.PCG64(stream))
            for stream in np.random.SeedSequence(seed, spawn_key=_words(risk.risk_id.int)).spawn(2)
        )

    def add_to(self, totals: Totals) -> None:
        """Adds its impact to the trials in which it occurs."""
        occurs = np.flatnonzero(self._occurrences.random(len(totals)) < self._probability)
        totals[occurs] += self._impact(self._impacts.random(len(occurs)))

    def _impact(self, uniform: Totals) -> Totals:
        """The impact whose cumulative probability is `uniform`: of the triangle, or of the range without a peak."""
        low, high, likely = self._low, self._high, self._likely
        width = high - low
        if likely is None or width == 0:
            return low + width * uniform
        rising = low + np.sqrt(uniform * (width * (likely - low)))
        falling = high - np.sqrt((1 - uniform) * (width * (high - likely)))
        impact: Totals = np.where(uniform * width < likely - low, rising, falling)
        return impact


def _words(number: int) -> tuple[int, ...]:
    """The four 32-bit words of an id."""
    return tuple(number >> shift & 0xFFFFFFFF for shift in (96, 64, 32, 0))


def _figures(totals: Totals, certain: Decimal) -> Figures:
    """`totals` is put in another order. Percentile p is the least total that p % of the trials do not exceed."""
    mean = float(totals.mean())
    squares = sum(float(np.square(totals[at : at + _BLOCK] - mean).sum()) for at in range(0, len(totals), _BLOCK))
    ranks = [max(0, -(-percent * len(totals) // 100) - 1) for percent in range(101)]
    totals.partition(sorted(set(ranks)))
    return Figures(
        mean=_plus(certain, mean),
        standard_deviation=_plus(ZERO, (squares / (len(totals) - 1)) ** 0.5),
        curve=tuple(_plus(certain, float(totals[rank])) for rank in ranks),
        method_version=METHOD_VERSION,
        bit_generator="PCG64",
        numpy_version=np.__version__,
    )


def _plus(certain: Decimal, drawn: float) -> Decimal:
    """Rounded once, half-up to cents."""
    return EXACT.quantize(EXACT.add(certain, Decimal(drawn)), CENT) or ZERO


def main(arguments: Sequence[str]) -> int:  # noqa: ARG001
    """Simulates what standard input says."""
    os.nice(10)  # commands and queries on the same machine come first
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    try:
        _say(Word(task.trials, simulate(task, lambda done: _say(Word(done)))))
    except BrokenPipeError:  # whoever asked is gone
        sys.stdout = None  # nor can anything be flushed at the end
    return 0


def _say(word: Word) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(word) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
