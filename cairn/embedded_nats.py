"""NATS in a folder of ours: set it up, start it, recognise it."""

import json
import secrets
import socket
from contextlib import suppress
from urllib.parse import quote, urlsplit

from cairn.embedded_place import Place, Server, await_ready, watch, write
from cairn.embedded_programs import programs


def launch_nats(place: Place, lock: int) -> Server:
    place.data.mkdir(mode=0o700, exist_ok=True)
    place.account.give(place.data)
    for stale in place.data.glob("nats-server_*.ports"):  # left by a killed server
        stale.unlink()
    password, port = _remembered_nats(place)
    write(place, place.data / "credentials.json", json.dumps({"password": password, "port": port}))
    write(place, place.data / "nats.conf", _nats_settings(place, password, port if _is_free(port) else -1))
    command = [str(programs(place).nats), "-c", "nats.conf"]
    watcher, pid = watch(place, lock, command, [("SIGTERM", 30.0)])
    server = await_ready(place, watcher, pid, found_nats)
    write(place, place.data / "credentials.json", json.dumps({"password": password, "port": urlsplit(server.url).port}))
    return server


def _nats_settings(place: Place, password: str, port: int) -> str:
    """Paths are relative to the data folder the server starts in, so they need not be reachable by name.

    The interval is quoted because NATS reads a bare 2m as two million.
    """
    return f"""# rewritten at each start
server_name: cairn
host: "127.0.0.1"
port: {port}
max_payload: {place.settings["max_payload"]}
ports_file_dir: "."
authorization {{ user: cairn, password: "{password}" }}
jetstream {{ store_dir: ".", sync_interval: "{place.settings["sync_interval"]}" }}
"""


def _remembered_nats(place: Place) -> tuple[str, int]:
    """The password and port of last time, so that clients find a restarted server; or a new password and port -1."""
    try:
        remembered = json.loads((place.data / "credentials.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return secrets.token_urlsafe(24), -1
    return str(remembered["password"]), int(remembered["port"])


def _is_free(port: int) -> bool:
    """Whether the port can be taken; -1 asks the server to choose, which is always possible."""
    if port == -1:
        return False
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of the old server may linger
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def found_nats(place: Place) -> Server | None:
    """The server of this folder once it greets, or None. Its ports file is named after its pid."""
    for path in place.data.glob("nats-server_*.ports"):
        with suppress(OSError, ValueError, KeyError, IndexError):
            port = urlsplit(json.loads(path.read_text(encoding="utf-8"))["nats"][0]).port
            with socket.create_connection(("127.0.0.1", port or 0), timeout=1.0) as connection:
                if connection.recv(4) == b"INFO":
                    password = quote(_remembered_nats(place)[0])
                    pid = int(path.stem.removeprefix("nats-server_"))
                    return Server(place, f"nats://cairn:{password}@127.0.0.1:{port}", pid)
    return None
