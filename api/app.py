"""The composition root of the HTTP side: pools, store, broker, routes."""

import contextlib
import functools
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final
from uuid import UUID

from litestar import Litestar, Request, Response, Router
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from api import commands, health, live, openapi, parameters, problems, schemas
from api.commands import CommandSide
from api.gate import Gate
from api.health import Figures, Health, Lag
from api.identity import Identities
from api.live import LiveSide
from api.problems import Problem
from api.queries import (
    accuracy,
    actuals,
    changeset,
    codeset,
    company,
    comparison,
    connection,
    estimate,
    finding,
    log,
    portfolio,
    pricebook,
    project,
    record,
    simulation,
)
from api.settings import ApiSettings
from api.views import NotModified, QuerySide
from api.waiting import CatchUp, LogFollowers
from domain.decider import Event
from eventstore.appender import Inline
from eventstore.db import Connection, Database, role_url
from eventstore.keyring import keyring_of
from eventstore.last_active import LastActive
from eventstore.log import Recorded
from eventstore.settings import StoreSettings
from eventstore.transact import Store
from eventstore.vault import Vault
from eventstore.wire import Broker, Hints
from projections import pfa_lookups
from projections.inline import InlineModels
from projections.registry import INLINE

SIDES: Final = frozenset({"commands", "queries"})
QUERIES: Final = (
    project,
    estimate,
    comparison,
    simulation,
    actuals,
    codeset,
    pricebook,
    portfolio,
    accuracy,
    finding,
    connection,
    record,
    changeset,
    company,
    log,
)
"""One line per module of queries; each names its routes that answer in pages, and those that answer one thing."""
ACCESS: Final = "access"
STREAM_CONNECTIONS_MAX: Final = 4
"""Connections to the primary that event streams share where queries go to a replica."""


class Noticed:
    """Inline models, and the notice of who may do what having changed: tokens must be asked for again then."""

    def __init__(self, models: Inline, changed: Callable[[UUID], None]) -> None:
        self.types = models.types
        self._models = models
        self._changed = changed

    async def apply(self, connection: Connection, tenant: UUID, events: Sequence[Recorded[Event]]) -> None:
        """Applies the events, in the append's own transaction."""
        await self._models.apply(connection, tenant, events)
        if any(event.category == "membership" for event in events):
            self._changed(tenant)


class Api:
    """The application: ASGI, with a lifespan that opens and closes what it uses."""

    def __init__(self, store: StoreSettings, settings: ApiSettings, sides: frozenset[str]) -> None:
        if not sides or sides - SIDES:
            raise ValueError(f"a process serves commands, queries or both, not {sorted(sides)}")
        assert store.database_url is not None  # whoever starts Cairn without one has started a server and knows its URL
        self._store_settings = store
        self._settings = settings
        self._sides = sides
        self._membership_changes: set[UUID] = set()
        self.stopping = False
        self.lag = Lag()
        self.followers = LogFollowers()
        self.broker = None if store.nats_url is None else Broker(store.nats_url, name="api", echo=False)
        self.hints = None if self.broker is None else Hints(self.broker)
        self.vault = Vault(keyring_of(settings.kek, settings.kek_file))
        self.primary = self._reader_pool("identity", store.database_url, connections_max=2)
        self.reader = self._reader_pool(
            "reader",
            settings.api_query_database_url or store.database_url,
            connections_max=settings.api_reader_connections_max,
        )
        self._replica = settings.api_query_database_url is not None
        self.catch_up = CatchUp(self.reader, settings, replica=self._replica)
        self.followed = self._followed(store.database_url)
        self._catching_up = CatchUp(self.followed, settings) if self._replica else self.catch_up
        self.store = self._store() if "commands" in sides else None
        self._noting = self._writer_pool("activity", connections_max=1) if self.store is None else self.store.writer
        self.last_active = LastActive(self._noting, settings.api_last_active_seconds)
        self.identities = Identities(self.primary, settings, self.last_active.saw)
        self.live = LiveSide(self.followed, self.vault, self.identities, self.followers, settings)
        self._command_side = None if self.store is None else CommandSide(self.store, self.identities, settings)
        self.health = Health(self._databases(), self.broker, self._figures(), settings, health.newest_migration())
        self.litestar = self._litestar()
        self._gate = Gate(self.litestar, settings, self._shortcut())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._gate(scope, receive, send)

    def stop(self) -> None:
        """Says that the end is near: streams end, readiness turns red, requests under way go on."""
        self.stopping = True
        self.live.stop()

    @functools.cached_property
    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        return openapi.document(self.litestar)

    def _reader_pool(self, name: str, url: str, *, connections_max: int) -> Database:
        return Database(
            role_url(url, "cairn_reader", self._store_settings.database_role_password),
            name=name,
            connections_max=connections_max,
            read_only=True,
            statement_seconds_max=self._settings.api_query_seconds_max,
        )

    def _followed(self, database_url: str) -> Database:
        """Where event streams read: hints of new events come at once, and a replica would not have them yet."""
        if not self._replica:
            return self.reader
        return self._reader_pool("streams", database_url, connections_max=STREAM_CONNECTIONS_MAX)

    def _writer_pool(self, name: str, *, connections_max: int) -> Database:
        settings = self._store_settings
        assert settings.database_url is not None
        return Database(
            role_url(settings.database_url, "cairn_writer", settings.database_role_password),
            name=name,
            connections_max=connections_max,
            statement_seconds_max=self._settings.api_command_seconds_max,
        )

    def _store(self) -> Store:
        settings = self._store_settings
        writer = self._writer_pool("writer", connections_max=settings.writer_connections_max)
        inline = Noticed(InlineModels(INLINE, self.vault), self._membership_changes.add)
        return Store(
            writer,
            settings,
            vault=self.vault,
            inline=inline,
            answers=pfa_lookups.answers(self.followed, self._until),
            committed=self._committed,
        )

    async def _until(self, tenant: UUID, model: str, position: int) -> None:
        """Waits a moment for a model that a refusal rests on; what it has then, it is asked for."""
        with contextlib.suppress(Problem):
            await self._catching_up.until(tenant, model, position, self._settings.api_catch_up_seconds_max)

    def _figures(self) -> Figures:
        return Figures(self._databases(), self.lag, lambda: self._gate.under_way)

    def _databases(self) -> list[Database]:
        used = [self.primary] if self.store is None else [self.primary, self.store.writer]
        return [*used, *dict.fromkeys((self.reader, self.followed))] if "queries" in self._sides else used

    def _committed(self, tenant: UUID, position: int) -> None:
        """After a commit of this process: who waits here is told at once, the others by a hint."""
        if tenant in self._membership_changes:
            self._membership_changes.discard(tenant)
            self._membership_changed(tenant)
            if self.hints is not None:
                self.hints.view_moved(tenant, ACCESS, position)
        self._log_moved(tenant, position)
        if self.hints is not None:
            self.hints.log_moved(tenant, position)

    def _membership_changed(self, tenant: UUID) -> None:
        """Who may do what, and who was forgotten, is asked for again."""
        self.identities.forget(tenant)
        self.vault.forget(tenant)

    def _log_moved(self, tenant: UUID, position: int) -> None:
        self.lag.log_moved(tenant, position)
        for catch_up in {self.catch_up, self._catching_up}:
            catch_up.log_moved(tenant, position)
        self.followers.moved(tenant, position)

    def _view_moved(self, tenant: UUID, model: str, position: int) -> None:
        if model == ACCESS:
            self._membership_changed(tenant)
            return
        self.lag.view_moved(tenant, model, position)
        for catch_up in {self.catch_up, self._catching_up}:
            catch_up.moved(tenant, model, position)

    @asynccontextmanager
    async def _lifespan(self, _: Litestar) -> AsyncGenerator[None, None]:
        async with AsyncExitStack() as opened:
            for database in dict.fromkeys((self.primary, self.reader, self.followed)):
                await database.open()
                opened.push_async_callback(database.close)
                await database.refuse_if_unsafe()
            async with self.primary.connection() as connection:
                await self.vault.check(connection)
            for catch_up in {self.catch_up, self._catching_up}:
                opened.push_async_callback(catch_up.close)
            if self.broker is not None and self.hints is not None:
                await self.broker.open()
                opened.push_async_callback(self.broker.close)
                await self.hints.follow_log(self._log_moved)
                await self.hints.follow_views(self._view_moved)
            if self.store is not None:
                await self.store.open()
                opened.push_async_callback(self.store.close)
            else:
                await self._noting.open()
                opened.push_async_callback(self._noting.close)
            opened.push_async_callback(self.last_active.close)
            yield

    def _shortcut(self) -> Callable[[HTTPScope], ASGIApp | None] | None:
        return None if self._command_side is None else commands.shortcut(self._command_side)

    def _litestar(self) -> Litestar:
        return Litestar(
            [
                *self._routers(),
                *health.routes(self.health, lambda: self.stopping),
                *schemas.routes(lambda: self.openapi),
            ],
            lifespan=[self._lifespan],
            guards=[parameters.refuse_unknown],
            exception_handlers={Exception: problems.answer, NotModified: _not_modified},
            openapi_config=openapi.CONFIG,
            logging_config=None,
            request_max_body_size=None,
            debug=False,
        )

    def _routers(self) -> list[Router]:
        routers = []
        if self._command_side is not None:
            routers.append(Router("/", route_handlers=commands.routes(self._command_side)))
        if "queries" in self._sides:
            routers += self._query_routers()
        return routers

    def _query_routers(self) -> list[Router]:
        side = QuerySide(
            self.reader,
            self.vault,
            self.identities,
            self.catch_up,
            self._settings,
            primary=self.primary if self._replica else None,
        )
        single: list[HTTPRouteHandler] = [handler for module in QUERIES for handler in module.SINGLE]
        paged: list[HTTPRouteHandler] = [handler for module in QUERIES for handler in module.PAGED]
        of_one, of_page, of_several = side.dependencies()
        return [
            Router("/", route_handlers=single, dependencies={"view": of_one, "views": of_several}),
            Router("/", route_handlers=paged, dependencies={"paged": of_page}),
            Router("/", route_handlers=[live.route(self.live)]),
        ]


def _not_modified(_: Request[Any, Any, Any], error: NotModified) -> Response[None]:
    return Response(None, status_code=304, headers=error.headers)


def create_app(store: StoreSettings, settings: ApiSettings, serve: frozenset[str] = SIDES) -> Api:
    """The application that serves commands, queries or both."""
    return Api(store, settings, serve)
