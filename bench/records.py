"""Records of plan, forecast and actual in any number, made up: those of the example ERP, with what is hired or bought.

What a record says follows from the seed and its number, so none is held; the spreads are those of published data, see
`equipment.json` here and `examples/upstream/shapes.json`. `state` 1 is some months after `state` 0.
"""

import csv
import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final
from uuid import UUID

from domain.mapping import FieldMapping, MappingInput
from domain.typed_rows import record_id
from examples.upstream import fields, generated
from examples.upstream.draws import Chooser, Draws
from examples.upstream.fields import Fields, date_in, date_text

SEED: Final = 1
EQUIPMENT: dict[str, Any] = json.loads(Path(__file__).with_name("equipment.json").read_text(encoding="utf-8"))
CHANGED_ONE_IN, GONE_ONE_IN = 100, 1000
"""Of the records, so many change, go and come from one state to the next."""

_CATEGORIES = Chooser((name, each["share"]) for name, each in EQUIPMENT["categories"].items())
_SUPPLIES = {kind: Chooser(shares.items()) for kind, shares in EQUIPMENT["supplies"].items()}
_STYLE = fields.STYLES[0]
_BEGINS_WITHIN_DAYS = 900

TYPES: Final = {
    "RES_CAT": ("category", "category"),
    "SUPPLY": ("source", "category"),
    "STATUS_CD": ("record_class", "category"),
    "DIST_NO": ("area", "category"),
    "PROJ_DESC": ("description", "text"),
    "BUDGET_AMT": ("plan_cost", "money"),
    "PLAN_START_DT": ("plan_start", "date"),
    "PLAN_END_DT": ("plan_end", "date"),
    "EST_FINAL_AMT": ("forecast_cost", "money"),
    "FCST_START_DT": ("forecast_start", "date"),
    "FCST_END_DT": ("forecast_end", "date"),
    "SPENT_AMT": ("actual_cost", "money"),
    "ACT_START_DT": ("actual_start", "date"),
    "ACT_END_DT": ("actual_end", "date"),
    "MONTH_RATE_AMT": ("monthly_rate", "money"),
    "PURCH_AMT": ("purchase_price", "money"),
    "DISCONT_FLG": ("is_discontinued", "boolean"),
}
"""Column → the PFA field that it is, and its type. The others are kept as text."""
COLUMNS: Final = (
    *fields.COLUMNS,
    *("RES_CAT", "RES_NM", "SUPPLY", "PLAN_START_DT", "FCST_START_DT", "FCST_END_DT"),
    *("MONTH_RATE_AMT", "PURCH_AMT", "QTY", "UNIT_CD", "COST_CD", "SHEET_TX", "DISCONT_FLG"),
)


def rows(count: int, state: int = 0, seed: int = SEED) -> Iterator[tuple[int, Fields]]:
    """The records of a company of so many, by number. From one state to the next some changed, went or came."""
    for number in range(count + count // GONE_ONE_IN * state):
        for step in range(max(1, _came(number, count)), state + 1):
            if Draws(seed, "gone", step, number).below(GONE_ONE_IN) == 0:
                break
        else:
            yield number, row(number, state, seed)


def row(number: int, state: int = 0, seed: int = SEED) -> Fields:
    """The record of a number."""
    made = generated.row(number, seed, _STYLE)
    made |= _supplied(made, Draws(seed, "supply", number))
    for step in range(1, state + 1):
        if Draws(seed, "moved", step, number).below(CHANGED_ONE_IN) == 0:
            made = generated.moved(made, Random(f"{seed}/{step}/{number}"), _STYLE)
    return made


def _came(number: int, count: int) -> int:
    """The state that a record was there in first, and cannot go in."""
    return 0 if number < count else (number - count) // max(1, count // GONE_ONE_IN) + 2


def _supplied(made: Fields, draws: Draws) -> Fields:
    """What the work of a phase is done with: hired by the month, bought, or somebody's time."""
    category = _CATEGORIES.one(draws)
    kind = EQUIPMENT["categories"][category]
    names = kind["names"]
    supply = _SUPPLIES[kind["supply"]].one(draws)
    rate = draws.along(kind["cents_an_hour"]) * EQUIPMENT["hours_a_month"] if supply == "Rental" else None
    price = draws.along(EQUIPMENT["price_permille_of_budget"]) * draws.within(1_000, 90_000)
    begins = date_in(made["ACT_START_DT"]) or generated.LAST_DAY + timedelta(draws.within(1, _BEGINS_WITHIN_DAYS))
    ends = date_in(made["ACT_END_DT"]) or begins + timedelta(draws.along(generated.SHAPES["taken_days"]))
    planned = begins - timedelta(draws.below(60))
    return {
        "RES_CAT": category,
        "RES_NM": f"{names[draws.below(len(names))]} {draws.within(1, 99)}",
        "SUPPLY": supply,
        "PLAN_START_DT": made["BUDGET_AMT"] if made["BUDGET_AMT"] in fields.WITHHELD else date_text(planned),
        "FCST_START_DT": date_text(begins),
        "FCST_END_DT": date_text(ends),
        "MONTH_RATE_AMT": "" if rate is None else f"{rate // 100}.{rate % 100:02}",
        "PURCH_AMT": f"{price // 100}.{price % 100:02}" if supply == "Purchase" else "",
        "QTY": draws.within(1, 40),
        "UNIT_CD": "MO" if supply == "Rental" else "HR" if kind["supply"] == "labour" else "EA",
        "COST_CD": f"{draws.within(1, 33):02} {draws.below(10)}{draws.below(10)} 00.{draws.below(100):02}",
        "SHEET_TX": f"Sheet {draws.within(1, 120)}, detail {draws.within(1, 40)}, made up",
        "DISCONT_FLG": "Y" if draws.below(50) == 0 else "N",
    }


def write_csv(path: Path, count: int, state: int = 0) -> None:
    """As a folder upstream has it. The file is there once it is whole."""
    part = path.with_suffix(".part")
    with part.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        table.writerows([made[column] for column in COLUMNS] for _, made in rows(count, state))
    part.rename(path)


def mapping() -> dict[str, Any]:
    """What a person would say of these columns, as the body of a command has it."""
    return {
        "fields": [_mapped(column) for column in COLUMNS] + [_COMPLETE],
        "identity": list(fields.KEY),
        "missing": [
            {"word": word, "reason": f"not published: {word}" if word != "PNS" else "not started"}
            for word in sorted(fields.WITHHELD)
        ],
    }


def own_mapping() -> FieldMapping:
    """The same as the product reads rows with."""
    return MappingInput.model_validate_json(json.dumps(mapping())).as_mapping(1)


_COMPLETE: Final = {
    "upstream": "STATUS_CD",
    "name": "is_actualised",
    "type": "boolean",
    "feeds": "is_actualised",
    "true_words": ["Complete"],
    "false_words": ["PNS", "In-Progress"],
}


def _mapped(column: str) -> dict[str, Any]:
    feeds, kind = TYPES.get(column, (None, "text"))
    said: dict[str, Any] = {"upstream": column, "name": feeds or column.lower(), "type": kind, "feeds": feeds}
    if kind == "money":
        said |= {"unit": "USD", "decimal_sign": "point"}
    if kind == "date":
        said |= {"date_order": "month-first"}
    return said


def id_of(connection_id: UUID, made: Fields, *, repeats: bool) -> UUID:
    """The id that the product gives a record; `repeats`: the row before it has the same key."""
    return record_id(connection_id, tuple(str(made[column]).strip() for column in fields.KEY), 2 if repeats else 1)


def repeats(number: int) -> bool:
    """Whether the row before has the same key."""
    return number % generated.DUPLICATE_EVERY == generated.DUPLICATE_EVERY - 1


_MONTHS: Final = 30


def drafts(count: int, total: int, seed: int = SEED) -> Iterator[tuple[int, Fields, dict[str, Any]]]:
    """So many records that are not over, spread evenly, each with the PFA fields that somebody drafts on it."""
    number = -1
    for place in range(count):
        number = max(number + 1, place * total // count)
        while (made := row(number, seed=seed))["STATUS_CD"] == "Complete" or repeats(number):
            number += 1
        yield number, made, drafted(made, Draws(seed, "draft", number))


def drafted(made: Fields, draws: Draws) -> dict[str, Any]:
    """A cost for most, dates for some, another category for a few: what people change."""
    cost = draws.within(1_000, 5_000_000)
    change: dict[str, Any] = {"forecast_cost": f"{cost}.{draws.below(100):02}"}
    if draws.below(2) == 0:
        begins = date_in(made["FCST_START_DT"]) or generated.LAST_DAY
        later = begins + timedelta(draws.within(1, _MONTHS))
        change |= {"forecast_start": later.isoformat(), "forecast_end": _end(later, draws).isoformat()}
    if draws.below(5) == 0:
        change["category"] = "Cranes" if made["RES_CAT"] != "Cranes" else "Trucks"
    return change


def _end(begins: date, draws: Draws) -> date:
    return begins + timedelta(draws.within(30, 400))
