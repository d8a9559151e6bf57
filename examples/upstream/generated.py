"""Records made up, of the shape of the published ones: the same numbers and seed give the same records."""

import json
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

from examples.upstream.draws import Chooser, Draws
from examples.upstream.fields import STATUSES, Fields, amount_in, date_text, money_text

SHAPES: dict[str, Any] = json.loads(Path(__file__).with_name("shapes.json").read_text(encoding="utf-8"))
PHASES = ("Scope", "Design", "Construction", "CM,F&E")
"""Of a project that has all of them; where another unit runs the work it has one."""
FIRST_DAY = date(2019, 7, 1)
LAST_DAY = date(2025, 6, 30)
DUPLICATE_EVERY = 1000
"""One in so many rows has the key of the row before it, as in the published data."""

BLOCK, FOURS = 20, 3
"""Of so many rows, the first are those of so many projects of four phases; each of the others is a project."""
_FOLLOWED = FOURS * len(PHASES)
_TYPES = {
    phases: Chooser((name, each["share"]) for name, each in SHAPES["types"].items() if each["phases"] == phases)
    for phases in (1, len(PHASES))
}
_STATUSES = {phase: Chooser(zip(STATUSES, shares, strict=True)) for phase, shares in SHAPES["statuses"].items()}
_BOROUGHS = Chooser(((letter, name), share) for letter, (name, share) in SHAPES["boroughs"].items())
_DISTRICTS = Chooser(enumerate(SHAPES["districts"], 1))
_WORKS = Chooser(SHAPES["works"].items())
_BESIDE = Chooser(enumerate(SHAPES["works_beside"]))


def rows(count: int, seed: int, style: str, first: int = 0) -> Iterator[Fields]:
    """So many records. Those of one `first` never share a key with those of another range."""
    for number in range(first, first + count):
        yield row(number, seed, style)


def row(number: int, seed: int, style: str) -> Fields:
    """The record of a number."""
    repeats = number % DUPLICATE_EVERY == DUPLICATE_EVERY - 1
    block, place = divmod(number - repeats, BLOCK)
    followed = place < _FOLLOWED
    project = block * BLOCK + (place // len(PHASES) if followed else place)
    of_project, own = Draws(seed, "project", project), Draws(seed, number)
    kind = _TYPES[len(PHASES) if followed else 1].one(of_project)
    phase = PHASES[place % len(PHASES)] if followed else SHAPES["single_phase_of"].get(kind, "Construction")
    letter, borough = _BOROUGHS.one(of_project)
    building = of_project.within(1, 999)
    return {
        "DIST_NO": _DISTRICTS.one(of_project),
        "BLDG_ID": f"{letter}{building:03}",
        "SCHOOL_NM": f"P.S. {building} - {borough}",
        "PROJ_TYPE": kind,
        "PROJ_DESC": _description(of_project),
        "PHASE_NM": phase,
        **_plan_and_progress(own, phase, SHAPES["types"][kind]["word"], style),
        "DSF_NOS": f"DSF{project:010}",
    }


def moved(fields: Fields, random: Random, style: str) -> Fields:
    """A record some months later: its final estimate differs for certain, its status and dates perhaps."""
    estimate = amount_in(fields["EST_FINAL_AMT"]) or Decimal(0)
    spent = amount_in(fields["SPENT_AMT"]) or Decimal(0)
    estimate = max(estimate, spent) + random.randint(1, 50_000)
    later: Fields = {**fields, "EST_FINAL_AMT": money_text(estimate, style)}
    day = LAST_DAY + timedelta(random.randrange(90))
    if fields["STATUS_CD"] == "PNS" and random.random() < 0.4:
        later |= {"STATUS_CD": "In-Progress", "ACT_START_DT": date_text(day), "ACT_END_DT": ""}
        if fields["PLAN_END_DT"] == "PNS":
            later["PLAN_END_DT"] = date_text(day + timedelta(random.randrange(60, 700)))
    elif fields["STATUS_CD"] == "In-Progress":
        later["SPENT_AMT"] = money_text(spent + random.randint(0, int(estimate - spent)), style)
        if random.random() < 0.3:
            later |= {"STATUS_CD": "Complete", "ACT_END_DT": date_text(day)}
    return later


def _description(draws: Draws) -> str:
    year = f"FY{draws.within(18, 26)} " if draws.below(3) == 0 else ""
    works = {_WORKS.one(draws): None for _ in range(1 + _BESIDE.one(draws))}
    return year + " / ".join(works)


def _plan_and_progress(draws: Draws, phase: str, word: str, style: str) -> Fields:
    status = _STATUSES[phase].one(draws)
    budget = draws.along(SHAPES["budgets"][phase])
    estimate = budget * draws.along(SHAPES["estimate_permille"][status]) // 1000
    spent = estimate * draws.along(SHAPES["spent_permille"][status]) // 1000
    start = FIRST_DAY + timedelta(draws.below((LAST_DAY - FIRST_DAY).days))
    planned = start + timedelta(draws.along(SHAPES["planned_days"]))
    ended = min(start + timedelta(draws.along(SHAPES["taken_days"])), LAST_DAY)
    waits = status == "PNS"
    return {
        "STATUS_CD": status,
        "ACT_START_DT": "PNS" if waits else date_text(start),
        "PLAN_END_DT": "PNS" if waits else word or date_text(planned),
        "ACT_END_DT": {"PNS": "PNS", "Complete": date_text(ended)}.get(status, ""),
        "BUDGET_AMT": word or money_text(Decimal(budget), style),
        "EST_FINAL_AMT": money_text(Decimal(estimate), style),
        "SPENT_AMT": "" if draws.below(200) == 0 else money_text(Decimal(spent), style),
    }
