"""A thousand drafts on their way to the example ERP: as a changeset, and as a program would send them by itself."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

import httpx

from bench.measure import Line, Options, ratios
from bench.mirrored import Mirrored
from bench.product import ROOT, Product
from cairn.client import Client, Command, token_of
from domain.drafts_events import drafts_of
from domain.typed_rows import record_id
from examples.upstream.fields import WITHHELD

DRAFTS: Final = 1_000
BATCH: Final = 500
"""A connection's default, on both sides."""
SLOW_MILLISECONDS: Final = 5 * BATCH
"""What a request takes an ERP that spends 5 ms on each change: real ones check, book and index. Beside what the example
takes, which does next to nothing.
"""
WAIT_SECONDS: Final = 15
MAPPING: Final = {
    "fields": [
        {"upstream": "PHASE_NM", "name": "category", "type": "category", "feeds": "category"},
        {"upstream": "PROJ_TYPE", "name": "source", "type": "category", "feeds": "source"},
        {"upstream": "STATUS_CD", "name": "record_class", "type": "category", "feeds": "record_class"},
        {"upstream": "SCHOOL_NM", "name": "area", "type": "category", "feeds": "area"},
        {"upstream": "PROJ_DESC", "name": "description", "type": "text", "feeds": "description"},
        {
            "upstream": "EST_FINAL_AMT",
            "name": "forecast_cost",
            "type": "money",
            "feeds": "forecast_cost",
            "unit": "USD",
            "decimal_sign": "point",
        },
    ],
    "identity": ["id"],
    "missing": [{"word": word, "reason": f"not published: {word}"} for word in sorted(WITHHELD)],
    "version_column": "version",
}


def commit_lines(product: Product, options: Options) -> list[Line]:
    """In turns, on different records of one ERP."""
    with _erp(2 * DRAFTS) as url, Mirrored(product, "ERP") as mirrored, httpx.Client(base_url=url, timeout=60) as erp:
        mirrored.connect(
            {
                "kind": "http",
                "url": url,
                "paging": {"by": "cursor"},
                "changes": {"at": "as_of_version", "parameter": "since_version", "parameters": {"deleted": "1"}},
                "auth": {"by": "nothing"},
                "push": {"path": "/changes", "batch_max": BATCH},
            },
            MAPPING,
        )
        mirrored.sync()
        records = list(_records(erp))
        mine, theirs = records[:DRAFTS], records[DRAFTS:]
        plain, slow = (_Turns([], []) for _ in range(2))
        for turn in range(1, 2 * options.rounds + 1):
            slowed = turn % 2 == 0
            erp.post("/faults", json={"slow_ms": SLOW_MILLISECONDS if slowed else 0}).raise_for_status()
            turns = slow if slowed else plain
            turns.pushed.append(_pushed(erp, theirs, turn))
            turns.committed.append(_committed(mirrored, [str(each["id"]) for each in mine], turn))
        _must_have_arrived(erp, mine, 2 * options.rounds)
    return [
        *_lines("the example ERP's own time", plain),
        *_lines("the time of an ERP that takes 5 ms a change", slow),
    ]


class _Turns(NamedTuple):
    """Seconds of each turn."""

    committed: list[float]
    pushed: list[float]


def _lines(own: str, turns: _Turns) -> list[Line]:
    ratio = ratios(turns.committed, turns.pushed)
    return [
        Line(label=f"commit of 1,000 drafts, beside {own}", unit="s", values=turns.committed),
        Line(label=f"{own}, batches of {BATCH}", unit="s", values=turns.pushed),
        Line(label=f"commit / {own}", unit="×", values=ratio, goal=1.5, at_most=True),
    ]


@contextmanager
def _erp(count: int) -> Iterator[str]:
    """The example ERP with so many records. Its address."""
    command = [sys.executable, "-m", "examples.upstream", "--port", "0", "--records", str(count)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield str(json.loads(process.stdout.readline())["url"])
        finally:
            process.terminate()


def _records(erp: httpx.Client) -> Iterator[dict[str, Any]]:
    parameters: dict[str, Any] = {"per_page": 5_000}
    while True:
        page = erp.get("/records", params=parameters).raise_for_status().json()
        yield from page["records"]
        if page["next_cursor"] is None:
            return
        parameters = {"cursor": page["next_cursor"]}


def _cost(turn: int, place: int) -> str:
    return f"{10_000_000 * turn + place}.75"


def _pushed(erp: httpx.Client, records: Sequence[dict[str, Any]], turn: int) -> float:
    """Straight to the ERP, one batch after the other. Seconds; each record's version is kept for the next turn."""
    began = time.perf_counter()
    for number, start in enumerate(range(0, len(records), BATCH)):
        batch = records[start : start + BATCH]
        changes = [
            {"id": each["id"], "version": each["version"], "fields": {"EST_FINAL_AMT": _cost(turn, start + place)}}
            for place, each in enumerate(batch)
        ]
        key = {"Idempotency-Key": f"bench-{turn}-{number}"}
        results = erp.post("/changes", json={"changes": changes}, headers=key).raise_for_status().json()["results"]
        for each, result in zip(batch, results, strict=True):
            assert result["status"] == "confirmed", result
            each["version"] = result["version"]
    return time.perf_counter() - began


def _committed(mirrored: Mirrored, ids: Sequence[str], turn: int) -> float:
    """From the command that opens the changeset until every record of it is answered. Seconds."""
    drafts: Mapping[UUID, Mapping[str, Any]] = {
        record_id(mirrored.connection, (id,), 1): {"forecast_cost": _cost(turn, place)} for place, id in enumerate(ids)
    }
    mirrored.until(mirrored.save(drafts)[0])
    changeset = uuid4()
    body = {
        "connection_id": str(mirrored.connection),
        "drafts_id": str(drafts_of(mirrored.asking.id, mirrored.connection)),
    }
    with Client(mirrored.product.url, mirrored.asking.token) as user:
        began = time.perf_counter()
        token = token_of(user.send(Command("changeset", changeset, "open-changeset", body)))
        found: dict[str, Any] = {"status": "open"}
        while found["status"] == "open":
            found = mirrored.look(f"/changesets/{changeset}?wait_seconds={WAIT_SECONDS}", token)
            assert not found["records"]["conflict"], found
        seconds = time.perf_counter() - began
        answer = user.http.get("/changesets")
    mirrored.until(f"{token.partition('.')[0]}.{answer.headers['cairn-position']}")  # the next drafts are upon these
    assert found["status"] == "finished", found
    return seconds


def _must_have_arrived(erp: httpx.Client, records: Sequence[dict[str, Any]], turn: int) -> None:
    """The ERP says what was drafted last."""
    wanted = {str(each["id"]): _cost(turn, place) for place, each in enumerate(records)}
    found = {str(each["id"]): each["EST_FINAL_AMT"] for each in _records(erp)}
    assert {id: found[id] for id in wanted} == wanted
