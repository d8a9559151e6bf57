"""The columns of a record, what may stand in them, and which edits this ERP takes."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal
from hashlib import sha256
from pathlib import Path

Fields = dict[str, str | int]
"""One record's values by column. All text but DIST_NO: money as text, dates as M/D/YYYY, words for what is withheld."""

COLUMNS = {
    "DIST_NO": "Project Geographic District",
    "BLDG_ID": "Project Building Identifier",
    "SCHOOL_NM": "Project School Name",
    "PROJ_TYPE": "Project Type",
    "PROJ_DESC": "Project Description",
    "PHASE_NM": "Project Phase Name",
    "STATUS_CD": "Project Status Name",
    "ACT_START_DT": "Project Phase Actual Start Date",
    "PLAN_END_DT": "Project Phase Planned End Date",
    "ACT_END_DT": "Project Phase Actual End Date",
    "BUDGET_AMT": "Project Budget Amount",
    "EST_FINAL_AMT": "Final Estimate of Actual Costs Through End of Phase Amount",
    "SPENT_AMT": "Total Phase Actual Spending Amount",
    "DSF_NOS": "DSF Number(s)",
}
"""Our column, and the header of the published export it comes from (blanks around headers do not count)."""

KEY = ("BLDG_ID", "PROJ_TYPE", "DSF_NOS", "PROJ_DESC", "PHASE_NM")
MONEY = frozenset({"BUDGET_AMT", "EST_FINAL_AMT", "SPENT_AMT"})
DATES = frozenset({"ACT_START_DT", "PLAN_END_DT", "ACT_END_DT"})
STATUSES = ("PNS", "In-Progress", "Complete")
WITHHELD = frozenset({"PNS", "DOER", "DOES", "DOEL", "DOEP", "DIIR", "DIIT", "IEH", "FTK", "EMER", "TPL"})
"""Words that stand for a value that is not published. They never mean zero."""

CLOSED = ("BUDGET_AMT", "PLAN_END_DT")
"""The plan of a phase that is complete cannot be changed any more."""

TEXT_MAX = 500
AMOUNT_MAX = Decimal(10) ** 15
STYLES = ("as-exported", "dollars")

_AMOUNT = re.compile(r"-?\$?(\d+|\d{1,3}(,\d{3})+)(\.\d+)?", re.ASCII)
_DATE = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})", re.ASCII)


class RefusedError(Exception):
    """An edit that this ERP does not take. `code` is for programs, the text for people."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def amount_in(value: object) -> Decimal | None:
    """The number in `$206,654.00`, `206654.00` or `206654`, to two decimals; None where there is none."""
    text = str(value).strip()
    if not _AMOUNT.fullmatch(text):
        return None
    return Decimal(text.replace("$", "").replace(",", "")).quantize(Decimal("0.01"))


def date_in(value: object) -> date | None:
    """The day in `7/1/2021`; None where there is none."""
    found = _DATE.fullmatch(str(value).strip())
    if found is None:
        return None
    month, day, year = map(int, found.groups())
    try:
        return date(year, month, day)
    except ValueError:
        return None


def typed(column: str, value: str | int) -> object:
    """What a value means whatever its format: a number, a day, or the trimmed word itself."""
    read = amount_in(value) if column in MONEY else date_in(value) if column in DATES else None
    return str(value).strip() if read is None else read


def same(one: Fields, other: Fields) -> bool:
    """Whether two records mean the same."""
    return all(typed(column, one[column]) == typed(column, other[column]) for column in COLUMNS)


def money_text(amount: Decimal, style: str) -> str:
    """`-206654.00`, or `-$206,654.00` in the style `dollars`."""
    return f"{'-' if amount < 0 else ''}${abs(amount):,.2f}" if style == "dollars" else f"{amount:.2f}"


def date_text(day: date) -> str:
    """`7/1/2021`: nothing is padded."""
    return f"{day.month}/{day.day}/{day.year}"


def export(path: Path, style: str) -> Iterator[Fields]:
    """The rows of a published CSV, cells as they are; the style `dollars` writes every amount anew.

    Raises ValueError when a column is missing.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        header = [name.strip() for name in next(rows, [])]
        if absent := [name for name in COLUMNS.values() if name not in header]:
            raise ValueError(f"{path.name} has no column {', '.join(map(repr, absent))}")
        places = {column: header.index(name) for column, name in COLUMNS.items()}
        for row in rows:
            yield _cells({column: row[place] for column, place in places.items()}, style)


def _cells(cells: dict[str, str], style: str) -> Fields:
    district = cells["DIST_NO"].strip()
    fields: Fields = {**cells, "DIST_NO": int(district) if district.isdecimal() else district}
    if style == "dollars":
        for column in MONEY:
            if (amount := amount_in(cells[column])) is not None:
                fields[column] = money_text(amount, style)
    return fields


def identified(rows: Iterable[Fields]) -> Iterator[tuple[str, Fields]]:
    """Each row with its id: a hash of the trimmed key columns, and of an ordinal among rows of equal keys, in order."""
    seen: Counter[bytes] = Counter()
    for fields in rows:
        key = sha256("\x1f".join(str(fields[column]).strip() for column in KEY).encode()).digest()
        yield "PFA-" + sha256(key + seen[key].to_bytes(4, "big")).hexdigest()[:20].upper(), fields
        seen[key] += 1


def edited(fields: Fields, edit: dict[str, object], names: dict[str, str], style: str) -> Fields:
    """The record after an edit. `names` leads from a name as callers know it to the column. Raises RefusedError."""
    if not edit:
        raise RefusedError("nothing-to-change", "No field is named.")
    if unknown := [name for name in edit if name not in names]:
        raise RefusedError("unknown-field", f"There is no field {', '.join(unknown)}.")
    changed = fields | {names[name]: _taken(names[name], value, style) for name, value in edit.items()}
    moved = {column for column in COLUMNS if typed(column, fields[column]) != typed(column, changed[column])}
    if fields["STATUS_CD"] == "Complete" and (closed := moved.intersection(CLOSED)):
        raise RefusedError("phase-complete", f"The phase is complete: {', '.join(sorted(closed))} cannot change.")
    if moved & DATES:
        _in_order(changed)
    return changed


def _taken(column: str, value: object, style: str) -> str | int:
    """A value as this ERP writes it down."""
    if column in MONEY:
        return _amount_taken(column, value, style)
    if column in DATES:
        return _date_taken(column, value)
    if column == "DIST_NO":
        if type(value) is not int or not 0 < value < 100:
            raise RefusedError("invalid-value", "DIST_NO is a number from 1 to 99.")
        return value
    if not isinstance(value, str) or len(value) > TEXT_MAX or (not value.strip() and column in KEY):
        raise RefusedError("invalid-value", f"{column} is text of at most {TEXT_MAX} characters, not blank in a key.")
    if column == "STATUS_CD" and value not in STATUSES:
        raise RefusedError("invalid-value", f"STATUS_CD is one of {', '.join(STATUSES)}.")
    return value


def _amount_taken(column: str, value: object, style: str) -> str:
    if isinstance(value, str) and (value == "" or value in WITHHELD):
        return value
    text = format(Decimal(str(value)), "f") if type(value) in {int, float} else value
    amount = amount_in(text) if isinstance(text, str) and len(text) < 40 else None
    if amount is None or abs(amount) >= AMOUNT_MAX:
        raise RefusedError("invalid-value", f"{column} is an amount such as 206654.00, or a word for a withheld one.")
    return money_text(amount, style)


def _date_taken(column: str, value: object) -> str:
    if isinstance(value, str):
        if value == "" or value in WITHHELD:
            return value
        if day := date_in(value) or _iso_date(value):
            return date_text(day)
    raise RefusedError("invalid-value", f"{column} is a day such as 7/1/2021, or a word for a withheld one.")


def _iso_date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _in_order(fields: Fields) -> None:
    start = date_in(fields["ACT_START_DT"])
    for column in ("PLAN_END_DT", "ACT_END_DT"):
        end = date_in(fields[column])
        if start and end and end < start:
            raise RefusedError("end-before-start", f"{column} {fields[column]} is before {fields['ACT_START_DT']}.")
