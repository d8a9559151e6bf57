"""From rows to commands: what each stream of a company has to be told to become what the source says of it.

The source leads: what it says is wanted here, whatever was changed here since. A field that is blank there, or that no
column is, stays as it is.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID, uuid5

import msgspec

from api import problems
from cairn.importing.faults import Fault, Faults
from cairn.importing.kinds import COMPANY
from cairn.importing.plan import Plan
from cairn.importing.rows import Row, Rows, Told
from domain.codeset import CodeSet, ImportCodes, RegisterCodeSet
from domain.company import ChangeSettings, ChangeTier, Company, RegisterCompany, RenameCompany
from domain.connection import (
    Connection,
    Credentials,
    DisableConnection,
    EnableConnection,
    OpenConnection,
    ReplaceCredentials,
    ReviseConnection,
    SetMapping,
    SetSchedule,
)
from domain.decider import Command, Ref, Rejected, Role
from domain.estimate_commands import ChangeNotes, ImportLines, MoveLine, ReviseLine, StartEstimate
from domain.estimate_state import Estimate
from domain.lines import IMPORT_LIMIT, Line, LineInput
from domain.membership import AddMember, ChangePreferences, ChangeRole, Membership, RemoveMember
from domain.money import plain
from domain.pricebook import ImportPrices, OpenPriceBook, PriceBook, name_of
from domain.project import ChangeMetadata, ChangeStatus, CreateProject, Project, RenameProject
from domain.upstreams import as_stored
from eventstore.transact import Wish

C = TypeVar("C", bound=Command)
Body = dict[str, Any]

IDS: Final = UUID("8a5c1f0e-3d2b-5e47-9c61-0b7d4f2a9e13")
"""Name space of the ids of what is imported."""
DISABLED: Final = "Not active in the system it was imported from"
LINE_FIELDS: Final[Sequence[str]] = (
    "description",
    "quantity",
    "unit",
    "unit_price",
    "code",
    "code_set",
    "code_edition",
    "cost_type",
    "note",
)
_LINE_INPUT: Final[Sequence[str]] = (*LINE_FIELDS, "extension")


class Wanted(NamedTuple):
    """A command, and the rows that it is from: one, or one for each of its items."""

    command: Command
    rows: Sequence[Row]


@dataclass
class Tally:
    """What becomes of rows."""

    new: int = 0
    changed: int = 0
    same: int = 0
    left_out: int = 0

    def add(self, before: object, after: object, *, there: bool) -> None:
        """Counts one row: what is here, if anything, and what is wanted."""
        if not there:
            self.new += 1
        elif before == after:
            self.same += 1
        else:
            self.changed += 1


@dataclass
class Thing:
    """A stream of the company as the source has it. `keys` are the ids, or the stream's id and the names within it,
    that the read models have it under afterwards. `told` and `tally` are of the latest decision.
    """

    what: str
    ref: Ref
    tell: Callable[[Any, Tally], Iterable[Wanted]]
    keys: list[tuple[Any, ...]]
    rows: Sequence[Row]
    told: list[Wanted] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)

    def wish(self) -> Wish:
        """As it is decided."""
        return Wish(self.ref, self._commands)

    def _commands(self, state: Any) -> list[Command]:
        self.tally = Tally()
        self.told = list(self.tell(state, self.tally))
        return [wanted.command for wanted in self.told]

    def refused(self, command: int, rejected: Rejected) -> Iterator[Fault]:
        """A refusal at the rows it is about."""
        rows = self.told[command].rows
        listed = rejected.facts.get("faults")
        if not isinstance(listed, list):
            yield rows[0].fault("", rejected.code, _explained(rejected.code, rejected.facts))
            return
        for each in listed:
            facts = {name: value for name, value in each.items() if name not in {"index", "code"}}
            yield rows[each["index"]].fault("", each["code"], _explained(each["code"], facts))


class Wishes(NamedTuple):
    """What one company is to become. `rows` are all that it is from."""

    id: UUID
    things: list[Thing]
    rows: Rows


def of(plan: Plan, rows: Rows, faults: Faults) -> list[Wishes]:
    """Everything, company by company, in the order of the source. What a command does not take is a fault."""
    companies = _by(rows["companies"], "key")
    parts = {what: _by(found, COMPANY) for what, found in rows.items() if what != "companies"}
    wishes = []
    for key in dict.fromkeys([*companies, *(key for part in parts.values() for key in part)]):
        id = plan.company or id_of(plan, "companies", key)
        own = {"companies": companies.get(key, []), **{what: part.get(key, []) for what, part in parts.items()}}
        wishes.append(Wishes(id, list(_things(plan, id, key, own, faults)), own))
    return wishes


def id_of(plan: Plan, what: str, *key: str) -> UUID:
    """The id follows from the source's name and its own key of the thing, so that it is the same in every import."""
    return uuid5(IDS, msgspec.json.encode([plan.source, what, *key]).decode())


def _things(plan: Plan, id: UUID, key: str, rows: Rows, faults: Faults) -> Iterator[Thing]:
    makers: Mapping[str, Callable[[_Making], Iterator[Thing]]] = {
        "companies": _companies,
        "members": _members,
        "codes": _codes,  # before lines, which name their editions
        "prices": _prices,
        "connections": _connections,
        "mappings": _mappings,
        "mapping_fields": _mapping_fields,
        "projects": _projects,
        "estimates": _estimates,
        "lines": _lines,
    }
    whole = {row.text("connection"): row for row in rows["mappings"]}
    for name in whole.keys() & {row.text("connection") for row in rows["mapping_fields"]}:
        message = "The connection's mapping is told as a document, and field by field too"
        faults.add(whole[name].fault("connection", "mapping-twice", message))
    for what in makers:
        yield from makers[what](_Making(plan, id, key, rows[what], faults))


class _Making(NamedTuple):
    """What things of one kind are made from."""

    plan: Plan
    company: UUID
    key: str
    rows: Sequence[Row]
    faults: Faults

    def id(self, what: str, *key: str) -> UUID:
        return id_of(self.plan, what, self.key, *key)

    def command(self, kind: type[C], body: Body, row: Row) -> C | None:
        """The command of one row; None, with its faults, when it does not take what the row says."""
        return self.made(kind, body, lambda path: (row, _field_at(row, path)))

    def batches(
        self, kind: type[C], name: str, items: Sequence[Body], rows: Sequence[Row]
    ) -> list[tuple[C, Sequence[Row]]]:
        """As few commands as take all items, each item from one row."""
        made = []
        for begin in range(0, len(items), IMPORT_LIMIT):
            part = rows[begin : begin + IMPORT_LIMIT]
            body = {name: items[begin : begin + IMPORT_LIMIT]}
            if (command := self.made(kind, body, partial(_item, part))) is not None:
                made.append((command, part))
        return made

    def made(self, kind: type[C], body: Body, place: Callable[[list[str]], tuple[Row, str]]) -> C | None:
        """The command, or its faults, each at the row and field that `place` tells from its path."""
        try:
            return kind.model_validate_json(msgspec.json.encode(body))
        except ValueError as error:  # every fault of it, each with a path
            for fault in problems.document_of(error)[0].faults:
                row, name = place(fault.path.split("/")[1:])
                self.faults.add(row.fault(name, fault.code, fault.message))
            return None


def _field_at(row: Row, path: Sequence[str]) -> str:
    """The field that a fault's path ends at: /upstream/http/auth/api-key/by may be `upstream.auth.by`."""
    for name in row.columns:
        parts = name.split(".")
        if path and parts[-1] == path[-1] and (len(parts) == 1 or parts[0] == path[0]):
            return name
    return ".".join(path)


def _item(rows: Sequence[Row], path: list[str]) -> tuple[Row, str]:
    return rows[int(path[1])], path[2] if len(path) > 2 else ""


def _companies(making: _Making) -> Iterator[Thing]:
    for row in making.rows:
        body = _body(row, "name", "tier", "tier_expires_on", "currency", "month_rule")
        command = making.command(RegisterCompany, body, row)
        if command is not None:
            yield Thing("companies", Ref("company", making.company), _company(command, row), [(making.company,)], [row])


def _company(wanted: RegisterCompany, row: Row) -> Callable[[Company, Tally], Iterable[Wanted]]:
    def tell(state: Company, tally: Tally) -> Iterator[Wanted]:
        commands = list(changes(state)) if state.name else [wanted]
        tally.add(commands, [], there=bool(state.name))
        yield from (Wanted(command, [row]) for command in commands)

    def changes(state: Company) -> Iterator[Command]:
        if wanted.currency != state.currency:
            yield wanted  # which is refused: amounts are in the company's currency
        if wanted.name != state.name:
            yield RenameCompany(name=wanted.name)
        until = wanted.tier_expires_on or state.subscription.tier_expires_on
        if (wanted.tier, until) != (state.subscription.tier, state.subscription.tier_expires_on):
            yield ChangeTier(tier=wanted.tier, tier_expires_on=until)
        if "month_rule" in row.values and wanted.month_rule != state.month_rule:
            yield ChangeSettings(month_rule=wanted.month_rule)

    return tell


def _members(making: _Making) -> Iterator[Thing]:
    """Owners first: a company that changes hands is never without one."""
    for row in sorted(making.rows, key=lambda row: row.text("role") != Role.OWNER or row.values.get("active") is False):
        if "@" in row.text("key"):
            message = "An id may not be made from an address: name the source's own id of the member as key"
            making.faults.add(row.fault("key", "key-is-address", message))
            continue
        id = making.id("members", row.text("key"))
        added = making.command(AddMember, _body(row, "name", "email", "role"), row)
        prefers = None
        if preferences := _body(row, "time_zone", "language"):
            prefers = making.command(ChangePreferences, preferences, row)
        if added is not None and (prefers is not None or not preferences):
            active = row.values.get("active") is not False
            tell = _member(added, prefers, row) if active else _former_member(row)
            yield Thing("members", Ref("membership", id), tell, [(id,)] if active else [], [row])


def _member(
    added: AddMember, prefers: ChangePreferences | None, row: Row
) -> Callable[[Membership, Tally], Iterable[Wanted]]:
    def tell(state: Membership, tally: Tally) -> Iterator[Wanted]:
        commands = list(changes(state))
        tally.add(commands, [], there=bool(state.name))
        yield from (Wanted(command, [row]) for command in commands)

    def changes(state: Membership) -> Iterator[Command]:
        if state.removed or (state.name, state.email) != (added.name, added.email):
            yield added  # which is refused for one who is there: name and address are not changed
        elif state.role != added.role:
            yield ChangeRole(role=added.role)
        if prefers is not None and any(getattr(state, name) != value for name, value in prefers.given().items()):
            yield prefers

    return tell


def _former_member(row: Row) -> Callable[[Membership, Tally], Iterable[Wanted]]:
    def tell(state: Membership, tally: Tally) -> Iterator[Wanted]:
        if state.name and not state.removed:
            tally.changed += 1
            yield Wanted(RemoveMember(), [row])
        else:
            tally.left_out += 1

    return tell


def _connections(making: _Making) -> Iterator[Thing]:
    for row in making.rows:
        id = making.id("connections", row.text("key"))
        upstream = _upstream(row)
        if upstream is None:
            making.faults.add(row.fault("upstream", "blank", "Neither upstream nor a part of it has a value"))
            continue
        body = {"name": row.text("name"), "upstream": upstream}
        if credentials := _body(row, "username", "secret"):
            body["credentials"] = credentials
        opened = making.command(OpenConnection, body, row)
        scheduled = None
        if schedule := _body(row, "cron", "time_zone"):
            scheduled = making.command(SetSchedule, {"schedule": schedule}, row)
        if opened is not None and (scheduled is not None or not schedule):
            yield Thing("connections", Ref("connection", id), _connection(opened, scheduled, row), [(id,)], [row])


def _upstream(row: Row) -> Body | None:
    """The document, with the places within it that other columns are: those go before."""
    whole = row.values.get("upstream")
    found: Body = dict(whole) if isinstance(whole, dict) else {}
    for name, value in row.values.items():
        if name.startswith("upstream."):
            inner = found
            *path, last = name.split(".")[1:]
            for part in path:
                inner[part] = dict(inner.get(part) or {})
                inner = inner[part]
            inner[last] = _json(value)
    return found or None


def _connection(
    opened: OpenConnection, scheduled: SetSchedule | None, row: Row
) -> Callable[[Connection, Tally], Iterable[Wanted]]:
    def tell(state: Connection, tally: Tally) -> Iterator[Wanted]:
        commands = list(changes(state) if state.name else first())
        tally.add(commands, [], there=bool(state.name))
        yield from (Wanted(command, [row]) for command in commands)

    def first() -> Iterator[Command]:
        yield opened
        if scheduled is not None:
            yield scheduled
        if row.values.get("active") is False:
            yield DisableConnection(reason=DISABLED)

    def changes(state: Connection) -> Iterator[Command]:
        moved = as_stored(opened.upstream) != state.upstream
        if moved or opened.name != state.name:
            yield ReviseConnection(name=opened.name, upstream=opened.upstream)
        given = opened.credentials
        if given is not None and (moved or state.credentials != Credentials(given.username, given.secret)):
            yield ReplaceCredentials(username=given.username, secret=given.secret)
        schedule = None if scheduled is None else scheduled.schedule
        if scheduled is not None and schedule is not None and schedule.as_schedule() != state.schedule:
            yield scheduled
        if row.values.get("active") is False and not state.disabled:
            yield DisableConnection(reason=DISABLED)
        elif row.values.get("active") is True and state.disabled:
            yield EnableConnection()

    return tell


def _mappings(making: _Making) -> Iterator[Thing]:
    for row in making.rows:
        id = making.id("connections", row.text("connection"))
        command = making.command(SetMapping, {"mapping": row.values["mapping"]}, row)
        if command is not None:
            yield Thing("mappings", Ref("connection", id), _mapping(command, [row]), [(id,)], [row])


def _mapping_fields(making: _Making) -> Iterator[Thing]:
    names = ("upstream", "name", "type", "feeds", "unit", "date_order", "decimal_sign")
    for key, rows in _by(making.rows, "connection").items():
        id = making.id("connections", key)
        identity = [row.text("upstream") for row in rows if row.values.get("identity") is True]
        mapping = {"fields": [_body(row, *names) for row in rows], "identity": identity}
        command = making.made(SetMapping, {"mapping": mapping}, partial(_mapped, rows))
        if command is not None:
            yield Thing("mapping_fields", Ref("connection", id), _mapping(command, rows), [(id,)], rows)


def _mapped(rows: Sequence[Row], path: list[str]) -> tuple[Row, str]:
    """Where a fault of a mapping is: /mapping/fields/3/type is of the fourth row."""
    if path[:2] == ["mapping", "fields"] and len(path) > 2:
        return rows[int(path[2])], path[3] if len(path) > 3 else ""
    return rows[0], "identity" if "identity" in path else ""


def _mapping(command: SetMapping, rows: Sequence[Row]) -> Callable[[Connection, Tally], Iterable[Wanted]]:
    def tell(state: Connection, tally: Tally) -> Iterator[Wanted]:
        here = state.mapping
        wanted = command.mapping.as_mapping(0 if here is None else here.version)
        if len(rows) == 1:
            tally.add(here, wanted, there=here is not None)
        else:
            known = {} if here is None else {each.name: each for each in here.fields}
            for each in wanted.fields:
                tally.add(known.get(each.name), each, there=each.name in known)
        if wanted != here:
            yield Wanted(command, rows)

    return tell


def _projects(making: _Making) -> Iterator[Thing]:
    for row in making.rows:
        id = making.id("projects", row.text("key"))
        body = _body(row, "name", "status", "building_type", "location")
        command = making.command(CreateProject, body, row)
        if command is not None:
            yield Thing("projects", Ref("project", id), _project(command, row), [(id,)], [row])


def _project(wanted: CreateProject, row: Row) -> Callable[[Project, Tally], Iterable[Wanted]]:
    def tell(state: Project, tally: Tally) -> Iterator[Wanted]:
        commands = list(changes(state)) if state.name else [wanted]
        tally.add(commands, [], there=bool(state.name))
        yield from (Wanted(command, [row]) for command in commands)

    def changes(state: Project) -> Iterator[Command]:
        if wanted.name != state.name:
            yield RenameProject(name=wanted.name)
        if "status" in row.values and wanted.status != state.status:
            yield ChangeStatus(status=wanted.status)
        facts = {name: getattr(wanted, name) for name in ("building_type", "location") if name in row.values}
        if any(getattr(state, name) != value for name, value in facts.items()):
            yield ChangeMetadata(**facts)

    return tell


def _estimates(making: _Making) -> Iterator[Thing]:
    for row in making.rows:
        project = row.text("project")
        id = making.id("estimates", project, row.text("key"))
        body = _body(row, "currency", "title", "notes", "effective_on")
        body["project_id"] = making.id("projects", project)
        command = making.command(StartEstimate, body, row)
        if command is not None:
            yield Thing("estimates", Ref("estimate", id), _estimate(command, row), [(id,)], [row])


def _estimate(wanted: StartEstimate, row: Row) -> Callable[[Estimate, Tally], Iterable[Wanted]]:
    fixed = [name for name in ("currency", "effective_on") if name in row.values]

    def tell(state: Estimate, tally: Tally) -> Iterator[Wanted]:
        commands = list(changes(state)) if state.version else [wanted]
        tally.add(commands, [], there=bool(state.version))
        yield from (Wanted(command, [row]) for command in commands)

    def changes(state: Estimate) -> Iterator[Command]:
        if any(getattr(wanted, name) != getattr(state, name) for name in fixed):
            yield wanted  # which is refused: they stay as the estimate was started with
        notes = {name: getattr(wanted, name) for name in ("title", "notes") if name in row.values}
        if any(getattr(state, name) != value for name, value in notes.items()):
            yield ChangeNotes(**notes)

    return tell


def _lines(making: _Making) -> Iterator[Thing]:
    for (project, estimate), rows in _by(making.rows, "project", "estimate").items():
        id = making.id("estimates", project, estimate)
        items = [_line(making, project, estimate, row) for row in rows]
        batches = making.batches(ImportLines, "lines", items, rows)
        keys = [(id, UUID(item["line_id"])) for item in items]
        yield Thing("lines", Ref("estimate", id), _told_lines(making, batches), keys, rows)


def _line(making: _Making, project: str, estimate: str, row: Row) -> Body:
    path = [row.text(name) for name in ("wbs_1", "wbs_2", "wbs_3") if row.text(name)]
    line_id = str(making.id("lines", project, estimate, row.text("key")))
    return {"line_id": line_id, "wbs_path": path, **_body(row, *_LINE_INPUT)}


def _told_lines(
    making: _Making, batches: Sequence[tuple[ImportLines, Sequence[Row]]]
) -> Callable[[Estimate, Tally], Iterable[Wanted]]:
    def tell(state: Estimate, tally: Tally) -> Iterator[Wanted]:
        for command, rows in batches:
            fresh = [place for place, sent in enumerate(command.lines) if sent.line_id not in state.lines]
            tally.new += len(fresh)
            if len(fresh) == len(rows):
                yield Wanted(command, rows)
            elif fresh:
                lines = tuple(command.lines[place] for place in fresh)
                yield Wanted(command.model_copy(update={"lines": lines}), [rows[place] for place in fresh])
            for sent, row in zip(command.lines, rows, strict=True):
                if (line := state.lines.get(sent.line_id)) is not None:
                    commands = list(_revisions(making, sent, line, row))
                    tally.add(commands, [], there=True)
                    yield from (Wanted(revision, [row]) for revision in commands)

    return tell


def _revisions(making: _Making, sent: LineInput, line: Line, row: Row) -> Iterator[Command]:
    """What a line that is there lacks of what its row says."""
    given = [name for name in LINE_FIELDS if name in row.values]
    body: dict[str, Told] = {name: row.values[name] for name in given if getattr(sent, name) != getattr(line, name)}
    if "extension" in row.values and (not line.submitted or line.extension != sent.extension):
        body["extension"] = row.values["extension"]
    if body:
        told = {"line_id": str(sent.line_id), **{name: _json(value) for name, value in body.items()}}
        revision = making.command(ReviseLine, told, row)
        if revision is not None:
            yield revision
    if sent.wbs_path != line.wbs_path:
        yield MoveLine(line_id=sent.line_id, wbs_path=sent.wbs_path)


def _codes(making: _Making) -> Iterator[Thing]:
    for (code_set, edition), rows in _by(making.rows, "code_set", "edition").items():
        id = making.id("codes", code_set, edition)
        registered = making.command(RegisterCodeSet, _body(rows[0], "code_set", "edition", "source"), rows[0])
        items = [_body(row, "code", "description", "unit") for row in rows]
        batches = making.batches(ImportCodes, "codes", items, rows)
        if registered is not None:
            keys = [(id, row.text("code")) for row in rows]
            yield Thing("codes", Ref("codeset", id), _told_codes(Wanted(registered, rows[:1]), batches), keys, rows)


def _told_codes(
    first: Wanted, batches: Sequence[tuple[ImportCodes, Sequence[Row]]]
) -> Callable[[CodeSet, Tally], Iterable[Wanted]]:
    def tell(state: CodeSet, tally: Tally) -> Iterator[Wanted]:
        yield first
        for command, rows in batches:
            for sent in command.codes:
                known = state.codes.get(sent.code)
                here = None if known is None else (known.description, known.unit)
                tally.add(here, (sent.description, sent.unit), there=known is not None)
            yield Wanted(command, rows)

    return tell


def _prices(making: _Making) -> Iterator[Thing]:
    for (book, edition), rows in _by(making.rows, "book", "edition").items():
        id = making.id("prices", book, edition)
        particulars = _body(rows[0], "edition", "currency", "dated_on", "source") | {"name": book}
        making.faults.add_all(_several(rows, "currency", "dated_on", "source"))
        opened = making.command(OpenPriceBook, particulars, rows[0])
        items = [_body(row, "code", "description", "unit", "unit_price", "cost_type", "category") for row in rows]
        batches = making.batches(ImportPrices, "prices", items, rows)
        if opened is not None:
            keys = [(id, sent.code, sent.unit, sent.cost_type) for command, _ in batches for sent in command.prices]
            yield Thing("prices", Ref("pricebook", id), _told_prices(Wanted(opened, rows[:1]), batches), keys, rows)


def _told_prices(
    first: Wanted, batches: Sequence[tuple[ImportPrices, Sequence[Row]]]
) -> Callable[[PriceBook, Tally], Iterable[Wanted]]:
    names = ("description", "unit_price", "category")

    def tell(state: PriceBook, tally: Tally) -> Iterator[Wanted]:
        yield first
        for command, rows in batches:
            for sent in command.prices:
                known = state.prices.get(name_of(sent))
                here = None if known is None else [getattr(known, name) for name in names]
                tally.add(here, [getattr(sent, name) for name in names], there=known is not None)
            yield Wanted(command, rows)

    return tell


def _several(rows: Sequence[Row], *fields: str) -> Iterator[Fault]:
    """Where rows of one book say different things of the book itself."""
    for row in rows[1:]:
        for name in fields:
            if row.values.get(name) != rows[0].values.get(name):
                message = f"{name} is of the whole book, and row {rows[0].place.row} says otherwise"
                yield row.fault(name, "book-contradicted", message)


def _by(rows: Iterable[Row], *fields: str) -> dict[Any, list[Row]]:
    """Rows by the text of one field, or of several."""
    found: dict[Any, list[Row]] = {}
    for row in rows:
        key = tuple(row.text(name) for name in fields)
        found.setdefault(key if len(fields) > 1 else key[0], []).append(row)
    return found


def _body(row: Row, *fields: str) -> Body:
    """The fields that are not blank, as a command's JSON has them."""
    return {name: _json(row.values[name]) for name in fields if name in row.values}


def _json(value: Told) -> object:
    return plain(value) if isinstance(value, Decimal) else value


def _explained(code: str, facts: Mapping[str, object]) -> str:
    found = problems.explained(code)
    told = ", ".join(f"{name} {value}" for name, value in facts.items())
    return (found.title if found else code) + (f" ({told})" if told else "")
