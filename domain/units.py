"""Units of measure: one controlled list, and the other spellings that mean the same. Nothing is ever converted."""

import re
from collections.abc import Mapping
from typing import Annotated, Final, TypeAlias

from pydantic import AfterValidator, StringConstraints
from pydantic_core import PydanticCustomError

LUMP_SUM: Final = "LS"

UNITS: Final[Mapping[str, str]] = {
    "LS": "lump sum",
    "EA": "each",
    "10EA": "ten each",
    "100EA": "hundred each",
    "1000EA": "thousand each",
    "PR": "pair",
    "SET": "set",
    "10SET": "ten sets",
    "SYS": "system",
    "ASSEMBLY": "assembly",
    "LF": "linear foot",
    "10LF": "ten linear feet",
    "100LF": "hundred linear feet",
    "1000LF": "thousand linear feet",
    "IN": "inch",
    "YD": "yard",
    "MILE": "mile",
    "STA": "station of 100 feet",
    "RDST": "road station",
    "SF": "square foot",
    "100SF": "hundred square feet, a roofing square",
    "1000SF": "thousand square feet",
    "SY": "square yard",
    "ACRE": "acre",
    "CF": "cubic foot",
    "CY": "cubic yard",
    "100CY": "hundred cubic yards",
    "MBF": "thousand board feet",
    "TON": "short ton, 2,000 pounds",
    "LB": "pound",
    "CWT": "hundredweight, 100 pounds",
    "GAL": "US gallon",
    "MGAL": "thousand US gallons",
    "MM": "millimetre",
    "CM": "centimetre",
    "METRE": "metre",
    "10METRE": "ten metres",
    "100METRE": "hundred metres",
    "1000METRE": "thousand metres",
    "KM": "kilometre",
    "M2": "square metre",
    "100M2": "hundred square metres",
    "1000M2": "thousand square metres",
    "HA": "hectare",
    "M3": "cubic metre",
    "100M3": "hundred cubic metres",
    "LITRE": "litre",
    "GRAM": "gram",
    "KG": "kilogram",
    "TONNE": "metric tonne, 1,000 kilograms",
    "KW": "kilowatt",
    "KWH": "kilowatt hour",
    "MIN": "minute",
    "HR": "hour",
    "MACHHR": "machine hour, an hour of a machine's work",
    "MH": "man-hour, a person's hour of work",
    "DAY": "day",
    "UDAY": "unit day",
    "WEEK": "week",
    "MONTH": "month",
    "YEAR": "year",
    "DOL": "dollar, for an amount paid through",
    "PCT": "percent",
    "TREE": "tree",
    "SHRB": "shrub",
    "VINE": "vine",
    "PLT": "plant",
    "STR": "structure",
    "SIGS": "signal system",
    "AMBY": "assembly, as abbreviated in state pay-item lists",
}
"""Canonical spelling → meaning. What is stored and compared."""

_OTHER_SPELLINGS: Final[Mapping[str, str]] = {
    "LS": "LSUM LUMPSUM LUMP JOB ITEM",
    "EA": "EACH PC PCS PIECE NO NR UNIT",
    "100EA": "CEA HUNDREDEACH",
    "1000EA": "MEA",
    "PR": "PAIR",
    "SET": "SETS",
    "SYS": "SYSTEM",
    "LF": "LINFT LINEARFOOT LINEARFEET FT FOOT FEET LNFT",
    "100LF": "CLF",
    "1000LF": "MLF",
    "IN": "INCH",
    "YD": "YARD LY",
    "MILE": "MI",
    "STA": "STATION",
    "SF": "SQFT FT2 SQUAREFOOT SQUAREFEET",
    "100SF": "CSF SQ SQUARE",
    "1000SF": "MSF",
    "SY": "SQYD YD2 SQUAREYARD SQUAREYARDS",
    "ACRE": "AC ACRES",
    "CF": "CUFT FT3 CUBICFOOT CUBICFEET",
    "CY": "CUYD YD3 CUBICYARD CUBICYARDS",
    "MBF": "MBM",
    "TON": "TONS TN",
    "LB": "LBS POUND POUNDS",
    "GAL": "GALLON GALLONS",
    "METRE": "METER MTR METRES METERS LM",
    "M2": "SQM SM SQUAREMETRE SQUAREMETER",
    "HA": "HECTARE",
    "M3": "CUM CBM CUBICMETRE CUBICMETER",
    "LITRE": "LITER LTR LITRES LITERS",
    "GRAM": "GRAMS",
    "KG": "KGS KILOGRAM",
    "10SET": "10SETS",
    "TONNE": "TNE TONNES METRICTON MT",
    "HR": "HOUR HOURS HRS",
    "MACHHR": "MACHINEHOUR MACHINEHOURS",
    "MH": "PERSONHOUR PERSONHOURS MANHOUR MANHOURS LABORHOUR LABOURHOUR LH",
    "DAY": "DAYS",
    "WEEK": "WK WEEKS",
    "MONTH": "MO MON MONTHS",
    "YEAR": "YR YEARS",
    "DOL": "DOLLAR DOLLARS",
    "PCT": "PERCENT %",
    "SHRB": "SHRUB",
    "PLT": "PLANT",
}

_LEFT_OUT: Final = re.compile(r"[\s.\-_/]+")


def _spelling(text: str) -> str:
    """Letter case, spaces, dots, hyphens and slashes do not tell units apart; superscripts are digits."""
    return _LEFT_OUT.sub("", text).upper().replace("²", "2").replace("³", "3")


CANONICAL: Final[Mapping[str, str]] = {
    spelling: unit for unit in UNITS for spelling in (unit, *_OTHER_SPELLINGS.get(unit, "").split())
}
"""Every accepted spelling, in capitals and closed up → canonical spelling. A bare M or T is nobody's: a metre to some,
a thousand or a short ton to others.
"""


def _by_first_letter() -> dict[str, list[tuple[str, frozenset[str]]]]:
    found: dict[str, list[tuple[str, frozenset[str]]]] = {}
    for spelling in CANONICAL:
        found.setdefault(spelling[0], []).append((spelling, frozenset(spelling)))
    return found


_NEARBY: Final = _by_first_letter()


def suggestions(text: str) -> list[str]:
    """Canonical units somebody may have meant by an unknown spelling, likeliest first, three at most.

    Likeness is shared letters: rough, but cheap enough for an import in which every unit is wrong.
    """
    spelling = _spelling(text)
    letters = frozenset(spelling)
    scored = [
        (2 * len(letters & known_letters) / (len(spelling) + len(known)), known)
        for known, known_letters in _NEARBY.get(spelling[:1], [])
    ]
    likely = sorted((score, known) for score, known in scored if score > 0.4)[::-1]
    return list(dict.fromkeys(CANONICAL[known] for _, known in likely))[:3]


def canonical(text: str) -> str:
    """`C Y`, `cu. yd.` → `CY`. Refuses a unit that is not on the list."""
    unit = CANONICAL.get(text) or CANONICAL.get(_spelling(text))
    if unit is None:
        likely = suggestions(text)
        raise PydanticCustomError(
            "unit_unknown",
            "{unit} is not a unit of the controlled list{hint}",
            {"unit": text, "suggestions": likely, "hint": f"; did you mean {' or '.join(likely)}?" if likely else ""},
        )
    return unit


Unit: TypeAlias = Annotated[str, StringConstraints(max_length=20), AfterValidator(canonical)]
"""A unit of the controlled list or another spelling of one; the canonical spelling is what is stored."""
