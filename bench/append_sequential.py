"""Durable single-event appends of one client that waits for each."""

from functools import partial

from bench import appends
from bench.append_single import WHICH
from bench.ground import Ground
from bench.measure import Line, Options, Report, cost_lines, interleaved, percentiles, ratios

TITLE = "single-event appends, one client, one at a time"


def measure(ground: Ground, options: Options) -> Report:
    """Against the limit, in turns."""
    with ground.database() as url:
        appends.make_limit(url)
        found = interleaved(
            options.rounds,
            {
                "limit": partial(appends.limit, url, writers=1, seconds=options.seconds),
                "store": partial(appends.through_store, url, writers=1, seconds=options.seconds),
                "appender": partial(appends.through_appender, url, writers=1, seconds=options.seconds),
            },
        )
    halves = {name: percentiles(samples, 0.5) for name, samples in found.items()}
    lines = [Line(label=f"{name} p50", unit="ms", values=values) for name, values in halves.items()]
    lines += [
        *cost_lines(found),
        Line(label="store p99", unit="ms", values=percentiles(found["store"], 0.99)),
        Line(
            label="appender p50 / limit p50",
            unit="×",
            values=ratios(halves["appender"], halves["limit"]),
            goal=1.8,
            at_most=True,
        ),
        Line(label="store p50 / limit p50", unit="×", values=ratios(halves["store"], halves["limit"])),
    ]
    return Report(name="append_sequential", title=TITLE, lines=lines, notes=[WHICH])
