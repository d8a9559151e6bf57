"""An event can be proved by whoever holds what `/log/{position}` gives: nothing but SHA-256 is needed."""

import base64
import hashlib
import struct
from typing import Any
from uuid import UUID

from tests.api.callers import Company, problem


def leaf(proof: dict[str, Any]) -> str:
    """The leaf hash, computed anew from layout 1 (see the migration that defines it)."""
    event, salt = proof["event"], bytes.fromhex(proof["salt"])
    kind = event["type"].encode()

    def body(number: int, text: str) -> bytes:
        own = hashlib.sha256(salt + bytes([number])).digest()[:16]
        return hashlib.sha256(own + base64.b64decode(text)).digest()

    named = [event[name] for name in ("tenant", "id", "subject", "actor", "commandid")]
    tenant, event_id, stream, actor, command = (UUID(each).bytes for each in named)
    return hashlib.sha256(
        b"\x00\x01" + tenant + struct.pack(">q", event["position"]) + event_id + stream
        + struct.pack(">ih", event["streamversion"], len(kind)) + kind
        + struct.pack(">hq", event["schemaversion"], proof["recorded_at_microseconds"]) + actor + command
        + body(1, proof["payload_base64"]) + body(2, proof["metadata_base64"])
    ).hexdigest()  # fmt: skip


def test_every_leaf_can_be_computed_again(company: Company) -> None:
    company.estimate()
    for position in range(1, company.head() + 1):
        proof = company.auditor.get(f"/log/{position}").json()
        assert leaf(proof) == proof["leaf"] == proof["event"]["leaf"]


def test_a_receipts_leaves_are_the_logs(company: Company) -> None:
    receipt = company.operator.done("project", company.id.__class__(int=7), "create-project", {"name": "A"}).json()
    assert [company.auditor.get(f"/log/{receipt['position']}").json()["leaf"]] == receipt["leaves"]


def test_an_event_that_is_not_there(company: Company) -> None:
    auditor = company.auditor
    problem(auditor.get(f"/log/{company.head() + 1}"), 422, "position.ahead")
    problem(auditor.get("/log/0"), 404, "thing.unknown")
    problem(auditor.get("/log/first"), 404, "route.unknown")
