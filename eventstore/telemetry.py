"""One shape of log line, the counters, and the table of every event name that is logged."""

import logging
import sys
from collections.abc import Mapping
from typing import Any

import structlog
from prometheus_client import Counter, Gauge, Histogram

EVENTS: Mapping[str, str] = {
    "append_failed": "A batch could not be appended; its commands were told so.",
    "epoch_begun": "This database is not the one the log was last opened in: a new epoch was begun.",
    "last_active_failed": "When members were last active could not be written; their next requests will be.",
    "snapshot_failed": "A folded state could not be saved; the next command reads the stream instead.",
}
"""Names the store logs under. Other packages add theirs beside their own code."""

APPEND_BATCH_UNITS = Histogram(
    "cairn_append_batch_units", "Commands that joined one append.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
)
APPENDS_REFUSED = Counter("cairn_appends_refused_total", "Commands answered 503 because too many were waiting.")
DECISIONS_REPEATED = Counter("cairn_decisions_repeated_total", "Commands decided again because their stream moved on.")
LOADS = Counter("cairn_stream_loads_total", "Streams loaded, by where from.", ["source"])
STREAMS_CACHED = Gauge("cairn_streams_cached", "Folded states kept in memory.")


def configure(log_format: str, log_level: str) -> None:
    """Log lines to standard error: an event name, then fields. `json` for machines, `text` for people."""
    level = logging.getLevelNamesMapping()[log_level.upper()]
    renderer: Any = (
        structlog.processors.JSONRenderer() if log_format == "json" else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def log() -> Any:
    """The logger. Call it with an event name and fields: `log().info("epoch_begun", epoch=…)`."""
    return structlog.get_logger()
