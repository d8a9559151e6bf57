"""An upstream that is a table of a PostgreSQL database: read through a cursor in one snapshot, written by version."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Literal

import msgspec
import psycopg
from psycopg import errors, sql
from psycopg.rows import dict_row

from domain.cells import as_text
from domain.upstreams import SqlUpstream
from eventstore.sql import beside
from workers.upstreams.egress import Egress
from workers.upstreams.upstream import (
    Batch,
    Broken,
    Change,
    Credentials,
    Denied,
    Outcome,
    PushResult,
    Scope,
    Unavailable,
    UpstreamError,
    earlier,
)

SQL: Final = beside(__file__)
ROWS: Final = 1_000
"""Rows of a batch."""
CONNECT_SECONDS: Final = 10
_DONE: Final = "cairn: as wanted"
Connection = psycopg.AsyncConnection[dict[str, Any]]


class Place(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a cursor of ours holds: the key of the last row read, as text; the newest change when the fetch began."""

    of: Literal["sql"]
    after: tuple[str, ...] | None = None
    since: str | None = None
    newest: str | None = None
    rows: int = 0


class SqlKind:
    """See `Upstream`. `columns` are those that the mapping reads."""

    def __init__(self, config: SqlUpstream, credentials: Credentials, columns: frozenset[str], egress: Egress) -> None:
        self._config = config
        self._credentials = credentials
        self._egress = egress
        versions = {config.version_column} if config.version_column else set()
        self._columns = sorted(columns | {*config.key} | versions)
        self._table = sql.Identifier(config.schema_name, config.table)

    @property
    def pushes(self) -> bool:
        """Only what tells versions apart can be written to without overwriting somebody's work."""
        return self._config.version_column is not None

    async def close(self) -> None:
        """A connection lives as long as one fetch or push."""

    async def fetch(self, since: str | None = None) -> AsyncGenerator[Batch, None]:
        """All batches of one call show one moment, that of the server-side cursor; a later call a later one."""
        begun = _place(since)
        place = begun if begun.after is not None else Place(of="sql", since=begun.newest)
        modified = self._config.modified_column
        scope = Scope.CHANGES if modified is not None and place.since is not None else Scope.FULL
        async with self._connected() as connection:
            await connection.set_read_only(True)
            await self._check_columns(connection)
            if place.after is None and modified is not None:
                place = msgspec.structs.replace(place, newest=await self._newest(connection, modified, place.since))
            async with connection.cursor(name="cairn_fetch") as cursor:
                cursor.itersize = ROWS
                await cursor.execute(self._reading(place, modified))
                rows = await cursor.fetchmany(ROWS)
                while True:
                    following = await cursor.fetchmany(ROWS) if rows else []
                    first = place.rows + 1
                    place = self._moved(place, rows, last=not following)
                    yield Batch(
                        scope=scope,
                        rows=tuple(rows),
                        numbers=tuple(range(first, first + len(rows))),
                        cursor=msgspec.json.encode(place).decode(),
                        last=not following,
                    )
                    if not following:
                        return
                    if place.rows >= self._config.rows_max:
                        raise Broken("upstream.too-many-pages", rows_max=self._config.rows_max)
                    rows = following

    def _moved(self, place: Place, rows: Sequence[Mapping[str, Any]], *, last: bool) -> Place:
        if last:
            return Place(of="sql", newest=place.newest)
        after = tuple(str(rows[-1][column]) for column in self._config.key)
        return msgspec.structs.replace(place, after=after, rows=place.rows + len(rows))

    def _reading(self, place: Place, modified: str | None) -> sql.Composed:
        """Strictly after a key; not before a moment: what changed at that very moment comes again, and is unchanged."""
        key = sql.SQL(", ").join(map(sql.Identifier, self._config.key))
        after, later = sql.SQL("true"), sql.SQL("true")
        if place.after is not None:
            values = sql.SQL(", ").join(map(sql.Literal, place.after))
            after = sql.SQL("({}) > ({})").format(key, values)  # type: ignore[assignment]  # both are composable
        if modified is not None and place.since is not None:
            later = sql.SQL("{} >= {}").format(sql.Identifier(modified), sql.Literal(place.since))  # type: ignore[assignment]  # both are composable
        parts = {"columns": self._named(), "table": self._table, "key": key, "after": after, "later": later}
        return _composed("read_rows", **parts)

    def _named(self) -> sql.Composed:
        return sql.SQL(", ").join(map(sql.Identifier, self._columns))

    def _named_beside_values(self) -> sql.Composed:
        return sql.SQL(", ").join(map(_beside_values, self._columns))

    async def _newest(self, connection: Connection, modified: str, since: str | None) -> str | None:
        """Raises Broken when it lies before what it was."""
        statement = _composed("newest", modified=sql.Identifier(modified), table=self._table)
        row = await (await connection.execute(statement)).fetchone()
        newest: str | None = row["newest"] if row else None
        if since is not None and (newest is None or earlier(newest, since)):
            raise Broken("upstream.went-back", stands_at=newest, stood_at=since)
        return newest

    async def _check_columns(self, connection: Connection) -> None:
        name = sql.Literal(self._table.as_string(connection))
        rows = await (await connection.execute(_composed("columns_of_table", name=name))).fetchall()
        found = {row["attname"] for row in rows}
        config = self._config
        needed = {*self._columns} | ({config.modified_column} if config.modified_column else set())
        if missing := needed - found:
            raise Broken("upstream.schema-changed", missing=sorted(missing), found=sorted(found)[:100])

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator[Connection, None]:
        """To an address that was judged, with TLS verified for the name. What the driver raises becomes ours."""
        config = self._config
        addresses = await self._egress.resolve(config.host, config.port)
        if not config.tls and not all(map(self._egress.listed, addresses)):
            raise Denied("upstream.address-refused", host=config.host, why="without TLS only the operator's networks")
        try:
            connection = await psycopg.AsyncConnection[dict[str, Any]].connect(
                host=",".join([config.host] * len(addresses)),
                hostaddr=",".join(map(str, addresses)),
                port=config.port,
                dbname=config.database,
                user=self._credentials.name,
                password=self._credentials.secret,
                connect_timeout=CONNECT_SECONDS,
                application_name="cairn",
                options=f"-c statement_timeout={config.statement_seconds_max}s -c datestyle=ISO -c timezone=UTC",
                row_factory=dict_row,
                sslmode="verify-full" if config.tls else "disable",
                sslrootcert=str(self._egress.authorities or "system") if config.tls else "",
            )
        except psycopg.OperationalError as error:
            raise _not_connected(error, config) from error
        try:
            async with connection:
                yield connection
        except (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction) as error:
            raise Denied("upstream.unauthorised", why=_first_line(error)) from error
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise Unavailable("upstream.unreachable", host=config.host, why=type(error).__name__) from error
        except psycopg.Error as error:
            raise Broken("upstream.query-refused", sqlstate=error.sqlstate, why=_first_line(error)) from error

    async def push(self, changes: Sequence[Change], idempotency_key: str) -> tuple[PushResult, ...]:  # noqa: ARG002  # versions tell what was done
        """In one transaction, each change where the row still has its version.

        A row that already holds what is wanted is confirmed whatever its version: so the same push, done again, says
        what the first one did.
        """
        if self._config.version_column is None:
            raise Denied("upstream.not-supported", why="without a column for versions, work could be overwritten")
        async with self._connected() as connection:
            return tuple([await self._written(connection, change) for change in changes])

    async def _written(self, connection: Connection, change: Change) -> PushResult:
        try:
            async with connection.transaction():
                return await self._attempted(connection, change)
        except (psycopg.DataError, psycopg.IntegrityError, errors.RaiseException, errors.UndefinedColumn) as error:
            return PushResult(
                record=change.record, outcome=Outcome.REFUSED, code=error.sqlstate, reason=_first_line(error)
            )

    async def _attempted(self, connection: Connection, change: Change) -> PushResult:
        column = self._config.version_column
        assert column is not None, "checked before"
        matches = sql.SQL(" and ").join(sql.SQL("{} = %s").format(sql.Identifier(key)) for key in self._config.key)
        keys = [change.identity[key] for key in self._config.key]
        parts = {"table": self._table, "matches": matches, "columns": self._named_beside_values()}
        written = _composed(
            "write_row", **parts, changes=self._changing(change, column), version=sql.Identifier(column)
        )
        values = [*change.fields.values(), *keys, change.version]
        if row := await (await connection.execute(written, values)).fetchone():
            return PushResult(record=change.record, outcome=Outcome.CONFIRMED, version=as_text(row[column]), theirs=row)
        wanted = sql.SQL(" and ").join(
            sql.SQL("{} is not distinct from %s").format(_beside_values(name)) for name in change.fields
        )
        read = _composed("read_row", **parts, wanted=wanted, done=sql.Identifier(_DONE))
        theirs = await (await connection.execute(read, [*change.fields.values(), *keys])).fetchone()
        if theirs is None:
            return PushResult(
                record=change.record, outcome=Outcome.REFUSED, code="missing", reason="There is no such row."
            )
        outcome = Outcome.CONFIRMED if theirs.pop(_DONE) else Outcome.CONFLICT
        return PushResult(record=change.record, outcome=outcome, version=as_text(theirs[column]), theirs=theirs)

    def _changing(self, change: Change, column: str) -> sql.Composed:
        named = [sql.SQL("{} = %s").format(_beside_values(name)) for name in change.fields]
        if self._config.version_is_kept == "by-us":
            named.append(sql.SQL("{0} = {0} + 1").format(sql.Identifier(column)))
        return sql.SQL(", ").join(named)


def _beside_values(column: str) -> sql.Identifier:
    """In a statement with values the driver reads a percent sign as its own, in names too."""
    return sql.Identifier(column.replace("%", "%%"))


def _composed(statement: str, /, **parts: sql.Composable) -> sql.Composed:
    return sql.SQL(SQL[statement].decode()).format(**parts)


def _first_line(error: psycopg.Error) -> str:
    return (error.diag.message_primary or str(error).partition("\n")[0])[:500]


def _not_connected(error: psycopg.OperationalError, config: SqlUpstream) -> UpstreamError:
    """The driver tells these apart only in words, but for what the server itself said."""
    text = str(error)
    if "password authentication failed" in text or "no pg_hba.conf entry" in text or "does not exist" in text:
        return Denied("upstream.unauthorised", host=config.host, database=config.database)
    if "SSL" in text or "certificate" in text:
        return Denied("upstream.tls-refused", host=config.host, why="no verified TLS connection")
    return Unavailable("upstream.unreachable", host=config.host, why="no connection")


def _place(cursor: str | None) -> Place:
    if cursor is None:
        return Place(of="sql")
    try:
        return msgspec.json.decode(cursor, type=Place)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise Broken("upstream.cursor-unknown", why=str(error)[:200]) from error
