"""The proof of delivery: per range of 1,024 positions, what became of its events must add up to what the log holds."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from eventstore.db import Connection, Reader
from eventstore.sql import beside
from projections.builds import Build
from projections.columns import BIG, INTEGER, TEXT, Column
from projections.folding import Read

SQL = beside(__file__)
RANGE_SHIFT = 10
FATES = ("handled", "ignored", "parked", "skipped")


class Deliveries:
    """What became of the events of a batch. An event whose fate changes is added to one and taken from the other."""

    def __init__(self) -> None:
        self._ranges: dict[int, dict[str, int]] = {}

    def add(self, fate: str, events: Iterable[Read], count: int = 1) -> None:
        """Counts events under a fate; `count=-1` takes them out."""
        exclusive_or = fate + "_xor"
        for event in events:
            tally = self._ranges.get((event.position - 1) >> RANGE_SHIFT)
            if tally is None:
                tally = dict.fromkeys([name for each in FATES for name in (each, each + "_xor")], 0)
                self._ranges[(event.position - 1) >> RANGE_SHIFT] = tally
            tally[fate] += count
            tally[exclusive_or] ^= int.from_bytes(event.leaf[:8], "big", signed=True)

    def rows(self) -> list[tuple[int, ...]]:
        """Per range: its number, and the counts in the order of the columns."""
        return [(number, *tally.values()) for number, tally in self._ranges.items()]


def counted(delivered: Sequence[tuple[Build, Deliveries]]) -> dict[str, Column]:
    """The values of the statement `deliver`."""
    rows = [(build, row) for build, deliveries in delivered for row in deliveries.rows()]
    return {
        "models": TEXT.column([build.model for build, _ in rows]),
        "builds": INTEGER.column([build.build for build, _ in rows]),
        "counts": BIG.column([count for _, row in rows for count in row]),
    }


async def deliver(connection: Connection, build: Build, deliveries: Deliveries) -> None:
    """Adds them to what is known of a build."""
    await connection.execute(SQL["deliver"], counted([(build, deliveries)]))


class Fault(msgspec.Struct, frozen=True):
    """A range in which the events delivered are not those of the log."""

    model: str
    build: int
    first_position: int
    last_position: int
    in_log: int
    delivered: int
    reason: str


async def verify(reader: Reader, model: str) -> list[Fault]:
    """Compares the live build's deliveries with the bound company's log, up to its checkpoint. Empty: proven."""
    rows = await reader.tuples(SQL["verify"], {"model": model})
    return [_fault(model, row) for row in rows]


def _fault(model: str, row: Sequence[Any]) -> Fault:
    build, first, last, in_log, delivered = row
    if in_log == delivered:
        reason = "as many events as the log, but not the same"
    else:
        reason = f"{delivered} events accounted for, the log has {in_log}"
    return Fault(model, build, first, last, in_log, delivered, reason)
