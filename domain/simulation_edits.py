"""Decisions about simulations: what is asked for, and what came of it. They change nothing that an estimate says."""

from domain.decider import Rejected
from domain.estimate_state import Estimate
from domain.simulation import (
    RISKS_MAX,
    UNFINISHED_MAX,
    FailSimulation,
    RecordSimulation,
    RequestSimulation,
    Simulation,
    SimulationCompleted,
    SimulationEvent,
    SimulationFailed,
    SimulationRequested,
    drawn_of,
    expected_of,
    outcome_of,
    unfinished,
)


def request(command: RequestSimulation, estimate: Estimate) -> list[SimulationEvent]:
    """A request of the risks as they stand. The same one again is nothing new, whatever the risks have become."""
    known = estimate.simulations.get(command.simulation_id)
    if known is not None:
        if (known.trials, known.seed, known.method) == (command.trials, command.seed, command.method):
            return []
        raise Rejected("estimate.simulation-already-requested", "conflict", simulation_id=str(command.simulation_id))
    risks = tuple(drawn for risk in estimate.risks.values() if (drawn := drawn_of(risk)) is not None)
    if not risks:
        raise Rejected("estimate.nothing-to-simulate", "conflict", risks=len(estimate.risks))
    if len(risks) > RISKS_MAX:
        raise Rejected("estimate.too-many-risks", risks=len(risks), risks_max=RISKS_MAX)
    if unfinished(estimate.simulations.values()) >= UNFINISHED_MAX:
        raise Rejected("estimate.simulations-waiting", "conflict", waiting_max=UNFINISHED_MAX)
    return [
        SimulationRequested(
            simulation_id=command.simulation_id,
            trials=command.trials,
            seed=command.seed,
            method=command.method,
            input_version=estimate.stream_version,
            currency=estimate.currency,
            expected=expected_of(estimate.risks.values()),
            risks=tuple(sorted(risks, key=lambda risk: risk.risk_id.int)),
        )
    ]


def record(command: RecordSimulation, estimate: Estimate) -> list[SimulationEvent]:
    """The figures, once. Others than those recorded, or after a failure, are refused."""
    figures = command.figures.figures()
    known = _unanswered(command, estimate, outcome_of(figures))
    if known is None:
        return []
    return [
        SimulationCompleted(
            simulation_id=command.simulation_id,
            trials=known.trials,
            seed=known.seed,
            method=known.method,
            input_version=known.input_version,
            figures=figures,
        )
    ]


def fail(command: FailSimulation, estimate: Estimate) -> list[SimulationEvent]:
    """That there are no figures, once."""
    known = _unanswered(command, estimate, outcome_of(command.reason))
    return [] if known is None else [SimulationFailed(simulation_id=command.simulation_id, reason=command.reason)]


def _unanswered(command: RecordSimulation | FailSimulation, estimate: Estimate, outcome: str) -> Simulation | None:
    """The simulation, if it waits for an answer; None when it got this very one. Raises Rejected."""
    known = estimate.simulations.get(command.simulation_id)
    if known is None:
        raise Rejected("estimate.simulation-unknown", "missing", simulation_id=str(command.simulation_id))
    if known.outcome and known.outcome != outcome:
        raise Rejected("estimate.simulation-finished", "conflict", simulation_id=str(command.simulation_id))
    return None if known.outcome else known
