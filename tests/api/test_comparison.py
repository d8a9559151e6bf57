"""Versions compared over HTTP, who moved a total, and figures of the whole company."""

from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from tests.api.callers import Caller, Company, line, problem

RISK_A = {"kind": "threat", "title": "Peat", "probability": "0.40", "low": "20000", "high": "60000"}
RISK_B = {"kind": "threat", "title": "Pipe", "probability": "0.15", "low": "100000", "high": "300000"}


def _priced(company: Company) -> tuple[UUID, list[str], httpx.Response]:
    """An estimate of three lines, their ids, and the last receipt."""
    estimate = company.estimate(company.project())
    lines = [line(quantity="10"), line(quantity="20"), line(quantity="30")]
    receipt = company.estimator.done("estimate", estimate, "import-lines", {"lines": lines})
    return estimate, [str(each["line_id"]) for each in lines], receipt


def _version(company: Company, parent: UUID) -> UUID:
    head = company.estimator.get(f"/estimates/{parent}").json()
    own = uuid4()
    body = {"project_id": head["project_id"], "parent_id": str(parent), "currency": "USD"}
    company.estimator.done("estimate", own, "start-estimate", body)
    return own


def _adds_up(answer: dict[str, Any]) -> None:
    was, now = Decimal(answer["final_bid_was"]), Decimal(answer["final_bid_now"])
    steps = sum((Decimal(step["amount"]) for step in answer["bridge"]), Decimal(0))
    assert was + steps == now
    assert Decimal(answer["difference"]) == now - was


def test_a_version_is_compared_with_its_parent(company: Company) -> None:
    parent, ids, receipt = _priced(company)
    company.viewer.seen(receipt, f"/estimates/{parent}")
    own, send = _version(company, parent), company.estimator.done
    send("estimate", own, "revise-line", {"line_id": ids[0], "quantity": "12", "unit_price": "4"})
    send("estimate", own, "remove-line", {"line_id": ids[1]})
    send("estimate", own, "move-line", {"line_id": ids[2], "wbs_path": ["Elsewhere"]})
    send("estimate", own, "add-line", line(quantity="5"))
    send("estimate", own, "add-risk", {"risk_id": str(uuid4())} | RISK_A)
    overhead = {"kind": "overhead", "markup_id": str(uuid4()), "name": "Overhead", "rate": "0.1"}
    send("estimate", own, "set-markups", {"markups": [overhead]})
    last = send("estimate", own, "change-margin", {"target_margin": "0.2"})
    answer = company.viewer.seen(last, f"/estimates/{parent}/compare/{own}").json()
    _adds_up(answer)
    assert answer["matched_by"] == "line"
    assert (answer["lines_differing"], answer["lines_alike"]) == (4, 0)
    fates = {(each["fate"], each["moved"]) for each in answer["lines"]}
    assert fates == {("changed", False), ("removed", False), ("changed", True), ("added", False)}
    steps = [(step["kind"], step["name"]) for step in answer["bridge"]]
    assert steps == [
        ("lines", "added"),
        ("lines", "removed"),
        ("lines", "quantity"),
        ("lines", "price"),
        ("risk", "Risk adjustment"),
        ("markup", "Overhead"),
        ("margin", "Margin"),
    ]
    assert [risk["fate"] for risk in answer["risks"]] == ["added"]
    few = company.viewer.get(f"/estimates/{parent}/compare/{own}", params={"lines": 1}).json()
    assert (len(few["lines"]), few["lines_differing"], few["bridge"]) == (1, 4, answer["bridge"])


def test_a_version_compared_with_itself_differs_in_nothing(company: Company) -> None:
    own, _, receipt = _priced(company)
    answer = company.viewer.seen(receipt, f"/estimates/{own}/compare/{own}").json()
    assert (answer["bridge"], answer["lines"], answer["lines_alike"]) == ([], [], 3)


def test_projects_are_compared_by_code_and_order(company: Company) -> None:
    send = company.estimator.done
    versions = []
    for prices in (["1", "2"], ["1", "3", "4"]):
        own = company.estimate(company.project())
        lines = [line(code="03 30 00", quantity="1", unit="EA", unit_price=price) for price in prices]
        last = send("estimate", own, "import-lines", {"lines": lines})
        versions.append(own)
    answer = company.viewer.seen(last, f"/estimates/{versions[0]}/compare/{versions[1]}").json()
    _adds_up(answer)
    assert answer["matched_by"] == "code"
    assert [(step["name"], step["amount"]) for step in answer["bridge"] if step["kind"] == "lines"] == [
        ("added", "4.00"),
        ("price", "1.00"),
    ]
    by_line = company.viewer.get(f"/estimates/{versions[0]}/compare/{versions[1]}", params={"match": "line"}).json()
    assert by_line["lines_differing"] == 5
    _adds_up(by_line)


def test_a_comparison_of_what_is_not_there_or_not_the_same_money(company: Company) -> None:
    own, _, receipt = _priced(company)
    company.viewer.seen(receipt, f"/estimates/{own}")
    problem(company.viewer.get(f"/estimates/{own}/compare/{uuid4()}"), 404, "thing.unknown")
    other = uuid4()
    body = {"project_id": str(company.project()), "currency": "GBP"}
    started = company.estimator.done("estimate", other, "start-estimate", body)
    company.viewer.seen(started, f"/estimates/{other}")
    document = problem(company.viewer.get(f"/estimates/{own}/compare/{other}"), 422, "comparison.currencies-differ")
    assert document["facts"] == {"was": "USD", "now": "GBP"}
    problem(
        company.viewer.get(f"/estimates/{own}/compare/{own}", params={"match": "colour"}),
        400,
        "request.parameter-invalid",
    )


def _changed(caller: Caller, receipt: httpx.Response, own: UUID, **query: Any) -> dict[str, Any]:
    caller.seen(receipt, f"/estimates/{own}")
    answer = caller.get(f"/estimates/{own}/total-changes", params=query)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def test_who_changed_the_total_and_by_how_much(company: Company) -> None:
    own, ids, begun = _priced(company)
    before = company.viewer.seen(begun, f"/estimates/{own}").json()
    one, other = company.estimator, company.owner
    first = one.done("estimate", own, "revise-line", {"line_id": ids[0], "unit_price": "100"})
    one.done("estimate", own, "revise-line", {"line_id": ids[0], "note": "no money moved"})
    last = other.done("estimate", own, "remove-line", {"line_id": ids[1]})
    answer = _changed(company.viewer, last, own, since=begun.headers["Cairn-Token"])
    after = company.viewer.get(f"/estimates/{own}").json()
    assert Decimal(answer["difference"]) == Decimal(after["final_bid"]) - Decimal(before["final_bid"])
    assert [each["position"] for each in answer["changes"]] == [last.json()["position"], first.json()["position"]]
    assert [each["changes"] for each in answer["actors"]] == [1, 1]
    assert len({each["actor"] for each in answer["actors"]}) == 2
    assert answer["more"] is False
    lately = _changed(company.viewer, last, own)
    assert Decimal(lately["difference"]) == Decimal(after["final_bid"])  # all of it within ten minutes
    few = _changed(company.viewer, last, own, limit=1)
    assert (len(few["changes"]), few["more"], few["difference"]) == (1, True, lately["difference"])
    past = _changed(company.viewer, last, own, since=begun.headers["Cairn-Token"], at=first.json()["position"])
    assert len(past["changes"]) == 1


@pytest.mark.parametrize("query", [{"since": "yesterday"}, {"minutes": 0}, {"limit": 0}, {"minutes": "x"}])
def test_a_moment_that_is_none_is_refused(company: Company, query: dict[str, Any]) -> None:
    own, _, receipt = _priced(company)
    company.viewer.seen(receipt, f"/estimates/{own}")
    answer = company.viewer.get(f"/estimates/{own}/total-changes", params=query)
    problem(answer, 400, "request.parameter-invalid")


def test_total_changes_of_the_future_are_refused(company: Company) -> None:
    own, _, receipt = _priced(company)
    company.viewer.seen(receipt, f"/estimates/{own}")
    answer = company.viewer.get(f"/estimates/{own}/total-changes", params={"since": "999999"})
    problem(answer, 422, "position.ahead")


def test_the_portfolio_adds_up_latest_versions(company: Company) -> None:
    first, _, receipt = _priced(company)
    company.viewer.seen(receipt, f"/estimates/{first}")
    second = _version(company, first)
    company.estimator.done("estimate", second, "add-line", line(quantity="1", unit="LS", unit_price="1000"))
    company.estimator.done("estimate", second, "submit-estimate")
    empty = company.project()
    last = company.estimator.done("estimate", second, "change-estimate-status", {"status": "awarded"})
    answer = company.viewer.seen(last, "/portfolio").json()
    [group] = answer["groups"]
    head = company.viewer.get(f"/estimates/{second}").json()
    assert (group["group"], group["projects"], group["final_bid"]) == ("awarded", 1, head["final_bid"])
    assert answer["without_estimate"] == 1
    before = company.viewer.get("/portfolio", params={"at": receipt.json()["position"]}).json()
    assert [(each["group"], each["projects"]) for each in before["groups"]] == [("draft", 1)]
    deleted = company.owner.done("project", UUID(head["project_id"]), "delete-project")
    gone = company.viewer.seen(deleted, "/portfolio?by=project_status").json()
    assert (gone["groups"], gone["without_estimate"]) == ([], 1)
    assert empty


def test_a_forecast_is_of_a_business_date(company: Company) -> None:
    project = company.project()
    for day, price in (("2018-03-01", "100"), ("2018-08-01", "150"), ("2019-01-01", None)):
        own = uuid4()
        body = {"project_id": str(project), "currency": "USD", "effective_on": day}
        last = company.estimator.done("estimate", own, "start-estimate", body)
        if price is not None:
            last = company.estimator.done("estimate", own, "add-line", line(quantity="1", unit="LS", unit_price=price))
    company.viewer.seen(last, "/projects")
    sums = {}
    for day in ("2018-02-28", "2018-03-01", "2018-12-31", "2019-01-01"):
        answer = company.viewer.get("/portfolio/forecast", params={"effective_on": day}).json()
        sums[day] = [(each["base_total"], each["without_figure"]) for each in answer["sums"]]
    assert sums["2018-02-28"] == []
    assert [Decimal(total) for total, _ in sums["2018-03-01"]] == [Decimal(100)]
    assert [Decimal(total) for total, _ in sums["2018-12-31"]] == [Decimal(150)]
    assert [(Decimal(total), missing) for total, missing in sums["2019-01-01"]] == [(Decimal(0), 1)]
    problem(company.viewer.get("/portfolio/forecast", params={"effective_on": "May"}), 400, "request.parameter-invalid")
    problem(company.viewer.get("/portfolio/forecast"), 400, "request.parameter-invalid")


def test_figures_by_category_of_one_version_and_of_all(company: Company) -> None:
    own = company.estimate(company.project())
    lines = [
        line(quantity="1", unit="LS", unit_price="10", code="03 30 00", cost_type="material", firmness="plug"),
        line(quantity="1", unit="LS", unit_price="20", code="03 35 00", cost_type="labour"),
        line(quantity="1", unit="LS", unit_price="0"),
    ]
    last = company.estimator.done("estimate", own, "import-lines", {"lines": lines})
    answer = company.viewer.seen(last, f"/estimates/{own}/kpis?by=code_section").json()
    assert [(each["bucket"], each["lines"], Decimal(each["base"])) for each in answer["buckets"]] == [
        ("03", 2, Decimal(30)),
        (None, 1, Decimal(0)),
    ]
    [whole] = company.viewer.get(f"/estimates/{own}/kpis", params={"by": "all"}).json()["buckets"]
    assert (whole["plugs"], whole["uncoded"], whole["unpriced"]) == (1, 1, 1)
    everywhere = company.viewer.seen(last, "/portfolio/kpis?by=all").json()["buckets"]
    assert [(each["lines"], each["base"]) for each in everywhere] == [(3, whole["base"])]
    places = company.viewer.get(f"/estimates/{own}/kpis", params={"by": "wbs"}).json()["buckets"]
    assert all(each["path"] for each in places)
    nothing = company.viewer.get("/portfolio/kpis", params={"estimate_status": "awarded"}).json()
    assert nothing == {"by": "cost_type", "buckets": []}
    problem(company.viewer.get(f"/estimates/{uuid4()}/kpis"), 404, "thing.unknown")
    problem(company.viewer.get("/portfolio/kpis", params={"by": "mood"}), 400, "request.parameter-invalid")
