"""A member of a company, person or service: role, and the API tokens that act with that role."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, ClassVar, Final, Literal, TypeAlias, assert_never
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace
from pydantic import Field

from domain.decider import ERASED, STREAM, Command, Decider, Event, Rejected, Role, Sensitive, State, members
from domain.instants import Instant
from domain.maps import TrieMap, trie_map
from domain.places import DateFormat, Language, TimeZone
from domain.subset import Change, Subset, difference, optional
from domain.text import Email, Label, Name

REJECTIONS: Final[Mapping[str, str]] = {
    "membership.unknown": "Nobody was added under this id.",
    "membership.already-added": "A member with other particulars was added under this id.",
    "membership.removed": "The member was removed; somebody who comes back is added under a new id.",
    "membership.present": "The member still belongs to the company; remove the member first.",
    "membership.token-unknown": "The member has no token of this id.",
    "membership.token-already-issued": "A token with other particulars was issued under this id.",
    "membership.token-revoked": "The token of this id was revoked; a new token has a new id.",
}

WHO_IT_IS: Final[Sensitive] = {"name": STREAM, "email": STREAM}

ErasureReason: TypeAlias = Literal["requested", "consent-withdrawn", "no-longer-needed", "unlawful"]
"""Why somebody is forgotten. A choice, not a text: nothing about the person may be said here."""


class OwnerCommand(Command):
    """Who belongs to the company is its owners' decision."""

    roles: ClassVar[frozenset[Role]] = frozenset({Role.OWNER})


class AddMember(OwnerCommand):
    """Lets somebody in. That an address is used once per company is checked beside this decision."""

    sensitive: ClassVar[Sensitive] = WHO_IT_IS

    name: Name = Field(description="The member's name, or the service's.", examples=["Ada Winters"])
    email: Email = Field(description="Address, unique within the company.", examples=["ada@northern.example"])
    role: Role = Field(description="What the member may do.", examples=["estimator"])


class ChangeRole(OwnerCommand):
    """Gives the member, and every token of theirs, another role."""

    role: Role = Field(description="What the member may do from now on.", examples=["viewer"])


class RemoveMember(OwnerCommand):
    """Ends the membership; all its tokens end with it. That an owner remains is not checked here: one member's
    history does not tell who the others are.
    """


class ForgetMember(OwnerCommand):
    """Erases who a former member was: name, address, and where their requests came from, everywhere and for good.

    The history stays, with ids in it and `[erased]` where the person was named.
    """

    reason: ErasureReason = Field(description="Why the member is forgotten.", examples=["requested"])


class IssueToken(OwnerCommand):
    """Records a token by its hash; the secret itself never comes here. Whether it has expired is judged at use."""

    token_id: UUID = Field(description="Names the token.", examples=["0197b2a4-5f6e-7c3d-8a9b-0c1d2e3f4a5b"])
    secret_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = Field(
        description="SHA-256 of the secret, 64 lower-case hexadecimal digits.", examples=["9f86d081" * 8]
    )
    label: Label = Field(description="What the token is for.", examples=["nightly import"])
    expires_at: Instant = Field(description="When it stops working.", examples=["2027-12-31T23:59:59Z"])


class RevokeToken(OwnerCommand):
    """Ends one token at once."""

    token_id: UUID = Field(description="Names the token.", examples=["0197b2a4-5f6e-7c3d-8a9b-0c1d2e3f4a5b"])


class ChangePreferences(Subset):
    """Changes how the company's figures and dates are shown to the member; null goes back to what the reader's own
    system says. Members change their own, owners anybody's.
    """

    roles: ClassVar[frozenset[Role]] = frozenset({Role.OWNER})
    roles_for_oneself: ClassVar[frozenset[Role]] = frozenset(Role)

    time_zone: TimeZone | None = optional("Time zone by its IANA name.", ["America/Chicago"])
    language: Language | None = optional("Language tag: language, script, region.", ["en-US"])
    date_format: DateFormat | None = optional("How days are written.", ["MM/DD/YYYY"])


class Preferences(Change, frozen=True):
    """A member's preferences before or after a change; None is: as the reader's system has it."""

    time_zone: str | UnsetType | None = UNSET
    language: str | UnsetType | None = UNSET
    date_format: DateFormat | UnsetType | None = UNSET


class Token(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A token as it was issued, and whether it has been revoked since."""

    secret_hash: str
    label: str
    expires_at: datetime
    revoked: bool = False


class MemberAdded(Event, frozen=True, kw_only=True, tag="membership.added"):
    sensitive: ClassVar[Sensitive] = WHO_IT_IS

    name: str
    email: str
    role: Role


class RoleChanged(Event, frozen=True, kw_only=True, tag="membership.role-changed"):
    was: Role
    now: Role


class MemberRemoved(Event, frozen=True, kw_only=True, tag="membership.removed"):
    """Ends all tokens of the member too; they have no events of their own for that."""

    sensitive: ClassVar[Sensitive] = WHO_IT_IS

    name: str
    email: str
    role: Role


class MemberForgotten(Event, frozen=True, kw_only=True, tag="membership.forgotten"):
    """The member's key was destroyed with this event: whatever was written about the member reads as `[erased]`."""

    reason: ErasureReason


class TokenIssued(Event, frozen=True, kw_only=True, tag="membership.token-issued"):
    token_id: UUID
    secret_hash: str
    label: str
    expires_at: datetime


class TokenRevoked(Event, frozen=True, kw_only=True, tag="membership.token-revoked"):
    token_id: UUID
    label: str


class PreferencesChanged(Event, frozen=True, kw_only=True, tag="membership.preferences-changed"):
    was: Preferences
    now: Preferences


MembershipCommand: TypeAlias = (
    AddMember | ChangeRole | ChangePreferences | RemoveMember | ForgetMember | IssueToken | RevokeToken
)
MembershipEvent: TypeAlias = (
    MemberAdded | RoleChanged | PreferencesChanged | MemberRemoved | MemberForgotten | TokenIssued | TokenRevoked
)


class Membership(State, frozen=True, kw_only=True):
    """`name` is empty until the member is added."""

    name: str = ""
    email: str = ""
    role: Role = Role.VIEWER
    removed: bool = False
    forgotten: bool = False
    time_zone: str | None = None
    language: str | None = None
    date_format: DateFormat | None = None
    tokens: TrieMap[UUID, Token] = trie_map()


def decide(command: MembershipCommand, member: Membership) -> list[MembershipEvent]:
    if not isinstance(command, AddMember) and not member.name:
        raise Rejected("membership.unknown", "missing")
    match command:
        case AddMember():
            return _add(command, member)
        case ChangeRole(role=role):
            _require_present(member)
            return [] if role == member.role else [RoleChanged(was=member.role, now=role)]
        case ChangePreferences():
            _require_present(member)
            change = difference(Preferences, member, command.given())
            return [PreferencesChanged(was=change[0], now=change[1])] if change else []
        case RemoveMember():
            gone = MemberRemoved(name=member.name, email=member.email, role=member.role)
            return [] if member.removed else [gone]
        case ForgetMember(reason=reason):
            if not member.removed:
                raise Rejected("membership.present", "conflict")
            return [] if member.forgotten else [MemberForgotten(reason=reason)]
        case IssueToken():
            _require_present(member)
            return _issue(command, member)
        case RevokeToken():
            return _revoke(command, member)
    assert_never(command)


def _require_present(member: Membership) -> None:
    if member.removed:
        raise Rejected("membership.removed", "conflict", name=member.name)


def _add(command: AddMember, member: Membership) -> list[MembershipEvent]:
    if not member.name:
        return [MemberAdded(name=command.name, email=command.email, role=command.role)]
    _require_present(member)
    if (command.name, command.email, command.role) == (member.name, member.email, member.role):
        return []
    raise Rejected("membership.already-added", "conflict", name=member.name)


def _issue(command: IssueToken, member: Membership) -> list[MembershipEvent]:
    issued = TokenIssued(
        token_id=command.token_id,
        secret_hash=command.secret_hash,
        label=command.label,
        expires_at=command.expires_at,
    )
    known = member.tokens.get(command.token_id)
    if known is None:
        return [issued]
    if known.revoked:
        raise Rejected("membership.token-revoked", "conflict", token_id=str(command.token_id))
    if known == _token(issued):
        return []
    raise Rejected("membership.token-already-issued", "conflict", token_id=str(command.token_id))


def _revoke(command: RevokeToken, member: Membership) -> list[MembershipEvent]:
    known = member.tokens.get(command.token_id)
    if known is None:
        raise Rejected("membership.token-unknown", "missing", token_id=str(command.token_id))
    if known.revoked or member.removed:
        return []
    return [TokenRevoked(token_id=command.token_id, label=known.label)]


def _token(issued: TokenIssued) -> Token:
    return Token(secret_hash=issued.secret_hash, label=issued.label, expires_at=issued.expires_at)


def evolve(member: Membership, event: MembershipEvent) -> Membership:
    match event:
        case MemberAdded():
            return Membership(name=event.name, email=event.email, role=event.role)
        case RoleChanged():
            return replace(member, role=event.now)
        case PreferencesChanged():
            return replace(member, **event.now.given())
        case MemberRemoved():
            return replace(member, removed=True)
        case MemberForgotten():
            return replace(member, name=ERASED, email=ERASED, forgotten=True)
        case TokenIssued():
            return replace(member, tokens=member.tokens.insert(event.token_id, _token(event)))
        case TokenRevoked(token_id=token_id):
            revoked = replace(member.tokens[token_id], revoked=True)
            return replace(member, tokens=member.tokens.insert(token_id, revoked))
    assert_never(event)


membership = Decider(
    category="membership",
    initial=Membership(),
    decide=decide,
    evolve=evolve,
    commands=members(MembershipCommand),
    events=members(MembershipEvent),
)
