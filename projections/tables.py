"""The tables of one build: their current rows in, their new and closed versions out, in one statement each."""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from psycopg import AsyncCursor, sql

from eventstore.db import Connection, Reader, send
from eventstore.sql import beside
from projections.columns import BIG, PACKED, Column, Packed, document
from projections.folding import Place, Rows
from projections.projection import Key, Projection, Table

SQL = beside(str(Path(__file__).with_name("engine.py")))


FEW_ROWS = 12
"""Up to so many rows go as one document: an array per column costs more to make and to send than it saves."""


class Unwritable(Exception):
    """A value that has no form in its column's type."""


class Digest(msgspec.Struct, frozen=True):
    """Stands for a table's whole history up to a position: equal digests, equal rows."""

    rows: int
    exclusive_or: int
    total: str


class Statement(NamedTuple):
    """A statement ready to send. The server should begin with a `large` one while the next is made."""

    text: bytes
    values: Mapping[str, Any] | None = None
    large: bool = False


Asked = AsyncCursor[tuple[Any, ...]]
"""A statement on its way."""
Current = tuple[Key, Any, int, str]
"""A row that holds now: its key, itself, since which position, and where it lies in the table."""


def _template(name: str) -> sql.SQL:
    return sql.SQL(SQL[name].decode())


class BuildTable:
    """A table as it stands in one build's schema."""

    def __init__(self, table: Table[Any], schema: str, types: Mapping[str, str], *, inline: bool) -> None:
        expected = {"tenant", *table.columns, "valid_from", "valid_to"}
        if expected != set(types):
            raise TypeError(
                f"the columns of {table.name} and the fields of its row differ: {sorted(expected ^ set(types))}"
            )
        self.table = table
        self._packed = [PACKED[types[name]] for name in table.columns]
        self._types = [types[name] for name in table.columns]
        self._key_columns = [table.columns.index(name) for name in table.key]
        name = sql.Identifier(schema, table.name)
        own = sql.SQL(", ").join(map(sql.Identifier, table.columns))
        keys: dict[str, sql.Composable] = {
            "table": name,
            "arrays": sql.SQL(", ").join(self._placeholder(index) for index in self._key_columns),
            "names": sql.SQL(", ").join(sql.Identifier(f"key_{column}") for column in table.key),
            "matches": sql.SQL(" and ").join(
                sql.SQL("t.{} = k.{}").format(sql.Identifier(column), sql.Identifier(f"key_{column}"))
                for column in table.key
            ),
        }
        every = range(len(table.columns))
        self._current = (
            _template("current")
            .format(columns=sql.SQL(", ").join(sql.Identifier("t", column) for column in table.columns), **keys)
            .as_bytes()
        )
        group = table.group or table.key[0]
        self._group_column = table.columns.index(group)
        self._current_of_groups = (
            _template("current_of_groups")
            .format(
                columns=sql.SQL(", ").join(sql.Identifier("t", column) for column in table.columns),
                table=name,
                groups=self._placeholder(self._group_column),
                group=sql.Identifier(group),
            )
            .as_bytes()
        )
        self._close = _template("close").format(table=name).as_bytes()
        self._places = _template("places").format(**keys).as_bytes()
        self._close_places = _template("close_places").format(table=name).as_bytes()
        self._insert = (
            _template("insert")
            .format(
                table=name,
                columns=own,
                values=sql.SQL(", ").join(self._value(index) for index in every),
                arrays=sql.SQL(", ").join(
                    sql.SQL("unnest({}) as {}").format(self._placeholder(index), sql.Identifier(table.columns[index]))
                    for index in every
                ),
            )
            .as_bytes()
        )
        self._replaceable = not inline
        self._replace_few = (
            _template("replace_few")
            .format(
                table=name,
                columns=own,
                typed=sql.SQL(", ").join(
                    sql.SQL("{} " + types[column]).format(sql.Identifier(column)) for column in table.columns
                ),
                keys=sql.SQL(", ").join(map(sql.Identifier, table.key)),
                replaced=sql.SQL(", ").join(
                    sql.SQL("{0} = excluded.{0}").format(sql.Identifier(column))
                    for column in (*table.columns, "valid_from")
                    if column not in table.key
                ),
            )
            .as_bytes()
        )
        self._insert_few = (
            _template("insert_few")
            .format(
                table=name,
                columns=own,
                typed=sql.SQL(", ").join(
                    sql.SQL("{} " + types[column]).format(sql.Identifier(column)) for column in table.columns
                ),
            )
            .as_bytes()
        )
        self._digest = _template("digest").format(table=name, columns=own).as_bytes()

    def _placeholder(self, index: int) -> sql.Composed:
        wire_type = self._packed[index].wire_type
        return sql.SQL("{}::" + wire_type + "[]").format(sql.Placeholder(f"c{index}"))

    def _value(self, index: int) -> sql.Composed:
        cast_to = self._types[index]
        return sql.SQL("v.{}::" + cast_to).format(sql.Identifier(self.table.columns[index]))

    def _keys(self, keys: Sequence[Key]) -> dict[str, Any]:
        packings: Iterable[tuple[int, Packed]] = ((index, self._packed[index]) for index in self._key_columns)
        return {
            f"c{index}": packed.column(values)
            for (index, packed), values in zip(packings, zip(*keys, strict=True), strict=True)
        }

    async def ask(self, reader: Reader, keys: Sequence[Key]) -> Asked:
        """Asks for the rows that hold now, of these keys. Nobody waits yet."""
        return await reader.connection.execute(self._current, self._keys(keys), binary=True)

    async def ask_groups(self, reader: Reader, groups: Sequence[Any]) -> Asked:
        """Asks for all rows that hold now, of these groups. Nobody waits yet."""
        values = {f"c{self._group_column}": self._packed[self._group_column].column(groups)}
        return await reader.connection.execute(self._current_of_groups, values, binary=True)

    async def found(self, asked: Asked) -> list[Current]:
        """What was asked for."""
        at, kind = self._key_columns, self.table.row
        rows = await asked.fetchall()
        return [(tuple(row[index] for index in at), kind(*row[:-2]), row[-2], row[-1]) for row in rows]

    def closing(self, places: Sequence[Place]) -> list[Statement]:
        """Takes out versions by where they lie, or those that hold of a key."""
        lying = [place for place in places if isinstance(place, str)]
        keys = [place for place in places if not isinstance(place, str)]
        closing = [Statement(self._close, {"places": lying})] if lying else []
        found = [Statement(self._places, self._keys(keys))] if keys else []
        if keys:
            closing.append(Statement(self._close_places))
        return [*found, Statement(SQL["by_place"]), *closing, Statement(SQL["by_key"])] if closing else []

    def ending(self, rows: Rows) -> list[Statement]:
        """Takes out the versions that ended, but for those that `making` puts others in the place of."""
        return self.closing(rows.gone() if self._replaces(rows) else rows.closed)

    def making(self, rows: Rows) -> list[Statement]:
        """Adds what was made. An error of the data's shape is raised here or by a statement."""
        if not self._replaces(rows):
            made = rows.finished()
            return [self._insertion(made)] if made else []
        replacing = Statement(self._replace_few, self._few(rows.made + rows.replacing()))
        beginning = rows.beginning()
        return [replacing, self._insertion(beginning)] if beginning else [replacing]

    def _replaces(self, rows: Rows) -> bool:
        """Whether one statement puts new versions in the place of old ones, and adds the old ones as past: for a few,
        and not in the append's transaction, whose role may not update.
        """
        if not self._replaceable or len(rows.closed) == 0 or len(rows.made) * 2 > FEW_ROWS:
            return False
        return any(cell.replaces for cell in rows.cells.values())

    def _insertion(self, made: Sequence[tuple[Any, int, int]]) -> Statement:
        if len(made) <= FEW_ROWS:
            return Statement(self._insert_few, self._few(made))
        return Statement(self._insert, self._cells([row for row, _, _ in made]) | _validity(made), large=True)

    def _few(self, made: Sequence[tuple[Any, int, int]]) -> dict[str, Column]:
        return {"rows": self._document([row for row, _, _ in made])} | _validity(made)

    def _document(self, rows: Sequence[Any]) -> Column:
        try:
            return document(rows)
        except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
            raise Unwritable(f"{self.table.name}: {error}") from error

    def _cells(self, rows: Sequence[Any]) -> dict[str, Column]:
        cells = zip(*map(msgspec.structs.astuple, rows), strict=True)
        try:
            return {
                f"c{index}": packing.column(values)
                for index, (packing, values) in enumerate(zip(self._packed, cells, strict=True))
            }
        except (AttributeError, TypeError, ValueError, struct.error) as error:
            raise Unwritable(f"{self.table.name}: {error}") from error

    async def digest(self, reader: Reader, at: int) -> Digest:
        """Of the bound company's rows, as the whole history stood at a position."""
        return Digest(*(await reader.tuples(self._digest, {"at": at}))[0])


class BuildTables:
    """All tables of one build of a model."""

    def __init__(self, projection: Projection, schema: str, types: Mapping[str, Mapping[str, str]]) -> None:
        self.by_name = {
            table.name: BuildTable(table, schema, types[table.name], inline=projection.inline)
            for table in projection.tables
        }

    async def current(self, reader: Reader, touched: Mapping[str, Sequence[Key]]) -> dict[str, list[Current]]:
        """The rows that hold now, by table."""
        asked = {name: await self.by_name[name].ask(reader, keys) for name, keys in touched.items()}
        return {name: await self.by_name[name].found(asking) for name, asking in asked.items()}

    async def digests(self, reader: Reader, at: int) -> dict[str, Digest]:
        """By table."""
        return {name: await table.digest(reader, at) for name, table in self.by_name.items()}


def _validity(made: Sequence[tuple[Any, int, int]]) -> dict[str, Column]:
    return {
        "valid_from": BIG.column([since for _, since, _ in made]),
        "valid_to": BIG.column([until for _, _, until in made]),
    }


def packed(changed: Sequence[tuple[BuildTables, Mapping[str, Rows]]]) -> Iterator[Statement]:
    """What batches made of every table, as statements ready to send. Raises Unwritable."""
    each = [
        (tables.by_name[name], rows)
        for tables, changes in changed
        for name, rows in changes.items()
        if rows.cells or rows.made
    ]
    for table, rows in each:
        yield from table.ending(rows)
    for table, rows in each:
        yield from table.making(rows)


async def write(connection: Connection, changed: Sequence[tuple[BuildTables, Mapping[str, Rows]]]) -> None:
    """What batches made of every table, made ready and sent."""
    await run(connection, packed(changed))


async def run(connection: Connection, statements: Iterable[Statement]) -> None:
    """Runs them. They travel together in the transaction's pipeline, the large ones at once."""
    cursor = connection.cursor()  # one for all: nobody asks it for answers
    for statement in statements:
        await cursor.execute(statement.text, statement.values)
        if statement.large:
            await send(connection)


async def load_types(connection: Connection, projection: Projection, schema: str) -> dict[str, dict[str, str]]:
    """The types of the columns of a build's tables, by table, as PostgreSQL names them."""
    found: dict[str, dict[str, str]] = {}
    for table in projection.tables:
        cursor = await connection.execute(SQL["types"], {"schema": schema, "table": table.name})
        found[table.name] = dict(await cursor.fetchall())
    return found
