"""Settings of the workers."""

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How workers run: how the relay publishes, the simulator computes and the syncer speaks to upstreams."""

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
    upstream_networks: Annotated[
        str,
        Meta(
            description="Networks, comma-separated, that are not public and that upstreams may be reached in.",
            extra={"unit": "networks"},
        ),
    ] = ""
    upstream_folders: Annotated[
        str,
        Meta(
            description="Folders, comma-separated, below which exports of upstreams may be read.",
            extra={"unit": "paths"},
        ),
    ] = ""
    upstream_authorities_file: Annotated[
        Path | None,
        Meta(
            description="PEM file of authorities that may certify upstreams, besides the public ones.",
            extra={"unit": "path"},
        ),
    ] = None
    upstream_attempts_max: Annotated[
        int,
        Meta(
            ge=1,
            description="How often an upstream that cannot be reached is tried before somebody has to ask again.",
            extra={"unit": "attempts"},
        ),
    ] = 12
    upstream_wait_seconds_min: Annotated[
        float,
        Meta(gt=0, description="Before the second attempt; doubled with every further one.", extra={"unit": "seconds"}),
    ] = 30
    upstream_wait_seconds_max: Annotated[
        float, Meta(gt=0, description="The longest wait between two attempts.", extra={"unit": "seconds"})
    ] = 3_600
    sync_companies: Annotated[
        str,
        Meta(
            description="Companies, comma-separated ids, whose connections are synced and pushed to; empty: all.",
            extra={"unit": "ids"},
        ),
    ] = ""
    sync_poll_seconds: Annotated[
        float, Meta(gt=0, description="How often a syncer looks for work without a hint.", extra={"unit": "seconds"})
    ] = 2
    sync_runs_max: Annotated[
        int, Meta(ge=1, le=64, description="Runs that a process has under way at once.", extra={"unit": "runs"})
    ] = 2
    push_batches_max: Annotated[
        int, Meta(ge=1, le=64, description="Changesets that a process pushes at once.", extra={"unit": "changesets"})
    ] = 4
    push_records_max: Annotated[
        int,
        Meta(
            ge=1,
            le=500,
            description="Records that are pushed at once; fewer, if the upstream's requests take fewer.",
            extra={"unit": "records"},
        ),
    ] = 500
    sync_interval_seconds_min: Annotated[
        float,
        Meta(
            ge=0,
            description="Between the beginnings of two scheduled runs, whatever is asked.",
            extra={"unit": "seconds"},
        ),
    ] = 60
    sync_late_seconds_max: Annotated[
        float,
        Meta(
            gt=0,
            description="A scheduled run that nobody could begin for so long is left out.",
            extra={"unit": "seconds"},
        ),
    ] = 3_600
    sync_buffer_records: Annotated[
        int,
        Meta(
            ge=1_000, le=100_000, description="Records that are compared and sorted at once.", extra={"unit": "records"}
        ),
    ] = 5_000
    sync_chunks_ahead_max: Annotated[
        int,
        Meta(
            ge=1,
            description="Chunks of up to 1,000 changes by which a run is ahead of the read model.",
            extra={"unit": "chunks"},
        ),
    ] = 4
    sync_removed_share_max: Annotated[
        float,
        Meta(ge=0, le=1, description="Of a mirror's records, how many a run may remove unasked.", extra={"unit": "1"}),
    ] = 0.2
    sync_stalled_seconds: Annotated[
        float,
        Meta(
            ge=1,
            description="After so long without a word of its process a run is begun again by another.",
            extra={"unit": "seconds"},
        ),
    ] = 15
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
