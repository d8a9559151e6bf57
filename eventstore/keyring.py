"""Key-encryption keys: what wraps every company's key. They never reach the database."""

import base64
import binascii
import hashlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from eventstore.settings import SettingsError

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12


class Unopenable(Exception):
    """A ciphertext that was not made under this key for this place: altered, moved, or another key's."""


class Keyring(Protocol):
    """What wraps companies' keys. A service outside (KMS) can stand behind it: few calls, their answers are kept.

    `newest` names the key that wraps from now on, `known` every key that can still unwrap. `bound_to` is authenticated
    with the key: unwrapping it elsewhere must fail with Unopenable.
    """

    newest: str
    known: frozenset[str]

    async def wrap(self, key: bytes, bound_to: bytes) -> bytes:
        """The key, wrapped under `newest`."""

    async def unwrap(self, kek: str, wrapped: bytes, bound_to: bytes) -> bytes:
        """The key that `kek`, one of `known`, wrapped. Raises Unopenable."""


def sealed(cipher: AESGCM, clear: bytes, bound_to: bytes) -> bytes:
    """A random nonce, the ciphertext and its tag."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, clear, bound_to)


def opened(cipher: AESGCM, body: bytes, bound_to: bytes) -> bytes:
    """What was `sealed`. Raises Unopenable."""
    try:
        return cipher.decrypt(body[:NONCE_BYTES], body[NONCE_BYTES:], bound_to)
    except (InvalidTag, ValueError) as error:
        raise Unopenable("altered, moved from elsewhere, or sealed under another key") from error


class LocalKeyring:
    """Keys held by this process: AES-256-GCM. A key is named by its own digest, so a wrong one is known by its name."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """`keys`: 32 bytes each, the newest first."""
        self._ciphers = {name_of(key): AESGCM(key) for key in keys}
        self.newest = name_of(keys[0])
        self.known = frozenset(self._ciphers)

    async def wrap(self, key: bytes, bound_to: bytes) -> bytes:
        return sealed(self._ciphers[self.newest], key, bound_to)

    async def unwrap(self, kek: str, wrapped: bytes, bound_to: bytes) -> bytes:
        return opened(self._ciphers[kek], wrapped, bound_to)


def name_of(key: bytes) -> str:
    """The name of a key: says nothing about it."""
    return hashlib.sha256(b"cairn kek\0" + key).hexdigest()[:16]


def minted() -> str:
    """A new key, as settings and files spell it."""
    return base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def keyring_of(keys: str | None, file: Path | None) -> LocalKeyring:
    """The keys of CAIRN_KEK (comma-separated) or CAIRN_KEK_FILE (one a line). Raises SettingsError."""
    if keys is not None and file is not None:
        raise SettingsError("CAIRN_KEK and CAIRN_KEK_FILE are both set: which one holds the key-encryption keys?")
    if keys is not None:
        return LocalKeyring([_key(each, "CAIRN_KEK") for each in keys.split(",")])
    if file is None:
        raise SettingsError(
            "Neither CAIRN_KEK nor CAIRN_KEK_FILE is set: names and addresses of people are stored encrypted, under "
            "keys that this key wraps. Make one with `cairn keys new`, and keep it apart from the database's backups."
        )
    try:
        lines = file.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"CAIRN_KEK_FILE cannot be read: {error}") from error
    if not lines:
        raise SettingsError(f"CAIRN_KEK_FILE: {file} is empty")
    return LocalKeyring([_key(line, f"CAIRN_KEK_FILE: {file}") for line in lines])


def _key(text: str, where: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise SettingsError(
            f"{where}: a key is {KEY_BYTES} random bytes in URL-safe base64, as `cairn keys new` makes it"
        )
    return key
