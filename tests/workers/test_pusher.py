"""Commits of drafts against the example ERP: pushed once, whoever is killed, and answered record by record."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest

from domain.decider import Rejected
from domain.drafts_events import drafts_of
from domain.mirror_events import mirror_of
from tests.upstream import Upstream, upstream
from tests.workers.mirroring import ERP, PATIENCE_SECONDS, Company, company_of, cut_off, erp, syncing
from tests.workers.outside import ended


@pytest.fixture
async def company(database_url: str, nats_url: str, tenant: UUID) -> AsyncIterator[Company]:
    """A company whose log is followed."""
    async with company_of(database_url, nats_url, tenant) as found:
        yield found


@pytest.fixture
def system() -> Iterator[Upstream]:
    """An ERP with some records."""
    with upstream("--records", "1500") as found:
        yield found


def described(record: str, number: int) -> dict[str, Any]:
    """What is drafted of a record."""
    return {"description": f"{record} forecast {number}"}


async def test_drafts_are_pushed_and_end(company: Company, database_url: str, nats_url: str, system: Upstream) -> None:
    connection = await company.connect(erp(system.ready["url"]), ERP)
    with syncing(database_url, nats_url, push_records_max=100) as syncer:
        await company.sync(connection)
        before = system.records()
        ids = await company.ids(connection)
        chosen = sorted(ids)[:250]
        await company.draft(connection, {ids[name]: described(name, 1) for name in chosen})
        changeset = await company.commit(connection)
        end = await company.finished(changeset)
        after = system.records()
        again = await company.sync(connection, "incremental")
        said = await ended(syncer, signal.SIGTERM)
    assert (end["confirmed"], end["refused"]) == (250, 0)
    assert {name for name in after if after[name]["version"] != before[name]["version"]} == set(chosen)
    assert all(after[name]["PROJ_DESC"] == f"{name} forecast 1" for name in chosen)
    assert said.count('"push_answered"') == 3
    assert {name: number for name, number in again["counts"].items() if number} == {"processed": 250, "unchanged": 250}
    assert len(company.told(changeset, "changeset.push-began")) == 3
    cleared = company.told(drafts_of(company.user, connection), "drafts.cleared")
    assert sum(len(each["drafts"]) for each in cleared) == 250
    assert company.told(mirror_of(connection), "mirror.records-changed")


async def prepared(company: Company, system: Upstream, number: int, **other: Any) -> tuple[UUID, list[str]]:
    """A mirrored connection with so many drafts: its id, and the records by the ERP's ids."""
    connection = await company.connect(erp(system.ready["url"], **other), ERP)
    await company.sync(connection)
    ids = await company.ids(connection)
    chosen = sorted(ids)[:number]
    await company.draft(connection, {ids[name]: described(name, 1) for name in chosen})
    return connection, chosen


def written_once(system: Upstream, before: int, chosen: list[str]) -> None:
    """Every write takes the next version of the whole system: there were as many as records, each with its draft."""
    assert system.get("/health")["version"] - before == len(chosen)
    after = system.records()
    assert all(after[name]["PROJ_DESC"] == f"{name} forecast 1" for name in chosen)


async def test_each_record_has_an_answer_of_its_own(
    company: Company, database_url: str, nats_url: str, system: Upstream
) -> None:
    with syncing(database_url, nats_url):
        connection, chosen = await prepared(company, system, 6)
        moved, gone = chosen[0], chosen[1]
        records = system.records()
        system.http.patch(
            f"/records/{moved}", json={"PROJ_DESC": "theirs"}, headers={"If-Match": f'"{records[moved]["version"]}"'}
        ).raise_for_status()
        system.http.delete(f"/records/{gone}", headers={"If-Match": f'"{records[gone]["version"]}"'}).raise_for_status()
        changeset = await company.commit(connection)
        found = await company.heard(changeset, "changeset.conflicts-found")
        ids = await company.ids(connection)
        (conflict,) = found["conflicts"]
        assert conflict["record_id"] == str(ids[moved])
        assert conflict["theirs"] == {"description": "theirs"}
        settled = [{"record_id": str(ids[moved]), "how": "mine"}]
        await company.send("changeset", changeset, "settle-conflicts", settlements=settled)
        end = await company.finished(changeset)
    assert (end["confirmed"], end["refused"]) == (5, 1)
    answers = company.told(changeset, "changeset.records-answered")
    (refusal,) = [each for answer in answers for each in answer.get("refused", [])]
    assert (refusal["record_id"], refusal["code"]) == (str(ids[gone]), "deleted")
    assert system.records()[moved]["PROJ_DESC"] == f"{moved} forecast 1"


async def test_what_a_sync_tells_while_an_upstream_is_asked_is_not_told_again(
    company: Company, database_url: str, nats_url: str, system: Upstream
) -> None:
    """The mirror was read before the sync: what it had then is not what the answer is compared with."""
    with syncing(database_url, nats_url):
        connection, chosen = await prepared(company, system, 3)
        moved = chosen[0]
        version = system.records()[moved]["version"]
        system.turn(slow_ms=3_000, only="/changes")
        changeset = await company.commit(connection)
        await company.heard(changeset, "changeset.push-began")
        system.http.patch(
            f"/records/{moved}", json={"PROJ_DESC": "theirs"}, headers={"If-Match": f'"{version}"'}
        ).raise_for_status()
        counted = (await company.sync(connection, "incremental"))["counts"]
        assert not company.told(changeset, "changeset.records-answered")
        await company.heard(changeset, "changeset.conflicts-found")
        ids = await company.ids(connection)
    assert counted["updated"] == 1
    told = [each["changes"] for each in company.told(mirror_of(connection), "mirror.records-changed")]
    after = [each for changes in told for each in changes.get("updated", ()) if each["record_id"] == str(ids[moved])]
    assert [each["now"]["description"] for each in after] == ["theirs"]


@pytest.mark.parametrize("fault", [{"short_answers": 1}, {"short_answers": 5}, {"half_batches": 3}, {"drops": 3}])
async def test_what_an_upstream_leaves_unsaid_is_asked_again_under_the_same_key(
    company: Company, database_url: str, nats_url: str, system: Upstream, fault: dict[str, Any]
) -> None:
    with syncing(database_url, nats_url):
        connection, chosen = await prepared(company, system, 150)
        before = system.get("/health")["version"]
        system.turn(**fault, only="/changes")
        end = await company.finished(await company.commit(connection))
    assert (end["confirmed"], end["refused"]) == (150, 0)
    written_once(system, before, chosen)


async def test_a_commit_waits_for_an_upstream_that_is_down(
    company: Company, database_url: str, nats_url: str, tmp_path: Path
) -> None:
    with syncing(database_url, nats_url, upstream_wait_seconds_max=0.3):
        with upstream("--records", "200", "--state", str(tmp_path)) as system:
            connection, chosen = await prepared(company, system, 120)
            before = system.get("/health")["version"]
            port = str(urlsplit(system.ready["url"]).port)
        changeset = await company.commit(connection)
        delayed = await company.heard(changeset, "changeset.push-delayed")
        assert delayed["code"] == "upstream.unreachable"
        with upstream("--records", "200", "--port", port, "--state", str(tmp_path)) as system:
            end = await company.finished(changeset)
            assert (end["confirmed"], end["refused"]) == (120, 0)
            written_once(system, before, chosen)
    assert len(company.told(changeset, "changeset.push-delayed")) == 1


async def test_what_waits_for_an_upstream_can_be_cancelled(
    company: Company, database_url: str, nats_url: str, tmp_path: Path
) -> None:
    with syncing(database_url, nats_url, upstream_wait_seconds_max=0.3, push_records_max=50):
        with upstream("--records", "200", "--state", str(tmp_path)) as system:
            connection, _ = await prepared(company, system, 120)
            before = system.get("/health")["version"]
            port = str(urlsplit(system.ready["url"]).port)
        changeset = await company.commit(connection)
        await company.heard(changeset, "changeset.push-delayed")
        await company.send("changeset", changeset, "cancel-changeset")
        with upstream("--records", "200", "--port", port, "--state", str(tmp_path)) as system:
            end = await company.finished(changeset)  # what was under way is still answered
            assert (end["confirmed"], end["cancelled"]) == (100, 20)
            assert system.get("/health")["version"] - before == 100


async def test_a_thousand_drafts_survive_the_death_of_workers_backends_and_the_upstream_at_every_step(
    company: Company, database_url: str, nats_url: str, tmp_path: Path
) -> None:
    """Something is killed after each event of the commit, and in the middle of what follows it."""
    settings = {"sync_stalled_seconds": 1, "push_records_max": 100}
    folder = str(tmp_path)
    system = Upstream("--records", "1200", "--state", folder)
    port = str(urlsplit(system.ready["url"]).port)
    started = ExitStack()
    started.enter_context(syncing(database_url, nats_url, **settings))
    connection, chosen = await prepared(company, system, 1_000)
    before = system.get("/health")["version"]
    changeset = await company.commit(connection)

    def steps() -> int:
        return len(company.told(changeset, "changeset.push-began", "changeset.records-answered", "changeset.finished"))

    seen = 0
    for turn in count():
        async with asyncio.timeout(PATIENCE_SECONDS):
            while steps() <= seen and not company.told(changeset, "changeset.finished"):  # noqa: ASYNC110  # as above
                await asyncio.sleep(0.002)
        seen = steps()
        if company.told(changeset, "changeset.finished"):
            break
        match turn % 3:
            case 0:
                started.close()  # which kills it
                started.enter_context(syncing(database_url, nats_url, **settings))
            case 1:
                cut_off(company)
            case 2:
                system.stop(signal.SIGKILL)
                system = Upstream("--records", "1200", "--port", port, "--state", folder)
    end = await company.finished(changeset)
    started.close()
    assert turn >= 6
    assert (end["confirmed"], end["refused"]) == (1_000, 0)
    written_once(system, before, chosen)
    system.stop()
    answers = company.told(changeset, "changeset.records-answered")
    confirmed = [record for each in answers for record in each["confirmed"]]
    assert (len(confirmed), len(set(confirmed))) == (1_000, 1_000)
    cleared = company.told(drafts_of(company.user, connection), "drafts.cleared")
    assert sum(len(each["drafts"]) for each in cleared) == 1_000


async def test_a_connection_that_cannot_push_takes_no_changeset(
    company: Company, database_url: str, nats_url: str, system: Upstream
) -> None:
    with syncing(database_url, nats_url):
        connection, _ = await prepared(company, system, 1, push=None)
    with pytest.raises(Rejected) as refused:
        await company.commit(connection)
    assert refused.value.code == "changeset.read-only"
