"""A city's capital projects, from the published CSV: what each was forecast to cost, at every date it was reported.

Each report becomes an estimate version of its own business date, so the history of forecasts is the history of
versions. The published totals of changes carry hindsight (they repeat the last sum on every row) and are not used.
"""

import csv
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import msgspec

from cairn.client import Command

PUBLISHED = Path("nyc-capital-forecast-history", "nyc_capital_projects_20190901.csv")
SOURCE = "City of New York, via NYC Open Data: Capital Projects, reports of 2013-09-01 to 2019-09-01"
IDS = UUID("6f0e6c55-6a1e-5d0b-8a0c-3f5f9a1f2c77")
CURRENCY = "USD"


class Forecast(msgspec.Struct, frozen=True):
    """What one report says of one project. A figure that is not given is None, never zero."""

    project: str
    name: str
    description: str
    category: str
    borough: str
    agency: str
    phase: str
    reported_on: date
    budget: Decimal | None
    budget_change: Decimal | None
    completion_on: date | None


def read(folder: Path) -> list[Forecast]:
    """Every report, by project and date. Raises OSError, ValueError."""
    with (folder / PUBLISHED).open(encoding="utf-8-sig", newline="") as file:
        try:
            found = [_forecast(row) for row in csv.DictReader(file)]
        except (KeyError, ArithmeticError) as error:
            raise ValueError(f"{PUBLISHED} is not the published list of capital projects: {error!r}") from error
    return sorted(found, key=lambda forecast: (int(forecast.project), forecast.reported_on))


def _forecast(row: Mapping[str, str]) -> Forecast:
    return Forecast(
        project=row["PID"],
        name=row["Project Name"],
        description=row["Description"],
        category=row["Category"],
        borough=row["Borough"],
        agency=row["Managing Agency"],
        phase=row["Current Phase"],
        reported_on=_day(row["Date Reported As Of"].split(" ")[0]),
        budget=_amount(row["Budget Forecast"]),
        budget_change=_amount(row["Latest Budget Changes"]),
        completion_on=_day(row["Forecast Completion"]) if row["Forecast Completion"] else None,
    )


def _day(text: str) -> date:
    return datetime.strptime(text, "%m/%d/%Y").date()


def _amount(text: str) -> Decimal | None:
    return Decimal(text) if text else None


def project_id(project: str) -> UUID:
    """The id of the project the city numbers so."""
    return uuid5(IDS, project)


def estimate_id(forecast: Forecast) -> UUID:
    """The id of the version that a report became."""
    return uuid5(IDS, f"{forecast.project}/{forecast.reported_on}")


def batches(forecasts: list[Forecast]) -> Iterator[list[Command]]:
    """The commands of one project after the other."""
    names: set[str] = set()
    for project, reports in groupby(forecasts, key=lambda forecast: forecast.project):
        history = list(reports)
        last = history[-1]
        name = last.name if last.name.casefold() not in names else f"{last.name} ({project})"
        names.add(name.casefold())
        yield list(_project(project, name, history))


def _project(project: str, name: str, history: list[Forecast]) -> Iterator[Command]:
    last = history[-1]
    facts = {"city's number": project, "managing agency": last.agency, "source": SOURCE, "phase": last.phase}
    body = {
        "name": name,
        "building_type": last.category or None,
        "location": last.borough or None,
        "metadata": {name: value for name, value in facts.items() if value},
    }
    yield Command("project", project_id(project), "create-project", body)
    before: Forecast | None = None
    for forecast in history:
        yield from _version(forecast, before)
        before = forecast


def _version(forecast: Forecast, before: Forecast | None) -> Iterator[Command]:
    estimate = estimate_id(forecast)
    ends = f"completion forecast for {forecast.completion_on}" if forecast.completion_on else "no completion forecast"
    started: dict[str, Any] = {
        "project_id": str(project_id(forecast.project)),
        "parent_id": None if before is None else str(estimate_id(before)),
        "currency": CURRENCY,
        "title": f"Forecast of {forecast.reported_on}",
        "notes": f"As reported on {forecast.reported_on}: phase {forecast.phase or 'not given'}, {ends}.",
        "effective_on": str(forecast.reported_on),
    }
    yield Command("estimate", estimate, "start-estimate", started)
    yield from _figure(estimate, forecast, before)
    yield Command("estimate", estimate, "submit-estimate", {})


def _figure(estimate: UUID, forecast: Forecast, before: Forecast | None) -> Iterator[Command]:
    """The version's one line: new, revised, or taken out where the report gives no figure."""
    line = str(line_id(forecast.project))
    known = None if before is None else before.budget
    if forecast.budget is None:
        if known is not None:
            yield Command("estimate", estimate, "remove-line", {"line_id": line})
    elif known is None:
        yield Command("estimate", estimate, "add-line", _line(line, forecast))
    elif forecast.budget != known:
        yield Command("estimate", estimate, "revise-line", {"line_id": line, "unit_price": str(forecast.budget)})


def line_id(project: str) -> UUID:
    """The id of the one line of a project's versions."""
    return uuid5(IDS, f"{project}/forecast")


def _line(line: str, forecast: Forecast) -> dict[str, Any]:
    return {
        "line_id": line,
        "wbs_path": ["Budget forecast"],
        "description": (" ".join(forecast.description.split()) or forecast.name)[:1_000],
        "quantity": "1",
        "unit": "LS",
        "unit_price": str(forecast.budget),
    }


def at_each_date(forecasts: list[Forecast]) -> dict[date, Decimal]:
    """For every date of a report: the sum of each project's newest forecast by then. What any system should answer."""
    dates = sorted({forecast.reported_on for forecast in forecasts})
    newest: dict[str, Decimal] = {}
    sums: dict[date, Decimal] = {}
    for day in dates:
        for forecast in forecasts:
            if forecast.reported_on == day:
                newest[forecast.project] = forecast.budget or Decimal(0)
        sums[day] = sum(newest.values(), Decimal(0))
    return sums
