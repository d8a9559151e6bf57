"""Memory of API and workers: after the demo, and over a load."""

import statistics
from concurrent.futures import ThreadPoolExecutor, wait

from bench import load, traffic
from bench.client import request
from bench.ground import Ground
from bench.load import Load
from bench.measure import Line, Options, Report
from bench.product import Product, line_id
from cairn import demo

TITLE = "memory of API and workers together"
SECONDS, SECONDS_FULL = 60.0, 600.0
RATE = 200
CONNECTIONS = 16
LINES = 100
MEBIBYTE = 1024 * 1024


def measure(ground: Ground, options: Options) -> Report:  # noqa: ARG001  it runs servers of its own
    """Resident sets, after the demo and every second while lines of 16 estimates are edited, 200 times a second."""
    seconds = SECONDS_FULL if options.full else SECONDS
    with Product() as product:
        before = product.memory_bytes()
        demo.load(product.url, product.operator_token, demo.carried(), lambda *_: None)
        after = product.memory_bytes()
        requests = _revising(product)
        looked: list[int] = []
        with ThreadPoolExecutor(1) as executor:
            sending = executor.submit(load.elsewhere, Load(product.host, product.port, requests, seconds, RATE))
            while not wait((sending,), timeout=1).done:
                looked.append(sum(product.memory_bytes().values()))
        sent = sending.result()
    third = len(looked) // 3
    middle, last = statistics.median(looked[third : 2 * third]), statistics.median(looked[2 * third :])
    lines = [
        Line(label="commands", unit="/s", values=[sent.rate]),
        Line(label="at start", unit="MiB", values=[sum(before.values()) / MEBIBYTE]),
        *(Line(label=f"{name} after the demo", unit="MiB", values=[used / MEBIBYTE]) for name, used in after.items()),
        Line(label="after the demo", unit="MiB", values=[sum(after.values()) / MEBIBYTE], goal=350, at_most=True),
        Line(label=f"after {seconds:.0f} s of load", unit="MiB", values=[looked[-1] / MEBIBYTE]),
        Line(label="last third / middle third", unit="×", values=[last / middle], goal=1.03, at_most=True),
    ]
    return Report(name="memory", title=TITLE, lines=lines)


def _revising(product: Product) -> list[bytes]:
    """One request per estimate; its note is a new id each time, so each changes something."""
    estimates = product.found_company(CONNECTIONS, LINES)
    requests = []
    for number, estimate in enumerate(estimates):
        headers = product.headers()
        body = traffic.as_json({"line_id": str(line_id(number, number)), "note": load.PLACES[1].decode()})
        requests.append(request("POST", f"/commands/estimate/{estimate}/revise-line", headers, body))
    return requests
