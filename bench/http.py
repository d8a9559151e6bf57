"""Commands over HTTP: one API process, 64 connections, each adding lines to an estimate of its own."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from bench import load
from bench.ground import Ground
from bench.load import Load
from bench.measure import Line, Options, Report, Sample, interleaved, percentiles, rates, ratios
from bench.product import ROOT, Product, free_port

TITLE = "commands over HTTP, one API process, 64 connections"
CONNECTIONS = 64


def measure(ground: Ground, options: Options) -> Report:  # noqa: ARG001  it runs servers of its own
    """Against the same server answering a fixed JSON to the same POST, in turns."""
    with Product("api") as product, fixed() as bare, fixed("litestar") as routed:
        requests = product.adding(product.found_company(CONNECTIONS))
        arms = {
            "fixed": partial(_send, bare, requests, options.seconds),
            "fixed, routed": partial(_send, routed, requests, options.seconds),
            "commands": partial(_send, product.port, requests, options.seconds),
        }
        _send(product.port, requests, 0.5)
        found = interleaved(options.rounds, arms)
    lines = [Line(label=name, unit="/s", values=rates(samples)) for name, samples in found.items()]
    commands = rates(found["commands"])
    lines += [
        Line(label="commands p50", unit="ms", values=percentiles(found["commands"], 0.5)),
        Line(label="commands p99", unit="ms", values=percentiles(found["commands"], 0.99)),
        Line(
            label="commands / fixed, routed",
            unit="×",
            values=ratios(commands, rates(found["fixed, routed"])),
            goal=0.3,
        ),
        Line(label="commands / fixed", unit="×", values=ratios(commands, rates(found["fixed"]))),
    ]
    notes = [
        "fixed: an ASGI application on Cairn's server; routed: a route of the framework on it, which the API has too."
    ]
    return Report(name="http", title=TITLE, lines=lines, notes=notes)


def _send(port: int, requests: list[bytes], seconds: float) -> Sample:
    return load.elsewhere(Load("127.0.0.1", port, requests, seconds))


@contextmanager
def fixed(*how: str) -> Iterator[int]:
    """A server that answers always the same, see `bench.fixed`. Its port."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "bench.fixed", str(port), *how], cwd=ROOT)
    try:
        _until_open(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def _until_open(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on {port}")
