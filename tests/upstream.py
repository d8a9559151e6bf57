"""The example ERP as a process of its own, called over HTTP."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parent.parent
PATIENCE_SECONDS = 60
PUBLISHED = Path(os.environ.get("CAIRN_SAMPLE_DATA", ROOT.parent / "shared" / "data")) / "nyc-sca-phase-schedules"
"""The two published exports, where they are at hand."""

Record = dict[str, Any]


class Upstream:
    """One running server. `ready` is the line it printed."""

    def __init__(self, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "examples.upstream", "--port", "0", *options],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.refusal = self.process.communicate(timeout=PATIENCE_SECONDS)[1]
            raise RuntimeError(self.refusal)
        self.ready: dict[str, Any] = json.loads(line)
        self.http = httpx.Client(base_url=self.ready["url"], timeout=PATIENCE_SECONDS)

    def get(self, path: str, **parameters: Any) -> dict[str, Any]:
        """The document at a path, which must be there."""
        answer = self.http.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def turn(self, **switches: Any) -> dict[str, Any]:
        """Turns switches; all of them as they then stand."""
        answer = self.http.post("/faults", json=switches)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def advance(self, **wishes: Any) -> dict[str, Any]:
        """What an advance did."""
        answer = self.http.post("/advance", json=wishes)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def pages(self, **parameters: Any) -> Iterator[dict[str, Any]]:
        """A walk by cursor, to its end."""
        while True:
            page = self.get("/records", **parameters)
            yield page
            if page["next_cursor"] is None:
                return
            parameters = {"cursor": page["next_cursor"], "per_page": page["per_page"]}

    def records(self, **parameters: Any) -> dict[str, Record]:
        """What a walk by cursor lists, by id."""
        return {record["id"]: record for page in self.pages(per_page=5000, **parameters) for record in page["records"]}

    def record(self, status: str = "In-Progress", number: int = 0) -> Record:
        """One of those that have that status and amounts."""
        found = [each for each in self.records().values() if each["STATUS_CD"] == status and each["SPENT_AMT"]]
        return found[number]

    def push(self, key: str, *changes: dict[str, Any]) -> httpx.Response:
        """One batch."""
        return self.http.post("/changes", json={"changes": changes}, headers={"Idempotency-Key": key})

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends a signal and waits; the exit code."""
        self.http.close()
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=PATIENCE_SECONDS)
        assert said == "", said
        return self.process.returncode


@contextmanager
def upstream(*options: str) -> Iterator[Upstream]:
    """A server that is stopped in the end, as whoever runs it would."""
    running = Upstream(*options)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.stop()


def edit(record: Record, **fields: Any) -> dict[str, Any]:
    """A change of a record as it was read."""
    return {"id": record["id"], "version": record["version"], "fields": fields}
