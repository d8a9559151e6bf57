"""An estimator's day on an estimate of 10,000 lines, over HTTP: import, new version, comparison, ten people at once."""

import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import psycopg

from bench import traffic
from bench.client import request
from bench.ground import Ground
from bench.load import NUMBER, Load, elsewhere
from bench.measure import Line, Options, Report, Sample, percentiles
from bench.product import Product, line_body, line_id
from cairn import generate
from cairn.client import Client, Command, token_of

TITLE = "an estimate of 10,000 lines: import, new version, comparison, ten users"
LINES = 10_000
USERS = 10
EDITS_PER_SECOND = 100
"""Of all users together: one auto-save of each every tenth of a second."""


def measure(ground: Ground, options: Options) -> Report:  # noqa: ARG001  it runs servers of its own
    """Each piece as often as there are rounds, on new versions each time."""
    with Product() as product:
        [first] = product.found_company(1)
        with Client(product.url, product.token) as owner:
            lines_of_first = {"lines": [_line(index) for index in range(LINES)]}
            owner.send(Command("estimate", first, "import-lines", lines_of_first))
            estimating = _Estimating(product, owner, first)
            rounds = [estimating.round(options.seconds) for _ in range(options.rounds)]
            evenly, at_once = [each.evenly for each in rounds], [each.at_once for each in rounds]
    lines = [
        _at_most("import of 10,000 lines", "ms", [each.imported * 1000 for each in rounds], 1_000),
        _at_most("new version of 10,000 lines", "ms", [each.copied * 1000 for each in rounds], 500),
        _at_most("its history on disk / the copied lines' JSON", "", [each.grown for each in rounds], 1),
        _at_most("comparison, 100 lines differ", "ms", [each.compared_few * 1000 for each in rounds], 300),
        _at_most("comparison, every line differs", "ms", [each.compared_all * 1000 for each in rounds], 300),
        _at_most("revise a line, 100/s by ten users, p50", "ms", percentiles(evenly, 0.5), 5),
        _at_most("revise a line, 100/s by ten users, p99", "ms", percentiles(evenly, 0.99), 25),
        Line(label="revise a line, ten users without pause, p50", unit="ms", values=percentiles(at_once, 0.5)),
        Line(label="revise a line, ten users without pause", unit="/s", values=[each.rate for each in at_once]),
    ]
    notes = ["After each round the total was read back at the last receipt and equalled the sum of the lines."]
    return Report(name="estimating", title=TITLE, lines=lines, notes=notes)


def _at_most(label: str, unit: str, values: list[float], goal: float) -> Line:
    return Line(label=label, unit=unit, values=values, goal=goal, at_most=True)


def _line(index: int) -> dict[str, object]:
    """Lines that differ as those of an estimate do: what is copied would otherwise be packed to nothing on disk."""
    item = generate.ITEMS[index * 7 % len(generate.ITEMS)]
    return line_body(line_id(0, index)) | {
        "description": f"{item.description}, area {index * 7919 % 9973}",
        "quantity": f"{index * 104729 % 90_000 + 1}.{index % 100:02}",
        "unit_price": f"{index * 15485863 % 50_000 / 100 + 0.5:.2f}",
        "code": item.code,
        "note": f"Sheet {index * 31 % 97}, detail {index * 17 % 29}",
    }


class _Round:
    """What one round came to, in seconds; `grown` is a ratio."""

    imported: float
    copied: float
    grown: float
    compared_few: float
    compared_all: float
    evenly: Sample
    at_once: Sample


class _Estimating:
    """One owner at work on versions of one project."""

    def __init__(self, product: Product, owner: Client, first: UUID) -> None:
        self.product = product
        self.owner = owner
        self.first = first
        self.project = str(owner.get(f"/estimates/{first}", newer_than=None)["project_id"])

    def round(self, seconds: float) -> _Round:
        found = _Round()
        other, found.imported = self._imported()
        copy, found.copied, found.grown = self._copied()
        last = self._revised(copy, 100)
        found.compared_few = self._compared(copy, last, 100)
        found.compared_all = self._compared(other, last, LINES)
        found.evenly = self._edited(copy, seconds, EDITS_PER_SECOND)
        found.at_once = self._edited(copy, seconds, None)
        self._must_add_up(copy)
        return found

    def _started(self, own: UUID, **more: str) -> Command:
        return Command("estimate", own, "start-estimate", {"project_id": self.project, "currency": "USD"} | more)

    def _imported(self) -> tuple[UUID, float]:
        """An estimate whose every line has another price than the first one's."""
        own = uuid4()
        self.owner.send(self._started(own))
        lines = [_line(index) | {"unit_price": "6.257"} for index in range(LINES)]
        command = Command("estimate", own, "import-lines", {"lines": lines})
        began = time.perf_counter()
        self.owner.send(command)
        return own, time.perf_counter() - began

    def _copied(self) -> tuple[UUID, float, float]:
        own, before = uuid4(), self._log_size()
        command = self._started(own, parent_id=str(self.first))
        began = time.perf_counter()
        self.owner.send(command)
        seconds = time.perf_counter() - began
        after = self._log_size()
        return own, seconds, (after[0] - before[0]) / (after[1] - before[1])

    def _log_size(self) -> tuple[int, int]:
        """Bytes that the log takes on disk with its indexes, and bytes of JSON in it."""
        statement = "select pg_total_relation_size('cairn.events'), sum(octet_length(payload)) from cairn.events"
        with psycopg.connect(self.product.servers.database_url) as connection:
            row = connection.execute(statement).fetchone()
        assert row is not None
        return int(row[0]), int(row[1])

    def _revised(self, own: UUID, count: int) -> str:
        commands = [
            Command("estimate", own, "revise-line", {"line_id": str(line_id(0, index)), "unit_price": "7.5"})
            for index in range(count)
        ]
        return token_of(self.owner.send_all(commands)[-1])

    def _compared(self, own: UUID, newer_than: str, differing: int) -> float:
        path = f"/estimates/{self.first}/compare/{own}"
        self.owner.get(f"/estimates/{own}", newer_than=newer_than)
        began = time.perf_counter()
        answer: dict[str, Any] = self.owner.get(path)
        seconds = time.perf_counter() - began
        if answer["lines_differing"] != differing:
            raise RuntimeError(f"{answer['lines_differing']} lines differ, and should {differing}")
        return seconds

    def _edited(self, own: UUID, seconds: float, rate_max: float | None) -> Sample:
        """Every user on lines of their own."""
        product = self.product
        requests = [
            request(
                "POST",
                f"/commands/estimate/{own}/revise-line",
                product.headers(),
                traffic.as_json({"line_id": str(line_id(0, 5_000 + user)), "quantity": NUMBER.decode()}),
            )
            for user in range(USERS)
        ]
        return elsewhere(Load(product.host, product.port, requests, seconds, rate_max))

    def _must_add_up(self, own: UUID) -> None:
        head = self.owner.get(f"/estimates/{own}")
        total = sum((Decimal(line["extension"]) for line in self._lines(own)), Decimal(0))
        if Decimal(head["base_total"]) != total:
            raise RuntimeError(f"the total is {head['base_total']}, and the lines add up to {total}")

    def _lines(self, own: UUID) -> Sequence[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        query: dict[str, Any] = {}
        while True:
            page = self.owner.get(f"/estimates/{own}/lines", **query)
            found += page["items"]
            if page["next"] is None:
                return found
            query = {"cursor": page["next"]}
