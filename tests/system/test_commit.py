"""A thousand drafts on their way to the ERP while everything is killed, one process after the other."""

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from cairn import erp, mirroring
from tests.running import Up

DRAFTED = 1_000
BATCH = 50
VICTIMS = (
    "syncer",
    "commands",
    "postgres",
    "examples.upstream",
    "projector",
    "nats-server",
    "relay",
    "syncer",
    "postgres",
)
PATIENCE_SECONDS = 150.0
MINE = "4321987.00"


class Office:
    """Somebody who works with the sample of a running system."""

    def __init__(self, up: Up) -> None:
        variables = dict(
            line.split("=", 1) for line in up.lines if line.partition("=")[0].isupper() and " " not in line
        )
        self.trial = {name.lower(): value for name, value in variables.items()}
        headers = {"Authorization": f"Bearer {variables['TOKEN']}"}
        self.http = httpx.Client(base_url=variables["CAIRN"], headers=headers, timeout=30, trust_env=False)
        shown = {"X-API-Key": erp.KEY}
        self.erp = httpx.Client(base_url=variables["ERP"], headers=shown, timeout=30, trust_env=False)
        self.connection = f"/connections/{mirroring.CONNECTION}"

    def close(self) -> None:
        self.http.close()
        self.erp.close()

    def send(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self.http.post(f"/commands/{path}", json=body, headers={"Idempotency-Key": str(uuid4())})
        assert answer.is_success, answer.text
        receipt: dict[str, Any] = answer.json()
        self.http.headers["Cairn-After"] = f"{receipt['epoch']}.{receipt['position']}"
        return receipt

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        answer = self.http.get(path, params=query)
        assert answer.is_success, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def asked_of_erp(self, path: str, **query: Any) -> dict[str, Any]:
        answer = self.erp.get(path, params=query).raise_for_status()
        document: dict[str, Any] = answer.json()
        return document


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    system = Up(tmp_path / "data")
    system.until_up()
    yield system
    system.end()


@pytest.fixture
def office(up: Up) -> Iterator[Office]:
    caller = Office(up)
    yield caller
    caller.close()


def _until(look: Callable[[], Any]) -> Any:
    """What is seen once there is something to see. A server that is being started again is no answer."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            seen = look()
        except (httpx.TransportError, httpx.HTTPStatusError, AssertionError):
            seen = None
        if seen:
            return seen
        assert time.monotonic() < deadline, "nothing came of it"
        time.sleep(0.05)


def _confirmed(office: Office, changeset: str, least: int) -> bool:
    return bool(office.get(f"/changesets/{changeset}")["records"]["confirmed"] >= least)


def test_a_commit_loses_nothing_and_writes_nothing_twice_whatever_is_killed(up: Up, office: Office) -> None:
    connection = office.get(office.connection)
    smaller = connection["upstream"] | {"push": connection["upstream"]["push"] | {"batch_max": BATCH}}
    office.send(f"connection/{mirroring.CONNECTION}/revise-connection", {"upstream": smaller})
    page = office.get(f"{office.connection}/records", record_class="In-Progress", limit=500)
    more = office.get(f"{office.connection}/records", record_class="In-Progress", limit=500, cursor=page["next"])
    records = [*page["items"], *more["items"]][:DRAFTED]
    assert len(records) == DRAFTED
    drafts = [{"record_id": each["record_id"], "fields": {"forecast_cost": MINE}} for each in records]
    body = {"connection_id": str(mirroring.CONNECTION), "drafts": drafts}
    office.send(f"drafts/{office.trial['drafts']}/save-drafts", body)
    before = office.asked_of_erp("/records", per_page=1)["as_of_version"]

    changeset = str(uuid4())
    _slowed(office)
    opened = {"connection_id": str(mirroring.CONNECTION), "drafts_id": office.trial["drafts"]}
    office.send(f"changeset/{changeset}/open-changeset", opened)
    for number, victim in enumerate(VICTIMS):
        _until(partial(_confirmed, office, changeset, number * BATCH + 1))
        up.named(victim).kill()
        _until(lambda: office.http.get("/health/ready").is_success)
        _until(lambda: _slowed(office))

    _until(lambda: office.get(f"/changesets/{changeset}")["status"] == "finished")
    ended = office.get(f"/changesets/{changeset}")["records"]
    assert ended == {name: DRAFTED if name == "confirmed" else 0 for name in ended}
    changed = office.asked_of_erp("/records", since_version=before, per_page=5000)
    assert sorted(each["id"] for each in changed["records"]) == sorted(each["identity"][0] for each in records)
    assert {float(each["EST_FINAL_AMT"]) for each in changed["records"]} == {float(MINE)}
    assert changed["as_of_version"] == before + DRAFTED, "each was written once"
    meta = office.get(f"{office.connection}/records", limit=1)["meta"]
    assert (meta["drafts"], meta["total"]) == (0, erp.MADE_UP)
    kept = office.get(f"{office.connection}/records/{records[0]['record_id']}")
    assert (kept["baseline"]["forecast_cost"], kept["draft"]) == (MINE, None)


def _slowed(office: Office) -> bool:
    """The ERP takes its time, so that there is a middle to be killed in. A new process of it has to be told again."""
    return office.erp.post("/faults", content=json.dumps({"slow_ms": 150, "only": "/changes"})).is_success
