"""Connects a trial system to the example ERP, and has its records mirrored: by commands, as a front end would."""

import json
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid5

import httpx
import msgspec

from cairn import erp
from cairn.client import ApiError, Client, Command, token_of
from cairn.demo import IDS
from domain.mirror_events import mirror_of

CONNECTION: Final = uuid5(IDS, "erp")
FIRST_RUN: Final = uuid5(CONNECTION, "first sync")
NAME: Final = "Example ERP"
DESCRIBED: Final = Path(__file__).parent / "data" / "erp-connection.json"
ENDED: Final = frozenset({"finished", "failed", "cancelled"})
WAIT_SECONDS_MAX: Final = 300.0
LOOK_SECONDS: Final = 0.2

PUBLISHED: Final[Mapping[str, tuple[int, Decimal]]] = {
    "plan": (8_372, Decimal(17_588_161_331)),
    "forecast": (13_133, Decimal(17_986_072_681)),
    "actual": (13_153, Decimal(6_021_748_727)),
}
"""How many amounts the first published export has, of the end of June 2025, and what they add up to in dollars."""

Advance = Callable[[str, int, int], None]


class Trial(msgspec.Struct, frozen=True):
    """What the tour tries things on: the connection, its mirror, its owner's drafts, a record that goes on, and ids for
    what is done: a draft, a sync, a commit. The ids are new ones whenever something has happened meanwhile.
    """

    erp: str
    mirror: UUID
    drafts: UUID
    record: UUID
    draft: UUID
    sync: UUID
    commit: UUID


class Mirrored(msgspec.Struct, frozen=True):
    """What came of the first sync: rows by what became of them."""

    counts: dict[str, int]
    trial: Trial


def load(url: str, token: str, erp_url: str, sample_data: str | None, advance: Advance) -> Mirrored:
    """Connects, maps and syncs; a second time nothing changes. Raises ApiError, also when the published sums are not
    read back.
    """
    _until_there(erp_url)
    with Client(url, token) as client:
        for command in _connecting(client, erp_url):
            client.send(command)
        request = {"connection_id": str(CONNECTION), "run_id": str(FIRST_RUN), "mode": "full"}
        receipt = client.send(Command("mirror", mirror_of(CONNECTION), "request-sync", request))
        run = _until_ended(client, token_of(receipt), advance)
        if run["status"] != "finished":
            raise ApiError(f"The sync with the example ERP {run['status']}: {run['code']} {run['facts']}")
        published = erp.exports(sample_data) is not None
        if published and not receipt["replayed"]:  # later the ERP has moved on
            _compare(client)
        return Mirrored(run["counts"], _trial(client, erp_url))


def _trial(client: Client, erp_url: str) -> Trial:
    page: dict[str, Any] = client.get(
        f"/connections/{CONNECTION}/records",
        record_class="In-Progress",
        sort="forecast_cost",
        direction="descending",
        limit=1,
    )
    [record] = page["items"]
    draft, sync, commit = (
        uuid5(CONNECTION, f"{what} after {page['position']}") for what in ("draft", "sync", "commit")
    )
    return Trial(
        erp=erp_url,
        mirror=mirror_of(CONNECTION),
        drafts=UUID(page["meta"]["drafts_id"]),
        record=UUID(record["record_id"]),
        draft=draft,
        sync=sync,
        commit=commit,
    )


def _compare(client: Client) -> None:
    """Reads the sums back, and refuses a difference of a cent."""
    found: dict[str, Any] = client.get(f"/connections/{CONNECTION}/kpis")["baseline"]
    for name, (count, amount) in PUBLISHED.items():
        given = found["records"] - found[f"{name}_missing"]
        if (given, Decimal(found[f"{name}_cost"])) != (count, amount):
            raise ApiError(f"{given} {name} costs add up to {found[f'{name}_cost']}; it should be {count} and {amount}")


def _until_there(erp_url: str) -> None:
    """Until the ERP has its records: it reads them when it is started for the first time."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    with httpx.Client(base_url=erp_url, trust_env=False) as client:
        while True:
            try:
                client.get("/health").raise_for_status()
            except httpx.HTTPError as error:
                if time.monotonic() > deadline:
                    raise ApiError(f"The example ERP does not answer at {erp_url}: {error}") from error
                time.sleep(LOOK_SECONDS)
            else:
                return


def _connecting(client: Client, erp_url: str) -> list[Command]:
    """What makes the connection what it should be: opened once, and led elsewhere where the ERP has moved."""
    described = json.loads(DESCRIBED.read_text(encoding="utf-8"))
    upstream = described["upstream"] | {"url": erp_url}
    credentials = {"username": "", "secret": erp.KEY}
    try:
        known: dict[str, Any] = client.get(f"/connections/{CONNECTION}")
    except ApiError as error:
        if error.code != "thing.unknown":
            raise
        opened = {"name": NAME, "upstream": upstream, "credentials": credentials}
        mapping = {"mapping": described["mapping"]}
        return [
            Command("connection", CONNECTION, "open-connection", opened),
            Command("connection", CONNECTION, "set-mapping", mapping),
        ]
    if known["upstream"]["url"] == erp_url:
        return []
    return [
        Command("connection", CONNECTION, "revise-connection", {"upstream": upstream}),
        Command("connection", CONNECTION, "replace-credentials", credentials),
    ]


def _until_ended(client: Client, after: str, advance: Advance) -> dict[str, Any]:
    """The first run, once it has ended."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while True:
        run: dict[str, Any] = client.get(f"/connections/{CONNECTION}/runs/{FIRST_RUN}", newer_than=after)
        done = run["counts"]["inserted"]
        advance("records of the example ERP", done, max(done, run["expected"] or 0))
        if run["status"] in ENDED:
            return run
        if time.monotonic() > deadline:
            raise ApiError(f"The sync with the example ERP has not ended in {WAIT_SECONDS_MAX:.0f} s: {run['status']}")
        time.sleep(LOOK_SECONDS)
