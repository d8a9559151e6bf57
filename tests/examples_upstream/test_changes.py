"""Changes to the example ERP: one at a time and in batches, stale ones, refused ones, and none applied twice."""

import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.upstream import Upstream, edit, upstream


@pytest.fixture
def erp() -> Iterator[Upstream]:
    """A server for one test."""
    with upstream("--records", "300", "--seed", "3") as running:
        yield running


@pytest.fixture(scope="module")
def still() -> Iterator[Upstream]:
    """A server that refuses all that is asked of it."""
    with upstream("--records", "300", "--seed", "3") as running:
        yield running


def patch(erp: Upstream, record: dict[str, Any], version: object, **fields: Any) -> httpx.Response:
    """A change of one record."""
    return erp.http.patch(f"/records/{record['id']}", json=fields, headers={"If-Match": f'"{version}"'})


def test_a_change_raises_the_version_and_is_written_as_the_erp_writes(erp: Upstream) -> None:
    record, standing = erp.record(), erp.get("/health")["version"]
    answer = patch(erp, record, record["version"], EST_FINAL_AMT="$1,234,567.5", ACT_START_DT="2021-02-03")
    changed = answer.json()
    assert answer.status_code == 200
    assert (changed["EST_FINAL_AMT"], changed["ACT_START_DT"]) == ("1234567.50", "2/3/2021")
    assert changed["version"] == standing + 1
    assert answer.headers["ETag"] == f'"{standing + 1}"'
    assert changed["modified_at"] >= record["modified_at"]
    assert erp.get(f"/records/{record['id']}") == changed
    again = patch(erp, record, changed["version"], EST_FINAL_AMT=1234567.5)
    assert again.json() == changed  # it says what it said before: nothing changed


def test_any_text_comes_back_as_it_was_sent(erp: Upstream) -> None:
    record, text = erp.record(), "Ä 学校 '\"\\\n\u0000 \ud800"
    sent = json.dumps({"SCHOOL_NM": text})
    answer = erp.http.patch(f"/records/{record['id']}", content=sent, headers={"If-Match": str(record["version"])})
    assert answer.json()["SCHOOL_NM"] == text
    assert erp.records()[record["id"]] == answer.json()


def test_a_stale_change_is_refused_with_the_record_as_it_is(erp: Upstream) -> None:
    record = erp.record()
    theirs = patch(erp, record, record["version"], SCHOOL_NM="Theirs").json()
    answer = patch(erp, record, record["version"], SCHOOL_NM="Mine")
    assert (answer.status_code, answer.json()["current"]) == (409, theirs)
    assert erp.get(f"/records/{record['id']}") == theirs


def test_of_changes_at_once_to_one_version_one_wins(erp: Upstream) -> None:
    record = erp.record()
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(patch, erp, record, record["version"], SCHOOL_NM=f"Name {n}") for n in range(16)]
        statuses = sorted(future.result().status_code for future in futures)
    assert statuses == [200] + [409] * 15


def test_changes_at_once_to_many_records_all_have_effect(erp: Upstream) -> None:
    records, standing = list(erp.records().values()), erp.get("/health")["version"]
    with ThreadPoolExecutor(16) as pool:
        futures = [pool.submit(patch, erp, each, each["version"], SCHOOL_NM="Changed") for each in records]
        answers = [future.result() for future in futures]
    assert {answer.status_code for answer in answers} == {200}
    versions = sorted(answer.json()["version"] for answer in answers)
    assert versions == list(range(standing + 1, standing + 1 + len(records)))


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "nothing-to-change"),
        ({"COLOUR": "red"}, "unknown-field"),
        ({"modified_at": "2026-01-01"}, "unknown-field"),
        ({"EST_FINAL_AMT": "a lot"}, "invalid-value"),
        ({"EST_FINAL_AMT": "1,23"}, "invalid-value"),
        ({"EST_FINAL_AMT": True}, "invalid-value"),
        ({"EST_FINAL_AMT": "9" * 16}, "invalid-value"),
        ({"EST_FINAL_AMT": 1e300}, "invalid-value"),
        ({"PLAN_END_DT": "13/31/2025"}, "invalid-value"),
        ({"PLAN_END_DT": None}, "invalid-value"),
        ({"STATUS_CD": "Done"}, "invalid-value"),
        ({"DIST_NO": "31"}, "invalid-value"),
        ({"PHASE_NM": " "}, "invalid-value"),
        ({"ACT_START_DT": "1/2/2025", "PLAN_END_DT": "1/1/2025"}, "end-before-start"),
    ],
)
def test_a_change_that_cannot_be_is_refused_with_its_reason(still: Upstream, fields: dict[str, Any], code: str) -> None:
    record = still.record()
    answer = patch(still, record, record["version"], **fields)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, code)
    assert still.get(f"/records/{record['id']}") == record


def test_the_plan_of_a_complete_phase_is_closed(erp: Upstream) -> None:
    record = next(
        each for each in erp.records().values() if (each["STATUS_CD"], each["PROJ_TYPE"]) == ("Complete", "SCA CIP")
    )
    refused = patch(erp, record, record["version"], BUDGET_AMT="1.00", EST_FINAL_AMT="2.00")
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "phase-complete")
    assert patch(erp, record, record["version"], EST_FINAL_AMT="2.00").status_code == 200


def test_a_version_must_be_named_and_a_body_be_an_object(still: Upstream) -> None:
    url = f"/records/{still.record()['id']}"
    assert still.http.patch(url, json={"SCHOOL_NM": "x"}).status_code == 428
    assert still.http.patch(url, json={"SCHOOL_NM": "x"}, headers={"If-Match": "*"}).status_code == 400
    assert still.http.patch(url, content="{", headers={"If-Match": "1"}).status_code == 400
    assert still.http.patch(url, json=[], headers={"If-Match": "1"}).status_code == 400
    assert patch(still, {"id": "PFA-0"}, 1, SCHOOL_NM="x").status_code == 404


def test_a_deleted_record_stays_a_tombstone(erp: Upstream) -> None:
    record = erp.record()
    stale = erp.http.delete(f"/records/{record['id']}", headers={"If-Match": "999999"})
    assert (stale.status_code, stale.json()["current"]) == (409, record)
    gone = erp.http.delete(f"/records/{record['id']}", headers={"If-Match": f'"{record["version"]}"'})
    assert (gone.status_code, gone.json()["deleted"]) == (200, True)
    assert patch(erp, record, gone.json()["version"], SCHOOL_NM="x").status_code == 410
    assert record["id"] not in erp.records()
    assert erp.records(deleted=1)[record["id"]] == gone.json()


def test_a_batch_has_a_result_for_each_change_in_order(erp: Upstream) -> None:
    first, second, third = (erp.record(number=number) for number in range(3))
    moved = patch(erp, second, second["version"], SCHOOL_NM="Moved").json()
    gone = erp.http.delete(f"/records/{third['id']}", headers={"If-Match": str(third["version"])}).json()
    answer = erp.push(
        "a batch",
        edit(first, EST_FINAL_AMT="5.00"),
        edit(second, EST_FINAL_AMT="6.00"),
        edit(third, EST_FINAL_AMT="7.00"),
        edit({"id": "PFA-0", "version": 1}, EST_FINAL_AMT="8.00"),
        edit(first, EST_FINAL_AMT="9.00"),
        edit(moved, STATUS_CD="Done"),
    )
    results = answer.json()["results"]
    now = erp.get(f"/records/{first['id']}")
    assert [result["status"] for result in results] == [
        *("confirmed", "conflict", "refused", "refused", "conflict", "refused"),
    ]
    assert (results[0]["record"], results[0]["version"]) == (now, now["version"])
    assert now["EST_FINAL_AMT"] == "5.00"
    assert results[1]["current"] == moved
    assert (results[2]["reason"]["code"], results[2]["current"]) == ("deleted", gone)
    assert results[3]["reason"]["code"] == "unknown-record"
    assert results[4]["current"] == now
    assert results[5]["reason"]["code"] == "invalid-value"


def test_a_key_applies_its_changes_once_and_answers_the_same(erp: Upstream) -> None:
    one, two = erp.record(), erp.record(number=1)
    batch = [edit(one, EST_FINAL_AMT="5.00"), edit(two, STATUS_CD="Done")]
    first = erp.push("key", *batch)
    patch(erp, one, first.json()["results"][0]["version"], EST_FINAL_AMT="6.00")
    standing = erp.get("/health")
    assert erp.push("key", *batch).content == first.content
    assert erp.get("/health") == standing
    other = erp.push("key", *batch[:1])
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency-key-reused")
    assert erp.get(f"/records/{one['id']}")["EST_FINAL_AMT"] == "6.00"


def test_a_key_sent_many_times_at_once_applies_once(erp: Upstream) -> None:
    batch = [edit(erp.record(number=number), EST_FINAL_AMT="5.00") for number in range(5)]
    standing = erp.get("/health")["version"]
    with ThreadPoolExecutor(6) as pool:
        answers = [future.result() for future in [pool.submit(erp.push, "key", *batch) for _ in range(12)]]
    assert len({answer.content for answer in answers}) == 1
    assert erp.get("/health")["version"] == standing + 5


def test_a_key_is_remembered_when_its_answer_never_came(erp: Upstream) -> None:
    batch = [edit(erp.record(number=number), EST_FINAL_AMT="5.00") for number in range(5)]
    erp.turn(drops=1)
    with pytest.raises(httpx.RemoteProtocolError):
        erp.push("key", *batch)
    standing = erp.get("/health")
    results = erp.push("key", *batch).json()["results"]
    assert [result["status"] for result in results] == ["confirmed"] * 5
    assert erp.get("/health") == standing


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"changes": {}}, 422),
        ({}, 422),
        ({"changes": [{"id": "PFA-0", "version": 1}]}, 422),
        ({"changes": [{"id": "PFA-0", "version": "1", "fields": {}}]}, 422),
        ({"changes": [7]}, 422),
        ([], 400),
    ],
)
def test_a_batch_that_is_none_is_refused(still: Upstream, body: Any, status: int) -> None:
    answer = still.http.post("/changes", json=body, headers={"Idempotency-Key": "key"})
    assert answer.status_code == status
    assert still.http.post("/changes", json={"changes": []}).status_code == 400
    assert still.push("key").json() == {"results": []}


def test_everything_is_kept_over_a_kill(tmp_path: Path) -> None:
    options = ("--records", "300", "--seed", "3", "--state", str(tmp_path))
    erp = Upstream(*options)
    batch = [edit(erp.record(number=number), EST_FINAL_AMT="5.00") for number in range(5)]
    answer = erp.push("key", *batch)
    erp.advance()
    before = erp.records(deleted=1)
    assert erp.stop(signal.SIGKILL) == -signal.SIGKILL
    with upstream(*options) as again:
        assert again.records(deleted=1) == before
        assert again.push("key", *batch).content == answer.content
        assert again.get("/health")["step"] == 1
        assert again.stop() == 0
    with pytest.raises(RuntimeError, match="was made from 300 made up from seed 3"):
        Upstream("--records", "300", "--seed", "4", "--state", str(tmp_path))
