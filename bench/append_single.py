"""Durable single-event appends: one company, a stream per writer, 64 writers at once."""

from collections.abc import Callable
from functools import partial

from bench import appends, peer
from bench.ground import Ground
from bench.measure import Line, Options, Report, Sample, cost_lines, interleaved, percentiles, rates, ratios

TITLE = "single-event appends, own streams, 64 writers"
WRITERS = 64

WHICH = "appender: the append of events, as limit and peer do it; store: a command that is loaded and decided, too."


def measure(ground: Ground, options: Options) -> Report:
    """Against the limit and the peer, in turns."""
    with ground.database() as url:
        appends.make_limit(url)
        arms: dict[str, Callable[[], Sample]] = {
            "limit": partial(appends.limit, url, writers=WRITERS, seconds=options.seconds),
            "store": partial(appends.through_store, url, writers=WRITERS, seconds=options.seconds),
            "appender": partial(appends.through_appender, url, writers=WRITERS, seconds=options.seconds),
        }
        if peer.HERE:
            arms["eventsourcing"] = partial(peer.appends, url, writers=WRITERS, seconds=options.seconds)
        found = interleaved(options.rounds, arms)
    lines = [Line(label=name, unit="events/s", values=rates(samples)) for name, samples in found.items()]
    store, limit = rates(found["store"]), rates(found["limit"])
    lines += [
        *cost_lines(found),
        Line(label="store p50", unit="ms", values=percentiles(found["store"], 0.5)),
        Line(label="store p99", unit="ms", values=percentiles(found["store"], 0.99)),
        Line(label="limit p50", unit="ms", values=percentiles(found["limit"], 0.5)),
        Line(label="appender / limit", unit="×", values=ratios(rates(found["appender"]), limit), goal=2.5),
        Line(label="store / limit", unit="×", values=ratios(store, limit)),
    ]
    if peer.HERE:
        values = ratios(store, rates(found["eventsourcing"]))
        lines.append(Line(label="store / eventsourcing", unit="×", values=values, goal=10))
    return Report(name="append_single", title=TITLE, lines=lines, notes=[WHICH] if peer.HERE else [WHICH, peer.MISSING])
