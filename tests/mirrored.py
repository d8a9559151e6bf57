"""A mirror in memory: what its records say now and said before, as decisions look it up."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from domain.baselines import Baseline, Baselines, BaselinesFound, Selection, SelectionFound
from domain.decider import Lookup
from domain.pfa_values import PfaValues


@dataclass
class Mirrored:
    """Every change takes a position of its own. `matching` stands for how a filter is searched by."""

    history: list[Mapping[UUID, Baseline]] = field(default_factory=lambda: [{}])
    matching: Callable[[Selection, Baseline], bool] = lambda _, __: True

    @property
    def position(self) -> int:
        """The position that the mirror is of."""
        return len(self.history) - 1

    @property
    def now(self) -> Mapping[UUID, Baseline]:
        """The records."""
        return self.history[-1]

    def put(self, record_id: UUID, values: PfaValues, *, version: str | None = None, removed: bool = False) -> None:
        """The upstream says this now."""
        self.load({record_id: values}, version=version, removed=removed)

    def load(self, records: Mapping[UUID, PfaValues], *, version: str | None = "1", removed: bool = False) -> None:
        """Many records at one position."""
        position = len(self.history)
        loaded = {each: _baseline(each, values, version, position, removed) for each, values in records.items()}
        self.history.append({**self.now, **loaded})

    def baselines(self, asked: Baselines) -> BaselinesFound:
        """As a read model answers."""
        at = self.position if asked.position is None else min(asked.position, self.position)
        now = {each: self.now[each] for each in asked.record_ids if each in self.now}
        then = {each: self.history[at][each] for each in asked.record_ids if each in self.history[at]}
        moved_at = {each: f"2026-11-21T00:00:{found.since % 60:02}Z" for each, found in now.items()}
        return BaselinesFound(position=self.position, now=now, then=then, moved_at=moved_at)

    def selected(self, asked: Selection) -> SelectionFound:
        """As a read model answers."""
        found = {each: record for each, record in self.now.items() if self.matching(asked, record)}
        within = found if len(found) <= asked.limit else {}
        return SelectionFound(position=self.position, matching=len(found), records=within)

    def answers(self) -> dict[type[Lookup], Callable[[Any], object]]:
        """For a world."""
        return {Baselines: self.baselines, Selection: self.selected}


def digest_of(values: PfaValues) -> str:
    """Equal for equal values."""
    return f"{hash(values) & (2**64 - 1):032x}"


def _baseline(record_id: UUID, values: PfaValues, version: str | None, position: int, removed: bool) -> Baseline:
    return Baseline(
        values=values,
        identity=(str(record_id),),
        ordinal=1,
        upstream_version=version,
        digest=digest_of(values),
        removed=removed,
        since=position,
    )
