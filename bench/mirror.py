"""Mirrored records with somebody's drafts over them: load, sync, pages, sums, saves and a rebuild, at several sizes.

Against the design one would write first (`bench.naive`) with the same records and the same drafts, in turns.
"""

import calendar
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from bench import records
from bench.ground import Ground
from bench.http import fixed
from bench.load import NUMBER, Load, elsewhere
from bench.measure import Line, Options, Report, Sample, interleaved, percentile, percentiles, ratios
from bench.mirrored import PAGE, Mirrored, folder_upstream, watched
from bench.naive import Naive, write_copy
from bench.product import ROOT, Member, Product
from bench.progress import CONSOLE
from bench.pushing import commit_lines
from bench.traffic import as_json

TITLE = "mirrored records with 5,000 drafts, against the plain JSONB design"
SIZES: Final = (10_000, 100_000, 1_000_000)
SIZE: Final = 100_000
"""The largest, unless more is asked for."""
DRAFTS: Final = 5_000
MEBIBYTE: Final = 1024 * 1024
QUESTIONS: Final = 200
USERS: Final = 50
SAVES_PER_SECOND: Final = 100
"""Of all users together: each saves every half second."""
CONNECTIONS: Final = 100
RARE, COMMON = "Graders", "Cranes"
"""A category of one record in a hundred, and one of one in six."""
MONTHS: Final = [(2024, month) for month in range(1, 13)]
SORTS: Final = ("forecast_start", "forecast_cost", "plan_cost", "plan_end", "category", "source")
WORDS: Final = (
    "crane",
    "excavator brooklyn",
    "roofs para",
    "DSF00000",
    "gymnasium upg",
    "fire alarm",
    "Sheet 12",
    "zebra",
)
DEEP: Final = 100_000


def measure(ground: Ground, options: Options) -> Report:  # noqa: ARG001  it runs servers of its own
    """Each size in a company of its own, all in one product; the largest in full."""
    wanted = options.records or (SIZES[-1] if options.full else SIZE)
    sizes = [size for size in SIZES if size < wanted] + [wanted]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cairn-bench-")))
        product = stack.enter_context(Product(settings=_settings(folder)))
        companies = [stack.enter_context(_Company(product, folder, size)) for size in sizes]
        for company in companies:
            company.fill()
        largest = companies[-1]
        lines = largest.load_lines()
        lines += _reading(companies, options)
        largest.must_agree()
        lines += largest.writing(options)
        lines += largest.mixed(30.0 if options.full else max(5.0, options.seconds))
        lines += largest.later()
        lines += _rebuilt(product, sum(company.loaded for company in companies))
        lines += commit_lines(product, options)
    return Report(name="mirror", title=TITLE, lines=lines, notes=_notes(companies, options))


def _settings(folder: Path) -> dict[str, str]:
    return {
        "CAIRN_UPSTREAM_FOLDERS": str(folder),
        "CAIRN_UPSTREAM_NETWORKS": "127.0.0.1/32",
    }


class _Company:
    """The same records on both sides, and the same drafts of one user."""

    def __init__(self, product: Product, folder: Path, size: int) -> None:
        self.size = size
        self.product = product
        self._stack = ExitStack()
        self._folder = folder / str(size)
        self._drafts = min(DRAFTS, size // 4)
        self.loaded = self.copied = 0.0
        self._lines: list[Line] = []

    def __enter__(self) -> "_Company":
        self.mirrored = self._stack.enter_context(Mirrored(self.product, f"{self.size:,} records"))
        url = self._stack.enter_context(_database(self.product.servers.database_url))
        self.naive = Naive(url)
        self._stack.callback(self.naive.close)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def fill(self) -> None:
        """Loads both sides, saves the drafts, and lets both settle."""
        CONSOLE.print(f"[dim]{self.size:,} records: writing, loading[/]")
        self._folder.mkdir()
        copied = self._folder / "copy.txt"
        written = write_copy(copied, self.size) / self.size
        records.write_csv(self._folder / "export-1.csv", self.size)
        self.mirrored.connect(folder_upstream(self._folder), records.mapping())
        before = _bytes(self.product)
        with watched(self.product) as most:
            self.loaded = float(self.mirrored.sync()["seconds"])
        self.copied = self.naive.load(copied)
        copied.unlink()
        own = (_bytes(self.product) - before) / self.size
        self.before_drafts = self.mirrored.position()
        self.drafts = {number: (made, change) for number, made, change in records.drafts(self._drafts, self.size)}
        self.drafted = {self.mirrored.record_id(number, made): change for number, (made, change) in self.drafts.items()}
        token, self.saved = self.mirrored.save(self.drafted)
        self.mirrored.until(token)
        saved = self.naive.save_drafts({number: change for number, (_, change) in self.drafts.items()})
        theirs = self.naive.settle()
        self._lines = [
            Line(label="a record's JSON", unit="B", values=[written]),
            Line(label="first load", unit="s", values=[self.loaded]),
            Line(label="naive: COPY", unit="s", values=[self.copied]),
            _at_most("first load / naive COPY", "×", [self.loaded / self.copied], 1.5),
            *(
                Line(label=f"first load, memory of {name}", unit="MiB", values=[used / MEBIBYTE])
                for name, used in most.items()
                if name != "together"
            ),
            _at_most("first load, memory together", "MiB", [most["together"] / MEBIBYTE], 300),
            Line(label="events, read models and history", unit="B/record", values=[own]),
            Line(label="naive: table and indexes", unit="B/record", values=[theirs]),
            _at_most("disk / naive", "×", [own / theirs], 1.2),
            Line(label="naive: 5,000 drafts, one transaction", unit="s", values=[saved]),
        ]

    def load_lines(self) -> list[Line]:
        """What the load came to."""
        return self._lines

    def arms(self) -> dict[str, Callable[[], Sample]]:
        """What is shown at every size."""
        mirrored = self.mirrored
        return {
            "first page": _asking(mirrored, [mirrored.path(limit=PAGE)]),
            "filtered page, few match": _asking(mirrored, _filtered(mirrored, RARE)),
            "sorted page": _asking(mirrored, _sorted(mirrored)),
            "KPIs": _asking(mirrored, [mirrored.path("kpis", by="category,source")]),
        }

    def more_arms(self) -> dict[str, Callable[[], Sample]]:
        """What is shown at the largest."""
        mirrored, naive = self.mirrored, self.naive
        old = self.before_drafts
        deep = self._deep()
        product = {
            "filtered page, many match": _asking(mirrored, _filtered(mirrored, COMMON)),
            "deep page": _asking(mirrored, [deep]),
            "search": _asking(mirrored, [mirrored.path(search=word, limit=PAGE) for word in WORDS]),
            "bounds": _asking(mirrored, [mirrored.path("bounds")]),
            "first page, at=": _asking(mirrored, [mirrored.path(limit=PAGE, at=old)]),
            "filtered page, at=": _asking(mirrored, _filtered(mirrored, RARE, at=old)),
            "sorted page, at=": _asking(mirrored, _sorted(mirrored, at=old)),
            "search, at=": _asking(mirrored, [mirrored.path(search=word, limit=PAGE, at=old) for word in WORDS]),
            "KPIs, at=": _asking(mirrored, [mirrored.path("kpis", by="category,source", at=old)]),
        }
        theirs = {
            "naive: first page": naive.asking("first_page", 50),
            "naive: filtered page, few match": naive.asking("filtered", 3, category=RARE, month=_month(*MONTHS[4])),
            "naive: filtered page, many match": naive.asking("filtered", 3, category=COMMON, month=_month(*MONTHS[4])),
            "naive: sorted page": naive.asking("sorted", 3),
            "naive: deep page by offset": naive.asking("deep", 3, offset=self._deep_at()),
            "naive: KPIs, live": naive.asking("kpis", 2),
            "naive: KPIs, read of the view": naive.asking("read_view", 50),
            "naive: KPIs, refresh of the view": naive.asking("refresh", 2),
        }
        return product | theirs

    def _deep_at(self) -> int:
        return min(DEEP, self.size // 2)

    def _deep(self) -> str:
        """The path of a page so far down, walked to once."""
        mirrored, seen = self.mirrored, 0
        path = mirrored.path(limit=500)
        while seen < self._deep_at():
            page = mirrored.look(path)
            seen += len(page["items"])
            path = mirrored.path(limit=500, cursor=page["next"])
        return path.replace("limit=500", f"limit={PAGE}")

    def must_agree(self) -> None:
        """The product's merged sums and a filtered page are those that the naive design finds in all its records."""
        theirs = {(row[0], row[1]): row[2:] for row in self._rows("kpis")}
        items = self.mirrored.look(self.mirrored.path("kpis", by="category,source"))["groups"]
        mine = {
            (item["groups"]["category"] or None, item["groups"]["source"] or None): item["merged"] for item in items
        }
        for group, (count, plan, forecast, actual, over) in theirs.items():
            found = mine[group]
            sums = [found["plan_cost"], found["forecast_cost"], found["actual_cost"]]
            assert (found["records"], found["actualised"]) == (count, over), (group, found, count, over)
            for one, other in zip(sums, (plan, forecast, actual), strict=True):
                assert Decimal(one or 0) == round(Decimal(other or 0), 2), (group, found, other)
        wanted = self._rows("filtered_ids", category=RARE, month=_month(*MONTHS[4]))
        path = _filtered(self.mirrored, RARE, limit=500)[4]
        page = self.mirrored.look(path)
        shown = [item["record_id"] for item in page["items"]]
        while page["next"] is not None:
            page = self.mirrored.look(f"{path}&cursor={page['next']}")
            shown += [item["record_id"] for item in page["items"]]
        assert sorted(shown) == sorted(str(self.mirrored.record_id(number)) for (number,) in wanted), "the pages differ"

    def _rows(self, statement: str, **values: object) -> list[tuple[Any, ...]]:
        return self.naive.rows(statement, **values)

    def writing(self, options: Options) -> list[Line]:
        """Saves: many at once, one by one of one and of fifty users, and how soon sums show them."""
        mirrored = self.mirrored
        members = [mirrored.product.member("architect") for _ in range(USERS)]
        before = _bytes(self.product)
        in_one = [self.saved]
        for member in members[: max(1, options.rounds - 1)]:
            token, seconds = mirrored.save(self.drafted, member)
            mirrored.until(token)
            in_one.append(seconds)
        each = (_bytes(self.product) - before) / (len(in_one) - 1) / len(self.drafted)
        ids = list(self.drafted)
        own = [mirrored.saving(member, self._body(ids[place])) for place, member in enumerate(members)]
        self._members = members
        seconds = max(2.0, options.seconds)
        send = partial(Load, self.product.host, self.product.port)
        arms: dict[str, Callable[[], Sample]] = {
            "draft save, one user": lambda: elsewhere(send(own[:1], seconds)),
            "naive: draft save, one client": self.naive.saving(1, seconds, self.size),
            "draft save, 50 users, 100/s": lambda: elsewhere(send(own, seconds, SAVES_PER_SECOND)),
            "draft save, 50 users without pause": lambda: elsewhere(send(own, seconds)),
            "naive: draft save, 16 clients": self.naive.saving(16, seconds, self.size),
        }
        found = interleaved(options.rounds, arms)
        goals = {("draft save, 50 users, 100/s", 0.5): 5.0, ("draft save, 50 users, 100/s", 0.99): 20.0}
        lines = [
            _at_most("save of 5,000 drafts in one request", "s", in_one, 2.0),
            Line(label="a user's draft, events and read models", unit="B/draft", values=[each]),
        ]
        for name, samples in found.items():
            lines += _both(name, samples, goals.get((name, 0.5)), goals.get((name, 0.99)))
        lines.append(_at_most("receipt of a draft to sums with it: p99", "ms", self._shown(options), 50))
        return lines

    def _body(self, id: UUID) -> bytes:
        draft = self.mirrored.drafts_body({id: {"forecast_cost": f"{NUMBER.decode()}"}})
        return as_json(draft)

    def _shown(self, options: Options) -> list[float]:
        """Milliseconds from a receipt to the sums that have it, the slowest of a hundred."""
        mirrored = self.mirrored
        path = mirrored.path("kpis", by="category,source")
        ids = list(self.drafted)
        found = []
        for turn in range(options.rounds):
            waited = []
            for place in range(100):
                token, _ = mirrored.save({ids[place]: {"forecast_cost": f"{turn * 1000 + place + 1}.25"}})
                began = time.perf_counter()
                mirrored.look(path, token)
                waited.append((time.perf_counter() - began) * 1000)
            found.append(percentile(waited, 0.99))
        return found

    def mixed(self, seconds: float) -> list[Line]:
        """100 connections, four filtered pages of 25 to a save, against the same server answering a stored page."""
        mirrored, ids = self.mirrored, list(self.drafted)
        shares = [
            _of_one(mirrored, member, self._body(ids[-1 - place]), place)
            for place, member in enumerate([*self._members, *self._members][:CONNECTIONS])
        ]
        requests = [request for turn in zip(*shares, strict=True) for request in turn]
        path = _filtered(mirrored, COMMON, limit=25)[0]
        seen = mirrored.look(path)
        assert len(seen["items"]) == min(25, seen["meta"]["matching"]), seen["meta"]
        page = as_json(seen)
        stored = self._folder / "page.json"
        stored.write_bytes(page)
        send = partial(Load, requests=requests, seconds=seconds, connections=CONNECTIONS)
        with fixed("litestar", str(stored)) as port:
            own = elsewhere(send(self.product.host, self.product.port))
            theirs = elsewhere(send("127.0.0.1", port))
        return [
            Line(label="100 connections, pages and saves", unit="/s", values=[own.rate]),
            Line(label="100 connections, a stored page", unit="/s", values=[theirs.rate]),
            Line(label="pages and saves / a stored page", unit="×", values=[own.rate / theirs.rate], goal=0.25),
            _at_most("100 connections, p99", "ms", [own.milliseconds_at(0.99)], 250),
        ]

    def later(self) -> list[Line]:
        """An export of some months later: a hundredth differs."""
        records.write_csv(self._folder / "export-2.csv", self.size, state=1)
        with watched(self.product) as most:
            run = self.mirrored.sync()
        counts = run["counts"]
        changed = counts["inserted"] + counts["updated"] + counts["removed"]
        assert self.size / 200 < changed < self.size / 50, counts
        return [
            Line(label="sync, 1 % changed, with its fetch", unit="s", values=[run["seconds"]]),
            Line(label="sync, 1 % changed: records", unit="", values=[float(changed)]),
            Line(label="sync, 1 % changed: memory together", unit="MiB", values=[most["together"] / MEBIBYTE]),
        ]


def _reading(companies: Sequence[_Company], options: Options) -> list[Line]:
    largest = companies[-1]
    arms = {f"{company.size:,}: {name}": arm for company in companies for name, arm in company.arms().items()}
    arms |= largest.more_arms()
    for arm in arms.values():
        arm()  # plans are made, pages come into memory
    found = interleaved(options.rounds, arms)
    lines = []
    goals = {"first page": 15.0, "KPIs": 15.0} | dict.fromkeys(("deep page", "search"), 30.0)
    goals |= dict.fromkeys(("filtered page, few match", "filtered page, many match", "sorted page"), 20.0)
    for name, samples in found.items():
        of = name.removeprefix(f"{largest.size:,}: ")
        goal = 100.0 if name.endswith("at=") else goals.get(of)
        lines += _both(name, samples, None, goal)
    return [*lines, *_ratios(largest, found), *_growth(companies, found)]


def _ratios(largest: _Company, found: Mapping[str, Sequence[Sample]]) -> Iterator[Line]:
    pairs = [
        ("filtered page, few match", "naive: filtered page, few match", "filtered page", 40),
        ("sorted page", "naive: sorted page", "sorted page", 40),
        ("KPIs", "naive: KPIs, live", "KPIs", 200),
        ("KPIs", "naive: KPIs, refresh of the view", "refresh for KPIs", None),
    ]
    for mine, theirs, short, goal in pairs:
        own = percentiles(found[f"{largest.size:,}: {mine}"], 0.5)
        values = ratios(percentiles(found[theirs], 0.5), own)
        yield Line(label=f"naive's p50 / ours: {short}", unit="×", values=values, goal=goal)


def _growth(companies: Sequence[_Company], found: Mapping[str, Sequence[Sample]]) -> Iterator[Line]:
    """Times at the largest size in terms of those at the smallest."""
    if len(companies) > 1:
        least, most = companies[0].size, companies[-1].size
        for name in companies[0].arms():
            values = ratios(percentiles(found[f"{most:,}: {name}"], 0.5), percentiles(found[f"{least:,}: {name}"], 0.5))
            yield Line(label=f"p50 of {most:,} / of {least:,}: {name}", unit="×", values=values)


def _asking(mirrored: Mirrored, paths: Sequence[str]) -> Callable[[], Sample]:
    requests = mirrored.asks([paths[place % len(paths)] for place in range(QUESTIONS)])
    return lambda: mirrored.asked(requests)


def _filtered(mirrored: Mirrored, category: str, limit: int = PAGE, at: int | None = None) -> list[str]:
    """One category in one month of forecast start, for each of twelve months."""
    return [
        mirrored.path(
            category=category,
            forecast_start_least=f"{year}-{month:02}-01",
            forecast_start_most=f"{year}-{month:02}-{calendar.monthrange(year, month)[1]}",
            limit=limit,
            at=at,
        )
        for year, month in MONTHS
    ]


def _sorted(mirrored: Mirrored, at: int | None = None) -> list[str]:
    return [
        mirrored.path(sort=field, direction=direction, limit=PAGE, at=at)
        for field in SORTS
        for direction in ("ascending", "descending")
    ]


def _of_one(mirrored: Mirrored, member: Member, body: bytes, place: int) -> list[bytes]:
    """Five requests: four pages, and a save."""
    paths = _filtered(mirrored, COMMON, limit=25)
    pages = mirrored.asks([paths[(place + turn) % len(paths)] for turn in range(4)], member)
    return [*pages, mirrored.saving(member, body)]


def _month(year: int, month: int) -> str:
    return f"{year}-{month:02}"


def _both(name: str, samples: Sequence[Sample], p50: float | None, p99: float | None) -> list[Line]:
    middle, most = percentiles(samples, 0.5), percentiles(samples, 0.99)
    return [
        Line(label=f"{name}: p50", unit="ms", values=middle, goal=p50, at_most=True),
        Line(label=f"{name}: p99", unit="ms", values=most, goal=p99, at_most=True),
    ]


def _at_most(label: str, unit: str, values: list[float], goal: float) -> Line:
    return Line(label=label, unit=unit, values=values, goal=goal, at_most=True)


@contextmanager
def _database(administration: str) -> Iterator[str]:
    """A database beside the product's, on the same server. Gives its URL."""
    name = f"naive_{uuid4().hex[:12]}"
    with psycopg.connect(administration, autocommit=True) as connection:
        connection.execute(f"create database {name}".encode())
    try:
        yield make_conninfo("", **{**conninfo_to_dict(administration), "dbname": name})
    finally:
        with psycopg.connect(administration, autocommit=True) as connection:
            connection.execute(f"drop database {name} with (force)".encode())


def _bytes(product: Product) -> int:
    """All that the product's database takes on disk, vacuumed as it would be within minutes."""
    with psycopg.connect(product.servers.database_url, autocommit=True) as connection:
        connection.execute(b"vacuum analyze")
        row = connection.execute(b"select pg_database_size(current_database())").fetchone()
    assert row is not None
    return int(row[0])


def _rebuilt(product: Product, loaded: float) -> list[Line]:
    """The records' read model from the log, for all companies, beside the live one."""
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "cairn", "rebuild", "pfa"],
        check=True,
        cwd=ROOT,
        env=product.tool_environment(),
        stdout=subprocess.DEVNULL,
    )
    seconds = time.perf_counter() - began
    return [
        Line(label="rebuild of the read model, all sizes", unit="s", values=[seconds]),
        _at_most("rebuild / first loads", "×", [seconds / loaded], 1),
    ]


def _notes(companies: Sequence[_Company], options: Options) -> list[str]:
    loads = ", ".join(f"{each.size:,} in {each.loaded:.0f} s (naive {each.copied:.0f} s)" for each in companies)
    sizes = ", ".join(f"{company.size:,}" for company in companies)
    notes = [
        f"Records are synthetic: {sizes}, each size in a company of its own; the spreads are those of published data.",
        "The product answers over HTTP; the naive design's times are those of its SQL alone, filtered and sorted by "
        "merged values, as the product does.",
        "Its merged sums by category and source and its filtered page equalled those of the naive design.",
        f"Loads: {loads}.",
    ]
    if not options.full:
        notes.append("The goals are for 1,000,000 records: --full.")
    return notes
