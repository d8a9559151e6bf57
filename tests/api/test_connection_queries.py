"""Connections over HTTP: what they are, how their syncs go while they go, and what a mapping makes of rows."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.mirror_events import mirror_of
from tests.api.callers import Company, problem
from tests.api.mirrors import CANARY, Sync, changed, connected, mapping, record, record_id, synced


def test_a_connection_is_shown_without_its_secret(company: Company) -> None:
    id_ = connected(company)
    schedule = {"cron": "30 5 * * 1-5", "time_zone": "America/Chicago"}
    receipt = company.owner.done("connection", id_, "set-schedule", {"schedule": schedule})
    shown = company.viewer.seen(receipt, f"/connections/{id_}").json()
    assert (shown["name"], shown["kind"], shown["status"]) == ("Plant ERP", "http", "open")
    assert shown["mirror_id"] == str(mirror_of(id_))
    assert (shown["has_credentials"], shown["username"]) == (True, "cairn")
    assert (shown["mapping_version"], shown["currency"], shown["records"]) == (1, "USD", 0)
    assert shown["schedule"]["cron"] == "30 5 * * 1-5"
    assert (shown["syncing"], shown["last_synced_at"], shown["last_failed_at"]) == (None, None, None)
    listed = company.viewer.get("/connections").json()["items"]
    assert listed == [shown]


def test_a_connection_is_read_as_it_was(company: Company) -> None:
    id_ = connected(company)
    before = company.head()
    company.owner.done("connection", id_, "revise-connection", {"name": "Plant ERP, new"})
    stopped = company.owner.done("connection", id_, "disable-connection", {"reason": "The ERP is moved"})
    now = company.viewer.seen(stopped, f"/connections/{id_}").json()
    assert (now["name"], now["status"], now["reason"]) == ("Plant ERP, new", "disabled", "The ERP is moved")
    then = company.viewer.get(f"/connections/{id_}", params={"at": before}).json()
    assert (then["name"], then["status"], then["reason"]) == ("Plant ERP", "open", None)
    assert company.viewer.get("/connections", params={"status": "disabled"}).json()["items"] == [now]
    assert company.viewer.get("/connections", params={"status": "closed"}).json()["items"] == []
    closed = company.owner.done("connection", id_, "close-connection", {"reason": "Replaced"})
    assert company.viewer.seen(closed, f"/connections/{id_}").json()["status"] == "closed"


def test_every_mapping_is_kept(company: Company) -> None:
    id_ = connected(company)
    wanted = mapping(missing=[{"word": "DOER", "reason": "not published"}])
    receipt = company.owner.done("connection", id_, "set-mapping", {"mapping": wanted})
    path = f"/connections/{id_}/mappings"
    newest, first = company.viewer.seen(receipt, path).json()["items"]
    assert (newest["version"], first["version"]) == (2, 1)
    assert newest["mapping"]["missing"] == [{"word": "DOER", "reason": "not published"}]
    assert first["mapping"]["fields"][0]["feeds"] == "category"
    page = company.viewer.get(path, params={"limit": 1}).json()
    assert page["items"] == [newest]
    assert company.viewer.get(path, params={"limit": 1, "cursor": page["next"]}).json()["items"] == [first]


def test_a_sync_is_followed_while_it_runs(company: Company) -> None:
    id_ = connected(company)
    sync = Sync(company, id_)
    asked = {"connection_id": str(id_), "run_id": str(sync.run_id)}
    receipt = company.estimator.done("mirror", mirror_of(id_), "request-sync", asked)
    path = f"/connections/{id_}/runs/{sync.run_id}"
    requested = company.viewer.seen(receipt, path).json()
    assert (requested["status"], requested["attempt"], requested["began_at"]) == ("requested", 0, None)
    assert company.viewer.get(f"/connections/{id_}").json()["syncing"] == str(sync.run_id)
    sync.begin()
    sync.record(1_000, inserted=[record(id_, number, plan_cost="10.00") for number in range(3)])
    running = company.viewer.seen(sync.record(500, inserted=[record(id_, 3)]), path).json()
    assert (running["status"], running["attempt"], running["expected"]) == ("running", 1, None)
    assert (running["counts"]["processed"], running["counts"]["inserted"]) == (1_500, 4)
    assert running["duration_seconds"] is None
    faults = [{"row": 123_456, "code": "amount-unreadable", "message": "'ten' is no amount", "column": "plan_cost"}]
    counts = {"processed": 2_000, "inserted": 4, "faulty": 1}
    ended = sync.send("finish-sync", counts=counts, finished_at="2026-11-21T05:31:31Z", faults=faults)
    finished = company.viewer.seen(ended, path).json()
    assert (finished["status"], finished["duration_seconds"], finished["faults"]) == ("finished", 90.0, faults)
    assert {name: count for name, count in finished["counts"].items() if count} == counts
    shown = company.viewer.get(f"/connections/{id_}").json()
    assert (shown["records"], shown["syncing"], shown["last_run_id"]) == (4, None, str(sync.run_id))
    assert shown["last_synced_at"] == "2026-11-21T05:31:31Z"


def test_a_second_sync_knows_what_to_expect(company: Company) -> None:
    id_ = connected(company)
    synced(company, id_, inserted=[record(id_, number) for number in range(5)])
    sync = Sync(company, id_)
    sync.begin()
    receipt = sync.record(
        5,
        updated=[changed(id_, 0, {"category": None}, {"category": "Crane"}, "2")],
        removed=[str(record_id(id_, 1)), str(record_id(id_, 2))],
    )
    path = f"/connections/{id_}/runs"
    running = company.viewer.seen(receipt, f"{path}/{sync.run_id}").json()
    assert running["expected"] == 5
    assert {name: count for name, count in running["counts"].items() if count} == {
        "processed": 5,
        "updated": 1,
        "removed": 2,
    }
    again = company.viewer.seen(sync.begin(attempt=2), f"{path}/{sync.run_id}").json()
    assert (again["attempt"], again["counts"]["processed"], again["counts"]["removed"]) == (2, 0, 2)
    failed = sync.send(
        "fail-sync",
        attempt=2,
        failure="unavailable",
        code="upstream.unreachable",
        facts={"seconds": 10},
        counts={"processed": 3, "updated": 1, "removed": 2},
        finished_at="2026-11-21T05:40:00Z",
        retry_at="2026-11-21T05:45:00Z",
    )
    told = company.viewer.seen(failed, f"{path}/{sync.run_id}").json()
    assert (told["status"], told["failure"], told["code"]) == ("failed", "unavailable", "upstream.unreachable")
    assert (told["facts"], told["retry_at"]) == ({"seconds": 10}, "2026-11-21T05:45:00Z")
    shown = company.viewer.get(f"/connections/{id_}").json()
    assert (shown["records"], shown["last_failed_at"]) == (3, "2026-11-21T05:40:00Z")
    newest, first = company.viewer.get(path).json()["items"]
    assert [newest["run_id"], first["status"]] == [str(sync.run_id), "finished"]
    assert "faults" not in newest
    assert company.viewer.get(path, params={"status": "finished"}).json()["items"] == [first]


def test_a_cancelled_sync_says_why(company: Company) -> None:
    id_ = connected(company)
    sync = Sync(company, id_)
    sync.begin()
    body = {"run_id": str(sync.run_id), "reason": "The wrong folder"}
    receipt = company.estimator.done("mirror", mirror_of(id_), "cancel-sync", body)
    told = company.viewer.seen(receipt, f"/connections/{id_}/runs/{sync.run_id}").json()
    assert (told["status"], told["reason"]) == ("cancelled", "The wrong folder")
    assert company.viewer.get(f"/connections/{id_}").json()["syncing"] is None


def preview(company: Company, id_: UUID, **body: Any) -> Any:
    """What a mapping makes of rows."""
    return company.estimator.post(f"/connections/{id_}/mapping-preview", json=body)


def test_a_mapping_is_tried_on_rows(company: Company) -> None:
    id_ = connected(company)
    assert company.estimator
    before = company.head()
    rows = [
        {"id": "A-1", "plan_cost": "1,250.50", "plan_start": "03/04/2026", "category": "Crane"},
        {"id": "A-2", "plan_cost": "ten", "plan_start": "05/06/2026", "colour": "red"},
    ]
    answer = preview(company, id_, rows=rows, mapping=mapping())
    assert answer.status_code == 200, answer.text
    assert "ETag" not in answer.headers
    found = answer.json()
    fields = {each["name"]: each for each in found["fields"]}
    assert found["rows"] == 2
    assert fields["category"]["examples"] == [{"cell": "Crane", "value": "Crane"}]
    assert (fields["plan_cost"]["faulty"], fields["plan_cost"]["words"]) == (1, {"ten": 1})
    assert fields["plan_cost"]["faults"][0]["row"] == 2
    assert found["unmapped_columns"] == ["colour"]
    assert company.head() == before


def test_days_that_can_be_read_in_two_ways_are_asked_for(company: Company) -> None:
    id_ = connected(company)
    wanted = mapping()
    path = [each["upstream"] for each in wanted["fields"]].index("plan_start")
    rows = [{"id": "A-1", "plan_start": "03/04/2026"}, {"id": "A-2", "plan_start": "05/06/2026"}]
    asked = preview(company, id_, rows=rows, mapping=wanted).json()
    assert asked["asks"] == [f"/fields/{path}/date_order"]
    assert asked["fields"][path]["date_order"] == "ask"
    wanted["fields"][path]["date_order"] = "day-first"
    told = preview(company, id_, rows=rows, mapping=wanted).json()
    assert told["asks"] == []
    assert told["fields"][path]["examples"][0] == {"cell": "03/04/2026", "value": "2026-04-03"}
    rows.append({"id": "A-3", "plan_start": "12/31/2026"})
    assert preview(company, id_, rows=rows, mapping=mapping()).json()["fields"][path]["date_order"] == "month-first"


def test_without_a_mapping_the_newest_is_tried(company: Company) -> None:
    id_ = connected(company)
    assert preview(company, id_, rows=[{"id": "A-1"}]).json()["rows"] == 1
    bare = uuid4()
    body = {"name": "Bare", "upstream": {"kind": "folder", "folder": "exports"}}
    receipt = company.owner.done("connection", bare, "open-connection", body)
    company.viewer.seen(receipt, f"/connections/{bare}")
    document = problem(preview(company, bare, rows=[{"id": "A-1"}]), 422, "request.body-invalid")
    assert document["faults"][0]["path"] == "/mapping"


@pytest.mark.parametrize(
    ("body", "path", "code"),
    [
        ({"rows": []}, "/rows", "too-short"),
        ({"rows": [{}] * 1_001}, "/rows", "too-long"),
        ({"rows": [{"a": [1]}]}, "/rows/0/a/str", "string-type"),
        ({"rows": [{"a": 1}], "mapping": {"fields": [], "identity": ["a"]}}, "/mapping/fields", "too-short"),
        ({"rows": [{"a": 1}], "mode": "full"}, "/mode", "extra-forbidden"),
    ],
)
def test_a_preview_that_cannot_be_made(company: Company, body: Any, path: str, code: str) -> None:
    id_ = connected(company)
    document = problem(preview(company, id_, **body), 422, "request.body-invalid")
    assert (path, code) in [(each["path"], each["code"]) for each in document["faults"]]


def test_a_mapping_to_an_unknown_field_is_refused_everywhere(company: Company) -> None:
    id_ = connected(company)
    assert company.estimator
    before = company.head()
    wanted = mapping()
    wanted["fields"][4] |= {"feeds": "plan_csot"}
    set_ = company.owner.command("connection", id_, "set-mapping", {"mapping": wanted})
    for answer in (set_, preview(company, id_, rows=[{"id": 1}], mapping=wanted)):
        document = problem(answer, 422, "request.body-invalid")
        [fault] = [each for each in document["faults"] if each["code"] == "feeds-unknown"]
        assert fault["path"] == "/mapping/fields/4/feeds"
        assert "did you mean plan_cost?" in fault["message"]
    assert company.head() == before


def test_viewers_try_no_mappings(company: Company) -> None:
    id_ = connected(company)
    answer = company.viewer.post(f"/connections/{id_}/mapping-preview", json={"rows": [{"id": 1}]})
    problem(answer, 403, "identity.forbidden")


def test_another_companys_connection_is_unknown(company: Company, other: Company) -> None:
    id_ = connected(company)
    sync = Sync(company, id_)
    company.viewer.seen(sync.begin(), f"/connections/{id_}/runs/{sync.run_id}")
    for path in ("", "/mappings", "/runs", f"/runs/{sync.run_id}"):
        problem(other.viewer.get(f"/connections/{id_}{path}"), 404, "thing.unknown")
    problem(preview(other, id_, rows=[{"id": 1}]), 404, "thing.unknown")
    problem(company.viewer.get(f"/connections/{id_}/runs/{uuid4()}"), 404, "thing.unknown")


def test_a_connection_that_was_not_yet_is_unknown(company: Company) -> None:
    assert company.viewer
    before = company.head()
    id_ = connected(company)
    problem(company.viewer.get(f"/connections/{id_}", params={"at": before}), 404, "thing.unknown")
    assert company.viewer.get("/connections", params={"at": before}).json()["items"] == []


def test_unfit_parameters_are_refused(company: Company) -> None:
    problem(company.viewer.get("/connections?status=gone"), 400, "request.parameter-invalid")
    problem(company.viewer.get(f"/connections/{uuid4()}/runs?state=failed"), 400, "request.parameter-unknown")


def test_no_answer_has_the_secret(company: Company) -> None:
    id_ = connected(company)
    company.owner.done("connection", id_, "replace-credentials", {"username": "cairn-2", "secret": CANARY + "-2"})
    receipt = synced(company, id_, inserted=[record(id_, 1)])
    company.viewer.seen(receipt, f"/connections/{id_}")
    for caller in (company.operator, company.owner, company.auditor):
        for path in ("/connections", f"/connections/{id_}", f"/connections/{id_}/runs", f"/connections/{id_}/mappings"):
            assert CANARY not in caller.get(path).text
        for path in ("/log", "/activity"):
            assert CANARY not in caller.get(path).text
