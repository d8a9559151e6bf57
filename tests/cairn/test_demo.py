"""The sample: figures as published, ids that follow from the contract, and a file that is read as it is published."""

from decimal import Decimal
from pathlib import Path

import pytest

from api.identity import secret_hash_of
from cairn import contract, demo
from domain.money import extension_of
from domain.units import canonical

CONTRACT = contract.load(None)
TOTALS = ["2163731.46", "2170573.95", "2191469.72", "2198798.96", "2201172.84"]

HEAD = (
    '"ContractId","SectionDescription","LineNumber","ItemNumber","ItemDescription","UnitPrice","Quantity","UnitName",'
    '"Engineers (Unit Price)","Engineers (Extended Amount)","0000000042 (Unit Price) ","0000000042 (Extension)  "'
)
FIRST = r'''"7","0001 -  SP","0005","1/2","6\'' PIPE","1.5","10","L F","1.5","15","    $1,000.50","   $10,005.00"'''
SECOND = '"7","0001 -  SP","0010","1/3","STRIPE","0.2","98868","L F","0.2","19773.6","         $.15","   $14,335.86"'
ABSTRACT = f"""\
"Letting Date","Job Description","Contract Id","SP Number","District","County"
"01/28/2022","A ROAD","7","1-2","North","SOUTH"

{HEAD}
{FIRST}
{SECOND}

"Bidder Number","Bidder Name","Bidder Amount"
"0000000042","Somebody, Inc.","   $24,340.86"
"""


def test_the_figures_add_up_to_the_cent() -> None:
    assert len(CONTRACT.lines) == 53
    assert CONTRACT.estimated() == Decimal("2045323.79")
    assert [str(CONTRACT.offered(offer)) for offer in CONTRACT.offers] == TOTALS


def test_unrounded_the_estimate_is_the_publishers() -> None:
    exact = sum(line.quantity * line.engineers_price for line in CONTRACT.lines)
    assert exact == Decimal("2045323.779980")


def test_two_lines_keep_the_extension_that_was_submitted() -> None:
    lowest = CONTRACT.offers[0]
    assert {number: str(amount) for number, amount in lowest.submitted.items()} == {
        "0125": "14335.86",
        "0130": "5788.98",
    }
    assert extension_of(Decimal(98868), Decimal("0.145")) == lowest.submitted["0125"]
    assert [offer.submitted for offer in CONTRACT.offers[1:]] == [{}] * 4


def test_every_unit_is_on_the_controlled_list() -> None:
    assert {canonical(line.unit) for line in CONTRACT.lines} == {"CY", "EA", "LF", "LS", "SF", "SY", "TON"}


def test_a_published_abstract_is_read() -> None:
    found = contract.read_abstract(ABSTRACT)
    assert (found.number, found.let_on, found.lines[0].description) == ("7", "2022-01-28", '6" PIPE')
    offer = found.offers[0]
    assert (offer.bidder, offer.name) == ("42", "Somebody, Inc.")
    assert offer.prices == {"0005": Decimal("1000.50"), "0010": Decimal("0.15")}
    assert offer.submitted == {"0010": Decimal("14335.86")}
    assert found.offered(offer) == Decimal("24340.86")


def test_another_folder_is_taken_when_given(tmp_path: Path) -> None:
    path = tmp_path / contract.PUBLISHED
    path.parent.mkdir()
    path.write_text(ABSTRACT)
    assert contract.load(str(tmp_path)).number == "7"


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", ABSTRACT.replace("$14,335.86", "nothing")])
def test_what_is_no_abstract_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"abstract|unpack"):
        contract.read_abstract(text)


def test_ids_follow_from_the_contract() -> None:
    assert demo.project_id(CONTRACT) == demo.project_id(contract.load(None))
    ids = [demo.estimate_id(CONTRACT, version) for version in range(1, 7)]
    assert len({*ids, *(demo.line_id(CONTRACT, line.number) for line in CONTRACT.lines)}) == 59


def test_the_token_follows_from_the_operators_and_the_year() -> None:
    token = demo.owner_token("cairn_operator_secret", 2026)
    assert token == demo.owner_token("cairn_operator_secret", 2026)
    assert (
        len({token, demo.owner_token("cairn_operator_other", 2026), demo.owner_token("cairn_operator_secret", 2027)})
        == 3
    )
    assert len(secret_hash_of(token)) == 64
