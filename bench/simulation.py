"""Drawing the risks of an estimate: 100,000 trials of 50 risks."""

import random
import time
from decimal import Decimal
from functools import partial
from uuid import UUID

from bench.ground import Ground
from bench.measure import Line, Options, Report, Sample, interleaved, ratios
from domain.simulation import SimulatedRisk
from workers.simulation import simulate
from workers.simulation_task import Task

TITLE = "100,000 trials of 50 risks"
TRIALS, TRIALS_FULL = 100_000, 1_000_000
RISKS = 50
PLAIN_SHARE = 100
"""The plain loop draws one trial of so many, and its time is multiplied."""


def measure(ground: Ground, options: Options) -> Report:  # noqa: ARG001  it needs no servers
    """Against the plain loop one would write first, in turns."""
    trials = TRIALS_FULL if options.full else TRIALS
    task = Task(trials=trials, seed=1, risks=_risks(random.Random(5)))
    arms = {"simulation": partial(_simulated, task), "plain loop": partial(_plain, task)}
    found = interleaved(options.rounds, arms)
    seconds = {name: [sample.seconds for sample in samples] for name, samples in found.items()}
    draws = [sample.rate for sample in found["simulation"]]
    lines = [
        Line(label="simulation", unit="s", values=seconds["simulation"], goal=1.0 * trials / TRIALS, at_most=True),
        Line(label="plain loop", unit="s", values=seconds["plain loop"]),
        Line(label="plain loop / simulation", unit="×", values=ratios(seconds["plain loop"], seconds["simulation"])),
        Line(label="risks drawn", unit="/s", values=draws),
    ]
    notes = [f"The plain loop ran {trials // PLAIN_SHARE:,} trials; its time is multiplied by {PLAIN_SHARE}."]
    return Report(name="simulation", title=TITLE, lines=lines, notes=notes)


def _risks(source: random.Random) -> tuple[SimulatedRisk, ...]:
    """Probabilities of 5 to 50 %; every other one with a likely impact."""
    return tuple(
        SimulatedRisk(
            risk_id=UUID(int=source.getrandbits(128)),
            probability=Decimal(source.randint(5, 50)).scaleb(-2),
            low=Decimal(source.randint(0, 10_000)),
            likely=Decimal(15_000) if number % 2 else None,
            high=Decimal(source.randint(20_000, 90_000)),
        )
        for number in range(RISKS)
    )


def _simulated(task: Task) -> Sample:
    began = time.perf_counter()
    simulate(task)
    return Sample(count=task.trials * len(task.risks), seconds=time.perf_counter() - began)


def _plain(task: Task) -> Sample:
    source = random.Random(task.seed)
    risks = [
        (float(r.probability), float(r.low), float(r.high), None if r.likely is None else float(r.likely))
        for r in task.risks
    ]
    began = time.perf_counter()
    totals = []
    for _ in range(task.trials // PLAIN_SHARE):
        total = 0.0
        for probability, low, high, likely in risks:
            if source.random() < probability:
                total += source.uniform(low, high) if likely is None else source.triangular(low, high, likely)
        totals.append(total)
    totals.sort()
    spent = (time.perf_counter() - began) * PLAIN_SHARE
    return Sample(count=task.trials * len(task.risks), seconds=spent)
