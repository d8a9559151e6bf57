"""What a cell of an upstream says: a value of its field's type, an absence with its reason, or a fault. No guesses."""

import math
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Final, TypeAlias
from unicodedata import normalize

import msgspec

from domain.mapping import DateOrder, DecimalSign, FieldMapping, MappedField
from domain.money import CENT, CURRENCIES, EXACT, LARGEST_AMOUNT, ZERO, plain
from domain.pfa import FieldType

TEXT_LIMIT: Final = 10_000
CATEGORY_LIMIT: Final = 200
LARGEST_NUMBER: Final = Decimal(10**15)
PLACES_LIMIT: Final = 10
YEARS: Final = range(1900, 2200)


class Absent(msgspec.Struct, frozen=True):
    """No value. Withheld, unknown and blank are told apart by the reason, and none of them is zero."""

    reason: str


Value: TypeAlias = str | int | Decimal | date | bool | Absent
BLANK: Final = Absent("blank")


class Unreadable(Exception):
    """A cell is not what its field says. `code` is stable."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


CellReader: TypeAlias = Callable[[object], Value]

_NOT_STORED: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")
_GROUPS: Final = " '’\u00a0\u202f"
_NUMBERS: Final = {
    sign: re.compile(rf"(?:\d{{1,3}}([{group}{_GROUPS}])\d{{3}}(?:\1\d{{3}})*|\d+)(?:{mark}\d*)?|{mark}\d+")
    for sign, mark, group in [(DecimalSign.POINT, r"\.", ","), (DecimalSign.COMMA, ",", ".")]
}
_SYMBOLS: Final = {
    "$": CURRENCIES - {"EUR", "GBP", "CNY"},
    "€": frozenset({"EUR"}),
    "£": frozenset({"GBP", "EGP", "GIP", "FKP", "SHP", "SDG", "SYP", "LBP"}),
    "¥": frozenset({"CNY"}),
}
_PLAIN: Final = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,2})?")
"""Most amounts. Two decimals are no thousands, so that only a stated decimal comma reads it otherwise."""
_CODE: Final = re.compile(r"^([A-Z]{3})\s*(?=[\d.,(\-−])|(?<=[\d.,)\-])\s*([A-Z]{3})$")
_YEAR_FIRST: Final = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[T ]\d[\d:.]*(?:Z|[+-]\d\d:?\d\d)?)?", re.ASCII)
_YEAR_LAST: Final = re.compile(r"(\d{1,2})([/.\-])(\d{1,2})\2(\d{4})(?:[ T]\d[\d:.]*(?: ?[AaPp][Mm])?)?", re.ASCII)


def reader_of(field: MappedField, mapping: FieldMapping) -> CellReader:
    """Reads cells of one field: text as it was written, or what JSON, a workbook or a database made of it already.

    Raises Unreadable.
    """
    worded = field.type not in {FieldType.TEXT, FieldType.CATEGORY}
    words = (*(mapping.missing if worded else ()), *field.missing)
    reasons = {each.word.casefold(): Absent(each.reason) for each in words}
    read = _READERS[field.type](field)

    def value(cell: object) -> Value:
        if cell is None:
            return BLANK
        if isinstance(cell, str):
            text = cell.strip()
            if not text:
                return BLANK
            if reasons and (absent := reasons.get(text.casefold())):
                return absent
            return read(text)
        return read(cell)

    return value


def shown(cell: object) -> str:
    """A cell in a message: its beginning."""
    text = str(cell)
    return repr(text if len(text) <= 40 else text[:39] + "…")


def as_text(cell: object) -> str:
    """What tells cells apart wherever they are from: 1, 1.0 and ` 1 ` are the same, and null is blank."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        text = cell.strip()
        return text if text.isascii() else normalize("NFC", text)
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        return plain(Decimal(repr(cell))) if math.isfinite(cell) else repr(cell)
    if isinstance(cell, Decimal):
        return plain(cell) if cell.is_finite() else str(cell)
    if isinstance(cell, datetime) and not (cell.hour or cell.minute or cell.second or cell.microsecond):
        return cell.date().isoformat()
    return cell.isoformat() if isinstance(cell, date) else str(cell)


def _text(_: MappedField, limit: int = TEXT_LIMIT) -> CellReader:
    def read(cell: object) -> str:
        if isinstance(cell, dict | list):
            raise Unreadable("value-shape", f"{shown(cell)} is a list or an object, not a value")
        text = as_text(cell)
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        if len(text) > limit:
            raise Unreadable("text-too-long", f"{len(text):,} characters, of {limit:,} at most")
        if found := _NOT_STORED.search(text):
            raise Unreadable("text-control-character", f"U+{ord(found[0]):04X} at index {found.start()} is no text")
        return text

    return read


def _category(field: MappedField) -> CellReader:
    whole = _text(field, CATEGORY_LIMIT)

    def read(cell: object) -> str:
        return " ".join(str(whole(cell)).split("\n"))

    return read


def number_of(text: str, sign: DecimalSign | None) -> Decimal:
    """`(1,234.50)` → -1234.50. Without a stated sign, every way to read it must agree. Raises Unreadable."""
    body, negative = _unsigned(text)
    if sign is not None:
        found = _unscaled(body, sign)
        if found is None:
            raise Unreadable("number-unreadable", f"{shown(text)} is no number written with a decimal {sign}")
        return -found if negative else found
    readings = {found for each in DecimalSign if (found := _unscaled(body, each)) is not None}
    if not readings:
        raise Unreadable("number-unreadable", f"{shown(text)} is no number")
    if len(readings) > 1:
        raise Unreadable("decimal-sign-unstated", f"{shown(text)} is one number or another: state the decimal sign")
    found = readings.pop()
    return -found if negative else found


def _unsigned(text: str) -> tuple[str, bool]:
    if text[:1] == "(" and text[-1:] == ")":
        return text[1:-1].strip(), True
    if text[:1] in {"-", "−"}:
        return text[1:].strip(), True
    if text[-1:] in {"-", "−"}:
        return text[:-1].strip(), True
    return text.removeprefix("+").strip(), False


def _unscaled(body: str, sign: DecimalSign) -> Decimal | None:
    if not body.isascii() and not all(character.isascii() or character in _GROUPS for character in body):
        return None
    if not _NUMBERS[sign].fullmatch(body):
        return None
    mark = "." if sign is DecimalSign.POINT else ","
    whole, _, places = body.partition(mark)
    return Decimal("".join(character for character in whole if character.isdigit()) + "." + places or "0")


def _number(cell: object, sign: DecimalSign | None) -> Decimal:
    if isinstance(cell, str):
        plainly = sign is not DecimalSign.COMMA and _PLAIN.fullmatch(cell)
        found = Decimal(cell) if plainly else number_of(cell, sign)
    elif isinstance(cell, bool) or not isinstance(cell, int | float | Decimal):
        raise Unreadable("number-unreadable", f"{shown(cell)} is no number")
    else:
        try:
            found = Decimal(repr(cell)) if isinstance(cell, float) else Decimal(cell)
        except InvalidOperation as error:  # pragma: no cover - a float's repr is always read
            raise Unreadable("number-unreadable", f"{shown(cell)} is no number") from error
        if not found.is_finite():
            raise Unreadable("number-unreadable", f"{shown(cell)} is no number")
    if abs(found) >= LARGEST_NUMBER:
        raise Unreadable("number-range", f"{shown(cell)} has more than 15 digits before the point")
    return found or Decimal(0)  # no minus before zero


def _decimal(field: MappedField) -> CellReader:
    def read(cell: object) -> Decimal:
        found = _number(cell, field.decimal_sign)
        exponent = found.as_tuple().exponent
        if isinstance(cell, float):
            return EXACT.quantize(found, Decimal(1).scaleb(-PLACES_LIMIT)).normalize(EXACT)
        if isinstance(exponent, int) and -exponent > PLACES_LIMIT and found != round(found, PLACES_LIMIT):
            raise Unreadable("number-places", f"{shown(cell)} has more than {PLACES_LIMIT} decimals")
        return found

    return read


def _integer(field: MappedField) -> CellReader:
    def read(cell: object) -> int:
        found = _number(cell, field.decimal_sign)
        if found != int(found):
            raise Unreadable("integer-unreadable", f"{shown(cell)} is not a whole number")
        return int(found)

    return read


def _money(field: MappedField) -> CellReader:
    def read(cell: object) -> Decimal:
        amount = EXACT.quantize(
            _number(_without_currency(cell, field.unit) if isinstance(cell, str) else cell, field.decimal_sign), CENT
        )
        if abs(amount) > LARGEST_AMOUNT:
            raise Unreadable("number-range", f"{shown(cell)} has more than 13 digits before the point")
        return amount or ZERO

    return read


def _without_currency(text: str, currency: str | None) -> str:
    """The number alone. Money of another currency is not converted, it is refused."""
    if _PLAIN.fullmatch(text):
        return text
    if found := _CODE.search(text):
        code = found[1] or found[2]
        if code != currency:
            raise Unreadable("currency-other", f"{shown(text)} is not in {currency}")
        text = (text[: found.start()] + text[found.end() :]).strip()
    for symbol, currencies in _SYMBOLS.items():
        if symbol in text:
            if currency not in currencies:
                raise Unreadable("currency-other", f"{shown(text)} is not in {currency}")
            return re.sub(rf"\s*{re.escape(symbol)}\s*", "", text, count=1)
    return text


@lru_cache(maxsize=50_000)  # a day is in thousands of rows
def date_of(text: str, order: DateOrder | None) -> date:
    """The day, as written: a time after it is dropped, whatever its zone. Raises Unreadable."""
    if found := _YEAR_FIRST.fullmatch(text):
        return _day(text, int(found[1]), int(found[2]), int(found[3]))
    found = _YEAR_LAST.fullmatch(text)
    if not found:
        raise Unreadable("date-unreadable", f"{shown(text)} is no date with a year of four digits")
    if order is None:
        raise Unreadable("date-order-unstated", f"{shown(text)}: state whether days or months come first")
    if order is DateOrder.ISO:
        raise Unreadable("date-unreadable", f"{shown(text)} does not begin with the year")
    first, second, year = int(found[1]), int(found[3]), int(found[4])
    return _day(text, year, second, first) if order is DateOrder.DAY_FIRST else _day(text, year, first, second)


def _day(text: str, year: int, month: int, day: int) -> date:
    if year not in YEARS:
        raise Unreadable("date-range", f"{shown(text)} is not between {YEARS.start} and {YEARS.stop - 1}")
    try:
        return date(year, month, day)
    except ValueError as error:
        raise Unreadable(
            "date-unreadable", f"{shown(text)} is no day of the calendar, read {month=}, {day=}"
        ) from error


def year_last(text: str) -> bool:
    """Whether it is a date that reads one way or another."""
    return _YEAR_LAST.fullmatch(text) is not None


def _date(field: MappedField) -> CellReader:
    def read(cell: object) -> date:
        if isinstance(cell, str):
            return date_of(cell, field.date_order)
        if isinstance(cell, datetime):
            cell = cell.date()
        if isinstance(cell, date):
            return _day(cell.isoformat(), cell.year, cell.month, cell.day)
        raise Unreadable("date-unreadable", f"{shown(cell)} is no date")

    return read


def _boolean(field: MappedField) -> CellReader:
    words = {word.casefold(): True for word in field.true_words} | {
        word.casefold(): False for word in field.false_words
    }

    def read(cell: object) -> bool:
        if isinstance(cell, bool):
            return cell
        found = words.get(as_text(cell).casefold())
        if found is None:
            raise Unreadable("boolean-unreadable", f"{shown(cell)} is neither a word for true nor one for false")
        return found

    return read


_READERS: Final[Mapping[FieldType, Callable[[MappedField], CellReader]]] = {
    FieldType.TEXT: _text,
    FieldType.INTEGER: _integer,
    FieldType.DECIMAL: _decimal,
    FieldType.MONEY: _money,
    FieldType.DATE: _date,
    FieldType.BOOLEAN: _boolean,
    FieldType.CATEGORY: _category,
}
