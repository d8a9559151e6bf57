"""What the simulator and the process that computes say to each other, one JSON document a line."""

import msgspec

from domain.simulation import Figures, SimulatedRisk


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What to simulate. Amounts in money, probabilities from 0 to 1, `seed` from 0 to below 2^63."""

    trials: int
    seed: int
    risks: tuple[SimulatedRisk, ...]


class Word(msgspec.Struct, frozen=True, omit_defaults=True):
    """How many trials are drawn; with the last word, the figures."""

    done: int
    figures: Figures | None = None
