"""Connections over HTTP: what the activity log tells of them and of syncs, and what is refused and how."""

from typing import Any
from uuid import UUID, uuid4

from domain.decider import Role
from domain.mirror_events import mirror_of
from tests.api.callers import Company, problem

FOLDER = {"kind": "folder", "folder": "exports"}
COST = {"upstream": "Budget", "name": "plan_cost", "type": "money", "feeds": "plan_cost", "unit": "USD"}
COUNTS = {"processed": 3, "inserted": 2, "faulty": 1}


def opened(company: Company, name: str) -> UUID:
    """A connection that is mapped."""
    connection = uuid4()
    body = {"name": name, "upstream": FOLDER, "credentials": {"username": "cairn", "secret": "of the tests"}}
    company.owner.done("connection", connection, "open-connection", body)
    mapping = {"mapping": {"fields": [COST], "identity": ["Item"]}}
    company.member(Role.ARCHITECT).done("connection", connection, "set-mapping", mapping)
    return connection


def synced(company: Company, connection: UUID) -> Any:
    """Two records and a fault, as a worker would report them; the last receipt."""
    run: dict[str, Any] = {"connection_id": str(connection), "run_id": str(uuid4())}
    mirror = mirror_of(connection)
    at = "2026-11-21T05:30:00Z"
    company.estimator.done("mirror", mirror, "request-sync", run)
    begun = run | {"mode": "full", "trigger": "manual", "mapping_version": 1, "began_at": at}
    company.operator.done("mirror", mirror, "begin-sync", begun)
    records = [
        {"record_id": str(uuid4()), "identity": [name], "digest": "0" * 32, "values": {"plan_cost": "12.50"}}
        for name in "AB"
    ]
    chunk = run | {"mapping_version": 1, "currency": "USD", "changes": {"inserted": records}, "processed": 3}
    company.operator.done("mirror", mirror, "record-changes", chunk)
    fault = {"row": 3, "code": "number-unreadable", "message": "'abc' is no number", "column": "Budget"}
    ended = run | {"counts": COUNTS, "finished_at": at, "faults": [fault]}
    return company.operator.done("mirror", mirror, "finish-sync", ended)


def test_a_sync_is_told_in_one_line_with_its_counts(company: Company) -> None:
    connection = opened(company, "Plant ERP")
    receipt = synced(company, connection)
    of_mirror = company.auditor.seen(receipt, f"/activity?entity_id={mirror_of(connection)}").json()["items"]
    assert [each["type"] for each in of_mirror] == [
        "mirror.sync-finished",
        "mirror.sync-began",
        "mirror.sync-requested",
    ]
    assert {each["entity_name"] for each in of_mirror} == {"Plant ERP"}
    told = of_mirror[0]["now"]
    assert {name: count for name, count in told["counts"].items() if count} == COUNTS
    assert told["faults"] == 1
    of_connection = company.auditor.get(f"/activity?entity_id={connection}").json()["items"]
    mapped, given, _ = of_connection
    assert mapped["now"] == {"version": 1, "field_count": 1, "currency": "USD"}
    assert given["now"] == {"username": "cairn", "secret": "[secret]"}


def test_a_renamed_connection_names_its_mirror_too(company: Company) -> None:
    connection = opened(company, "Plant ERP")
    synced(company, connection)
    moved = {"name": "Plant ERP, new", "upstream": FOLDER | {"folder": "newer"}}
    receipt = company.owner.done("connection", connection, "revise-connection", moved)
    for id_ in (connection, mirror_of(connection)):
        entry = company.auditor.seen(receipt, f"/activity?entity_id={id_}&limit=1").json()["items"][0]
        assert entry["entity_name"] == "Plant ERP, new"


def test_nobody_is_shown_a_secret(company: Company) -> None:
    opened(company, "Plant ERP")
    for caller in (company.operator, company.auditor, company.member(Role.SERVICE)):
        [event] = caller.get("/log?limit=1000&type=connection.credentials-replaced").json()["events"]
        assert event["data"] | {"type": 0} == {"type": 0, "username": "cairn", "secret": "[secret]"}


def test_a_mapping_is_refused_with_every_fault_at_its_path(company: Company) -> None:
    connection = opened(company, "Plant ERP")
    faulty = {"mapping": {"fields": [COST | {"unit": "dollars"}, COST | {"feeds": "plan_costs"}], "identity": []}}
    answer = company.owner.command("connection", connection, "set-mapping", faulty)
    paths = [fault["path"] for fault in problem(answer, 422, "request.body-invalid")["faults"]]
    assert "/mapping/identity" in paths
    dear = {"mapping": {"fields": [COST | {"unit": "EUR"}], "identity": ["Item"]}}
    refused = company.owner.command("connection", connection, "set-mapping", dear)
    assert problem(refused, 422, "connection.currency-fixed")["facts"] == {"currency": "USD", "asked": "EUR"}


def test_conflicts_are_the_companys_to_define(company: Company) -> None:
    assert company.viewer.get("/company").json()["conflict_rule"] == "field"
    company.owner.done("company", company.id, "change-settings", {"conflict_rule": "record"})
    assert company.viewer.get("/company").json()["conflict_rule"] == "record"
