"""Queries: what each answers, the past, waiting for what was written, pages, and answers that are still good."""

from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from tests.api.callers import SETTINGS, Company, World, line, problem, register, serving

PATHS = [
    "/projects", "/projects/{id}", "/projects/{id}/estimates", "/estimates/{id}", "/estimates/{id}/lines",
    "/estimates/{id}/risks", "/estimates/{id}/tags", "/estimates/{id}/bridge",
    "/estimates/{id}/history", "/company", "/members", "/members/{id}/tokens", "/activity", "/log", "/log/1",
    "/receipts/{id}", "/stream", "/search?q=concrete", "/price-history?code=A",
]  # fmt: skip
OF_THE_LOG = {"/activity", "/log", "/log/1", "/stream", "/members/{id}/tokens"}


def bid(company: Company) -> tuple[UUID, UUID, Any]:
    """A project with an estimate of three lines: their ids, and the last receipt."""
    project = company.project()
    estimate = company.estimate(project)
    body = {"lines": [line(quantity="10"), line(quantity="20"), line(quantity="30")]}
    return project, estimate, company.estimator.done("estimate", estimate, "import-lines", body)


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_told_to_nobody(company: Company, path: str) -> None:
    problem(company.world.get(path.replace("{id}", str(uuid4()))), 401, "identity.missing")


@pytest.mark.parametrize("path", sorted(OF_THE_LOG))
def test_the_history_is_for_those_who_answer_for_it(company: Company, path: str) -> None:
    document = problem(company.viewer.get(path.replace("{id}", str(uuid4()))), 403, "identity.forbidden")
    assert "viewer" not in document["facts"]["allowed"]


def test_what_is_read_is_what_was_written(company: Company) -> None:
    project, estimate, receipt = bid(company)
    viewer = company.viewer
    head = viewer.seen(receipt, f"/estimates/{estimate}").json()
    assert Decimal(head["base_total"]) == Decimal("210.00")
    assert head["line_count"] == 3
    lines = viewer.get(f"/estimates/{estimate}/lines").json()
    assert [row["quantity"] for row in lines["items"]] == ["10", "20", "30"]
    assert lines["next"] is None
    listed = viewer.seen(receipt, "/projects").json()["items"]
    assert [(row["project_id"], row["latest_version"]) for row in listed] == [(str(project), 1)]
    assert viewer.get(f"/projects/{project}").json() == listed[0]
    versions = viewer.get(f"/projects/{project}/estimates").json()["items"]
    assert [row["estimate_id"] for row in versions] == [str(estimate)]
    history = viewer.seen(receipt, f"/estimates/{estimate}/history").json()["items"]
    assert history
    assert viewer.get("/company").json()["name"] == "Northern Paving"
    assert {row["role"] for row in viewer.get("/members").json()["items"]} == {"estimator", "viewer"}


def test_every_answer_names_its_position(company: Company) -> None:
    _, estimate, receipt = bid(company)
    answer = company.viewer.seen(receipt, f"/estimates/{estimate}")
    position, epoch = answer.headers["Cairn-Position"], answer.headers["Cairn-Epoch"]
    assert int(position) >= receipt.json()["position"]
    assert answer.headers["Cairn-Token"] == f"{epoch}.{position}"
    assert int(epoch) == receipt.json()["epoch"]


GONE = [
    "/projects/{id}",
    "/receipts/{id}",
    *(f"/estimates/{{id}}{of}" for of in ("", "/lines", "/risks", "/tags", "/bridge")),
]


@pytest.mark.parametrize("path", GONE)
def test_a_thing_that_is_not_there(company: Company, path: str) -> None:
    problem(company.auditor.get(path.replace("{id}", str(uuid4()))), 404, "thing.unknown")


def test_the_past_is_read_by_position_token_and_instant(company: Company) -> None:
    _, estimate, before = bid(company)
    after = company.estimator.done("estimate", estimate, "add-line", line(quantity="40"))
    viewer = company.viewer
    assert viewer.seen(after, f"/estimates/{estimate}").json()["line_count"] == 4
    moments = [str(before.json()["position"]), before.headers["Cairn-Token"], before.json()["recorded_at"]]
    for moment in moments:
        answer = viewer.get(f"/estimates/{estimate}", params={"at": moment})
        assert answer.json()["line_count"] == 3
        assert int(answer.headers["Cairn-Position"]) == before.json()["position"]
    assert len(viewer.get(f"/estimates/{estimate}/lines", params={"at": moments[0]}).json()["items"]) == 3
    problem(viewer.get(f"/estimates/{estimate}?at=1"), 404, "thing.unknown")
    problem(viewer.get(f"/estimates/{estimate}?at=2001-01-01T00:00:00Z"), 404, "thing.unknown")


def test_a_bid_is_explained_now_and_then(company: Company) -> None:
    _, estimate, _ = bid(company)
    estimator, viewer = company.estimator, company.viewer
    risk = {"risk_id": str(uuid4()), "kind": "threat", "title": "Peat", "probability": "0.5"}
    first = estimator.done("estimate", estimate, "add-risk", risk | {"low": "10", "high": "30"})
    estimator.done("estimate", estimate, "tag-version", {"tag": "first"})
    markup = {"kind": "overhead", "markup_id": str(uuid4()), "name": "Overhead", "rate": "0.1"}
    last = estimator.done("estimate", estimate, "set-markups", {"markups": [markup]})
    now = viewer.seen(last, f"/estimates/{estimate}/bridge").json()
    assert [(step["kind"], step["amount"]) for step in now["steps"]] == [
        ("risk", "10.00"),
        ("overhead", "22.00"),
        ("margin", "0.00"),
    ]
    assert (now["base"], now["cost"], now["final_bid"]) == ("210.00", "242.00", "242.00")
    then = viewer.get(f"/estimates/{estimate}/bridge", params={"at": first.json()["position"]}).json()
    assert then["final_bid"] == "220.00"
    [shown] = viewer.get(f"/estimates/{estimate}/risks").json()["items"]
    assert (shown["title"], shown["contribution"], shown["exposure"]) == ("Peat", "10.00", "10.00")
    [tag] = viewer.get(f"/estimates/{estimate}/tags").json()["items"]
    assert (tag["tag"], tag["final_bid"]) == ("first", "220.00")
    at_tag = viewer.get(f"/estimates/{estimate}", params={"at": tag["position"]}).json()
    assert at_tag["final_bid"] == tag["final_bid"]


def test_the_company_is_read_as_it_was(company: Company) -> None:
    first = company.head()
    company.owner.done("company", company.id, "rename-company", {"name": "Southern Paving"})
    assert company.viewer.get("/company").json()["name"] == "Southern Paving"
    assert company.viewer.get(f"/company?at={first}").json()["name"] == "Northern Paving"


def test_what_was_just_written_is_seen(company: Company) -> None:
    estimate = company.estimate()
    for count in range(1, 21):
        receipt = company.estimator.done("estimate", estimate, "add-line", line())
        assert company.estimator.seen(receipt, f"/estimates/{estimate}").json()["line_count"] == count


def test_a_model_that_stands_still_is_said_to_be_behind(world: World, database_url: str) -> None:
    settings = replace(SETTINGS, api_catch_up_seconds_max=0.2)
    with serving(database_url, world.nats_url, settings, projecting=False) as still:
        company = register(still)
        receipt = company.estimator.done("project", uuid4(), "create-project", {"name": "TH 108"})
        answer = company.estimator.get("/projects", headers={"Cairn-After": receipt.headers["Cairn-Token"]})
        document = problem(answer, 503, "model.behind")
        assert document["facts"] == {"model": "project_list", "reached": 0, "wanted": receipt.json()["position"]}
        assert answer.headers["Retry-After"] == "1"
        problem(company.estimator.get(f"/projects?at={receipt.json()['position']}"), 503, "model.behind")
        unhurried = company.estimator.get("/projects")
        assert (unhurried.json()["items"], unhurried.headers["Cairn-Position"]) == ([], "0")


@pytest.mark.parametrize("token", ["7", "a.b", "1.2.3", "-1.-1", ""])
def test_a_token_that_is_none(company: Company, token: str) -> None:
    problem(company.viewer.get("/projects", headers={"Cairn-After": token}), 400, "request.header-malformed")


def test_pages_follow_one_another_at_one_position(company: Company) -> None:
    for _ in range(6):
        company.project()
    receipt = company.estimator.done("project", uuid4(), "create-project", {"name": "Last"})
    viewer = company.viewer
    answer = viewer.seen(receipt, "/projects?limit=3")
    position, seen = answer.json()["position"], [row["project_id"] for row in answer.json()["items"]]
    while (cursor := answer.json()["next"]) is not None:
        company.project()  # what is written between pages moves nothing
        answer = viewer.get("/projects", params={"limit": 3, "cursor": cursor})
        assert answer.json()["position"] == position
        seen += [row["project_id"] for row in answer.json()["items"]]
    assert len(seen) == len(set(seen)) == 7
    whole = viewer.get(f"/projects?at={position}").json()["items"]
    assert [row["project_id"] for row in whole] == seen


@pytest.mark.parametrize("path", ["lines", "history", "/activity", "/members", "/projects/{project}/estimates"])
def test_pages_of_one_row_are_the_whole(company: Company, path: str) -> None:
    project, estimate, receipt = bid(company)
    caller = company.owner
    path = path.format(project=project) if path.startswith("/") else f"/estimates/{estimate}/{path}"
    whole = caller.seen(receipt, path).json()
    rows: list[Any] = []
    answer = caller.get(path, params={"limit": 1, "at": whole["position"]}).json()
    while True:
        rows += answer["items"]
        if answer["next"] is None:
            break
        answer = caller.get(path, params={"limit": 1, "cursor": answer["next"]}).json()
    assert rows == whole["items"]
    assert rows


@pytest.mark.parametrize("limit", ["0", "-1", "many", "1.5"])
def test_a_limit_that_is_none(company: Company, limit: str) -> None:
    document = problem(company.viewer.get(f"/projects?limit={limit}"), 400, "request.parameter-invalid")
    assert [fault["path"] for fault in document["faults"]] == ["/limit"]


def test_a_filter_finds_what_it_names(company: Company) -> None:
    kept, gone = company.project("Kept"), company.project("Gone")
    receipt = company.estimator.done("project", gone, "delete-project")
    viewer = company.viewer
    assert [row["project_id"] for row in viewer.seen(receipt, "/projects").json()["items"]] == [str(kept)]
    every = {row["project_id"] for row in viewer.get("/projects?deleted=true").json()["items"]}
    assert every == {str(kept), str(gone)}
    assert viewer.get("/projects?status=lost").json()["items"] == []
    problem(viewer.get("/projects?deleted=perhaps"), 400, "request.parameter-invalid")


def test_an_answer_that_is_still_good_is_not_sent_again(company: Company) -> None:
    viewer = company.viewer
    _, estimate, receipt = bid(company)
    path = f"/estimates/{estimate}"
    tag = viewer.seen(receipt, path).headers["ETag"]
    same = viewer.get(path, headers={"If-None-Match": f'"other", {tag}'})
    assert (same.status_code, same.content) == (304, b"")
    assert same.headers["ETag"] == tag
    assert same.headers["Cairn-Position"]
    assert viewer.get(path + "/lines", headers={"If-None-Match": tag}).status_code == 200
    company.estimator.done("estimate", estimate, "add-line", line())
    moved = company.estimator.done("estimate", estimate, "add-line", line())
    fresh = viewer.get(path, headers={"If-None-Match": tag, "Cairn-After": moved.headers["Cairn-Token"]})
    assert fresh.status_code == 200
    assert fresh.headers["ETag"] != tag


def test_an_answer_of_the_past_stays_good(company: Company) -> None:
    _, estimate, receipt = bid(company)
    path = f"/estimates/{estimate}?at={receipt.json()['position']}"
    tag = company.viewer.seen(receipt, path).headers["ETag"]
    company.estimator.done("estimate", estimate, "add-line", line())
    assert company.viewer.get(path, headers={"If-None-Match": tag}).status_code == 304


def test_a_receipt_is_found_by_its_command(company: Company) -> None:
    project = company.project("TH 108")
    done = company.estimator.command("project", project, "rename-project", {"name": "TH 109"}).json()
    nothing = company.estimator.command("project", project, "rename-project", {"name": "TH 109"}).json()
    assert company.viewer.get(f"/receipts/{done['command_id']}").json() == done | {"replayed": True}
    found = company.viewer.get(f"/receipts/{nothing['command_id']}").json()
    assert (found["position"], found["first_position"], found["replayed"]) == (nothing["position"], None, True)
