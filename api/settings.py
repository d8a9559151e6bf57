"""What the HTTP side needs to know: where it listens, what it accepts, how long it waits."""

from typing import Annotated

from msgspec import Meta

from eventstore.settings import KeySettings


class ApiSettings(KeySettings, frozen=True, kw_only=True):
    """Settings of one API process, whichever side it serves."""

    api_host: Annotated[str, Meta(description="Address the API listens on.", extra={"unit": "address"})] = "127.0.0.1"
    api_port: Annotated[
        int,
        Meta(ge=0, le=65535, description="Port the API listens on; 0 lets the system choose.", extra={"unit": "port"}),
    ] = 8080
    operator_token_hash: Annotated[
        Annotated[str, Meta(pattern="^[0-9a-f]{64}$")] | None,
        Meta(
            description="SHA-256 of the operator token's secret part: its bearer may act for every company and "
            "register new ones. Without it nobody can.",
            extra={"unit": "hex"},
        ),
    ] = None
    api_trusted_proxies: Annotated[
        str,
        Meta(
            description="Networks, comma-separated, whose X-Forwarded-For header is believed.",
            extra={"unit": "networks"},
        ),
    ] = ""
    api_query_database_url: Annotated[
        str | None,
        Meta(
            description="A read replica that queries go to; without it they go to the database.", extra={"unit": "URL"}
        ),
    ] = None
    api_reader_connections_max: Annotated[
        int, Meta(ge=1, description="Connections that answer queries.", extra={"unit": "connections"})
    ] = 16
    api_query_seconds_max: Annotated[
        float, Meta(gt=0, description="How long one statement of a query may take.", extra={"unit": "seconds"})
    ] = 30
    api_command_seconds_max: Annotated[
        float,
        Meta(
            gt=0,
            description="How long a command may take, from its last byte to its answer.",
            extra={"unit": "seconds"},
        ),
    ] = 30
    api_body_bytes_max: Annotated[
        int, Meta(ge=1024, description="Largest body of a request.", extra={"unit": "bytes"})
    ] = 16 * 1024 * 1024
    api_body_seconds_max: Annotated[
        float, Meta(gt=0, description="How long a body may take to arrive.", extra={"unit": "seconds"})
    ] = 30
    api_header_bytes_max: Annotated[
        int, Meta(ge=1024, description="Largest head of a request, all lines together.", extra={"unit": "bytes"})
    ] = 65_536
    api_head_seconds_max: Annotated[
        float,
        Meta(gt=0, description="How long the head of a connection's next request may take.", extra={"unit": "seconds"}),
    ] = 65
    api_requests_max: Annotated[
        int, Meta(ge=1, description="Requests under way at once; more are answered 503.", extra={"unit": "requests"})
    ] = 1_000
    api_batch_commands_max: Annotated[
        int, Meta(ge=1, le=1000, description="Commands in one batch.", extra={"unit": "commands"})
    ] = 100
    api_batch_together_max: Annotated[
        int,
        Meta(
            ge=1,
            description="Commands of one batch that are under way at once, where they touch different streams.",
            extra={"unit": "commands"},
        ),
    ] = 64
    api_token_cache_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=60,
            description="How long a token's answer is kept; a revocation by another process takes this long at worst.",
            extra={"unit": "seconds"},
        ),
    ] = 1
    api_tokens_cached_max: Annotated[
        int, Meta(ge=1, description="Token answers kept in memory.", extra={"unit": "tokens"})
    ] = 10_000
    api_last_active_seconds: Annotated[
        float,
        Meta(
            gt=0,
            description="How often at most it is written that a member is active, by one process.",
            extra={"unit": "seconds"},
        ),
    ] = 60
    api_catch_up_seconds_max: Annotated[
        float,
        Meta(
            ge=0,
            description="How long a query waits for its read model to reach Cairn-After.",
            extra={"unit": "seconds"},
        ),
    ] = 5
    api_catch_up_poll_seconds: Annotated[
        float,
        Meta(
            gt=0, le=5, description="How often a waiting query looks, should no hint come.", extra={"unit": "seconds"}
        ),
    ] = 0.02
    api_page_rows_max: Annotated[
        int, Meta(ge=1, le=10_000, description="Rows of one page.", extra={"unit": "rows"})
    ] = 1_000
    api_stream_page_events: Annotated[
        int, Meta(ge=1, le=10_000, description="Events a stream reads ahead of its client.", extra={"unit": "events"})
    ] = 200
    api_stream_heartbeat_seconds: Annotated[
        float, Meta(gt=0, description="Silence after which a stream says that it lives.", extra={"unit": "seconds"})
    ] = 10
    api_stream_poll_seconds: Annotated[
        float,
        Meta(gt=0, description="How often a stream looks at the log, should no hint come.", extra={"unit": "seconds"}),
    ] = 1
    api_stream_client_seconds_max: Annotated[
        float,
        Meta(gt=0, description="How long a stream waits for a client that does not read.", extra={"unit": "seconds"}),
    ] = 30
    api_streams_max: Annotated[int, Meta(ge=1, description="Streams open at once.", extra={"unit": "streams"})] = 500
    api_shutdown_seconds_max: Annotated[
        int,
        Meta(ge=1, description="How long requests under way may take to finish at the end.", extra={"unit": "seconds"}),
    ] = 20
    api_standstill_seconds_max: Annotated[
        float,
        Meta(
            gt=0,
            description="Events waiting this long with a projector or the relay not moving make the process unready.",
            extra={"unit": "seconds"},
        ),
    ] = 30
