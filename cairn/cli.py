"""The command line: one verb per function, no logic of its own."""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar
from uuid import UUID

import click
from msgspec.structs import replace

from api.identity import mint_operator
from cairn import (
    care,
    demo,
    doctor,
    generate,
    keys,
    mirroring,
    replay,
    roles,
    schema,
    servers,
    settings,
    tail,
    terminal,
    tokens,
    tour,
    up,
)
from cairn.client import ApiError
from cairn.embedded import EmbeddedError
from cairn.importing import faults, plan, report, run, suggestion
from cairn.importing.sources import Asks, SourceWrong
from cairn.settings import PROCESSES, Settings
from cairn.terminal import Asked, Failed, SettingsWrong, say, show, show_table
from eventstore import keyring
from eventstore.db import Unavailable, Unsafe
from eventstore.schemas import Incompatible
from eventstore.settings import SettingsError
from migrations import run as migrations
from projections.parking import NotParked
from projections.rebuild import Busy, Differs

P = ParamSpec("P")
R = TypeVar("R")

COMPANY = click.option(
    "--company", type=click.UUID, default=demo.COMPANY, show_default="the sample's", help="Whom to act for."
)
PROJECT_FOLDER = Path(__file__).parent.parent


def plainly(verb: Callable[P, R]) -> Callable[P, R]:
    """What may go wrong outside ends the verb with one message, never with a trace."""

    @wraps(verb)
    def verb_ending_plainly(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return verb(*args, **kwargs)
        except SettingsError as error:
            raise SettingsWrong(error) from error
        except (
            ApiError,
            Busy,
            Differs,
            EmbeddedError,
            Incompatible,
            NotParked,
            Unavailable,
            Unsafe,
            up.UpError,
            OSError,
        ) as error:
            raise Failed(error) from error

    return verb_ending_plainly


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cairn() -> None:
    """Cairn: an append-only history of every edit, and every question answered from it, now or as of any moment."""


@cairn.command("up")
@click.option("--demo/--no-demo", "with_demo", default=True, help="Load the sample data once everything runs.")
@click.option("--stay", is_flag=True, help="Go on when the process that started this one is gone.")
@plainly
def up_(with_demo: bool, stay: bool) -> None:
    """Run everything on this machine until Ctrl-C: servers, API, workers, sample data."""
    try:
        asyncio.run(_up(settings.read(), with_demo, stay))
    except up.AlreadyUp as running:
        show(str(running))


async def _up(all_settings: Settings, with_demo: bool, stay: bool) -> None:
    system = up.System(all_settings, say, stay=stay, with_erp=with_demo)
    try:
        await system.start()
        if system.stopping.is_set():
            return
        show(f"Cairn runs at {system.url} (docs: {system.url}/schema). Data and logs: {system.folder}")
        if with_demo and system.operator_token:
            await asyncio.to_thread(
                _load_sample, all_settings, system.url, system.operator_token, system.erp_url or None
            )
        show("Ctrl-C stops everything.")
        await system.stopping.wait()
        say("stopping")
    finally:
        await system.stop()


def _load_sample(all_settings: Settings, url: str, operator_token: str, erp_url: str | None) -> None:
    folder = all_settings.tools.sample_data
    try:
        sample = demo.at_hand(folder)
    except ValueError as error:
        raise Failed(error) from error
    with terminal.bar() as bar:
        loaded = demo.load(url, operator_token, sample, bar.advance)
        mirrored = None if erp_url is None else mirroring.load(url, loaded.token, erp_url, folder, bar.advance)
    show_table(
        ("version", "title", "total"),
        [(version, title, f"{total:,}") for version, (title, total) in enumerate(loaded.totals, 1)],
        numeric=("version", "total"),
    )
    trial = None
    if mirrored is not None:
        show_table(("rows of the example ERP", "count"), [*mirrored.counts.items()], numeric=("count",))
        trial = mirrored.trial
    for line in tour.lines(url, loaded, trial):
        show(line)


@cairn.command("demo")
@click.option("--data", "folder", metavar="DIR", help="Folder with published data; `carried` for what needs no files.")
@plainly
def demo_(folder: str | None) -> None:
    """Load the sample data into the API that runs, and show what to try."""
    all_settings = settings.read()
    url, operator_token = tokens.whom_to_ask(all_settings)
    if folder is not None:
        all_settings = replace(all_settings, tools=replace(all_settings.tools, sample_data=folder))
    erp_url = None if all_settings.tools.url else up.erp_url_of(all_settings.store.data_folder)
    _load_sample(all_settings, url, operator_token, erp_url)


@cairn.command("generate")
@click.option("--projects", type=click.IntRange(1, 100_000), default=100, show_default=True, help="How many.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Same seed, same portfolio.")
@click.option("--lines", type=click.IntRange(3, 5_000), default=30, show_default=True, help="Per estimate, on average.")
@click.option("--dry-run", is_flag=True, help="Count the commands by verb, and send none.")
@COMPANY
@plainly
def generate_(projects: int, seed: int, lines: int, dry_run: bool, company: UUID) -> None:
    """Load a portfolio of projects that nobody ever built, labelled synthetic, into the API that runs."""
    if dry_run:
        counted = Counter(command.verb for run in generate.batches(projects, seed, lines) for command in run)
        show_table(("verb", "commands"), sorted(counted.items()), numeric=("commands",))
        return
    portfolio = list(generate.batches(projects, seed, lines))
    with tokens.caller(settings.read(), company) as client, terminal.bar() as bar:
        sent = demo.send(client, [("projects", portfolio)], bar.advance)
    show(f"{sent:,} commands")


@cairn.command("import")
@click.argument("plan_file", metavar="PLAN", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("sources", metavar="SOURCE…", nargs=-1, type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Check everything, show counts and sums, write nothing.")
@click.option("--suggest", is_flag=True, help="Take every argument for a SOURCE, and print a plan to begin with.")
@click.option("--encoding", type=click.Choice(plan.ENCODINGS), help="Of text files, with --suggest.")
@click.option("--faults", "shown", type=click.IntRange(1), default=faults.SHOWN, show_default=True, help="Listed.")
@plainly
def import_(  # noqa: PLR0917 # click passes options by name
    plan_file: Path, sources: Sequence[Path], dry_run: bool, suggest: bool, encoding: str | None, shown: int
) -> None:
    """Import a database from CSV, XLSX, SQLite or JSON files, as a plan says which column is what.

    Each company is written whole or not at all. Again, it adds what is new and revises what changed. Exit codes: 1
    faults (nothing was written) or figures that differ, 3 something must be stated first.
    """
    try:
        if suggest:
            show(suggestion.of([plan_file, *sources], encoding), end="")
            return
        if not sources:
            raise click.UsageError("Give at least one SOURCE")
        source = run.Source(plan.read(plan_file), sources)
        told = _imported(settings.read(), source, faults.Faults(shown), dry_run=dry_run)
    except (SourceWrong, plan.PlanWrong, run.RolledBack) as error:
        raise Failed(error) from error
    except Asks as question:
        raise Asked(question) from question
    report.told(told)
    if told.faults.asks:
        raise Asked("\n".join(told.faults.asks))
    if told.faults.total:
        raise Failed(f"{told.faults.total:,} faults; nothing was written")
    if told.differing:
        raise Failed("The read models say otherwise than the source; `cairn doctor` tells more")


def _imported(all_settings: Settings, source: run.Source, found: faults.Faults, *, dry_run: bool) -> run.Outcome:
    with servers.at_hand(all_settings.store) as store, terminal.bar() as bar:
        api = servers.with_keys(all_settings)
        return asyncio.run(run.imported(store, api, source, dry_run=dry_run, faults=found, advance=bar.advance))


@cairn.command()
@click.option("--to", "revision", help="Stop at this revision: 0001, head, base.")
@click.option("--down", is_flag=True, help="Migrate down instead, to --to.")
@plainly
def migrate(revision: str | None, down: bool) -> None:
    """Bring the database to the newest schema, or to --to. The URL's user must be able to create roles."""
    if down and revision is None:
        raise click.UsageError("--down needs --to: a revision such as 0001, or base for an empty database")
    with servers.at_hand(settings.read().store) as store:
        assert store.database_url is not None
        if down:
            migrations.downgrade(store.database_url, revision or "base")
        else:
            migrations.upgrade(store.database_url, revision or "head", store.database_role_password)
            if revision is None:
                asyncio.run(care.prepare(store))
    say("the database is migrated")


@cairn.command("schema")
@plainly
def schema_() -> None:
    """Write the schema of a migrated database to migrations/schema.sql, and those of events that changed."""
    for file in schema.written():
        show(str(file.relative_to(PROJECT_FOLDER)))


@cairn.command("settings")
@click.option("--into", type=click.Path(path_type=Path, exists=True), help="Write the table into this file instead.")
@plainly
def settings_(into: Path | None) -> None:
    """List every setting with its unit, its default and what it means."""
    if into is not None:
        settings.write_into(into)
        return
    rows = [(each.name, each.default, each.unit, each.description) for each in settings.described()]
    show_table(("name", "default", "unit", "meaning"), rows)


@cairn.command("roles")
@click.option("--into", type=click.Path(path_type=Path, exists=True), help="Write the table into this file instead.")
@plainly
def roles_(into: Path | None) -> None:
    """List who may send which command and ask which query."""
    if into is not None:
        roles.write_into(into)
        return
    show_table(("what", "which", "who"), roles.listed())


@cairn.command()
@click.argument("sides", nargs=-1, type=click.Choice(["commands", "queries"]))
@plainly
def serve(sides: Sequence[str]) -> None:
    """Serve the API: commands, queries, or both."""
    settings.read()
    _become("api", ["api", *(sides or ("commands", "queries"))])


@cairn.command()
@click.argument("name", type=click.Choice([name for name in PROCESSES if name != "api"]))
@plainly
def worker(name: str) -> None:
    """Run one worker: the projector, the relay, the simulator or the syncer."""
    settings.read()
    _become(name, ["workers", name])


def _become(process: str, module: Sequence[str]) -> None:
    """Turn this process into that one: what only the command line needs leaves the memory."""
    os.chdir(PROJECT_FOLDER)
    environment = settings.known_to(PROCESSES[process][1], os.environ)
    os.execve(sys.executable, [sys.executable, "-m", *module], environment)  # noqa: S606 # no shell is wanted


@cairn.command("doctor")
@plainly
def doctor_() -> None:
    """Check roles, row-level security, migrations, the log, the read models and the workers; say how to mend."""
    all_settings = settings.read()
    with servers.at_hand(all_settings.store) as store:
        findings = asyncio.run(doctor.examine(store, all_settings.api))
    for finding in findings:
        show(f"{'ok  ' if finding.good else 'BAD '} {finding.check}: {finding.seen}", None if finding.good else "red")
        if not finding.good:
            show(f"     {finding.remedy}")
    if not all(finding.good for finding in findings):
        raise click.exceptions.Exit(terminal.FAILED)


@cairn.command("tail")
@click.option("--after", type=click.IntRange(min=0), help="Begin after this position; without it, with what is new.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many events.")
@COMPANY
@plainly
def tail_(after: int | None, count: int | None, company: UUID) -> None:
    """Follow a company's events in the terminal."""
    url, token = tokens.whom_to_ask(settings.read())
    tail.follow(url, token, company, after=after, count=count)


@cairn.command("replay")
@click.argument("what", metavar="(estimate|project|MODEL)")
@click.argument("id", type=click.UUID, required=False)
@click.option("--at", metavar="POSITION|TIMESTAMP", help="As of then; without it, now.")
@COMPANY
@plainly
def replay_(what: str, id: UUID | None, at: str | None, company: UUID) -> None:
    """Fold the log up to a moment, and compare with what the read model says of that moment.

    `cairn replay estimate ID` folds one estimate; `cairn replay kpi_summary` builds a whole read model anew.
    """
    moment = replay.moment(at)
    with servers.at_hand(settings.read().store) as store, terminal.bar() as bar:
        same = asyncio.run(replay.compared(store, company, (what, id, moment), bar.advance))
    if not same:
        raise Failed("the read model says otherwise: `cairn doctor` tells more, `cairn rebuild` mends it")


@cairn.command()
@click.argument("name")
@click.option("--accept-differences", is_flag=True, help="Switch even if the new one differs from the old.")
@plainly
def rebuild(name: str, accept_differences: bool) -> None:
    """Build a read model anew beside the old one, compare the two, and switch."""
    with servers.at_hand(settings.read().store) as store, terminal.bar() as bar:
        show(asyncio.run(care.rebuilt(store, name, bar.advance, accept_differences=accept_differences)))


@cairn.group()
def parked() -> None:
    """Events a read model could not take, and what waits behind them."""


@parked.command("list")
@plainly
def parked_list() -> None:
    """What is parked, oldest first."""
    with servers.at_hand(settings.read().store) as store:
        rows = asyncio.run(care.parked(store))
    show_table(("company", "model", "key", "events", "since position", "type", "error"), rows)


@parked.command("replay")
@click.argument("model")
@click.argument("key")
@COMPANY
@plainly
def parked_replay(model: str, key: str, company: UUID) -> None:
    """Try what is parked under a key again, with today's code."""
    with servers.at_hand(settings.read().store) as store:
        show(asyncio.run(care.replayed(store, company, model, key)))


@parked.command("skip")
@click.argument("model")
@click.argument("key")
@click.option("--reason", required=True, help="Why; it is kept.")
@COMPANY
@plainly
def parked_skip(model: str, key: str, reason: str, company: UUID) -> None:
    """Leave out the event that failed, with a reason, and go on with what waits behind it."""
    with servers.at_hand(settings.read().store) as store:
        show(asyncio.run(care.skipped(store, company, model, key, reason)))


@cairn.group("keys")
def keys_() -> None:
    """The keys that what is known of people is encrypted under."""


@keys_.command("new")
@plainly
def keys_new() -> None:
    """Make a key-encryption key, as CAIRN_KEK and CAIRN_KEK_FILE take it. It is shown once."""
    show(keyring.minted())


@keys_.command("list")
@plainly
def keys_list() -> None:
    """Under which key-encryption key each company's keys are, how many there are, and how many were erased."""
    with servers.at_hand(settings.read().store) as store:
        rows = asyncio.run(keys.listed(store))
    show_table(("company", "key-encryption key", "number", "since", "subjects", "erased"), rows)


@keys_.command("rewrap")
@plainly
def keys_rewrap() -> None:
    """Wrap all keys anew, under the first key-encryption key given. Nothing stops; the log stays as it is.

    Give every API process the new key, before the old one; then run this; then take the old one away. Backups made
    before open nothing once the old key is destroyed.
    """
    all_settings = settings.read()
    with servers.at_hand(all_settings.store) as store:
        rows = asyncio.run(keys.rewrapped(store, servers.with_keys(all_settings)))
    show_table(("company", "subjects"), rows)


@keys_.command("erase")
@click.option("--company", type=click.UUID, required=True, help="Whose member it was.")
@click.option("--subject", type=click.UUID, required=True, help="The member, who must have been removed.")
@click.option("--reason", type=click.Choice(keys.REASONS), required=True, help="Why; it is kept.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@plainly
def keys_erase(company: UUID, subject: UUID, reason: str, yes: bool) -> None:
    """Destroy the key of a former member: name, address and origins of requests can never be read again."""
    if not yes:
        click.confirm(f"Erase what is known of {subject}? There is no way back.", abort=True)
    with tokens.caller(settings.read(), company) as client:
        keys.erase(client, subject, reason)
    show("erased")


@cairn.group()
def token() -> None:
    """API tokens of a company's members."""


@token.command("issue")
@click.argument("email")
@click.option("--role", type=click.Choice(tokens.ROLES), default="estimator", show_default=True)
@click.option("--name", help="The member's name; without it the address.")
@click.option("--label", default="command line", show_default=True, help="What the token is for.")
@click.option("--days", type=click.IntRange(1, 3660), default=90, show_default=True, help="How long it works.")
@COMPANY
@plainly
def token_issue(  # noqa: PLR0917 # click passes options by name
    email: str, role: str, name: str | None, label: str, days: int, company: UUID
) -> None:
    """Issue a token to a member, who is added if need be. It is shown once."""
    with tokens.caller(settings.read(), company) as client:
        member = tokens.member_of(client, company, email, name=name or email, role=role)
        show(tokens.issued(client, company, member, label=label, expires_at=datetime.now(UTC) + timedelta(days=days)))


@token.command("list")
@COMPANY
@plainly
def token_list(company: UUID) -> None:
    """The members and their tokens."""
    with tokens.caller(settings.read(), company) as client:
        show_table(("member", "name", "role", "token", "label", "expires", "revoked"), tokens.listed(client))


@token.command("revoke")
@click.argument("member", type=click.UUID)
@click.argument("token_id", type=click.UUID)
@COMPANY
@plainly
def token_revoke(member: UUID, token_id: UUID, company: UUID) -> None:
    """End a token at once."""
    with tokens.caller(settings.read(), company) as client:
        tokens.revoked(client, member, token_id)
    show("revoked")


@token.command("operator")
@plainly
def token_operator() -> None:
    """Make a token for the operator, and the hash that CAIRN_OPERATOR_TOKEN_HASH takes. It is shown once."""
    made, secret_hash = mint_operator()
    show(f"{made}\nCAIRN_OPERATOR_TOKEN_HASH={secret_hash}")
