"""A real HTTP server in the test's own process that answers by a function, and keeps what it was asked."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Asked:
    """One request. Names of headers are lower-case."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Said:
    """One answer; what is no bytes goes as JSON. `dropped`: the connection is closed in its middle."""

    document: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    dropped: bool = False


@dataclass
class Answering:
    """Where it is, and what it was asked so far."""

    url: str
    asked: list[Asked]


@contextmanager
def answering(answer: Callable[[Asked], Said], certificate: Path | None = None) -> Iterator[Answering]:
    """Serves on loopback until the block ends; over TLS, if it is given a PEM file of certificate and key."""
    asked: list[Asked] = []

    class Connection(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            address = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked.append(Asked(self.command, address.path, dict(parse_qsl(address.query)), headers, body))
            said = answer(asked[-1])
            content = said.document if isinstance(said.document, bytes) else json.dumps(said.document).encode()
            self.send_response(said.status)
            for name, value in ({"Content-Type": "application/json"} | said.headers).items():
                self.send_header(name, value)
            if said.status != 304:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if said.status != 304:
                self.wfile.write(content[: len(content) // 2] if said.dropped else content)
            self.close_connection = said.dropped

        do_GET = do_POST = _serve

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A handshake that the caller broke off is what a test wanted."""

    with Server(("127.0.0.1", 0), Connection) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield Answering(f"http{'s' if certificate else ''}://127.0.0.1:{server.server_address[1]}", asked)
        finally:
            server.shutdown()
            thread.join()
