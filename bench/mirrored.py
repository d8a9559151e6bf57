"""A company of the product whose records are mirrored from a folder, and what its people do with them, over HTTP."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode
from uuid import UUID, uuid4

import uvloop

from bench import records
from bench.client import Connection, request
from bench.measure import Sample
from bench.product import Member, Product
from cairn.client import Client, Command, token_of
from domain.drafts_events import drafts_of
from domain.mirror_events import mirror_of

PATIENCE_SECONDS = 3_600
LOOK_SECONDS = 0.2
PAGE = 100
_OVER = {"finished", "failed", "cancelled"}


class Mirrored:
    """One company, one connection; `asking` is whose drafts there are."""

    def __init__(self, product: Product, name: str) -> None:
        self.product = product
        product.company = self.company = uuid4()
        product.found_company(0)
        self.token = product.token
        self.owner = Client(product.url, self.token, timeout_seconds=PATIENCE_SECONDS)
        self.connection = uuid4()
        self.mirror = mirror_of(self.connection)
        self.asking = product.member("owner")
        self._name = name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.owner.http.close()

    def connect(self, upstream: Mapping[str, Any], mapping: Mapping[str, Any]) -> None:
        """Opens the connection and says what its columns mean."""
        self._tell("open-connection", {"name": self._name, "upstream": upstream})
        self._tell("set-mapping", {"mapping": mapping})

    def _tell(self, verb: str, body: Mapping[str, Any]) -> None:
        self.owner.send(Command("connection", self.connection, verb, body))

    def sync(self, mode: str = "full") -> dict[str, Any]:
        """Runs a sync to its end, until a page of records shows it. The run, with `seconds`. Raises RuntimeError."""
        run, began = uuid4(), time.perf_counter()
        body = {"connection_id": str(self.connection), "run_id": str(run), "mode": mode}
        epoch = self.owner.send(Command("mirror", self.mirror, "request-sync", body))["epoch"]
        while True:
            answer = self.owner.http.get(f"/connections/{self.connection}/runs/{run}")
            found: dict[str, Any] = answer.json() if answer.is_success else {"status": "requested"}
            if found["status"] in _OVER:
                break
            if time.perf_counter() - began > PATIENCE_SECONDS:
                raise RuntimeError(f"the sync goes on and on: {found}")
            time.sleep(LOOK_SECONDS)
        if found["status"] != "finished" or found["counts"]["faulty"]:
            raise RuntimeError(f"the sync did not go well: {found}")
        self.until(f"{epoch}.{answer.headers['cairn-position']}")
        return found | {"seconds": time.perf_counter() - began}

    def until(self, token: str) -> None:
        """Waits until pages show what a token says."""
        while True:
            answer = self.owner.http.get(self.path(limit=1), headers={"Cairn-After": token})
            if answer.is_success:
                return
            if answer.status_code != 503:
                raise RuntimeError(answer.text)

    def look(self, path: str, newer_than: str | None = None) -> dict[str, Any]:
        """What the asking user sees. Raises RuntimeError."""
        after = {} if newer_than is None else {"Cairn-After": newer_than}
        answer = self.owner.http.get(path, headers=self.headers() | after)
        if not answer.is_success:
            raise RuntimeError(f"{path}: {answer.status_code} {answer.text}")
        found: dict[str, Any] = answer.json()
        return found

    def position(self) -> int:
        """The one that pages are of now."""
        return int(self.look(self.path(limit=1))["position"])

    def path(self, part: str = "records", **query: object) -> str:
        """Of what is asked of the connection."""
        asked = urlencode({name: value for name, value in query.items() if value is not None}, doseq=True)
        return f"/connections/{self.connection}/{part}" + (f"?{asked}" if asked else "")

    def headers(self, member: Member | None = None) -> dict[str, str]:
        """What a query of the asking user carries, or of another."""
        return {"authorization": f"Bearer {(member or self.asking).token}"}

    def asks(self, paths: Sequence[str], member: Member | None = None) -> list[bytes]:
        """Requests of one user."""
        return [request("GET", path, self.headers(member)) for path in paths]

    def record_id(self, number: int, made: Mapping[str, Any] | None = None) -> UUID:
        """The id of a record of `records`."""
        row = dict(made) if made is not None else records.row(number)
        return records.id_of(self.connection, row, repeats=records.repeats(number))

    def drafts_body(self, drafts: Mapping[UUID, Mapping[str, Any]], position: int | None = None) -> dict[str, Any]:
        """What saves drafts."""
        each = [{"record_id": str(id), "fields": dict(fields)} for id, fields in drafts.items()]
        return {"connection_id": str(self.connection), "position": position, "drafts": each}

    def save(self, drafts: Mapping[UUID, Mapping[str, Any]], member: Member | None = None) -> tuple[str, float]:
        """Saves drafts in one request. The token of the receipt, and seconds."""
        who = member or self.asking
        with Client(self.product.url, who.token, timeout_seconds=PATIENCE_SECONDS) as user:
            command = Command(
                "drafts", drafts_of(who.id, self.connection), "save-drafts", self.drafts_body(drafts), uuid4()
            )
            began = time.perf_counter()
            receipt = user.send(command)
            return token_of(receipt), time.perf_counter() - began

    def saving(self, member: Member, body: bytes) -> bytes:
        """A request that saves drafts; the load generator fills its places."""
        stream = drafts_of(member.id, self.connection)
        return request("POST", f"/commands/drafts/{stream}/save-drafts", self.product.headers(member.token), body)

    def asked(self, requests: Sequence[bytes]) -> Sample:
        """One client asks one after the other."""
        return uvloop.run(self._ask(requests))

    async def _ask(self, requests: Sequence[bytes]) -> Sample:
        connection = await Connection.to(self.product.host, self.product.port)
        latencies = []
        began = time.perf_counter()
        for each in requests:
            sent = time.perf_counter()
            await connection.ask(each)
            latencies.append(time.perf_counter() - sent)
        seconds = time.perf_counter() - began
        connection.close()
        return Sample(count=len(latencies), seconds=seconds, latencies=latencies)


def folder_upstream(folder: Path) -> dict[str, Any]:
    """How exports of a folder are read."""
    return {"kind": "folder", "folder": str(folder), "pattern": "*.csv", "encoding": "utf-8", "delimiter": ","}


@contextmanager
def watched(product: Product) -> Iterator[dict[str, int]]:
    """The largest resident set of each process meanwhile, and of all of them at once."""
    most: dict[str, int] = {}
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(0.25):
            found = product.memory_bytes()
            for name, used in (found | {"together": sum(found.values())}).items():
                most[name] = max(most.get(name, 0), used)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        stop.set()
        thread.join()
