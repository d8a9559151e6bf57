"""What is wrong with an import: all of it counted, the first of it listed, each with its place in the source."""

from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

SHOWN: Final = 100
"""Faults listed, unless asked otherwise."""


class Place(NamedTuple):
    """Where something stands: rows count from 1 after the header; 0 is the table as a whole."""

    file: str
    table: str | None
    row: int


class Fault(NamedTuple):
    """One thing wrong. `column` is the source's name of it, "" for the row as a whole."""

    place: Place
    column: str
    code: str
    message: str


class Faults:
    """Collects faults in a bounded list, and what has to be stated before the source can be read."""

    def __init__(self, shown: int = SHOWN) -> None:
        self._shown = shown
        self.listed: list[Fault] = []
        self.counted: Counter[str] = Counter()
        self.asks: dict[str, None] = {}

    @property
    def total(self) -> int:
        """How many there are, listed or not."""
        return self.counted.total()

    def add(self, fault: Fault) -> None:
        """Counts it, and lists it while there is room."""
        self.counted[fault.code] += 1
        if len(self.listed) < self._shown:
            self.listed.append(fault)

    def add_all(self, faults: Iterable[Fault]) -> None:
        """As `add`, for each."""
        for fault in faults:
            self.add(fault)

    def ask(self, what: str) -> None:
        """What has to be stated; the same is asked once."""
        self.asks[what] = None
