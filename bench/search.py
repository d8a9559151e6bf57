"""Dashboard, project page, search and price history over HTTP, in a company of the size the goals name."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import urlencode

import psutil
import psycopg
import uvloop

from bench import company
from bench.client import Connection, request
from bench.company import Sizes
from bench.ground import Ground
from bench.measure import Line, Options, Report, Sample, interleaved, percentiles
from bench.meter import Cost
from bench.product import Product
from bench.progress import counting
from cairn.client import Client
from projections import estimate_detail, estimate_kpis, price_history, project_list, search

TITLE = "dashboard, project page, search and price history over HTTP, one client"
SIZES, SIZES_FULL = Sizes(500, 1_000, 50_000), Sizes()
QUESTIONS = 200
"""Asked one after the other by one client, from a list of so many."""
COMMON = ("c", "co", "con", "re", "concrete", "pavement", "1", "2", "mn", "th", "sheet", "quantity from sheet")


def measure(ground: Ground, options: Options) -> Report:  # noqa: ARG001  it runs servers of its own
    """One client asks one question after the other; which, is drawn once."""
    sizes = SIZES_FULL if options.full else SIZES
    with Product("api") as product:
        took = filled(product, sizes)
        source = random.Random(23)
        arms = {
            "search, any": _asking(product, "/search", list(_searches(source))),
            "search, common prefixes": _asking(product, "/search", [{"q": each} for each in COMMON]),
            "price history": _asking(product, "/price-history", list(_prices(source))),
            "dashboard": _asking_for(product, list(_dashboard())),
            "project page": _asking_for(product, list(_project_pages(product, source))),
        }
        for arm in arms.values():
            arm()
        found = interleaved(options.rounds, arms)
    lines = []
    for name, samples in found.items():
        lines.append(Line(label=f"{name}: p50", unit="ms", values=percentiles(samples, 0.5)))
        lines.append(Line(label=f"{name}: p99", unit="ms", values=percentiles(samples, 0.99), goal=50, at_most=True))
        cost = [sample.microseconds_each / 1000 for sample in samples]
        lines.append(Line(label=f"{name}: CPU, API and PostgreSQL", unit="ms", values=cost))
    spent = ", ".join(f"{model} {seconds:.0f} s" for model, seconds in took.items())
    return Report(
        name="search",
        title=TITLE,
        lines=lines,
        notes=[f"{sizes.projects:,} projects, {sizes.lines:,} lines; projected: {spent}."],
    )


def filled(product: Product, sizes: Sizes) -> dict[str, float]:
    """Founds the product's company and fills it. Answers how long the read models took."""
    product.found_company(0)
    url = product.servers.database_url
    with counting("appending lines", sizes.lines) as say:
        uvloop.run(company.populate(url, product.company, sizes, say))
    models = (project_list, estimate_detail, estimate_kpis, search, price_history)
    took = uvloop.run(company.project(url, product.company, [model.projection for model in models]))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(b"vacuum analyze")  # as autovacuum would within the minute
    return took


def _searches(source: random.Random) -> Iterator[dict[str, str]]:
    """Words of the catalogue, most cut short, one to three of them; codes; and some that are nowhere."""
    items = company.catalogue()
    for _ in range(QUESTIONS):
        item = source.choice(items)
        typed = source.sample(item.description.split(), min(len(item.description.split()), source.randrange(1, 4)))
        match source.randrange(10):
            case 0 | 1:
                typed = [item.code]
            case 2:
                typed = ["zebra", typed[0]]
            case _:
                typed = [word[: source.randrange(2, 12)] for word in typed]
        question = " ".join(typed)
        yield {"q": question if any(map(str.isalnum, question)) else "curb"}


def _prices(source: random.Random) -> Iterator[dict[str, str]]:
    """Codes as often as they are used: the commonest among them, which nearly every project has."""
    chosen = company.Chosen(company.catalogue())
    for _ in range(QUESTIONS // 4):
        for item in chosen.some(4, source):
            yield {"code": item.code, "code_set": "MnDOT"}


def _dashboard() -> Iterator[str]:
    """What the first page of an office shows, as often as a figure needs."""
    for _ in range(QUESTIONS // 5):
        yield from (f"/portfolio?by={by}" for by in ("estimate_status", "project_status", "building_type"))
        yield "/portfolio/kpis?by=cost_type"
        yield "/projects?limit=50"


def _project_pages(product: Product, source: random.Random) -> Iterator[str]:
    """One project after the other: itself, its versions, the lines of the latest and what they come to."""
    with Client(product.url, product.token) as owner:
        projects = owner.get("/projects", limit=200)["items"]
    for project in source.sample(projects, QUESTIONS // 4):
        own, latest = project["project_id"], project["latest_estimate_id"]
        yield f"/projects/{own}"
        yield f"/projects/{own}/estimates"
        yield f"/estimates/{latest}/lines?limit=100"
        yield f"/estimates/{latest}/kpis?by=code_section"


def _asking(product: Product, path: str, questions: Sequence[dict[str, str]]) -> Callable[[], Sample]:
    return _asking_for(product, [f"{path}?{urlencode(each)}&limit=50" for each in questions])


def _asking_for(product: Product, paths: Sequence[str]) -> Callable[[], Sample]:
    headers = {"authorization": f"Bearer {product.token}"}
    requests = [request("GET", path, headers) for path in paths]
    return lambda: uvloop.run(_ask(product, requests))


async def _ask(product: Product, requests: Sequence[bytes]) -> Sample:
    connection = await Connection.to(product.host, product.port)
    latencies: list[float] = []
    before, began = _processor_seconds(product), time.perf_counter()
    for each in requests:
        sent = time.perf_counter()
        await connection.ask(each)
        latencies.append(time.perf_counter() - sent)
    seconds = time.perf_counter() - began
    after = _processor_seconds(product)
    connection.close()
    cost = Cost(after.client_seconds - before.client_seconds, after.server_seconds - before.server_seconds)
    return Sample(count=len(latencies), seconds=seconds, latencies=latencies, cost=cost)


def _processor_seconds(product: Product) -> Cost:
    """Of the API, and of PostgreSQL's processes that serve its readers."""
    server = 0.0
    for process in psutil.process_iter(["name"]):
        if process.info["name"] == "postgres":
            server += _of_reader(process)
    return Cost(product.cpu_seconds()["api"], server)


def _of_reader(process: psutil.Process) -> float:
    try:
        if "cairn_reader" not in " ".join(process.cmdline()):
            return 0.0
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
