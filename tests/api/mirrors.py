"""A connection whose syncs a test plays itself: what workers would record, sent by the operator."""

import hashlib
from typing import Any
from uuid import UUID, uuid4, uuid5

import httpx

from domain.mirror_events import mirror_of
from tests.api.callers import Company

CANARY = "canary-4d6f8a-never-shown"
"""A secret that no answer may have."""
UPSTREAM: dict[str, Any] = {
    "kind": "http",
    "url": "https://erp.northern.example/api",
    "paging": {"by": "cursor"},
    "auth": {"by": "basic"},
    "push": {"path": "/changes"},
}
AMOUNTS = ("plan_cost", "forecast_cost", "actual_cost", "monthly_rate", "purchase_price")
DAYS = ("plan_start", "plan_end", "forecast_start", "forecast_end", "actual_start", "actual_end")
GROUPS = ("category", "source", "record_class", "area")


def mapping(**changed: Any) -> dict[str, Any]:
    """A mapping whose columns are called as our fields are; `id` identifies."""
    fields = [{"upstream": name, "name": name, "type": "category", "feeds": name} for name in GROUPS]
    fields += [{"upstream": name, "name": name, "type": "money", "feeds": name, "unit": "USD"} for name in AMOUNTS]
    fields += [{"upstream": name, "name": name, "type": "date", "feeds": name} for name in DAYS]
    fields += [{"upstream": "description", "name": "description", "type": "text", "feeds": "description"}]
    fields += [
        {"upstream": name, "name": name, "type": "boolean", "feeds": name}
        for name in ("is_actualised", "is_discontinued")
    ]
    return {"fields": fields, "identity": ["id"]} | changed


def connected(company: Company, **changed: Any) -> UUID:
    """An open connection with credentials and a mapping, which queries know of."""
    id_ = uuid4()
    body = {"name": "Plant ERP", "upstream": UPSTREAM, "credentials": {"username": "cairn", "secret": CANARY}}
    company.owner.done("connection", id_, "open-connection", body | changed)
    receipt = company.owner.done("connection", id_, "set-mapping", {"mapping": mapping()})
    company.viewer.seen(receipt, f"/connections/{id_}")
    return id_


def record_id(connection: UUID, number: int) -> UUID:
    """The id of a record of a connection."""
    return uuid5(connection, f"record {number}")


def record(connection: UUID, number: int, **values: Any) -> dict[str, Any]:
    """A record as a sync would record it."""
    digest = hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()[:32]
    named = {"record_id": str(record_id(connection, number)), "identity": [f"R-{number:05}"], "upstream_version": "1"}
    return named | {"digest": digest, "values": values}


def changed(connection: UUID, number: int, was: dict[str, Any], now: dict[str, Any], version: str) -> dict[str, Any]:
    """A change of a record as a sync would record it."""
    digest = hashlib.sha256(repr((number, version)).encode()).hexdigest()[:32]
    named = {"record_id": str(record_id(connection, number)), "upstream_version": version}
    return named | {"digest": digest, "was": was, "now": now}


class Sync:
    """A run that a test leads through its steps."""

    def __init__(self, company: Company, connection: UUID, mode: str = "full") -> None:
        self.company = company
        self.connection = connection
        self.run_id = uuid4()
        self.mode = mode

    def send(self, verb: str, **body: Any) -> httpx.Response:
        """What a worker would record of the run."""
        named = {"connection_id": str(self.connection), "run_id": str(self.run_id)}
        return self.company.operator.done("mirror", mirror_of(self.connection), verb, named | body)

    def begin(self, attempt: int = 1, mapping_version: int = 1) -> httpx.Response:
        """The worker takes it up."""
        began = f"2026-11-21T05:30:{attempt:02}Z"
        return self.send(
            "begin-sync",
            mode=self.mode,
            trigger="manual",
            mapping_version=mapping_version,
            began_at=began,
            attempt=attempt,
        )

    def record(self, processed: int = 0, **changes: Any) -> httpx.Response:
        """Something changed."""
        return self.send("record-changes", mapping_version=1, currency="USD", changes=changes, processed=processed)

    def finish(self, **counts: int) -> httpx.Response:
        """It saw everything."""
        return self.send("finish-sync", counts=counts, finished_at="2026-11-21T05:31:30Z")


def synced(company: Company, connection: UUID, **changes: Any) -> httpx.Response:
    """A whole run that recorded these changes."""
    sync = Sync(company, connection)
    sync.begin()
    sync.record(sum(map(len, changes.values())), **changes)
    return sync.finish(processed=1)
