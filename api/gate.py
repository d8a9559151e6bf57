"""What every request passes first: how many there are, how long it took, how slowly its client reads."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from litestar import Litestar
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send
from prometheus_client import Counter, Histogram

from api import problems
from api.problems import Problem
from api.settings import ApiSettings
from eventstore import traces

REQUESTS: Final = Counter("cairn_http_requests_total", "Requests answered.", ["method", "route", "status"])
DURATIONS: Final = Histogram(
    "cairn_http_request_seconds",
    "From a request's head to the end of its answer; event streams are not counted.",
    ["method", "route"],
    buckets=(0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 32),
)

_ALWAYS: Final = frozenset({"/health/live", "/health/ready", "/metrics"})
"""Answered however busy the process is."""


class Gate:
    """The outermost layer, around Litestar."""

    def __init__(
        self, litestar: Litestar, settings: ApiSettings, shortcut: Callable[[HTTPScope], ASGIApp | None] | None
    ) -> None:
        self.litestar = litestar
        self._shortcut = shortcut
        self._settings = settings
        self.under_way = 0
        self._observed: dict[tuple[str, str], Any] = {}
        self._counted: dict[tuple[str, str, int], Any] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self.litestar(scope, receive, send)
            return
        started = time.perf_counter()
        answer = _Answer(send, self._settings.api_stream_client_seconds_max)
        self.under_way += 1
        try:
            with traces.request_span(scope["method"], _carrier(scope), **{"url.path": scope["path"]}):
                await self._passed(scope, receive, answer)
        finally:
            self.under_way -= 1
            self._observe(scope, answer, time.perf_counter() - started)

    async def _passed(self, scope: HTTPScope, receive: Receive, answer: "_Answer") -> None:
        refused = self._refused(scope)
        if refused is not None:
            await answer.refuse(refused)
            return
        try:
            app = None if self._shortcut is None else self._shortcut(scope)
            await (app or self.litestar)(scope, receive, answer)
        except Exception as error:
            if answer.status:  # too late for words: the broken connection says it
                raise
            problems.report(error)
            await answer.refuse(error)

    def _refused(self, scope: HTTPScope) -> Problem | None:
        if self.under_way > self._settings.api_requests_max and scope["path"] not in _ALWAYS:
            return Problem("system.busy", headers={"Retry-After": "1"}, requests_max=self._settings.api_requests_max)
        return None

    def _observe(self, scope: HTTPScope, answer: "_Answer", seconds: float) -> None:
        route = scope.get("path_template") or "unknown"
        method = scope["method"] if scope.get("path_template") else "any"  # a bounded set of labels
        counted = self._counted.get((method, route, answer.status))
        if counted is None:
            counted = self._counted[method, route, answer.status] = REQUESTS.labels(method, route, answer.status)
        counted.inc()
        if scope.get("route_handler") is not None and scope["route_handler"].opt.get("streams"):
            return
        observed = self._observed.get((method, route))
        if observed is None:
            observed = self._observed[method, route] = DURATIONS.labels(method, route)
        observed.observe(seconds)


def _carrier(scope: HTTPScope) -> dict[str, str]:
    """The header that says which trace a request belongs to."""
    parent = next((value for name, value in scope["headers"] if name == b"traceparent"), None)
    return {} if parent is None else {"traceparent": parent.decode("latin-1")}


class _Answer:
    """The way out: remembers the status, and gives up on a client that does not read."""

    __slots__ = ("_seconds_max", "_send", "status")

    def __init__(self, send: Send, seconds_max: float) -> None:
        self._send = send
        self._seconds_max = seconds_max
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body" and message["more_body"]:
            async with asyncio.timeout(self._seconds_max):
                await self._send(message)
            return
        await self._send(message)

    async def refuse(self, error: Exception) -> None:
        """Answers with the problem document, below any framework."""
        document, headers = problems.refusal(error)
        body = problems.encoded(document)
        fields = headers | {"content-type": problems.MEDIA_TYPE, "content-length": str(len(body))}
        encoded = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
        await self({"type": "http.response.start", "status": document.status, "headers": encoded})
        await self({"type": "http.response.body", "body": body, "more_body": False})
