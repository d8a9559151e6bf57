"""Settings of the projection engine."""

from typing import Annotated

import msgspec
from msgspec import Meta


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How read models are brought up to date."""

    projection_batch_events_max: Annotated[
        int,
        Meta(
            ge=1, le=10_000, description="Events applied to a read model in one transaction.", extra={"unit": "events"}
        ),
    ] = 2_000
    projection_batch_bytes_max: Annotated[
        int, Meta(ge=65_536, description="Payload bytes a batch aims to stay below.", extra={"unit": "bytes"})
    ] = 4_194_304
    projection_gathering_seconds: Annotated[
        float,
        Meta(
            ge=0,
            description="How long events are gathered for read models that people do not wait for.",
            extra={"unit": "seconds"},
        ),
    ] = 0.1
    projector_lease_seconds: Annotated[
        float,
        Meta(
            ge=0.2,
            description="How long a projector's companies stay its own without a heartbeat.",
            extra={"unit": "seconds"},
        ),
    ] = 3
    projector_heartbeat_seconds: Annotated[
        float, Meta(ge=0.05, description="How often a projector renews its leases.", extra={"unit": "seconds"})
    ] = 1
    projector_poll_seconds: Annotated[
        float,
        Meta(
            ge=0.01,
            description="How often the log is asked for news, should a hint be lost.",
            extra={"unit": "seconds"},
        ),
    ] = 0.5
    projector_companies_at_once: Annotated[
        int, Meta(ge=1, description="Companies projected at the same time by one process.", extra={"unit": "companies"})
    ] = 3
    projector_connections_max: Annotated[
        int, Meta(ge=4, description="Connections of one projector process.", extra={"unit": "connections"})
    ] = 28
