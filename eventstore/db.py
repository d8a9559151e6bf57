"""Connections: one pool per role, every transaction bound to one tenant."""

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from psycopg import AsyncConnection, AsyncCursor, AsyncPipeline
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import class_row, tuple_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from eventstore import sql

T = TypeVar("T")
Connection = AsyncConnection[tuple[Any, ...]]
Cursor = AsyncCursor[tuple[Any, ...]]

SQL = sql.beside(__file__)

PREPARED_MAX = 500
"""Statements a connection keeps prepared. A projector has a few for each table of each read model, and uses all."""
_OPTIONS = "-c statement_timeout={} -c jit=off"
_SNAPSHOTS = r" -c default_transaction_isolation=repeatable\ read -c default_transaction_read_only=on"

# The driver's errors, under names for those above this package: the driver itself is its own affair.
DriverError = psycopg.Error
NotMigrated = (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName)
TookTooLong = psycopg.errors.QueryCanceled
Disconnected = (psycopg.OperationalError, psycopg.InterfaceError)


def _gather(pipeline: AsyncPipeline) -> Generator[Any, Any, None]:
    commands = pipeline.command_queue
    if pipeline.pgconn.pipeline_sync in commands:
        yield from AsyncPipeline._communicate_gen(pipeline)
    while commands:
        commands.popleft()()


@contextmanager
def _gathered(pipeline: AsyncPipeline) -> Iterator[None]:
    """Statements are gathered until an answer is awaited, and travel as one. The driver would send each by itself, and
    look for answers each time: that costs the client more than all the rest of a short transaction.
    """
    pipeline._communicate_gen = partial(_gather, pipeline)  # type: ignore[method-assign]
    try:
        yield
    finally:
        del pipeline._communicate_gen  # the driver's own again


async def send(connection: Connection) -> None:
    """Sends what was gathered, and waits for no answer: the server may begin with it."""
    if connection._pipeline is not None:
        await connection.wait(AsyncPipeline._communicate_gen(connection._pipeline))


class Unavailable(Exception):
    """The system can't take this now, and nothing was changed that it was not told of. Trying again may help."""

    def __init__(self, what: str, retry_after_seconds: int = 1) -> None:
        super().__init__(what)
        self.what = what
        self.retry_after_seconds = retry_after_seconds


class Unsafe(Exception):
    """The role signed in could read or change what it must not: the server refuses to start."""


def role_url(database_url: str, role: str, password: str | None) -> str:
    """`database_url` as libpq understands it, signed in as `role`. Without a password the server decides (peer)."""
    parts: dict[str, Any] = conninfo_to_dict(database_url)
    parts["user"] = role
    parts.pop("password", None)
    if password is not None:
        parts["password"] = password
    return make_conninfo("", **parts)


class Reader:
    """A connection inside a transaction that is bound to one tenant. Query functions take one, and never a tenant."""

    __slots__ = ("connection", "tenant")

    def __init__(self, connection: Connection, tenant: UUID) -> None:
        self.connection = connection
        self.tenant = tenant

    async def rows(self, statement: bytes, values: Mapping[str, Any], kind: type[T]) -> list[T]:
        """All rows, each as a `kind` built from its columns by name."""
        async with self.connection.cursor(binary=True, row_factory=class_row(kind)) as cursor:
            await cursor.execute(statement, values)
            return await cursor.fetchall()

    async def row(self, statement: bytes, values: Mapping[str, Any], kind: type[T]) -> T | None:
        """The first row, or None."""
        async with self.connection.cursor(binary=True, row_factory=class_row(kind)) as cursor:
            await cursor.execute(statement, values)
            return await cursor.fetchone()

    async def ask(
        self, statement: bytes, values: Mapping[str, Any]
    ) -> Callable[[], Awaitable[Sequence[tuple[Any, ...]]]]:
        """Asks for rows as tuples, without waiting: what is asked travels with the next that is waited for. What comes
        back is called for the rows, within the same transaction, and once.
        """
        cursor = self.connection.cursor(binary=True, row_factory=tuple_row)
        await cursor.execute(statement, values)
        return cursor.fetchall

    async def tuples(self, statement: bytes, values: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
        """All rows as tuples."""
        async with self.connection.cursor(binary=True, row_factory=tuple_row) as cursor:
            await cursor.execute(statement, values)
            return await cursor.fetchall()


class Database:
    """A bounded pool of connections of one role.

    `read_only` pools answer queries: each transaction is one snapshot (repeatable read), so that what is read and the
    position it is read at belong together. `on_connect`, set before `open`, is told of each new connection.
    """

    def __init__(
        self,
        conninfo: str,
        *,
        name: str,
        connections_max: int = 8,
        connections_min: int = 1,
        wait_seconds_max: float = 5,
        read_only: bool = False,
        statement_seconds_max: float = 30,
    ) -> None:
        self.name = name
        self.conninfo = conninfo
        self.on_connect: Callable[[Connection], None] | None = None
        self._read_only = read_only
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            conninfo,
            min_size=connections_min,
            max_size=connections_max,
            timeout=wait_seconds_max,
            open=False,
            name=name,
            configure=self._configure,
            kwargs={
                "autocommit": True,
                "application_name": f"cairn {name}",
                "options": _OPTIONS.format(int(statement_seconds_max * 1000)) + (_SNAPSHOTS if read_only else ""),
                "prepare_threshold": 1,
            },
        )

    async def _configure(self, connection: Connection) -> None:
        connection.prepared_max = PREPARED_MAX
        if self.on_connect is not None:
            self.on_connect(connection)

    async def open(self, *, wait: bool = True) -> None:
        """Connects. With `wait`, until one connection is there; raises Unavailable when none comes."""
        try:
            await self._pool.open(wait=wait)
        except PoolTimeout as error:
            raise Unavailable(f"no connection to PostgreSQL as {self.name}") from error

    async def close(self) -> None:
        """Closes every connection. Harmless when closed already."""
        await self._pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection bound to no tenant, in autocommit. Raises Unavailable when the pool is exhausted."""
        connection = await self.take()
        try:
            yield connection
        finally:
            await self.give_back(connection)

    async def take(self) -> Connection:
        """A connection to `give_back` later. Raises Unavailable when the pool is exhausted."""
        try:
            return await self._pool.getconn()
        except (PoolTimeout, TooManyRequests) as error:
            raise Unavailable(f"all connections of {self.name} are busy") from error

    async def give_back(self, connection: Connection) -> None:
        """Ends what `take` began; a broken connection is replaced."""
        await self._pool.putconn(connection)

    async def drop_broken(self) -> None:
        """Asks every idle connection for a sign of life, and replaces those that give none."""
        await self._pool.check()

    @asynccontextmanager
    async def bound(
        self, tenant: UUID, *, reads_only: bool = False, binding: bytes = SQL["bind"], **values: Any
    ) -> AsyncIterator[Reader]:
        """A transaction bound to `tenant`. Its BEGIN and its binding travel with the first statement. One that promises
        that it `reads_only` goes without the former. `binding`, with its values: a statement that binds, and does more.
        """
        async with self.connection() as connection, self._transaction(connection, self._read_only or reads_only):
            await connection.execute(binding, {"tenant": str(tenant), **values})
            yield Reader(connection, tenant)

    @asynccontextmanager
    async def _transaction(self, connection: Connection, reads_only: bool) -> AsyncIterator[None]:
        """What a pipeline sends until it ends is one transaction, which is enough where nothing is written: BEGIN and
        COMMIT, and the way to the server for the latter, are spared. Whoever writes needs them, to roll back.
        """
        try:
            async with connection.pipeline() as pipeline:
                with _gathered(pipeline):
                    if reads_only:
                        yield
                    else:
                        async with connection.transaction():
                            yield
        except BaseException as error:
            if not isinstance(error, Exception) or isinstance(error, psycopg.Error):
                connection._prepared.clear()  # a statement that was to be prepared may not be: as after a rollback
            if connection.pgconn.transaction_status == TransactionStatus.INERROR:  # its COMMIT came too late
                await connection.rollback()
            raise

    async def refuse_if_unsafe(self) -> None:
        """Raises Unsafe when this role is a superuser, bypasses row-level security or can become the owner."""
        async with self.connection() as connection:
            cursor = await connection.execute(SQL["could_bypass"])
            row = await cursor.fetchone()
        if row is None or row[0]:
            user = psycopg.conninfo.conninfo_to_dict(self.conninfo).get("user")
            raise Unsafe(
                f"the role {user!r} could bypass row-level security; serve with the roles that `cairn migrate` made"
            )

    def statistics(self) -> Mapping[str, int]:
        """The pool's own counters, as the driver names them."""
        return self._pool.get_stats()
