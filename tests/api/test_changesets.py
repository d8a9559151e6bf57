"""Changesets over HTTP: drafts on their way upstream, followed, settled and cancelled. The upstream is played here."""

import threading
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from tests.api.callers import Company, problem
from tests.api.mirrors import Sync, changed, connected, record, record_id, synced
from tests.api.test_records import PURCHASE, RENTAL, Person, of


@pytest.fixture
def connection(company: Company) -> UUID:
    """Four records."""
    id_ = connected(company)
    values = [RENTAL, PURCHASE, RENTAL, PURCHASE]
    receipt = synced(company, id_, inserted=[record(id_, number, **each) for number, each in enumerate(values)])
    company.viewer.seen(receipt, f"/connections/{id_}/records")
    return id_


@pytest.fixture
def ada(company: Company, connection: UUID) -> Person:
    return Person(company, connection)


class Commit:
    """A changeset, and what a worker would record of it."""

    def __init__(self, company: Company, person: Person, **other: Any) -> None:
        self.company = company
        self.person = person
        self.id = uuid4()
        self.path = f"/changesets/{self.id}"
        body = {"connection_id": str(person.connection), "drafts_id": str(person.drafts_id)} | other
        self.opened = person.caller.command("changeset", self.id, "open-changeset", body)

    def named(self, number: int) -> str:
        return str(record_id(self.person.connection, number))

    def push(self, *numbers: int) -> UUID:
        """A batch goes out."""
        batch = uuid4()
        body = {"batch_id": str(batch), "record_ids": [self.named(number) for number in numbers]}
        self.company.operator.done("changeset", self.id, "begin-push", body)
        return batch

    def answer(self, batch: UUID, **said: Any) -> httpx.Response:
        """The upstream answers."""
        body = {"batch_id": str(batch), "mapping_version": 1, "currency": "USD", "changes": {}} | said
        return self.company.operator.done("changeset", self.id, "record-answers", body)

    def seen(self, receipt: httpx.Response) -> dict[str, Any]:
        """The changeset, at least as new as a receipt."""
        found: dict[str, Any] = self.company.viewer.seen(receipt, self.path).json()
        return found

    def records(self, **parameters: Any) -> list[dict[str, Any]]:
        """Its records, by number."""
        found: list[dict[str, Any]] = of(self.company.viewer.get(f"{self.path}/records", params=parameters))["items"]
        return sorted(found, key=lambda each: str(each["identity"]))


def counted(changeset: dict[str, Any]) -> dict[str, int]:
    """How many records came to what."""
    return {status: count for status, count in changeset["records"].items() if count}


def test_a_changeset_is_accepted_and_followed(company: Company, connection: UUID, ada: Person) -> None:
    ada.save((0, {"forecast_cost": "1300.00"}), (1, {"forecast_cost": "210.00", "area": "Tower B"}))
    commit = Commit(company, ada, note="Forecast of November")
    assert commit.opened.status_code == 202, commit.opened.text
    assert commit.opened.headers["Location"] == commit.path
    waiting = commit.seen(commit.opened)
    assert (waiting["status"], waiting["record_count"], counted(waiting)) == ("open", 2, {"waiting": 2})
    assert (waiting["user_id"], waiting["note"]) == (str(ada.id), "Forecast of November")
    batch = commit.push(0, 1)
    moved = {
        "updated": [changed(connection, 0, {"forecast_cost": "1100.00"}, {"forecast_cost": "1300.00"}, "2")],
        "versions": [],
    }
    refusal = {"record_id": commit.named(1), "code": "budget-locked", "reason": "The budget is closed"}
    receipt = commit.answer(batch, confirmed=[commit.named(0)], refused=[refusal], changes=moved)
    ended = commit.seen(receipt)
    assert (ended["status"], counted(ended), ended["batches"]) == ("finished", {"confirmed": 1, "refused": 1}, 1)
    assert ended["finished_at"]
    first, second = commit.records()
    assert (first["status"], first["pushed"], first["base"]) == (
        "confirmed",
        {"forecast_cost": "1300.00"},
        {"forecast_cost": "1100.00"},
    )
    assert (second["status"], second["code"], second["reason"]) == ("refused", "budget-locked", "The budget is closed")
    assert commit.records(status="refused") == [second]
    left = ada.caller.seen(receipt, f"/connections/{connection}/drafts").json()["items"]
    assert [each["record_id"] for each in left] == [commit.named(1)]
    shown = of(ada.caller.get(f"/connections/{connection}/records/{commit.named(0)}"))
    assert (shown["baseline"]["forecast_cost"], shown["draft"]) == ("1300.00", None)
    then = of(company.viewer.get(commit.path, params={"at": commit.opened.json()["position"]}))
    assert (then["status"], counted(then)) == ("open", {"waiting": 2})
    again = ada.caller.command(
        "changeset", commit.id, "open-changeset", {"connection_id": str(connection), "drafts_id": str(ada.drafts_id)}
    )
    assert (again.status_code, again.headers["Location"]) == (200, commit.path)


def test_conflicts_wait_for_somebody_and_the_rest_goes_ahead(company: Company, connection: UUID, ada: Person) -> None:
    ada.save((0, {"forecast_cost": "1300.00"}), (2, {"forecast_cost": "1400.00"}), (3, {"area": "Tower B"}))
    sync = Sync(company, connection)
    sync.begin()
    moves = [
        changed(connection, number, {"forecast_cost": "1100.00"}, {"forecast_cost": "1200.00"}, "2")
        for number in (0, 2)
    ]
    position = sync.record(2, updated=moves).json()["position"]
    company.viewer.seen(sync.finish(processed=4, updated=2), f"/connections/{connection}/records")
    commit = Commit(company, ada)
    assert counted(commit.seen(commit.opened)) == {"conflict": 2, "waiting": 1}
    by_number = {each["identity"][0]: each for each in commit.records()}
    conflict = by_number["R-00000"]
    assert (conflict["base"], conflict["mine"], conflict["theirs"]) == (
        {"forecast_cost": "1100.00"},
        {"forecast_cost": "1300.00"},
        {"forecast_cost": "1200.00"},
    )
    assert (conflict["found_by"], conflict["moved_position"]) == ("mirror", position)
    assert conflict["moved_at"]
    confirmed = commit.answer(commit.push(3), confirmed=[commit.named(3)])
    assert counted(commit.seen(confirmed)) == {"conflict": 2, "confirmed": 1}
    settlements = [
        {"record_id": commit.named(0), "how": "theirs"},
        {"record_id": commit.named(2), "how": "value", "values": {"forecast_cost": "1250.00"}},
    ]
    settled = ada.caller.done("changeset", commit.id, "settle-conflicts", {"settlements": settlements})
    assert counted(commit.seen(settled)) == {"waiting": 1, "left": 1, "confirmed": 1}
    by_number = {each["identity"][0]: each for each in commit.records()}
    assert (by_number["R-00000"]["settled"], by_number["R-00000"]["left_to_upstream"]) == ("theirs", ["forecast_cost"])
    assert by_number["R-00002"]["pushed"] == {"forecast_cost": "1250.00"}
    ended = commit.answer(commit.push(2), confirmed=[commit.named(2)])
    assert commit.seen(ended)["status"] == "finished"


def test_what_the_upstream_itself_finds_is_a_conflict_too(company: Company, connection: UUID, ada: Person) -> None:
    ada.save((0, {"forecast_cost": "1300.00"}))
    commit = Commit(company, ada)
    batch = commit.push(0)
    values = RENTAL | {"forecast_cost": "1250.00"}
    moved = [{"record_id": commit.named(0), "upstream_version": "7", "theirs": values}]
    changes = {"updated": [changed(connection, 0, {"forecast_cost": "1100.00"}, {"forecast_cost": "1250.00"}, "7")]}
    receipt = commit.answer(batch, moved=moved, changes=changes)
    assert counted(commit.seen(receipt)) == {"conflict": 1}
    [conflict] = commit.records()
    assert (conflict["found_by"], conflict["theirs"]) == ("upstream", {"forecast_cost": "1250.00"})
    assert conflict["upstream_version"] == "7"


def test_a_changeset_is_delayed_and_cancelled(company: Company, connection: UUID, ada: Person) -> None:
    ada.save((0, {"forecast_cost": "1300.00"}), (1, {"area": "Tower B"}))
    commit = Commit(company, ada)
    body = {"code": "upstream.unreachable", "facts": {"seconds": 10}, "retry_at": "2026-11-21T05:45:00Z"}
    delayed = commit.seen(company.operator.done("changeset", commit.id, "delay-push", body))
    assert (delayed["status"], delayed["delay"]["code"]) == ("open", "upstream.unreachable")
    assert (delayed["delay"]["facts"], delayed["delay"]["retry_at"]) == ({"seconds": 10}, "2026-11-21T05:45:00Z")
    batch = commit.push(0)
    cancelled = ada.caller.done("changeset", commit.id, "cancel-changeset", {"reason": "Withdrawn"})
    told = commit.seen(cancelled)
    assert (told["status"], told["cancelled_reason"], told["finished_at"]) == ("cancelled", "Withdrawn", None)
    assert (counted(told), told["delay"]) == ({"pushing": 1, "cancelled": 1}, None)
    ended = commit.seen(commit.answer(batch, confirmed=[commit.named(0)]))
    assert (ended["status"], counted(ended)) == ("cancelled", {"confirmed": 1, "cancelled": 1})
    assert ended["finished_at"]
    assert [each["status"] for each in commit.records()] == ["confirmed", "cancelled"]
    assert [each["identity"] for each in commit.records(status="cancelled")] == [["R-00001"]]


def test_the_end_is_waited_for(company: Company, connection: UUID, ada: Person) -> None:
    ada.save((0, {"forecast_cost": "1300.00"}))
    commit = Commit(company, ada)
    commit.seen(commit.opened)
    at_once = of(company.viewer.get(commit.path, params={"wait_seconds": 0}))
    assert counted(at_once) == {"waiting": 1}
    batch = commit.push(0)
    answers: list[dict[str, Any]] = []
    waiting = threading.Thread(
        target=lambda: answers.append(of(company.viewer.get(commit.path, params={"wait_seconds": 15})))
    )
    waiting.start()
    commit.answer(batch, confirmed=[commit.named(0)])
    waiting.join(20)
    [ended] = answers
    assert (ended["status"], counted(ended)) == ("finished", {"confirmed": 1})
    then = {"wait_seconds": 15, "at": commit.opened.json()["position"]}
    assert of(company.viewer.get(commit.path, params=then))["status"] == "open"


def test_waiting_ends_when_only_people_can_go_on(company: Company, connection: UUID, ada: Person) -> None:
    ada.save((0, {"forecast_cost": "1300.00"}))
    sync = Sync(company, connection)
    sync.begin()
    moved = changed(connection, 0, {"forecast_cost": "1100.00"}, {"forecast_cost": "1.00"}, "2")
    company.viewer.seen(sync.record(1, updated=[moved]), f"/connections/{connection}/records")
    commit = Commit(company, ada)
    commit.seen(commit.opened)
    assert counted(of(company.viewer.get(commit.path, params={"wait_seconds": 15}))) == {"conflict": 1}


def test_changesets_are_listed_the_latest_first(company: Company, connection: UUID, ada: Person) -> None:
    bert = Person(company, connection)
    ada.save((0, {"forecast_cost": "1300.00"}))
    bert.save((0, {"forecast_cost": "1400.00"}))
    first = Commit(company, ada)
    second = Commit(company, bert)
    company.viewer.seen(second.opened, second.path)
    listed = of(company.viewer.get("/changesets"))["items"]
    assert [each["changeset_id"] for each in listed] == [str(second.id), str(first.id)]
    for parameters, expected in (
        ({"user_id": str(ada.id)}, [first]),
        ({"connection_id": str(connection)}, [second, first]),
        ({"connection_id": str(uuid4())}, []),
        ({"status": "open"}, [second, first]),
        ({"status": "finished"}, []),
    ):
        found = of(company.viewer.get("/changesets", params=parameters))["items"]
        assert [each["changeset_id"] for each in found] == [str(each.id) for each in expected]
    page = of(company.viewer.get("/changesets", params={"limit": 1}))
    rest = of(company.viewer.get("/changesets", params={"limit": 1, "cursor": page["next"]}))
    assert (rest["items"], rest["next"]) == ([listed[1]], None)


def test_pages_of_records_go_on_where_they_ended(company: Company, connection: UUID, ada: Person) -> None:
    ada.save(*((number, {"area": f"Tower {number}"}) for number in range(4)))
    commit = Commit(company, ada)
    commit.seen(commit.opened)
    whole = commit.records()
    path = f"{commit.path}/records"
    page = of(company.viewer.get(path, params={"limit": 3}))
    rest = of(company.viewer.get(path, params={"limit": 3, "cursor": page["next"]}))
    assert page["items"] + rest["items"] == sorted(whole, key=lambda each: int(each["place"]))
    assert (len(rest["items"]), rest["next"]) == (1, None)


def test_another_companys_changeset_is_unknown(company: Company, other: Company, connection: UUID, ada: Person) -> None:
    ada.save((0, {"forecast_cost": "1300.00"}))
    commit = Commit(company, ada)
    commit.seen(commit.opened)
    for path in (commit.path, f"{commit.path}/records", f"{commit.path}?wait_seconds=0.2"):
        problem(other.viewer.get(path), 404, "thing.unknown")
    assert of(other.viewer.get("/changesets"))["items"] == []


def test_commits_that_cannot_be_opened(company: Company, connection: UUID, ada: Person) -> None:
    bert = Person(company, connection)
    problem(Commit(company, ada).opened, 422, "changeset.nothing-drafted")
    bert.save((0, {"forecast_cost": "1400.00"}))
    problem(Commit(company, ada, drafts_id=str(bert.drafts_id)).opened, 404, "changeset.of-another")
    problem(Commit(company, bert, records=[str(record_id(connection, 1))]).opened, 404, "changeset.record-not-drafted")


@pytest.mark.parametrize("wait", ["-1", "16", "soon"])
def test_waiting_has_a_limit(company: Company, wait: str) -> None:
    problem(company.viewer.get(f"/changesets/{uuid4()}?wait_seconds={wait}"), 400, "request.parameter-invalid")
