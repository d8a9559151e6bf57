"""What every long-running process does to itself before it begins."""

import gc
from collections.abc import Mapping

from eventstore import telemetry, traces
from eventstore.settings import StoreSettings


def begin(store: StoreSettings, environ: Mapping[str, str], service: str) -> None:
    """Log lines as the settings say, spans if the environment asks for them, and a collector out of the way."""
    telemetry.configure(store.log_format, store.log_level)
    traces.configure(environ, service)
    calm_collector()


def calm_collector() -> None:
    """What was loaded stays, and events make no cycles: looking for some cost a command a tenth of its time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
