"""When a connection is synced of itself: by its cron, in its zone, once, not too late, and a full run now and then."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.connection_events import Schedule
from projections.upstream_work import Scheduled
from workers.schedules import Due, due

CONNECTION = UUID(int=7)
SET = datetime(2026, 1, 1, tzinfo=UTC)


def asked(now: str, *, began: str | None = None, since_full: int = 0, **schedule: Any) -> Due | None:
    chosen = Schedule(**{"cron": "30 2 * * *", "time_zone": "Europe/Berlin"} | schedule)
    began_at = None if began is None else datetime.fromisoformat(began)
    of = Scheduled(CONNECTION, chosen, SET, began_at, since_full)
    return due(of, datetime.fromisoformat(now), late_seconds_max=3_600, interval_seconds_min=60)


@pytest.mark.parametrize(
    ("now", "at"),
    [
        ("2026-07-01T00:29:59+00:00", None),  # 02:30 in Berlin is 00:30 UTC in summer
        ("2026-07-01T00:30:00+00:00", "2026-07-01T00:30:00+00:00"),
        ("2026-07-01T01:29:00+00:00", "2026-07-01T00:30:00+00:00"),
        ("2026-07-01T01:31:00+00:00", None),  # too late
        ("2026-12-01T01:30:10+00:00", "2026-12-01T01:30:00+00:00"),
    ],
)
def test_it_is_due_at_its_time_in_its_zone(now: str, at: str | None) -> None:
    found = asked(now)
    assert (found and found.at) == (None if at is None else datetime.fromisoformat(at))


def test_it_is_due_once() -> None:
    first, later = asked("2026-07-01T00:30:01+00:00"), asked("2026-07-01T00:40:00+00:00")
    assert first is not None
    assert first == later  # the same run, whoever begins it
    assert asked("2026-07-01T00:40:00+00:00", began="2026-07-01T00:30:02+00:00") is None
    next_day = asked("2026-07-02T00:30:01+00:00", began="2026-07-01T00:30:02+00:00")
    assert next_day is not None
    assert next_day.run_id != first.run_id


def test_runs_keep_their_distance() -> None:
    began = "2026-07-01T00:29:30+00:00"
    assert asked("2026-07-01T00:30:01+00:00", began=began, cron="* * * * *") is None
    assert asked("2026-07-01T00:31:01+00:00", began=began, cron="* * * * *") is not None


def test_what_is_switched_off_is_never_due() -> None:
    assert asked("2026-07-01T00:30:01+00:00", enabled=False) is None


@pytest.mark.parametrize(("every", "since", "mode"), [(1, 0, "full"), (3, 0, "incremental"), (3, 2, "full")])
def test_every_so_many_runs_are_full(every: int, since: int, mode: str) -> None:
    found = asked("2026-07-01T00:30:01+00:00", full_every=every, since_full=since)
    assert found is not None
    assert found.mode == mode


@given(st.integers(0, 3_600), st.datetimes(datetime(2026, 2, 1), datetime(2027, 2, 1)))
def test_jitter_spreads_within_its_bounds(jitter: int, now: datetime) -> None:
    of = Scheduled(CONNECTION, Schedule(cron="* * * * *", time_zone="UTC", jitter_seconds=jitter), SET, None, 0)
    found = due(of, now.replace(tzinfo=UTC), late_seconds_max=3_600, interval_seconds_min=0)
    assert found is not None
    moment = now.replace(second=0, microsecond=0, tzinfo=UTC)
    assert moment <= found.at <= moment + timedelta(seconds=jitter)
