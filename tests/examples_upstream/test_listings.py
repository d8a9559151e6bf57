"""The example ERP's listings: complete by page, cursor and link, while records change; conditions, tombstones, ids."""

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.upstream import Upstream, upstream

COUNT = 1203


@pytest.fixture(scope="module")
def still() -> Iterator[Upstream]:
    """A server that no test of this file changes."""
    with upstream("--records", str(COUNT), "--seed", "7") as running:
        yield running


@pytest.fixture
def moving() -> Iterator[Upstream]:
    """A server for one test."""
    with upstream("--records", str(COUNT), "--seed", "7") as running:
        yield running


def test_every_way_of_paging_lists_every_record_once(still: Upstream) -> None:
    by_cursor = [record["id"] for page in still.pages(per_page=100) for record in page["records"]]
    by_version = [record["id"] for page in still.pages(per_page=100, since_version=0) for record in page["records"]]
    first = still.get("/records", page=1, per_page=100)
    assert (first["pages"], first["total"]) == (13, COUNT)
    numbers = range(1, first["pages"] + 1)
    by_number = [record["id"] for n in numbers for record in still.get("/records", page=n, per_page=100)["records"]]
    by_link, url = [], "/records?per_page=100"
    while url:
        answer = still.http.get(url)
        by_link += [record["id"] for record in answer.json()["records"]]
        url = answer.links.get("next", {}).get("url", "")
    assert len(by_cursor) == len(set(by_cursor)) == COUNT
    assert by_cursor == by_number == by_link == sorted(by_version)
    assert still.get("/records", page=14, per_page=100)["records"] == []


def test_links_lead_through_numbered_pages(still: Upstream) -> None:
    answer = still.http.get("/records", params={"page": 2, "per_page": 500})
    pages = {rel: httpx.URL(link["url"]).params["page"] for rel, link in answer.links.items()}
    assert pages == {"first": "1", "prev": "1", "next": "3", "last": "3"}


def test_the_same_seed_makes_the_same_records_with_keys_that_repeat(still: Upstream) -> None:
    def bare(running: Upstream) -> dict[str, dict[str, Any]]:
        return {id_: {**each, "modified_at": ""} for id_, each in running.records().items()}

    with upstream("--records", str(COUNT), "--seed", "7") as again, upstream("--records", "40", "--seed", "8") as other:
        assert bare(still) == bare(again)
        assert not bare(other).keys() & bare(still).keys()
    keys = Counter(
        (each["BLDG_ID"], each["PROJ_TYPE"], each["DSF_NOS"], each["PROJ_DESC"], each["PHASE_NM"])
        for each in still.records().values()
    )
    assert [count for count in keys.values() if count > 1] == [2]


def test_amounts_are_text_in_the_style_that_was_chosen(still: Upstream) -> None:
    with upstream("--records", "200", "--seed", "7", "--money", "dollars") as other:
        dollars = other.records()
    for id_, plain in list(still.records().items()):
        if id_ in dollars:
            assert dollars[id_]["EST_FINAL_AMT"].replace("$", "").replace(",", "") == plain["EST_FINAL_AMT"]
            assert dollars[id_]["EST_FINAL_AMT"].startswith("$")
    assert any("," in each["EST_FINAL_AMT"] for each in dollars.values())
    assert {"DOER", "IEH"} <= {each["BUDGET_AMT"] for each in still.records().values()}
    assert {type(each["DIST_NO"]) for each in still.records().values()} == {int}


def test_what_did_not_change_is_not_sent_again(moving: Upstream) -> None:
    listed = moving.http.get("/records", params={"per_page": 3})
    record = listed.json()["records"][0]
    one = moving.http.get(f"/records/{record['id']}")
    assert one.json() == record
    assert one.headers["ETag"] == f'"{record["version"]}"'
    for path, known in (("/records?per_page=3", listed), (f"/records/{record['id']}", one)):
        again = moving.http.get(path, headers={"If-None-Match": known.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
    changed = moving.http.patch(
        f"/records/{record['id']}", json={"SCHOOL_NM": "Another"}, headers={"If-Match": one.headers["ETag"]}
    )
    assert changed.status_code == 200
    for path, known in (("/records?per_page=3", listed), (f"/records/{record['id']}", one)):
        again = moving.http.get(path, headers={"If-None-Match": known.headers["ETag"]})
        assert again.status_code == 200


def test_what_changed_since_a_version_or_an_instant(moving: Upstream) -> None:
    before = moving.get("/records", per_page=1)
    last_before = max(each["modified_at"] for each in moving.records().values())
    assert moving.records(since_version=before["as_of_version"]) == {}
    did = moving.advance(share=0.1)
    assert min(did["inserted"], did["removed"], did["changed"]) > 0
    live = moving.records(since_version=before["as_of_version"])
    everything = moving.records(since_version=before["as_of_version"], deleted=1)
    gone = {id_: each for id_, each in everything.items() if each.get("deleted")}
    assert len(live) == did["inserted"] + did["changed"]
    assert len(gone) == did["removed"]
    assert {frozenset(each) for each in gone.values()} == {frozenset({"id", "version", "modified_at", "deleted"})}
    assert everything == live | gone
    first_change = min(each["modified_at"] for each in everything.values())
    assert first_change > last_before
    assert moving.records(since=first_change, deleted=1) == everything
    assert moving.records(since="2999-01-01T00:00:00+01:00") == {}
    numbered = moving.get("/records", page=1, per_page=5000, since_version=before["as_of_version"], deleted=1)
    assert {each["id"]: each for each in numbered["records"]} == everything
    removed = moving.http.get(f"/records/{next(iter(gone))}")
    assert (removed.status_code, removed.json()["current"]["deleted"]) == (410, True)
    assert len(moving.records()) == COUNT + did["inserted"] - did["removed"] == did["records"]


def test_a_walk_by_version_ends_where_it_said_and_the_next_has_the_rest(moving: Upstream) -> None:
    walk = moving.pages(per_page=400, since_version=0)
    first = next(walk)
    last = max(moving.records().values(), key=lambda each: int(each["version"]))
    change = {"id": last["id"], "version": last["version"], "fields": {"SCHOOL_NM": "Moved"}}
    (moved,) = moving.push("key", change).json()["results"]
    rest = [record["id"] for page in walk for record in page["records"]]
    assert len(first["records"]) + len(rest) == COUNT - 1
    assert moving.records(since_version=first["as_of_version"]) == {last["id"]: moved["record"]}


def test_a_walk_and_what_follows_it_miss_nothing_while_records_change(moving: Upstream) -> None:
    there_all_along = moving.records().keys()
    begun, done = threading.Event(), threading.Event()

    def change() -> None:
        with httpx.Client(base_url=moving.ready["url"], timeout=60) as http:
            while not done.is_set():
                assert http.post("/advance", json={"share": 0.02}).status_code == 200
                begun.set()

    writer = threading.Thread(target=change)
    writer.start()
    try:
        assert begun.wait(60)
        mirror: dict[str, Any] = {}
        walked = Counter[str]()
        since = None
        for page in moving.pages(per_page=20, deleted=1):
            since = since or page["as_of_version"]
            assert page["as_of_version"] == since
            walked.update(each["id"] for each in page["records"])
            mirror |= {each["id"]: each for each in page["records"]}
        moved_meanwhile = moving.get("/health")["version"] - since
        for _ in range(3):
            for page in moving.pages(per_page=20, deleted=1, since_version=since):
                mirror |= {each["id"]: each for each in page["records"]}
            since = page["as_of_version"]
    finally:
        done.set()
        writer.join()
    mirror |= moving.records(since_version=since, deleted=1)
    assert moved_meanwhile > 0
    assert {walked[id_] for id_ in there_all_along} == {1}
    assert mirror == moving.records(deleted=1)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("page=0", "invalid-parameter"),
        ("page=x", "invalid-parameter"),
        ("per_page=0", "invalid-parameter"),
        ("page=1&page=2", "invalid-parameter"),
        ("page=1&cursor=a", "invalid-parameter"),
        ("deleted=yes", "invalid-parameter"),
        ("since=yesterday", "invalid-parameter"),
        ("since=2026-01-01", "invalid-parameter"),
        ("since=0001-01-01T00:00:00%2B05:00", "invalid-parameter"),
        ("since=2026-01-01T00:00:00Z&since_version=3", "invalid-parameter"),
        ("sort=id", "invalid-parameter"),
        ("cursor=nonsense", "invalid-cursor"),
        ("cursor=e30", "invalid-cursor"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(still: Upstream, query: str, code: str) -> None:
    answer = still.http.get(f"/records?{query}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


def test_other_routes_and_methods_are_refused(still: Upstream) -> None:
    assert still.http.get("/nothing").status_code == 404
    assert still.http.get("/records/PFA-0").status_code == 404
    assert still.http.put("/records/PFA-0").status_code == 405
    assert still.get("/records", per_page=999999)["per_page"] == 5000
