"""`cairn import`: a company is there whole or not at all, again adds nothing, read models say what the source says."""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import psycopg
import pytest
from click.testing import CliRunner, Result

from api.settings import ApiSettings
from cairn import care
from cairn.cli import cairn
from cairn.importing import plan as plans
from cairn.importing import rows, wishes
from cairn.importing import run as importing
from cairn.importing.faults import Faults
from cairn.importing.run import RolledBack
from domain.decider import Command, Ref, Role
from domain.membership import AddMember, ChangeRole
from domain.project import CreateProject
from domain.registry import BY_CATEGORY
from eventstore import log
from eventstore.db import Database, role_url
from eventstore.settings import StoreSettings
from eventstore.transact import Context, Store, transact
from projections.follower import Follower
from projections.inline import InlineModels
from projections.registry import INLINE
from projections.settings import EngineSettings
from tests import keys
from tests.cairn import old_product

Import = Callable[..., Result]


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Import:
    """Runs the verb on a database of the test's own."""
    monkeypatch.setenv("CAIRN_DATABASE_URL", database_url)
    if password := urlsplit(database_url).password:
        monkeypatch.setenv("CAIRN_DATABASE_ROLE_PASSWORD", password)
    monkeypatch.setenv("CAIRN_KEK", keys.KEK)

    def runs(*given: Path | str) -> Result:
        return CliRunner().invoke(cairn, ["import", *map(str, given)], catch_exceptions=False)

    return runs


def company(key: str) -> UUID:
    """The id that a company of the old product gets."""
    return wishes.id_of(plans.Plan(source="old product", tables=()), "companies", key)


def answered(result: Result) -> list[list[str]]:
    """The lines of the answer, cut into cells."""
    return [line.split("\t") for line in result.stdout.splitlines()]


def logged(database_url: str, tenant: UUID) -> list[tuple[str, UUID]]:
    """Type and command of every event of a company."""

    return asyncio.run(read(database_url, tenant))


async def read(database_url: str, tenant: UUID) -> list[tuple[str, UUID]]:
    """As `logged`."""
    async with _store(database_url) as store, store.writer.bound(tenant) as reader:
        events = [stored.decoded() for stored in await log.read_log(reader, after=0)]
    return [(event.type, event.command_id) for event in events]


class _store:
    """The write side of another process, open for as long as the block lasts."""

    def __init__(self, database_url: str) -> None:
        vault = keys.vault()
        conninfo = role_url(database_url, "cairn_writer", urlsplit(database_url).password)
        inline = InlineModels(INLINE, vault)
        self._store = Store(Database(conninfo, name="writer"), StoreSettings(), vault=vault, inline=inline)

    async def __aenter__(self) -> Store:
        await self._store.open()
        return self._store

    async def __aexit__(self, *_: object) -> None:
        await self._store.close()


def sent(database_url: str, tenant: UUID, ref: Ref, *commands: Command) -> None:
    """What somebody does by hand."""
    asyncio.run(send(database_url, tenant, ref, *commands))


async def send(database_url: str, tenant: UUID, ref: Ref, *commands: Command) -> None:
    """As `sent`."""
    async with _store(database_url) as store:
        for command in commands:
            context = Context(tenant=tenant, actor=UUID(int=0), command_id=uuid4(), request_hash=bytes(8))
            await transact(store, BY_CATEGORY[ref.category], ref.id, command, context)


@pytest.mark.parametrize("kind", old_product.FORMATS)
def test_every_format_gives_the_same(kind: str, run: Import, database_url: str, tmp_path: Path) -> None:
    files = old_product.written(tmp_path, kind, old_product.database())
    result = run(*files)
    assert result.exit_code == 0, result.output
    lines = answered(result)
    assert lines[0] == [f"company {company('1')}: positions 1–14, one unit"]
    assert ["members", "2", "0", "0", "1"] in lines
    assert ["lines", "2", "0", "0", "0"] in lines
    assert ["lines", "quantity", "4378", "4378", "same"] in lines
    assert ["lines", "extension", "25505.53", "25505.53", "same"] in lines
    assert ["prices", "unit_price", "46.85382", "46.85382", "same"] in lines
    events = logged(database_url, company("1"))
    assert len(events) == 14
    assert len({command for _, command in events}) == 1
    assert [type for type, _ in logged(database_url, company("2"))] == [
        "company.registered",
        "membership.added",
        "membership.preferences-changed",
    ]


def test_a_dry_run_shows_all_and_writes_nothing(run: Import, database_url: str, tmp_path: Path) -> None:
    files = old_product.written(tmp_path, "sqlite", old_product.database())
    result = run("--dry-run", *files)
    assert result.exit_code == 0
    assert "nothing was written" in result.stderr
    assert ["lines", "extension", "25505.53"] in answered(result)
    assert logged(database_url, company("1")) == []


def test_again_adds_nothing_and_what_changed_is_revised(run: Import, database_url: str, tmp_path: Path) -> None:
    database = old_product.database()
    assert run(*old_product.written(tmp_path, "sqlite", database)).exit_code == 0
    before = logged(database_url, company("1"))
    again = run(*old_product.written(tmp_path, "json", database))
    assert [f"company {company('1')}: nothing new"] in answered(again)
    assert logged(database_url, company("1")) == before
    database["organizations"][0]["name"] = "Northern Paving & Grading"
    database["users"][1]["role"] = "viewer"
    database["users"][3]["enabled"] = "yes"
    database["codes"][0]["title"] = "REMOVE SIGNS"
    database["rates"][1]["price"] = "6"
    database["jobs"][0]["city"] = "Fergus Falls"
    database["items"][0] |= {"qty": "13", "section": "Demolition"}
    database["items"].append(database["items"][1] | {"id": "702", "qty": "1"})
    changed = run(*old_product.written(tmp_path, "csv", database))
    assert changed.exit_code == 0, changed.output
    lines = answered(changed)
    told = {line[0]: line[1:] for line in lines[1:8]}
    assert told == {
        "companies": ["0", "1", "0", "0"],
        "members": ["1", "1", "1", "0"],
        "projects": ["0", "1", "0", "0"],
        "estimates": ["0", "0", "1", "0"],
        "lines": ["1", "1", "1", "0"],
        "codes": ["0", "1", "1", "0"],
        "prices": ["0", "1", "1", "0"],
    }
    assert sorted(type for type, _ in logged(database_url, company("1"))[len(before) :]) == [
        "codeset.codes-imported",
        "company.renamed",
        "estimate.line-moved",
        "estimate.line-revised",
        "estimate.lines-imported",
        "membership.added",
        "membership.preferences-changed",
        "membership.role-changed",
        "pricebook.prices-imported",
        "project.metadata-changed",
    ]


def test_what_was_changed_here_since_is_set_back(run: Import, database_url: str, tmp_path: Path) -> None:
    files = old_product.written(tmp_path, "sqlite", old_product.database())
    run(*files)
    bo = wishes.id_of(plans.Plan(source="old product", tables=()), "members", "1", "2")
    sent(database_url, company("1"), Ref("membership", bo), ChangeRole(role=Role.VIEWER))
    assert ["members", "0", "1", "1", "1"] in answered(run(*files))


def test_every_fault_is_told_at_its_row_and_nothing_is_written(run: Import, database_url: str, tmp_path: Path) -> None:
    database = old_product.database()
    database["users"][1] |= {"mail": "nobody"}
    database["users"].append(database["users"][2] | {"id": "9", "role": "Chief"})
    database["codes"][1]["uom"] = "furlongs"
    database["items"][0]["qty"] = "1.234,5"
    database["items"][1] |= {"price": "", "bid": "71"}
    result = run(*old_product.written(tmp_path, "csv", database))
    assert result.exit_code == 1
    assert [line[:5] for line in answered(result)] == [
        ["items.csv", "", "1", "qty", "number-unreadable"],
        ["items.csv", "", "2", "price", "blank"],
        ["users.csv", "", "2", "mail", "email"],
        ["codes.csv", "", "2", "uom", "unit-unknown"],
        ["users.csv", "", "5", "role", "enum"],
    ]
    database["items"] = old_product.database()["items"]
    database["items"][1]["bid"] = "71"
    database["users"] = old_product.database()["users"]
    database["codes"] = old_product.database()["codes"]
    result = run(*old_product.written(tmp_path, "csv", database))
    assert [line[:5] for line in answered(result)] == [["items.csv", "", "2", "", "estimate.unknown"]]
    assert logged(database_url, company("1")) == []


def test_who_or_what_is_there_already_is_a_fault(run: Import, database_url: str, tmp_path: Path) -> None:
    database = old_product.database()
    tenant = company("1")
    files = old_product.written(tmp_path, "sqlite", {"organizations": database["organizations"]})
    assert run(*files).exit_code == 0
    sent(
        database_url,
        tenant,
        Ref("membership", uuid4()),
        AddMember(name="Ada", email="ADA@northern.example", role=Role.OWNER),
    )
    sent(database_url, tenant, Ref("project", uuid4()), CreateProject(name="th 108 "))
    result = run("--dry-run", *old_product.written(tmp_path, "sqlite", database))
    assert result.exit_code == 1
    assert [line[1:5] for line in answered(result)] == [
        ["users", "1", "mail", "membership.email-taken"],
        ["jobs", "1", "name", "project.name-taken"],
    ]


def test_a_company_keeps_an_owner(run: Import, tmp_path: Path) -> None:
    database = old_product.database()
    run(*old_product.written(tmp_path, "sqlite", database))
    database["users"][0]["role"] = "User"
    result = run("--dry-run", *old_product.written(tmp_path, "sqlite", database))
    assert [line[:5] for line in answered(result)] == [["old.db", "users", "1", "role", "membership.last-owner"]]
    database["users"][1]["role"] = "Admin"
    assert run(*old_product.written(tmp_path, "sqlite", database)).exit_code == 0


def test_names_and_addresses_of_members_are_not_changed(run: Import, tmp_path: Path) -> None:
    database = old_product.database()
    run(*old_product.written(tmp_path, "sqlite", database))
    database["users"][1]["full_name"] = "Bo Berg"
    result = run(*old_product.written(tmp_path, "sqlite", database))
    assert [line[1:5] for line in answered(result)] == [["users", "2", "", "membership.already-added"]]


def test_everything_goes_into_a_company_that_is_here(run: Import, database_url: str, tmp_path: Path) -> None:
    database = old_product.database()
    run(*old_product.written(tmp_path, "sqlite", {"organizations": database["organizations"]}))
    codes = {"codes": database["codes"]}
    plan = old_product.planned(["codes"], company=str(company("2")))
    del plan["tables"][0]["columns"]["company"]
    result = run(*old_product.written(tmp_path, "csv", codes, plan))
    assert result.exit_code == 0, result.output
    assert [type for type, _ in logged(database_url, company("2"))][-2:] == [
        "codeset.registered",
        "codeset.codes-imported",
    ]
    stranger = old_product.planned(["codes"], company=str(uuid4()))
    del stranger["tables"][0]["columns"]["company"]
    result = run(*old_product.written(tmp_path, "csv", codes, stranger))
    assert [line[4] for line in answered(result)][-2:] == ["company.unknown", "company.unknown"]


def test_a_key_that_no_company_has_is_a_fault(run: Import, tmp_path: Path) -> None:
    database = old_product.database()
    database["codes"][1]["org"] = "3"
    result = run(*old_product.written(tmp_path, "csv", database))
    assert [line[:5] for line in answered(result)] == [["codes.csv", "", "2", "org", "company.unknown"]]


def test_an_id_is_never_made_from_an_address(run: Import, tmp_path: Path) -> None:
    database = old_product.database()
    plan = old_product.planned(["organizations", "users"])
    plan["tables"][1]["columns"]["key"] = "mail"
    result = run(*old_product.written(tmp_path, "csv", database, plan))
    assert {line[4] for line in answered(result)} == {"key-is-address"}


def test_what_the_keeper_of_the_source_says_is_held_against_it(run: Import, tmp_path: Path) -> None:
    def with_expectation(rows: int, total: str) -> list[Path]:
        plan = old_product.planned()
        plan["tables"][3]["expect"] = {"rows": rows, "sums": {"unit_price": total}}
        return old_product.written(tmp_path, "json", old_product.database(), plan)

    result = run("--dry-run", *with_expectation(3, "46.9"))
    assert [line[4] for line in answered(result)] == ["rows-unexpected", "sum-unexpected"]
    assert run("--dry-run", *with_expectation(2, "46.85382")).exit_code == 0


async def test_a_company_that_is_refused_leaves_nothing(database_url: str, tmp_path: Path) -> None:
    """An address is taken between the check and the append: the whole unit falls."""
    plan_file, *paths = old_product.written(tmp_path, "sqlite", old_product.database())
    plan, faults = plans.read(plan_file), Faults()
    store = StoreSettings(database_url=database_url, database_role_password=urlsplit(database_url).password)
    found = rows.read(plan, paths, faults, lambda *_: None)
    first, second = wishes.of(plan, found, faults)
    async with importing.opened(store, ApiSettings(kek=keys.KEK)) as writing:
        for each in (first, second):
            await writing.decided(each, faults)
        assert faults.total == 0
        command = AddMember(name="Jörg", email="joerg@suedbau.example", role=Role.OWNER)
        await send(database_url, company("2"), Ref("membership", uuid4()), command)
        with pytest.raises(RolledBack, match=r"nothing of it was written.*membership\.email-taken.*1 companies before"):
            await writing.write(second, await writing.decided(first, faults), [company("1")])
    assert [type for type, _ in await read(database_url, company("2"))] == ["membership.added"]


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_connections_and_their_mappings(kind: str, run: Import, database_url: str, tmp_path: Path) -> None:
    database = old_product.connections()
    if kind == "json":
        database["documents"][0]["body"] = json.loads(database["documents"][0]["body"])
    files = old_product.written(tmp_path, kind, database)
    result = run(*files)
    assert result.exit_code == 0, result.output
    lines = answered(result)
    assert ["connections", "2", "0", "0", "0"] in lines
    assert ["mapping_fields", "count", "3", "3", "same"] in lines
    assert ["mappings", "fields", "1", "1", "same"] in lines
    assert sorted(type for type, _ in logged(database_url, company("1"))) == [
        "company.registered",
        "connection.credentials-replaced",
        "connection.disabled",
        "connection.mapping-set",
        "connection.mapping-set",
        "connection.opened",
        "connection.opened",
        "connection.schedule-set",
    ]
    assert [f"company {company('1')}: nothing new"] in answered(run(*files))
    database["configs"][0] |= {"key": "another", "page_size": "500"}
    database["configs"][1]["enabled"] = "yes"
    database["fields"].append({**database["fields"][1], "theirs": "Source", "ours": "source", "pfa": "source"})
    changed = answered(run(*old_product.written(tmp_path, kind, database)))
    assert ["connections", "0", "2", "0", "0"] in changed
    assert ["mapping_fields", "1", "0", "3", "0"] in changed
    assert sorted(type for type, _ in logged(database_url, company("1"))[8:]) == [
        "connection.credentials-replaced",
        "connection.enabled",
        "connection.mapping-set",
        "connection.revised",
    ]


def test_faults_of_connections_are_told_at_their_rows_and_secrets_never(run: Import, tmp_path: Path) -> None:
    database = old_product.connections()
    database["configs"][0] |= {"page_size": "0", "key": "s3cret\0"}
    database["configs"][1] |= {"cron": "99 5 * * *", "zone": "Mars"}
    database["fields"][1] |= {"kind": "lst"}
    database["fields"][2] |= {"unit": "", "is_key": "perhaps"}
    database["documents"].append({"org": "1", "config": "5", "body": "{"})
    result = run(*old_product.written(tmp_path, "json", database))
    assert [line[1:5] for line in answered(result)] == [
        ["data.configs", "1", "key", "text-control-character"],
        ["data.fields", "3", "is_key", "boolean-unreadable"],
        ["data.documents", "2", "body", "document-unreadable"],
        ["data.configs", "2", "cron", "cron"],
        ["data.configs", "2", "zone", "time-zone-unknown"],
        ["data.fields", "2", "kind", "type-unknown"],
    ]
    assert "s3cret" not in result.output
    database = old_product.connections()
    database["configs"][0]["page_size"] = "0"
    database["documents"][0]["config"] = "5"
    result = run(*old_product.written(tmp_path, "csv", database))
    assert [line[:1] + line[2:5] for line in answered(result)] == [
        ["documents.csv", "1", "config", "mapping-twice"],
        ["configs.csv", "1", "page_size", "greater-than-equal"],
    ]


@contextmanager
def writing_blocked(database_url: str, files: Sequence[Path]) -> Iterator[tuple[Popen[str], psycopg.Connection]]:
    """An import in a process of its own that waits in the middle of its append; nobody else's waits after the block."""
    with psycopg.connect(database_url) as blocking, psycopg.connect(database_url, autocommit=True) as watching:
        blocking.execute("lock table cairn.events in exclusive mode")
        command = [sys.executable, "-m", "cairn", "import", *map(str, files)]
        with Popen(command, stdout=PIPE, stderr=PIPE, text=True) as process:
            while not watching.execute(WAITING).fetchone():
                assert process.poll() is None, process.communicate()
            yield process, watching
        blocking.rollback()
        while watching.execute(ALIVE).fetchone():
            pass


ALIVE = "select pid from pg_stat_activity where application_name = 'cairn import' and datname = current_database()"
WAITING = f"{ALIVE} and wait_event_type = 'Lock'"


def test_killed_in_its_append_it_leaves_nothing_and_is_run_again(
    run: Import, database_url: str, tmp_path: Path
) -> None:
    files = old_product.written(tmp_path, "sqlite", old_product.database())
    with writing_blocked(database_url, files) as (process, _):
        process.kill()
    assert logged(database_url, company("1")) == []
    assert run(*files).exit_code == 0
    assert len(logged(database_url, company("1"))) == 14


def test_without_its_connections_it_says_that_nothing_is_known(run: Import, database_url: str, tmp_path: Path) -> None:
    files = old_product.written(tmp_path, "sqlite", old_product.database())
    with writing_blocked(database_url, files) as (process, watching):
        while process.poll() is None:
            watching.execute(f"select pg_terminate_backend(pid) from ({WAITING}) waiting")
        assert process.returncode == 1
        assert process.stderr is not None
        assert "Whether it was written is not known: run the import again" in process.stderr.read()
    assert logged(database_url, company("1")) == []
    assert run(*files).exit_code == 0


def test_a_projector_may_run_meanwhile(run: Import, database_url: str, tmp_path: Path) -> None:
    """Whoever claims a company's read models last goes on with them; the figures are the same."""
    files = old_product.written(tmp_path, "sqlite", old_product.database())

    async def both() -> Result:
        store = StoreSettings(database_url=database_url, database_role_password=urlsplit(database_url).password)
        async with care.projector(store) as database:
            follower, stopping = Follower(database, EngineSettings(projector_poll_seconds=0.05)), asyncio.Event()
            following = asyncio.create_task(follower.run(stopping))
            await follower.wait_ready()
            result = await asyncio.to_thread(run, *files)
            stopping.set()
            await following
        return result

    result = asyncio.run(both())
    assert result.exit_code == 0, result.output
    assert ["lines", "extension", "25505.53", "25505.53", "same"] in answered(result)
