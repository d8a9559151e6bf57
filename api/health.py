"""Whether this process lives, whether it can serve, and the figures it keeps."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from api.identity import is_loopback
from api.problems import Problem
from api.settings import ApiSettings
from eventstore import liveness
from eventstore.db import Database, Unavailable
from eventstore.wire import Broker

AnyRequest = Request[Any, Any, Any]

COMPANIES_WATCHED_MAX: Final = 10_000
"""Companies whose lag is measured: those that moved last."""


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """Whether requests can be served. `degraded` names what is missing and can be done without for now."""

    status: str
    degraded: list[str]


class Live(msgspec.Struct, frozen=True):
    """The process answers."""

    status: str = "live"


class Lag:
    """How far read models were seen to be behind their logs, from the hints that pass by."""

    def __init__(self) -> None:
        self._heads: OrderedDict[UUID, int] = OrderedDict()
        self._reached: dict[str, dict[UUID, int]] = {}

    def log_moved(self, tenant: UUID, position: int) -> None:
        """A company's log has reached a position."""
        self._heads[tenant] = max(position, self._heads.get(tenant, 0))
        self._heads.move_to_end(tenant)
        while len(self._heads) > COMPANIES_WATCHED_MAX:
            forgotten, _ = self._heads.popitem(last=False)
            for reached in self._reached.values():
                reached.pop(forgotten, None)

    def view_moved(self, tenant: UUID, model: str, position: int) -> None:
        """A read model of a company has reached a position."""
        if tenant in self._heads:
            self._reached.setdefault(model, {})[tenant] = position

    def greatest(self) -> Mapping[str, int]:
        """Per model, the events that the company furthest behind has to wait for."""
        return {
            model: max((max(self._heads[tenant] - position, 0) for tenant, position in reached.items()), default=0)
            for model, reached in self._reached.items()
        }


class Figures(Collector):
    """What is read off the process when somebody asks, rather than counted."""

    def __init__(self, databases: Sequence[Database], lag: Lag, under_way: Callable[[], int]) -> None:
        self._databases = databases
        self._lag = lag
        self._under_way = under_way

    def collect(self) -> Iterator[Metric]:
        """The figures, now."""
        pools = GaugeMetricFamily(
            "cairn_pool", "Connections, by pool and what the driver counts.", labels=["pool", "figure"]
        )
        for database in self._databases:
            for figure, value in database.statistics().items():
                pools.add_metric([database.name, figure], value)
        yield pools
        yield GaugeMetricFamily(
            "cairn_http_requests_under_way", "Requests being answered now.", value=self._under_way()
        )
        lags = GaugeMetricFamily(
            "cairn_projection_lag_events", "Events the company furthest behind waits for.", labels=["model"]
        )
        for model, events in self._lag.greatest().items():
            lags.add_metric([model], events)
        yield lags


class Health:
    """What readiness rests on."""

    def __init__(
        self,
        databases: Sequence[Database],
        broker: Broker | None,
        figures: Figures,
        settings: ApiSettings,
        release: str | None,
    ) -> None:
        self._databases = databases
        self._broker = broker
        self._settings = settings
        self._release = release
        self._registry = CollectorRegistry()
        self._registry.register(figures)

    async def ready(self) -> Ready:
        """Raises Problem that lists what is missing, when requests cannot be served or answers would go stale."""
        missing: list[str] = []
        if self._databases:
            missing += await liveness.system_faults(self._databases[0], self._settings.api_standstill_seconds_max)
        for database in self._databases:
            missing += await self._missing_in(database)
        if missing:
            raise Problem("system.not-ready", "; ".join(missing), headers={"Retry-After": "1"}, missing=missing)
        return Ready(status="ready", degraded=await self._degraded())

    async def _degraded(self) -> list[str]:
        found: list[str] = []
        if self._broker is not None and not self._broker.connected:
            found.append("nats: not connected; commands and queries go on, waits take up to one poll longer")
        if self._databases:
            found += await liveness.system_faults(
                self._databases[0], self._settings.api_standstill_seconds_max, liveness.DEFERRING
            )
        return found

    async def _missing_in(self, database: Database) -> list[str]:
        try:
            found = await liveness.schema_revision(database)
        except Unavailable as error:
            return [f"postgres ({database.name}): {error.what}"]
        if self._release is not None and found is not None and found < self._release:
            return [f"postgres ({database.name}): migrated to {found}, this release needs {self._release}"]
        return []

    def metrics(self) -> bytes:
        """Every figure, in the text form of Prometheus."""
        return generate_latest(REGISTRY) + generate_latest(self._registry)


def newest_migration() -> str | None:
    """The revision this release was written for; None where its migrations are not installed beside it."""
    versions = Path(__file__).parents[1] / "migrations" / "versions"
    return max((file.name[:4] for file in versions.glob("[0-9][0-9][0-9][0-9]_*.py")), default=None)


def routes(health: Health, stopping: Callable[[], bool]) -> list[HTTPRouteHandler]:
    """Health and metrics."""

    @get("/health/live", operation_id="Live", tags=["health"], opt={"open": True})
    async def live() -> Live:
        """Whether the process answers at all. Restart it when not."""
        return Live()

    @get("/health/ready", operation_id="Ready", tags=["health"], opt={"open": True})
    async def ready() -> Ready:
        """Whether requests should be sent here; names what is missing, a worker that stands still included."""
        if stopping():
            raise Problem("system.not-ready", "The process is stopping.", missing=["the process is stopping"])
        return await health.ready()

    @get("/metrics", operation_id="Metrics", tags=["health"], media_type="text/plain", opt={"open": True})
    async def metrics(request: AnyRequest) -> Response[bytes]:
        """Figures for Prometheus; only for callers on this machine."""
        peer = request.scope["client"]
        if peer is None or not is_loopback(peer[0]):
            raise Problem("metrics.loopback-only")
        return Response(health.metrics(), media_type=CONTENT_TYPE_LATEST)

    return [live, ready, metrics]
