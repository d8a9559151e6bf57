"""One server for all tests of the HTTP side; each test has companies of its own."""

from collections.abc import Iterator

import pytest

from cairn.embedded import Servers
from tests.api.callers import Company, World, database_of, register, serving


@pytest.fixture(scope="session")
def world(servers: Servers, template_database: str) -> Iterator[World]:
    """One server for all tests that have no need of their own; each has a company of its own."""
    with database_of(servers, template_database) as url, serving(url, servers.nats_url) as world:
        yield world


@pytest.fixture
def company(world: World) -> Company:
    """A company with nothing in it."""
    return register(world)


@pytest.fixture
def other(world: World) -> Company:
    """Another company on the same server."""
    return register(world)
