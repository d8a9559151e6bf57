"""Portfolios of construction projects that nobody ever built, from a seed: the same seed, the same commands.

Sizes, prices and outcomes are drawn from ranges that building work shows; all of it is labelled synthetic.
"""

import random
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from cairn.client import Command

IDS = UUID("9d3b5f0e-2c7a-5e61-8b39-51c4d7a90e42")
FIRST_DAY = date(2023, 1, 2)
CODE_SET = "Synthetic"
EDITION = "1"
CURRENCY = "USD"


class Item(NamedTuple):
    """Something priced: `price` and `quantity` are the ranges a line is drawn from."""

    code: str
    description: str
    unit: str
    cost_type: str
    price: tuple[float, float]
    quantity: tuple[int, int]


class Kind(NamedTuple):
    """A kind of project: what it may be called, and how large it is against a school."""

    building_type: str
    names: tuple[str, ...]
    size: float


class Risk(NamedTuple):
    """What may happen, how likely between which bounds, and what can be done."""

    title: str
    category: str
    chances: tuple[float, float]
    response: str


ITEMS = (
    Item("01 50 00", "Temporary facilities and site office", "MONTH", "other", (9_000, 24_000), (6, 24)),
    Item("01 71 23", "Surveying and setting out", "LS", "subcontract", (8_000, 60_000), (1, 1)),
    Item("02 41 13", "Demolition of existing paving", "SY", "subcontract", (4.5, 14), (400, 9_000)),
    Item("02 41 16", "Demolition of existing structure", "SF", "subcontract", (5, 16), (1_000, 30_000)),
    Item("03 11 00", "Formwork to walls and slabs", "SF", "labour", (7.5, 19), (2_000, 60_000)),
    Item("03 21 00", "Reinforcing steel, grade 60", "LB", "material", (0.92, 1.75), (10_000, 400_000)),
    Item("03 30 00", "Cast-in-place concrete, 4000 psi", "CY", "material", (148, 245), (100, 4_500)),
    Item("03 35 00", "Concrete finishing", "SF", "labour", (0.95, 2.6), (5_000, 90_000)),
    Item("03 41 00", "Precast plank, 8 inch", "SF", "subcontract", (13, 24), (1_000, 40_000)),
    Item("04 22 00", "Concrete masonry units, 8 inch", "SF", "subcontract", (14, 27), (800, 30_000)),
    Item("05 12 00", "Structural steel framing", "TON", "subcontract", (3_900, 6_400), (20, 700)),
    Item("05 31 00", "Steel roof deck", "SF", "subcontract", (3.8, 7.4), (2_000, 60_000)),
    Item("06 10 00", "Rough carpentry", "MBF", "labour", (1_450, 3_100), (2, 60)),
    Item("07 21 00", "Rigid insulation, 4 inch", "SF", "material", (2.1, 4.9), (3_000, 70_000)),
    Item("07 54 00", "Thermoplastic roofing membrane", "SF", "subcontract", (7, 15), (2_000, 60_000)),
    Item("08 11 00", "Hollow metal door and frame", "EA", "material", (780, 1_650), (10, 220)),
    Item("08 44 00", "Curtain wall", "SF", "subcontract", (85, 160), (300, 14_000)),
    Item("09 21 00", "Gypsum board partitions", "SF", "subcontract", (6.5, 13), (4_000, 120_000)),
    Item("09 51 00", "Acoustical ceilings", "SF", "subcontract", (4.4, 9.5), (3_000, 80_000)),
    Item("09 65 00", "Resilient flooring", "SF", "subcontract", (4.8, 10.5), (2_000, 60_000)),
    Item("09 91 00", "Painting", "SF", "labour", (0.85, 2.4), (8_000, 200_000)),
    Item("14 21 00", "Electric traction elevator", "EA", "subcontract", (165_000, 320_000), (1, 6)),
    Item("21 13 00", "Sprinkler system", "SF", "subcontract", (3.6, 7.8), (8_000, 150_000)),
    Item("22 11 00", "Domestic water distribution", "LF", "subcontract", (28, 74), (300, 9_000)),
    Item("23 31 00", "Sheet metal ductwork", "LB", "subcontract", (9.5, 16), (4_000, 160_000)),
    Item("23 73 00", "Air-handling unit, 20,000 cfm", "EA", "equipment", (92_000, 210_000), (1, 12)),
    Item("26 05 19", "Building wire and cable", "LF", "subcontract", (2.2, 6.8), (10_000, 300_000)),
    Item("26 24 16", "Panelboards", "EA", "material", (2_900, 9_800), (6, 90)),
    Item("26 51 00", "Interior lighting fixture", "EA", "material", (165, 520), (60, 2_200)),
    Item("27 10 00", "Structured cabling drop", "EA", "subcontract", (185, 420), (40, 1_800)),
    Item("31 22 00", "Grading", "CY", "equipment", (5.5, 15), (1_000, 60_000)),
    Item("31 23 16", "Excavation", "CY", "equipment", (7, 21), (500, 50_000)),
    Item("31 23 23", "Structural backfill", "CY", "material", (24, 52), (300, 20_000)),
    Item("31 63 00", "Drilled piers", "LF", "subcontract", (95, 240), (200, 6_000)),
    Item("32 11 23", "Aggregate base course", "TON", "material", (21, 44), (300, 24_000)),
    Item("32 12 16", "Asphalt paving", "TON", "subcontract", (88, 152), (200, 18_000)),
    Item("32 13 13", "Concrete sidewalk", "SF", "subcontract", (7.2, 13.5), (500, 24_000)),
    Item("32 92 00", "Seeding", "ACRE", "subcontract", (2_400, 6_800), (1, 30)),
    Item("33 11 00", "Water main, 8 inch", "LF", "subcontract", (78, 165), (200, 8_000)),
    Item("33 41 00", "Storm sewer, 24 inch", "LF", "subcontract", (92, 210), (150, 6_000)),
)
KINDS = (
    Kind("school", ("Elementary School", "High School Addition", "Middle School Gymnasium"), 1.0),
    Kind("hospital", ("Outpatient Clinic", "Hospital Tower", "Surgery Suite"), 2.4),
    Kind("office", ("Office Building", "Headquarters Renovation", "Data Hall"), 1.4),
    Kind("housing", ("Senior Housing", "Student Residence", "Mixed-Use Block"), 1.2),
    Kind("highway", ("Resurfacing", "Interchange Ramp", "Bridge Replacement"), 0.9),
    Kind("water", ("Pump Station", "Treatment Plant Upgrade", "Reservoir Lining"), 1.7),
)
PLACES = (
    "Albright", "Bexley", "Corvane", "Dunmore", "Elkhorn", "Fairmount", "Glenrose", "Harlow", "Ironwood", "Juniper",
    "Kestrel", "Lakeview", "Marlow", "Northgate", "Oakdale", "Pinecrest", "Quarry Hill", "Riverbend", "Stonebridge",
    "Thornton", "Upland", "Vernon", "Westfield", "Yarrow",
)  # fmt: skip
RISKS = (
    Risk("Unsuitable soil below the footings", "ground", (0.1, 0.45), "excavate and replace"),
    Risk("Steel price rises before purchase", "market", (0.2, 0.6), "buy early"),
    Risk("Utility relocation is late", "third parties", (0.15, 0.5), "agree dates with the utility"),
    Risk("Winter work on concrete", "weather", (0.2, 0.5), "heated enclosures"),
    Risk("Key subcontractor fails", "supply", (0.03, 0.12), "second quotation"),
    Risk("Design changes after award", "design", (0.25, 0.6), "freeze packages early"),
    Risk("Hazardous material found in demolition", "ground", (0.05, 0.3), "survey before demolition"),
    Risk("Labour shortage in finishing trades", "market", (0.1, 0.4), "longer programme"),
)
OUTCOMES = (
    "draft",
    "in-review",
    "submitted",
    "submitted",
    "lost",
    "lost",
    "awarded",
    "finished",
    "finished",
    "finished",
)

"""A project ends in one of these; some are likelier than others."""
SPENT = ("indirect", "overhead")
"""Mark-ups that pay for something; a contingency is for what may never come."""
ADDED_LATER = 10_000
"""The number of the line that a bid has and the schematic estimate had not."""


def project_id(seed: int, number: int) -> UUID:
    """The id of the portfolio's project of this number, from 0."""
    return uuid5(IDS, f"{seed}/{number}")


def batches(projects: int, seed: int, lines: int = 30) -> Iterator[list[Command]]:
    """The commands of one project after the other; `lines` is how many an estimate has on average.

    A project's commands depend on the seed and its number alone, not on how many there are.
    """
    for number in range(projects):
        yield list(_Project(number, seed, lines).commands())


class _Project:
    """One project being made up: what was drawn for it, and its lines as they stand."""

    def __init__(self, number: int, seed: int, lines: int) -> None:
        self.draw = random.Random(f"{seed}/{number}")  # noqa: S311  # figures, no secrets
        self.id = project_id(seed, number)
        self.seed = seed
        self.kind = self.draw.choice(KINDS)
        self.place = PLACES[number % len(PLACES)]
        self.name = f"{self.place} {self.draw.choice(self.kind.names)} {number + 1:04d}"
        self.outcome = self.draw.choice(OUTCOMES)
        self.began_on = FIRST_DAY + timedelta(days=self.draw.randrange(900))
        self.lines = [self._line(index) for index in range(max(3, round(lines * self.draw.uniform(0.5, 1.5))))]
        self.markups = self._markups()
        self.first, self.bid = self._named("version 1"), self._named("version 2")

    def commands(self) -> Iterator[Command]:
        body = {
            "name": self.name,
            "building_type": self.kind.building_type,
            "location": self.place,
            "metadata": {"synthetic": f"generated from seed {self.seed}"},
        }
        yield Command("project", self.id, "create-project", body)
        yield from self._first_version()
        yield from self._bid()
        yield from self._ending()

    def _named(self, name: str) -> UUID:
        return uuid5(self.id, name)

    def _started(self, title: str, on: date, aace_class: int, basis: str) -> dict[str, Any]:
        return {
            "project_id": str(self.id),
            "currency": CURRENCY,
            "title": title,
            "effective_on": str(on),
            "aace_class": aace_class,
            "basis": f"Synthetic, generated from seed {self.seed}: {basis}.",
        }

    def _first_version(self) -> Iterator[Command]:
        started = self._started("Schematic estimate", self.began_on, 4, "schematic design")
        yield Command("estimate", self.first, "start-estimate", started)
        yield Command("estimate", self.first, "import-lines", {"lines": [dict(line) for line in self.lines]})
        yield Command("estimate", self.first, "set-markups", {"markups": self.markups})
        for index, risk in enumerate(self.draw.sample(RISKS, self.draw.randrange(2, 6))):
            yield Command("estimate", self.first, "add-risk", self._risk(index, risk))
        margin = _fraction(self.draw.uniform(0.04, 0.15))
        yield Command("estimate", self.first, "change-margin", {"target_margin": margin})
        yield Command("estimate", self.first, "submit-estimate", {})

    def _bid(self) -> Iterator[Command]:
        """Prices move, a line goes, another comes."""
        on = self.began_on + timedelta(days=self.draw.randrange(20, 90))
        started = self._started("Bid", on, 2, "construction documents, quotations for the larger trades")
        yield Command("estimate", self.bid, "start-estimate", started | {"parent_id": str(self.first)})
        for line in self.draw.sample(self.lines, max(1, len(self.lines) // 4)):
            line["unit_price"] = _price(float(line["unit_price"]) * self.draw.uniform(0.88, 1.17))
            revised = {"line_id": line["line_id"], "unit_price": line["unit_price"]}
            yield Command("estimate", self.bid, "revise-line", revised)
        gone = self.lines.pop(self.draw.randrange(len(self.lines)))
        yield Command("estimate", self.bid, "remove-line", {"line_id": gone["line_id"]})
        self.lines.append(self._line(ADDED_LATER))
        yield Command("estimate", self.bid, "add-line", self.lines[-1])

    def _ending(self) -> Iterator[Command]:
        if self.outcome == "draft":
            return
        if self.outcome == "in-review":
            yield Command("estimate", self.bid, "change-estimate-status", {"status": "in-review"})
            return
        yield Command("estimate", self.bid, "submit-estimate", {})
        if self.outcome == "submitted":
            return
        status = "lost" if self.outcome == "lost" else "awarded"
        reason = "A lower bid." if status == "lost" else "Lowest responsive bid."
        yield Command("estimate", self.bid, "change-estimate-status", {"status": status, "reason": reason})
        yield Command("project", self.id, "change-status", {"status": status})
        if self.outcome == "finished":
            yield from self._actuals()
            yield Command("project", self.id, "change-status", {"status": "completed"})

    def _actuals(self) -> Iterator[Command]:
        """What it cost in the end: each line at its quantity and price, give or take, and a bias of the whole."""
        own = self._named("actuals")
        yield Command("actuals", own, "open-actuals", {"project_id": str(self.id), "baseline_id": str(self.bid)})
        bias = self.draw.gauss(1.03, 0.07)
        entries = [self._booked(line, bias) for line in self.lines]
        entries += [self._booked_markup(markup, bias) for markup in self.markups if markup["kind"] in SPENT]
        yield Command("actuals", own, "record-costs", {"entries": entries})
        days = self.draw.randrange(180, 700)
        yield Command("actuals", own, "set-duration", {"days": days})
        finished_on = self.began_on + timedelta(days=100 + days)
        yield Command("actuals", own, "finish-actuals", {"finished_on": str(finished_on)})

    def _booked(self, line: dict[str, Any], bias: float) -> dict[str, Any]:
        measured = 1.0 if line["unit"] == "LS" else round(float(line["quantity"]) * self.draw.gauss(1, 0.06), 2)
        amount = measured * float(line["unit_price"]) * bias * self.draw.gauss(1, 0.05)
        kept = ("code", "code_set", "code_edition", "cost_type", "unit")
        return {name: line[name] for name in kept} | {
            "entry_id": str(uuid5(self.id, f"booked {line['line_id']}")),
            "quantity": f"{measured:g}" if measured == 1 else f"{measured:.2f}",
            "amount": f"{amount:.2f}",
            "booked_on": str(self.began_on + timedelta(days=100 + self.draw.randrange(180))),
        }

    def _booked_markup(self, markup: dict[str, Any], bias: float) -> dict[str, Any]:
        """What running the site and the office took: roughly what the mark-up was to bring."""
        amount = self._base() * float(markup["rate"]) * bias * self.draw.gauss(1, 0.1)
        return {
            "entry_id": str(uuid5(self.id, f"booked {markup['markup_id']}")),
            "markup_id": markup["markup_id"],
            "cost_type": "other",
            "amount": _price(amount),
            "booked_on": str(self.began_on + timedelta(days=300)),
        }

    def _line(self, index: int) -> dict[str, Any]:
        item = self.draw.choice(ITEMS)
        low, high = item.quantity
        quantity = 1 if item.unit == "LS" else max(1, round(self.draw.triangular(low, high, low) * self.kind.size))
        return {
            "line_id": str(self._named(f"line {index}")),
            "wbs_path": [f"Division {item.code[:2]}"],
            "description": item.description,
            "quantity": str(quantity),
            "unit": item.unit,
            "unit_price": _price(self.draw.uniform(*item.price)),
            "code": item.code,
            "code_set": CODE_SET,
            "code_edition": EDITION,
            "cost_type": item.cost_type,
            "firmness": self.draw.choice(("firm", "firm", "firm", "plug")),
        }

    def _markups(self) -> list[dict[str, Any]]:
        def markup(kind: str, name: str, on: str, rates: tuple[float, float]) -> dict[str, Any]:
            rate = _fraction(self.draw.uniform(*rates))
            return {"markup_id": str(self._named(name)), "kind": kind, "name": name, "on": on, "rate": rate}

        return [
            markup("indirect", "General conditions", "direct", (0.05, 0.09)),
            {"kind": "risk"},
            markup("contingency", "Design contingency", "direct", (0.02, 0.06)),
            markup("overhead", "Home-office overhead", "running", (0.02, 0.05)),
        ]

    def _risk(self, index: int, risk: Risk) -> dict[str, Any]:
        low = self._base() * self.draw.uniform(0.002, 0.01)
        high = low * self.draw.uniform(1.5, 4)
        chance = self.draw.uniform(*risk.chances)
        response = {
            "kind": "mitigate",
            "strategy": risk.response,
            "cost": _price(low * chance * self.draw.uniform(0.2, 1.2)),
            "residual_probability": _fraction(chance * self.draw.uniform(0.1, 0.6)),
            "residual_low": _price(low * 0.5),
            "residual_high": _price(high * 0.7),
        }
        return {
            "risk_id": str(self._named(f"risk {index}")),
            "kind": "threat",
            "title": risk.title,
            "category": risk.category,
            "probability": _fraction(chance),
            "low": _price(low),
            "likely": _price(low + (high - low) * self.draw.uniform(0.2, 0.6)),
            "high": _price(high),
            "response": response,
        }

    def _base(self) -> float:
        return sum(float(line["quantity"]) * float(line["unit_price"]) for line in self.lines)


def _price(amount: float) -> str:
    return f"{amount:.2f}"


def _fraction(part: float) -> str:
    return f"{part:.4f}"
