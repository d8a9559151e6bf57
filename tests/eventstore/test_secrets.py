"""A connection's secret: sealed in the log, in clear for who acts on it, and shown nowhere."""

from uuid import UUID, uuid4

import msgspec
import pytest

from domain.connection import Connection, CredentialsInput, OpenConnection, ReplaceCredentials, ReviseConnection
from domain.connection_events import CredentialsReplaced
from domain.decider import WITHHELD, Ref
from domain.upstreams import FolderUpstream
from eventstore import codec, envelope, log
from eventstore.keyring import minted
from eventstore.transact import Store
from eventstore.vault import FORM
from tests import keys
from tests.eventstore.conftest import open_store, send

FIRST, SECOND = "canary one of the tests", "canary two of the tests"
OPEN = OpenConnection(
    name="ERP",
    upstream=FolderUpstream(kind="folder", folder="exports"),
    credentials=CredentialsInput(username="cairn", secret=FIRST),
)


@pytest.fixture
def erp() -> Ref:
    """A connection of the test's own."""
    return Ref("connection", uuid4())


async def credentials(store: Store, tenant: UUID, erp: Ref) -> tuple[str, str]:
    """User name and secret, as a worker gets them."""
    state = await store.state(tenant, erp)
    assert isinstance(state, Connection)
    assert state.credentials is not None
    return state.credentials.username, state.credentials.secret


async def test_a_worker_gets_what_was_given_last(database_url: str, store: Store, tenant: UUID, erp: Ref) -> None:
    await send(store, tenant, "connection", erp.id, OPEN)
    async with open_store(database_url) as worker:
        assert await credentials(worker, tenant, erp) == ("cairn", FIRST)
        await send(store, tenant, "connection", erp.id, ReplaceCredentials(username="cairn", secret=SECOND))
        assert await credentials(worker, tenant, erp) == ("cairn", SECOND)
        moved = ReviseConnection(name="Another ERP")
        await send(worker, tenant, "connection", erp.id, moved)
        assert await credentials(store, tenant, erp) == ("cairn", SECOND)


async def test_the_log_has_it_sealed_and_no_snapshot_has_it(database_url: str, tenant: UUID, erp: Ref) -> None:
    async with open_store(database_url, settings={"snapshot_every_events": 1}) as store:
        await send(store, tenant, "connection", erp.id, OPEN)
        for number in range(3):
            await send(store, tenant, "connection", erp.id, ReviseConnection(name=f"ERP {number}"))
    async with open_store(database_url, settings={"snapshot_every_events": 1}) as store:
        assert await credentials(store, tenant, erp) == ("cairn", FIRST)
        async with store.writer.bound(tenant) as reader:
            page = await log.read_log(reader)
            assert await reader.tuples(b"select count(*) from cairn.snapshots", {}) == [(0,)]
            shown = await keys.vault().shown_rows(reader, page)
    assert FIRST.encode() not in b"".join(stored.row[11] for stored in page)
    assert FORM in page[1].row[11].decode()
    assert list(shown) == page  # nothing of it is opened


async def test_whoever_is_shown_the_event_sees_that_there_is_a_secret(store: Store, tenant: UUID, erp: Ref) -> None:
    await send(store, tenant, "connection", erp.id, OPEN)
    async with store.writer.bound(tenant) as reader:
        _, stored = await log.read_log(reader)
    told = msgspec.json.decode(envelope.envelope_of(stored, 1))
    assert told["data"] == {"type": "connection.credentials-replaced", "username": "cairn", "secret": WITHHELD}
    assert envelope.envelope(stored.decoded(), 1) == envelope.envelope_of(stored, 1)
    assert codec.withheld("connection.opened", b"{}") == b"{}"


async def test_wrapping_keys_anew_leaves_it_readable(database_url: str, store: Store, tenant: UUID, erp: Ref) -> None:
    await send(store, tenant, "connection", erp.id, OPEN)
    async with store.writer.bound(tenant) as reader:
        before = await log.read_log(reader)
    new = minted()
    assert await keys.vault(new, keys.KEK).rewrap(store.writer, tenant) == 2  # the connection's and the company's
    async with open_store(database_url, vault=keys.vault(new)) as worker:
        assert await credentials(worker, tenant, erp) == ("cairn", FIRST)
        async with worker.writer.bound(tenant) as reader:
            assert await log.read_log(reader) == before


async def test_the_digest_of_a_request_tells_nothing_of_it(store: Store, tenant: UUID, erp: Ref) -> None:
    await send(store, tenant, "connection", erp.id, OPEN)
    async with store.writer.bound(tenant) as reader:
        ((kept,),) = await reader.tuples(b"select request_hash from cairn.events where request_hash is not null", {})
    assert kept != b"request1"


def test_the_schema_says_that_it_is_withheld() -> None:
    schema = envelope.schema_of(CredentialsReplaced)
    field = schema["$defs"]["CredentialsReplaced"]["properties"]["secret"]
    assert (field["x-secret"], field["x-sensitive"], WITHHELD in field["description"]) == (True, "stream", True)
