"""One uvicorn process: bounded heads, no trust in forwarded addresses, and an end that lets requests finish."""

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api import problems
from api.app import Api, create_app
from api.problems import Problem
from api.settings import ApiSettings
from eventstore import process
from eventstore.settings import StoreSettings

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
"""What asks the process to end; asked twice, it ends without waiting for its requests."""


def protocol_of(settings: ApiSettings) -> type[HttpToolsProtocol]:
    """uvicorn's protocol, with a limit on the size of a head and on the time it may take to arrive."""

    class Bounded(HttpToolsProtocol):
        _head_bytes = 0
        _awaited: asyncio.TimerHandle | None = None
        _in_head = True

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
            super().connection_made(transport)
            self._await_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._head_arrived()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self._in_head:
                self._head_bytes += len(data)
                if self._awaited is None:
                    self._await_head()
            super().data_received(data)
            if self._in_head and self._head_bytes > settings.api_header_bytes_max and not self.transport.is_closing():
                self._refuse(Problem("request.head-too-large", bytes_max=settings.api_header_bytes_max))

        def on_headers_complete(self) -> None:
            self._in_head = False
            self._head_arrived()
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self._in_head, self._head_bytes = True, 0
            super().on_message_complete()

        def send_400_response(self, msg: str) -> None:
            self._refuse(Problem("request.malformed", msg))

        def _await_head(self) -> None:
            self._awaited = self.loop.call_later(settings.api_head_seconds_max, self.transport.close)

        def _head_arrived(self) -> None:
            if self._awaited is not None:
                self._awaited.cancel()
                self._awaited = None

        def _refuse(self, problem: Problem) -> None:
            document, _ = problems.document_of(problem)
            body = problems.encoded(document)
            fields = f"content-type: {problems.MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[document.status] + fields.encode() + body)
            self.transport.close()

    return Bounded


class Server(uvicorn.Server):
    """uvicorn, which tells the application that it is about to stop before it waits for its answers."""

    def __init__(self, config: uvicorn.Config, api: Api, ready: Callable[[str], None]) -> None:
        super().__init__(config)
        self._api = api
        self._ready = ready

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Takes SIGTERM and SIGINT as requests to end. uvicorn's own way raises them again, so no exit code is left."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self._ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._api.stop()
        await super().shutdown(sockets)


def server_of(api: Api, settings: ApiSettings, ready: Callable[[str], None]) -> Server:
    """A server for this application; `ready` is told its URL once it listens."""
    config = uvicorn.Config(
        api,
        host=settings.api_host,
        port=settings.api_port,
        loop="none",
        http=protocol_of(settings),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=settings.api_shutdown_seconds_max,
    )
    return Server(config, api, ready)


async def serve(
    store: StoreSettings,
    settings: ApiSettings,
    sides: frozenset[str],
    *,
    ready: Callable[[str], None] = lambda _: None,
    stop: asyncio.Event | None = None,
) -> int:
    """Serves until SIGTERM or SIGINT (in the main thread), or until `stop` is set. Answers the exit code."""
    api = create_app(store, settings, sides)
    server = server_of(api, settings, ready)
    watching = None if stop is None else asyncio.create_task(_watch(stop, server))
    try:
        await server.serve()
    finally:
        if watching is not None:
            watching.cancel()
    return 0 if server.started else 1


async def _watch(stop: asyncio.Event, server: uvicorn.Server) -> None:
    await stop.wait()
    server.should_exit = True


def _say(url: str) -> None:
    """On standard output at once: whoever started this process may be reading it through a pipe."""
    print(url, flush=True)  # noqa: T201  # where it listens


def run(store: StoreSettings, settings: ApiSettings, sides: frozenset[str], ready: Callable[[str], None] = _say) -> int:
    """Serves until SIGTERM or SIGINT, in an event loop of its own. Answers the exit code."""

    def listening(url: str) -> None:
        process.calm_collector()  # once more: now everything is loaded
        ready(url)

    return uvloop.run(serve(store, settings, sides, ready=listening))
