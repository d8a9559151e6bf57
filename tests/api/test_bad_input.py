"""Everything a client can get wrong: a clear problem document each time, and nothing stored."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from domain.decider import Role
from tests.api.callers import Caller, Company, World, line, problem, register


@pytest.fixture(scope="module")
def company(world: World) -> Company:
    """One company for all these tests: nothing they send is stored."""
    company = register(world)
    for role in Role:
        company.member(role)
    return company


@pytest.fixture(scope="module")
def draft(company: Company) -> UUID:
    """An estimate that nobody has touched."""
    return company.estimate()


@pytest.fixture
def estimate(company: Company, draft: UUID) -> Iterator[UUID]:
    """An estimate that must be as it was, and its company's log too, when the test is over."""
    before = company.head()
    yield draft
    assert company.head() == before


def raw(caller: Caller, estimate: UUID, verb: str, body: bytes) -> httpx.Response:
    """A body that no JSON library would write."""
    return caller.post(
        f"/commands/estimate/{estimate}/{verb}", content=body, headers={"Content-Type": "application/json"}
    )


def with_quantity(text: str) -> bytes:
    """A line whose quantity is written just so."""
    shaped = httpx.Request("POST", "http://any", json=line(quantity="@")).content
    return shaped.replace(b'"@"', text.encode())


MALFORMED = {
    "cut off": b'{"line_id":',
    "empty": b"",
    "two documents": b"{} {}",
    "single quotes": b"{'line_id': 1}",
    "trailing comma": b'{"line_id": "a",}',
    "not UTF-8": b'{"description": "\xff\xfe"}',
    "raw NUL": b'{"description": "a\x00b"}',
    "lone high surrogate": b'{"description": "\\ud83d"}',
    "lone low surrogate": b'{"description": "\\ude00"}',
    "deep arrays": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_json(company: Company, estimate: UUID, name: str) -> None:
    document = problem(raw(company.estimator, estimate, "add-line", MALFORMED[name]), 400, "request.json-malformed")
    assert document["faults"]


NO_AMOUNTS = {
    "NaN": "NaN",
    "Infinity": "Infinity",
    "minus Infinity": "-Infinity",
    "1e400": "1e400",
    "exponent": "1e2",
    "binary fraction": "0.1",
    "40 digits": "1" * 40,
    "text NaN": '"NaN"',
    "text sNaN": '"sNaN"',
    "text Infinity": '"Infinity"',
    "text 1e400": '"1e400"',
    "text 40 digits": f'"{"1" * 40}"',
    "text 40 places": f'"0.{"1" * 40}"',
    "separators": '"1,000"',
    "other digits": '"١٢"',
    "boolean": "true",
    "null": "null",
    "empty": '""',
}


@pytest.mark.parametrize("name", NO_AMOUNTS)
def test_what_is_no_amount(company: Company, estimate: UUID, name: str) -> None:
    answer = raw(company.estimator, estimate, "add-line", with_quantity(NO_AMOUNTS[name]))
    document = problem(answer, 422, "request.body-invalid")
    assert [fault["path"] for fault in document["faults"]] == ["/quantity"]


def test_all_faults_are_listed_with_their_paths(company: Company, estimate: UUID) -> None:
    lines = [line(quantity="NaN", unit="furlongs"), line(), line(wbs_path=[], cost_type="magic", colour="red")]
    answer = company.estimator.command("estimate", estimate, "import-lines", {"lines": lines})
    document = problem(answer, 422, "request.body-invalid")
    expected = ["/lines/0/quantity", "/lines/0/unit", "/lines/2/wbs_path", "/lines/2/cost_type", "/lines/2/colour"]
    assert sorted(fault["path"] for fault in document["faults"]) == sorted(expected)
    assert document["faults_total"] == len(expected)
    assert all(fault["code"] and fault["message"] for fault in document["faults"])


WRONG: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "text for a list": ("add-line", line(wbs_path="Roadway"), "/wbs_path", "tuple-type"),
    "number for text": ("add-line", line(description=5), "/description", "string-type"),
    "no UUID": ("add-line", line(line_id="7"), "/line_id", "uuid-parsing"),
    "unknown unit": ("add-line", line(unit="parsec"), "/unit", "unit-unknown"),
    "unknown field": ("add-line", line(price="1"), "/price", "extra-forbidden"),
    "escaped NUL": ("add-line", line(description="a\x00b"), "/description", "text-control-character"),
    "blank text": ("add-line", line(description="  "), "/description", "text-blank"),
    "margin of one": ("change-margin", {"target_margin": "1"}, "/target_margin", "margin-range"),
    "margin above one": ("change-margin", {"target_margin": "12"}, "/target_margin", "margin-range"),
    "nothing to change": ("revise-line", {"line_id": str(uuid4())}, "", "nothing-given"),
    "a list for an object": ("submit-estimate", [], "", "model-type"),  # type: ignore[dict-item]  # what is wrong here
}


@pytest.mark.parametrize("name", WRONG)
def test_a_body_that_does_not_fit(company: Company, estimate: UUID, name: str) -> None:
    verb, body, path, code = WRONG[name]
    answer = company.estimator.post(f"/commands/estimate/{estimate}/{verb}", json=body)
    (fault,) = problem(answer, 422, "request.body-invalid")["faults"]
    assert (fault["path"], fault["code"]) == (path, code)


def test_a_foreign_currency_line(company: Company, estimate: UUID) -> None:
    answer = company.estimator.command("estimate", estimate, "add-line", line(currency="EUR"))
    document = problem(answer, 422, "estimate.foreign-currency")
    assert document["facts"] == {"line": "EUR", "estimate": "USD"}


def test_a_body_of_50_megabytes_announced(company: Company, estimate: UUID) -> None:
    document = problem(raw(company.estimator, estimate, "add-line", b" " * 50_000_000), 413, "request.body-too-large")
    assert document["facts"]["bytes_max"] == 16 * 1024 * 1024


def test_a_body_of_50_megabytes_in_pieces(company: Company, estimate: UUID) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(50):
            yield b" " * 1_000_000

    path = f"/commands/estimate/{estimate}/add-line"
    try:
        answer = company.estimator.post(path, content=pieces(), headers={"Content-Type": "application/json"})
    except httpx.WriteError:  # the server hung up on a client that had not finished: also a clear no
        return
    problem(answer, 413, "request.body-too-large")


def test_a_body_that_is_no_json_by_its_own_word(company: Company, estimate: UUID) -> None:
    path = f"/commands/estimate/{estimate}/submit-estimate"
    answer = company.estimator.post(path, content=b"a=b", headers={"Content-Type": "text/plain"})
    problem(answer, 415, "request.media-type-unsupported")


def test_a_stale_version(company: Company, estimate: UUID) -> None:
    answer = company.estimator.command("estimate", estimate, "add-line", line(), If_Match='"7"')
    document = problem(answer, 412, "stream.version-stale")
    assert document["facts"]["actual_version"] == 1
    assert document["facts"]["expected_version"] == 7


@pytest.mark.parametrize("version", ["seven", '"1.5"', "-1", '"99999999999999999999"'])
def test_a_version_that_is_none(company: Company, estimate: UUID, version: str) -> None:
    answer = company.estimator.command("estimate", estimate, "add-line", line(), If_Match=version)
    problem(answer, 400, "request.header-malformed")


def test_a_replayed_id_with_another_body(company: Company) -> None:
    estimate, key = company.estimate(), str(uuid4())
    first = company.estimator.command("estimate", estimate, "add-line", line(), Idempotency_Key=key)
    head = company.head()
    answer = company.estimator.command("estimate", estimate, "add-line", line(), Idempotency_Key=key)
    document = problem(answer, 422, "idempotency.misused")
    assert document["facts"]["position"] == first.json()["position"]
    assert company.head() == head


@pytest.mark.parametrize("key", ["", "7", "not-a-uuid", "0197b2a45f6e7c3d8a9b0c1d2e3f4a5b", f"{{{UUID(int=7)}}}"])
def test_an_idempotency_key_that_is_none(company: Company, estimate: UUID, key: str) -> None:
    answer = company.estimator.command("estimate", estimate, "add-line", line(), Idempotency_Key=key)
    assert problem(answer, 400, "request.header-malformed")["facts"]["header"] == "Idempotency-Key"


def test_no_idempotency_key(company: Company, estimate: UUID) -> None:
    answer = company.world.http.post(
        f"{company.world.url}/commands/estimate/{estimate}/add-line", json=line(), headers=company.estimator.headers
    )
    assert problem(answer, 400, "request.header-missing")["facts"]["header"] == "Idempotency-Key"


@pytest.mark.parametrize("header", ["Correlation_Id", "Causation_Id"])
def test_a_conversation_that_is_none(company: Company, estimate: UUID, header: str) -> None:
    answer = company.estimator.command("estimate", estimate, "add-line", line(), **{header: "hello"})
    problem(answer, 400, "request.header-malformed")


def test_edits_to_a_submitted_estimate(company: Company) -> None:
    estimate, kept = company.estimate(), line()
    company.estimator.done("estimate", estimate, "add-line", kept)
    company.estimator.done("estimate", estimate, "submit-estimate")
    head = company.head()
    edits = {
        "add-line": line(),
        "revise-line": {"line_id": kept["line_id"], "quantity": "3"},
        "move-line": {"line_id": kept["line_id"], "after_line_id": None},
        "remove-line": {"line_id": kept["line_id"]},
        "import-lines": {"lines": [line()]},
        "change-margin": {"target_margin": "0.1"},
        "change-notes": {"title": "Late"},
    }
    for verb, body in edits.items():
        document = problem(company.estimator.command("estimate", estimate, verb, body), 409, "estimate.submitted")
        assert document["facts"] == {"version": 1}
    assert company.head() == head


def test_another_companys_ids(company: Company, other: Company, estimate: UUID) -> None:
    stranger, owner = other.estimator, other.owner
    before = other.head()
    problem(stranger.command("estimate", estimate, "add-line", line()), 404, "estimate.unknown")
    problem(stranger.command("estimate", estimate, "submit-estimate"), 404, "estimate.unknown")
    problem(owner.command("company", company.id, "rename-company", {"name": "Mine"}), 404, "company.unknown")
    for path in (f"/estimates/{estimate}", f"/estimates/{estimate}/lines"):
        problem(stranger.get(path), 404, "thing.unknown")
    assert other.head() == before


def test_another_companys_receipts(company: Company, other: Company) -> None:
    receipt = company.estimator.done("project", uuid4(), "create-project", {"name": "Ours"}).json()
    assert company.viewer.get(f"/receipts/{receipt['command_id']}").status_code == 200
    problem(other.viewer.get(f"/receipts/{receipt['command_id']}"), 404, "thing.unknown")


def test_an_expired_token(company: Company) -> None:
    estimate = company.estimate()
    late, _, _ = company.new_member(Role.ESTIMATOR, expires_at="2020-01-01T00:00:00Z")
    before = company.head()
    problem(late.command("estimate", estimate, "add-line", line()), 401, "identity.expired")
    problem(late.get("/projects"), 401, "identity.expired")
    assert company.head() == before


def test_a_moment_in_the_future(company: Company) -> None:
    estimate, viewer = company.estimate(), company.viewer
    head = company.head()
    document = problem(viewer.get(f"/estimates/{estimate}?at={head + 1}"), 422, "position.ahead")
    assert document["facts"] == {"asked": head + 1, "head": head}
    problem(viewer.get(f"/estimates/{estimate}?at=2999-01-01T00:00:00Z"), 422, "position.ahead")


@pytest.mark.parametrize("moment", ["yesterday", "-1", "1.5.7", "2026-02-30T00:00:00Z", "2026-01-01", "9" * 30, ""])
def test_a_moment_that_is_none(company: Company, moment: str) -> None:
    problem(company.viewer.get("/projects", params={"at": moment}), 400, "request.parameter-invalid")


def test_a_position_of_another_epoch(company: Company) -> None:
    viewer = company.viewer
    head, epoch = company.head(), int(viewer.get("/company").headers["Cairn-Epoch"])
    for foreign in (epoch - 1, epoch + 1):
        document = problem(viewer.get(f"/projects?at={foreign}.1"), 409, "position.other-epoch")
        assert document["facts"]["epoch"] == epoch
        after = {"Cairn-After": f"{foreign}.1"}
        problem(viewer.get("/projects", headers=after), 409, "position.other-epoch")
    assert company.head() == head


def test_a_cursor_of_another_query(company: Company) -> None:
    for _ in range(3):
        company.project()
    viewer = company.viewer
    receipt = company.estimator.done("project", uuid4(), "create-project", {"name": "Last"})
    cursor = viewer.seen(receipt, "/projects?limit=2").json()["next"]
    assert viewer.get(f"/projects?limit=2&cursor={cursor}").status_code == 200
    problem(viewer.get(f"/projects?limit=2&status=lost&cursor={cursor}"), 400, "cursor.of-another-query")
    problem(viewer.get(f"/members?cursor={cursor}"), 400, "cursor.of-another-query")
    for altered in (
        cursor[:-2],
        cursor[::-1],
        "AAAA",
        "%00",
        cursor[:20] + ("A" if cursor[20] != "A" else "B") + cursor[21:],
    ):
        problem(viewer.get("/projects", params={"cursor": altered}), 400, "cursor.malformed")


def test_another_companys_cursor(company: Company, other: Company) -> None:
    for each in (company, other):
        each.project()
        each.project()
    receipt = company.estimator.done("project", uuid4(), "create-project", {"name": "The very last"})
    cursor = company.viewer.seen(receipt, "/projects?limit=1").json()["next"]
    problem(other.viewer.get(f"/projects?limit=1&cursor={cursor}"), 400, "cursor.of-another-query")


MARKUP = {"kind": "profit", "name": "Profit", "markup_id": str(uuid4())}
A_RISK = {"risk_id": str(uuid4()), "kind": "threat", "title": "Peat", "probability": "0.5", "low": "10", "high": "30"}


@pytest.mark.parametrize(
    ("verb", "body", "path", "code"),
    [
        ("add-risk", {**A_RISK, "probability": "1.2"}, "/probability", "fraction-range"),
        ("add-risk", {**A_RISK, "probability": "12"}, "/probability", "fraction-range"),
        ("add-risk", {**A_RISK, "low": "31"}, "/low", "impact-order"),
        ("set-markups", {"markups": [MARKUP | {"rate": "12"}]}, "/markups/0/rate", "rate-range"),
        ("change-margin", {"target_margin": "1"}, "/target_margin", "margin-range"),
        ("change-margin", {"target_margin": "12"}, "/target_margin", "margin-range"),
    ],
)
def test_what_a_bid_cannot_be_made_of(company: Company, verb: str, body: dict[str, Any], path: str, code: str) -> None:
    estimate = company.estimate()
    before = company.head()
    document = problem(company.estimator.command("estimate", estimate, verb, body), 422, "request.body-invalid")
    assert [(fault["path"], fault["code"]) for fault in document["faults"]] == [(path, code)]
    assert company.head() == before
