"""Exact decimals: what money, quantities, prices and margins may look like, and the rules that round them."""

import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal, DivisionByZero, InvalidOperation, Overflow
from typing import Annotated, Any, Final, TypeAlias

from pydantic import AfterValidator, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

CENT: Final = Decimal("0.01")
ZERO: Final = Decimal("0.00")
LARGEST_AMOUNT: Final = Decimal("9999999999999.99")
"""Of one line: 15 digits. Totals may be larger."""
LARGEST_UNIT_PRICE: Final = Decimal(10**12)
"""A unit price is below it."""
SIX_PLACES: Final = Decimal("0.000001")

EXACT: Final = Context(
    prec=60, rounding=ROUND_HALF_UP, Emin=-999999, Emax=999999, traps=[InvalidOperation, DivisionByZero, Overflow]
)
"""Wide enough that a product of two 18-digit decimals, and every total, is exact whatever the caller's context is."""


def extension_of(quantity: Decimal, unit_price: Decimal) -> Decimal:
    """What a line costs: quantity × unit price, rounded once, half-up (ties away from zero) to cents.

    Public bid abstracts show the rule: unit prices carry more places than money, and only the extension is rounded.
    """
    return EXACT.quantize(EXACT.multiply(quantity, unit_price), CENT) or ZERO


def final_bid(cost: Decimal, target_margin: Decimal) -> Decimal:
    """The price that leaves `target_margin` of itself above the cost: cost / (1 − margin), rounded half-up once.

    A margin is on price; a mark-up, cost × (1 + k), is on cost and gives another figure. The margin must be below 1.
    """
    return EXACT.quantize(EXACT.divide(cost, EXACT.subtract(Decimal(1), target_margin)), CENT) or ZERO


def plain(number: Decimal) -> str:
    """The one spelling of a value: no exponent, no trailing zeros, no minus before zero. 1.50 → `1.5`, -0.00 → `0`."""
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _reader(whole: int, places: int) -> Callable[[Any], Decimal]:
    """Reads a JSON string or integer of at most so many digits before and after the point; refuses everything else."""
    shape = re.compile(rf"-?[0-9]{{1,{whole}}}(\.[0-9]{{1,{places}}})?")
    bound = 10**whole

    def read(value: Any) -> Decimal:
        if isinstance(value, int) and not isinstance(value, bool) and -bound < value < bound:
            return Decimal(value)
        if not isinstance(value, str | int | Decimal) or isinstance(value, bool):
            raise PydanticCustomError(
                "decimal_not_string",
                'Send decimals as JSON strings, such as "12.50" (whole numbers may be JSON integers): a JSON number '
                "with a point or an exponent loses digits on its way, and NaN and Infinity are no amounts",
            )
        if isinstance(value, int) or not shape.fullmatch(text := str(value)):
            raise PydanticCustomError(
                "decimal_shape",
                'A decimal here is a string of plain digits such as "-12.5": at most {whole} before the point and '
                "{places} after it, no exponent, no separators",
                {"whole": whole, "places": places},
            )
        return Decimal(text) or Decimal(0)  # no minus before zero

    return read


def _json_schema(whole: int, places: int, example: str) -> WithJsonSchema:
    text = {"type": "string", "pattern": rf"^-?[0-9]{{1,{whole}}}(\.[0-9]{{1,{places}}})?$", "examples": [example]}
    return WithJsonSchema({"anyOf": [text, {"type": "integer"}]})


def _to_cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, context=EXACT)


def _margin(fraction: Decimal) -> Decimal:
    if not -1 <= fraction < 1:
        raise PydanticCustomError(
            "margin_range", "A margin is a fraction of the price, at least -1 and below 1: twelve percent is 0.12"
        )
    return fraction


def _fraction(fraction: Decimal) -> Decimal:
    if not 0 <= fraction <= 1:
        raise PydanticCustomError("fraction_range", "A fraction is between 0 and 1: twelve percent is 0.12")
    return fraction


def _between(low: int, high: int, code: str, sentence: str, *, open_below: bool = False) -> AfterValidator:
    """Refuses what is outside the two, `low` itself too when `open_below`."""

    def check(number: Decimal) -> Decimal:
        if not low <= number <= high or (open_below and number == low):
            raise PydanticCustomError(code, sentence)
        return number

    return AfterValidator(check)


Quantity: TypeAlias = Annotated[Decimal, PlainValidator(_reader(12, 6)), _json_schema(12, 6, "98868")]
"""Up to 12 digits and 6 places; negative for a deduction."""
UnitPrice: TypeAlias = Annotated[Decimal, PlainValidator(_reader(12, 6)), _json_schema(12, 6, "0.145")]
"""Money per unit, in the estimate's currency: up to 12 digits and 6 places; negative for a credit."""
Amount: TypeAlias = Annotated[
    Decimal, PlainValidator(_reader(13, 2)), AfterValidator(_to_cents), _json_schema(13, 2, "14335.86")
]
"""Money in the estimate's currency, to the cent: up to 15 digits."""
Sum: TypeAlias = Annotated[
    Decimal, PlainValidator(_reader(18, 2)), AfterValidator(_to_cents), _json_schema(18, 2, "2045323.78")
]
"""Amounts added up, to the cent: up to 20 digits."""
Margin: TypeAlias = Annotated[
    Decimal, PlainValidator(_reader(12, 6)), AfterValidator(_margin), _json_schema(1, 6, "0.12")
]
"""Target margin on price, as a fraction from -1 to below 1. Zero and negative (buying work) are allowed."""
Fraction: TypeAlias = Annotated[
    Decimal, PlainValidator(_reader(12, 6)), AfterValidator(_fraction), _json_schema(1, 6, "0.1")
]
"""From 0 to 1, six places."""
Rate: TypeAlias = Annotated[
    Decimal,
    PlainValidator(_reader(12, 6)),
    _between(
        -1,
        10,
        "rate_range",
        "A rate is a fraction of cost, above -1 and at most 10: twelve percent is 0.12",
        open_below=True,
    ),
    _json_schema(2, 6, "0.08"),
]
"""Mark-up on cost, as a fraction above -1 up to 10."""
AnnualRate: TypeAlias = Annotated[
    Decimal,
    PlainValidator(_reader(12, 6)),
    _between(
        -1,
        1,
        "annual_rate_range",
        "An annual rate is a fraction, above -1 and at most 1: three and a half percent is 0.035",
        open_below=True,
    ),
    _json_schema(1, 6, "0.035"),
]
"""Change of prices a year, as a fraction above -1 up to 1."""
Months: TypeAlias = Annotated[
    Decimal,
    PlainValidator(_reader(12, 6)),
    _between(0, 600, "months_range", "Months are between 0 and 600"),
    _json_schema(3, 6, "18"),
]
"""A span of time, parts of months allowed."""
ExchangeRate: TypeAlias = Annotated[
    Decimal,
    PlainValidator(_reader(9, 10)),
    _between(0, 10**9, "exchange_rate_range", "An exchange rate is above 0", open_below=True),
    _json_schema(9, 10, "1.0842"),
]
"""What one unit of the foreign currency is worth in the estimate's: ten places."""

_TWO_PLACES: Final = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC
CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR
JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO
NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP
SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD YER ZAR ZMW
"""
CURRENCIES: Final = frozenset(_TWO_PLACES.split())
"""ISO 4217 currencies whose minor unit has two places, since money is kept to two places."""


def _currency(code: str) -> str:
    if code not in CURRENCIES:
        raise PydanticCustomError(
            "currency_unknown",
            "A currency is the ISO 4217 code of one with two decimal places, in capitals, such as USD or EUR",
        )
    return code


Currency: TypeAlias = Annotated[str, AfterValidator(_currency)]
"""ISO 4217 code of a currency with two decimal places."""
