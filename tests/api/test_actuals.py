"""Actual costs, variance, code sets, price books and accuracy over HTTP."""

import asyncio
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from eventstore.db import Database, role_url
from projections import actuals_detail
from projections.engine import Engine
from projections.settings import EngineSettings
from tests.api.callers import SETTINGS, Company, World, line, problem, register, serving

MODELS = ("entries", "codes", "corrections", "findings", "durations", "risks", "variance/codes")
PATHS = [
    "/projects/{id}/actuals", "/actuals/{id}", "/actuals/{id}/variance", "/code-sets/{id}", "/code-sets/{id}/codes",
    "/price-books/{id}", "/price-books/{id}/prices", *(f"/actuals/{{id}}/{each}" for each in MODELS),
]  # fmt: skip
LISTS = ["/code-sets", "/price-books", "/accuracy", "/accuracy/projects"]


def cost(**changed: object) -> dict[str, object]:
    """An entry of 9.00 for what was budgeted at 7.00."""
    usual = {"entry_id": str(uuid4()), "amount": "9.00", "booked_on": "2022-08-31", "code": "A"}
    return usual | {"quantity": "2", "unit": "SY"} | changed


def submitted(company: Company) -> tuple[UUID, UUID]:
    """A project with a submitted estimate of codes A and B, 7.00 each: their ids."""
    project = company.project()
    estimate = company.estimate(project)
    body = {"lines": [line(code="A", cost_type="labour"), line(code="B")]}
    company.estimator.done("estimate", estimate, "import-lines", body)
    company.estimator.done("estimate", estimate, "submit-estimate")
    return project, estimate


def opened(company: Company) -> tuple[UUID, UUID]:
    """A project and its actuals: their ids."""
    project, estimate = submitted(company)
    actuals = uuid4()
    body = {"project_id": str(project), "baseline_id": str(estimate)}
    company.estimator.done("actuals", actuals, "open-actuals", body)
    return project, actuals


def filled(company: Company) -> tuple[UUID, UUID, Any]:
    """Actuals with something in each of their lists: project, actuals, and the last receipt."""
    project, actuals = opened(company)
    estimator, entries = company.estimator, [cost(), cost(code="B"), cost(code="C")]
    estimator.done("actuals", actuals, "record-costs", {"entries": entries})
    for amount in ("8.00", "10.00"):
        correction = {"entry_id": entries[0]["entry_id"], "reason": "Misread", "amount": amount}
        estimator.done("actuals", actuals, "correct-cost", correction)
    for code in ("A", "B"):
        finding = {"finding_id": str(uuid4()), "kind": "lesson", "text": "Rock", "code": code}
        estimator.done("actuals", actuals, "add-finding", finding)
        receipt = estimator.done("actuals", actuals, "set-duration", {"days": 3, "scope": {"code": code}})
    return project, actuals, receipt


def faults(answer: Any, code: str) -> list[str]:
    """The paths of the faults of a body that does not fit."""
    return [fault["path"] for fault in problem(answer, 422, code)["faults"]]


@pytest.mark.parametrize("path", [*PATHS, *LISTS])
def test_nothing_is_told_to_nobody(company: Company, path: str) -> None:
    problem(company.world.get(path.replace("{id}", str(uuid4()))), 401, "identity.missing")


@pytest.mark.parametrize("path", PATHS)
def test_a_thing_that_is_not_there(company: Company, path: str) -> None:
    problem(company.viewer.get(path.replace("{id}", str(uuid4()))), 404, "thing.unknown")


def test_actuals_are_read_as_they_were_recorded(company: Company) -> None:
    project, actuals, receipt = filled(company)
    viewer = company.viewer
    head = viewer.seen(receipt, f"/actuals/{actuals}").json()
    assert (head["amount"], head["entry_count"], head["status"]) == ("28.00", 3, "open")
    assert viewer.get(f"/projects/{project}/actuals").json() == head
    codes = viewer.get(f"/actuals/{actuals}/codes").json()["items"]
    assert [(each["code"], each["amount"], each["quantity"]) for each in codes] == [
        ("A", "10.00", "2"),
        ("B", "9.00", "2"),
        ("C", "9.00", "2"),
    ]
    told = viewer.get(f"/actuals/{actuals}/corrections").json()["items"]
    assert [(each["field"], each["was"], each["now"], each["reason"]) for each in told] == [
        ("amount", "8.00", "10.00", "Misread"),
        ("amount", "9.00", "8.00", "Misread"),
    ]
    one = told[0]["entry_id"]
    assert viewer.get(f"/actuals/{actuals}/corrections?entry_id={one}").json()["items"] == told
    [entry] = viewer.get(f"/actuals/{actuals}/entries?code=B").json()["items"]
    assert entry["amount"] == "9.00"
    assert len(viewer.get(f"/actuals/{actuals}/findings?kind=lesson").json()["items"]) == 2
    assert viewer.get(f"/actuals/{actuals}/findings?kind=issue").json()["items"] == []


def test_variance_adds_up_and_says_what_it_needs(company: Company) -> None:
    _, actuals, _ = filled(company)
    said = {"narrative": "Never planned.", "scope": {"code": "C"}}
    receipt = company.estimator.done("actuals", actuals, "explain-variance", said)
    whole = company.viewer.seen(receipt, f"/actuals/{actuals}/variance").json()
    total = whole["total"]
    assert (total["budget"], total["actual"], total["variance"]) == ("14.00", "28.00", "14.00")
    assert (total["word"], Decimal(total["fraction"])) == ("over", Decimal(1))
    assert (whole["codes"], whole["to_explain"], whole["threshold"]) == (3, 2, "0.1")
    rows = company.viewer.get(f"/actuals/{actuals}/variance/codes").json()["items"]
    assert sum(Decimal(row["variance"]) for row in rows) == Decimal(total["variance"])
    a, _, c = rows
    assert (a["quantity_part"], a["price_part"], a["explained"]) == ("0.00", "3.00", False)
    assert (c["fraction"], c["quantity_part"], c["narrative"]) == (None, None, "Never planned.")
    needing = company.viewer.get(f"/actuals/{actuals}/variance/codes?needs_explanation=true").json()["items"]
    assert needing == rows
    company.owner.done("company", company.id, "change-settings", {"variance_threshold": "0.3"})
    loosened = company.viewer.get(f"/actuals/{actuals}/variance", headers={"Cairn-After": token_of(company)}).json()
    assert (loosened["threshold"], loosened["to_explain"]) == ("0.3", 1)
    then = company.viewer.get(f"/actuals/{actuals}/variance?at={receipt.json()['position']}").json()
    assert then == whole


def token_of(company: Company) -> str:
    """The token of the log's head."""
    return company.auditor.get("/log?limit=1").headers["Cairn-Token"]


@pytest.mark.parametrize("path", MODELS)
def test_pages_of_one_row_are_the_whole(company: Company, path: str) -> None:
    project, actuals, _ = filled(company)
    estimate = company.estimate(project)
    for _ in range(2):
        risk = {"risk_id": str(uuid4()), "kind": "threat", "title": "Peat", "probability": "1", "low": "1", "high": "2"}
        company.estimator.done("estimate", estimate, "add-risk", risk)
    company.estimator.done("estimate", estimate, "submit-estimate")
    for risk_id in risks(company, estimate):
        body = {"estimate_id": str(estimate), "risk_id": risk_id, "cost": "3", "occurred_on": "2022-07-11"}
        receipt = company.estimator.done("actuals", actuals, "record-risk-occurrence", body)
    path = f"/actuals/{actuals}/{path}"
    whole = company.viewer.seen(receipt, path).json()
    rows: list[Any] = []
    answer = company.viewer.get(path, params={"limit": 1, "at": whole["position"]}).json()
    while True:
        rows += answer["items"]
        if answer["next"] is None:
            break
        answer = company.viewer.get(path, params={"limit": 1, "cursor": answer["next"]}).json()
    assert rows == whole["items"]
    assert len(rows) > 1


def risks(company: Company, estimate: UUID) -> list[str]:
    """The ids of an estimate's risks."""
    headers = {"Cairn-After": token_of(company)}
    return [
        each["risk_id"] for each in company.viewer.get(f"/estimates/{estimate}/risks", headers=headers).json()["items"]
    ]


def test_a_cost_against_a_markup_or_refused(company: Company) -> None:
    project, markup_id = company.project(), str(uuid4())
    estimate, actuals = company.estimate(project), uuid4()
    markup = {"markup_id": markup_id, "kind": "overhead", "name": "Site", "on": "direct", "amount": "5"}
    company.estimator.done("estimate", estimate, "set-markups", {"markups": [markup]})
    company.estimator.done("estimate", estimate, "submit-estimate")
    opening = {"project_id": str(project), "baseline_id": str(estimate)}
    company.estimator.done("actuals", actuals, "open-actuals", opening)
    both = {"entries": [cost(markup_id=markup_id)]}
    answer = company.estimator.command("actuals", actuals, "record-costs", both)
    assert faults(answer, "request.body-invalid") == ["/entries/0"]
    entry = cost(markup_id=markup_id, code=None)
    company.estimator.done("actuals", actuals, "record-costs", {"entries": [entry]})
    coded = {"entry_id": entry["entry_id"], "code": "A", "reason": "x"}
    problem(company.estimator.command("actuals", actuals, "correct-cost", coded), 422, "actuals.code-and-markup")
    dearer = {"entry_id": entry["entry_id"], "amount": "7", "reason": "Misread"}
    receipt = company.estimator.done("actuals", actuals, "correct-cost", dearer)
    [row] = company.viewer.seen(receipt, f"/actuals/{actuals}/variance").json()["markups"]
    assert (row["markup_id"], row["name"], row["budget"], row["actual"]) == (markup_id, "Site", "5.00", "7.00")
    [booked] = company.viewer.get(f"/actuals/{actuals}/codes").json()["items"]
    assert (booked["markup_id"], booked["code"], booked["amount"]) == (markup_id, None, "7.00")


def test_the_cost_of_a_risk_is_corrected_or_refused(company: Company) -> None:
    project, actuals = opened(company)
    estimate = company.estimate(project)
    risk = {"risk_id": str(uuid4()), "kind": "threat", "title": "Peat", "probability": "1", "low": "1", "high": "2"}
    company.estimator.done("estimate", estimate, "add-risk", risk)
    company.estimator.done("estimate", estimate, "submit-estimate")
    named = {"estimate_id": str(estimate), "risk_id": risk["risk_id"]}
    correction = named | {"cost": "0", "reason": "It was another's"}
    early = company.estimator.command("actuals", actuals, "correct-risk-cost", correction)
    assert problem(early, 404, "actuals.risk-cost-unknown")["facts"] == {"risk_id": risk["risk_id"]}
    occurred = named | {"cost": "3", "occurred_on": "2022-07-11"}
    company.estimator.done("actuals", actuals, "record-risk-occurrence", occurred)
    answer = company.estimator.command("actuals", actuals, "correct-risk-cost", named | {"cost": "0", "reason": ""})
    assert faults(answer, "request.body-invalid") == ["/reason"]
    receipt = company.estimator.done("actuals", actuals, "correct-risk-cost", correction)
    whole = company.viewer.seen(receipt, f"/actuals/{actuals}/variance").json()
    assert (whole["risks"]["actual"], whole["total"]["actual"]) == ("0.00", "0.00")
    path = f"/actuals/{actuals}/corrections?risk_id={risk['risk_id']}"
    [told] = company.viewer.get(path).json()["items"]
    assert (told["field"], told["was"], told["now"], told["reason"]) == ("cost", "3.00", "0.00", "It was another's")
    [shown] = company.viewer.seen(receipt, f"/estimates/{estimate}/risks").json()["items"]
    assert Decimal(shown["occurred_cost"]) == 0


def test_variance_waits_for_both_models_it_rests_on(world: World, database_url: str) -> None:
    settings = replace(SETTINGS, api_catch_up_seconds_max=0.2)
    with serving(database_url, world.nats_url, settings, projecting=False) as still:
        company = register(still)
        _, actuals = opened(company)
        receipt = company.estimator.done("actuals", actuals, "record-costs", {"entries": [cost()]})
        asyncio.run(project_alone(database_url, company.id))
        assert company.estimator.seen(receipt, f"/actuals/{actuals}").json()["amount"] == "9.00"
        path, headers = f"/actuals/{actuals}/variance", {"Cairn-After": receipt.headers["Cairn-Token"]}
        document = problem(company.estimator.get(path, headers=headers), 503, "model.behind")
        assert document["facts"] == {"model": "estimate_detail", "reached": 0, "wanted": receipt.json()["position"]}
        problem(company.estimator.get(path), 404, "thing.unknown")  # as of where the slower one stands


async def project_alone(database_url: str, tenant: UUID) -> None:
    """Brings one model up to date, and no other."""
    database = Database(role_url(database_url, "cairn_projector", urlsplit(database_url).password), name="alone")
    await database.open()
    try:
        engine = Engine(database, [actuals_detail.projection], EngineSettings())
        await engine.prepare()
        await engine.advance(tenant)
    finally:
        await database.close()


@pytest.mark.parametrize("path", ["", "/codes", "/variance", "/variance/codes"])
def test_an_answer_that_is_still_good_is_not_sent_again(company: Company, path: str) -> None:
    viewer = company.viewer  # made before: that is an event too
    _, actuals, receipt = filled(company)
    tag = viewer.seen(receipt, f"/actuals/{actuals}{path}").headers["ETag"]
    again = viewer.get(f"/actuals/{actuals}{path}", headers={"If-None-Match": tag})
    assert again.status_code == 304
    moved = company.estimator.done("actuals", actuals, "record-costs", {"entries": [cost()]})
    assert viewer.seen(moved, f"/actuals/{actuals}{path}").headers["ETag"] != tag


def test_actuals_of_a_project_that_was_never_submitted(company: Company) -> None:
    project = company.project()
    estimate, actuals = company.estimate(project), uuid4()
    before = company.head()
    body = {"project_id": str(project), "baseline_id": str(estimate)}
    document = problem(
        company.estimator.command("actuals", actuals, "open-actuals", body), 409, "actuals.baseline-not-submitted"
    )
    assert document["facts"] == {"status": "draft"}
    problem(
        company.estimator.command("actuals", actuals, "record-costs", {"entries": [cost()]}), 404, "actuals.unknown"
    )
    assert company.head() == before


def test_a_second_opening(company: Company) -> None:
    project, actuals = opened(company)
    estimate = company.viewer.get(f"/projects/{project}/actuals", headers={"Cairn-After": token_of(company)}).json()
    body = {"project_id": str(project), "baseline_id": estimate["baseline_id"]}
    answer = company.estimator.command("actuals", uuid4(), "open-actuals", body)
    document = problem(answer, 409, "actuals.already-open-for-project")
    assert document["facts"] == {"actuals_id": str(actuals)}


def test_entries_after_the_end_and_corrections_of_nothing(company: Company) -> None:
    _, actuals = opened(company)
    nothing = {"entry_id": str(uuid4()), "reason": "x", "amount": "1"}
    problem(company.estimator.command("actuals", actuals, "correct-cost", nothing), 404, "actuals.entry-unknown")
    company.estimator.done("actuals", actuals, "finish-actuals", {"finished_on": "2022-10-14"})
    before = company.head()
    late = company.estimator.command("actuals", actuals, "record-costs", {"entries": [cost()]})
    problem(late, 409, "actuals.finished")
    assert company.head() == before


def test_what_does_not_fit_changes_nothing(company: Company) -> None:
    _, actuals = opened(company)
    estimator, before = company.estimator, company.head()
    for days in (-1, 36_501, "3", 1.5):
        answer = estimator.command("actuals", actuals, "set-duration", {"days": days})
        assert faults(answer, "request.body-invalid") == ["/days"]
    wrong = [cost(), cost(amount="1.005", booked_on="yesterday"), cost(unit=None), cost(amount=float("1.5"))]
    answer = estimator.command("actuals", actuals, "record-costs", {"entries": wrong})
    assert faults(answer, "request.body-invalid") == [
        "/entries/1/amount",
        "/entries/1/booked_on",
        "/entries/2",
        "/entries/3/amount",
    ]
    answer = estimator.command("actuals", actuals, "record-costs", {"entries": [cost()] * 10_001})
    assert faults(answer, "request.body-invalid") == ["/entries"]
    again, foreign = cost(), cost(currency="EUR")
    answer = estimator.command("actuals", actuals, "record-costs", {"entries": [again, again, foreign]})
    told = problem(answer, 422, "actuals.import-refused")["facts"]["faults"]
    assert [(fault["index"], fault["code"]) for fault in told] == [
        (1, "actuals.entry-repeated"),
        (2, "actuals.foreign-currency"),
    ]
    threshold = {"variance_threshold": "12"}
    answer = company.owner.command("company", company.id, "change-settings", threshold)
    assert faults(answer, "request.body-invalid") == ["/variance_threshold"]
    assert company.head() == before + 2  # the owner and the token, made on the way


def test_code_sets_are_found_by_prefix_and_text(company: Company) -> None:
    codeset, estimator = uuid4(), company.estimator
    edition = {"code_set": "MnDOT", "edition": "2020"}
    estimator.done("codeset", codeset, "register-code-set", edition)
    taken = estimator.command("codeset", uuid4(), "register-code-set", edition)
    document = problem(taken, 409, "codeset.edition-already-registered")
    assert document["facts"] == {"codeset_id": str(codeset)}
    codes = [
        {"code": code, "description": text} for code, text in (("2104", "Paving"), ("2105", "Rock"), ("31", "Rock"))
    ]
    receipt = estimator.done("codeset", codeset, "import-codes", {"codes": codes})
    [found] = company.viewer.seen(receipt, "/code-sets?code_set=MnDOT").json()["items"]
    assert company.viewer.get(f"/code-sets/{codeset}").json() == found

    def listed(filters: str) -> list[str]:
        return [each["code"] for each in company.viewer.get(f"/code-sets/{codeset}/codes{filters}").json()["items"]]

    assert listed("") == ["2104", "2105", "31"]
    assert listed("?prefix=210&search=rock") == ["2105"]
    assert listed("?search=%25") == listed("?search=';drop") == []
    first = company.viewer.get(f"/code-sets/{codeset}/codes?limit=2&prefix=2").json()
    assert first["next"] is None
    twice = {"codes": [codes[0], codes[0]]}
    problem(estimator.command("codeset", codeset, "import-codes", twice), 422, "codeset.import-refused")
    problem(estimator.command("codeset", uuid4(), "import-codes", {"codes": codes}), 404, "codeset.unknown")


def test_price_books_are_found_by_prefix_and_text(company: Company) -> None:
    book, estimator = uuid4(), company.estimator
    particulars = {"name": "Average bids", "edition": "2021", "currency": "USD", "dated_on": "2021-12-31"}
    estimator.done("pricebook", book, "open-price-book", particulars)
    price = {"description": "Remove pavement", "unit": "S Y", "unit_price": "5.72882"}
    prices = {"prices": [price | {"code": "2104"}, price | {"code": "2105", "category": "Removals"}]}
    receipt = estimator.done("pricebook", book, "import-prices", prices)
    [found] = company.viewer.seen(receipt, "/price-books").json()["items"]
    assert company.viewer.get(f"/price-books/{book}").json() == found
    first = company.viewer.get(f"/price-books/{book}/prices?limit=1").json()
    second = company.viewer.get(f"/price-books/{book}/prices", params={"limit": 1, "cursor": first["next"]}).json()
    assert [each["code"] for each in first["items"] + second["items"]] == ["2104", "2105"]
    [removal] = company.viewer.get(f"/price-books/{book}/prices?search=removals&prefix=21").json()["items"]
    assert (removal["unit"], removal["unit_price"]) == ("SY", "5.72882")
    problem(estimator.command("pricebook", uuid4(), "import-prices", prices), 404, "pricebook.unknown")


def test_accuracy_of_finished_projects(company: Company) -> None:
    finished = []
    for amount in ("14.00", "21.00", "28.00"):
        project, actuals = opened(company)
        facts = {"building_type": "highway" if amount != "28.00" else None}
        company.estimator.done("project", project, "change-metadata", facts | {"location": "MN"})
        entry = cost(amount=amount, cost_type="labour")
        company.estimator.done("actuals", actuals, "record-costs", {"entries": [entry]})
        finished.append(str(project))
        receipt = company.estimator.done("actuals", actuals, "finish-actuals", {"finished_on": "2022-10-14"})
    opened(company)
    rows = company.viewer.seen(receipt, "/accuracy/projects").json()["items"]
    assert {row["project_id"]: (row["budget"], row["actual"], row["word"]) for row in rows} == dict(
        zip(
            finished,
            [("14.00", "14.00", "on budget"), ("14.00", "21.00", "over"), ("14.00", "28.00", "over")],
            strict=True,
        )
    )
    answer = company.viewer.seen(receipt, "/accuracy").json()
    assert decimals(answer["overall"]) == (3, Decimal("0.5"), Decimal("0.5"), Decimal("0.5"), Decimal("0.5"))
    groups = {each["group"]: decimals(each["accuracy"]) for each in answer["groups"]}
    assert groups == {
        "highway": (2, Decimal("0.25"), Decimal("0.25"), Decimal("0.25"), Decimal("0.353553")),
        None: (1, Decimal(1), Decimal(1), Decimal(1), None),
    }
    types = company.viewer.get("/accuracy?by=cost-type").json()["groups"]
    assert {each["group"]: decimals(each["accuracy"])[:2] for each in types} == {
        "labour": (3, Decimal(2)),
        "other": (3, Decimal(-1)),
    }
    [estimator] = company.viewer.get("/accuracy?by=estimator").json()["groups"]
    assert (estimator["name"], estimator["accuracy"]["count"]) == ("Estimator", 3)
    [unclassified] = company.viewer.get("/accuracy?by=aace-class").json()["groups"]
    assert unclassified["group"] is None
    document = problem(company.viewer.get("/accuracy?by=moon"), 400, "request.parameter-invalid")
    assert [fault["path"] for fault in document["faults"]] == ["/by"]
    assert company.viewer.get("/accuracy?at=1").json()["overall"]["count"] == 0
    page = company.viewer.get("/accuracy/projects?limit=2").json()
    rest = company.viewer.get("/accuracy/projects", params={"limit": 2, "cursor": page["next"]}).json()
    assert page["items"] + rest["items"] == rows


def decimals(accuracy: dict[str, Any]) -> tuple[Any, ...]:
    """Count, bias, mean size, median and spread."""
    names = ("bias", "mean_absolute", "median", "spread")
    return (accuracy["count"], *(None if accuracy[name] is None else Decimal(accuracy[name]) for name in names))
