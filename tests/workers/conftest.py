"""What the tests of workers stand on: a company, and a backend that appends to its log."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from eventstore.db import Connection
from tests.eventstore import units


@pytest.fixture
async def writer(database_url: str) -> AsyncIterator[Connection]:
    """A backend that appends."""
    connection = await units.writer(database_url)
    yield connection
    await connection.close()


@pytest.fixture
def tenant() -> UUID:
    """A company of the test's own."""
    return uuid4()
