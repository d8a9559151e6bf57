"""A company of the size the goals name: projects, estimate versions and lines as contractors have them."""

import random
import time
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from itertools import accumulate
from typing import NamedTuple
from uuid import UUID

import psycopg
from uuid_utils.compat import uuid7

from bench.appends import unit
from domain.decider import Event
from domain.estimate_events import EstimateStarted, LineRevised, LinesImported
from domain.lines import Counted, Line, LineChange, in_chunks
from domain.project import ProjectCreated, VersionNumbered
from eventstore import codec, log
from eventstore.db import Database, role_url
from eventstore.log import Appended, Unit
from projections.engine import Engine
from projections.projection import Projection
from projections.registry import FOLLOWED
from projections.settings import EngineSettings

UNITS_AT_ONCE = 200
_WHAT = [
    "CONCRETE PAVEMENT",
    "BITUMINOUS PAVEMENT",
    "CONCRETE CURB & GUTTER",
    "CORRUGATED STEEL PIPE CULVERT",
    "COMMON EXCAVATION",
    "CONSTRUCT CONCRETE WALK",
    "AGGREGATE BASE (C.V.) CLASS 5",
    "TRAFFIC CONTROL",
    "SILT FENCE, TYPE MS",
    "STORM DRAIN INLET PROTECTION",
    "COMPACTED GRANULAR BORROW",
    "COUPLING BAND",
    'CONDUIT 2" NON-METALLIC',
    "CABLE 6/C NO. 14",
    "CONNECT TO EXISTING STORM SEWER",
    "CASTING ASSEMBLY",
    "CONCRETE MEDIAN",
    "CONTRACTOR'S QUALITY CONTROL",
    "TURF ESTABLISHMENT",
    "TOPSOIL BORROW",
    "CHAIN LINK FENCE 8'",
    "HANDRAIL REPAIR",
    "PRECAST BOX CULVERT 4'-0\" X 6'-0\"",
    'MILL-AND-OVERLAY 1.5"',
    "WATER MAIN, D.I. CL. 52",
    "GATE VALVE & BOX",
    "HYDRANT",
    "RIPRAP CL. III",
    "GEOTEXTILE FABRIC TYPE 4",
    "STRUCTURAL STEEL (3309)",
    "CEMENT STABILISED BASE",
    "TRENCH DRAIN",
    "LUMINAIRE, L.E.D.",
    "SIGN PANELS TYPE C",
    "PAVEMENT MESSAGE PREFORMED THERMOPLASTIC",
    "CAFÉ TERRACE PAVERS",
]
_HOW = [
    "REMOVE",
    "INSTALL",
    "SALVAGE",
    "FURNISH",
    "ADJUST",
    "RELOCATE",
    "REPAIR",
    "SAWCUT",
    "HAUL & DISPOSE OF",
    "SUPPLY AND PLACE",
]
_WHERE = [
    "Otter Tail",
    "Hennepin",
    "Ramsey",
    "St. Louis",
    "Clay",
    "Lac qui Parle",
    "Blue Earth",
    "Cook",
    "Crow Wing",
    "Mille Lacs",
    "Yellow Medicine",
]
_UNITS = ("SY", "CY", "LF", "EACH", "TON", "LS", "GAL", "SF", "ACRE", "LB")


class Sizes(NamedTuple):
    """How much there is. Versions and lines are spread evenly."""

    projects: int = 5_000
    estimates: int = 10_000
    lines: int = 500_000


class Item(NamedTuple):
    """An entry of the catalogue that lines are taken from; a few are in nearly every estimate, most in few."""

    code: str
    description: str
    unit: str
    price: Decimal


def catalogue(count: int = 2_000) -> list[Item]:
    """The same at each call."""
    source = random.Random(17)
    items = [Item("2021501/00010", "MOBILIZATION", "LS", Decimal(25_000))]
    while len(items) < count:
        text = f"{source.choice(_HOW)} {source.choice(_WHAT)}" if source.random() < 0.7 else source.choice(_WHAT)
        if source.random() < 0.5:
            text += f' {source.randrange(1, 60)}" TYPE {source.choice("ABCDEFGH")}{source.randrange(1000)}'
        code = f"{source.randrange(2_000_000, 2_600_000)}/{source.randrange(1_000):05d}"
        items.append(Item(code, text, source.choice(_UNITS), Decimal(source.randrange(100, 90_000)).scaleb(-2)))
    return items


class Chosen:
    """Items by how often they are used: the tenth of them a tenth as often as the first."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self._weights = list(accumulate(1 / (place + 1) ** 0.7 for place in range(len(items))))

    def some(self, count: int, source: random.Random) -> list[Item]:
        """So many of them, all different."""
        chosen: dict[Item, None] = {}
        while len(chosen) < count:
            chosen[self.items[bisect(self._weights, source.random() * self._weights[-1])]] = None
        return list(chosen)


async def populate(url: str, tenant: UUID, sizes: Sizes, say: Callable[[int], None]) -> int:
    """Appends the company's events through the log's own function, in large batches. Answers the number of lines."""
    lines = 0
    waiting: list[Unit] = []
    async with await psycopg.AsyncConnection.connect(
        role_url(url, "cairn_writer", None), autocommit=True, prepare_threshold=1
    ) as connection:
        log.register(connection)
        for project in _projects(sizes):
            waiting += project.units
            lines += project.lines
            if len(waiting) >= UNITS_AT_ONCE:
                await _append(connection, tenant, waiting)
                waiting = []
                say(lines)
        await _append(connection, tenant, waiting)
    return lines


async def project(url: str, tenant: UUID, models: Sequence[Projection] = FOLLOWED) -> dict[str, float]:
    """Brings read models up to the end of the company's log, one after the other. Answers the seconds each took."""
    settings = EngineSettings()
    database = Database(
        role_url(url, "cairn_projector", None), name="projector", connections_max=settings.projector_connections_max
    )
    await database.open()
    took: dict[str, float] = {}
    try:
        for model in models:
            engine = Engine(database, [model], settings)
            await engine.prepare()
            began = time.perf_counter()
            await engine.advance(tenant)
            took[model.name] = time.perf_counter() - began
    finally:
        await database.close()
    return took


class _Project(NamedTuple):
    units: list[Unit]
    lines: int


def _projects(sizes: Sizes) -> Iterator[_Project]:
    source, chosen = random.Random(19), Chosen(catalogue())
    versions, rest = divmod(sizes.estimates, sizes.projects)
    each = sizes.lines // sizes.estimates
    for number in range(sizes.projects):
        yield _project(number, versions + (number < rest), each, chosen, source)


def _project(number: int, versions: int, lines: int, chosen: Chosen, source: random.Random) -> _Project:
    project_id = uuid7()
    county = source.choice(_WHERE)
    created = ProjectCreated(
        name=f"TH {source.randrange(1, 400)} {source.choice(_WHAT).lower()} {number}",
        status="active",
        building_type=source.choice(("highway", "bridge", "utilities")),
        location=f"{county} County, MN",
        metadata={"contract": f"{220_000 + number}", "letting": f"2022-{number % 12 + 1:02d}-28"},
    )
    streams: list[tuple[UUID, list[Event]]] = [(project_id, [created])]
    now = [_line(place + 1, item, source) for place, item in enumerate(chosen.some(lines, source))]
    parent: UUID | None = None
    for version in range(1, versions + 1):
        estimate_id = uuid7()
        started = EstimateStarted(
            project_id=project_id,
            version=version,
            currency="USD",
            target_margin=Decimal("0.12"),
            parent_id=parent,
            title=f"Bid {version}, {county}",
            notes="After addendum 2" if version > 1 else None,
        )
        numbered = VersionNumbered(estimate_id=estimate_id, version=version, parent_id=parent)
        streams[0][1].append(numbered)
        imported = [
            LinesImported(source="import" if parent is None else "parent", lines=part) for part in in_chunks(now)
        ]
        repriced = [_repriced(line, source) for line in now if parent is not None and source.random() < 0.1]
        streams.append((estimate_id, [started, *imported, *repriced]))
        parent = estimate_id
    units = [
        unit(stream, place, codec.encode(event), codec.tag(event))
        for stream, events in streams
        for place, event in enumerate(events)
    ]
    return _Project(units, lines * versions)


def _line(number: int, item: Item, source: random.Random) -> Line:
    quantity = Decimal(1) if item.unit == "LS" else Decimal(source.randrange(1, 900_000)).scaleb(-2)
    price = (item.price * Decimal(source.randrange(70, 140))).scaleb(-2)
    return Line(
        line_id=uuid7(),
        ordinal=Decimal(number),
        wbs_path=("SP 5625-20", f"Part {number // 10 + 1}"),
        description=item.description,
        quantity=quantity,
        unit=item.unit,
        unit_price=price,
        extension=(quantity * price).quantize(Decimal("0.01")),
        code=item.code,
        code_set="MnDOT",
        code_edition="2020",
        cost_type="subcontract",
        note=f"Quantity from sheet {source.randrange(1, 90)}" if source.random() < 0.3 else None,
    )


def _repriced(line: Line, source: random.Random) -> LineRevised:
    price = (line.unit_price * Decimal(source.randrange(90, 115))).scaleb(-2).quantize(Decimal("0.000001"))
    extension = (line.quantity * price).quantize(Decimal("0.01"))
    return LineRevised(
        line_id=line.line_id,
        was=LineChange(unit_price=line.unit_price, extension=line.extension),
        now=LineChange(unit_price=price, extension=extension),
        counted_was=Counted("base", line.extension),
        counted_now=Counted("base", extension),
    )


async def _append(connection: psycopg.AsyncConnection[tuple[object, ...]], tenant: UUID, units: Sequence[Unit]) -> None:
    for outcome in await log.append(connection, tenant, units) if units else ():
        assert isinstance(outcome, Appended), outcome
