"""Syncs against real upstreams, logs and read models: what changed is told once, whoever is killed in the middle."""

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from domain.mirror_events import mirror_of
from tests import schedules
from tests.workers.answering import Asked, Said, answering
from tests.workers.mirroring import Company, company_of, cut_off, erp, syncing
from tests.workers.outside import ended, until

LINES = ["1,Crane,100.00,2025-01-01,a", "2,Crane,200.00,2025-01-02,b", "3,Pump,300.00,,c"]


@pytest.fixture
async def company(database_url: str, nats_url: str, tenant: UUID) -> AsyncIterator[Company]:
    """A company whose log is followed."""
    async with company_of(database_url, nats_url, tenant) as found:
        yield found


def export(folder: Path, *lines: str, name: str = "a.csv") -> None:
    """Writes an export of the small kind."""
    text = "\n".join(["Id,Kind,Cost,Start,Note", *lines, ""])
    (folder / name).write_text(text, encoding="utf-8")


def counts(end: dict[str, Any], *names: str) -> tuple[int, ...]:
    """Counts of a run; all that are not named are zero."""
    found = {name: number for name, number in end["counts"].items() if number}
    assert set(found) <= {*names, "processed"}, end
    return tuple(found.get(name, 0) for name in names)


async def test_an_export_is_mirrored(company: Company, database_url: str, nats_url: str, tmp_path: Path) -> None:
    export(tmp_path, *LINES)
    connection = await company.folder(tmp_path)
    with syncing(database_url, nats_url, tmp_path) as syncer:
        first = await company.sync(connection)
        assert counts(first, "inserted") == (3,)
        assert await company.records(connection) == {
            "1": ("Crane", 10_000, False),
            "2": ("Crane", 20_000, False),
            "3": ("Pump", 30_000, False),
        }
        export(tmp_path, LINES[0], LINES[1].replace("200", "250"), "4,Pump,400,,d")
        second = await company.sync(connection)
        assert counts(second, "inserted", "updated", "unchanged", "removed") == (1, 1, 1, 1)
        again = await company.sync(connection, "incremental")
        assert counts(again, "unchanged") == (0,)
        said = await ended(syncer, signal.SIGTERM)
    assert (await company.records(connection))["3"] == ("Pump", 30_000, True)
    assert said.count('"sync_finished"') == 3
    assert "worker_stopped" in said


@pytest.mark.parametrize("folder", schedules.FOLDERS)
async def test_the_published_exports(
    company: Company, database_url: str, nats_url: str, tmp_path: Path, folder: Path
) -> None:
    shutil.copy(folder / schedules.JUNE, tmp_path)
    connection = await company.folder(tmp_path, schedules.SENT)
    with syncing(database_url, nats_url, tmp_path):
        first = await company.sync(connection)
        shutil.copy(folder / schedules.SEPTEMBER, tmp_path)
        second = await company.sync(connection)
        third = await company.sync(connection)
    assert counts(first, "inserted", "repeated")[0] == 13_153
    assert counts(second, "updated", "unchanged", "inserted", "removed", "repeated")[:4] == (6_453, 5_522, 1_663, 1_178)
    assert counts(third, "unchanged", "repeated")[0] == 6_453 + 5_522 + 1_663


HEADER = "Id,Kind,Cost,Start,Note\n"
GOOD = HEADER + "1,Crane,100,2025-01-01,a\n2,Pump,200,2025-01-02,b\n"
ODD_EXPORTS: dict[str, tuple[bytes, str, Any]] = {
    "a byte order mark": (b"\xef\xbb\xbf" + GOOD.encode(), "finished", (2, 0, set())),
    "windows-1252": (GOOD.replace(",a", ",\u00e9").encode("windows-1252"), "finished", (2, 0, {"encoding-assumed"})),
    "semicolons": (GOOD.replace(",", ";").encode(), "finished", (2, 0, set())),
    "days first": (GOOD.replace("2025-01-02", "31/01/2025").encode(), "finished", (1, 1, {"date_order_unstated"})),
    "a wrong type": (GOOD.replace(",200,", ",two hundred,").encode(), "finished", (1, 1, {"number_unreadable"})),
    "a repeated key": ((GOOD + "2,Pump,300,,c\n").encode(), "finished", (3, 0, {"identity_repeated"})),
    "a row without key": ((GOOD + ",Pump,300,,c\n").encode(), "finished", (2, 1, {"identity_blank"})),
    "nothing readable": (GOOD.replace("00,2025", "x,2025").encode(), "broken", "sync.nothing-readable"),
    "nothing": (b"", "broken", "upstream.file-empty"),
    "only a header": (HEADER.encode(), "broken", "upstream.file-empty"),
    "half a row": (GOOD[:-20].encode() + b'"', "broken", "upstream.file-truncated"),
    "another schema": (GOOD.replace("Cost", "Price").encode(), "broken", "upstream.schema-changed"),
    "a cell of 10 MB": ((GOOD + f"3,Pump,300,,{'x' * 10_000_000}\n").encode(), "broken", "upstream.cell-too-large"),
}  # fmt: skip


async def test_odd_exports_end_in_a_clear_state(
    company: Company, database_url: str, nats_url: str, tmp_path: Path
) -> None:
    with syncing(database_url, nats_url, tmp_path):
        for name, (content, how, expected) in ODD_EXPORTS.items():
            folder = tmp_path / name.replace(" ", "-")
            folder.mkdir()
            (folder / "a.csv").write_bytes(content)
            connection = await company.folder(folder)
            end = await company.sync(connection)
            if how == "finished":
                inserted, faulty, faults = expected
                found = end["counts"]
                assert (found["inserted"], found["faulty"]) == (inserted, faulty), name
                assert {each["code"] for each in end.get("faults", [])} == faults, name
            else:
                assert (end["failure"], end["code"]) == (how, expected), name
                assert end.get("retry_at") is None


async def test_a_fault_is_told_with_its_row(company: Company, database_url: str, nats_url: str, tmp_path: Path) -> None:
    lines = [f"{number},Crane,{number}.00,,x" for number in range(1, 12_346)]
    lines[12_344] = "12345,Crane,many,,x"
    export(tmp_path, *lines)
    connection = await company.folder(tmp_path)
    with syncing(database_url, nats_url, tmp_path):
        end = await company.sync(connection)
        (fault,) = end["faults"]
        assert (fault["row"], fault["column"], fault["code"]) == (12_345, "Cost", "number_unreadable")
        assert counts(end, "inserted", "faulty") == (12_344, 1)
        lines[3] = "4,Crane,worse,,x"  # a row that cannot be read is no record that is gone
        lines[12_344] = "12345,Crane,12345,,x"
        export(tmp_path, *lines)
        assert counts(await company.sync(connection), "inserted", "unchanged", "faulty") == (1, 12_343, 1)


ROWS = [{"id": f"r{number}", "version": number, "name": f"Record {number}"} for number in range(1, 8)]
BY_NAME: dict[str, Any] = {
    "fields": [{"upstream": "name", "name": "name", "feeds": "description", "type": "text"}],
    "identity": ["id"],
    "version_column": "version",
}


def paged(asked: Asked) -> Said:
    """Three rows a page, by cursor, and what each path does wrong."""
    start = int(asked.query.get("cursor", "0"))
    following = str(start + 3) if start + 3 < len(ROWS) else None
    rows = ROWS[start : start + 3]
    match asked.path, start:
        case "/endless", _:
            rows = [{"id": f"r{start + each}", "version": 1, "name": "more"} for each in range(3)]
            following = str(start + 3)
        case "/people", 3:
            return Said(b"<html>Down for maintenance</html>", headers={"Content-Type": "text/html"})
        case "/schema", 3:
            rows = [{"id": row["id"], "version": row["version"], "title": row["name"]} for row in rows]
        case "/repeating", 3:
            rows = ROWS[:3]
        case "/back", _ if "since" in asked.query:
            return Said({"records": [], "as_of": 3, "next_cursor": None})
        case "/broken", _:
            return Said(b'{"records": [', headers={"Content-Type": "application/json"})
    return Said({"records": rows, "as_of": 7, "next_cursor": following})


async def test_odd_answers_end_in_a_clear_state(company: Company, database_url: str, nats_url: str) -> None:
    expected = {
        "/endless": ("broken", "upstream.too-many-pages"),
        "/people": ("unavailable", "upstream.html-answered"),
        "/schema": ("broken", "upstream.schema-changed"),
        "/repeating": ("broken", "upstream.page-repeated"),
        "/broken": ("broken", "upstream.not-json"),
    }
    limits = {"first_wait_seconds": 0.001, "attempts_max": 2, "wait_seconds_max": 1, "pages_max": 40}
    changes = {"at": "as_of", "parameter": "since"}
    with answering(paged) as server, syncing(database_url, nats_url, upstream_attempts_max=1):
        for path, end in expected.items():
            sent = erp(server.url, records=path, limits=limits, changes=changes)
            failed = await company.sync(await company.connect(sent, BY_NAME))
            assert (failed["failure"], failed["code"]) == end, path
        connection = await company.connect(erp(server.url, records="/back", limits=limits, changes=changes), BY_NAME)
        assert counts(await company.sync(connection), "inserted") == (7,)
        back = await company.sync(connection, "incremental")
        assert (back["failure"], back["code"]) == ("broken", "upstream.went-back")
        after = await company.sync(connection, "incremental")  # which is a full one now
        assert counts(after, "unchanged") == (7,)


async def test_an_upstream_that_is_down_is_tried_again_later(
    company: Company, database_url: str, nats_url: str
) -> None:
    down = True

    def answer(asked: Asked) -> Said:
        return Said(status=503) if down else paged(asked)

    limits = {"first_wait_seconds": 0.001, "attempts_max": 1}
    with answering(answer) as server, syncing(database_url, nats_url, upstream_wait_seconds_min=1):
        sent = erp(server.url, records="/records", limits=limits, changes=None)
        connection = await company.connect(sent, BY_NAME)
        failed = await company.sync(connection)
        assert (failed["failure"], failed["code"]) == ("unavailable", "upstream.failing")
        assert failed["retry_at"] > failed["finished_at"]
        down = False
        finished = await company.heard(mirror_of(connection), "mirror.sync-finished")
    assert counts(finished, "inserted") == (7,)
    (first, *_, last) = company.told(mirror_of(connection), "mirror.sync-began")
    assert (first["trigger"], last["trigger"]) == ("manual", "retry")
    assert len(company.ends(connection)) <= 4


async def test_so_many_removals_are_held_until_somebody_asks_again(
    company: Company, database_url: str, nats_url: str, tmp_path: Path
) -> None:
    lines = [f"{number},Crane,{number}.00,,x" for number in range(100)]
    export(tmp_path, *lines)
    connection = await company.folder(tmp_path)
    with syncing(database_url, nats_url, tmp_path):
        await company.sync(connection)
        export(tmp_path, *lines[:60])
        held = await company.sync(connection)
        assert (held["failure"], held["code"]) == ("held", "sync.removes-too-many")
        assert held["facts"] == {"removed": 40, "of": 100, "unasked": 20}
        export(tmp_path, *lines[:50])  # more than was told of: that is not what was confirmed
        assert (await company.sync(connection))["facts"]["removed"] == 50
        assert counts(await company.sync(connection), "removed", "unchanged") == (50, 50)


async def test_a_row_that_could_be_any_record_keeps_all(
    company: Company, database_url: str, nats_url: str, tmp_path: Path
) -> None:
    export(tmp_path, *LINES)
    connection = await company.folder(tmp_path)
    with syncing(database_url, nats_url, tmp_path):
        await company.sync(connection)
        export(tmp_path, LINES[0], ",Pump,5,,")
        end = await company.sync(connection)
    assert counts(end, "unchanged", "faulty") == (1, 1)
    assert [each["code"] for each in end["faults"]] == ["identity_blank", "removals_skipped"]


async def test_a_schedule_begins_a_run_by_itself(
    company: Company, database_url: str, nats_url: str, tmp_path: Path
) -> None:
    export(tmp_path, *LINES)
    connection, disabled = await company.folder(tmp_path), await company.folder(tmp_path)
    schedule = {"cron": "* * * * *", "time_zone": "Europe/Berlin"}
    for each in (connection, disabled):
        await company.send("connection", each, "set-schedule", schedule=schedule)
    await company.send("connection", disabled, "disable-connection", reason="Not now")
    await company.projected("connections")
    company.owner.execute("set search_path = read")
    company.owner.execute("update connections_connections set updated_at = now() - interval '1 hour'")
    with syncing(database_url, nats_url, tmp_path):
        finished = await company.heard(mirror_of(connection), "mirror.sync-finished")
    assert counts(finished, "inserted") == (3,)
    began = company.told(mirror_of(connection), "mirror.sync-began")
    assert [each["trigger"] for each in began] == ["schedule"]
    assert company.told(mirror_of(disabled)) == []


MANY = [f"{number},Crane,{number}.00,2025-01-01,{'x' * 40}" for number in range(12_000)]
SLOWLY: dict[str, Any] = {"sync_buffer_records": 1_000, "sync_chunks_ahead_max": 1}


async def under_way(company: Company, connection: UUID) -> None:
    """Until some changes are recorded."""

    async def some() -> bool:
        return len(company.told(mirror_of(connection), "mirror.records-changed")) > 2

    await until(some)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_another_finishes_what_one_left_in_the_middle(
    company: Company, database_url: str, nats_url: str, tmp_path: Path, number: signal.Signals
) -> None:
    export(tmp_path, *MANY)
    connection = await company.folder(tmp_path)
    with syncing(database_url, nats_url, tmp_path, **SLOWLY) as first:
        run = await company.request(connection)
        await under_way(company, connection)
        first.send_signal(number)
        await asyncio.to_thread(first.wait)
    assert company.ends(connection) == []
    with syncing(database_url, nats_url, tmp_path), syncing(database_url, nats_url, tmp_path):
        end = await company.ended(connection, run)
    assert counts(end, "inserted") == (12_000,)
    assert end["counts"]["processed"] == 12_000
    began = company.told(mirror_of(connection), "mirror.sync-began")
    assert [(each["run_id"], each.get("attempt", 1)) for each in began] == [(str(run), 1), (str(run), 2)]
    changed = company.told(mirror_of(connection), "mirror.records-changed")
    recorded = [record["record_id"] for each in changed for record in each["changes"].get("inserted", [])]
    assert (len(recorded), len(set(recorded))) == (12_000, 12_000)


async def test_a_run_outlives_the_loss_of_every_connection(
    company: Company, database_url: str, nats_url: str, tmp_path: Path
) -> None:
    export(tmp_path, *MANY)
    connection = await company.folder(tmp_path)
    with syncing(database_url, nats_url, tmp_path, **SLOWLY):
        run = await company.request(connection)
        await under_way(company, connection)
        cut_off(company)
        end = await company.ended(connection, run)
    assert counts(end, "inserted") == (12_000,)
    assert len(await company.records(connection)) == 12_000


async def test_a_cancelled_run_stops(company: Company, database_url: str, nats_url: str, tmp_path: Path) -> None:
    export(tmp_path, *MANY)
    connection = await company.folder(tmp_path)
    with syncing(database_url, nats_url, tmp_path, **SLOWLY):
        run = await company.request(connection)
        await under_way(company, connection)
        await company.send("mirror", mirror_of(connection), "cancel-sync", run_id=str(run), reason="The wrong file")
        again = await company.sync(connection)
    assert [each["run_id"] for each in company.ends(connection)] == [str(run), again["run_id"]]
    assert again["counts"]["inserted"] + again["counts"]["unchanged"] == 12_000
    assert again["counts"]["unchanged"] > 0
