"""Simulating what an estimate's risks may come to: what is asked, what is drawn from, what is found.

Expected values add, percentiles do not: what the open risks cost with a confidence of 80 % is found by drawing all of
them, many times. The drawing itself needs numbers from outside and is a worker's; `domain/estimate.py` decides.
"""

import hashlib
from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, ClassVar, Final, Literal, TypeAlias
from uuid import UUID

import msgspec
import pydantic
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from domain.decider import Command, Event, Role
from domain.money import EXACT, ZERO, Sum
from domain.risks import Risk, contribution, response_cost
from domain.text import Label, Sentence

SimulationMethod: TypeAlias = Literal["independent-triangular"]
"""`independent-triangular`: each risk occurs with its probability whatever the others do. Its impact is triangular over
(low, likely, high), uniform over (low, high) where no likely one is given; a mitigated risk has its residual ones, and
its response costs what it costs in every trial. Risks that have a cause in common are spread too narrowly by it.
"""

TRIALS_MIN: Final = 1_000
TRIALS_MAX: Final = 10_000_000
"""The totals of so many trials take 80 MB. The error of a percentile is then below two hundredths of a percent."""
PERCENTS: Final = 101
"""Points of a curve: percentile 0, the least total drawn, to percentile 100, the greatest."""
RISKS_MAX: Final = 1_000
"""Of one simulation, since its request carries them."""
UNFINISHED_MAX: Final = 20
"""Simulations of one estimate that may wait for the worker."""

_ID: Final = "0197b2a4-5f6e-7c3d-8a9b-0c1d2e3f4a5b"


class SimulatedRisk(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A risk as it is drawn: of a mitigated one the residual values. `certain` is spent in every trial."""

    risk_id: UUID
    probability: Decimal
    low: Decimal
    likely: Decimal | None = None
    high: Decimal
    certain: Decimal = ZERO


def drawn_of(risk: Risk) -> SimulatedRisk | None:
    """How a risk is drawn; None when it is closed or has occurred, and so adds nothing any more."""
    if risk.status == "open":
        return SimulatedRisk(
            risk_id=risk.risk_id, probability=risk.probability, low=risk.low, likely=risk.likely, high=risk.high
        )
    if risk.status == "mitigated" and (left := risk.response) is not None:
        return SimulatedRisk(
            risk_id=risk.risk_id,
            probability=left.residual_probability,
            low=left.residual_low,
            likely=left.residual_likely,
            high=left.residual_high,
            certain=response_cost(risk),
        )
    return None


def expected_of(risks: Iterable[Risk]) -> Decimal:
    """What the risks are expected to cost: the risk adjustment of a bid. Exact, where a simulation's mean is drawn."""
    total = ZERO
    for risk in risks:
        total = EXACT.add(total, contribution(risk))
    return total


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What a simulation found, in the estimate's currency, to the cent.

    `curve[p]` is percentile p: the least total that p % of the trials do not exceed. `mean` is none of them: it is what
    the trials come to on average. The same task gives the same figures for the same last three fields.
    """

    mean: Decimal
    standard_deviation: Decimal
    curve: tuple[Decimal, ...]
    method_version: int
    bit_generator: str
    numpy_version: str


def _rising(curve: tuple[Decimal, ...]) -> tuple[Decimal, ...]:
    for percent in range(1, len(curve)):
        if curve[percent] < curve[percent - 1]:
            raise PydanticCustomError(
                "curve_order",
                "No percentile is lower than a lower one, but P{percent} is",
                {"percent": percent},
            )
    return curve


class FiguresInput(pydantic.BaseModel):
    """Figures as they are sent."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    mean: Sum = Field(description="What the trials come to on average.", examples=["30000.00"])
    standard_deviation: Annotated[Sum, Field(ge=0)] = Field(
        description="Of the trials' totals, n − 1 in the divisor.", examples=["73993.24"]
    )
    curve: Annotated[tuple[Sum, ...], Field(min_length=PERCENTS, max_length=PERCENTS), AfterValidator(_rising)] = Field(
        description="Percentiles 0 to 100.", examples=[["0.00"] * PERCENTS]
    )
    method_version: int = Field(ge=1, description="Which way of drawing.", examples=[1])
    bit_generator: Label = Field(description="Where the random numbers are from.", examples=["PCG64"])
    numpy_version: Label = Field(description="Of the library that drew.", examples=["2.4.6"])

    def figures(self) -> Figures:
        """As they are stored."""
        return Figures(**{name: getattr(self, name) for name in Figures.__struct_fields__})


class RequestSimulation(Command):
    """Asks for the distribution of what the open and mitigated risks may cost, as they stand now. A background worker
    computes it; allowed in any status, since it changes nothing in the estimate.
    """

    simulation_id: UUID = Field(description="Names the simulation.", examples=[_ID])
    trials: int = Field(
        ge=TRIALS_MIN,
        le=TRIALS_MAX,
        description="How often all risks are drawn. 100,000 gives P80 to about a quarter of a percentile.",
        examples=[100_000],
    )
    seed: int = Field(
        ge=0,
        lt=2**63,
        description="Begins the random numbers: the same seed draws the same. A risk meets the same fate in every "
        "simulation of one seed and as many trials, so that two differ by what was changed between them.",
        examples=[20260101],
    )
    method: SimulationMethod = Field(
        default="independent-triangular", description="How risks are drawn.", examples=["independent-triangular"]
    )


class ServiceCommand(Command):
    """The worker's to send."""

    roles: ClassVar[frozenset[Role]] = frozenset({Role.SERVICE})


class RecordSimulation(ServiceCommand):
    """Records what a simulation found. Figures of a finished simulation stand."""

    simulation_id: UUID = Field(description="The simulation.", examples=[_ID])
    figures: FiguresInput = Field(description="What was found.")


class FailSimulation(ServiceCommand):
    """Ends a simulation that could not be computed."""

    simulation_id: UUID = Field(description="The simulation.", examples=[_ID])
    reason: Sentence = Field(description="Why not.", examples=["The computation ended without an answer 5 times."])


class SimulationRequested(Event, frozen=True, kw_only=True, tag="estimate.simulation-requested"):
    """Carries all that a computation needs, now or again. `input_version` is the stream version the risks are those of;
    `expected` the sum of their contributions, worked out exactly: it is no percentile.
    """

    simulation_id: UUID
    trials: int
    seed: int
    method: SimulationMethod
    input_version: int
    currency: str
    expected: Decimal
    risks: tuple[SimulatedRisk, ...]


class SimulationCompleted(Event, frozen=True, kw_only=True, tag="estimate.simulation-completed"):
    """The figures, and again what they are of."""

    simulation_id: UUID
    trials: int
    seed: int
    method: SimulationMethod
    input_version: int
    figures: Figures


class SimulationFailed(Event, frozen=True, kw_only=True, tag="estimate.simulation-failed"):
    simulation_id: UUID
    reason: str


SimulationCommand: TypeAlias = RequestSimulation | RecordSimulation | FailSimulation
SimulationEvent: TypeAlias = SimulationRequested | SimulationCompleted | SimulationFailed


class Simulation(msgspec.Struct, frozen=True, kw_only=True):
    """What an estimate remembers of a simulation. `outcome`: empty while it waits, else what tells one from another."""

    trials: int
    seed: int
    method: SimulationMethod
    input_version: int
    outcome: str = ""


def unfinished(simulations: Iterable[Simulation]) -> int:
    """How many wait for the worker."""
    return sum(1 for simulation in simulations if not simulation.outcome)


def outcome_of(found: Figures | str) -> str:
    """Equal for equal figures, and for equal reasons of a failure; never empty."""
    return hashlib.sha256(msgspec.json.encode(found)).hexdigest()[:32]
