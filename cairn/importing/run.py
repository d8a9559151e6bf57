"""One import from plan to verification: read, decide, append a unit a company, and ask the read models."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID, uuid4

from msgspec.structs import replace

from api import problems
from api.settings import ApiSettings
from cairn import care
from cairn.importing import rows, verification, wishes
from cairn.importing.faults import Fault, Faults
from cairn.importing.kinds import KINDS
from cairn.importing.plan import Plan
from cairn.importing.rows import Row
from cairn.importing.verification import Figure
from cairn.importing.wishes import Tally, Wishes
from domain.company import Company
from domain.decider import Ref, Rejected, Role, Written
from domain.membership import MemberAdded, MemberRemoved, RoleChanged
from eventstore.actors import OPERATOR
from eventstore.db import Database, DriverError, Reader, Unavailable, role_url
from eventstore.keyring import keyring_of
from eventstore.log import POSITION_MAX
from eventstore.settings import StoreSettings
from eventstore.transact import Context, RefusedTogether, Store, Together, VersionConflict, transact_together
from eventstore.vault import Vault
from projections import access, project_names, registry
from projections.access import Member
from projections.engine import Engine, Fenced
from projections.inline import InlineModels
from projections.registry import INLINE

STATEMENT_SECONDS_MAX: Final = 3600
ENOUGH: Final = 2**62
"""No bound: what was decided on for the check is decided on again for the append."""
CATCH_UP_ATTEMPTS: Final = 100
MEMBERS_PAGE: Final = 5_000

Advance = Callable[[str, int, int | None], None]


class Source(NamedTuple):
    """What is imported: the plan, and the files it speaks of."""

    plan: Plan
    paths: Sequence[Path]


@dataclass
class Imported:
    """One company: what became of its rows, by kind, where its unit is in the log, and the figures compared."""

    company: UUID
    tallies: dict[str, Tally]
    figures: list[Figure]
    first: int | None = None
    last: int | None = None


@dataclass
class Outcome:
    """What there is to say of an import. With faults, or something to ask, nothing was written."""

    faults: Faults
    companies: list[Imported] = field(default_factory=list)
    written: bool = False

    @property
    def differing(self) -> list[Figure]:
        """Figures in which the read models say something else than the source."""
        return [figure for each in self.companies for figure in each.figures if self.written and not figure.same]


class RolledBack(Exception):
    """The append of a company was refused as a whole: nothing of it was written. Those before it are there."""

    def __init__(self, company: UUID, why: str, written: Sequence[UUID]) -> None:
        before = f"; {len(written)} companies before it are there: {', '.join(map(str, written))}" if written else ""
        super().__init__(f"company {company}: nothing of it was written: {why}{before}")


async def imported(
    store: StoreSettings,
    api: ApiSettings,
    source: Source,
    *,
    dry_run: bool,
    faults: Faults,
    advance: Advance,
) -> Outcome:
    """Reads, checks and decides everything; then, unless it is dry, appends one company after the other.

    Raises PlanWrong, SourceWrong, Asks, RolledBack, Unavailable, Unsafe.
    """
    found = rows.read(source.plan, source.paths, faults, advance)
    outcome = Outcome(faults)
    wanted = wishes.of(source.plan, found, faults)
    if faults.total:
        return outcome
    async with opened(store, api) as writing:
        for number, each in enumerate(wanted):
            advance("deciding", number, len(wanted))
            outcome.companies.append(await writing.decided(each, faults))
        if faults.total or dry_run:
            return outcome
        outcome.written = True
        for number, (each, done) in enumerate(zip(wanted, outcome.companies, strict=True)):
            advance("writing", number, len(wanted))
            await writing.write(each, done, [before.company for before in outcome.companies[:number]])
    async with care.projector(store) as database:
        engine = Engine(database, registry.PROJECTIONS)
        await engine.prepare()
        for number, (each, done) in enumerate(zip(wanted, outcome.companies, strict=True)):
            advance("comparing", number, len(wanted))
            await _caught_up(engine, each.id)
            async with _reader(store) as reading, reading.bound(each.id) as reader:
                done.figures = await verification.compared(reader, each)
    return outcome


class Import:
    """The write side of one import."""

    def __init__(self, store: Store, vault: Vault, reading: Database) -> None:
        self._store = store
        self._vault = vault
        self._reading = reading

    async def decided(self, each: Wishes, faults: Faults) -> Imported:
        """What becomes of a company, with every refusal as a fault. Writes nothing."""
        together = Together(self._store, each.id)
        await together.decide([thing.wish() for thing in each.things])
        for refusal in together.refusals:
            faults.add_all(each.things[refusal.wish].refused(refusal.command, refusal.rejected))
        company = await together.state(Ref("company", each.id))
        assert isinstance(company, Company)
        if not company.name and not each.rows["companies"]:
            faults.add_all(_strangers(each))
        async with self._reading.bound(each.id) as reader:
            members = await _members(reader, self._vault)
            faults.add_all(_addresses(each, members))
            faults.add_all(_ownerless(each, members, together.written))
            faults.add_all(_same_names(each))
            for row, id in _named(each):
                holder = await project_names.holder(reader, row.text("name"), at=POSITION_MAX)
                if holder is not None and holder != id:
                    faults.add(row.fault("name", "project.name-taken", f"project {holder} has this name"))
        return Imported(each.id, _tallies(each), verification.expected(each))

    async def write(self, each: Wishes, done: Imported, before: Sequence[UUID]) -> None:
        """The company, as one unit of the log. Raises RolledBack, Unavailable."""
        context = Context(tenant=each.id, actor=OPERATOR, command_id=uuid4(), request_hash=uuid4().bytes[:8])
        try:
            receipt = await transact_together(self._store, [thing.wish() for thing in each.things], context)
        except RefusedTogether as refused:
            raise RolledBack(each.id, f"it changed meanwhile: {refused}", before) from refused
        except Rejected as rejected:
            found = problems.explained(rejected.code)
            raise RolledBack(each.id, f"{found.title if found else ''} ({rejected.code})", before) from rejected
        except VersionConflict as conflict:
            raise RolledBack(each.id, f"it kept changing meanwhile: {conflict}", before) from conflict
        except Unavailable as error:
            raise Unavailable(
                f"company {each.id}: {error}. Whether it was written is not known: run the import again, which adds "
                "what is missing"
            ) from error
        except DriverError as error:
            raise RolledBack(each.id, f"PostgreSQL refused it: {error}", before) from error
        if receipt is not None:
            done.first, done.last = receipt.first_position, receipt.last_position


@asynccontextmanager
async def opened(store: StoreSettings, api: ApiSettings) -> AsyncIterator[Import]:
    """A store of one process; it keeps no snapshots, so that nothing but a company's unit is ever written."""
    assert store.database_url is not None
    settings = replace(
        store,
        snapshot_every_events=ENOUGH,
        cached_streams_max=ENOUGH,
        cached_events_max=ENOUGH,
        append_wait_seconds_max=STATEMENT_SECONDS_MAX,
    )
    vault = Vault(keyring_of(api.kek, api.kek_file))
    conninfo = role_url(store.database_url, "cairn_writer", store.database_role_password)
    writer = Database(
        conninfo,
        name="import",
        connections_max=store.writer_connections_max,
        statement_seconds_max=STATEMENT_SECONDS_MAX,
    )
    made = Store(writer, settings, vault=vault, inline=InlineModels(INLINE, vault))
    await made.open()
    try:
        async with _reader(store) as reading:
            yield Import(made, vault, reading)
    finally:
        await made.close()


@asynccontextmanager
async def _reader(store: StoreSettings) -> AsyncIterator[Database]:
    assert store.database_url is not None
    conninfo = role_url(store.database_url, "cairn_reader", store.database_role_password)
    database = Database(
        conninfo, name="import", connections_max=1, read_only=True, statement_seconds_max=STATEMENT_SECONDS_MAX
    )
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def _caught_up(engine: Engine, tenant: UUID) -> None:
    """Brings the company's read models on, beside whatever projector does it: batches of one of the two count."""
    for _ in range(CATCH_UP_ATTEMPTS):
        try:
            await engine.advance(tenant)
        except Fenced:
            continue
        return
    raise Unavailable("the read models are kept from being brought up to date")


def _tallies(each: Wishes) -> dict[str, Tally]:
    found: dict[str, Tally] = {}
    for what in KINDS:
        things = [thing.tally for thing in each.things if thing.what == what]
        if things:
            names = ("new", "changed", "same", "left_out")
            found[what] = Tally(*(sum(getattr(tally, name) for tally in things) for name in names))
    return found


def _strangers(each: Wishes) -> Iterator[Fault]:
    for found in each.rows.values():
        for row in found:
            yield row.fault("company", "company.unknown", "No row of companies has this key, and none is here")


async def _members(reader: Reader, vault: Vault) -> list[Member]:
    """Those who belong to the company."""
    found: list[Member] = []
    while page := await access.members(
        reader, vault, at=POSITION_MAX, limit=MEMBERS_PAGE, after=found[-1].member_id if found else None
    ):
        found += page
    return found


def _addresses(each: Wishes, known: Sequence[Member]) -> Iterator[Fault]:
    """Addresses that another member has, here or in the source."""
    taken = {member.email.casefold(): member.member_id for member in known}
    for thing in each.things:
        if thing.what == "members" and thing.keys:
            row = thing.rows[0]
            if taken.setdefault(row.text("email").casefold(), thing.ref.id) != thing.ref.id:
                yield row.fault("email", "membership.email-taken", "Another member of the company has this address")


def _ownerless(each: Wishes, known: Sequence[Member], written: Sequence[Written]) -> Iterator[Fault]:
    """The row that would leave a company without an owner which has one."""
    owners = {member.member_id for member in known if member.role == Role.OWNER}
    leaving = None
    for ref, event in written:
        match event:
            case MemberAdded(role=Role.OWNER) | RoleChanged(now=Role.OWNER):
                owners.add(ref.id)
            case RoleChanged(was=Role.OWNER) | MemberRemoved(role=Role.OWNER):
                owners.discard(ref.id)
                leaving = ref
    if leaving is not None and not owners:
        row = next(thing.rows[0] for thing in each.things if thing.ref == leaving)
        yield row.fault("role", "membership.last-owner", "A company keeps at least one owner")


def _named(each: Wishes) -> Iterator[tuple[Row, UUID]]:
    for thing in each.things:
        if thing.what == "projects":
            yield thing.rows[0], thing.ref.id


def _same_names(each: Wishes) -> Iterator[Fault]:
    taken: dict[str, UUID] = {}
    for row, id in _named(each):
        if taken.setdefault(project_names.normalised(row.text("name")), id) != id:
            yield row.fault("name", "project.name-taken", "Another project of the company has this name")
