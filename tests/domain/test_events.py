"""Stored events stay readable: one stored body per tag, never edited."""

from pathlib import Path

import msgspec
import pytest

from domain.decider import Event
from domain.registry import EVENTS

GOLDEN = Path(__file__).parents[1] / "golden" / "events"


def test_every_event_has_a_stored_body_and_every_body_an_event() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(EVENTS)


@pytest.mark.parametrize("tag", sorted(EVENTS))
def test_a_stored_body_reads_back_and_is_written_the_same(tag: str) -> None:
    stored = (GOLDEN / f"{tag}.json").read_bytes()
    event: Event = msgspec.json.decode(stored, type=EVENTS[tag])
    assert type(event) is EVENTS[tag]
    assert msgspec.json.encode(event) == stored
    assert msgspec.json.decode(stored)["type"] == tag
