"""What is appended: commands and events of the estimating domain, payloads of 400 bytes, metadata of 120."""

import hashlib
import random
from decimal import Decimal
from uuid import UUID

import msgspec
from uuid_utils.compat import uuid7

from domain.estimate_commands import AddLine, StartEstimate
from domain.estimate_events import EstimateStarted, LineAdded, LineRevised
from domain.lines import Counted, Line, LineChange
from domain.project import CreateProject
from domain.registry import BY_CATEGORY
from eventstore import codec
from eventstore.db import Database, role_url
from eventstore.keyring import keyring_of, minted
from eventstore.log import Metadata
from eventstore.settings import StoreSettings
from eventstore.transact import Context, Store, transact
from eventstore.vault import Vault

ACTOR = UUID("0197b2a4-0000-7000-8000-000000000001")

METADATA = Metadata(
    ip="192.0.2.17",
    user_agent="Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/148.0 Safari/537.36",
)
METADATA_BYTES = msgspec.json.encode(METADATA)

_WORDS = ("REMOVE", "CONCRETE", "PAVEMENT", "BITUMINOUS", "CURB", "GUTTER", "GRADING", "CULVERT", "AGGREGATE", "TURF")


def _text(source: random.Random, length: int) -> str:
    words = ""
    while len(words) < length:
        words += source.choice(_WORDS) + f" {source.randrange(1000)} "
    return words[:length]


def line(number: int, source: random.Random) -> Line:
    """A line as estimators write them; no two alike."""
    quantity, price = (
        Decimal(source.randrange(1, 900_000)).scaleb(-2),
        Decimal(source.randrange(1, 90_000_000)).scaleb(-6),
    )
    return Line(
        line_id=uuid7(),
        ordinal=Decimal(number),
        wbs_path=("SP 5625-20", _text(source, 12)),
        description=_text(source, 34),
        quantity=quantity,
        unit="SY",
        unit_price=price,
        extension=(quantity * price).quantize(Decimal("0.01")),
        code=f"{source.randrange(10**7):07d}/{source.randrange(10**5):05d}",
        code_set="MnDOT",
        code_edition="2020",
        cost_type="subcontract",
        note=_text(source, 24),
    )


def command(number: int, source: random.Random) -> AddLine:
    """The command that adds such a line."""
    added = line(number, source)
    return AddLine(
        line_id=added.line_id,
        wbs_path=added.wbs_path,
        description=added.description,
        quantity=added.quantity,
        unit=added.unit,
        unit_price=added.unit_price,
        code=added.code,
        code_set=added.code_set,
        code_edition=added.code_edition,
        cost_type=added.cost_type,
        note=added.note,
    )


def payloads(count: int) -> list[bytes]:
    """Bodies of `estimate.line-added`, as stored."""
    source = random.Random(7)
    return [codec.encode(LineAdded(line=line(number, source))) for number in range(count)]


def estimate_events(
    lines: int, revisions: int, source: random.Random
) -> list[EstimateStarted | LineAdded | LineRevised]:
    """The life of an estimate: started, its lines added, some of them revised."""
    started = EstimateStarted(project_id=uuid7(), version=1, currency="USD", target_margin=Decimal("0.12"), title="Bid")
    now = {number: line(number + 1, source) for number in range(lines)}
    events: list[EstimateStarted | LineAdded | LineRevised] = [started]
    events.extend(LineAdded(line=each) for each in now.values())
    for _ in range(revisions):
        number = source.randrange(lines)
        was = now[number]
        price = Decimal(source.randrange(1, 90_000_000)).scaleb(-6)
        extension = (was.quantity * price).quantize(Decimal("0.01"))
        now[number] = msgspec.structs.replace(was, unit_price=price, extension=extension)
        events.append(
            LineRevised(
                line_id=was.line_id,
                was=LineChange(unit_price=was.unit_price, extension=was.extension),
                now=LineChange(unit_price=price, extension=extension),
                counted_was=Counted("base", was.extension),
                counted_now=Counted("base", extension),
            )
        )
    return events


def context(tenant: UUID, seed: bytes = b"") -> Context:
    """A command's particulars, as the API makes them."""
    command_id = uuid7()
    digest = hashlib.sha256(command_id.bytes + seed).digest()[:8]
    return Context(tenant=tenant, actor=ACTOR, command_id=command_id, request_hash=digest, metadata=METADATA)


def store_of(url: str) -> Store:
    """The write side as one API process has it."""
    settings = StoreSettings()
    writer = Database(
        role_url(url, "cairn_writer", None), name="commands", connections_max=settings.writer_connections_max
    )
    return Store(writer, settings, vault=Vault(keyring_of(minted(), None)))


async def started_estimates(store: Store, tenant: UUID, count: int) -> list[UUID]:
    """New estimates of a new project, each with a stream of its own."""
    project_id = uuid7()
    creating = CreateProject(name=f"Project {project_id}")
    await transact(store, BY_CATEGORY["project"], project_id, creating, context(tenant))
    estimates = []
    for _ in range(count):
        estimates.append(uuid7())
        starting = StartEstimate(project_id=project_id, currency="USD")
        await transact(store, BY_CATEGORY["estimate"], estimates[-1], starting, context(tenant))
    return estimates


def as_json(body: object) -> bytes:
    """A request's body."""
    return msgspec.json.encode(body)
