"""Mirrored records over HTTP: everybody sees them with their own drafts put in, now and as they were."""

from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from domain.decider import Role
from domain.drafts_events import drafts_of
from tests.api.callers import Company, problem
from tests.api.mirrors import Sync, changed, connected, record, record_id, synced

RENTAL: dict[str, Any] = {
    "category": "Crane",
    "source": "Rental",
    "plan_cost": "1000.00",
    "forecast_cost": "1100.00",
    "forecast_start": "2026-03-01",
    "forecast_end": "2026-04-30",
    "monthly_rate": "550.00",
}
PURCHASE: dict[str, Any] = {"category": "Forklift", "source": "Purchase", "plan_cost": "200.00", "area": "Tower A"}
OVER: dict[str, Any] = RENTAL | {"category": "Lift", "is_actualised": True, "actual_cost": "900.00"}


class Person:
    """A member who drafts over a connection's records."""

    def __init__(self, company: Company, connection: UUID, role: Role = Role.ESTIMATOR) -> None:
        self.caller, self.id, _ = company.new_member(role)
        self.connection = connection
        self.drafts_id = drafts_of(self.id, connection)

    def save(self, *drafts: tuple[int, dict[str, Any]], **other: Any) -> httpx.Response:
        """Drafts fields of records."""
        named = [{"record_id": str(record_id(self.connection, n)), "fields": fields} for n, fields in drafts]
        body = {"connection_id": str(self.connection), "drafts": named} | other
        return self.caller.command("drafts", self.drafts_id, "save-drafts", body)

    def records(self, **parameters: Any) -> dict[str, Any]:
        """A page of what this person sees."""
        return of(self.caller.get(f"/connections/{self.connection}/records", params=parameters))


def of(answer: httpx.Response) -> dict[str, Any]:
    """A good answer."""
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def numbers(page: dict[str, Any]) -> list[int]:
    """Which records are on a page."""
    return [int(each["identity"][0].removeprefix("R-")) for each in page["items"]]


@pytest.fixture
def connection(company: Company) -> UUID:
    """Five records, known to queries."""
    id_ = connected(company)
    values = [RENTAL, PURCHASE, OVER, PURCHASE | {"description": "Gantry for the châssis"}, {}]
    receipt = synced(company, id_, inserted=[record(id_, number, **each) for number, each in enumerate(values)])
    company.viewer.seen(receipt, f"/connections/{id_}/records")
    return id_


@pytest.fixture
def ada(company: Company, connection: UUID) -> Person:
    return Person(company, connection)


@pytest.fixture
def bert(company: Company, connection: UUID) -> Person:
    return Person(company, connection)


def test_a_page_says_what_it_is_part_of(company: Company, connection: UUID, ada: Person) -> None:
    page = ada.records(limit=2)
    assert numbers(page) == [0, 1]
    assert page["meta"] == {
        "total": 5,
        "removed": 0,
        "matching": 5,
        "at_least": False,
        "drafts": 0,
        "drafts_behind": 0,
        "drafts_removed": 0,
        "drafts_id": str(ada.drafts_id),
        "currency": "USD",
        "last_synced_at": "2026-11-21T05:31:30Z",
        "syncing": None,
    }
    first = page["items"][0]
    assert first["values"]["plan_cost"] == "1000.00"
    assert first["values"]["forecast_start"] == "2026-03-01"
    assert first["values"]["description"] is None
    assert (first["identity"], first["draft"], first["removed"]) == (["R-00000"], None, False)
    rest = ada.records(limit=2, cursor=page["next"])
    last = ada.records(limit=2, cursor=rest["next"])
    assert [numbers(rest), numbers(last), last["next"]] == [[2, 3], [4], None]


def test_a_page_seen_before_is_everybody_s_own_and_as_new_as_the_mirror(
    company: Company, connection: UUID, ada: Person, bert: Person
) -> None:
    def seen(person: Person, **parameters: Any) -> list[tuple[int, str | None, bool]]:
        page = person.records(sort="plan_cost", limit=3, **parameters)
        return [
            (number, each["values"]["plan_cost"], each["draft"] is not None)
            for number, each in zip(numbers(page), page["items"], strict=True)
        ]

    assert seen(ada) == seen(bert) == [(1, "200.00", False), (3, "200.00", False), (0, "1000.00", False)]
    before = ada.records(limit=1)["position"]
    receipt = ada.save((1, {"area": "Yard"}), (4, {"forecast_cost": "1.00"}))
    company.viewer.seen(receipt, f"/connections/{connection}/records")
    assert seen(bert) == [(1, "200.00", False), (3, "200.00", False), (0, "1000.00", False)]
    assert seen(ada) == [(1, "200.00", True), (3, "200.00", False), (0, "1000.00", False)]
    sync = Sync(company, connection)
    sync.begin()
    dearer = changed(connection, 3, {"plan_cost": "200.00"}, {"plan_cost": "2000.00"}, "v2")
    receipt = sync.record(0, updated=[dearer])
    company.viewer.seen(receipt, f"/connections/{connection}/records")
    assert seen(bert) == [(1, "200.00", False), (0, "1000.00", False), (2, "1000.00", False)]
    assert seen(ada) == [(1, "200.00", True), (0, "1000.00", False), (2, "1000.00", False)]
    assert seen(ada, at=before) == [(1, "200.00", False), (3, "200.00", False), (0, "1000.00", False)]
    receipt = sync.record(0, removed=[str(record_id(connection, 1))])
    company.viewer.seen(receipt, f"/connections/{connection}/records")
    assert seen(bert) == seen(ada) == [(0, "1000.00", False), (2, "1000.00", False), (3, "2000.00", False)]


def test_more_drafts_than_a_page_has_to_spare_leave_it_whole(company: Company, ada: Person) -> None:
    many = connected(company)
    synced_ = synced(company, many, inserted=[record(many, number, **PURCHASE) for number in range(60)])
    company.viewer.seen(synced_, f"/connections/{many}/records")
    person = Person(company, many)
    assert numbers(person.records(category="Forklift", limit=2)) == [0, 1]
    receipt = person.save(*((number, {"category": "Lift"}) for number in range(40)))
    company.viewer.seen(receipt, f"/connections/{many}/records")
    assert numbers(person.records(category="Forklift", limit=2)) == [40, 41]
    assert numbers(person.records(category="Lift", limit=2)) == [0, 1]


def test_a_sync_shows_while_it_runs(company: Company, connection: UUID, ada: Person) -> None:
    sync = Sync(company, connection)
    sync.begin()
    receipt = sync.record(400, removed=[str(record_id(connection, 4))])
    meta = ada.caller.seen(receipt, f"/connections/{connection}/records").json()["meta"]
    assert (meta["total"], meta["removed"]) == (4, 1)
    assert meta["syncing"] == {
        "run_id": str(sync.run_id),
        "mode": "full",
        "began_at": "2026-11-21T05:30:01Z",
        "processed": 400,
    }


def test_a_record_is_found_under_what_somebody_drafted(connection: UUID, ada: Person, bert: Person) -> None:
    saved = ada.save((1, {"category": "Crane", "forecast_cost": "150.00"}))
    assert saved.status_code == 201, saved.text
    page = ada.caller.seen(saved, f"/connections/{connection}/records?category=Crane").json()
    assert numbers(page) == [0, 1]
    assert page["meta"]["drafts"] == 1
    assert numbers(ada.records(category="Forklift")) == [3]
    assert numbers(ada.records(search="cran")) == [0, 1]
    assert numbers(ada.records(drafted=True)) == [1]
    assert numbers(ada.records(drafted=False)) == [0, 2, 3, 4]
    drafted = ada.records(drafted=True)["items"][0]
    assert drafted["values"]["forecast_cost"] == "150.00"
    assert drafted["draft"]["fields"] == {
        "category": {"base": "Forklift", "now": "Crane"},
        "forecast_cost": {"base": None, "now": "150.00"},
    }
    assert numbers(bert.records(category="Crane")) == [0]
    assert bert.records(drafted=True)["items"] == []
    assert bert.records()["meta"]["drafts"] == 0


def test_filters_hold_all_at_once(connection: UUID, ada: Person) -> None:
    assert numbers(ada.records(category=["Crane", "Lift"])) == [0, 2]
    assert numbers(ada.records(category=["Crane", "Lift"], is_actualised=True)) == [2]
    assert numbers(ada.records(category="")) == [4]
    assert numbers(ada.records(plan_cost_least="200.01")) == [0, 2]
    assert numbers(ada.records(plan_cost_least="200", plan_cost_most="999.99")) == [1, 3]
    assert numbers(ada.records(forecast_start_least="2026-03-01", forecast_end_most="2026-04-30")) == [0, 2]
    assert numbers(ada.records(forecast_start_least="2026-03-02")) == []
    assert numbers(ada.records(search="chassis gantr")) == [3]
    assert numbers(ada.records(area="Tower A", source="Purchase")) == [1, 3]


def test_pages_follow_any_order(connection: UUID, ada: Person) -> None:
    assert numbers(ada.records(sort="plan_cost")) == [1, 3, 0, 2, 4]
    assert numbers(ada.records(sort="plan_cost", direction="descending")) == [2, 0, 3, 1, 4]
    seen: list[int] = []
    cursor: dict[str, str] = {}
    while True:
        page = ada.records(sort="plan_cost", direction="descending", limit=2, **cursor)
        seen += numbers(page)
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert seen == [2, 0, 3, 1, 4]


def test_what_is_not_counted_says_at_least(connection: UUID, ada: Person) -> None:
    page = ada.records(plan_cost_least="1", limit=2)
    assert (page["meta"]["matching"], page["meta"]["at_least"]) == (3, True)
    last = ada.records(plan_cost_least="1", limit=2, cursor=page["next"])
    assert (last["meta"]["matching"], last["meta"]["at_least"], last["next"]) == (4, False, None)
    counted = ada.records(plan_cost_least="1", limit=2, count=True)
    assert (counted["meta"]["matching"], counted["meta"]["at_least"]) == (4, False)
    by_group = ada.records(category="Forklift", limit=1)["meta"]
    assert (by_group["matching"], by_group["at_least"]) == (2, False)


def test_one_record_merged_and_as_it_is(connection: UUID, ada: Person, bert: Person) -> None:
    saved = ada.save((0, {"forecast_cost": "1300.00"}))
    path = f"/connections/{connection}/records/{record_id(connection, 0)}"
    shown = ada.caller.seen(saved, path).json()
    assert (shown["values"]["forecast_cost"], shown["baseline"]["forecast_cost"]) == ("1300.00", "1100.00")
    assert shown["draft"]["base_version"] == "1"
    others = of(bert.caller.get(path))
    assert others["values"] == others["baseline"] == shown["baseline"]
    assert others["draft"] is None


def test_what_moved_upstream_since_is_told(company: Company, connection: UUID, ada: Person) -> None:
    saved = ada.save((0, {"forecast_cost": "1300.00"}), (1, {"area": "Tower B"}))
    before = saved.json()["position"]
    sync = Sync(company, connection)
    sync.begin()
    moved = changed(connection, 0, {"forecast_cost": "1100.00"}, {"forecast_cost": "1200.00"}, "2")
    receipt = sync.record(1, updated=[moved], removed=[str(record_id(connection, 1))])
    drafts = f"/connections/{connection}/drafts"
    page = ada.caller.seen(receipt, drafts).json()
    position = receipt.json()["position"]
    [draft] = [each["draft"] for each in page["items"]]
    told = {"forecast_cost": {"base": "1100.00", "theirs": "1200.00", "position": position}}
    assert draft["behind"] == told
    assert {name: page["meta"][name] for name in ("drafts", "drafts_behind", "drafts_removed")} == {
        "drafts": 2,
        "drafts_behind": 1,
        "drafts_removed": 1,
    }
    assert numbers(of(ada.caller.get(drafts, params={"behind": True}))) == [0]
    assert numbers(of(ada.caller.get(drafts, params={"removed": True}))) == [1]
    assert numbers(ada.records(behind=True)) == [0]
    assert numbers(ada.records(removed=True)) == [1]
    then = of(ada.caller.get(drafts, params={"at": before}))
    assert [each["draft"]["behind"] for each in then["items"]] == [{}, {}]


def test_the_history_of_a_record(company: Company, connection: UUID, ada: Person) -> None:
    sync = Sync(company, connection)
    sync.begin()
    moved = changed(connection, 0, {"plan_cost": "1000.00"}, {"plan_cost": "1200.00"}, "2")
    first = sync.record(1, updated=[moved])
    gone = sync.record(1, removed=[str(record_id(connection, 0))])
    path = f"/connections/{connection}/records/{record_id(connection, 0)}/history"
    removed, later, born = ada.caller.seen(gone, path).json()["items"]
    assert (removed["removed"], later["removed"], born["removed"]) == (True, False, False)
    assert (later["position"], later["was"]) == (first.json()["position"], {"plan_cost": "1000.00"})
    assert (later["values"]["plan_cost"], later["upstream_version"]) == ("1200.00", "2")
    assert born["was"] == {}
    page = of(ada.caller.get(path, params={"limit": 1}))
    assert page["items"] == [removed]
    assert of(ada.caller.get(path, params={"limit": 2, "cursor": page["next"]}))["items"] == [later, born]
    then = of(ada.caller.get(path, params={"at": first.json()["position"]}))
    assert then["items"] == [later, born]


def test_figures_side_by_side(connection: UUID, ada: Person, bert: Person) -> None:
    saved = ada.save((1, {"category": "Crane", "forecast_cost": "150.00"}))
    path = f"/connections/{connection}/kpis"
    found = ada.caller.seen(saved, path).json()
    assert (found["by"], found["currency"]) == (["category", "source"], "USD")
    groups = {tuple(each["groups"].values()): each for each in found["groups"]}
    crane = groups["Crane", "Purchase"]
    assert (crane["baseline"]["records"], crane["merged"]["records"]) == (0, 1)
    assert (crane["merged"]["forecast_cost"], crane["merged"]["actual_missing"]) == ("150.00", 1)
    assert groups["Forklift", "Purchase"]["merged"]["records"] == 1
    assert (found["baseline"]["records"], found["merged"]["records"]) == (5, 5)
    assert (found["baseline"]["forecast_cost"], found["merged"]["forecast_cost"]) == ("2200.00", "2350.00")
    assert (found["baseline"]["forecast_missing"], found["merged"]["forecast_missing"]) == (3, 2)
    others = of(bert.caller.get(path))
    assert others["merged"] == others["baseline"] == found["baseline"]
    areas = of(ada.caller.get(path, params={"by": "area, source"}))
    assert {each["groups"]["area"] for each in areas["groups"]} == {"", "Tower A"}


def test_the_bounds_of_a_timeline(connection: UUID, ada: Person) -> None:
    saved = ada.save((0, {"forecast_end": "2026-12-31"}))
    found = ada.caller.seen(saved, f"/connections/{connection}/bounds").json()
    assert found["baseline"]["forecast_end"] == {"first": "2026-04-30", "last": "2026-04-30"}
    assert found["merged"]["forecast_end"] == {"first": "2026-04-30", "last": "2026-12-31"}
    assert found["merged"]["actual_end"] == {"first": None, "last": None}


def test_a_change_of_many_is_previewed_and_then_drafted(company: Company, connection: UUID, ada: Person) -> None:
    path = f"/connections/{connection}/drafts/preview"
    wanted = {"filter": {"source": ["Purchase"]}, "fields": {"forecast_cost": "75.00", "area": "Tower A"}}
    before = company.head()
    told = of(ada.caller.post(path, json=wanted))
    assert (told["matching"], told["changed"], told["refused"]) == (2, 2, 0)
    assert (told["before"]["forecast_missing"], told["after"]["forecast_missing"]) == (2, 0)
    assert Decimal(told["after"]["forecast_cost"]) == 150
    assert company.head() == before
    body = {"connection_id": str(connection), "expected": told["matching"]} | wanted
    saved = ada.caller.done("drafts", ada.drafts_id, "draft-many", body)
    merged = ada.caller.seen(saved, f"/connections/{connection}/kpis").json()["merged"]
    assert merged["forecast_cost"] == "2350.00"
    again = of(ada.caller.post(path, json=wanted))
    assert (again["matching"], again["changed"]) == (2, 0)


def test_a_preview_says_what_would_be_refused(connection: UUID, ada: Person) -> None:
    path = f"/connections/{connection}/drafts/preview"
    wanted = {"filter": {"source": ["Rental"]}, "fields": {"forecast_cost": "computed"}}
    told = of(ada.caller.post(path, json=wanted))
    assert (told["matching"], told["changed"], told["refused"]) == (2, 0, 0)  # two months, at that rate
    wanted["fields"] = {"monthly_rate": "600.00", "forecast_cost": "computed"}
    told = of(ada.caller.post(path, json=wanted))
    assert (told["matching"], told["changed"], told["refused"]) == (2, 1, 1)
    [fault] = told["faults"]
    assert (fault["record_id"], fault["code"]) == (str(record_id(connection, 2)), "drafts.actualised-locked")
    assert told["after"]["forecast_cost"] == "2300.00"
    body = {"connection_id": str(connection), "expected": 2} | wanted
    problem(ada.caller.command("drafts", ada.drafts_id, "draft-many", body), 422, "drafts.save-refused")


def test_the_past_is_merged_with_the_drafts_of_then(connection: UUID, ada: Person) -> None:
    first = ada.save((0, {"forecast_cost": "1300.00"}))
    second = ada.save((0, {"forecast_cost": "1400.00"}), (3, {"category": "Crane"}))
    path = f"/connections/{connection}/records"
    now = ada.caller.seen(second, f"{path}?category=Crane").json()
    assert [each["values"]["forecast_cost"] for each in now["items"]] == ["1400.00", None]
    then = of(ada.caller.get(path, params={"category": "Crane", "at": first.json()["position"]}))
    assert [each["values"]["forecast_cost"] for each in then["items"]] == ["1300.00"]
    assert then["meta"]["drafts"] == 1
    kpis = of(ada.caller.get(f"/connections/{connection}/kpis", params={"at": first.json()["position"]}))
    assert kpis["merged"]["forecast_cost"] == "2400.00"


def test_an_answer_is_kept_until_something_moves(connection: UUID, ada: Person, bert: Person) -> None:
    path = f"/connections/{connection}/records"
    assert bert
    saved = ada.save((0, {"forecast_cost": "1200.00"}))
    tag = ada.caller.seen(saved, path).headers["ETag"]
    assert ada.caller.get(path, headers={"If-None-Match": tag}).status_code == 304
    assert bert.caller.get(path, headers={"If-None-Match": tag}).status_code == 200
    saved = ada.save((0, {"forecast_cost": "1300.00"}))
    moved = {"If-None-Match": tag, "Cairn-After": saved.headers["Cairn-Token"]}
    assert ada.caller.get(path, headers=moved).status_code == 200


def test_a_connection_without_records_answers_nothing(company: Company) -> None:
    id_ = connected(company)
    ada = Person(company, id_)
    page = ada.records()
    assert (page["items"], page["next"], page["meta"]["total"]) == ([], None, 0)
    assert of(ada.caller.get(f"/connections/{id_}/kpis"))["groups"] == []
    assert of(ada.caller.get(f"/connections/{id_}/bounds"))["merged"]["plan_start"] == {"first": None, "last": None}


PATHS = ("records", "drafts", "kpis", "bounds")


def test_what_another_company_mirrors_is_unknown(connection: UUID, other: Company) -> None:
    for path in PATHS:
        problem(other.viewer.get(f"/connections/{connection}/{path}"), 404, "thing.unknown")
    path = f"/connections/{connection}/records/{record_id(connection, 0)}"
    problem(other.viewer.get(path), 404, "thing.unknown")
    problem(other.viewer.get(f"{path}/history"), 404, "thing.unknown")
    body = {"filter": {}, "fields": {"area": "B"}}
    answer = other.estimator.post(f"/connections/{connection}/drafts/preview", json=body)
    problem(answer, 404, "thing.unknown")


def test_before_there_was_a_connection_it_is_unknown(company: Company, connection: UUID) -> None:
    for path in PATHS:
        problem(company.viewer.get(f"/connections/{connection}/{path}?at=1"), 404, "thing.unknown")


@pytest.mark.parametrize(
    ("parameters", "path"),
    [
        ({"sort": "colour"}, "/sort"),
        ({"direction": "up"}, "/direction"),
        ({"plan_cost_least": "ten"}, "/plan_cost_least"),
        ({"plan_cost_least": "10", "plan_cost_most": "9"}, "/plan_cost_most"),
        ({"forecast_end_most": "31.12.2026"}, "/forecast_end_most"),
        ({"is_actualised": "perhaps"}, "/is_actualised"),
        ({"search": "x" * 201}, "/search"),
        ({"category": ["a"] * 101}, "/category"),
        ({"limit": 0}, "/limit"),
    ],
)
def test_unfit_parameters_are_told_by_name(ada: Person, connection: UUID, parameters: Any, path: str) -> None:
    answer = ada.caller.get(f"/connections/{connection}/records", params=parameters)
    document = problem(answer, 400, "request.parameter-invalid")
    assert path in [each["path"] for each in document["faults"]]


def test_an_unknown_field_to_filter_by_is_refused(ada: Person, connection: UUID) -> None:
    answer = ada.caller.get(f"/connections/{connection}/records?categry=Crane&plan_cost=1")
    document = problem(answer, 400, "request.parameter-unknown")
    assert [each["path"] for each in document["faults"]] == ["/categry", "/plan_cost"]
    assert "`category`?" in document["faults"][0]["message"]


@pytest.mark.parametrize("by", ["", "category", "category,category", "category,colour", "category,source,area"])
def test_figures_go_by_two_groups(ada: Person, connection: UUID, by: str) -> None:
    problem(ada.caller.get(f"/connections/{connection}/kpis", params={"by": by}), 400, "request.parameter-invalid")


def test_a_cursor_belongs_to_its_query_and_its_caller(ada: Person, bert: Person, connection: UUID) -> None:
    path = f"/connections/{connection}/records"
    cursor = ada.records(limit=1)["next"]
    for caller, parameters in (
        (ada.caller, {"sort": "plan_cost"}),
        (ada.caller, {"category": "Crane"}),
        (bert.caller, {}),
    ):
        answer = caller.get(path, params={"cursor": cursor, "limit": 1} | parameters)
        problem(answer, 400, "cursor.of-another-query")
    problem(ada.caller.get(path, params={"cursor": "x"}), 400, "cursor.malformed")


def unchanged(company: Company, answer: httpx.Response, before: int, status: int, code: str) -> dict[str, Any]:
    """The problem of a command that changed nothing."""
    document = problem(answer, status, code)
    assert company.head() == before
    return document


def test_drafts_that_cannot_be_saved(company: Company, connection: UUID, ada: Person) -> None:
    before = company.head()
    unknown = ada.save((99, {"category": "Crane"}))
    unchanged(company, unknown, before, 404, "drafts.record-unknown")
    unchanged(company, ada.save((2, {"forecast_cost": "1.00"})), before, 409, "drafts.actualised-locked")
    late = ada.save((0, {"forecast_start": "2026-05-01"}))
    unchanged(company, late, before, 422, "drafts.end-before-start")
    several = ada.save((0, {"area": "B"}), (99, {"area": "B"}), (2, {"forecast_cost": "1.00"}))
    document = unchanged(company, several, before, 422, "drafts.save-refused")
    assert [each["index"] for each in document["facts"]["faults"]] == [1, 2]


@pytest.mark.parametrize(
    ("fields", "path", "code"),
    [
        ({"plan_cost": "1.00"}, "/plan_cost", "field-not-editable"),
        ({"is_actualised": True}, "/is_actualised", "field-not-editable"),
        ({"colour": "red"}, "/colour", "extra-forbidden"),
        ({"forecast_start": "soon"}, "/forecast_start", "date-parsing"),
        ({"is_discontinued": "yes"}, "/is_discontinued", "bool-type"),
        ({"category": 7}, "/category", "string-type"),
    ],
)
def test_fields_that_cannot_be_drafted(
    company: Company, ada: Person, fields: dict[str, Any], path: str, code: str
) -> None:
    before = company.head()
    document = unchanged(company, ada.save((0, fields)), before, 422, "request.body-invalid")
    found = [(each["path"], each["code"]) for each in document["faults"]]
    assert (f"/drafts/0/fields{path}", code) in found, found


def test_more_drafts_than_one_command_takes(company: Company, ada: Person) -> None:
    before = company.head()
    answer = ada.save(*((number, {"area": "B"}) for number in range(10_001)))
    document = unchanged(company, answer, before, 422, "request.body-invalid")
    assert document["faults"][0]["path"] == "/drafts"


def test_drafts_of_others_are_out_of_reach(company: Company, connection: UUID, ada: Person, bert: Person) -> None:
    before = company.head()
    body = {"connection_id": str(connection), "all": True}
    taken = bert.caller.command("drafts", ada.drafts_id, "discard-drafts", body)
    unchanged(company, taken, before, 404, "drafts.of-another")


def test_viewers_draft_nothing(company: Company, connection: UUID) -> None:
    body = {"filter": {}, "fields": {"area": "B"}}
    answer = company.viewer.post(f"/connections/{connection}/drafts/preview", json=body)
    problem(answer, 403, "identity.forbidden")


def test_a_record_of_another_connection_is_unknown(company: Company, connection: UUID, ada: Person) -> None:
    second = connected(company)
    path = f"/connections/{second}/records/{record_id(connection, 0)}"
    problem(ada.caller.get(path), 404, "thing.unknown")
    problem(ada.caller.get(f"{path}/history"), 404, "thing.unknown")
    problem(ada.caller.get(f"/connections/{connection}/records/{uuid4()}"), 404, "thing.unknown")
