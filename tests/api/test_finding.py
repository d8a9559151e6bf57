"""Search and price history over HTTP: what is typed, what is no search, pages, the past, and other companies."""

from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from tests.api.callers import Company, line, problem

LINES = [
    {"description": "REMOVE BITUMINOUS PAVEMENT", "code": "2104504/00120", "unit": "SY", "unit_price": "5.9"},
    {"description": "AGGREGATE BASE (C.V.) CLASS 5", "code": "2211507/00170", "unit": "C Y", "unit_price": "40"},
    {"description": "PRECAST BOX CULVERT 4'-0\" X 6'-0\"", "code": "2412502", "unit": "LF", "unit_price": "900"},
    {"description": 'MILL-AND-OVERLAY <b>1.5"</b>', "unit": "SY", "unit_price": "12", "note": "Café terrace"},
]


def bid(company: Company) -> tuple[UUID, UUID, Any]:
    """A project with an estimate: their ids, and the last receipt."""
    project = company.project("TH 108 mill & overlay")
    estimate = company.estimate(project)
    body = {"lines": [line(**each) for each in LINES]}
    return project, estimate, company.estimator.done("estimate", estimate, "import-lines", body)


def found(company: Company, **params: Any) -> Any:
    """What a viewer finds."""
    answer = company.viewer.get("/search", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def shown(hit: Any) -> dict[str, str]:
    """Field → its text, hits in brackets."""
    return {
        each["field"]: "".join(f"[{piece['text']}]" if piece["hit"] else piece["text"] for piece in each["pieces"])
        for each in hit["fields"]
    }


def test_things_are_found_as_they_are_seen(company: Company) -> None:
    project, estimate, receipt = bid(company)
    company.viewer.seen(receipt, "/search?q=any")
    for typed, expected in {
        "2104504/00120": {"code": "[2104504/00120]", "description": "REMOVE BITUMINOUS PAVEMENT"},
        "C.V.": {"description": "AGGREGATE BASE ([C.V].) CLASS 5"},
        "4'-0\"": {"description": "PRECAST BOX CULVERT [4'-0]\" X 6'-0\""},
        "over cafe": {"description": 'MILL-AND-[OVERLAY] <b>1.5"</b>', "note": "[Café] terrace"},
    }.items():
        [hit] = found(company, q=typed, kind="line")["items"]
        assert (hit["project_id"], hit["estimate_id"], hit["version"]) == (str(project), str(estimate), 1)
        assert shown(hit) == expected
    kinds = [hit["kind"] for hit in found(company, q="mill")["items"]]
    assert kinds == ["project", "line"]
    assert found(company, q="mill", kind=["estimate", "project"])["count"] == 1
    assert found(company, q="mill", project_id=str(estimate))["items"] == []
    assert found(company, q="mill", project_id=str(project))["count"] == 2
    assert shown(found(company, q="th")["items"][0]) == {"name": "[TH] 108 mill & overlay"}


@pytest.mark.parametrize(
    "typed", ["", " ", "& | ! ()", "---", "\0", "a" * 201, " ".join("abcdefghijklmnopqrstu"), "'" * 20_000]
)
def test_what_is_no_search(company: Company, typed: str) -> None:
    document = problem(company.viewer.get("/search", params={"q": typed}), 400, "request.parameter-invalid")
    assert [fault["path"] for fault in document["faults"]] == ["/q"]


def test_a_search_needs_words_and_a_kind_that_there_is(company: Company) -> None:
    problem(company.viewer.get("/search"), 400, "request.parameter-invalid")
    problem(company.viewer.get("/search?q=a&kind=company"), 400, "request.parameter-invalid")


@pytest.mark.parametrize(
    "typed",
    ["' or 1=1 --", "mill | zebra", "zebra:* || mill", "\\' zebra", "%s%(at)s", "\ufffd\U0010ffff zebra", "mill\0ed"],
)
def test_operators_are_no_more_than_words(company: Company, typed: str) -> None:
    _, _, receipt = bid(company)
    company.viewer.seen(receipt, "/search?q=any")
    assert found(company, q=typed)["items"] == []
    assert found(company, q="!mill & <-> (overlay)")["count"] == 2


def test_what_others_have_is_not_found(company: Company, other: Company) -> None:
    _, _, receipt = bid(company)
    company.viewer.seen(receipt, "/search?q=any")
    theirs = other.estimator.done("project", UUID(int=5), "create-project", {"name": "Another"})
    assert other.viewer.seen(theirs, "/search?q=mill").json()["items"] == []
    assert other.viewer.get("/price-history?code=2412502").json()["items"] == []


def test_hits_come_in_pages_at_one_position(company: Company) -> None:
    estimate = company.estimate()
    body = {"lines": [line(description=f"CONCRETE {number}") for number in range(7)]}
    receipt = company.estimator.done("estimate", estimate, "import-lines", body)
    page = company.viewer.seen(receipt, "/search?q=concrete&limit=3").json()
    seen = [hit["id"] for hit in page["items"]]
    company.estimator.done("estimate", estimate, "add-line", line(description="CONCRETE"))
    while page["next"] is not None:
        page = found(company, q="concrete", limit=3, cursor=page["next"])
        assert (page["count"], page["at_least"]) == (7, False)
        seen += [hit["id"] for hit in page["items"]]
    assert len(seen) == len(set(seen)) == 7


def test_the_past_is_searched_too(company: Company) -> None:
    project, estimate, before = bid(company)
    receipt = company.estimator.done("project", project, "rename-project", {"name": "TH 9 reclaim"})
    company.viewer.seen(receipt, "/search?q=any")
    assert found(company, q="overlay", kind="project")["items"] == []
    [then] = found(company, q="overlay", kind="project", at=before.json()["position"])["items"]
    assert then["project_name"] == "TH 108 mill & overlay"
    copied = {"project_id": str(project), "parent_id": str(estimate), "currency": "USD"}
    receipt = company.estimator.done("estimate", UUID(int=77), "start-estimate", copied)
    company.viewer.seen(receipt, "/search?q=any")
    [hit] = found(company, q="culvert")["items"]
    assert (hit["version"], hit["versions"], hit["latest_version"], hit["project_name"]) == (2, 2, 2, "TH 9 reclaim")


def test_the_prices_of_a_code(company: Company) -> None:
    project, _, receipt = bid(company)
    answer = company.viewer.seen(receipt, "/price-history?code=2211507/00170").json()
    [group] = answer["groups"]
    assert (group["unit"], group["currency"], group["count"]) == ("CY", "USD", 1)
    assert (Decimal(group["median"]), group["latest_project_id"]) == (Decimal(40), str(project))
    [seen] = answer["items"]
    assert (Decimal(seen["unit_price"]), seen["submitted"], seen["project_id"]) == (Decimal(40), False, str(project))
    same = company.viewer.get("/price-history", params={"code": "2211507/00170", "unit": "cu. yd.", "currency": "USD"})
    assert same.json()["items"] == answer["items"]
    for filtered in ({"unit": "SY"}, {"currency": "EUR"}, {"from": "2999-01-01"}, {"to": "2000-01-01"}):
        nothing = company.viewer.get("/price-history", params={"code": "2211507/00170", **filtered}).json()
        assert (nothing["items"], nothing["groups"]) == ([], [])


def test_prices_come_in_pages(company: Company) -> None:
    body = {"lines": [line(code="A", unit_price=str(number)) for number in range(5)]}
    receipt = company.estimator.done("estimate", company.estimate(), "import-lines", body)
    page = company.viewer.seen(receipt, "/price-history?code=A&limit=2").json()
    assert [group["count"] for group in page["groups"]] == [5]
    seen = [each["line_id"] for each in page["items"]]
    while page["next"] is not None:
        page = company.viewer.get("/price-history", params={"code": "A", "limit": 2, "cursor": page["next"]}).json()
        assert page["groups"] is None
        seen += [each["line_id"] for each in page["items"]]
    assert len(seen) == len(set(seen)) == 5


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({"code": "A", "unit": "furlong"}, "/unit"),
        ({"code": "A", "from": "yesterday"}, "/from"),
        ({"code": "A\0"}, "/code"),
    ],
)
def test_what_is_no_question_about_prices(company: Company, params: dict[str, str], path: str) -> None:
    document = problem(company.viewer.get("/price-history", params=params), 400, "request.parameter-invalid")
    assert [fault["path"] for fault in document["faults"]] == [path]
