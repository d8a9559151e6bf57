"""When a connection is synced of itself: the last moment its cron names, in its time zone, spread by its jitter."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

from croniter import croniter

from domain.connection_events import Mode
from projections.upstream_work import Scheduled


class Due(NamedTuple):
    """A run that is due: its id follows from the moment, so that it is begun once, whoever sees to it."""

    run_id: UUID
    mode: Mode
    at: datetime


def due(of: Scheduled, now: datetime, *, late_seconds_max: float, interval_seconds_min: float) -> Due | None:
    """The run that is due by `now`, if it has not begun, and is not too late for it."""
    schedule = of.schedule
    if not schedule.enabled:
        return None
    local = now.astimezone(ZoneInfo(schedule.time_zone)) + timedelta(seconds=1)
    moment = croniter(schedule.cron, local).get_prev(datetime).astimezone(UTC)
    if moment <= of.updated_at or (now - moment).total_seconds() > late_seconds_max:
        return None
    if of.began_at is not None and (
        moment <= of.began_at or (now - of.began_at).total_seconds() < interval_seconds_min
    ):
        return None
    mode: Mode = "full" if of.since_full >= schedule.full_every - 1 else "incremental"
    later = timedelta(seconds=_spread(of.connection_id, moment, schedule.jitter_seconds))
    return Due(uuid5(of.connection_id, f"schedule {moment.isoformat()}"), mode, moment + later)


def _spread(connection_id: UUID, moment: datetime, most: int) -> int:
    """The same for everybody who works it out."""
    drawn = hashlib.sha256(connection_id.bytes + moment.isoformat().encode()).digest()
    return int.from_bytes(drawn[:4], "big") % (most + 1)
