"""Durable single-event appends: all 64 writers on one stream, each command decided on what the one before left."""

from collections.abc import Callable
from functools import partial

from bench import appends, peer
from bench.ground import Ground
from bench.measure import Line, Options, Report, Sample, cost_lines, interleaved, percentiles, rates, ratios

TITLE = "single-event appends, one hot stream, 64 writers"
WRITERS = 64


def measure(ground: Ground, options: Options) -> Report:
    """Against the limit (version read inside the INSERT, tried again on conflict) and the peer, in turns."""
    with ground.database() as url:
        appends.make_limit(url)
        arms: dict[str, Callable[[], Sample]] = {
            "limit": partial(appends.limit, url, writers=WRITERS, seconds=options.seconds, hot=True),
            "store": partial(appends.through_store, url, writers=WRITERS, seconds=options.seconds, hot=True),
        }
        if peer.HERE:
            arms["eventsourcing"] = partial(peer.appends, url, writers=WRITERS, seconds=options.seconds, hot=True)
        found = interleaved(options.rounds, arms)
    lines = [Line(label=name, unit="events/s", values=rates(samples)) for name, samples in found.items()]
    store = rates(found["store"])
    lines += [
        *cost_lines(found),
        Line(label="store p50", unit="ms", values=percentiles(found["store"], 0.5)),
        Line(label="store p99", unit="ms", values=percentiles(found["store"], 0.99)),
        Line(label="store / limit", unit="×", values=ratios(store, rates(found["limit"])), goal=12),
    ]
    if peer.HERE:
        values = ratios(store, rates(found["eventsourcing"]))
        lines.append(Line(label="store / eventsourcing", unit="×", values=values, goal=60))
    return Report(name="append_hot", title=TITLE, lines=lines, notes=[] if peer.HERE else [peer.MISSING])
