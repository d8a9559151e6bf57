"""What is written about persons: sealed before it is hashed and stored, opened for who may see it, erased with its key.

A key-encryption key wraps a company's key, which wraps a key per subject: a person, or the company itself for what the
operator does. A sealed field is text: `sealed:1:`, then nonce, ciphertext and tag (AES-256-GCM) in base64. It opens
only as what it was sealed as: company, subject, event type and field are authenticated with it. Its position is not, as
it is not known before the append; the event's leaf binds the ciphertext to its place already.
"""

import base64
import hashlib
import hmac
import secrets
import struct
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec.structs import replace
from prometheus_client import Counter
from psycopg.errors import ForeignKeyViolation

from domain.decider import ERASED, STREAM, Event, Sensitive
from eventstore import codec, sql, telemetry
from eventstore.actors import OPERATOR
from eventstore.db import Connection, Database, Reader, Unavailable
from eventstore.keyring import KEY_BYTES, Keyring, Unopenable, opened, sealed
from eventstore.log import COLUMNS, Metadata, Stored
from eventstore.settings import SettingsError

E = TypeVar("E", bound=Event)

SQL = sql.beside(__file__)

FORM: Final = "sealed:1:"
UNREADABLE: Final = "[unreadable]"
"""What an answer shows in place of a field that does not open, which is an error and is logged."""
KEPT_SECONDS: Final = 60.0
"""How long a key is kept for sealing. For opening none is: what was erased reads as erased from that moment on."""
SUBJECTS_KEPT: Final = 2_000
"""Keys kept of one company, and companies; more, and all are fetched anew."""
ATTEMPTS_MAX: Final = 10

UNREADABLE_FIELDS = Counter("cairn_vault_unreadable_total", "Sealed fields that did not open where they stood.")

_ORIGIN: Final = ("metadata", "origin")
_USUAL: Final = (
    b"gzip, deflate python-httpx/0. python-requests/2. okhttp/4. curl/8. node CriOS/ Mobile/15E148 EdgiOS/ Edg/1"
    b"Mozilla/5.0 (iPhone; CPU iPhone OS 18_ like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18."
    b"Mozilla/5.0 (X11; Linux x86_64; rv:1 Gecko/20100101 Firefox/1 (Macintosh; Intel Mac OS X 10_15_7) "
    b'(Linux; Android 10; K) ["::1","192.168.","10.","Mozilla/5.0 (Windows NT 10.0; Win64; x64) '
    b'AppleWebKit/537.36 (KHTML, like Gecko) Chrome/1.0.0.0 Safari/537.36"]'
)
"""What origins usually contain: deflated against this, a sealed one takes no more room than it did in clear. Part of
the form: what was sealed with it must be opened with it.
"""
_SHOWN: Mapping[str, Sensitive] = {
    tag: fields for tag, fields in codec.SENSITIVE.items() if tag not in codec.SECRET_FIELDS
}
"""What answers open, by tag. Of events with secret fields nothing: those are for decisions and workers alone."""
_PAYLOAD, _KIND, _STREAM = (COLUMNS.index(name) for name in ("payload", "type", "stream_id"))

_Body = dict[str, msgspec.Raw]


class Keyless(Exception):
    """Something about a person came to a store that has no vault. Nothing was stored."""


class Origin(msgspec.Struct, frozen=True, array_like=True):
    """Where a request came from. Sealed as one, because an event's metadata is small."""

    ip: str | None = None
    user_agent: str | None = None


class Key:
    """A subject's key, ready to use."""

    __slots__ = ("_body", "_digesting", "cipher")

    def __init__(self, body: bytes) -> None:
        self.cipher = AESGCM(body)
        self._body = body
        self._digesting: bytes | None = None

    def digest(self, text: bytes) -> bytes:
        """32 bytes that equal texts share, and that tell nobody without the key anything."""
        if self._digesting is None:
            self._digesting = HKDF(SHA256(), KEY_BYTES, salt=None, info=b"cairn digest 1").derive(self._body)
        return hmac.digest(self._digesting, text, hashlib.sha256)


class Keys:
    """Keys of subjects of one company. None stands for one that was erased: it seals and opens to `ERASED`."""

    __slots__ = ("_keys", "tenant")

    def __init__(self, tenant: UUID, keys: Mapping[UUID, Key | None]) -> None:
        self.tenant = tenant
        self._keys = keys

    def lacking(self, subjects: Iterable[UUID]) -> list[UUID]:
        """Those who never had a key, or whose key was not asked for."""
        return [subject for subject in subjects if subject not in self._keys]

    def seal(self, subject: UUID, kind: str, field: str, text: str) -> str:
        """The sealed form of a field of an event type. Raises Unopenable without the subject's key."""
        return self._sealed(subject, kind, field, text.encode())

    def open(self, subject: UUID, kind: str, field: str, text: str) -> str:
        """The clear text; text from before there were keys as it is, until it is erased. Raises Unopenable."""
        if not text.startswith(FORM):
            return ERASED if self._erased(subject) else text
        body = self._opened(subject, kind, field, text)
        return ERASED if body is None else body.decode()

    def seal_origin(self, subject: UUID, origin: Origin) -> str:
        """The sealed form of where a request came from."""
        deflating = zlib.compressobj(9, wbits=-15, zdict=_USUAL)
        body = deflating.compress(msgspec.json.encode(origin)) + deflating.flush()
        return self._sealed(subject, *_ORIGIN, body)

    def shown(self, subject: UUID, kind: str, field: str, text: str) -> str:
        """As `open`, but one field that does not open is no reason to withhold the rest of an answer."""
        try:
            return self.open(subject, kind, field, text)
        except Unopenable as error:
            return self._unreadable(kind, field, error)

    def digest(self, subject: UUID, purpose: str, text: bytes) -> bytes:
        """Equal for equal texts of a purpose. Of an erased subject nothing can be told any more: all zero."""
        key = self._of(subject)
        return bytes(32) if key is None else key.digest(purpose.encode() + b"\0" + text)

    def sealed_event(self, stream_id: UUID, event: E) -> E:
        """The event as it is stored."""
        return _changed(event, stream_id, codec.tag(event), self.seal)

    def opened_event(self, stream_id: UUID, event: E) -> E:
        """The event as it was decided. Raises Unopenable."""
        return _changed(event, stream_id, codec.tag(event), self.open)

    def shown_fields(self, kind: str, stream_id: UUID, body: dict[str, Any]) -> dict[str, Any]:
        """An event's body, or a part of it, as JSON values: with its sensitive fields opened."""
        found = dict(body)
        for field, whose in _SHOWN.get(kind, {}).items():
            if isinstance(found.get(field), str):
                subject = stream_id if whose == STREAM else UUID(body[whose])
                found[field] = self.shown(subject, kind, field, found[field])
        return found

    def shown_row(self, stored: Stored, body: _Body) -> Stored:
        """An event's row with its sensitive fields opened; `body` is its payload, taken apart."""
        kind = stored.row[_KIND]
        clear = dict(body)
        for field, whose in _SHOWN[kind].items():
            if field in body:
                text = msgspec.json.decode(body[field], type=str | None)
                if text is not None:
                    text = self.shown(_whose(stored, body, whose), kind, field, text)
                    clear[field] = msgspec.Raw(msgspec.json.encode(text))
        row = (*stored.row[:_PAYLOAD], msgspec.json.encode(clear), *stored.row[_PAYLOAD + 1 :])
        return Stored(stored.tenant, row)

    def shown_origin(self, subject: UUID, text: str | None) -> Origin:
        """Where a request came from, as far as that can be told."""
        if text is None:
            return Origin()
        if text == ERASED or self._erased(subject):
            return Origin(ERASED, ERASED)
        if not text.startswith(FORM):
            return msgspec.json.decode(text, type=Origin)
        try:
            body = self._opened(subject, *_ORIGIN, text)
        except Unopenable as error:
            told = self._unreadable(*_ORIGIN, error)
            return Origin(told, told)
        assert body is not None  # not erased, as was asked above
        return msgspec.json.decode(zlib.decompressobj(wbits=-15, zdict=_USUAL).decompress(body), type=Origin)

    def _erased(self, subject: UUID) -> bool:
        return subject in self._keys and self._keys[subject] is None

    def _sealed(self, subject: UUID, kind: str, field: str, body: bytes) -> str:
        key = self._of(subject)
        return ERASED if key is None else FORM + _spelled(sealed(key.cipher, body, self._place(subject, kind, field)))

    def _opened(self, subject: UUID, kind: str, field: str, text: str) -> bytes | None:
        """None when the subject's key is gone."""
        key = self._of(subject)
        return None if key is None else opened(key.cipher, _read(text[len(FORM) :]), self._place(subject, kind, field))

    def _unreadable(self, kind: str, field: str, error: Unopenable) -> str:
        UNREADABLE_FIELDS.inc()
        telemetry.log().error("field_unreadable", tenant=str(self.tenant), type=kind, field=field, error=str(error))
        return UNREADABLE

    def _of(self, subject: UUID) -> Key | None:
        try:
            return self._keys[subject]
        except KeyError:
            raise Unopenable(f"{subject} has no key") from None

    def _place(self, subject: UUID, kind: str, field: str) -> bytes:
        return b"".join((b"cairn field 1\0", self.tenant.bytes, subject.bytes, kind.encode(), b"\0", field.encode()))


def subject_of(stream_id: UUID, event: Event, whose: str) -> UUID:
    """Whom a sensitive field is about."""
    found: UUID = stream_id if whose == STREAM else getattr(event, whose)
    return found


def subjects_of(stream_id: UUID, event: Event) -> list[UUID]:
    """Whom an event's sensitive fields are about."""
    return [subject_of(stream_id, event, whose) for whose in event.sensitive.values()]


def subjects_in(kind: str, stream_id: UUID, body: Mapping[str, Any]) -> list[UUID]:
    """Whom the sensitive fields of a body, or a part of one, are about."""
    return [
        stream_id if whose == STREAM else UUID(body[whose])
        for field, whose in _SHOWN.get(kind, {}).items()
        if field in body
    ]


def subject_of_actor(tenant: UUID, actor: UUID) -> UUID:
    """Whom the origin of a request is about."""
    return tenant if actor == OPERATOR else actor


def _changed(event: E, stream_id: UUID, kind: str, change: Any) -> E:
    changed = {}
    for field, whose in event.sensitive.items():
        if text := getattr(event, field):
            changed[field] = change(subject_of(stream_id, event, whose), kind, field, text)
    return replace(event, **changed)


def _whose(stored: Stored, body: _Body, whose: str) -> UUID:
    """Whom a sensitive field of a stored event is about."""
    return UUID(bytes=stored.row[_STREAM]) if whose == STREAM else msgspec.json.decode(body[whose], type=UUID)


def _spelled(body: bytes) -> str:
    return base64.urlsafe_b64encode(body).rstrip(b"=").decode()


def _read(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise Unopenable("not base64") from error


class _Company:
    """What is kept of one company, for sealing. By ids as integers: hashing a UUID is a call into Python."""

    __slots__ = ("keys", "origins", "wrapping")

    def __init__(self) -> None:
        self.keys: dict[int, tuple[Key | None, float]] = {}
        self.origins: dict[tuple[int, str | None, str | None], tuple[str, float]] = {}
        self.wrapping: dict[bytes, tuple[AESGCM, float]] = {}


class Vault:
    """The keys of one process. Who seals makes keys where there are none; who opens fetches what there is."""

    def __init__(self, keyring: Keyring, *, kept_seconds: float = KEPT_SECONDS) -> None:
        self._keyring = keyring
        self._kept_seconds = kept_seconds
        self._companies: dict[int, _Company] = {}

    async def check(self, connection: Connection) -> None:
        """Raises SettingsError when a company's key is wrapped under a key that this process was not given."""
        cursor = await connection.execute(SQL["keks_in_use"])
        missing = sorted({row[0] for row in await cursor.fetchall()} - self._keyring.known)
        if missing:
            raise SettingsError(
                f"Companies' keys are wrapped under {', '.join(missing)}, which is not among the key-encryption keys "
                f"given ({', '.join(sorted(self._keyring.known))}). Add it to CAIRN_KEK or CAIRN_KEK_FILE."
            )

    def forget(self, tenant: UUID) -> None:
        """Drops what is kept of a company."""
        self._companies.pop(tenant.int, None)

    def held(self, tenant: UUID, subjects: Iterable[UUID]) -> Keys | None:
        """Keys to seal with, if all of them are at hand."""
        company = self._companies.get(tenant.int)
        if company is None:
            return None
        now = time.monotonic()
        found: dict[UUID, Key | None] = {}
        for subject in subjects:
            kept = company.keys.get(subject.int)
            if kept is None or kept[1] < now:
                return None
            found[subject] = kept[0]
        return Keys(tenant, found)

    async def make(self, database: Database, tenant: UUID, subjects: Sequence[UUID]) -> Keys:
        """Keys to seal with. Who has none gets one, which is durable when this returns. Raises Unavailable."""
        held = self.held(tenant, subjects)
        if held is not None:
            return held
        for _ in range(ATTEMPTS_MAX):
            try:
                async with database.bound(tenant) as reader:
                    found = await self._load(reader, subjects)
                    lacking = [subject for subject in subjects if subject not in found]
                    if lacking:
                        await self._create(reader, lacking)
            except ForeignKeyViolation:  # the company's key was replaced meanwhile
                continue
            if not lacking:
                self._keep(tenant, found)
                return Keys(tenant, found)
        raise Unavailable("the keys of this company are being replaced")

    async def fetch(self, reader: Reader, subjects: Iterable[UUID]) -> Keys:
        """Keys to open with, as this transaction sees them. Subjects without a key are left out."""
        return Keys(reader.tenant, await self._load(reader, subjects))

    async def shown_rows(self, reader: Reader, page: Sequence[Stored]) -> Sequence[Stored]:
        """Events' rows with their sensitive fields opened."""
        bodies = {
            stored.position: msgspec.json.decode(stored.row[_PAYLOAD], type=_Body)
            for stored in page
            if stored.row[_KIND] in _SHOWN
        }
        if not bodies:
            return page
        named = [(stored, bodies[stored.position]) for stored in page if stored.position in bodies]
        keys = await self.fetch(
            reader,
            {_whose(stored, body, whose) for stored, body in named for whose in _SHOWN[stored.row[_KIND]].values()},
        )
        opened_rows = {stored.position: keys.shown_row(stored, body) for stored, body in named}
        return [opened_rows.get(stored.position, stored) for stored in page]

    def sealed_origin(self, tenant: UUID, actor: UUID, metadata: Metadata) -> Metadata | None:
        """Metadata as it is stored, if the key is at hand. The same origin is spelled the same for a while, so that a
        command costs a look-up: it shows that two requests of one member came from one place, and no more.
        """
        company = self._companies.get(tenant.int)
        if company is None:
            return None
        wanted = (actor.int, metadata.ip, metadata.user_agent)
        kept = company.origins.get(wanted)
        if kept is None or kept[1] < time.monotonic():
            subject = subject_of_actor(tenant, actor)
            keys = self.held(tenant, (subject,))
            if keys is None:
                return None
            origin = keys.seal_origin(subject, Origin(metadata.ip, metadata.user_agent))
            kept = (origin, time.monotonic() + self._kept_seconds)
            _make_room(company.origins)
            company.origins[wanted] = kept
        return Metadata(
            correlation_id=metadata.correlation_id,
            causation_id=metadata.causation_id,
            session=metadata.session,
            origin=kept[0],
        )

    async def erase(self, reader: Reader, subject: UUID, *, by: UUID, reason: str) -> bool:
        """Destroys a subject's key with this transaction. The log must say that the subject was forgotten."""
        erased: bool = (await reader.tuples(SQL["erase_key"], {"subject": subject, "by": by, "reason": reason}))[0][0]
        return erased

    async def rewrap(self, database: Database, tenant: UUID) -> int:
        """A new key for the company, under the newest key-encryption key, and every subject's key under that.

        No byte of the log changes. Once the older key-encryption keys are destroyed, what older backups hold opens
        nothing. Answers how many subjects have a key. Raises Unavailable.
        """
        for _ in range(ATTEMPTS_MAX):
            async with database.bound(tenant) as reader:
                for subject, actor in await reader.tuples(SQL["forgotten_with_key"], {}):
                    await self.erase(reader, subject, by=actor, reason="found with a key again")
                rows = await reader.tuples(SQL["tenant_key"], {})
                if not rows:
                    return 0
                values = await self._replacement(reader, rows[0][0])
                done = (await reader.tuples(SQL["rewrap_keys"], values))[0][0]
            if done:
                self.forget(tenant)
                return len(values["subjects"])
        raise Unavailable("keys of this company are made faster than they are wrapped anew")

    async def _replacement(self, reader: Reader, number: int) -> dict[str, Any]:
        tenant = reader.tenant
        live = await reader.tuples(SQL["live_keys"], {})
        bodies = {row[0]: await self._unwrapped(tenant, row) for row in live}
        body = secrets.token_bytes(KEY_BYTES)
        cipher = AESGCM(body)
        return {
            "number": number,
            "kek": self._keyring.newest,
            "wrapped": await self._keyring.wrap(body, _company_place(tenant, number + 1)),
            "subjects": list(bodies),
            "keys": [sealed(cipher, key, _subject_place(tenant, subject)) for subject, key in bodies.items()],
        }

    async def _load(self, reader: Reader, subjects: Iterable[UUID]) -> dict[UUID, Key | None]:
        wanted = list(set(subjects))
        if not wanted:
            return {}
        rows = await reader.tuples(SQL["load_keys"], {"subjects": wanted})
        return {row[0]: None if row[2] is None else Key(await self._unwrapped(reader.tenant, row)) for row in rows}

    async def _unwrapped(self, tenant: UUID, row: Sequence[Any]) -> bytes:
        """A subject's key, from its row in the database."""
        subject, number, wrapped, kek, outer = row
        cipher = await self._wrapping(tenant, number, kek, outer)
        return opened(cipher, wrapped, _subject_place(tenant, subject))

    async def _wrapping(self, tenant: UUID, number: int, kek: str, wrapped: bytes) -> AESGCM:
        """The company's key. It is kept for a moment: a service outside may have to be asked for it."""
        company = self._of(tenant)
        kept = company.wrapping.get(wrapped)
        if kept is not None and kept[1] > time.monotonic():
            return kept[0]
        if kek not in self._keyring.known:
            raise Unavailable(f"the key-encryption key {kek}, which wraps this company's keys, was not given")
        cipher = AESGCM(await self._keyring.unwrap(kek, wrapped, _company_place(tenant, number)))
        company.wrapping = {wrapped: (cipher, time.monotonic() + self._kept_seconds)}
        return cipher

    async def _create(self, reader: Reader, subjects: Sequence[UUID]) -> None:
        """Makes keys in this transaction. Whoever commits first has made them; the others use those."""
        tenant = reader.tenant
        rows = await reader.tuples(SQL["tenant_key"], {})
        if not rows:
            first = await self._keyring.wrap(secrets.token_bytes(KEY_BYTES), _company_place(tenant, 1))
            values = {"kek": self._keyring.newest, "wrapped": first}
            await reader.connection.execute(SQL["first_tenant_key"], values)
            rows = await reader.tuples(SQL["tenant_key"], {})
        number, kek, wrapped = rows[0]
        cipher = await self._wrapping(tenant, number, kek, wrapped)
        made = [sealed(cipher, secrets.token_bytes(KEY_BYTES), _subject_place(tenant, each)) for each in subjects]
        values = {"number": number, "subjects": list(subjects), "keys": made}
        await reader.connection.execute(SQL["new_subject_keys"], values)

    def _of(self, tenant: UUID) -> _Company:
        company = self._companies.get(tenant.int)
        if company is None:
            if len(self._companies) >= SUBJECTS_KEPT:
                self._companies.clear()
            company = self._companies[tenant.int] = _Company()
        return company

    def _keep(self, tenant: UUID, keys: Mapping[UUID, Key | None]) -> None:
        company = self._of(tenant)
        _make_room(company.keys)
        until = time.monotonic() + self._kept_seconds
        company.keys |= {subject.int: (key, until) for subject, key in keys.items()}


def _make_room(kept: dict[Any, tuple[Any, float]]) -> None:
    """Drops what is too old; everything, where that is not enough."""
    now = time.monotonic()
    for name in [name for name, (_, until) in kept.items() if until < now]:
        del kept[name]
    if len(kept) >= SUBJECTS_KEPT:
        kept.clear()


def _company_place(tenant: UUID, number: int) -> bytes:
    return b"cairn company key 1\0" + tenant.bytes + struct.pack(">i", number)


def _subject_place(tenant: UUID, subject: UUID) -> bytes:
    return b"cairn subject key 1\0" + tenant.bytes + subject.bytes
