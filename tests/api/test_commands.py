"""Command routes: one happy and one refused path each, receipts, idempotency, versions, batches."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.decider import Role
from domain.mirror_events import mirror_of
from domain.registry import COMMANDS
from tests.api.callers import EXPIRY, Company, line, problem
from tests.api.mirrors import changed, connected, record, record_id, synced
from tests.api.test_records import Person
from tests.api.test_simulations import FIGURES

HASH = "9f86d081" * 8
RESTING_ON_RECORDS = {"drafts", "changeset"}
"""Aggregates whose commands have to look up mirrored records."""


def test_every_command_is_done_over_its_route(company: Company) -> None:
    operator, owner, estimator = company.operator, company.owner, company.estimator
    member, project, estimate, later = uuid4(), uuid4(), uuid4(), uuid4()
    started = {"project_id": str(project), "currency": "USD"}
    token, kept, moved = str(uuid4()), line(), line()
    actuals, finding = uuid4(), {"finding_id": str(uuid4())}
    peat = {"risk_id": str(uuid4()), "kind": "threat", "title": "Peat", "probability": "0.4", "low": "1", "high": "9"}
    risky, occurred = uuid4(), {"risk_id": peat["risk_id"], "cost": "7", "occurred_on": "2022-07-11"}
    account = {"estimate_id": str(risky), "risk_id": peat["risk_id"], "cost": "8", "reason": "Final account"}
    codes, prices, edition = uuid4(), uuid4(), {"code_set": "MnDOT", "edition": "2020"}
    book = {"name": "Average bids", "edition": "2021", "currency": "USD", "dated_on": "2021-12-31"}
    price = {"code": "A", "description": "Paving", "unit": "SY", "unit_price": "5.72882"}
    cost = {"entry_id": str(uuid4()), "amount": "7.50", "booked_on": "2022-08-31", "code": "A"}
    issued = {"token_id": token, "secret_hash": uuid4().hex * 2, "label": "a", "expires_at": EXPIRY}
    response = {"kind": "mitigate", "cost": "8000", "residual_probability": "0.05"}
    response |= {"residual_low": "100000", "residual_high": "300000"}
    named = {"risk_id": str(uuid4())}
    risk: dict[str, Any] = named | {"kind": "threat", "title": "Peat", "probability": "0.4"}
    risk |= {"low": "100000", "high": "300000", "response": response}
    service, simulations = company.member(Role.SERVICE), [{"simulation_id": str(uuid4())} for _ in range(2)]
    connection, mirror = uuid4(), [*map(str, (uuid4(), uuid4(), uuid4()))]
    runs = [{"connection_id": str(connection), "run_id": run} for run in mirror]
    mapped = {"fields": [{"upstream": "Trade", "name": "trade", "type": "text"}], "identity": ["Item"]}
    begun = {"mode": "full", "trigger": "manual", "mapping_version": 1, "began_at": "2026-11-21T05:30:00Z"}
    changed = {"inserted": [{"record_id": str(uuid4()), "identity": ["A"], "digest": HASH[:32], "values": {}}]}
    changes = {"mapping_version": 1, "changes": changed}
    done_at = {"counts": {"processed": 1}, "finished_at": "2026-11-21T05:31:00Z"}
    failed = done_at | {"failure": "broken", "code": "upstream.row-malformed", "attempt": 0}
    described = {"name": "ERP", "upstream": {"kind": "folder", "folder": "exports"}}
    script: list[tuple[Any, str, UUID, str, dict[str, Any]]] = [
        (owner, "company", company.id, "rename-company", {"name": "Southern Paving"}),
        (owner, "company", company.id, "change-settings", {"month_rule": "days-28"}),
        (operator, "company", company.id, "change-tier", {"tier": "enterprise", "tier_expires_on": None}),
        (owner, "membership", member, "add-member", {"name": "Ada", "email": "ada@south.example", "role": "viewer"}),
        (owner, "membership", member, "change-role", {"role": "estimator"}),
        (owner, "membership", member, "change-preferences", {"language": "en-US"}),
        (owner, "membership", member, "issue-token", issued),
        (owner, "membership", member, "revoke-token", {"token_id": token}),
        (owner, "membership", member, "remove-member", {}),
        (owner, "membership", member, "forget-member", {"reason": "requested"}),
        (estimator, "project", project, "create-project", {"name": "TH 108"}),
        (estimator, "project", project, "rename-project", {"name": "TH 109"}),
        (estimator, "project", project, "change-status", {"status": "on-hold"}),
        (estimator, "project", project, "change-metadata", {"location": "Otter Tail County, MN"}),
        (estimator, "project", project, "delete-project", {"reason": "entered twice"}),
        (estimator, "project", project, "restore-project", {}),
        (estimator, "estimate", estimate, "start-estimate", started),
        (estimator, "estimate", estimate, "add-line", kept),
        (estimator, "estimate", estimate, "import-lines", {"lines": [moved, line()]}),
        (estimator, "estimate", estimate, "revise-line", {"line_id": kept["line_id"], "quantity": "3"}),
        (estimator, "estimate", estimate, "move-line", {"line_id": moved["line_id"], "after_line_id": None}),
        (estimator, "estimate", estimate, "remove-line", {"line_id": moved["line_id"]}),
        (estimator, "estimate", estimate, "change-margin", {"target_margin": "0.12"}),
        (estimator, "estimate", estimate, "change-notes", {"title": "Bid"}),
        (estimator, "estimate", estimate, "undo-change", {"stream_version": 8}),
        (estimator, "estimate", estimate, "set-markups", {"markups": [{"kind": "risk"}]}),
        (estimator, "estimate", estimate, "add-risk", risk),
        (estimator, "estimate", estimate, "revise-risk", named | {"probability": "0.15"}),
        (estimator, "estimate", estimate, "apply-mitigation", named | {"applied_on": "2022-01-20"}),
        (estimator, "estimate", estimate, "withdraw-mitigation", named | {"reason": "No rig"}),
        (estimator, "estimate", estimate, "close-risk", named | {"closed_on": "2022-01-25", "reason": "Over"}),
        (estimator, "estimate", estimate, "reopen-risk", named | {"reason": "Not over"}),
        (estimator, "estimate", estimate, "remove-risk", named),
        (estimator, "estimate", estimate, "classify", {"aace_class": 3, "basis": "60 % drawings"}),
        (estimator, "estimate", estimate, "tag-version", {"tag": "bid"}),
        (estimator, "estimate", estimate, "untag-version", {"tag": "bid"}),
        (estimator, "estimate", estimate, "change-estimate-status", {"status": "in-review"}),
        (estimator, "estimate", estimate, "submit-estimate", {}),
        (estimator, "estimate", later, "start-estimate", started | {"parent_id": str(estimate)}),
        (estimator, "estimate", later, "submit-estimate", {}),
        (estimator, "estimate", risky, "start-estimate", started),
        (estimator, "estimate", risky, "add-risk", peat),
        (estimator, "estimate", risky, "submit-estimate", {}),
        (estimator, "estimate", risky, "request-simulation", simulations[0] | {"trials": 1_000, "seed": 1}),
        (estimator, "estimate", risky, "request-simulation", simulations[1] | {"trials": 1_000, "seed": 1}),
        (service, "estimate", risky, "record-simulation", simulations[0] | {"figures": FIGURES}),
        (service, "estimate", risky, "fail-simulation", simulations[1] | {"reason": "No memory."}),
        (estimator, "actuals", actuals, "open-actuals", {"project_id": str(project), "baseline_id": str(estimate)}),
        (estimator, "actuals", actuals, "change-baseline", {"baseline_id": str(later), "reason": "change order"}),
        (estimator, "actuals", actuals, "record-costs", {"entries": [cost]}),
        (estimator, "actuals", actuals, "correct-cost", {"entry_id": cost["entry_id"], "reason": "a", "code": "B"}),
        (estimator, "actuals", actuals, "remove-cost", {"entry_id": cost["entry_id"], "reason": "twice"}),
        (estimator, "actuals", actuals, "record-risk-occurrence", occurred | {"estimate_id": str(risky)}),
        (estimator, "actuals", actuals, "correct-risk-cost", account),
        (estimator, "actuals", actuals, "set-duration", {"days": 84}),
        (estimator, "actuals", actuals, "add-finding", finding | {"kind": "issue", "text": "rock"}),
        (estimator, "actuals", actuals, "revise-finding", finding | {"kind": "lesson"}),
        (estimator, "actuals", actuals, "remove-finding", finding),
        (estimator, "actuals", actuals, "explain-variance", {"narrative": "rock"}),
        (estimator, "actuals", actuals, "finish-actuals", {"finished_on": "2022-10-14"}),
        (estimator, "codeset", codes, "register-code-set", edition),
        (estimator, "codeset", codes, "import-codes", {"codes": [{"code": "A", "description": "Paving"}]}),
        (estimator, "pricebook", prices, "open-price-book", book),
        (estimator, "pricebook", prices, "import-prices", {"prices": [price]}),
        (estimator, "actuals", actuals, "reopen-actuals", {"reason": "a late invoice"}),
        (owner, "connection", connection, "open-connection", described),
        (owner, "connection", connection, "revise-connection", {"name": "Plant ERP"}),
        (owner, "connection", connection, "replace-credentials", {"secret": "s3cret"}),
        (owner, "connection", connection, "set-mapping", {"mapping": mapped}),
        (owner, "connection", connection, "set-schedule", {"schedule": {"cron": "0 5 * * *", "time_zone": "UTC"}}),
        (service, "mirror", mirror_of(connection), "request-sync", runs[0]),
        (operator, "mirror", mirror_of(connection), "begin-sync", runs[0] | begun),
        (operator, "mirror", mirror_of(connection), "record-changes", runs[0] | changes),
        (operator, "mirror", mirror_of(connection), "finish-sync", runs[0] | done_at),
        (estimator, "mirror", mirror_of(connection), "request-sync", runs[1]),
        (operator, "mirror", mirror_of(connection), "fail-sync", runs[1] | failed),
        (estimator, "mirror", mirror_of(connection), "request-sync", runs[2]),
        (estimator, "mirror", mirror_of(connection), "cancel-sync", {"run_id": mirror[2], "reason": "not now"}),
        (owner, "connection", connection, "disable-connection", {"reason": "it moves"}),
        (owner, "connection", connection, "enable-connection", {}),
        (owner, "connection", connection, "close-connection", {"reason": "it is gone"}),
    ]  # fmt: skip
    for caller, thing, id_, verb, body in script:
        answer = caller.command(thing, id_, verb, body)
        assert answer.status_code in {201, 202}, (verb, answer.text)
        receipt = answer.json()
        assert receipt["last_position"] == receipt["position"] == int(answer.headers["Cairn-Position"])
        assert len(receipt["leaves"]) == receipt["last_position"] - receipt["first_position"] + 1
        assert answer.headers["ETag"] == f'"{receipt["stream_version"]}"'
        assert answer.headers["Cairn-Token"] == f"{receipt['epoch']}.{receipt['position']}"
    done = {(thing, verb) for _, thing, _, verb, _ in script} | {("company", "register-company")}
    assert done == {each for each in COMMANDS if each[0] not in RESTING_ON_RECORDS}


def test_every_command_on_mirrored_records_is_done_over_its_route(company: Company) -> None:
    connection = connected(company)
    synced(company, connection, inserted=[record(connection, number, category="Crane") for number in range(3)])
    ada, operator = Person(company, connection), company.operator
    named = [{"record_id": str(record_id(connection, number))} for number in range(3)]
    of_all = {"connection_id": str(connection)}
    commit = of_all | {"drafts_id": str(ada.drafts_id)}
    first, second, batch = uuid4(), uuid4(), uuid4()
    pushed = {"batch_id": str(batch), "record_ids": [named[0]["record_id"]]}
    moved = named[0] | {"upstream_version": "2", "theirs": {"description": "Theirs"}}
    change = changed(connection, 0, {"description": None}, {"description": "Theirs"}, "2")
    told = {"batch_id": str(batch), "mapping_version": 1, "moved": [moved], "changes": {"updated": [change]}}
    settled = {"settlements": [named[0] | {"how": "theirs"}]}
    draft = of_all | {"drafts": [named[0] | {"fields": {"area": "B"}}]}
    many = of_all | {"filter": {"category": ["Crane"]}, "expected": 3, "fields": {"description": "Mine"}}
    script: list[tuple[Any, str, UUID, str, dict[str, Any]]] = [
        (ada.caller, "drafts", ada.drafts_id, "save-drafts", draft),
        (ada.caller, "drafts", ada.drafts_id, "discard-drafts", of_all | {"all": True}),
        (ada.caller, "drafts", ada.drafts_id, "restore-drafts", of_all | {"stream_version": 2}),
        (ada.caller, "drafts", ada.drafts_id, "discard-drafts", of_all | {"records": named}),
        (ada.caller, "drafts", ada.drafts_id, "draft-many", many),
        (ada.caller, "changeset", first, "open-changeset", commit | {"records": pushed["record_ids"]}),
        (operator, "changeset", first, "delay-push", {"code": "upstream.unreachable"}),
        (operator, "changeset", first, "begin-push", pushed),
        (operator, "changeset", first, "record-answers", told),
        (ada.caller, "changeset", first, "settle-conflicts", settled),
        (ada.caller, "changeset", second, "open-changeset", commit),
        (ada.caller, "changeset", second, "cancel-changeset", {}),
    ]  # fmt: skip
    for caller, thing, id_, verb, body in script:
        answer = caller.command(thing, id_, verb, body)
        assert answer.status_code == (202 if verb == "open-changeset" else 201), (verb, answer.text)
    done = {(thing, verb) for _, thing, _, verb, _ in script}
    assert done == {known for known in COMMANDS if known[0] in RESTING_ON_RECORDS}


def test_every_command_is_refused_to_whom_it_is_not_open(company: Company) -> None:
    viewer = company.viewer
    before = company.head()
    for thing, verb in sorted(COMMANDS):
        path = f"/commands/{thing}/{uuid4()}/{verb}"
        problem(company.world.http.post(company.world.url + path), 401, "identity.missing")
        document = problem(viewer.post(path, json={}), 403, "identity.forbidden")
        assert document["facts"]["role"] == "viewer"
        assert "viewer" not in document["facts"]["allowed"]
    assert company.head() == before


def test_every_command_refuses_a_field_it_does_not_know(company: Company) -> None:
    before = company.head()
    for thing, verb in sorted(COMMANDS):
        answer = company.operator.command(thing, company.id, verb, {"nonsense": 1})
        paths = [fault["path"] for fault in problem(answer, 422, "request.body-invalid")["faults"]]
        assert "/nonsense" in paths
    assert company.head() == before


def test_the_same_command_twice_has_one_receipt(company: Company) -> None:
    estimate, body, key = company.estimate(), line(), str(uuid4())
    first = company.estimator.command("estimate", estimate, "add-line", body, Idempotency_Key=key)
    head = company.head()
    company.estimator.done("estimate", estimate, "submit-estimate")  # by now it could not be decided again
    spaced = {name: body[name] for name in reversed(body)}
    again = company.estimator.command("estimate", estimate, "add-line", spaced, Idempotency_Key=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json() | {"replayed": True}
    assert company.head() == head + 1


def test_nothing_to_do_is_done_at_once(company: Company) -> None:
    project = company.project("TH 108")
    answer = company.estimator.command("project", project, "rename-project", {"name": "TH 108"})
    assert answer.status_code == 200
    assert answer.json()["first_position"] is None
    assert answer.json()["position"] == company.head()
    assert answer.json()["leaves"] == []


def test_a_version_that_is_met(company: Company) -> None:
    estimate = company.estimate()
    first = company.estimator.command("estimate", estimate, "add-line", line(), If_Match='"1"')
    assert first.status_code == 201
    second = company.estimator.command("estimate", estimate, "add-line", line(), If_Match=first.headers["ETag"])
    assert second.json()["stream_version"] == 3
    assert company.estimator.command("estimate", estimate, "add-line", line(), If_Match="*").status_code == 201


def test_a_conversation_is_recorded(company: Company) -> None:
    estimate, correlation, causation = company.estimate(), str(uuid4()), str(uuid4())
    answer = company.estimator.command(
        "estimate",
        estimate,
        "add-line",
        line(),
        Correlation_Id=correlation,
        Causation_Id=causation,
        User_Agent="tests/1",
    )
    event = company.auditor.get(f"/log/{answer.json()['position']}").json()["event"]
    assert event["correlationid"] == correlation
    assert event["causationid"] == causation
    entry = company.auditor.seen(answer, f"/activity?entity_id={estimate}&limit=1").json()["items"][0]
    assert entry["ip"] == "127.0.0.1"
    assert entry["user_agent"] == "tests/1"


def test_a_name_taken_is_refused_at_once(company: Company) -> None:
    company.project("TH 108")
    before = company.head()
    answer = company.estimator.command("project", uuid4(), "create-project", {"name": "TH 108"})
    problem(answer, 409, "project.name-taken")
    assert company.head() == before


def test_the_operator_needs_a_company_that_exists(company: Company) -> None:
    nowhere = company.operator.headers | {"Cairn-Company": str(uuid4())}
    problem(
        company.operator.command("project", uuid4(), "create-project", {"name": "A"}, **nowhere), 404, "company.unknown"
    )
    nameless = {name: value for name, value in company.operator.headers.items() if name != "Cairn-Company"}
    answer = company.world.http.post(
        f"{company.world.url}/commands/project/{uuid4()}/create-project", json={"name": "A"}, headers=nameless
    )
    problem(answer, 400, "identity.company-missing")


def item(thing: str, id_: UUID, verb: str, body: object, **more: object) -> dict[str, object]:
    """A command of a batch."""
    return {"command_id": str(uuid4()), "aggregate": thing, "id": str(id_), "verb": verb, "body": body, **more}


def test_a_batch_has_one_outcome_per_command_in_order(company: Company) -> None:
    project, estimate, estimator = uuid4(), uuid4(), company.estimator
    batch = [
        item("project", project, "create-project", {"name": "TH 108"}),
        item("project", uuid4(), "create-project", {"name": "TH 108"}),
        item("estimate", estimate, "start-estimate", {"project_id": str(project), "currency": "USD"}),
        item("estimate", estimate, "add-line", line(unit="parsec", quantity="NaN")),
        item("estimate", estimate, "add-line", line(), expected_version=7),
        item("estimate", estimate, "fly", {}),
        item("company", company.id, "change-tier", {"tier": "a", "tier_expires_on": None}),
        item("estimate", estimate, "add-line", line()) | {"colour": "red"},
        item("estimate", estimate, "add-line", line(), expected_version=1),
    ]
    before = company.head()
    answer = estimator.post("/commands", json=batch)
    assert answer.status_code == 200
    outcomes = answer.json()["outcomes"]
    assert [outcome["command_id"] for outcome in outcomes] == [each["command_id"] for each in batch]
    codes = [outcome.get("problem", {}).get("code") for outcome in outcomes]
    assert codes == [
        None,
        "project.name-taken",
        None,
        "request.body-invalid",
        "stream.version-stale",
        "command.unknown",
        "identity.forbidden",
        "request.body-invalid",
        None,
    ]
    assert [fault["path"] for fault in outcomes[3]["problem"]["faults"]] == ["/quantity", "/unit"]
    assert company.head() == before + 4  # the project, its version's number, the estimate, the line
    again = estimator.post("/commands", json=batch).json()["outcomes"]
    assert [outcome.get("receipt", {}).get("replayed") for outcome in again if "receipt" in outcome] == [True] * 3


def test_commands_of_one_stream_keep_their_order_in_a_batch(company: Company) -> None:
    """Whatever happens beside them: each only fits right after the one before, and refusals in between stop none."""
    estimates = [company.estimate() for _ in range(3)]
    lines = {estimate: line() for estimate in estimates}
    batch = [item("estimate", estimate, "add-line", lines[estimate], expected_version=1) for estimate in estimates]
    for number in range(1, 11):
        for estimate in estimates:
            revised = {"line_id": lines[estimate]["line_id"], "quantity": str(number)}
            batch.append(item("estimate", estimate, "revise-line", revised, expected_version=batch_version(number)))
            batch.append(item("estimate", estimate, "remove-line", {"line_id": str(uuid4())}))
    outcomes = company.estimator.post("/commands", json=batch).json()["outcomes"]
    assert [outcome["command_id"] for outcome in outcomes] == [each["command_id"] for each in batch]
    refused = [outcome["problem"]["code"] for outcome in outcomes if "problem" in outcome]
    assert refused == ["estimate.line-unknown"] * 30
    versions = [each["receipt"]["stream_version"] for each in outcomes if "receipt" in each]
    assert versions == [2] * 3 + [batch_version(number) + 1 for number in range(1, 11) for _ in estimates]


def batch_version(number: int) -> int:
    """The version that revision `number` of a line must find: its estimate's start, the line, the revisions before."""
    return 1 + number


def test_a_batch_reads_what_it_wrote_before_in_other_streams(company: Company) -> None:
    """A version of a project begun in the same batch, and names that are freed and taken in turn."""
    first, second, parent, child = (uuid4() for _ in range(4))
    started = {"project_id": str(first), "currency": "USD"}
    batch = [
        item("project", first, "create-project", {"name": "TH 108"}),
        item("estimate", parent, "start-estimate", started),
        item("estimate", parent, "add-line", line()),
        item("estimate", child, "start-estimate", started | {"parent_id": str(parent)}),
        item("project", first, "rename-project", {"name": "TH 109"}),
        item("project", second, "create-project", {"name": "TH 108"}),
        item("project", first, "rename-project", {"name": "TH 108"}),
    ]
    outcomes = company.estimator.post("/commands", json=batch).json()["outcomes"]
    codes = [outcome.get("problem", {}).get("code") for outcome in outcomes]
    assert codes == [None] * 6 + ["project.name-taken"]
    copied = company.viewer.get(f"/receipts/{batch[3]['command_id']}").json()
    assert copied["last_position"] - copied["first_position"] == 2  # numbered, started, and the line that was copied


def test_a_batch_reads_the_company_as_it_was_when_its_turn_came(company: Company) -> None:
    """What changes the company waits for all before it, and all after it wait for that."""
    owner, estimates = company.owner, [company.estimate() for _ in range(10)]
    adding = [item("estimate", estimate, "add-line", line()) for estimate in estimates]
    changed = item("company", company.id, "change-settings", {"month_rule": "days-28"})
    outcomes = owner.post("/commands", json=[*adding[:5], changed, *adding[5:]]).json()["outcomes"]
    positions = [outcome["receipt"]["position"] for outcome in outcomes]
    assert max(positions[:5]) < positions[5] < min(positions[6:])


def test_commands_of_different_streams_join_one_append(company: Company) -> None:
    """They are under way together: one of many streams is not acknowledged before others were begun."""
    estimates = [company.estimate() for _ in range(40)]
    batch = [item("estimate", estimate, "add-line", line()) for estimate in estimates]
    outcomes = company.estimator.post("/commands", json=batch).json()["outcomes"]
    moments = {outcome["receipt"]["recorded_at"] for outcome in outcomes}
    assert len(moments) < len(estimates)


def test_a_batch_and_a_route_know_the_same_command(company: Company) -> None:
    project, key = uuid4(), str(uuid4())
    body = {"name": "TH 108"}
    company.estimator.command("project", project, "create-project", body, Idempotency_Key=key)
    batch = [item("project", project, "create-project", body) | {"command_id": key}]
    (outcome,) = company.estimator.post("/commands", json=batch).json()["outcomes"]
    assert outcome["receipt"]["replayed"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{}", 422, "request.body-invalid"),
        (b"[", 400, "request.json-malformed"),
        (b"[" * 100_000, 400, "request.json-malformed"),
        (b"[" + b",".join([b"{}"] * 101) + b"]", 422, "batch.too-long"),
    ],
)
def test_a_batch_that_is_none(company: Company, body: bytes, status: int, code: str) -> None:
    before = company.head()
    answer = company.owner.post("/commands", content=body, headers={"Content-Type": "application/json"})
    problem(answer, status, code)
    assert company.head() - before == 2  # the owner and the token, made on the way


def test_members_of_the_wrong_role_change_nothing(company: Company) -> None:
    for role in (Role.VIEWER, Role.AUDITOR, Role.SERVICE):
        caller = company.member(role)
        before = company.head()
        problem(caller.command("project", uuid4(), "create-project", {"name": "A"}), 403, "identity.forbidden")
        assert company.head() == before
