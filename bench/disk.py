"""Bytes on disk per event, with leaf hash, salts and all indexes."""

import psycopg

from bench import appends
from bench.ground import SQL, Ground, bytes_an_event
from bench.measure import Line, Options, Report

TITLE = "disk per event of about 400 B payload and 120 B metadata"


def measure(ground: Ground, options: Options) -> Report:
    """Appends through the store's appender as 64 concurrent writers do, then looks at the files after VACUUM."""
    with ground.database() as url:
        appends.through_appender(url, writers=64, seconds=max(3.0, options.seconds))
        table, indexes = bytes_an_event(url)
        with psycopg.connect(url) as connection:
            row = connection.execute(SQL["average_bytes"]).fetchone()
        assert row is not None
    lines = [
        Line(label="events", unit="", values=[float(row[2])]),
        Line(label="payload, as sent", unit="B", values=[row[0]]),
        Line(label="metadata, as sent", unit="B", values=[row[1]]),
        Line(label="table", unit="B/event", values=[table]),
        Line(label="indexes", unit="B/event", values=[indexes]),
        Line(label="table and indexes", unit="B/event", values=[table + indexes], goal=950, at_most=True),
    ]
    return Report(name="disk", title=TITLE, lines=lines)
