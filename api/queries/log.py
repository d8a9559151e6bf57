"""The log itself: events as they were written, one event with what proves it, and receipts of commands."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final
from uuid import UUID

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from api.identity import READERS_OF_THE_LOG
from api.problems import Problem
from api.views import View, found
from domain.registry import EVENTS
from eventstore import envelope, log
from eventstore.transact import Receipt, receipt_at

EVENTS_MAX: Final = 1_000
"""Events of one answer."""

_OPT: Final = {"roles": READERS_OF_THE_LOG, "persons": True}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Positions = Annotated[int, QueryParameter(ge=0, le=log.POSITION_MAX, description="Events after this position.")]
Events = Annotated[int, QueryParameter(ge=1, le=EVENTS_MAX, description="Events, at most.")]
Types = Annotated[
    list[str] | None,
    QueryParameter(name="type", description="Only events of this type; may be repeated.", required=False),
]


class LogPage(msgspec.Struct, frozen=True):
    """Events as CloudEvents, in position order. Ask again with `after` = `next`; there is no more when it is `head`."""

    events: list[msgspec.Raw]
    next: int
    head: int


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """An event with all that its leaf hash was computed from, as leaf layout 1 says. Salt and leaf are hex."""

    event: msgspec.Raw
    layout: int
    salt: str
    payload_base64: str
    metadata_base64: str
    recorded_at_microseconds: int
    leaf: str


@get("/log", operation_id="Log", tags=["log"], opt=_OPT)
async def events(
    view: NamedDependency[View], after: Positions = 0, limit: Events = 200, types: Types = None
) -> Response[LogPage]:
    """The company's events in order; for services with sensitive fields sealed."""
    wanted = known_types(types)
    page = await _shown(view, await log.read_log(view.reader, after=after, to=view.position, limit=limit, types=wanted))
    epochs = await log.epochs(view.reader)
    found_events = [msgspec.Raw(envelope.envelope_of(each, envelope.epoch_of(epochs, each.position))) for each in page]
    following = page[-1].position if len(page) == limit else max(view.position, after)
    return view.answer(LogPage(found_events, following, view.position))


@get("/log/{position:int}", operation_id="EventAtPosition", tags=["log"], opt=_OPT)
async def event_at_position(view: NamedDependency[View], position: FromPath[int]) -> Response[Proof]:
    """One event, with the salts and exact bytes from which anybody can compute its leaf hash again. In those bytes
    sensitive fields are sealed, whoever asks: they are what was hashed, and stay so when a field is erased.
    """
    if not 0 < position <= view.position:
        raise Problem("position.ahead" if position > 0 else "thing.unknown", asked=position, head=view.position)
    stored = (await log.read_log(view.reader, after=position - 1, to=position, limit=1))[0]
    ((salt,),) = await view.reader.tuples(log.SQL["salt_of"], {"position": position})
    _, leaf, metadata, payload = stored.row[-4:]
    recorded_at: datetime = stored.row[1]
    epochs = await log.epochs(view.reader)
    (shown,) = await _shown(view, [stored])
    return view.answer(
        Proof(
            event=msgspec.Raw(envelope.envelope_of(shown, envelope.epoch_of(epochs, position))),
            layout=1,
            payload_base64=base64.b64encode(payload).decode(),
            salt=salt.hex(),
            metadata_base64=base64.b64encode(metadata).decode(),
            recorded_at_microseconds=(recorded_at - _EPOCH) // timedelta(microseconds=1),
            leaf=leaf.hex(),
        )
    )


async def _shown(view: View, page: Sequence[log.Stored]) -> Sequence[log.Stored]:
    """Events as this caller may see them."""
    return await view.vault.shown_rows(view.reader, page) if view.may_open else page


@get("/receipts/{command_id:uuid}", operation_id="ReceiptOfCommand", tags=["log"])
async def receipt_of_command(view: NamedDependency[View], command_id: FromPath[UUID]) -> Response[Receipt]:
    """The receipt of a command by its id: whether it was committed, and where."""
    rows = await view.reader.tuples(log.SQL["find_command"], {"command_id": command_id})
    position = found(rows[0][0] if rows else None)
    return view.answer(await receipt_at(view.reader, None, command_id, position))


def known_types(types: list[str] | None) -> list[str] | None:
    """The event types asked for. Raises Problem for one that is not known."""
    unknown = [each for each in types or () if each not in EVENTS]
    if unknown:
        raise Problem("request.parameter-invalid", "No event has this type.", parameter="type", unknown=unknown)
    return types or None


PAGED = ()
SINGLE = (events, event_at_position, receipt_of_command)
