"""Loads the sample by commands through the API: a company, its owner, a project, the engineer's estimate, five bids.

Every id follows from the contract, and every command id from what the command says: loading twice changes nothing.
"""

import base64
import hmac
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

import msgspec

from api.identity import secret_hash_of
from cairn.client import ApiError, Client, Command, token_of
from cairn.contract import Contract, Line, Offer

IDS = UUID("0f4f1c1a-64b7-5d0e-9d35-7a2c1b8e6f10")
COMPANY = uuid5(IDS, "company")
OWNER = uuid5(IDS, "owner")
BATCH = 50
"""Commands in one request."""

Advance = Callable[[str, int, int], None]
"""Told what is being loaded, how many commands are done and how many there are."""


class Loaded(msgspec.Struct, frozen=True):
    """What was loaded, and the token to look at it with. `totals` by version: (title, what it adds up to).

    `position` is the log's after the load, `bid_started_at` where the first bid still had the engineer's prices, and
    `rumble_strips` the id of a line whose submitted extension is not quantity × shown price.
    """

    company: UUID
    token: str
    project: UUID
    estimates: list[UUID]
    totals: list[tuple[str, Decimal]]
    after: str
    position: int
    bid_started_at: int
    rumble_strips: UUID


def load(url: str, operator_token: str, contract: Contract, advance: Advance) -> Loaded:
    """Load the contract. Raises ApiError, also when the totals read back are not the contract's to the cent."""
    batches = [(f"bid of {_name(offer)}", list(_bid(contract, offer))) for offer in contract.offers]
    batches.insert(0, ("engineer's estimate", list(_engineers_estimate(contract))))
    total = sum(len(commands) for _, commands in batches)
    token = owner_token(operator_token, datetime.now(UTC).year)
    advance("company", 0, total)
    with Client(url, operator_token, COMPANY) as operator:
        for command in _company(token):
            operator.send(command)
    receipts: list[dict[str, Any]] = []
    with Client(url, token) as owner:
        for title, commands in batches:
            for begin in range(0, len(commands), BATCH):
                advance(title, len(receipts), total)
                receipts += owner.send_all(commands[begin : begin + BATCH])
        advance("comparing totals", total, total)
        loaded = _loaded(contract, token, receipts)
        _compare(owner, loaded)
    return loaded


def owner_token(operator_token: str, year: int) -> str:
    """The sample owner's token, good until the end of the next year. It follows from the operator's."""
    digest = hmac.digest(operator_token.encode(), f"owner of {COMPANY} in {year}".encode(), "sha256")
    return f"cairn_{COMPANY.hex}_{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def estimate_id(contract: Contract, version: int) -> UUID:
    """The id of the engineer's estimate (version 1) or of a bid."""
    return uuid5(IDS, f"{contract.number}/version {version}")


def project_id(contract: Contract) -> UUID:
    """The id of the contract's project."""
    return uuid5(IDS, contract.number)


def line_id(contract: Contract, number: str) -> UUID:
    """The id of a line, the same in every version."""
    return uuid5(IDS, f"{contract.number}/line {number}")


def _company(token: str) -> Iterator[Command]:
    """What only the operator can do: the company, its first owner, and a token for them."""
    company = {"name": "Sample Contractors", "tier": "sample", "currency": "USD"}
    yield Command("company", COMPANY, "register-company", company)
    owner = {"name": "Olive Owner", "email": "olive@sample.example", "role": "owner"}
    yield Command("membership", OWNER, "add-member", owner)
    secret_hash, year = secret_hash_of(token), datetime.now(UTC).year
    issued = {
        "token_id": str(uuid5(IDS, secret_hash)),
        "secret_hash": secret_hash,
        "label": "the tour",
        "expires_at": f"{year + 1}-12-31T23:59:59Z",
    }
    yield Command("membership", OWNER, "issue-token", issued)


def _engineers_estimate(contract: Contract) -> Iterator[Command]:
    project = {
        "name": f"MnDOT contract {contract.number}",
        "building_type": "highway",
        "location": f"{contract.county.title()} County, MN",
        "metadata": {
            "description": contract.description,
            "state project": contract.state_project,
            "district": contract.district,
            "let on": contract.let_on,
            "source": contract.source,
        },
    }
    yield Command("project", project_id(contract), "create-project", project)
    started = {"project_id": str(project_id(contract)), "currency": "USD", "title": "Engineer's estimate"}
    yield Command("estimate", estimate_id(contract, 1), "start-estimate", started)
    lines = {"lines": [_line(contract, line) for line in contract.lines]}
    yield Command("estimate", estimate_id(contract, 1), "import-lines", lines)
    yield Command("estimate", estimate_id(contract, 1), "submit-estimate", {})


def _line(contract: Contract, line: Line) -> dict[str, Any]:
    return {
        "line_id": str(line_id(contract, line.number)),
        "wbs_path": [" ".join(line.section.split())],
        "code": line.code,
        "code_set": "MnDOT",
        "description": line.description,
        "quantity": str(line.quantity),
        "unit": line.unit,
        "unit_price": str(line.engineers_price),
        "note": f"Line {line.number}",
    }


def _bid(contract: Contract, offer: Offer) -> Iterator[Command]:
    """A version started from the engineer's, each line with the bidder's price, then frozen."""
    version = contract.offers.index(offer) + 2
    estimate = estimate_id(contract, version)
    started = {
        "project_id": str(project_id(contract)),
        "parent_id": str(estimate_id(contract, 1)),
        "currency": "USD",
        "title": f"Bid of {_name(offer)}",
        "notes": f"Bid of {_name(offer)}, bidder {offer.bidder}, as read at the letting of {contract.let_on}.",
    }
    yield Command("estimate", estimate, "start-estimate", started)
    for line in contract.lines:
        revised = {"line_id": str(line_id(contract, line.number)), "unit_price": str(offer.prices[line.number])}
        if line.number in offer.submitted:
            revised["extension"] = str(offer.submitted[line.number])
        yield Command("estimate", estimate, "revise-line", revised)
    yield Command("estimate", estimate, "submit-estimate", {})


def _name(offer: Offer) -> str:
    return offer.name or f"bidder {offer.bidder}"


def _loaded(contract: Contract, token: str, receipts: list[dict[str, Any]]) -> Loaded:
    totals = [("Engineer's estimate", contract.estimated())]
    totals += [(f"Bid of {_name(offer)}", contract.offered(offer)) for offer in contract.offers]
    versions = range(1, len(totals) + 1)
    return Loaded(
        company=COMPANY,
        token=token,
        project=project_id(contract),
        estimates=[estimate_id(contract, version) for version in versions],
        totals=totals,
        after=token_of(receipts[-1]),
        position=receipts[-1]["position"],
        bid_started_at=receipts[len(list(_engineers_estimate(contract)))]["position"],
        rumble_strips=line_id(contract, next(iter(contract.offers[0].submitted))),
    )


def _compare(owner: Client, loaded: Loaded) -> None:
    """Read every total back, and refuse a difference of a cent."""
    for id, (title, expected) in zip(loaded.estimates, loaded.totals, strict=True):
        estimate: Mapping[str, Any] = owner.get(f"/estimates/{id}", newer_than=loaded.after)
        if Decimal(str(estimate["base_total"])) != expected:
            raise ApiError(f"{title} adds up to {estimate['base_total']}, and should to {expected}")
