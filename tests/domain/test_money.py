"""Decimals as they are sent, and the rules that round them."""

from decimal import Decimal, localcontext
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.money import Amount, Currency, Fraction, Margin, Quantity, extension_of, final_bid, plain


def read(kind: Any, json: str) -> object:
    """As the API reads it."""
    return pydantic.TypeAdapter[object](kind).validate_json(json)


def fault(kind: Any, json: str) -> tuple[str, str]:
    """The type and message it is refused with."""
    with pytest.raises(pydantic.ValidationError) as refused:
        read(kind, json)
    (error,) = refused.value.errors()
    return error["type"], error["msg"]


@pytest.mark.parametrize(
    ("quantity", "unit_price", "extension"),
    [
        ("98868", "0.145", "14335.86"),
        ("98868", "0.15", "14830.20"),  # what deriving from the shown price would have said
        ("15", "172.365350", "2585.48"),
        ("1", "0.005", "0.01"),
        ("-1", "0.005", "-0.01"),
        ("1", "0.004999", "0.00"),
        ("0", "-5", "0.00"),
        ("999999999999.999999", "999999999999.999999", "999999999999999998000000.00"),
    ],
)
def test_extension_rounds_once_half_up(quantity: str, unit_price: str, extension: str) -> None:
    assert str(extension_of(Decimal(quantity), Decimal(unit_price))) == extension


@pytest.mark.parametrize(
    ("base", "margin", "bid"),
    [
        ("2045323.78", "0.12", "2324231.57"),
        ("2091323.78", "0.12", "2376504.30"),
        ("2079323.78", "0.12", "2362867.93"),
        ("100.00", "0", "100.00"),
        ("100.00", "-0.25", "80.00"),
        ("0.00", "0.5", "0.00"),
        ("1.00", "0.999999", "1000000.00"),
    ],
)
def test_final_bid_is_margin_on_price(base: str, margin: str, bid: str) -> None:
    assert str(final_bid(Decimal(base), Decimal(margin))) == bid


def test_rounding_ignores_the_callers_context() -> None:
    with localcontext(prec=3):
        assert extension_of(Decimal("98868"), Decimal("0.145")) == Decimal("14335.86")
        assert final_bid(Decimal("2045323.78"), Decimal("0.12")) == Decimal("2324231.57")


@pytest.mark.parametrize(
    ("json", "value"), [('"98868"', "98868"), ("98868", "98868"), ('"0.145"', "0.145"), ('"-0.00"', "0"), ("-7", "-7")]
)
def test_decimals_are_strings_or_whole_numbers(json: str, value: str) -> None:
    assert read(Quantity, json) == Decimal(value)
    assert not str(read(Quantity, json)).startswith("-0")


@pytest.mark.parametrize("json", ["0.145", "1e3", "NaN", "Infinity", "-Infinity", "1e400", "true", "null", "[1]", "{}"])
def test_json_numbers_with_a_point_or_exponent_are_refused(json: str) -> None:
    kind, message = fault(Quantity, json)
    assert kind == "decimal_not_string"
    assert "Send decimals as JSON strings" in message


@pytest.mark.parametrize(
    "json",
    [
        *('"NaN"', '"sNaN"', '"Infinity"', '"1e400"', '"1E-3"', '"0.1234567"', '"1234567890123"', '""', '" 1"', '"1 "'),
        *('".5"', '"5."', '"+5"', '"1,000"', '"1_000"', '"٣"', '"0x10"', "1234567890123", "9" * 40, f'"{"9" * 40}"'),
    ],
)
def test_other_spellings_are_refused(json: str) -> None:
    kind, message = fault(Quantity, json)
    assert kind == "decimal_shape"
    assert "at most 12 before the point and 6 after it" in message


def test_amounts_are_to_the_cent() -> None:
    assert str(read(Amount, '"14335.8"')) == "14335.80"
    assert str(read(Amount, '"9999999999999.99"')) == "9999999999999.99"
    assert fault(Amount, '"0.145"')[0] == "decimal_shape"
    assert fault(Amount, '"10000000000000"')[0] == "decimal_shape"


@pytest.mark.parametrize("json", ['"1"', "1", '"12"', '"1.000001"', '"-1.000001"'])
def test_margin_is_below_one(json: str) -> None:
    assert fault(Margin, json)[0] == "margin_range"


@pytest.mark.parametrize("json", ['"0.999999"', '"0"', '"-1"', '"-0.05"'])
def test_margin_may_be_zero_or_negative(json: str) -> None:
    read(Margin, json)


def test_fractions_and_currencies() -> None:
    assert read(Fraction, '"1"') == 1
    assert fault(Fraction, '"1.1"')[0] == "fraction_range"
    assert read(Currency, '"USD"') == "USD"
    assert {fault(Currency, json)[0] for json in ('"usd"', '"JPY"', '"XXX"', '""')} == {"currency_unknown"}


@given(st.decimals(-(10**12), 10**12, places=6))
def test_plain_is_one_spelling_per_value(number: Decimal) -> None:
    text = plain(number)
    assert Decimal(text) == number
    assert text == plain(number * Decimal("1.000"))
    assert not set(text) & set("eE+")
