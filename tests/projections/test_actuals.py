"""Given commands of actual costs, code sets and price books, then rows."""

from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from eventstore.log import POSITION_MAX
from projections import (
    accuracy,
    activity_log,
    actuals_detail,
    code_sets,
    estimate_detail,
    price_books,
    variance,
    version_history,
)
from tests.projections.commands import command, edit, estimate, line, member, project
from tests.projections.conftest import Company, World

NOW = POSITION_MAX
D = Decimal
TEN_PERCENT = D("0.1")


def cost(number: int = 1, **more: Any) -> dict[str, Any]:
    """An entry as RecordCosts takes it: 10 units for 16.00."""
    given = {"entry_id": str(UUID(int=2000 + number)), "amount": "16.00", "booked_on": "2022-08-31", "code": "A"}
    return given | {"quantity": "10", "unit": "EA"} | more


async def budget(company: Company, **more: Any) -> tuple[UUID, UUID]:
    """A project with a submitted estimate: two lines of code A, one of B, a risk and a mark-up. Their ids."""
    project_id = await project(company, f"TH {uuid4()}")
    estimate_id = await estimate(company, project_id, **more)
    lines = [line(1, code="A"), line(2, code="A", cost_type="labour"), line(3, code="B", unit="LS", quantity="1")]
    await edit(company, estimate_id, "import-lines", lines=[*lines, line(4, code="A", pricing="alternate")])
    risk = {"kind": "threat", "title": "Peat", "probability": "0.5", "low": "10", "high": "30"}
    await edit(company, estimate_id, "add-risk", risk_id=str(UUID(int=77)), **risk)
    markup = {"kind": "overhead", "markup_id": str(UUID(int=88)), "name": "Office", "on": "running", "rate": "0.1"}
    await edit(company, estimate_id, "set-markups", markups=[markup])
    await edit(company, estimate_id, "submit-estimate")
    return project_id, estimate_id


async def opened(company: Company, project_id: UUID, estimate_id: UUID) -> UUID:
    """Its actuals."""
    actuals_id = uuid4()
    await book(company, actuals_id, "open-actuals", project_id=str(project_id), baseline_id=str(estimate_id))
    return actuals_id


async def book(company: Company, actuals_id: UUID, verb: str, **body: Any) -> int:
    """Sends a command of actuals. Answers the position."""
    return (await company.send("actuals", actuals_id, command("actuals", verb, **body))).position


async def test_actuals_in_full(world: World, company: Company) -> None:
    project_id, estimate_id = await budget(company)
    actuals_id = await opened(company, project_id, estimate_id)
    entries = [cost(1), cost(2, code="C"), cost(3, quantity=None, unit=None)]
    await book(company, actuals_id, "record-costs", entries=entries)
    misread = {"entry_id": cost(2)["entry_id"], "reason": "Misread", "amount": "20.00", "code": "B"}
    before = await book(company, actuals_id, "set-duration", days=84)
    corrected = await book(company, actuals_id, "correct-cost", **misread)
    removed = await book(company, actuals_id, "remove-cost", entry_id=cost(3)["entry_id"], reason="Twice")
    await book(company, actuals_id, "finish-actuals", finished_on="2022-10-14")
    last = await book(company, actuals_id, "reopen-actuals", reason="Late invoice")
    await book(company, actuals_id, "finish-actuals", finished_on="2022-10-14")
    await (await world.engine()).advance(company.tenant)
    async with company.reading() as reader:
        told_of = await activity_log.entries(reader, world.vault, at=last, limit=99, category="actuals")
        assert len(told_of) == 7
        assert (told_of[0].was, told_of[0].now) == ({"finished_on": "2022-10-14"}, {"reason": "Late invoice"})
        assert told_of[-2].now == {"entry_count": 3}
        header = await actuals_detail.actuals(reader, actuals_id, at=NOW)
        assert header is not None
        assert (header.amount, header.entry_count, header.duration_days) == (D("36.00"), 2, 84)
        assert (header.status, header.finished_on) == ("finished", date(2022, 10, 14))
        assert (header.project_id, header.baseline_id, header.currency) == (project_id, estimate_id, "USD")
        then = await actuals_detail.actuals(reader, actuals_id, at=before)
        assert then is not None
        assert (then.amount, then.entry_count, then.status) == (D("48.00"), 3, "open")
        told = await actuals_detail.corrections(reader, actuals_id, at=NOW, limit=9)
        assert [(each.position, each.field, each.reason) for each in told[:1]] == [(removed, None, "Twice")]
        assert {each.field: (each.was, each.now) for each in told[1:]} == {
            "amount": ("16.00", "20.00"),
            "code": ("C", "B"),
        }
        assert {each.position for each in told[1:]} == {corrected}
        assert told[0].was["amount"] == "16.00"
        of_one = await actuals_detail.corrections(
            reader, actuals_id, at=NOW, limit=9, entry_id=UUID(cost(2)["entry_id"])
        )
        assert of_one == told[1:]
        after = (told[1].position, told[1].seq)
        older = await actuals_detail.corrections(reader, actuals_id, at=NOW, limit=9, after=after)
        assert older == told[2:]
        sums = await actuals_detail.sums(reader, actuals_id, at=NOW)
        assert [(each.code, each.amount, each.quantity, each.unit, each.entries) for each in sums] == [
            ("A", D("16.00"), D(10), "EA", 1),
            ("B", D("20.00"), D(10), "EA", 1),
        ]
        earlier = await actuals_detail.sums(reader, actuals_id, at=before)
        assert [(each.code, each.amount, each.quantity, each.entries) for each in earlier] == [
            ("A", D("32.00"), D(10), 2),
            ("C", D("16.00"), D(10), 1),
        ]
        page = await actuals_detail.sums(reader, actuals_id, at=NOW, limit=5, after=sums[0].scope_key)
        assert page == sums[1:]
        of_code = await actuals_detail.entries(reader, actuals_id, at=NOW, limit=9, code="B")
        assert [each.entry_id for each in of_code] == [UUID(cost(2)["entry_id"])]


async def test_findings_and_durations(world: World, company: Company) -> None:
    actuals_id = await opened(company, *await budget(company))
    finding_id = str(uuid4())
    await book(company, actuals_id, "add-finding", finding_id=finding_id, kind="issue", text="Rock")
    await book(company, actuals_id, "revise-finding", finding_id=finding_id, kind="lesson", code="A")
    await book(company, actuals_id, "set-duration", days=3, scope={"code": "A"})
    before = await book(company, actuals_id, "set-duration", days=2, scope={"code": "B"})
    await book(company, actuals_id, "set-duration", days=None, scope={"code": "B"})
    await (await world.engine()).advance(company.tenant)
    async with company.reading() as reader:
        [finding] = await actuals_detail.findings(reader, actuals_id, at=NOW, limit=9)
        assert (finding.kind, finding.text, finding.code) == ("lesson", "Rock", "A")
        assert await actuals_detail.findings(reader, actuals_id, at=NOW, limit=9, kind="issue") == []
        [duration] = await actuals_detail.durations(reader, actuals_id, at=NOW, limit=9)
        assert (duration.code, duration.days) == ("A", 3)
        both = await actuals_detail.durations(reader, actuals_id, at=before, limit=9)
        assert [each.days for each in both] == [3, 2]
        assert (
            await actuals_detail.durations(reader, actuals_id, at=before, limit=9, after=both[0].code_key) == both[1:]
        )


async def test_variance_row_by_row(world: World, company: Company) -> None:
    project_id, estimate_id = await budget(company)
    actuals_id = await opened(company, project_id, estimate_id)
    split = [cost(1, quantity="15", amount="25.00"), cost(2, quantity=None, unit=None, amount="8.50")]
    await book(company, actuals_id, "record-costs", entries=[*split, cost(3, code="C")])
    before = await book(company, actuals_id, "explain-variance", narrative="Never planned.", scope={"code": "C"})
    risk = {"estimate_id": str(estimate_id), "risk_id": str(UUID(int=77)), "occurred_on": "2022-07-11"}
    await book(company, actuals_id, "record-risk-occurrence", cost="25", note="Peat", **risk)
    await (await world.engine()).advance(company.tenant)
    async with company.reading() as reader:
        found = await variance.of_actuals(reader, actuals_id, at=NOW, threshold=TEN_PERCENT)
        assert found is not None
        a, b, c = found.codes
        assert (a.code, a.budget, a.actual, a.variance, a.word) == ("A", D(30), D("33.50"), D("3.50"), "over")
        assert (a.budget_quantity, a.actual_quantity) == (D(20), D(15))
        assert (a.quantity_part, a.price_part) == (D("-7.50"), D(11))
        assert (a.fraction, a.needs_explanation, a.explained) == (D("0.116667"), True, False)
        assert (b.code, b.word, b.fraction, b.quantity_part, b.needs_explanation) == ("B", "under", D(-1), None, True)
        assert (c.code, c.budget, c.fraction, c.needs_explanation) == ("C", D(0), None, True)
        assert (c.explained, c.narrative) == (True, "Never planned.")
        assert (found.risks.budget, found.risks.actual, found.risks.variance) == (D(10), D(25), D(15))
        [office] = found.markups
        assert (office.name, office.budget, office.actual) == ("Office", D("4.15"), D(0))
        assert (found.total.budget, found.total.actual) == (D("45.65"), D("74.50"))
        assert sum(row.variance for row in found.rows) == found.total.variance
        then = await variance.of_actuals(reader, actuals_id, at=before - 1, threshold=TEN_PERCENT)
        assert then is not None
        assert (then.codes[2].explained, then.risks.actual) == (False, D(0))
        [occurred] = await actuals_detail.risks(reader, actuals_id, at=NOW, limit=9)
        assert (occurred.cost, occurred.note, occurred.estimate_id) == (D(25), "Peat", estimate_id)
        assert await variance.of_actuals(reader, actuals_id, at=1, threshold=TEN_PERCENT) is None


async def test_costs_against_markups(world: World, company: Company) -> None:
    project_id, estimate_id = await budget(company)
    actuals_id = await opened(company, project_id, estimate_id)
    against: dict[str, Any] = {"code": None, "quantity": None, "unit": None}
    office, unknown = UUID(int=88), UUID(int=99)
    entries = [cost(1, cost_type="labour"), cost(2, **against, markup_id=str(office), amount="3.00")]
    entries += [cost(3, **against, markup_id=str(unknown)), cost(4, **against, markup_id=str(office), amount="2.50")]
    before = await book(company, actuals_id, "record-costs", entries=entries)
    moved = {"entry_id": cost(3)["entry_id"], "markup_id": None, "code": "B", "reason": "Not the office's"}
    await book(company, actuals_id, "correct-cost", **moved)
    said = {"narrative": "Two months more.", "scope": {"kind": "markup", "markup_id": str(office)}}
    await book(company, actuals_id, "explain-variance", **said)
    await book(company, actuals_id, "finish-actuals", finished_on="2022-10-14")
    await (await world.engine()).advance(company.tenant)
    async with company.reading() as reader:
        found = await variance.of_actuals(reader, actuals_id, at=before, threshold=TEN_PERCENT)
        assert found is not None
        assert [(each.markup_id, each.name, each.budget, each.actual) for each in found.markups] == [
            (office, "Office", D("4.15"), D("5.50")),
            (unknown, None, D(0), D(16)),
        ]
        assert sum(row.actual for row in found.rows) == found.total.actual == D("37.50")
        sums = await actuals_detail.sums(reader, actuals_id, at=before)
        assert [(each.code, each.markup_id, each.amount, each.entries) for each in sums] == [
            ("A", None, D(16), 1),
            (None, office, D("5.50"), 2),
            (None, unknown, D(16), 1),
        ]
        now = await variance.of_actuals(reader, actuals_id, at=NOW, threshold=TEN_PERCENT)
        assert now is not None
        [row] = now.markups
        assert (row.actual, row.variance, row.word, row.narrative) == (D("5.50"), D("1.35"), "over", "Two months more.")
        assert [(each.code, each.actual) for each in now.codes] == [("A", D(16)), ("B", D(16))]
        [entry] = await actuals_detail.entries(reader, actuals_id, at=NOW, limit=9, code="B")
        assert entry.markup_id is None
        types = await accuracy.by_cost_type(reader, at=NOW)
        assert {each.cost_type: each.amount for each in types} == {"labour": D(16), "other": D(16)}


async def test_the_cost_of_a_risk_is_corrected_everywhere(world: World, company: Company) -> None:
    project_id, estimate_id = await budget(company)
    actuals_id = await opened(company, project_id, estimate_id)
    await book(company, actuals_id, "record-costs", entries=[cost(1)])
    risk = {"estimate_id": str(estimate_id), "risk_id": str(UUID(int=77))}
    await book(company, actuals_id, "record-risk-occurrence", cost="25", note="Peat", occurred_on="2022-07-11", **risk)
    before = await book(company, actuals_id, "correct-cost", entry_id=cost(1)["entry_id"], amount="17", reason="x")
    last = await book(company, actuals_id, "correct-risk-cost", cost="31.5", note=None, reason="Account", **risk)
    await book(company, actuals_id, "finish-actuals", finished_on="2022-10-14")
    await (await world.engine()).advance(company.tenant)
    async with company.reading() as reader:
        told = await actuals_detail.corrections(reader, actuals_id, at=NOW, limit=9, risk_id=UUID(int=77))
        assert {each.field: (each.was, each.now) for each in told} == {
            "cost": ("25.00", "31.50"),
            "note": ("Peat", None),
        }
        assert {(each.position, each.entry_id, each.reason) for each in told} == {(last, None, "Account")}
        assert len(await actuals_detail.corrections(reader, actuals_id, at=NOW, limit=9)) == 3
        for at, expected in ((before, D(25)), (NOW, D("31.5"))):
            header = await actuals_detail.actuals(reader, actuals_id, at=at)
            found = await variance.of_actuals(reader, actuals_id, at=at, threshold=TEN_PERCENT)
            [occurred] = await actuals_detail.risks(reader, actuals_id, at=at, limit=9)
            [shown] = await estimate_detail.risks_of(reader, estimate_id, at=at, limit=9)
            assert header is not None
            assert found is not None
            assert header.risk_amount == found.risks.actual == occurred.cost == shown.occurred_cost == expected
            assert header.amount == found.total.actual == expected + D(17)
            assert shown.contribution == D(10)
        [finished] = await accuracy.finished(reader, world.vault, at=NOW)
        assert finished.actual == D("48.50")
        [entry, *_] = await activity_log.entries(reader, world.vault, at=last, limit=9, category="actuals")
        assert entry.type == "actuals.risk-cost-corrected"
        assert (entry.was["cost"], entry.now["cost"], entry.now["reason"]) == ("25.00", "31.50", "Account")
        [change, *_] = await version_history.of_estimate(reader, estimate_id, at=last, limit=9)
        assert (change.field, change.was, change.now, change.risk_id) == (
            "occurred_cost",
            "25.00",
            "31.50",
            UUID(int=77),
        )


async def test_an_event_makes_one_version_of_a_sum(world: World, company: Company) -> None:
    actuals_id = await opened(company, *await budget(company))
    first = [cost(n) for n in range(400)]
    await book(company, actuals_id, "record-costs", entries=first)
    await book(company, actuals_id, "record-costs", entries=[cost(n) for n in range(400, 500)])
    await (await world.engine()).advance(company.tenant)
    async with world.projector.bound(company.tenant) as reader:
        rows = await reader.tuples(b"select entries from read.actuals_detail_sums order by valid_from", {})
    assert [entries for (entries,) in rows] == [400, 500]


async def test_code_sets_and_their_codes(world: World, company: Company) -> None:
    editions = {edition: uuid4() for edition in ("2020", "2018")}
    for edition, codeset_id in editions.items():
        register = command("codeset", "register-code-set", code_set="MnDOT", edition=edition)
        await company.send("codeset", codeset_id, register)
    names = {"2104504/00120": "REMOVE PAVEMENT", "2104504": "Remove 100%_all", "2105": "Excavation", "A": "removals"}
    codes = [{"code": code, "description": text} for code, text in names.items()]
    before = await company.send("codeset", editions["2020"], command("codeset", "import-codes", codes=codes))
    changed = command("codeset", "import-codes", codes=[{"code": "A", "description": "Alone", "unit": "EA"}])
    await company.send("codeset", editions["2020"], changed)
    await (await world.engine()).advance(company.tenant)
    async with company.reading() as reader:
        found = await code_sets.editions(reader, at=NOW, limit=9)
        assert [(each.code_set, each.edition) for each in found] == [("MnDOT", "2018"), ("MnDOT", "2020")]
        assert await code_sets.editions(reader, at=NOW, limit=9, after=("MnDOT", "2018")) == found[1:]
        assert await code_sets.editions(reader, at=NOW, limit=9, code_set="CSI") == []

        async def listed(at: int = NOW, **filters: Any) -> list[str]:
            rows = await code_sets.codes(reader, editions["2020"], at=at, limit=9, **filters)
            return [each.code for each in rows]

        assert await listed() == ["2104504", "2104504/00120", "2105", "A"]
        assert await listed(after="2104504") == ["2104504/00120", "2105", "A"]
        assert await listed(prefix="2104504") == ["2104504", "2104504/00120"]
        assert await listed(prefix="21", search="remove") == ["2104504", "2104504/00120"]
        assert await listed(search="0%_a") == ["2104504"]
        assert await listed(search="REMOVALS") == []
        assert await listed(at=before.position, search="REMOVALS") == ["A"]


async def test_price_books_and_their_prices(world: World, company: Company) -> None:
    book_id = uuid4()
    particulars = {"name": "Average bids", "edition": "2021", "currency": "USD", "dated_on": "2021-12-31"}
    await company.send("pricebook", book_id, command("pricebook", "open-price-book", **particulars))
    price = {"description": "Remove pavement", "unit": "SY", "unit_price": "5.72882"}
    prices = [{**price, "code": "2104"}, {**price, "code": "2105", "category": "Removals"}]
    before = await company.send("pricebook", book_id, command("pricebook", "import-prices", prices=prices))
    dearer = {**price, "code": "2104", "unit_price": "6.10"}
    await company.send("pricebook", book_id, command("pricebook", "import-prices", prices=[dearer]))
    await (await world.engine()).advance(company.tenant)
    async with company.reading() as reader:
        [found] = await price_books.books(reader, at=NOW, limit=9)
        assert (found.name, found.currency, found.dated_on) == ("Average bids", "USD", date(2021, 12, 31))
        assert await price_books.books(reader, at=NOW, limit=9, after=found.pricebook_id) == []
        now = await price_books.prices(reader, book_id, at=NOW, limit=9)
        shown = [(each.code, each.unit_price) for each in now]
        assert shown == [("2104", D("6.1")), ("2105", D("5.72882"))]
        [then] = await price_books.prices(reader, book_id, at=before.position, limit=9, prefix="2104")
        assert then.unit_price == D("5.72882")
        removals = await price_books.prices(reader, book_id, at=NOW, limit=9, search="removals")
        assert [each.code for each in removals] == ["2105"]
        assert (
            await price_books.prices(reader, book_id, at=NOW, limit=9, after=("2104", now[0].unit, now[0].cost_type))
            == now[1:]
        )


async def test_accuracy_over_finished_projects(world: World, company: Company) -> None:
    ada = await member(company, "ada@northern.example", "owner")
    project_id, estimate_id = await budget(company, aace_class=2, basis="Drawings")
    later = await estimate(company, project_id, parent_id=str(estimate_id), aace_class=1, basis="Quotes")
    await company.send("estimate", later, command("estimate", "submit-estimate"), actor=ada)
    actuals_id = await opened(company, project_id, estimate_id)
    await book(company, actuals_id, "record-costs", entries=[cost(1, cost_type="labour"), cost(2), cost(3)])
    await book(company, actuals_id, "correct-cost", entry_id=cost(3)["entry_id"], reason="x", cost_type="labour")
    await book(company, actuals_id, "remove-cost", entry_id=cost(2)["entry_id"], reason="x")
    open_still = await book(company, actuals_id, "change-baseline", baseline_id=str(later), reason="Addendum")
    finished = await book(company, actuals_id, "finish-actuals", finished_on="2022-10-14")
    fields = {"building_type": "highway", "location": "Otter Tail"}
    await company.send("project", project_id, command("project", "change-metadata", **fields))
    await company.send("project", project_id, command("project", "rename-project", name="TH 9"))
    last = await company.send("project", project_id, command("project", "delete-project"))
    await (await world.engine()).advance(company.tenant)
    async with company.reading() as reader:
        assert await accuracy.finished(reader, world.vault, at=open_still) == []
        assert await accuracy.finished(reader, world.vault, at=NOW) == []  # deleted
        [found] = await accuracy.finished(reader, world.vault, at=last.position - 1)
        assert (found.name, found.building_type, found.aace_class) == ("TH 9", "highway", 1)
        assert (found.estimator_id, found.estimator_name) == (ada, "ada")
        assert (found.budget, found.actual, found.baseline_id) == (D("45.65"), D("32.00"), later)
        assert await accuracy.finished(reader, world.vault, at=finished, after=found.project_id) == []
        types = await accuracy.by_cost_type(reader, at=finished)
        assert [(each.baseline_id, each.cost_type, each.amount) for each in types] == [(later, "labour", D(32))]
        assert await accuracy.by_cost_type(reader, at=NOW) == []
        planned = await estimate_detail.base_by_cost_type(reader, [later, estimate_id], at=NOW)
        assert {(each.estimate_id, each.cost_type): each.amount for each in planned} == {
            (each, kind): D(amount)
            for each in (later, estimate_id)
            for kind, amount in (("labour", "15.00"), ("other", "16.50"))
        }
