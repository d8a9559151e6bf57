"""The company itself, its members, and what they did."""

from datetime import date, datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from msgspec.structs import asdict

from api.identity import READERS_OF_THE_LOG
from api.views import Page, PagedView, View, found
from domain.company import Company, MonthRule, evolve
from domain.decider import Role
from eventstore import log
from eventstore.db import Reader
from eventstore.last_active import last_active
from projections import access, activity_log
from projections.access import Token
from projections.activity_log import Activity

_TOKENS: Final = {"model": "access", "roles": frozenset({Role.OWNER, Role.AUDITOR})}


_ACTIVITY: Final = {"model": "activity_log", "roles": READERS_OF_THE_LOG, "persons": True}


class CompanyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A company with its subscription and the settings money is computed with."""

    company_id: UUID
    name: str
    tier: str
    tier_expires_on: date | None
    currency: str
    rounding: str
    month_rule: MonthRule
    variance_threshold: Decimal
    conflict_rule: str
    version: int


@get("/company", operation_id="Company", tags=["company"])
async def company(view: NamedDependency[View]) -> Response[CompanyAnswer]:
    """The caller's company."""
    return view.answer(found(await folded(view.reader, view.position)))


async def folded(reader: Reader, position: int) -> CompanyAnswer | None:
    """The company as of a position: its stream is short, so it is folded each time."""
    state, version = Company(), 0
    while page := await log.read_stream(reader, reader.tenant, after_version=version):
        for stored in page:
            if stored.position > position:
                break
            recorded = stored.decoded()
            state, version = evolve(state, recorded.event), recorded.stream_version  # type: ignore[arg-type]  # a company's stream holds a company's events
        else:
            if len(page) == log.PAGE_EVENTS:
                continue
        break
    if not version:
        return None
    return CompanyAnswer(
        company_id=reader.tenant,
        name=state.name,
        tier=state.subscription.tier,
        tier_expires_on=state.subscription.tier_expires_on,
        currency=state.currency,
        rounding=state.rounding,
        month_rule=state.month_rule,
        variance_threshold=state.variance_threshold,
        conflict_rule=state.conflict_rule,
        version=version,
    )


class MemberAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A member, person or service, with what they prefer; a null preference is as the reader's system has it.

    `last_active_at` is no part of the history: whatever `at` says, it is what is known now, within a minute or so.
    """

    member_id: UUID
    name: str
    email: str
    role: str
    added_at: datetime
    removed_at: datetime | None
    forgotten_at: datetime | None
    time_zone: str | None
    language: str | None
    date_format: str | None
    last_active_at: datetime | None


@get("/members", operation_id="Members", tags=["company"], opt={"model": "access", "persons": True, "volatile": True})
async def members(paged: NamedDependency[PagedView]) -> Response[Page[MemberAnswer]]:
    """Who belongs to the company, in which role, with which preferences, and when each was last active."""
    rows = await access.members(paged.reader, paged.vault, at=paged.at, limit=paged.limit + 1, after=paged.after(UUID))
    active = await last_active(paged.reader, [row.member_id for row in rows])
    answers = [MemberAnswer(**asdict(row), last_active_at=active.get(row.member_id)) for row in rows]
    return paged.page(answers, lambda row: row.member_id)


@get("/activity", operation_id="Activity", tags=["company"], opt=_ACTIVITY)
async def activity(
    paged: NamedDependency[PagedView],
    actor: FromQuery[UUID | None] = None,
    category: FromQuery[str | None] = None,
    entity_id: FromQuery[UUID | None] = None,
) -> Response[Page[Activity]]:
    """Who did what, from where, the latest first."""
    rows = await activity_log.entries(
        paged.reader,
        paged.vault,
        at=paged.at,
        limit=paged.limit + 1,
        after=paged.after(tuple[int, int]),
        actor=actor,
        category=category,
        entity_id=entity_id,
    )
    return paged.page(rows, lambda row: (row.position, row.seq))


@get("/members/{id:uuid}/tokens", operation_id="TokensOfMember", tags=["company"], opt=_TOKENS)
async def tokens_of_member(paged: NamedDependency[PagedView], id: FromPath[UUID]) -> Response[Page[Token]]:
    """A member's tokens, without their secrets."""
    rows = await access.tokens(paged.reader, id, at=paged.at, limit=paged.limit + 1, after=paged.after(UUID))
    return paged.page(rows, lambda row: row.token_id)


PAGED = (members, tokens_of_member, activity)
SINGLE = (company,)
