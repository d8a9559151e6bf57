"""Serves until SIGTERM or Ctrl-C: `python -m examples.upstream --port 0`. See the README in this folder."""

import argparse
import contextlib
import json
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from examples.upstream import generated
from examples.upstream.access import Access, Credentials
from examples.upstream.fields import STYLES, export
from examples.upstream.routes import Answer, ProblemError, Request, Routes
from examples.upstream.store import NoStepError, Store
from examples.upstream.switches import Panel, parsed

BODY_MAX = 64 * 1024 * 1024
IDLE_SECONDS = 300


class Source:
    """Where records come from: a folder of exports, in the order of their names, or a seed."""

    def __init__(self, folder: Path | None, records: int, seed: int, style: str) -> None:
        self._exports = sorted(folder.glob("*.csv")) if folder else []
        if folder and not self._exports:
            raise ValueError(f"{folder} has no .csv file.")
        self._records = records
        self._seed = seed
        self._style = style

    def origin(self) -> str:
        """What a state must have been made from, to go on with this source."""
        made = self._exports[0].name if self._exports else f"{self._records} made up from seed {self._seed}"
        return f"{made}, amounts {self._style}"

    def fill(self, store: Store) -> None:
        """Loads the first export, or the first records, unless the store has them. Raises ValueError."""
        found = store.origin()
        if not found:
            made = generated.rows(self._records, self._seed, self._style)
            store.load(self.origin(), export(self._exports[0], self._style) if self._exports else made)
        elif found != self.origin():
            raise ValueError(f"{store.path} was made from {found}, not from {self.origin()}.")

    def advance(self, store: Store, share: float) -> dict[str, Any]:
        """The next export, or the next step of made-up records. Raises NoStepError."""
        if not self._exports:
            return store.advance_by(self._seed, share)
        done = store.step()
        if done + 1 >= len(self._exports):
            raise NoStepError(f"{self._exports[done].name} is the last export.")
        old, new = self._exports[done : done + 2]
        return store.advance_to(new.name, export(old, self._style), export(new, self._style)) | {"export": new.name}


class Server(ThreadingHTTPServer):
    """A thread per connection."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], routes: Routes) -> None:
        super().__init__(address, Connection)
        self.routes = routes

    @property
    def url(self) -> str:
        """Where it can be reached."""
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that went away is nothing to speak of."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class Connection(BaseHTTPRequestHandler):
    """One caller's connection."""

    protocol_version = "HTTP/1.1"
    server_version = "upstream/1"
    disable_nagle_algorithm = True
    wbufsize = 65536  # head and body in one piece
    timeout = IDLE_SECONDS
    server: Server

    def _serve(self) -> None:
        try:
            body = self._body()
        except ProblemError as problem:
            self.close_connection = True  # what it sent is still in the way
            self._send(problem.answer)
            return
        address = urlsplit(self.path)
        base = f"http://{self.headers.get('Host') or urlsplit(self.server.url).netloc}"
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, address.path, address.query, headers, body, base)
        self._send(self.server.routes.answer(request))

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _serve

    def _body(self) -> bytes:
        if "Transfer-Encoding" in self.headers:
            raise ProblemError(411, "length-required", "Content-Length must be given.")
        length = self.headers.get("Content-Length", "0")
        if not (length.isascii() and length.isdecimal() and len(length) < 12):
            raise ProblemError(400, "invalid-length", "Content-Length is not a number.")
        if int(length) > BODY_MAX:
            raise ProblemError(413, "too-large", f"At most {BODY_MAX} bytes.")
        return self.rfile.read(int(length))

    def _send(self, answer: Answer) -> None:
        if answer.sent:
            self._head(answer.status, answer.headers, len(answer.body))
            self.wfile.write(answer.body[: int(len(answer.body) * answer.sent)])
            self.wfile.flush()
        if answer.sent < 1:
            self.close_connection = True
            with contextlib.suppress(OSError):  # it went first
                self.connection.shutdown(socket.SHUT_RDWR)

    def _head(self, status: int, headers: Mapping[str, str], length: int) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status not in {204, 304}:
            self.send_header("Content-Length", str(length))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: tests make thousands of calls."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.upstream", description="A small ERP to test against.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090, help="0 for any that is free")
    parser.add_argument("--state", type=Path, help="folder of its file; without, a temporary one")
    parser.add_argument("--data", type=Path, help="folder of published exports; without, records are made up")
    parser.add_argument("--records", type=int, default=1000, help="how many are made up")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--money", choices=STYLES, default=STYLES[0], help="how amounts are written")
    parser.add_argument("--auth", default="", help="key, basic, oauth2: any of them, with commas")
    parser.add_argument("--api-key", default="example-key")
    parser.add_argument("--basic", type=_pair, default=("example", "example-password"), help="name:password")
    parser.add_argument("--client", type=_pair, default=("example-client", "example-secret"), help="id:secret")
    parser.add_argument("--token-seconds", type=int, default=300)
    parser.add_argument("--rate-limit", type=int, default=0, help="requests in a window; 0 for no limit")
    parser.add_argument("--rate-window-seconds", type=int, default=60)
    parser.add_argument("--fault", action="append", default=[], metavar="NAME=VALUE", help="a switch, as in /faults")
    return parser.parse_args()


def _pair(text: str) -> tuple[str, str]:
    name, colon, secret = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError("two words with a colon between")
    return name, secret


def _run(chosen: argparse.Namespace, state: Path) -> None:
    state.mkdir(parents=True, exist_ok=True)
    settings = parsed(chosen.fault)
    back = settings.pop("back_to_version", None)
    named = {"rate_limit": chosen.rate_limit, "rate_window_seconds": chosen.rate_window_seconds}
    panel = Panel(named | {"auth": [way for way in chosen.auth.split(",") if way]} | settings)
    source = Source(chosen.data, chosen.records, chosen.seed, chosen.money)
    store = Store(state / "upstream.db", chosen.money)
    source.fill(store)
    if back is not None:
        store.restore(int(back))
    credentials = Credentials(chosen.api_key, chosen.basic, chosen.client, chosen.token_seconds)
    routes = Routes(store, panel, Access(credentials), lambda share: source.advance(store, share))
    with Server((chosen.host, chosen.port), routes) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
        print(json.dumps({"url": server.url, "state": str(state)} | store.standing()), flush=True)
        server.serve_forever(poll_interval=0.05)
    store.close()


def main() -> None:
    """Serves, or says in one line why not."""
    chosen = _arguments()
    with contextlib.ExitStack() as stack:
        state = chosen.state or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="upstream-")))
        try:
            _run(chosen, state)
        except (ValueError, NoStepError, OSError) as error:
            sys.exit(f"upstream: {error}")


if __name__ == "__main__":
    main()
