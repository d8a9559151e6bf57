"""The broker keeps what it gets for long: it gets what is about a person sealed, and so does whoever copies from it."""

from typing import Any
from uuid import UUID, uuid4

import msgspec

from domain.decider import Role
from domain.membership import AddMember
from eventstore import envelope, log
from eventstore.vault import FORM
from tests.eventstore.conftest import open_store, send
from tests.workers.outside import reaches, relaying, stream_of


async def test_the_broker_gets_sealed_text(database_url: str, nats_server: Any, tenant: UUID) -> None:
    member = uuid4()
    async with open_store(database_url) as store:
        adding = AddMember(name="Ada Winters", email="ada@northern.example", role=Role.OWNER)
        await send(store, tenant, "membership", member, adding)
        async with store.writer.bound(tenant) as reader:
            (stored,) = await log.read_log(reader)
    async with relaying(database_url, nats_server.url), stream_of(nats_server.url) as stream:
        await reaches(stream, tenant, 1)
        message = await stream.last(envelope.events_of(tenant))
    assert message is not None
    assert message.body.endswith(b'"data":' + stored.decoded().payload + b"}")
    data = msgspec.json.decode(message.body)["data"]
    assert (data["name"][: len(FORM)], data["email"][: len(FORM)], data["role"]) == (FORM, FORM, "owner")
    assert b"Ada" not in message.body
    assert b"northern" not in message.body
