"""Units to append without deciding anything: what the log itself is tested with."""

import os
from collections.abc import Sequence
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
from uuid_utils.compat import uuid7

from eventstore.db import Connection, Database, role_url
from eventstore.log import Appended, Check, NewEvent, Outcome, Unit, append, register

PAYLOAD = b'{"type":"project.renamed","was":"a","now":"b"}'


def unit(*streams: tuple[UUID, int, int], command_id: UUID | None = None, request: bytes = b"request1") -> Unit:
    """A unit over streams given as (stream, expected version, events to add)."""
    events = [
        NewEvent(stream, version + number, "project.renamed", 1, uuid7(), PAYLOAD)
        for stream, version, adds in streams
        for number in range(1, adds + 1)
    ]
    return Unit(
        command_id=command_id or uuid7(),
        request_hash=request,
        actor=UUID(int=7),
        metadata=b"{}",
        checks=[Check(stream, version, adds) for stream, version, adds in streams],
        events=events,
        salts=[os.urandom(16) for _ in events],
    )


def as_role(database_url: str, role: str) -> str:
    """The URL signed in as a role, with the password the fixtures gave the roles: that of the URL, if it has one."""
    return role_url(database_url, role, urlsplit(database_url).password)


async def writer(database_url: str, **options: str) -> Connection:
    """A backend of its own, signed in as the writer; `options` are server settings of the session."""
    given = " ".join(f"-c {name}={value}" for name, value in options.items())
    connection = await psycopg.AsyncConnection.connect(
        as_role(database_url, "cairn_writer"), autocommit=True, options=given
    )
    register(connection)
    return connection


async def appended(connection: Connection, tenant: UUID, *units: Unit) -> list[Appended]:
    """Appends, and insists that every unit was."""
    outcomes: Sequence[Outcome] = await append(connection, tenant, units)
    good = [outcome for outcome in outcomes if isinstance(outcome, Appended)]
    assert len(good) == len(units), outcomes
    return good


def reader(database_url: str) -> Database:
    """The query side's pool."""
    return Database(as_role(database_url, "cairn_reader"), name="reader", read_only=True)


async def waits_for_lock(database_url: str, pid: int) -> None:
    """Returns when the backend is seen waiting for a lock."""
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as watching:
        while True:
            cursor = await watching.execute(
                b"select 1 from pg_stat_activity where pid = %s and wait_event_type = 'Lock'", [pid]
            )
            if await cursor.fetchone():
                return
