"""What is about a person: sealed where it is stored, opened only in its own place, gone with its key."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.decider import ERASED, Rejected, Role
from domain.membership import AddMember, ChangeRole, ForgetMember, MemberAdded, RemoveMember
from eventstore import log
from eventstore.actors import OPERATOR
from eventstore.db import Database, Unavailable
from eventstore.keyring import Unopenable, keyring_of, minted
from eventstore.log import Metadata
from eventstore.settings import SettingsError
from eventstore.transact import Context, Store
from eventstore.vault import FORM, UNREADABLE, Key, Keyless, Keys, Origin, Vault
from tests import keys
from tests.eventstore.conftest import context, open_store, send
from tests.eventstore.units import as_role

TENANT, ADA, BERT = UUID(int=1), UUID(int=2), UUID(int=3)
ADDED = "membership.added"
ADD = AddMember(name="Ada Winters", email="ada@northern.example", role=Role.OWNER)
BODIES = {ADA: secrets.token_bytes(32), BERT: secrets.token_bytes(32)}


def held(tenant: UUID = TENANT) -> Keys:
    """Keys of two people."""
    return Keys(tenant, {person: Key(body) for person, body in BODIES.items()})


texts = st.text(st.characters(codec="utf-8"))


@given(texts)
def test_what_was_sealed_opens(text: str) -> None:
    sealed = held().seal(ADA, ADDED, "name", text)
    assert sealed.startswith(FORM)
    assert held().open(ADA, ADDED, "name", sealed) == text
    assert sealed != held().seal(ADA, ADDED, "name", text)  # equal texts don't show


@given(texts, st.data())
def test_what_was_altered_does_not_open(text: str, data: st.DataObject) -> None:
    sealed = held().seal(ADA, ADDED, "name", text)
    at = data.draw(st.integers(len(FORM), len(sealed) - 2))  # the last letter has bits that say nothing
    letter = data.draw(st.characters(codec="ascii").filter(lambda letter: letter != sealed[at]))
    altered = sealed[:at] + letter + sealed[at + 1 :]
    with pytest.raises(Unopenable):
        held().open(ADA, ADDED, "name", altered)
    assert held().shown(ADA, ADDED, "name", altered) == UNREADABLE


@pytest.mark.parametrize(
    ("keys_of", "subject", "kind", "field"),
    [
        (held(UUID(int=9)), ADA, ADDED, "name"),
        (held(), BERT, ADDED, "name"),
        (held(), ADA, "membership.removed", "name"),
        (held(), ADA, ADDED, "email"),
        (held(), UUID(int=4), ADDED, "name"),
        (Keys(TENANT, {ADA: Key(BODIES[BERT])}), ADA, ADDED, "name"),
    ],
    ids=["company", "subject", "event", "field", "nobody", "key"],
)
def test_it_opens_in_its_own_place_only(keys_of: Keys, subject: UUID, kind: str, field: str) -> None:
    sealed = held().seal(ADA, ADDED, "name", "Ada Winters")
    with pytest.raises(Unopenable):
        keys_of.open(subject, kind, field, sealed)


def test_who_is_erased_seals_and_opens_to_the_mark() -> None:
    sealed = held().seal(ADA, ADDED, "name", "Ada Winters")
    gone = Keys(TENANT, {ADA: None})
    assert gone.open(ADA, ADDED, "name", sealed) == ERASED
    assert gone.seal(ADA, ADDED, "name", "Ada Winters") == ERASED
    assert gone.shown_origin(ADA, held().seal_origin(ADA, Origin("192.0.2.1", "a"))) == Origin(ERASED, ERASED)
    assert gone.digest(ADA, "request", b"a") == gone.digest(ADA, "request", b"b")


def test_what_was_never_sealed_is_told_as_it_is_until_it_is_erased() -> None:
    assert held().open(ADA, ADDED, "name", "Ada Winters") == "Ada Winters"
    assert Keys(TENANT, {ADA: None}).open(ADA, ADDED, "name", "Ada Winters") == ERASED
    assert Keys(TENANT, {ADA: None}).shown_origin(ADA, '["192.0.2.1","a"]') == Origin(ERASED, ERASED)
    assert held().shown_origin(ADA, None) == Origin()


@given(st.none() | texts, st.none() | texts)
def test_an_origin_opens(ip: str | None, user_agent: str | None) -> None:
    origin = Origin(ip, user_agent)
    assert held().shown_origin(ADA, held().seal_origin(ADA, origin)) == origin


def test_a_sealed_origin_takes_no_more_room_than_a_browsers_in_clear() -> None:
    agent = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0.0.0"
    sealed = Metadata(origin=held().seal_origin(ADA, Origin("203.0.113.77", agent)))
    assert len(msgspec.json.encode(sealed)) < len(msgspec.json.encode(Metadata(ip="203.0.113.77", user_agent=agent)))


def test_digests_differ_by_key_and_purpose() -> None:
    told = {held().digest(who, purpose, b"x") for who in (ADA, BERT) for purpose in ("a", "b")}
    assert len(told) == 4
    assert held().digest(ADA, "a", b"x") in told


def test_a_member_reads_as_sealed_and_back() -> None:
    event = MemberAdded(name="Ada Winters", email="ada@northern.example", role=Role.OWNER)
    sealed = held().sealed_event(ADA, event)
    assert (sealed.role, sealed.name[:9], sealed.email[:9]) == (Role.OWNER, FORM, FORM)
    assert held().opened_event(ADA, sealed) == event


# --- keys in the database ---


@pytest.fixture
async def writer(database_url: str) -> AsyncIterator[Database]:
    """The pool of a process that writes."""
    database = Database(as_role(database_url, "cairn_writer"), name="writer", connections_max=6)
    await database.open()
    yield database
    await database.close()


async def fetched(vault: Vault, database: Database, tenant: UUID, *subjects: UUID) -> Keys:
    async with database.bound(tenant) as reader:
        return await vault.fetch(reader, subjects)


async def test_two_processes_that_make_a_key_at_once_have_one(writer: Database, tenant: UUID) -> None:
    people = [uuid4() for _ in range(5)]
    made = await asyncio.gather(
        *(keys.vault().make(writer, tenant, [*people[at:], tenant]) for at in (0, 1, 2, 0, 1, 2))
    )
    for one in made:
        for other in made:
            assert other.open(people[4], ADDED, "name", one.seal(people[4], ADDED, "name", "Ada")) == "Ada"


async def test_keys_are_made_while_they_are_wrapped_anew(writer: Database, tenant: UUID) -> None:
    vaults = [keys.vault() for _ in range(4)]
    await vaults[0].make(writer, tenant, [tenant])

    async def make(vault: Vault) -> dict[UUID, str]:
        found = {}
        for _ in range(10):
            person = uuid4()
            found[person] = (await vault.make(writer, tenant, [person])).seal(person, ADDED, "name", "Ada")
        return found

    async def rewrap() -> dict[UUID, str]:
        for _ in range(10):
            await vaults[0].rewrap(writer, tenant)
        return {}

    sealed: dict[UUID, str] = {}
    for found in await asyncio.gather(rewrap(), *map(make, vaults[1:])):
        sealed |= found
    opening = await fetched(keys.vault(), writer, tenant, *sealed)
    assert {opening.open(person, ADDED, "name", text) for person, text in sealed.items()} == {"Ada"}


async def test_a_key_is_kept_for_sealing_and_forgotten(writer: Database, tenant: UUID) -> None:
    vault = keys.vault()
    assert vault.held(tenant, [ADA]) is None
    await vault.make(writer, tenant, [ADA])
    assert vault.held(tenant, [ADA]) is not None
    assert vault.held(tenant, [ADA, BERT]) is None
    vault.forget(tenant)
    assert vault.held(tenant, [ADA]) is None


async def test_rewrapping_needs_only_the_new_key_afterwards(writer: Database, store: Store, tenant: UUID) -> None:
    await send(store, tenant, "membership", ADA, ADD)
    async with writer.bound(tenant) as reader:
        before = await log.read_log(reader)
        wrapped = await reader.tuples(b"select wrapped from cairn.tenant_keys", {})
    new = minted()
    assert await keys.vault(new, keys.KEK).rewrap(writer, tenant) == 2  # Ada and the company
    async with writer.bound(tenant) as reader:
        assert await log.read_log(reader) == before
        assert await reader.tuples(b"select wrapped from cairn.tenant_keys", {}) != wrapped
        (shown,) = await keys.vault(new).shown_rows(reader, before)
    assert b'"name":"Ada Winters","email":"ada@northern.example"' in shown.row[11]
    async with writer.connection() as connection:
        await keys.vault(new).check(connection)
        with pytest.raises(SettingsError, match="not among the key-encryption keys given"):
            await keys.vault().check(connection)
    with pytest.raises(Unavailable, match="was not given"):
        await fetched(keys.vault(), writer, tenant, ADA)
    async with open_store(writer.conninfo, vault=keys.vault(new)) as later:
        assert (await send(later, tenant, "membership", ADA, ADD)).first_position is None  # known, and the same


async def test_a_company_without_keys_has_nothing_to_wrap(writer: Database, tenant: UUID) -> None:
    assert await keys.vault().rewrap(writer, tenant) == 0


async def test_nothing_is_erased_that_the_log_does_not_say_was_forgotten(writer: Database, tenant: UUID) -> None:
    await keys.vault().make(writer, tenant, [ADA])
    with pytest.raises(psycopg.DatabaseError, match="does not say") as refused:
        async with writer.bound(tenant) as reader:
            await keys.vault().erase(reader, ADA, by=BERT, reason="requested")
    assert refused.value.sqlstate == "CA004"
    assert not (await fetched(keys.vault(), writer, tenant, ADA)).lacking([ADA])


async def test_an_erased_subject_never_gets_a_key_again(store: Store, writer: Database, tenant: UUID) -> None:
    await forgotten(store, tenant)
    again = await keys.vault().make(writer, tenant, [ADA])
    assert again.seal(ADA, ADDED, "name", "Ada Winters") == ERASED
    with psycopg.connect(writer.conninfo) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("delete from cairn.subject_keys")


async def forgotten(store: Store, tenant: UUID) -> None:
    """Ada, added, removed, forgotten, and her key destroyed as the models in the append do it."""
    for command in (ADD, RemoveMember(), ForgetMember(reason="requested")):
        await send(store, tenant, "membership", ADA, command)
    async with store.writer.bound(tenant) as reader:
        assert await keys.vault().erase(reader, ADA, by=OPERATOR, reason="requested")
        assert not await keys.vault().erase(reader, ADA, by=OPERATOR, reason="requested")


async def test_a_key_that_an_older_backup_brought_back_is_found(store: Store, writer: Database, tenant: UUID) -> None:
    for command in (ADD, RemoveMember(), ForgetMember(reason="requested")):
        await send(store, tenant, "membership", ADA, command)  # nobody destroys the key: as if it had come back
    assert await keys.vault().rewrap(writer, tenant) == 1
    found = await fetched(keys.vault(), writer, tenant, ADA)
    assert found.seal(ADA, ADDED, "name", "Ada") == ERASED


def test_workers_and_readers_have_their_part_of_the_keys(database_url: str) -> None:
    with psycopg.connect(as_role(database_url, "cairn_projector"), autocommit=True) as projector:
        projector.execute("select tenant, subject, number, erased_at from cairn.subject_keys")
        for table in ("subject_keys", "tenant_keys"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                projector.execute(f"select wrapped from cairn.{table}")
    with psycopg.connect(as_role(database_url, "cairn_reader"), autocommit=True) as reader:
        reader.execute("select wrapped from cairn.subject_keys")
        for statement in ("select cairn.erase_key_1(null, null, '')", "delete from cairn.tenant_keys"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(statement)


# --- what a store does with them ---


async def test_the_log_holds_sealed_text_only(store: Store, tenant: UUID) -> None:
    came = Metadata(ip="192.0.2.17", user_agent="canary-agent", session="s")
    await send(store, tenant, "membership", ADA, ADD, about=about(tenant, came))
    await send(
        store, tenant, "membership", ADA, ChangeRole(role=Role.VIEWER), about=about(tenant, came, actor=OPERATOR)
    )
    async with store.writer.bound(tenant) as reader:
        first, second = await log.read_log(reader)
        opening = await keys.vault().fetch(reader, [BERT, tenant])
    for stored in (first, second):
        text = stored.row[10] + stored.row[11]
        assert not any(clear in text for clear in (b"Ada", b"northern", b"192.0", b"canary"))
    origins = [stored.decoded().metadata.origin for stored in (first, second)]
    assert opening.shown_origin(BERT, origins[0]) == Origin("192.0.2.17", "canary-agent")
    assert opening.shown_origin(tenant, origins[1]) == Origin("192.0.2.17", "canary-agent")
    assert first.decoded().metadata.session == "s"


def about(tenant: UUID, came: Metadata, actor: UUID = BERT) -> Context:
    return msgspec.structs.replace(context(tenant), metadata=came, actor=actor)


async def test_a_request_leaves_no_digest_that_could_be_guessed(store: Store, tenant: UUID) -> None:
    asked = context(tenant)
    receipt = await send(store, tenant, "membership", ADA, ADD, about=asked)
    async with store.writer.bound(tenant) as reader:
        ((kept,),) = await reader.tuples(b"select request_hash from cairn.events", {})
    assert kept != asked.request_hash
    async with open_store(store.writer.conninfo) as later:
        again = await send(later, tenant, "membership", ADA, ADD, about=asked)
    assert (again.position, again.replayed) == (receipt.position, True)


async def test_states_about_people_are_not_saved(database_url: str, tenant: UUID) -> None:
    async with open_store(database_url, settings={"snapshot_every_events": 1}) as store:
        await send(store, tenant, "membership", ADA, ADD)
        await send(store, tenant, "membership", ADA, ChangeRole(role=Role.VIEWER))
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select count(*) from cairn.snapshots").fetchone() == (0,)


async def test_a_store_without_keys_takes_nothing_about_a_person(database_url: str, tenant: UUID) -> None:
    async with open_store(database_url, vault=None) as store:
        with pytest.raises(Keyless):
            await send(store, tenant, "membership", ADA, ADD)
        came = Metadata(ip="192.0.2.17")
        with pytest.raises(Keyless):
            await send(store, tenant, "membership", ADA, RemoveMember(), about=about(tenant, came))


async def test_who_was_forgotten_is_unknown_to_every_process(database_url: str, store: Store, tenant: UUID) -> None:
    async with open_store(database_url) as other:
        await send(other, tenant, "membership", ADA, ADD)
        await forgotten(store, tenant)
        for one in (other, store):
            with pytest.raises(Rejected) as refused:
                await send(one, tenant, "membership", ADA, ADD)
            assert (refused.value.code, refused.value.facts) == ("membership.removed", {"name": ERASED})


# --- key-encryption keys ---


def test_keys_are_read_from_the_setting_or_the_file(tmp_path: Path) -> None:
    new, old = minted(), minted()
    file = tmp_path / "kek"
    file.write_text(f"{new}\n{old}\n")
    assert keyring_of(None, file).known == keyring_of(f"{new},{old}", None).known
    assert keyring_of(None, file).newest == keyring_of(new, None).newest != keyring_of(old, None).newest


@pytest.mark.parametrize(
    ("given_keys", "text", "complaint"),
    [
        (None, None, "Neither CAIRN_KEK nor CAIRN_KEK_FILE is set"),
        ("short", None, "CAIRN_KEK: a key is 32 random bytes"),
        (keys.KEK, keys.KEK, "both set"),
        (None, "", "is empty"),
        (None, "é", "cannot be read"),
        (None, f"{keys.KEK}x", "a key is 32 random bytes"),
    ],
)
def test_keys_that_are_none(tmp_path: Path, given_keys: str | None, text: str | None, complaint: str) -> None:
    file = tmp_path / "kek"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=complaint) as refused:
        keyring_of(given_keys, None if text is None else file)
    assert keys.KEK not in str(refused.value)
