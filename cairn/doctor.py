"""Examines a running or resting system: is it safe, whole and moving? Changes nothing; says how to mend what is not."""

import socket
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import msgspec

from api.settings import ApiSettings
from cairn import up
from cairn.care import projector
from eventstore import liveness, log, sql
from eventstore.codec import Undecodable
from eventstore.db import Connection, Database, Reader, Unavailable, Unsafe, role_url
from eventstore.settings import StoreSettings
from migrations import run as migrations
from projections import delivery, parking, registry

SQL = sql.beside(__file__)
POSTGRES_MIN = 160_000
LEAVES_SAMPLED = 1_000
"""Events per company whose hash is computed again."""
ROLES = ("cairn_writer", "cairn_projector", "cairn_reader", "cairn_jobs")


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at: what was seen, and what to do when it is not good."""

    check: str
    good: bool
    seen: str
    remedy: str = ""


async def examine(store: StoreSettings, api: ApiSettings) -> list[Finding]:
    """Everything, in the order in which faults explain each other."""
    assert store.database_url is not None
    owner = Database(store.database_url, name="doctor", connections_max=1)
    await owner.open()
    try:
        findings = [finding async for finding in _of_server(owner)]
    finally:
        await owner.close()
    if findings[-1].check == "schema":
        return findings  # the rest could not be asked
    async with projector(store) as database:
        findings += [await _roles(store), _broker(store)]
        async with database.connection() as connection:
            companies = [head.tenant for head in await log.heads(connection)]
            findings += [await _workers(connection, store, api)]
        findings += [await _log(database, companies), await _readable(database, companies)]
        findings += [await _leaves(database, companies), await _erased(database, companies)]
        findings += [await _delivery(database, companies), await _parked(database, companies)]
    return findings


async def _of_server(database: Database) -> AsyncIterator[Finding]:
    async with database.connection() as connection:
        version, fsync, synchronous = (await _rows(connection, "server"))[0]
        yield Finding(
            "PostgreSQL",
            version >= POSTGRES_MIN and fsync and synchronous,
            f"version {version // 10_000}.{version % 10_000}, fsync {'on' if fsync else 'OFF'}",
            "Cairn needs PostgreSQL 16 or later with fsync and synchronous_commit on.",
        )
        newest = migrations.newest()
        migrated = (await _rows(connection, "migrated"))[0][0]
        revisions = await _names(connection, "revision") if migrated else []
        found = revisions[0] if revisions else "none"
        yield Finding("schema", found == newest, f"revision {found}, newest {newest}", "Run `cairn migrate`.")
        if found != newest:
            return
        mend = "Run `cairn migrate --to base --down` on a copy and compare; somebody changed grants by hand."
        yield _none("roles", await _names(connection, "able_roles"), "could do more than their part", mend)
        yield _none("log privileges", await _names(connection, "writable_log"), "may write the log", mend)
        mend = "alter table … enable row level security; alter table … force row level security"
        yield _none("row-level security", await _names(connection, "unguarded_tables"), "are not guarded", mend)
        mend = "Run `alter table … enable trigger append_only` as cairn_owner, and ask who disabled it."
        yield _none("append-only", await _names(connection, "missing_triggers"), "lack their trigger", mend)


def _none(check: str, names: Sequence[str], what: str, remedy: str) -> Finding:
    return Finding(check, not names, f"{', '.join(names)} {what}" if names else "as it should be", remedy)


async def _names(connection: Connection, statement: str) -> list[str]:
    return [row[0] for row in await _rows(connection, statement)]


async def _rows(connection: Connection, statement: str) -> list[tuple[Any, ...]]:
    cursor = await connection.execute(SQL[statement])
    return await cursor.fetchall()


async def _roles(store: StoreSettings) -> Finding:
    """Each role signs in, and is refused if it could see past row-level security."""
    assert store.database_url is not None
    for role in ROLES:
        database = Database(role_url(store.database_url, role, store.database_role_password), name=role)
        try:
            await database.open()
            await database.refuse_if_unsafe()
        except (Unsafe, Unavailable) as error:
            return Finding(
                "sign-in", False, f"{role}: {error}", "Run `cairn migrate`, with CAIRN_DATABASE_ROLE_PASSWORD."
            )
        finally:
            await database.close()
    return Finding("sign-in", True, f"{', '.join(ROLES)} sign in and none could bypass row-level security")


def _broker(store: StoreSettings) -> Finding:
    """NATS answers and has JetStream. Its greeting says so before anybody signs in."""
    if store.nats_url is None:
        running = up.url_of(store.data_folder)
        return Finding("NATS", True, "not looked at: `cairn up` starts it" + (f" (runs: {running})" if running else ""))
    address = urlsplit(store.nats_url)
    try:
        with socket.create_connection((address.hostname or "localhost", address.port or 4222), timeout=5) as connection:
            greeting = msgspec.json.decode(connection.makefile("rb").readline().removeprefix(b"INFO "))
    except (OSError, msgspec.DecodeError) as error:
        return Finding("NATS", False, str(error), "Start it. Commands and queries go on; subscribers wait.")
    seen = f"version {greeting['version']}, JetStream {'on' if greeting.get('jetstream') else 'OFF'}"
    return Finding("NATS", bool(greeting.get("jetstream")), seen, "Start nats-server with -js.")


async def _workers(connection: Connection, store: StoreSettings, api: ApiSettings) -> Finding:
    if store.nats_url is None and up.url_of(store.data_folder) is None:
        return Finding("workers", True, "not looked at: nothing runs here (`cairn up` starts it)")
    kinds = (*liveness.KINDS, *liveness.DEFERRING)
    faults = await liveness.standing_still(connection, api.api_standstill_seconds_max, kinds)
    return _none("workers", faults, "", "Look at their logs, and start them: `cairn up`, or `cairn worker NAME`.")


async def _log(database: Database, companies: Sequence[UUID]) -> Finding:
    """Positions are 1, 2, 3 … up to the head."""
    events, faults = 0, []
    for tenant in companies:
        async with database.bound(tenant) as reader:
            head, count, first, last = (await reader.tuples(SQL["log_is_whole"], {}))[0]
        events += count
        if (count, last) != (head, head) or first != min(head, 1):
            faults.append(f"{tenant}: head {head}, {count} events from {first} to {last}")
    if faults:
        return Finding(
            "log", False, "; ".join(faults), "Events are missing: restore from a backup. Nothing of ours deletes."
        )
    return Finding("log", True, f"{events} events of {len(companies)} companies, without a gap")


async def _readable(database: Database, companies: Sequence[UUID]) -> Finding:
    """Every event ever stored is one that this release can read, through the upcasts where it is older."""
    unreadable = []
    for tenant in companies:
        after = 0
        async with database.bound(tenant) as reader:
            try:
                async for page in log.read_all(reader):
                    after = page[-1].position
            except Undecodable as error:
                unreadable.append(f"{tenant} after {after}: {error}")
    mend = "This release is older than what wrote them, or an upcast is missing: run the release that wrote them."
    return _none("events", unreadable, "cannot be read", mend)


async def _leaves(database: Database, companies: Sequence[UUID]) -> Finding:
    """Of each company, a sample spread over its log."""
    altered = []
    for tenant in companies:
        async with database.bound(tenant) as reader:
            rows = await reader.tuples(SQL["altered_events"], {"events": LEAVES_SAMPLED})
        altered += [f"{tenant} at {row[0]}" for row in rows]
    return _none(
        "leaf hashes", altered, "were altered", "Restore those events from a backup, and find who could write."
    )


async def _erased(database: Database, companies: Sequence[UUID]) -> Finding:
    """Who was forgotten has no key; a table put back from a backup would bring one."""

    async def unerased(reader: Reader) -> list[str]:
        return [row[0] for row in await reader.tuples(SQL["unerased"], {})]

    subjects = [subject for tenant in companies for subject in await _bound(database, tenant, unerased)]
    return _none("erasure", subjects, "were forgotten and have a key again", "Run `cairn keys rewrap`.")


async def _delivery(database: Database, companies: Sequence[UUID]) -> Finding:
    """What the read models took in is what the log holds."""
    models = [projection.name for projection in registry.FOLLOWED]

    async def faults_of(reader: Reader) -> list[str]:
        return [
            f"{fault.model} {fault.first_position}–{fault.last_position}: {fault.reason}"
            for model in models
            for fault in await delivery.verify(reader, model)
        ]

    faults = [fault for tenant in companies for fault in await _bound(database, tenant, faults_of)]
    return _none("delivery", faults, "", "Run `cairn rebuild MODEL`.")


async def _parked(database: Database, companies: Sequence[UUID]) -> Finding:
    async def keys_of(reader: Reader) -> list[str]:
        return [f"{each.model} {each.key}" for each in await parking.waiting(reader)]

    keys = [key for tenant in companies for key in await _bound(database, tenant, keys_of)]
    return _none("parked events", keys, "wait", "See `cairn parked list`; then `cairn parked replay` or `skip`.")


async def _bound(database: Database, tenant: UUID, ask: Callable[[Reader], Any]) -> list[str]:
    async with database.bound(tenant) as reader:
        found: list[str] = await ask(reader)
        return found
