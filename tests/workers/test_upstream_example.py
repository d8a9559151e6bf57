"""The HTTP kind of upstream against the example ERP as a process of its own, with what it can be told to get wrong."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from domain.mapping import FieldMapping, MappingInput
from domain.typed_rows import Identities, RecordKey, RowReader, TypedRecord, differences
from domain.upstreams import upstream_of
from examples.upstream.fields import COLUMNS
from tests import schedules
from workers.upstreams.egress import Egress
from workers.upstreams.opening import opened
from workers.upstreams.upstream import (
    Batch,
    Broken,
    Change,
    Credentials,
    Denied,
    Outcome,
    Scope,
    Unavailable,
    Upstream,
    UpstreamError,
)

ROOT = Path(__file__).parents[2]
LOOPBACK = Egress([ip_network("127.0.0.0/8")])
CONNECTION = UUID(int=7)


def _mapping() -> FieldMapping:
    """The mapping of the published export, by the names that this ERP has for its columns."""
    named = {header: column for column, header in COLUMNS.items()}
    fields = [each | {"upstream": named[each["upstream"]]} for each in schedules.SENT["fields"]]
    sent = {"fields": fields, "identity": ["id"], "version_column": "version"}
    return MappingInput.model_validate_json(json.dumps(sent)).as_mapping(1)


MAPPING = _mapping()


class Erp:
    """A running one."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, trust_env=False)

    def fault(self, **switches: Any) -> None:
        assert self._client.post("/faults", json=switches).raise_for_status()

    def advance(self, **how: Any) -> dict[str, Any]:
        found: dict[str, Any] = self._client.post("/advance", json=how).raise_for_status().json()
        return found

    def version_of(self, id: str) -> int:
        return int(self._client.get(f"/records/{id}").raise_for_status().json()["version"])

    def revoke(self) -> None:
        self._client.delete("/oauth/tokens").raise_for_status()

    def close(self) -> None:
        self._client.close()


@contextmanager
def running(*options: str) -> Iterator[Erp]:
    """It ends with the block."""
    command = [sys.executable, "-m", "examples.upstream", "--port", "0", *options]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ | {"TZ": "UTC"})
    assert process.stdout is not None
    try:
        erp = Erp(json.loads(process.stdout.readline())["url"])
        yield erp
        erp.close()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)
        process.stdout.close()


@pytest.fixture
def erp() -> Iterator[Erp]:
    """With 1,000 records made up."""
    with running() as found:
        yield found


def kind(erp: Erp, credentials: Credentials | None = None, **other: Any) -> Upstream:
    sent: dict[str, Any] = {
        "kind": "http", "url": erp.url, "size": 300, "paging": {"by": "cursor"}, "auth": {"by": "nothing"},
        "changes": {"at": "as_of_version", "parameter": "since_version", "parameters": {"deleted": "1"}},
        "push": {}, "limits": {"first_wait_seconds": 0.001, "attempts_max": 3, "wait_seconds_max": 5},
    }  # fmt: skip
    config = upstream_of(json.dumps(sent | other))
    return opened(config, credentials or Credentials(), MAPPING, egress=LOOPBACK, folders=[])


async def fetched(upstream: Upstream, since: str | None = None) -> list[Batch]:
    try:
        return [batch async for batch in upstream.fetch(since)]
    finally:
        await upstream.close()


async def refusal(upstream: Upstream, since: str | None = None) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await fetched(upstream, since)
    return caught.value


def ids(batches: Sequence[Batch]) -> list[object]:
    return [row["id"] for batch in batches for row in batch.rows]


@pytest.mark.parametrize(
    "paging", [{"by": "cursor"}, {"by": "page"}, {"by": "page", "pages_at": "pages"}, {"by": "link"}]
)
async def test_every_way_of_paging_gives_the_same_records(erp: Erp, paging: dict[str, Any]) -> None:
    batches = await fetched(kind(erp, paging=paging))
    assert len(set(ids(batches))) == len(ids(batches)) == 1_000
    reader = RowReader(MAPPING)
    assert all(reader.typed(row)[1] == () for batch in batches for row in batch.rows)
    for place in range(1, len(batches)):
        assert ids(await fetched(kind(erp, paging=paging), batches[place - 1].cursor)) == ids(batches[place:])


async def test_the_next_fetch_is_what_changed_and_what_is_gone(erp: Erp) -> None:
    first = await fetched(kind(erp))
    (nothing,) = await fetched(kind(erp), first[-1].cursor)
    assert (nothing.scope, nothing.rows) == (Scope.CHANGES, ())
    erp.advance(share=0.2)
    later = await fetched(kind(erp), nothing.cursor)
    before = {row["id"]: row for batch in first for row in batch.rows}
    after = {row["id"]: row for batch in await fetched(kind(erp)) for row in batch.rows}
    assert {row["id"] for batch in later for row in batch.tombstones} == before.keys() - after.keys() != set()
    moved = {id for id in after if before.get(id) != after[id]}
    assert set(ids(later)) == moved


async def test_what_passes_is_got_over(erp: Erp) -> None:
    for switches in [{"errors": 2}, {"drops": 2}, {"slow_ms": 20}]:
        erp.fault(**switches)
        assert len(ids(await fetched(kind(erp)))) == 1_000
    erp.fault(errors=99)
    assert (await refusal(kind(erp))).code == "upstream.failing"


@pytest.mark.parametrize(
    ("switches", "code", "kind_of"),
    [
        ({"html": 1}, "html-answered", Unavailable),
        ({"endless": True}, "page-repeated", Broken),
        ({"repeat_pages": 1}, "page-repeated", Broken),
        ({"rename": "BUDGET_AMT:BUDGET"}, "schema-changed", Broken),
        ({"auth": ["key"]}, "unauthorised", Denied),
    ],
)  # fmt: skip
@pytest.mark.parametrize("paging", [{"by": "cursor"}, {"by": "page"}, {"by": "link"}])
async def test_what_does_not_pass_has_a_code(
    erp: Erp, switches: dict[str, Any], code: str, kind_of: type[UpstreamError], paging: dict[str, Any]
) -> None:
    erp.fault(**switches)
    error = await refusal(kind(erp, paging=paging))
    assert (error.code, type(error)) == (f"upstream.{code}", kind_of)


async def test_an_upstream_that_was_restored_from_a_backup_is_noticed(erp: Erp) -> None:
    first = await fetched(kind(erp))
    version = json.loads(first[-1].cursor)["watermark"]
    erp.advance()
    second = await fetched(kind(erp), first[-1].cursor)
    erp.fault(back_to_version=int(version))
    assert (await refusal(kind(erp), second[-1].cursor)).code == "upstream.went-back"
    assert ids(await fetched(kind(erp))) == ids(first)


@pytest.mark.parametrize(
    ("way", "auth", "credentials"),
    [
        ("key", {"by": "api-key", "header": "X-API-Key"}, Credentials("", "example-key")),
        ("basic", {"by": "basic"}, Credentials("example", "example-password")),
        ("oauth2", {"by": "oauth2"}, Credentials("example-client", "example-secret")),
    ],
)  # fmt: skip
async def test_credentials(erp: Erp, way: str, auth: dict[str, Any], credentials: Credentials) -> None:
    erp.fault(auth=[way])
    auth = auth | ({"token_url": f"{erp.url}/oauth/token"} if way == "oauth2" else {})
    upstream = kind(erp, credentials, auth=auth)
    batches = upstream.fetch()
    await anext(batches)
    erp.revoke()
    assert len([row async for batch in batches for row in batch.rows]) == 700
    await upstream.close()
    wrong = Credentials(credentials.name, "wrong")
    assert (await refusal(kind(erp, wrong, auth=auth))).code == "upstream.unauthorised"


async def test_its_limit_is_kept(erp: Erp) -> None:
    erp.fault(rate_limit=2, rate_window_seconds=1)
    assert len(ids(await fetched(kind(erp)))) == 1_000
    erp.fault(rate_limit=1, rate_window_seconds=60)
    error = await refusal(kind(erp))
    assert isinstance(error, Unavailable)
    assert error.code == "upstream.rate-limited"
    assert 50 < (error.retry_after_seconds or 0) <= 60


async def _changes(erp: Erp, count: int, **fields: object) -> list[Change]:
    (batch, *_) = await fetched(kind(erp, size=1000))
    open_ones = [row for row in batch.rows if row["STATUS_CD"] != "Complete"][:count]
    return [
        Change(record=f"ours {row['id']}", identity={"id": row["id"]}, version=str(row["version"]), fields=fields)
        for row in open_ones
    ]


async def test_a_push_is_done_once_whatever_happens_on_the_way(erp: Erp) -> None:
    here = {"only": "/changes"}
    for switches in [{"half_batches": 1} | here, {"drops": 1} | here, {"errors": 1} | here]:
        changes = await _changes(erp, 40, EST_FINAL_AMT=f"{len(str(switches))}.25")
        erp.fault(**switches)
        upstream = kind(erp)
        results = await upstream.push(changes, f"key {json.dumps(switches)}")
        again = await upstream.push(changes, f"key {json.dumps(switches)}")
        await upstream.close()
        erp.fault(only="")
        assert [each.outcome for each in results] == [Outcome.CONFIRMED] * 40
        assert again == results
        assert all(
            erp.version_of(str(each.identity["id"])) == int(result.version or 0)
            for each, result in zip(changes, results, strict=True)
        )


async def test_each_change_is_answered_for_itself(erp: Erp) -> None:
    fine, refused, stale, unknown = await _changes(erp, 4, EST_FINAL_AMT="7.50")
    sent = [
        fine,
        Change(record="refused", identity=refused.identity, version=refused.version, fields={"EST_FINAL_AMT": "much"}),
        Change(record="stale", identity=stale.identity, version="0", fields=stale.fields),
        Change(record="unknown", identity={"id": "PFA-0"}, version=unknown.version, fields=unknown.fields),
    ]
    upstream = kind(erp)
    results = await upstream.push(sent, "one")
    assert [(each.outcome, each.code) for each in results] == [
        (Outcome.CONFIRMED, None), (Outcome.REFUSED, "invalid-value"), (Outcome.CONFLICT, None),
        (Outcome.REFUSED, "unknown-record"),
    ]  # fmt: skip
    assert results[2].theirs is not None
    assert results[2].version == str(results[2].theirs["version"]) == stale.version
    erp.fault(short_answers=1)
    short = await upstream.push(await _changes(erp, 9, EST_FINAL_AMT="8.50"), "two")
    assert [each.outcome for each in short] == [Outcome.CONFIRMED] * 6 + [Outcome.UNKNOWN] * 3
    await upstream.close()


async def records(erp: Erp) -> dict[UUID, TypedRecord]:
    reader, identities = RowReader(MAPPING), Identities(MAPPING, CONNECTION)
    found = {}
    for batch in await fetched(kind(erp, size=5_000)):
        for row in batch.rows:
            key = identities.of(row)
            assert isinstance(key, RecordKey)
            record, faults = reader.typed(row)
            assert faults == ()
            found[key.id] = TypedRecord(record.values)
    return found


@pytest.mark.parametrize("folder", schedules.FOLDERS)
async def test_published_schedules_over_http(folder: Path) -> None:
    """June, then September; and September in another dress is September still."""
    with running("--data", str(folder)) as plain, running("--data", str(folder), "--money", "dollars") as dressed:
        june = await records(plain)
        plain.advance()
        dressed.advance()
        september = await records(plain)
        common = june.keys() & september.keys()
        updated = sum(bool(differences(june[id], september[id])) for id in common)
        assert len(june) == 13_153
        assert (updated, len(common) - updated, len(september) - len(common), len(june) - len(common)) == (
            6_453, 5_522, 1_663, 1_178,
        )  # fmt: skip
        assert await records(dressed) == september
