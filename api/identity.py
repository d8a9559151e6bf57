"""Who calls, for which company, in which role. Tokens are opaque; only their hashes are known here."""

import asyncio
import hashlib
import hmac
import ipaddress
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import msgspec

from api.problems import Problem
from api.settings import ApiSettings
from domain.decider import Command, Role
from eventstore import log
from eventstore.actors import OPERATOR
from eventstore.db import Database
from projections import access

EVERYBODY: Final = frozenset(Role)
"""Every role may read what a company is working on."""
READERS_OF_THE_LOG: Final = frozenset({Role.OWNER, Role.AUDITOR, Role.SERVICE})
"""The whole history, who did it and from where, is for those who answer for it."""

OPENERS: Final = frozenset({Role.OWNER, Role.AUDITOR})
"""The log's sensitive fields are opened for those who look at it. A service keeps a copy, which no erasure would reach:
it gets them sealed.
"""

_TOKEN: Final = re.compile(r"cairn_([0-9a-f]{32}|operator)_([A-Za-z0-9_-]{22,128})")

Headers = Mapping[bytes, bytes]


class Caller(msgspec.Struct, frozen=True):
    """Who a request comes from. `role` is None for the operator, who may do everything. `expires_at` is UTC."""

    tenant: UUID
    actor: UUID
    role: Role | None
    token_id: UUID | None = None
    expires_at: datetime | None = None

    @property
    def may_open(self) -> bool:
        """Whether the log's sensitive fields are opened for this caller."""
        return self.role is None or self.role in OPENERS

    def must_be(self, roles: frozenset[Role]) -> None:
        """Raises Problem unless the caller has one of these roles, or is the operator."""
        if self.role is not None and self.role not in roles:
            allowed = [str(role) for role in sorted(roles)] or ["the operator"]
            raise Problem("identity.forbidden", role=self.role, allowed=allowed)

    def must_be_allowed(self, kind: type[Command], id_: UUID) -> None:
        """Raises Problem unless the caller may send such a command to the stream with this id."""
        own = kind.roles_for_oneself if id_ == self.actor else frozenset[Role]()
        self.must_be(kind.roles | own if own else kind.roles)


def mint(tenant: UUID) -> tuple[str, str]:
    """A new token for a member of a company, and the hash that `IssueToken` records."""
    return _minted(tenant.hex)


def mint_operator() -> tuple[str, str]:
    """A new operator token, and the hash that the setting takes."""
    return _minted("operator")


def _minted(whose: str) -> tuple[str, str]:
    secret = secrets.token_urlsafe(32)
    return f"cairn_{whose}_{secret}", _digest(secret)


def secret_hash_of(token: str) -> str:
    """The hash a token is known by. Raises Problem when it is no token of ours."""
    return _digest(_parts(token)[1])


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _parts(token: str) -> tuple[str, str]:
    found = _TOKEN.fullmatch(token)
    if found is None:
        raise Problem("identity.malformed")
    return found[1], found[2]


class _Kept(msgspec.Struct, frozen=True):
    caller: Caller
    until: float


class Identities:
    """Answers tokens from memory for a moment, else from the `access` model of the company the token names.

    A change of membership forgets its company's answers at once where it is committed or a hint of it arrives;
    `api_token_cache_seconds` bounds the wait where no hint does. `seen` is told the company and the member of each
    request.
    """

    def __init__(
        self, database: Database, settings: ApiSettings, seen: Callable[[UUID, UUID], None] = lambda _, __: None
    ) -> None:
        self._database = database
        self._settings = settings
        self._seen = seen
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._changes: dict[UUID, int] = {}
        self._asked: dict[str, asyncio.Future[Caller]] = {}
        self._companies: set[UUID] = set()

    def forget(self, tenant: UUID) -> None:
        """Drops what is known of a company's tokens, and what is being asked."""
        self._changes[tenant] = self._changes.get(tenant, 0) + 1
        for token in [token for token, kept in self._kept.items() if kept.caller.tenant == tenant]:
            del self._kept[token]
        for token in [token for token in self._asked if token.startswith(f"cairn_{tenant.hex}_")]:
            del self._asked[token]

    async def of(self, headers: Headers) -> Caller:
        """The caller of a request. Raises Problem when there is none it could be."""
        authorization = headers.get(b"authorization")
        if authorization is None:
            raise Problem("identity.missing")
        scheme, _, token = authorization.decode("latin-1").partition(" ")
        if scheme.lower() != "bearer":
            raise Problem("identity.missing")
        caller = await self.of_token(token.strip(), headers.get(b"cairn-company"))
        if caller.role is not None:
            self._seen(caller.tenant, caller.actor)
        return caller

    async def of_token(self, token: str, company: bytes | None = None) -> Caller:
        """The caller a token stands for; `company` is whom the operator acts for."""
        kept = self._kept.get(token)
        if kept is not None and kept.until > time.monotonic():
            return _unexpired(kept.caller)
        whose, secret = _parts(token)
        if whose == "operator":
            return self._operator(secret, company)
        asked = self._asked.get(token)
        if asked is None:
            asked = asyncio.ensure_future(self._ask(token, UUID(hex=whose), _digest(secret)))
            self._asked[token] = asked
            asked.add_done_callback(lambda done: self._answered(token, done))
        return _unexpired(await asyncio.shield(asked))

    def _answered(self, token: str, done: "asyncio.Future[Caller]") -> None:
        if self._asked.get(token) is done:
            del self._asked[token]
        if not done.cancelled():
            done.exception()  # whoever asked may have gone; then nobody else looks at it

    def _operator(self, secret: str, company: bytes | None) -> Caller:
        expected = self._settings.operator_token_hash or ""
        if not hmac.compare_digest(_digest(secret), expected):
            raise Problem("identity.unknown")
        if company is None:
            raise Problem("identity.company-missing")
        return Caller(uuid_of(company, "Cairn-Company"), OPERATOR, None)

    async def _ask(self, token: str, tenant: UUID, secret_hash: str) -> Caller:
        changes = self._changes.get(tenant, 0)
        async with self._database.bound(tenant) as reader:
            found = await access.token(reader, secret_hash)
        if found is None or found.revoked:
            raise Problem("identity.unknown")
        caller = Caller(tenant, found.member_id, Role(found.role), found.token_id, found.expires_at)
        if changes == self._changes.get(tenant, 0):
            self._keep(token, caller)
        return caller

    def _keep(self, token: str, caller: Caller) -> None:
        self._kept[token] = _Kept(caller, time.monotonic() + self._settings.api_token_cache_seconds)
        self._kept.move_to_end(token)
        while len(self._kept) > self._settings.api_tokens_cached_max:
            self._kept.popitem(last=False)

    async def must_exist(self, tenant: UUID) -> None:
        """Raises Problem when no company is registered under this id: only the operator can name one that isn't."""
        if tenant in self._companies:
            return
        async with self._database.bound(tenant) as reader:
            head = await log.head(reader)
        if head is None or head.position == 0:
            raise Problem("company.unknown", company=str(tenant))
        self._companies.add(tenant)


def _unexpired(caller: Caller) -> Caller:
    if caller.expires_at is not None and caller.expires_at <= datetime.now(UTC):
        raise Problem("identity.expired", expired_at=caller.expires_at.isoformat())
    return caller


def uuid_of(value: bytes, header: str) -> UUID:
    """A UUID as it is usually written. Raises Problem that names the header."""
    if len(value) == 36:
        try:
            return UUID(value.decode("latin-1"))
        except ValueError:
            pass
    raise Problem(
        "request.header-malformed", f"{header} is a UUID such as 0197b2a4-5f6e-7c3d-8a9b-0c1d2e3f4a5b.", header=header
    )


class Addresses:
    """Where requests come from: the peer, or whom a trusted proxy says it speaks for."""

    def __init__(self, trusted_proxies: str) -> None:
        self._trusted = [ipaddress.ip_network(each.strip()) for each in trusted_proxies.split(",") if each.strip()]

    def of(self, peer: str | None, headers: Headers) -> str | None:
        """The caller's address: of a chain of trusted proxies, the first that is not one itself."""
        if peer is None or not self._trusted or not self._is_trusted(peer):
            return peer
        chain = [each.strip() for each in headers.get(b"x-forwarded-for", b"").decode("latin-1").split(",")]
        for address in reversed(chain):
            if not address or not _is_address(address):
                break
            peer = address
            if not self._is_trusted(address):
                break
        return peer

    def _is_trusted(self, address: str) -> bool:
        return _is_address(address) and any(ipaddress.ip_address(address) in network for network in self._trusted)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_loopback(address: str) -> bool:
    """Whether a peer is on this machine."""
    return _is_address(address) and ipaddress.ip_address(address).is_loopback
