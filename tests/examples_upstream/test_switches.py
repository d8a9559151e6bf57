"""What the example ERP asks for, and gets wrong, when it is told to: every switch, by route and by command line."""

import time
from collections.abc import Iterator

import httpx
import pytest

from tests.upstream import Upstream, edit, upstream

COUNT = 260


@pytest.fixture
def erp() -> Iterator[Upstream]:
    """A server for one test."""
    with upstream("--records", str(COUNT), "--seed", "5") as running:
        yield running


def code(answer: httpx.Response) -> tuple[int, str]:
    """Its status, and its error's code."""
    return answer.status_code, answer.json()["error"]["code"]


def test_credentials_are_asked_for_as_switched(erp: Upstream) -> None:
    basic = httpx.BasicAuth("example", "example-password")
    key = {"X-API-Key": "example-key"}
    assert erp.http.get("/records").status_code == 200
    erp.turn(auth=["key"])
    refused = erp.http.get("/records", auth=basic)
    assert code(refused) == (401, "unauthorized")
    assert refused.headers["WWW-Authenticate"].startswith("ApiKey")
    assert erp.http.get("/records", headers={"X-API-Key": "wrong"}).status_code == 401
    assert erp.http.get("/records", headers=key).status_code == 200
    erp.turn(auth=["basic"])
    assert erp.http.get("/records", headers=key).status_code == 401
    assert erp.http.get("/records", headers={"Authorization": "Basic %%"}).status_code == 401
    assert erp.http.get("/records", auth=("example", "wrong")).status_code == 401
    assert erp.http.get("/records", auth=basic).status_code == 200
    erp.turn(auth=["key", "basic"])
    assert [erp.http.get("/records", headers=key).status_code, erp.http.get("/records", auth=basic).status_code] == [
        *(200, 200),
    ]


def token(erp: Upstream, **form: str) -> httpx.Response:
    """Asks for one."""
    return erp.http.post("/oauth/token", data={"grant_type": "client_credentials"} | form)


def test_tokens_are_issued_to_the_client_and_can_end(erp: Upstream) -> None:
    erp.turn(auth=["oauth2"])
    assert erp.http.get("/records").status_code == 401
    assert token(erp).json() == {"error": "invalid_client"}
    assert token(erp, client_id="example-client", client_secret="wrong").status_code == 401
    assert token(erp, grant_type="password").json() == {"error": "unsupported_grant_type"}
    issued = token(erp, client_id="example-client", client_secret="example-secret").json()
    assert (issued["token_type"], issued["expires_in"]) == ("Bearer", 300)
    bearer = {"Authorization": f"Bearer {issued['access_token']}"}
    assert erp.http.get("/records", headers=bearer).status_code == 200
    by_header = erp.http.post(
        "/oauth/token", data={"grant_type": "client_credentials"}, auth=("example-client", "example-secret")
    )
    assert by_header.status_code == 200
    assert erp.http.delete("/oauth/tokens").status_code == 204
    assert erp.http.get("/records", headers=bearer).status_code == 401


def test_tokens_expire_and_credentials_can_be_chosen() -> None:
    options = ("--auth", "oauth2,key", "--client", "me:mine", "--token-seconds", "0", "--api-key", "other")
    with upstream("--records", "5", *options) as erp:
        issued = token(erp, client_id="me", client_secret="mine").json()
        expired = erp.http.get("/records", headers={"Authorization": f"Bearer {issued['access_token']}"})
        assert expired.status_code == 401
        assert "Bearer" in expired.headers["WWW-Authenticate"]
        assert erp.http.get("/records", headers={"X-API-Key": "other"}).status_code == 200


def test_calls_over_the_limit_are_told_when_to_come_again(erp: Upstream) -> None:
    assert "X-RateLimit-Limit" not in erp.http.get("/records").headers
    erp.turn(rate_limit=2, rate_window_seconds=3600)
    answers = [erp.http.get("/records", params={"per_page": 1}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["1", "0", "0"]
    assert {answer.headers["X-RateLimit-Limit"] for answer in answers} == {"2"}
    assert 0 < int(answers[2].headers["Retry-After"]) <= 3600
    assert answers[2].headers["Retry-After"] == answers[2].headers["X-RateLimit-Reset"]
    assert "Retry-After" not in answers[1].headers
    erp.turn(rate_window_seconds=1)
    again = erp.http.get("/records")
    while again.status_code == 429:
        time.sleep(int(again.headers["Retry-After"]))  # as told
        again = erp.http.get("/records")
    assert again.headers["X-RateLimit-Remaining"] == "1"


def test_errors_and_pages_for_people_come_as_often_as_told(erp: Upstream) -> None:
    assert erp.turn(errors=2, html=1)["errors"] == 2
    assert [code(erp.http.get("/records")) for _ in range(2)] == [(500, "internal")] * 2
    page = erp.http.get("/records")
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert page.text.startswith("<!doctype html>")
    assert erp.http.get("/records").json()["total"] == COUNT


def test_answers_are_slow(erp: Upstream) -> None:
    erp.turn(slow_ms=200)
    assert erp.http.get("/records").elapsed.total_seconds() >= 0.2
    with pytest.raises(httpx.ReadTimeout):
        erp.http.get("/records", timeout=0.05)


def test_a_connection_is_dropped_in_the_middle_of_a_body(erp: Upstream) -> None:
    erp.turn(drops=1)
    with erp.http.stream("GET", "/records") as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
            answer.read()
    assert answer.num_bytes_downloaded == int(answer.headers["Content-Length"]) // 2
    assert erp.http.get("/records").status_code == 200


def test_a_fault_can_be_kept_to_some_paths(erp: Upstream) -> None:
    erp.turn(errors=1, only="/changes")
    assert erp.http.get("/records").status_code == 200
    assert erp.push("key").status_code == 500
    assert erp.push("key").status_code == 200


def test_half_a_batch_is_applied_and_the_rest_when_it_comes_again(erp: Upstream) -> None:
    records = [erp.record(number=number) for number in range(5)]
    batch = [edit(record, EST_FINAL_AMT="5.00") for record in records]
    standing = erp.get("/health")["version"]
    erp.turn(half_batches=1)
    with pytest.raises(httpx.RemoteProtocolError):
        erp.push("key", *batch)
    amounts = [erp.get(f"/records/{record['id']}")["EST_FINAL_AMT"] for record in records]
    assert [amount == "5.00" for amount in amounts] == [True, True, True, False, False]
    results = erp.push("key", *batch).json()["results"]
    assert [(result["id"], result["status"]) for result in results] == [(each["id"], "confirmed") for each in records]
    assert erp.get("/health")["version"] == standing + 5


def test_fewer_results_than_changes(erp: Upstream) -> None:
    batch = [edit(erp.record(number=number), EST_FINAL_AMT="5.00") for number in range(5)]
    erp.turn(short_answers=1)
    short = erp.push("key", *batch).json()["results"]
    whole = erp.push("key", *batch).json()["results"]
    assert (len(short), len(whole)) == (3, 5)
    assert whole[:3] == short


def test_a_page_comes_twice(erp: Upstream) -> None:
    numbered = [erp.get("/records", page=number, per_page=100)["records"] for number in (1, 2)]
    erp.turn(repeat_pages=2)
    first = erp.get("/records", per_page=100)
    second = erp.get("/records", per_page=100, cursor=first["next_cursor"])
    assert second["records"] == first["records"] == numbered[0]
    assert second["next_cursor"] == first["next_cursor"]
    assert erp.get("/records", page=2, per_page=100)["records"] == numbered[0]
    third = erp.get("/records", per_page=100, cursor=second["next_cursor"])
    assert third["records"] == numbered[1]


def test_pages_without_end(erp: Upstream) -> None:
    erp.turn(endless=True)
    seen, cursors = [], set()
    walk = erp.pages(per_page=100)
    for page in (next(walk) for _ in range(9)):
        seen += [record["id"] for record in page["records"]]
        cursors.add(page["next_cursor"])
    assert (len(seen), len(set(seen)), len(cursors)) == (3 * COUNT, COUNT, 9)
    beyond = erp.http.get("/records", params={"page": 4, "per_page": 100})
    assert [record["id"] for record in beyond.json()["records"]] == seen[:100]
    assert "page=5" in beyond.links["next"]["url"]


def test_a_column_has_another_name(erp: Upstream) -> None:
    record = erp.record()
    erp.turn(rename="EST_FINAL_AMT:FCST_AMT")
    listed = erp.records()[record["id"]]
    assert listed == erp.get(f"/records/{record['id']}")
    assert listed["FCST_AMT"] == record["EST_FINAL_AMT"]
    assert "EST_FINAL_AMT" not in listed
    old, new = erp.push("key", edit(record, EST_FINAL_AMT="5.00"), edit(record, FCST_AMT="6.00")).json()["results"]
    assert old["reason"]["code"] == "unknown-field"
    assert new["record"]["FCST_AMT"] == "6.00"


def test_it_goes_back_to_how_it_was(erp: Upstream) -> None:
    version, before = erp.get("/health")["version"], erp.records(deleted=1)
    batch = [edit(erp.record(), EST_FINAL_AMT="5.00")]
    erp.push("key", *batch)
    between, changed = erp.get("/health")["version"], erp.records(deleted=1)
    erp.advance(share=0.3)
    erp.advance(share=0.3)
    erp.turn(back_to_version=between)
    assert erp.records(deleted=1) == changed
    assert erp.get("/health")["step"] == 0
    erp.turn(back_to_version=version)
    assert erp.records(deleted=1) == before
    assert erp.get("/records", since_version=between)["as_of_version"] == version < between
    (again,) = erp.push("key", *batch).json()["results"]  # what it answered is gone, too
    assert (erp.get(f"/records/{again['id']}"), again["version"]) == (again["record"], version + 1)
    refused = erp.http.post("/faults", json={"back_to_version": version - 1})
    assert code(refused) == (422, "invalid-switch")


def test_switches_are_checked_shown_and_reset() -> None:
    with upstream("--records", "5", "--fault", "errors=1", "--fault", "rename=DSF_NOS:DSF", "--rate-limit", "9") as erp:
        shown = erp.get("/faults")
        assert (shown["errors"], shown["rename"], shown["rate_limit"]) == (1, "DSF_NOS:DSF", 9)
        wrong: list[dict[str, object]] = [
            {"nonsense": 1},
            {"errors": -1},
            {"errors": True},
            {"auth": ["magic"]},
            {"rename": "X:Y"},
        ]
        wrong += [{"rename": "DSF_NOS:SPENT_AMT"}, {"rate_window_seconds": 0}, {"endless": 1}, {"back_to_version": "1"}]
        for settings in wrong:
            assert code(erp.http.post("/faults", json={"html": 1} | settings)) == (422, "invalid-switch")
        assert erp.http.get("/records").status_code == 500
        assert erp.turn(rename="", errors=4)["errors"] == 4
        assert erp.http.delete("/faults").json()["rename"] == "DSF_NOS:DSF"
        assert erp.http.post("/advance", json={"share": 2}).status_code == 422


@pytest.mark.parametrize("fault", ["nonsense=1", "errors", "errors=x"])
def test_a_wrong_command_line_says_why(fault: str) -> None:
    with pytest.raises(RuntimeError, match=r"^upstream: "):
        Upstream("--records", "5", "--fault", fault)
