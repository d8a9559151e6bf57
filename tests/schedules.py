"""The published schedules and budgets of a city's school construction: how they are mapped, and rows of that form."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cairn import demo
from domain.mapping import FieldMapping, MappingInput
from domain.typed_rows import Row

FOLDERS = [folder for folder in [demo.BESIDE / "nyc-sca-phase-schedules"] if folder.is_dir()]
"""Where the data is at hand."""
JUNE, SEPTEMBER = "2025-06-30.csv", "2025-09-30.csv"
WITHHELD = {"PNS": "not started"} | {
    word: f"not published ({word})"
    for word in ["DOEL", "DOEP", "DOER", "DOES", "DIIR", "DIIT", "EMER", "FTK", "IEH", "TPL"]
}
"""Words for which there is no date or amount."""


def _date(upstream: str, name: str) -> dict[str, Any]:
    return {"upstream": upstream, "name": name, "feeds": name, "type": "date", "date_order": "month-first"}


def _money(upstream: str, name: str) -> dict[str, Any]:
    return {"upstream": upstream, "name": name, "feeds": name, "type": "money", "unit": "USD"}


def _category(upstream: str, name: str) -> dict[str, Any]:
    return {"upstream": upstream, "name": name, "feeds": name, "type": "category"}


SENT: dict[str, Any] = {
    "fields": [
        _category("Project Phase Name", "category"),
        _category("Project Type", "source"),
        _category("Project Status Name", "record_class"),
        _category("Project School Name", "area"),
        {"upstream": "Project Description", "name": "description", "feeds": "description", "type": "text"},
        {"upstream": "Project Building Identifier", "name": "building", "type": "text"},
        _date("Project Phase Actual Start Date", "actual_start"),
        _date("Project Phase Planned End Date", "plan_end"),
        _date("Project Phase Planned End Date", "forecast_end"),
        _date("Project Phase Actual End Date", "actual_end"),
        _money("Project Budget Amount", "plan_cost"),
        _money("Final Estimate of Actual Costs Through End of Phase Amount", "forecast_cost"),
        _money("Total Phase Actual Spending Amount", "actual_cost"),
        {
            "upstream": "Project Status Name",
            "name": "is_actualised",
            "feeds": "is_actualised",
            "type": "boolean",
            "true_words": ["Complete"],
            "false_words": ["PNS", "In-Progress"],
        },
    ],
    "identity": [
        "Project Building Identifier",
        "Project Type",
        "DSF Number(s)",
        "Project Description",
        "Project Phase Name",
    ],
}
"""`PNS` is a status of its own, so the withheld values are said of the columns that have them."""
for _field in SENT["fields"]:
    if _field["type"] in {"date", "money"}:
        _field["missing"] = [{"word": word, "reason": reason} for word, reason in WITHHELD.items()]

MAPPING: FieldMapping = MappingInput.model_validate_json(json.dumps(SENT)).as_mapping(1)


def rows(path: Path) -> Iterator[Row]:
    """As the file has them, but for blanks around names of columns."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
        yield from reader
