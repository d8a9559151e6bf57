"""A port on loopback that leads to the test's PostgreSQL, which may listen on a socket file alone."""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator

from psycopg.conninfo import conninfo_to_dict


def _connected(url: str) -> socket.socket:
    known = conninfo_to_dict(url)
    host, port = str(known.get("host", "localhost")), int(str(known.get("port", 5432)))
    if not host.startswith("/"):
        return socket.create_connection((host, port))
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(f"{host}/.s.PGSQL.{port}")
    return connection


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65_536):
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def forwarding(url: str) -> Iterator[int]:
    """The port, until the block ends."""

    class Connection(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with _connected(url) as server:
                back = threading.Thread(target=_copy, args=(server, self.request))
                back.start()
                _copy(self.request, server)
                back.join()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Connection) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()
