"""Who may do what: members, their roles and their tokens. Exact at once, because it guards every request."""

from datetime import datetime
from uuid import UUID

import msgspec
from msgspec.structs import replace

from domain import actuals, codeset, company, estimate, pricebook, project
from domain.decider import Event, Rejected, Role, tag_of
from domain.membership import (
    MemberAdded,
    MemberForgotten,
    MemberRemoved,
    PreferencesChanged,
    RoleChanged,
    TokenIssued,
    TokenRevoked,
)
from domain.registry import OF_UPSTREAMS
from eventstore.db import Reader
from eventstore.log import POSITION_MAX
from eventstore.sql import beside
from eventstore.vault import Keys, Vault
from projections import persons
from projections.projection import Key, Projection, Seen, Table, change, identity, of_stream


class Member(msgspec.Struct, frozen=True):
    """A member, person or service. In the table name and address are sealed; in an answer they are clear, or erased."""

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


class RoleRow(msgspec.Struct, frozen=True):
    """How many members have a role."""

    role: str
    members: int


class SecretRow(msgspec.Struct, frozen=True):
    """Which token a secret's hash belongs to."""

    secret_hash: str
    member_id: UUID
    token_id: UUID


class Token(msgspec.Struct, frozen=True):
    """A token without its secret. Whether its member was removed is not told here."""

    member_id: UUID
    token_id: UUID
    label: str
    issued_at: datetime
    expires_at: datetime
    revoked: bool


class Access(msgspec.Struct, frozen=True):
    """What a token gives. `revoked` too when its member was removed; expiry is the caller's to judge."""

    token_id: UUID
    member_id: UUID
    role: str
    expires_at: datetime
    revoked: bool


members_table = Table("access_members", Member, key=("member_id",))
roles_table = Table("access_roles", RoleRow, key=("role",))
secrets_table = Table("access_secrets", SecretRow, key=("secret_hash",))
tokens_table = Table("access_tokens", Token, key=("member_id", "token_id"))


def member_added(row: Member | None, seen: Seen, key: Key) -> Member:
    event: MemberAdded = seen.event
    none = (None,) * 5
    return Member(key[0], event.name, event.email, str(event.role), seen.recorded_at, *none)


def role_changed(row: Member | None, seen: Seen, key: Key) -> Member | None:
    return None if row is None else replace(row, role=str(seen.event.now))


def preferences_changed(row: Member | None, seen: Seen, key: Key) -> Member | None:
    event: PreferencesChanged = seen.event
    return None if row is None else replace(row, **event.now.given())


def member_removed(row: Member | None, seen: Seen, key: Key) -> Member | None:
    return None if row is None else replace(row, removed_at=seen.recorded_at)


def member_forgotten(row: Member | None, seen: Seen, key: Key) -> Member | None:
    return None if row is None else replace(row, forgotten_at=seen.recorded_at)


def of_role(seen: Seen) -> list[Key]:
    return [(str(seen.event.role),)]


def former_role(seen: Seen) -> list[Key]:
    return [(str(seen.event.was),)]


def present_role(seen: Seen) -> list[Key]:
    return [(str(seen.event.now),)]


def role_gained(row: RoleRow | None, seen: Seen, key: Key) -> RoleRow:
    return RoleRow(key[0], (row.members if row else 0) + 1)


def role_lost(row: RoleRow | None, seen: Seen, key: Key) -> RoleRow:
    members = (row.members if row else 0) - 1
    if members < 1 and key[0] == Role.OWNER:
        raise Rejected("membership.last-owner", "conflict", member_id=str(identity(seen.raw_stream_id)))
    return RoleRow(key[0], members)


def of_secret(seen: Seen) -> list[Key]:
    return [(seen.event.secret_hash,)]


def secret_issued(row: SecretRow | None, seen: Seen, key: Key) -> SecretRow:
    if row is not None:
        raise Rejected("membership.secret-in-use", "conflict", token_id=str(seen.event.token_id))
    return SecretRow(key[0], identity(seen.raw_stream_id), seen.event.token_id)


def of_token(seen: Seen) -> list[Key]:
    return [(identity(seen.raw_stream_id), seen.event.token_id)]


def token_issued(row: Token | None, seen: Seen, key: Key) -> Token:
    event: TokenIssued = seen.event
    return Token(key[0], event.token_id, event.label, seen.recorded_at, event.expires_at, False)


def token_revoked(row: Token | None, seen: Seen, key: Key) -> Token | None:
    return None if row is None else replace(row, revoked=True)


_ADDED = tag_of(MemberAdded)

REJECTIONS = {
    **persons.REJECTIONS,
    "membership.last-owner": "A company keeps at least one owner; make somebody else one first.",
    "membership.secret-in-use": "This secret is another token's; make a new one.",
}

projection = Projection(
    name="access",
    version=2,
    sql=beside(__file__),
    tables=(members_table, roles_table, secrets_table, tokens_table),
    on={
        MemberAdded: (
            change(members_table, of_stream, member_added),
            change(roles_table, of_role, role_gained),
        ),
        RoleChanged: (
            change(members_table, of_stream, role_changed),
            change(roles_table, former_role, role_lost),
            change(roles_table, present_role, role_gained),
        ),
        PreferencesChanged: (change(members_table, of_stream, preferences_changed),),
        MemberRemoved: (
            change(roles_table, of_role, role_lost),
            change(members_table, of_stream, member_removed),
        ),
        MemberForgotten: (change(members_table, of_stream, member_forgotten),),
        TokenIssued: (
            change(secrets_table, of_secret, secret_issued),
            change(tokens_table, of_token, token_issued),
        ),
        TokenRevoked: (change(tokens_table, of_token, token_revoked),),
    },
    ignores=frozenset[type[Event]](
        (
            *actuals.actuals.events,
            *codeset.codeset.events,
            *pricebook.pricebook.events,
            *company.company.events,
            *project.project.events,
            *estimate.estimate.events,
            *OF_UPSTREAMS,
        )
    ),
    inline=True,
)


async def token(reader: Reader, secret_hash: str, *, at: int = POSITION_MAX) -> Access | None:
    """What the token with this secret gives in the bound company."""
    return await reader.row(projection.sql["token"], {"secret_hash": secret_hash, "at": at}, Access)


async def members(
    reader: Reader, vault: Vault, *, at: int, limit: int = 100, after: UUID | None = None, include_removed: bool = False
) -> list[Member]:
    """A page of members in order of id, those after `after`."""
    values = {"at": at, "limit": limit, "after": after or UUID(int=0), "include_removed": include_removed}
    rows = await reader.rows(projection.sql["members"], values, Member)
    keys = await vault.fetch(reader, [row.member_id for row in rows])
    return [_shown(row, keys) for row in rows]


def _shown(row: Member, keys: Keys) -> Member:
    clear = keys.shown_fields(_ADDED, row.member_id, {"name": row.name, "email": row.email})
    return replace(row, **clear)


async def tokens(
    reader: Reader, member_id: UUID, *, at: int, limit: int = 100, after: UUID | None = None
) -> list[Token]:
    """A page of a member's tokens in order of id, those after `after`."""
    values = {"member_id": member_id, "at": at, "limit": limit, "after": after or UUID(int=0)}
    return await reader.rows(projection.sql["tokens"], values, Token)
