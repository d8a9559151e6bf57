"""When members were last active: written seldom, in their own company, and never in anybody's way."""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from uuid import UUID, uuid4

import psycopg
import pytest

from eventstore.db import Database
from eventstore.last_active import LastActive, last_active
from tests.eventstore.units import as_role


@pytest.fixture
async def writer(database_url: str) -> AsyncIterator[Database]:
    """Connections of the writer role."""
    database = Database(as_role(database_url, "cairn_writer"), name="activity", connections_max=1)
    await database.open()
    yield database
    await database.close()


async def read(database: Database, tenant: UUID, *members: UUID) -> Mapping[UUID, datetime]:
    """What is known in a company."""
    async with database.bound(tenant) as reader:
        return await last_active(reader, members)


async def test_members_are_noted_in_their_own_company(writer: Database) -> None:
    active = LastActive(writer, 60)
    mine, other, ada, bert, eve = (uuid4() for _ in range(5))
    for tenant, member in ((mine, ada), (mine, ada), (mine, bert), (other, eve)):
        active.saw(tenant, member)
    await active.close()
    assert set(await read(writer, mine, ada, bert, eve)) == {ada, bert}
    assert set(await read(writer, other, ada, bert, eve)) == {eve}


@pytest.mark.parametrize(("seconds", "written_again"), [(3_600.0, False), (1e-9, True)])
async def test_a_member_is_written_again_only_after_a_while(
    writer: Database, seconds: float, written_again: bool
) -> None:
    active, tenant, ada = LastActive(writer, seconds), uuid4(), uuid4()
    active.saw(tenant, ada)
    await active.close()
    first = await read(writer, tenant, ada)
    active.saw(tenant, ada)
    await active.close()
    assert (await read(writer, tenant, ada) != first) == written_again


async def test_what_cannot_be_written_is_dropped(writer: Database, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("revoke insert on cairn.last_active from cairn_writer")
        active, tenant, ada = LastActive(writer, 1e-9), uuid4(), uuid4()
        active.saw(tenant, ada)
        await active.close()
        owner.execute("grant insert on cairn.last_active to cairn_writer")
    assert await read(writer, tenant, ada) == {}
    active.saw(tenant, ada)
    await active.close()
    assert set(await read(writer, tenant, ada)) == {ada}
