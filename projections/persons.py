"""What an event about a person does beside the read models, in the append's own transaction.

An address is taken or freed, by a keyed digest: nobody keeps it in clear, and the log keeps no digest of it. Who is
forgotten loses his key in the transaction of the event that says so: there is no moment between the two.
"""

from collections.abc import Sequence
from typing import Final

from domain.decider import Event, Rejected, tag_of
from domain.membership import MemberAdded, MemberForgotten, MemberRemoved
from eventstore.db import Reader
from eventstore.log import Recorded
from eventstore.sql import beside
from eventstore.vault import Vault

SQL = beside(__file__)

TYPES: Final = frozenset(tag_of(event) for event in (MemberAdded, MemberRemoved, MemberForgotten))
EMAIL: Final = "membership.email"

REJECTIONS: Final = {"membership.email-taken": "Another member of the company has this address."}


async def apply(reader: Reader, vault: Vault, events: Sequence[Recorded[Event]]) -> None:
    """Applies the events. Raises Rejected, with the event in its attribute `event`."""
    for seen in events:
        match seen.event:
            case MemberAdded():
                await _take(reader, vault, seen, seen.event)
            case MemberRemoved():
                await reader.connection.execute(SQL["free_digests"], {"subject": seen.stream_id})
            case MemberForgotten(reason=reason):
                await vault.erase(reader, seen.stream_id, by=seen.actor, reason=reason)
            case _:
                pass


async def _take(reader: Reader, vault: Vault, seen: Recorded[Event], event: MemberAdded) -> None:
    keys = await vault.fetch(reader, [seen.stream_id, reader.tenant])
    email = keys.opened_event(seen.stream_id, event).email
    digest = keys.digest(reader.tenant, EMAIL, email.casefold().encode())
    values = {"field": EMAIL, "digest": digest, "subject": seen.stream_id}
    if await reader.tuples(SQL["take_digest"], values):
        rejected = Rejected("membership.email-taken", "conflict", email=email)
        rejected.event = seen  # type: ignore[attr-defined]  # for whoever asked: which event it was
        raise rejected
