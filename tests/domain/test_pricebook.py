"""A price book: opened, its prices imported."""

import json
from datetime import date
from decimal import Decimal

import pydantic
import pytest

from domain.pricebook import ImportPrices, OpenPriceBook, Price, PriceBookOpened, PricesImported, name_of, pricebook
from tests.specs import given

OPEN = OpenPriceBook(name="MnDOT average bids", edition="2021", currency="USD", dated_on=date(2021, 12, 31))
OPENED = PriceBookOpened(name="MnDOT average bids", edition="2021", currency="USD", dated_on=date(2021, 12, 31))
BODY: dict[str, object] = {"code": "A", "description": "REMOVE PAVEMENT", "unit": "S Y", "unit_price": "5.72882"}
PRICE = Price(code="A", description="REMOVE PAVEMENT", unit="SY", unit_price=Decimal("5.72882"))


def prices(*bodies: dict[str, object]) -> ImportPrices:
    return ImportPrices.model_validate_json(json.dumps({"prices": bodies}))


def test_opening() -> None:
    scene = given(pricebook)
    scene.when(OPEN).then(OPENED)
    scene.when(OPEN).then_nothing()
    scene.when(prices(BODY), OPEN).then_nothing()
    other = OpenPriceBook(name="Others", edition="2021", currency="USD", dated_on=date(2021, 12, 31))
    scene.when(other).then_rejected("pricebook.already-opened", "conflict", name="MnDOT average bids")


def test_importing() -> None:
    scene = given(pricebook, OPENED)
    scene.when(prices(BODY)).then(PricesImported(prices=(PRICE,)))
    scene.when(prices(BODY | {"unit_price": "5.728820"})).then_nothing()
    dearer = Price(code="A", description="REMOVE PAVEMENT", unit="SY", unit_price=Decimal(6), category="Removals")
    scene.when(prices(BODY | {"unit_price": 6, "category": "Removals"})).then(PricesImported(prices=(dearer,)))
    assert dict(scene.state.prices.items()) == {name_of(dearer): dearer}


def test_one_code_may_be_priced_by_unit_and_cost_type() -> None:
    """As published books have it: a machine's code is that of the electricity it takes."""
    scene = given(pricebook, OPENED)
    found = [("SY", "other"), ("EA", "other"), ("SY", "labour")]
    bodies = [BODY | {"unit": unit, "cost_type": cost_type} for unit, cost_type in found]
    scene.when(prices(*bodies)).then_accepted()
    assert {(price.unit, price.cost_type) for price in scene.state.prices.values()} == set(found)


def test_importing_is_refused() -> None:
    given(pricebook).when(prices(BODY)).then_rejected("pricebook.unknown", "missing")
    given(pricebook, OPENED).when(prices(BODY, BODY | {"unit_price": "7"})).then_rejected(
        "pricebook.import-refused", faults=[{"index": 1, "code": "pricebook.price-repeated", "repeated": "A"}]
    )
    with pytest.raises(pydantic.ValidationError, match="at most 20000"):
        prices(*[BODY] * 20_001)
    with pytest.raises(pydantic.ValidationError) as refused:
        prices(BODY | {"unit": "M", "unit_price": 1.5, "cost_type": "x"}, BODY | {"unit_price": "1e3"})
    assert [each["loc"] for each in refused.value.errors()] == [
        ("prices", 0, "unit"),
        ("prices", 0, "unit_price"),
        ("prices", 0, "cost_type"),
        ("prices", 1, "unit_price"),
    ]


def test_a_book_of_another_kind_of_money_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="ISO 4217"):
        OpenPriceBook(name="x", edition="1", currency="JPY", dated_on=date(2021, 12, 31))
