"""Given commands, then rows: what each read model answers, now and as of a position."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.decider import Rejected
from domain.registry import EVENTS
from eventstore.log import POSITION_MAX
from projections import access, activity_log, estimate_detail, positions, project_list, project_names, version_history
from projections.projection import Projection
from projections.registry import PROJECTIONS
from tests.projections.commands import command, edit, estimate, line, member, project
from tests.projections.conftest import Company, World, least_position

NOW = POSITION_MAX


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda projection: projection.name)
def test_every_event_is_handled_or_ignored(projection: Projection) -> None:
    assert set(projection.on) | projection.ignores == set(EVENTS.values())


async def test_a_project_shows_its_latest_version(world: World, company: Company) -> None:
    project_id = await project(company, "TH 108")
    first = await estimate(company, project_id)
    await edit(company, first, "add-line", **line(1))
    before = await edit(company, first, "add-line", **line(2, pricing="allowance"))
    second = await estimate(company, project_id, parent_id=str(first), target_margin="0.5")
    await edit(company, second, "submit-estimate")
    await (await world.engine()).advance(company.tenant)
    async with company.reading() as reader:
        [now] = await project_list.projects(reader, at=NOW, limit=10)
        [then] = await project_list.projects(reader, at=before, limit=10)
    assert (now.latest_version, now.latest_estimate_id, now.estimate_status) == (2, second, "submitted")
    assert (now.base_total, now.final_bid) == (Decimal("15.00"), Decimal("30.00"))
    assert (then.latest_version, then.latest_estimate_id, then.estimate_status) == (1, first, "draft")
    assert (then.base_total, then.target_margin, then.final_bid) == (Decimal("15"), Decimal("0.1"), Decimal("16.67"))


async def test_projects_are_filtered_and_paged(world: World, company: Company) -> None:
    names = ["TH 108 100%_done", "th 109", "Bridge 5512"]
    ids = {name: await project(company, name) for name in names}
    await company.send("project", ids["th 109"], command("project", "change-status", status="lost"))
    await company.send("project", ids["Bridge 5512"], command("project", "delete-project", reason="twice"))
    await (await world.engine()).advance(company.tenant)
    async with company.reading() as reader:

        async def found(**filters: object) -> set[str]:
            return {each.name for each in await project_list.projects(reader, at=NOW, limit=10, **filters)}  # type: ignore[arg-type]

        assert await found() == {"TH 108 100%_done", "th 109"}
        assert await found(include_deleted=True) == set(names)
        assert await found(search="TH 1") == {"TH 108 100%_done", "th 109"}
        assert await found(search="0%_d") == {"TH 108 100%_done"}
        assert await found(search="1_8") == set()
        assert await found(status="lost") == {"th 109"}
        first = await project_list.projects(reader, at=NOW, limit=1)
        second = await project_list.projects(reader, at=NOW, limit=1, after=first[0].project_id)
        assert [each.project_id for each in first + second] == sorted([ids["TH 108 100%_done"], ids["th 109"]])
        gone = await project_list.project(reader, ids["Bridge 5512"], at=NOW)
        assert gone is not None
        assert gone.deleted_by == UUID(int=7)


async def test_metadata_is_merged_and_restored_projects_are_back(world: World, company: Company) -> None:
    project_id = await project(company)
    for body in ({"metadata": {"a": "1", "b": "2"}}, {"metadata": {"a": None}, "location": "Otter Tail"}):
        await company.send("project", project_id, command("project", "change-metadata", **body))
    await company.send("project", project_id, command("project", "delete-project"))
    await company.send("project", project_id, command("project", "restore-project", name="TH 108 again"))
    await company.send("project", project_id, command("project", "rename-project", name="TH 9"))
    await (await world.engine()).advance(company.tenant)
    async with company.reading() as reader:
        [found] = await project_list.projects(reader, at=NOW, limit=10)
    assert (found.name, found.metadata, found.location, found.deleted_at) == ("TH 9", {"b": "2"}, "Otter Tail", None)


async def test_an_estimate_in_full(world: World, company: Company) -> None:
    estimate_id = await estimate(company, project_id := await project(company), title="Bid")
    await edit(company, estimate_id, "add-line", **line(1, extension="14.99", note="as sent"))
    await edit(company, estimate_id, "import-lines", lines=[line(2), line(3, pricing="alternate")])
    await edit(company, estimate_id, "move-line", line_id=line(1)["line_id"], after_line_id=line(3)["line_id"])
    at_three = await edit(company, estimate_id, "revise-line", line_id=line(2)["line_id"], quantity="20", note="more")
    await edit(company, estimate_id, "remove-line", line_id=line(3)["line_id"])
    await edit(company, estimate_id, "change-margin", target_margin="0.25")
    await edit(company, estimate_id, "change-notes", notes="After addendum 2")
    last = await edit(company, estimate_id, "submit-estimate")
    await (await world.engine()).advance(company.tenant)
    async with company.reading() as reader:
        header = await estimate_detail.estimate(reader, estimate_id, at=NOW)
        assert header is not None
        lines = await estimate_detail.lines_of(reader, estimate_id, at=NOW, limit=10)
        assert [each.line_id for each in lines] == [UUID(int=1002), UUID(int=1001)]
        assert [(each.extension, each.submitted) for each in lines] == [
            (Decimal("30.00"), False),
            (Decimal("14.99"), True),
        ]
        assert [header.base_total, header.allowance_total, header.alternate_total] == [
            Decimal("44.99"),
            Decimal(),
            Decimal(),
        ]
        assert (header.final_bid, header.line_count, header.title) == (Decimal("59.99"), 2, "Bid")
        assert (header.status, header.submitted_by, header.notes) == ("submitted", UUID(int=7), "After addendum 2")
        assert header.stream_version == 9
        assert len(header.content_hash or "") == 64
        then = await estimate_detail.lines_of(reader, estimate_id, at=at_three, limit=2)
        rest = await estimate_detail.lines_of(
            reader, estimate_id, at=at_three, limit=2, after=(then[-1].ordinal, then[-1].line_id)
        )
        assert [each.line_id.int for each in then + rest] == [1002, 1003, 1001]
        assert await estimate_detail.estimate(reader, estimate_id, at=1) is None
        assert [each.version for each in await estimate_detail.of_project(reader, project_id, at=NOW, limit=5)] == [1]
        assert await least_position(reader, ["estimate_detail", "access"]) == last
        assert await positions.position_of(reader, "project_names") == last


async def test_the_history_of_a_version(world: World, company: Company) -> None:
    estimate_id = await estimate(company, await project(company))
    await edit(company, estimate_id, "add-line", **line(1))
    await edit(company, estimate_id, "import-lines", lines=[line(2), line(3, pricing="alternate")])
    revised = await edit(company, estimate_id, "revise-line", line_id=line(1)["line_id"], quantity="20", note="more")
    await edit(company, estimate_id, "remove-line", line_id=line(2)["line_id"])
    await (await world.engine()).advance(company.tenant)
    async with company.reading() as reader:
        told = await version_history.of_estimate(reader, estimate_id, at=NOW, limit=100)
        assert [each.type.partition(".")[2] for each in told] == [
            "line-removed",
            *["line-revised"] * 3,
            "lines-imported",
            "line-added",
            "started",
        ]
        by_field = {each.field: (each.was, each.now) for each in told[1:4]}
        assert by_field == {"quantity": ("10", "20"), "note": (None, "more"), "extension": ("15.00", "30.00")}
        assert told[4].now["line_count"] == 2
        assert told[4].now["totals"] == {"base": "15.00", "allowance": "0.00", "alternate": "15.00"}
        assert told[0].was["description"] == "Line 2"
        of_line = await version_history.of_estimate(reader, estimate_id, at=NOW, limit=9, line_id=UUID(int=1001))
        assert [each.position for each in of_line] == [revised, revised, revised, 4]
        page = await version_history.of_estimate(
            reader, estimate_id, at=NOW, limit=2, after=(told[1].position, told[1].seq)
        )
        assert page == told[2:4]
        earlier = await version_history.of_estimate(reader, estimate_id, at=revised - 1, limit=9)
        assert earlier == told[4:]


RISK_A = {"risk_id": str(UUID(int=1)), "kind": "threat", "title": "Peat", "probability": "0.40"}
RISK_A |= {"low": "20000", "high": "60000"}
RESPONSE: dict[str, Any] = {"kind": "mitigate", "cost": "8000", "residual_probability": "0.05"}
RISK_B: dict[str, Any] = {
    **RISK_A,
    "risk_id": str(UUID(int=2)),
    "probability": "0.15",
    "low": "100000",
    "high": "300000",
}
RISK_B |= {"response": RESPONSE | {"residual_low": "100000", "residual_high": "300000"}}


async def test_the_way_from_cost_to_bid(world: World, company: Company) -> None:
    estimate_id = await estimate(company, await project(company), target_margin="0.12")
    await edit(company, estimate_id, "add-line", **line(1, quantity="1", unit="LS", unit_price="2045323.78"))
    await edit(company, estimate_id, "add-risk", **RISK_A)
    await edit(company, estimate_id, "add-risk", **RISK_B)
    before = await edit(company, estimate_id, "tag-version", tag="before mitigation")
    mitigated = await edit(company, estimate_id, "apply-mitigation", risk_id=RISK_B["risk_id"], applied_on="2022-01-20")
    bond = {"kind": "other", "markup_id": str(UUID(int=9)), "name": "Bond", "amount": "2500.00"}
    await edit(company, estimate_id, "set-markups", markups=[bond])
    await edit(company, estimate_id, "undo-change", stream_version=7)
    await edit(company, estimate_id, "submit-estimate")
    await edit(company, estimate_id, "close-risk", risk_id=RISK_A["risk_id"], closed_on="2022-06-30", reason="Accepted")
    await edit(company, estimate_id, "change-estimate-status", status="awarded", reason="Letter of 14 February")
    await (await world.engine()).advance(company.tenant)
    async with company.reading() as reader:
        bids = []
        for at in (before, mitigated, mitigated + 1, NOW):
            header = await estimate_detail.estimate(reader, estimate_id, at=at)
            assert header is not None
            whole = estimate_detail.bridge_of(header)
            assert whole.final_bid == header.final_bid == header.base_total + sum(each.amount for each in whole.steps)
            bids.append((header.risk_adjustment, header.cost, header.final_bid))
        assert header is not None
        assert bids == [
            (Decimal("46000.00"), Decimal("2091323.78"), Decimal("2376504.30")),
            (Decimal("34000.00"), Decimal("2079323.78"), Decimal("2362867.93")),
            (Decimal("34000.00"), Decimal("2081823.78"), Decimal("2365708.84")),
            (Decimal("34000.00"), Decimal("2079323.78"), Decimal("2362867.93")),
        ]
        assert (header.status, header.content_format, header.risk_count) == ("awarded", 2, 2)
        a, b = await estimate_detail.risks_of(reader, estimate_id, at=NOW, limit=9)
        assert (a.status, a.contribution, a.exposure, a.saving) == ("closed", Decimal("16000.00"), Decimal(), None)
        assert (b.expected_initial, b.expected_residual) == (Decimal("30000.00"), Decimal("10000.00"))
        assert (b.contribution, b.exposure, b.saving) == (
            Decimal("18000.00"),
            Decimal("10000.00"),
            Decimal("12000.00"),
        )
        assert b.response == RESPONSE | {"residual_low": "100000.00", "residual_high": "300000.00", "cost": "8000.00"}
        [then] = await estimate_detail.risks_of(reader, estimate_id, at=before, limit=9, after=a.risk_id)
        assert (then.status, then.contribution) == ("open", Decimal("30000.00"))
        [tag] = await estimate_detail.tags_of(reader, estimate_id, at=NOW, limit=9)
        assert (tag.tag, tag.position, tag.final_bid) == ("before mitigation", before, Decimal("2376504.30"))
        [listed] = await project_list.projects(reader, at=NOW, limit=9)
        assert (listed.cost, listed.final_bid, listed.risk_adjustment) == (
            header.cost,
            header.final_bid,
            header.risk_adjustment,
        )
        told = await version_history.of_estimate(reader, estimate_id, at=NOW, limit=100)
        assert [(each.field, each.now) for each in told[:2]] == [
            ("reason", "Letter of 14 February"),
            ("status", "awarded"),
        ]
        undone = next(each for each in told if each.type == "estimate.change-undone")
        assert undone.now["stream_versions"] == [7]
        assert [each.stream_version for each in told if each.risk_id == b.risk_id] == [6, 6, 4]


async def test_the_activity_of_a_company(world: World, company: Company) -> None:
    ada = await member(company, "ada@northern.example", "owner")
    project_id = await project(company, "TH 108")
    await company.send("project", project_id, command("project", "rename-project", name="TH 9"), actor=ada)
    await (await world.engine()).advance(company.tenant)
    async with company.reading() as reader:
        renamed, created, added = await activity_log.entries(reader, world.vault, at=NOW, limit=10)
        assert (renamed.type, renamed.actor_name, renamed.entity_name) == ("project.renamed", "ada", "TH 9")
        assert (renamed.was, renamed.now, renamed.category) == ("TH 108", "TH 9", "project")
        assert (created.now["name"], added.entity_name) == ("TH 108", "ada")
        [then] = await activity_log.entries(reader, world.vault, at=2, limit=1)
        assert then.entity_name == "TH 108"
        assert await activity_log.entries(reader, world.vault, at=NOW, limit=10, actor=ada) == [renamed]
        assert await activity_log.entries(reader, world.vault, at=NOW, limit=10, entity_id=ada) == [added]
        assert await activity_log.entries(reader, world.vault, at=NOW, limit=10, category="project") == [
            renamed,
            created,
        ]
        assert await activity_log.entries(reader, world.vault, at=NOW, limit=10, after=(created.position, 0)) == [added]


async def test_a_name_belongs_to_one_live_project(company: Company) -> None:
    held = await project(company, "TH 108")
    with pytest.raises(Rejected) as refused:
        await project(company, " th 108 ")
    assert refused.value.code == "project.name-taken"
    assert refused.value.facts == {"name": " th 108 ", "project_id": str(held)}
    await company.send("project", held, command("project", "rename-project", name="TH 9"))
    other = await project(company, "TH 108")
    await company.send("project", other, command("project", "delete-project"))
    await company.send("project", held, command("project", "rename-project", name="TH 108"))
    with pytest.raises(Rejected):
        await company.send("project", other, command("project", "restore-project"))
    await company.send("project", other, command("project", "restore-project", name="TH 10"))
    await company.send("project", other, command("project", "rename-project", name="th 10"))
    async with company.reading() as reader:
        assert await project_names.holder(reader, "th 108", at=NOW) == held
        assert await project_names.holder(reader, "TH 108", at=1) == held
        assert await project_names.holder(reader, "TH 108", at=2) is None
        assert await project_names.holder(reader, "TH 10 ", at=NOW) == other


async def test_the_same_name_at_another_company_is_free(world: World) -> None:
    await project(world.company(), "TH 108")
    await project(world.company(), "TH 108")


async def test_tokens_end_with_their_member(company: Company) -> None:
    ada = await member(company, "ada@northern.example", "owner")
    bert = await member(company, "bert@northern.example")
    tokens = [uuid4(), uuid4()]
    for number, token_id in enumerate(tokens):
        issue = command(
            "membership",
            "issue-token",
            token_id=str(token_id),
            secret_hash=f"{number:064x}",
            label="laptop",
            expires_at="2027-12-31T23:59:59Z",
        )
        await company.send("membership", bert, issue)
    await company.send("membership", bert, command("membership", "change-role", role="viewer"))
    await company.send("membership", bert, command("membership", "revoke-token", token_id=str(tokens[1])))
    expires_at = datetime(2027, 12, 31, 23, 59, 59, tzinfo=UTC)
    async with company.reading() as reader:
        good = await access.token(reader, f"{0:064x}")
        assert good == access.Access(tokens[0], bert, "viewer", expires_at, False)
        revoked = await access.token(reader, f"{1:064x}")
        assert revoked is not None
        assert revoked.revoked
        assert await access.token(reader, f"{2:064x}") is None
        assert {each.member_id for each in await access.members(reader, company.world.vault, at=NOW)} == {ada, bert}
        assert {each.token_id for each in await access.tokens(reader, bert, at=NOW)} == set(tokens)
    gone = await company.send("membership", bert, command("membership", "remove-member"))
    async with company.reading() as reader:
        ended = await access.token(reader, f"{0:064x}")
        assert ended is not None
        assert ended.revoked
        before = await access.token(reader, f"{0:064x}", at=gone.position - 1)
        assert before is not None
        assert not before.revoked
        assert [each.member_id for each in await access.members(reader, company.world.vault, at=NOW)] == [ada]


async def test_a_company_keeps_an_owner_and_its_addresses_apart(company: Company) -> None:
    ada = await member(company, "ada@northern.example", "owner")
    with pytest.raises(Rejected) as refused:
        await member(company, "ADA@northern.example")
    assert refused.value.code == "membership.email-taken"
    for last in (command("membership", "remove-member"), command("membership", "change-role", role="viewer")):
        with pytest.raises(Rejected) as refused:
            await company.send("membership", ada, last)
        assert refused.value.code == "membership.last-owner"
    await member(company, "bert@northern.example", "owner")
    await company.send("membership", ada, command("membership", "remove-member"))
    await member(company, "ada@northern.example")


async def test_a_secret_is_one_tokens(company: Company) -> None:
    body = {"secret_hash": "a" * 64, "label": "x", "expires_at": "2027-12-31T23:59:59Z"}
    for email in ("ada@northern.example", "bert@northern.example"):
        holder = await member(company, email)
        issue = command("membership", "issue-token", token_id=str(uuid4()), **body)
        if email.startswith("ada"):
            await company.send("membership", holder, issue)
        else:
            with pytest.raises(Rejected, match="secret-in-use"):
                await company.send("membership", holder, issue)
