"""Given, when, then: what a decision test says, and nothing else. No servers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Self
from uuid import UUID

from domain.decider import Command, Decider, Event, Lookup, Recall, Recalled, Ref, Rejected, State, WhoAsks, Written
from domain.registry import BY_CATEGORY

SOME_ID = UUID("0197b2a4-0000-7000-8000-000000000001")
SOMEBODY = UUID(int=7)


def folded(decider: Decider[Any, Any, Any], events: tuple[Event, ...] | list[Event]) -> Any:
    """The state these events lead to."""
    return reduce(decider.evolve, events, decider.initial)


@dataclass
class World:
    """Every stream's state, in memory: enough to run commands of any aggregate one after the other."""

    states: dict[Ref, Any] = field(default_factory=dict)
    versions: dict[Ref, int] = field(default_factory=dict)
    past: list[Recalled] = field(default_factory=list)
    asking: UUID = SOMEBODY
    """Who sends the commands."""
    answers: dict[type[Lookup], Callable[[Any], object]] = field(default_factory=dict)
    """What read models say."""

    def state(self, ref: Ref) -> Any:
        """A stream's state; its initial one when nothing was written to it."""
        return self.states.get(ref, BY_CATEGORY[ref.category].initial)

    def decided(self, ref: Ref, command: Command) -> list[Written]:
        """What the command would write. Raises Rejected."""
        decider = BY_CATEGORY[ref.category]
        spanning = decider.spanning.get(type(command))
        if spanning is None:
            return [(ref, event) for event in decider.decide(command, self.state(ref))]
        read: dict[Any, Any] = {one: self.state(one) for one in (ref, *spanning.reads(ref.id, command))}
        if spanning.recalls is not None:
            read |= {each: self.recalled(each) for each in spanning.recalls(ref.id, command)}
        if spanning.follows is not None:
            read |= {one: self.state(one) for one in spanning.follows(ref.id, command, self.state(ref))}
        while spanning.looks_up is not None:
            asked = {each: self.answered(each) for each in spanning.looks_up(ref.id, command, read)}
            assert all(isinstance(each, spanning.lookups) for each in asked)
            if asked.keys() <= read.keys():
                break
            read |= asked
        return spanning.decide(ref.id, command, read)

    def answered(self, lookup: Lookup) -> object:
        """What a decision that looks this up is told."""
        return self.asking if isinstance(lookup, WhoAsks) else self.answers[type(lookup)](lookup)

    def recalled(self, recall: Recall) -> Recalled | None:
        """What wrote this version of a stream, as the log would tell."""
        return next((past for past in self.past if any(each[:2] == recall for each in past.written)), None)

    def run(self, ref: Ref, command: Command) -> list[Written]:
        """Decides, and lets the states evolve. Raises Rejected."""
        written = self.decided(ref, command)
        told = []
        for target, event in written:
            self.states[target] = BY_CATEGORY[target.category].evolve(self.state(target), event)
            self.versions[target] = self.versions.get(target, 0) + 1
            told.append((target, self.versions[target], event))
        self.past.append(Recalled(UUID(int=len(self.past) + 1), tuple(told)))
        return written


@dataclass(frozen=True)
class Outcome:
    """What came of a command."""

    written: list[Written]
    rejection: Rejected | None
    world: World

    def then(self, *events: Event) -> Self:
        """Exactly these events."""
        assert self.rejection is None, f"rejected: {self.rejection.code} {self.rejection.facts}"
        assert [event for _, event in self.written] == list(events)
        return self

    def then_written(self, *written: Written) -> Self:
        """Exactly these events, in these streams."""
        assert self.rejection is None, f"rejected: {self.rejection.code} {self.rejection.facts}"
        assert self.written == list(written)
        return self

    def then_accepted(self) -> Self:
        """Something was written; what, is another test's business."""
        assert self.events
        return self

    def then_nothing(self) -> Self:
        """It was already so."""
        return self.then()

    def then_rejected(self, code: str, severity: str = "refused", **facts: object) -> Self:
        """No, with this code and (at least) these facts."""
        assert self.rejection is not None, f"accepted: {self.written}"
        assert (self.rejection.code, self.rejection.severity) == (code, severity)
        assert {name: self.rejection.facts.get(name) for name in facts} == facts
        return self

    @property
    def events(self) -> list[Event]:
        """What was written, where the test looks into it."""
        assert self.rejection is None, f"rejected: {self.rejection.code} {self.rejection.facts}"
        return [event for _, event in self.written]


@dataclass(frozen=True)
class Given:
    """A stream with a history, and the states of others beside it."""

    ref: Ref
    world: World

    def when(self, *commands: Command) -> Outcome:
        """Runs the commands in turn; the last one's outcome counts, the others must be accepted."""
        *before, last = commands
        for command in before:
            self.world.run(self.ref, command)
        try:
            return Outcome(self.world.run(self.ref, last), None, self.world)
        except Rejected as rejection:
            return Outcome([], rejection, self.world)

    @property
    def state(self) -> Any:
        """The state now."""
        return self.world.state(self.ref)


def given(
    decider: Decider[Any, Any, Any], *events: Event, id: UUID = SOME_ID, beside: Mapping[Ref, State] | None = None
) -> Given:
    """A stream in which these events happened."""
    ref = Ref(decider.category, id)
    return Given(ref, World({**(beside or {}), ref: folded(decider, events)}, {ref: len(events)}))
