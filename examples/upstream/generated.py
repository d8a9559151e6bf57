"""Records made up, of the shape of the published ones: the same numbers and seed give the same records."""

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from random import Random

from examples.upstream.fields import Fields, amount_in, date_text, money_text

PHASES = ("Scope", "Design", "Construction", "CM,F&E")
TYPES = {
    "SCA CIP": "",
    "SCA CIP RESOA": "",
    "SCA Capacity": "",
    "DOE - RESOA": "DOER",
    "DOE - Skilled Trades": "DOES",
    "DIIT - RESOA": "DIIR",
    "SCA IEH": "IEH",
    "SCA Emergency Response": "EMER",
}
"""Who runs the work, and the word that stands for the budget and the planned end where another unit does."""
TYPE_WEIGHTS = (54, 24, 2, 8, 4, 4, 3, 1)
WORKS = ("BOILER CONVERSION", "ROOFS", "EXTERIOR MASONRY", "BATHROOM UPGRADES", "SCHOOLYARD RESURFACING", "FIRE ALARM")
BOROUGHS = {"M": "MANHATTAN", "K": "BROOKLYN", "Q": "QUEENS", "X": "BRONX", "R": "STATEN ISLAND"}
FIRST_DAY = date(2021, 1, 4)
DAYS = 1600
DUPLICATE_EVERY = 1000
"""One in so many rows has the key of the row before it, as in the published data."""


def rows(count: int, seed: int, style: str, first: int = 0) -> Iterator[Fields]:
    """So many records. Those of one `first` never share a key with those of another range."""
    for number in range(first, first + count):
        yield _row(number, seed, style)


def moved(fields: Fields, random: Random, style: str) -> Fields:
    """A record some months later: its final estimate differs for certain, its status and dates perhaps."""
    estimate = amount_in(fields["EST_FINAL_AMT"]) or Decimal(0)
    spent = amount_in(fields["SPENT_AMT"]) or Decimal(0)
    estimate = max(estimate, spent) + random.randint(1, 50_000)
    later: Fields = {**fields, "EST_FINAL_AMT": money_text(estimate, style)}
    day = FIRST_DAY + timedelta(DAYS + random.randrange(90))
    if fields["STATUS_CD"] == "PNS" and random.random() < 0.4:
        later |= {"STATUS_CD": "In-Progress", "ACT_START_DT": date_text(day), "ACT_END_DT": ""}
        if fields["PLAN_END_DT"] == "PNS":
            later["PLAN_END_DT"] = date_text(day + timedelta(random.randrange(60, 700)))
    elif fields["STATUS_CD"] == "In-Progress":
        later["SPENT_AMT"] = money_text(spent + random.randint(0, int(estimate - spent)), style)
        if random.random() < 0.3:
            later |= {"STATUS_CD": "Complete", "ACT_END_DT": date_text(day)}
    return later


def _row(number: int, seed: int, style: str) -> Fields:
    project, phase = divmod(number, len(PHASES))
    of_project, own = Random(seed << 66 | project << 1), Random(seed << 66 | number << 1 | 1)  # noqa: S311
    kind = of_project.choices(tuple(TYPES), TYPE_WEIGHTS)[0]
    borough = of_project.choice(tuple(BOROUGHS))
    building = of_project.randrange(1, 600)
    repeats = number % DUPLICATE_EVERY == DUPLICATE_EVERY - 1
    return {
        "DIST_NO": of_project.randrange(1, 33),
        "BLDG_ID": f"{borough}{building:03}",
        "SCHOOL_NM": f"P.S. {building} - {BOROUGHS[borough]}",
        "PROJ_TYPE": kind,
        "PROJ_DESC": f"FY{of_project.randrange(20, 27)} {of_project.choice(WORKS)}",
        "PHASE_NM": PHASES[phase - 1 if repeats else phase],
        **_plan_and_progress(own, TYPES[kind], style),
        "DSF_NOS": f"DSF{project:010}",
    }


def _plan_and_progress(random: Random, word: str, style: str) -> Fields:
    status = random.choices(("PNS", "In-Progress", "Complete"), (34, 33, 33))[0]
    budget = Decimal(random.randrange(10_000, 9_000_000))
    estimate = (budget * random.randrange(60, 150) / 100).quantize(Decimal(1))
    spent = {"PNS": Decimal(0), "Complete": estimate}.get(status, estimate * random.randrange(100) / 100)
    start = FIRST_DAY + timedelta(random.randrange(DAYS))
    planned, ended = start + timedelta(random.randrange(30, 700)), start + timedelta(random.randrange(30, 800))
    waits = status == "PNS"
    return {
        "STATUS_CD": status,
        "ACT_START_DT": "PNS" if waits else date_text(start),
        "PLAN_END_DT": "PNS" if waits else word or date_text(planned),
        "ACT_END_DT": {"PNS": "PNS", "Complete": date_text(ended)}.get(status, ""),
        "BUDGET_AMT": word or money_text(budget, style),
        "EST_FINAL_AMT": money_text(estimate, style),
        "SPENT_AMT": "" if random.random() < 0.005 else money_text(spent, style),
    }
