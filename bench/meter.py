"""Processor time, which tells what something costs whatever else the machine is doing."""

import time

import msgspec
import psutil


class Cost(msgspec.Struct, frozen=True):
    """Seconds of processor time: of this process, and of PostgreSQL's."""

    client_seconds: float = 0.0
    server_seconds: float = 0.0


class Meter:
    """Reads both clocks. Backends that end between two readings are counted by the server's own process."""

    def __init__(self) -> None:
        self.postgres_pid: int | None = None

    def read(self) -> Cost:
        """So far. A backend's start-up is in it: read while the connections stand."""
        return Cost(time.process_time(), 0.0 if self.postgres_pid is None else _of_tree(self.postgres_pid))

    def since(self, before: Cost) -> Cost:
        """What was used since a reading."""
        now = self.read()
        return Cost(now.client_seconds - before.client_seconds, now.server_seconds - before.server_seconds)


def _of_tree(pid: int) -> float:
    parent = psutil.Process(pid)
    own = parent.cpu_times()
    total = own.user + own.system + own.children_user + own.children_system
    for child in parent.children():
        try:
            used = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += used.user + used.system
    return float(total)


METER = Meter()
"""Of the servers that are measured now; `Ground` tells it which."""
