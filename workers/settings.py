"""Settings of the workers."""

from typing import Annotated

import msgspec
from msgspec import Meta


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How workers run, how the relay publishes and the simulator computes."""

    worker_beat_seconds: Annotated[
        float, Meta(gt=0, description="How often a worker says that it lives.", extra={"unit": "seconds"})
    ] = 2
    worker_stop_seconds_max: Annotated[
        float,
        Meta(gt=0, description="How long a worker may take to finish what it began.", extra={"unit": "seconds"}),
    ] = 8
    worker_restart_seconds_max: Annotated[
        float,
        Meta(gt=0, description="The longest pause before a failed worker starts anew.", extra={"unit": "seconds"}),
    ] = 10
    worker_metrics_port: Annotated[
        int,
        Meta(ge=0, le=65535, description="Loopback port of the worker's own metrics; 0: none.", extra={"unit": "port"}),
    ] = 0
    simulator_poll_seconds: Annotated[
        float, Meta(gt=0, description="How often a simulator looks without a hint.", extra={"unit": "seconds"})
    ] = 2
    simulator_lease_seconds: Annotated[
        float,
        Meta(
            ge=1,
            description="After so long without a word of its simulator a simulation is begun anew by another.",
            extra={"unit": "seconds"},
        ),
    ] = 10
    relay_poll_seconds: Annotated[
        float, Meta(gt=0, description="How often the relay looks without a hint.", extra={"unit": "seconds"})
    ] = 1
    relay_lease_seconds: Annotated[
        float,
        Meta(
            ge=1,
            description="After so long without a word of the leader a standby takes over.",
            extra={"unit": "seconds"},
        ),
    ] = 5
    relay_verify_seconds: Annotated[
        float,
        Meta(
            gt=0, description="How often an idle relay asks the broker whether it kept all.", extra={"unit": "seconds"}
        ),
    ] = 10
    relay_batch_events_max: Annotated[
        int, Meta(ge=1, le=1000, description="Events that go to the broker at once.", extra={"unit": "events"})
    ] = 500
    relay_batch_bytes_max: Annotated[
        int, Meta(ge=65_536, description="Bytes that go to the broker at once.", extra={"unit": "bytes"})
    ] = 4_194_304
    relay_duplicate_seconds: Annotated[
        int, Meta(ge=1, description="How long the broker recognises a repeated message.", extra={"unit": "seconds"})
    ] = 120
    relay_replicas: Annotated[
        int, Meta(ge=1, le=5, description="Copies of a new stream in a NATS cluster.", extra={"unit": "copies"})
    ] = 1
    relay_events_keep_days: Annotated[
        int, Meta(ge=0, description="How long the broker keeps events; 0: for ever.", extra={"unit": "days"})
    ] = 30
    relay_events_keep_bytes: Annotated[
        int, Meta(ge=0, description="How many bytes of events the broker keeps; 0: all.", extra={"unit": "bytes"})
    ] = 0
    relay_views_keep_days: Annotated[
        int,
        Meta(ge=0, description="How long the broker keeps read-model changes; 0: for ever.", extra={"unit": "days"}),
    ] = 7
