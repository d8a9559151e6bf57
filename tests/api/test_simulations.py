"""Simulations over HTTP: asked for, followed, read, drawn as a picture; now and as they were."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4
from xml.etree import ElementTree

import httpx
import pytest

from api import curve
from api.curve import Curve
from domain.simulation import PERCENTS
from tests.api.callers import Company, World, problem
from tests.workers.outside import process

SWIFT = {"simulator_poll_seconds": 0.1, "simulator_lease_seconds": 1}
SVG = "{http://www.w3.org/2000/svg}"
ZEROS = ["0.00"] * PERCENTS
FIGURES = {
    "mean": "30.00",
    "standard_deviation": "1.00",
    "curve": ZEROS,
    "method_version": 1,
    "bit_generator": "PCG64",
    "numpy_version": "2",
}


@pytest.fixture
def simulator(world: World) -> Iterator[Any]:
    """A simulator beside the server."""
    with process("simulator", world.database_url, world.nats_url, **SWIFT) as started:
        yield started


def risky(company: Company) -> UUID:
    """An estimate with one risk: 15 % of 100,000 to 300,000."""
    estimate = company.estimate()
    body = {"risk_id": str(uuid4()), "kind": "threat", "title": "Utilities"}
    impacts = {"probability": "0.15", "low": "100000", "high": "300000"}
    company.estimator.done("estimate", estimate, "add-risk", body | impacts)
    return estimate


def asked(company: Company, estimate: UUID, **other: Any) -> tuple[UUID, httpx.Response]:
    """A simulation that was requested, and the receipt."""
    simulation = uuid4()
    body = {"simulation_id": str(simulation), "trials": 100_000, "seed": 7} | other
    return simulation, company.estimator.done("estimate", estimate, "request-simulation", body)


def followed(company: Company, estimate: UUID, simulation: UUID) -> dict[str, Any]:
    """The answer once the simulation is finished: the event is waited for in the company's stream."""
    path = "/stream?after=0&type=estimate.simulation-completed"
    with company.world.http.stream("GET", company.world.url + path, headers=company.owner.headers) as stream:
        for said in stream.iter_lines():
            if str(simulation) in said:
                break
    receipt = company.estimator.done("project", uuid4(), "create-project", {"name": f"After {simulation}"})
    answer: dict[str, Any] = company.viewer.seen(receipt, f"/estimates/{estimate}/simulations/{simulation}").json()
    return answer


def test_a_simulation_is_asked_for_and_answered(company: Company, simulator: Any) -> None:
    estimate = risky(company)
    simulation, receipt = asked(company, estimate)
    found = followed(company, estimate, simulation)
    assert (found["status"], found["progress"], found["reason"]) == ("completed", None, None)
    assert (found["trials"], found["seed"], found["method"]) == (100_000, 7, "independent-triangular")
    assert found["input_version"] == receipt.json()["stream_version"] - 1
    assert (found["currency"], found["risk_count"], len(found["risks"])) == ("USD", 1, 1)
    assert found["expected_value"] == "30000.00"
    figures = found["distribution"]
    percentiles = {each["percent"]: Decimal(each["amount"]) for each in figures["percentiles"]}
    assert sorted(percentiles) == [1, *range(5, 100, 5), 99]
    assert percentiles[80] == 0
    assert abs(percentiles[90] - 166_667) < 5_000
    assert abs(percentiles[95] - 233_333) < 5_000
    assert abs(Decimal(figures["mean"]) - 30_000) < 1_500
    assert set(figures["made_with"]) == {"method_version", "bit_generator", "numpy_version"}
    assert [each["percent"] for each in found["curve"]] == list(range(101))
    assert {each["percent"]: Decimal(each["amount"]) for each in found["curve"]}.items() >= percentiles.items()
    [listed] = company.viewer.get(f"/estimates/{estimate}/simulations").json()["items"]
    assert listed == {name: value for name, value in found.items() if name not in ("risks", "curve")}
    picture(company.viewer.get(f"/estimates/{estimate}/simulations/{simulation}/curve.svg"), figures, found)


def picture(answer: httpx.Response, figures: dict[str, Any], found: dict[str, Any]) -> None:
    """The picture says what the figures say."""
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")
    assert answer.headers["content-security-policy"] == "default-src 'none'"
    amounts = {each["percent"]: f"{Decimal(each['amount']):,.2f}" for each in figures["percentiles"]}
    words = [each.text for each in ElementTree.fromstring(answer.text).iter(f"{SVG}text")]
    assert [f"P{percent}: {amounts[percent]}" for percent in (90, 80, 50, 10)] == [
        w for w in words if w and w[0] == "P"
    ]
    assert words[-2:] == ["Expected value:", f"{Decimal(found['expected_value']):,.2f}"]


def test_a_simulation_is_read_as_it_was(company: Company, simulator: Any) -> None:
    estimate = risky(company)
    simulation, receipt = asked(company, estimate, trials=1_000)
    path = f"/estimates/{estimate}/simulations/{simulation}"
    now = followed(company, estimate, simulation)
    then = company.viewer.get(path, params={"at": receipt.json()["position"]}).json()
    assert (now["status"], then["status"]) == ("completed", "requested")
    assert (then["distribution"], then["curve"], then["progress"], then["finished_at"]) == (None, None, None, None)
    assert then["risks"] == now["risks"]
    before = receipt.json()["position"] - 1
    problem(company.viewer.get(path, params={"at": before}), 404, "thing.unknown")
    listing = company.viewer.get(f"/estimates/{estimate}/simulations", params={"at": before}).json()
    assert (listing["items"], listing["position"]) == ([], before)


def test_what_waits_has_no_curve_and_no_tag(company: Company) -> None:
    estimate = risky(company)
    simulation, receipt = asked(company, estimate)
    path = f"/estimates/{estimate}/simulations/{simulation}"
    answer = company.viewer.seen(receipt, path)
    assert (answer.json()["status"], answer.json()["distribution"]) == ("requested", None)
    assert "ETag" not in answer.headers
    document = problem(company.viewer.get(f"{path}/curve.svg"), 409, "simulation.no-curve")
    assert document["facts"] == {"status": "requested"}
    problem(company.viewer.get(f"/estimates/{estimate}/simulations/{uuid4()}"), 404, "thing.unknown")
    problem(company.viewer.get(f"/estimates/{uuid4()}/simulations/{simulation}"), 404, "thing.unknown")
    problem(company.viewer.get(f"/estimates/{uuid4()}/simulations"), 404, "thing.unknown")


def test_another_company_sees_nothing(company: Company, other: Company) -> None:
    estimate = risky(company)
    simulation, _ = asked(company, estimate)
    problem(other.viewer.get(f"/estimates/{estimate}/simulations/{simulation}"), 404, "thing.unknown")


def test_the_latest_comes_first_page_by_page(company: Company) -> None:
    estimate = risky(company)
    made = [asked(company, estimate) for _ in range(3)]
    path = f"/estimates/{estimate}/simulations"
    first = company.viewer.seen(made[-1][1], path + "?limit=2").json()
    second = company.viewer.get(path, params={"limit": 2, "cursor": first["next"]}).json()
    assert second["next"] is None
    found = [row["simulation_id"] for row in first["items"] + second["items"]]
    assert found == [str(simulation) for simulation, _ in reversed(made)]


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"trials": 10**12}, "less-than-equal"),
        ({"trials": 999}, "greater-than-equal"),
        ({"seed": -1}, "greater-than-equal"),
        ({"seed": 2**63}, "less-than"),
        ({"seed": 1.5}, "int-type"),
        ({"method": "pert"}, "literal-error"),
    ],
)
def test_a_request_that_cannot_be(company: Company, changed: dict[str, Any], code: str) -> None:
    estimate = risky(company)
    body = {"simulation_id": str(uuid4()), "trials": 1_000, "seed": 1} | changed
    answer = company.estimator.command("estimate", estimate, "request-simulation", body)
    [fault] = problem(answer, 422, "request.body-invalid")["faults"]
    assert (fault["path"], fault["code"]) == (f"/{next(iter(changed))}", code)


def test_without_a_risk_there_is_nothing_to_simulate(company: Company) -> None:
    body = {"simulation_id": str(uuid4()), "trials": 1_000, "seed": 1}
    answer = company.estimator.command("estimate", company.estimate(), "request-simulation", body)
    problem(answer, 409, "estimate.nothing-to-simulate")


def test_only_a_service_records(company: Company) -> None:
    estimate = risky(company)
    simulation, _ = asked(company, estimate)
    body = {"simulation_id": str(simulation), "figures": FIGURES}
    problem(company.owner.command("estimate", estimate, "record-simulation", body), 403, "identity.forbidden")
    failing = {"simulation_id": str(simulation), "reason": "No."}
    problem(company.estimator.command("estimate", estimate, "fail-simulation", failing), 403, "identity.forbidden")


def drawn(percentiles: list[Decimal], currency: str = "USD") -> ElementTree.Element:
    return ElementTree.fromstring(curve.svg(Curve(percentiles, percentiles[50], currency, 1_000, 1)))


@pytest.mark.parametrize(
    "percentiles",
    [
        [Decimal(0)] * PERCENTS,
        [Decimal("8000.00")] * PERCENTS,
        [Decimal(percent).scaleb(-2) for percent in range(PERCENTS)],
        [Decimal(percent - 80).scaleb(13) for percent in range(PERCENTS)],
    ],
    ids=["nothing", "certain", "cents", "wide"],
)
def test_any_curve_lies_within_the_picture(percentiles: list[Decimal]) -> None:
    [line] = drawn(percentiles).iter(f"{SVG}polyline")
    points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
    assert len(points) == PERCENTS
    assert all(64 <= x <= 540 and 52 <= y <= 362 for x, y in points)
    assert points == sorted(points, key=lambda point: (point[0], -point[1]))


def test_the_picture_can_be_read_aloud_and_runs_nothing() -> None:
    found = drawn([Decimal(percent) for percent in range(PERCENTS)], currency="<script>&\"'")
    assert found.attrib["role"] == "img"
    assert found.attrib["aria-labelledby"] == "title desc"
    assert [each.tag for each in found[:2]] == [f"{SVG}title", f"{SVG}desc"]
    told = found[1].text or ""
    assert "P80 80.00" in told
    assert "expected value, which is no percentile, is 50.00" in told
    assert "<script>" in told
    assert not list(found.iter(f"{SVG}script"))
