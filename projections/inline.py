"""Read models that are applied in the append's own transaction, and may refuse what would break their rule."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

from domain.decider import Event, Rejected
from eventstore.appender import RefusedInline
from eventstore.db import Connection, Reader, Unavailable
from eventstore.log import Recorded
from eventstore.sql import beside
from eventstore.vault import Keyless, Vault
from projections import builds, persons
from projections.folding import Batch
from projections.projection import Projection, Seen
from projections.tables import BuildTables, load_types, write

SQL = beside(__file__)


class InlineModels:
    """What `eventstore` asks for as `Inline`. One per process; it remembers the builds' tables."""

    def __init__(self, projections: Sequence[Projection], vault: Vault | None = None) -> None:
        """Without a vault there can be no event about a person."""
        self.types = frozenset(tag for projection in projections for tag in projection.changes) | persons.TYPES
        self._vault = vault
        self._projections = projections
        self._tables: dict[str, BuildTables] = {}

    async def apply(self, connection: Connection, tenant: UUID, events: Sequence[Recorded[Event]]) -> None:
        """Applies events that this transaction has appended. The append has bound the transaction and locked the head.

        Raises RefusedInline when a fold says no; Unavailable while a model has no build that this
        release's code can write.
        """
        reader = Reader(connection, tenant)
        await self._apply_to_persons(reader, [event for event in events if event.type in persons.TYPES])
        wanted = [each for each in self._projections if any(event.type in each.changes for event in events)]
        tables = await self._live(connection, wanted)
        for projection in wanted:
            batch = Batch(projection, events)
            for name, found in (await tables[projection.name].current(reader, batch.touched())).items():
                batch.begin(name, found)
            with _refusing():
                batch.fold_strictly()
            await write(connection, [(tables[projection.name], batch.rows)])

    async def _apply_to_persons(self, reader: Reader, events: Sequence[Recorded[Event]]) -> None:
        if not events:
            return
        if self._vault is None:
            raise Keyless("these models were given no keys")
        with _refusing():
            await persons.apply(reader, self._vault, events)

    async def _live(self, connection: Connection, projections: Sequence[Projection]) -> dict[str, BuildTables]:
        """The tables of the live builds, which stay live until this transaction ends."""
        names = [projection.name for projection in projections]
        for name in sorted(names):
            await connection.execute(SQL["stand_by"], {"model": name})
        live = {build.model: build for build in await builds.builds_of(connection, names) if build.state == "live"}
        found: dict[str, BuildTables] = {}
        for projection in projections:
            build = live.get(projection.name)
            if build is None or build.version != projection.version:
                raise Unavailable(f"the read model {projection.name} is not ready")
            if build.schema not in self._tables:
                types = await load_types(connection, projection, build.schema)
                self._tables[build.schema] = BuildTables(projection, build.schema, types)
            found[projection.name] = self._tables[build.schema]
        return found


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except Rejected as rejected:
        event: Seen = rejected.event  # type: ignore[attr-defined]  # set where it is raised
        raise RefusedInline(event.command_id, rejected) from rejected
