"""What a figure is: lines of values, one per round; ratios are taken within a round; the median speaks."""

import gc
import statistics
from collections.abc import Callable, Mapping, Sequence

import msgspec

from bench.meter import Cost


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How long and how often. `full` takes the sizes the goals name where the default is smaller; `records` says how
    many mirrored records there are.
    """

    rounds: int = 3
    seconds: float = 2.0
    full: bool = False
    records: int | None = None


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One value per round. With a `goal`, the median has to reach it, or stay below it if `at_most`."""

    label: str
    unit: str
    values: list[float]
    goal: float | None = None
    at_most: bool = False

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the goal; None when there is none."""
        if self.goal is None:
            return None
        return self.median <= self.goal if self.at_most else self.median >= self.goal


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a figure came to. `notes` say what was left out, and why."""

    name: str
    title: str
    lines: list[Line]
    notes: list[str] = []


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one arm: how much it did, in how long, and how long each single piece took (seconds)."""

    count: int
    seconds: float
    latencies: list[float] = []
    cost: Cost = Cost()

    @property
    def rate(self) -> float:
        """Pieces a second."""
        return self.count / self.seconds

    @property
    def microseconds_each(self) -> float:
        """Processor time a piece, client and server together."""
        return (self.cost.client_seconds + self.cost.server_seconds) / self.count * 1_000_000

    def milliseconds_at(self, share: float) -> float:
        """The latency that this share of the pieces stayed within."""
        return percentile(self.latencies, share) * 1000


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of `values` does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def interleaved(rounds: int, arms: Mapping[str, Callable[[], Sample]]) -> dict[str, list[Sample]]:
    """Runs the arms in turns, so that what disturbs the machine disturbs all of them.

    What was made beforehand is taken out of the garbage collector's sight: it is the benchmark's, not an arm's.
    """
    gc.collect()
    gc.freeze()
    found: dict[str, list[Sample]] = {name: [] for name in arms}
    for number in range(rounds):
        names = list(arms)
        for name in names if number % 2 == 0 else reversed(names):
            found[name].append(arms[name]())
    return found


def rates(samples: Sequence[Sample]) -> list[float]:
    """Pieces a second, per round."""
    return [sample.rate for sample in samples]


def cost_lines(found: Mapping[str, Sequence[Sample]]) -> list[Line]:
    """What each arm costs in processor time: that does not depend on what else the machine does."""
    lines = []
    for name, samples in found.items():
        client = [sample.cost.client_seconds / sample.count * 1_000_000 for sample in samples]
        server = [sample.cost.server_seconds / sample.count * 1_000_000 for sample in samples]
        lines.append(Line(label=f"{name}: CPU, client", unit="µs/event", values=client))
        lines.append(Line(label=f"{name}: CPU, server", unit="µs/event", values=server))
    return lines


def percentiles(samples: Sequence[Sample], share: float) -> list[float]:
    """Milliseconds that this share stayed within, per round."""
    return [sample.milliseconds_at(share) for sample in samples]


def ratios(mine: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """One's value in terms of the other's, per round."""
    return [one / other for one, other in zip(mine, theirs, strict=True)]
