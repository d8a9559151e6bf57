"""Loads the sample by commands through the API: a company, its owner, a contract with its bids, and a portfolio.

Every id follows from what is loaded, and every command id from what the command says: loading twice changes nothing.
"""

import base64
import hmac
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import UUID, uuid5

import msgspec

from api.identity import secret_hash_of
from cairn import catalogues, contract, forecasts, generate
from cairn.client import ApiError, Client, Command, token_of
from cairn.contract import Contract, Line, Offer

IDS = UUID("0f4f1c1a-64b7-5d0e-9d35-7a2c1b8e6f10")
COMPANY = uuid5(IDS, "company")
OWNER = uuid5(IDS, "owner")
BATCH = 50
"""Commands in one request."""
CALLERS = 4
"""Requests in flight."""
GENERATED = 25
"""Projects of the portfolio that is made up where no published data is at hand."""
SEED = 2026
BESIDE = Path(__file__).parents[2] / "shared" / "data"
"""Where published data is looked for when no folder is named."""

CARRIED = "carried"
"""Named instead of a folder: nothing but what is carried along."""

Chapter = tuple[str, list[list[Command]]]
"""A title, and runs of commands: those of one run in order, the runs in any order."""
Advance = Callable[[str, int, int], None]
"""Told what is being loaded, how many commands are done and how many there are."""


class Sample(msgspec.Struct, frozen=True):
    """What there is to load. `sums` is what the portfolio's forecasts add up to, by the date they were reported on."""

    contract: Contract
    chapters: list[Chapter]
    sums: dict[date, Decimal]


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


def carried() -> Sample:
    """What needs no files: the contract's figures, and a portfolio made up."""
    return Sample(contract.load(None), [("a synthetic portfolio", list(generate.batches(GENERATED, SEED)))], {})


def at_hand(folder: str | None) -> Sample:
    """The sample: from the published files in `folder`, or where they usually lie; else, and for the folder `carried`,
    what needs no files. Raises OSError, ValueError.
    """
    if folder == CARRIED or (folder is None and not BESIDE.is_dir()):
        return carried()
    where = Path(folder or BESIDE)
    reports = forecasts.read(where)
    chapters = [
        ("code sets", list(catalogues.code_sets(where))),
        ("price books", list(catalogues.price_books(where))),
        ("capital projects", list(forecasts.batches(reports))),
    ]
    return Sample(contract.load(str(where)), chapters, forecasts.at_each_date(reports))


def load(url: str, operator_token: str, sample: Sample, advance: Advance) -> Loaded:
    """Load the sample. Raises ApiError, also when what is read back is not the published figures to the cent."""
    offered = sample.contract.offers
    bids = [(f"bid of {_name(offer)}", [list(_bid(sample.contract, offer))]) for offer in offered]
    first: Chapter = ("engineer's estimate", [list(_engineers_estimate(sample.contract))])
    chapters = [first, *bids, *sample.chapters]
    token = owner_token(operator_token, datetime.now(UTC).year)
    progress = _Progress(sum(len(run) for _, runs in chapters for run in runs), advance)
    with Client(url, operator_token, COMPANY) as operator:
        progress.begin("company")
        for command in _company(token):
            operator.send(command)
    with Client(url, token) as owner:
        receipts = [_load_chapter(owner, chapter, progress) for chapter in chapters]
        progress.begin("comparing totals")
        loaded = _loaded(sample.contract, token, receipts)
        _compare(owner, loaded)
        _compare_sums(owner, sample.sums, loaded.after)
    return loaded


def send(client: Client, chapters: Iterable[Chapter], advance: Advance) -> int:
    """Sends chapters, one after the other; how many commands there were. Raises ApiError."""
    known = list(chapters)
    total = sum(len(run) for _, runs in known for run in runs)
    progress = _Progress(total, advance)
    for chapter in known:
        _load_chapter(client, chapter, progress)
    return total


class _Progress:
    """Tells how far a load is, from several threads."""

    def __init__(self, total: int, advance: Advance) -> None:
        self._total = total
        self._advance = advance
        self._title = ""
        self._done = 0
        self._lock = Lock()

    def begin(self, title: str) -> None:
        with self._lock:
            self._title = title
            self._advance(title, self._done, self._total)

    def more(self, count: int) -> None:
        with self._lock:
            self._done += count
            self._advance(self._title, self._done, self._total)


def _load_chapter(client: Client, chapter: Chapter, progress: _Progress) -> list[dict[str, Any]]:
    """The receipts, in the order of the commands."""
    title, runs = chapter
    progress.begin(title)

    def load_run(run: list[Command]) -> list[dict[str, Any]]:
        receipts: list[dict[str, Any]] = []
        for begin in range(0, len(run), BATCH):
            sent = client.send_all(run[begin : begin + BATCH])
            progress.more(len(sent))
            receipts += sent
        return receipts

    with ThreadPoolExecutor(CALLERS) as callers:
        return [receipt for receipts in callers.map(load_run, runs) for receipt in receipts]


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


def _loaded(contract: Contract, token: str, receipts: list[list[dict[str, Any]]]) -> Loaded:
    """`receipts` by chapter: the engineer's estimate, the bids, the rest."""
    totals = [("Engineer's estimate", contract.estimated())]
    totals += [(f"Bid of {_name(offer)}", contract.offered(offer)) for offer in contract.offers]
    versions = range(1, len(totals) + 1)
    last = max((receipt for chapter in receipts for receipt in chapter), key=lambda receipt: receipt["position"])
    return Loaded(
        company=COMPANY,
        token=token,
        project=project_id(contract),
        estimates=[estimate_id(contract, version) for version in versions],
        totals=totals,
        after=token_of(last),
        position=last["position"],
        bid_started_at=receipts[1][0]["position"],
        rumble_strips=line_id(contract, next(iter(contract.offers[0].submitted))),
    )


def _compare(owner: Client, loaded: Loaded) -> None:
    """Read every total back, and refuse a difference of a cent."""
    for id, (title, expected) in zip(loaded.estimates, loaded.totals, strict=True):
        estimate: Mapping[str, Any] = owner.get(f"/estimates/{id}", newer_than=loaded.after)
        if Decimal(str(estimate["base_total"])) != expected:
            raise ApiError(f"{title} adds up to {estimate['base_total']}, and should to {expected}")


def _compare_sums(owner: Client, sums: Mapping[date, Decimal], after: str) -> None:
    """Ask for the sum of all forecasts as of each date they were reported on."""
    for day, expected in sums.items():
        answer: Mapping[str, Any] = owner.get("/portfolio/forecast", newer_than=after, effective_on=str(day))
        found = sum((Decimal(each["base_total"]) for each in answer["sums"]), Decimal(0))
        if found != expected:
            raise ApiError(f"the forecasts of {day} add up to {found}, and should to {expected}")
