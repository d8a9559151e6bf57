"""Cursors of pages: opaque, checked, and good for one query only."""

import base64
import binascii
import hashlib
from typing import Final, NamedTuple, TypeVar

import msgspec

from api.problems import Problem

K = TypeVar("K")

_CHECK_BYTES: Final = 8
_QUERY_BYTES: Final = 8


class Cursor(NamedTuple):
    """Where a page ended: the last row's key (encoded), in an answer that was true at `position` of `epoch`."""

    query: bytes
    epoch: int
    position: int
    key: bytes


def query_of(*parts: object) -> bytes:
    """Eight bytes that tell one query from another: company, path and filters."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=_QUERY_BYTES).digest()


def written(query: bytes, epoch: int, position: int, key: object) -> str:
    """The cursor as text."""
    body = msgspec.msgpack.encode((query, epoch, position, msgspec.msgpack.encode(key)))
    return base64.urlsafe_b64encode(_check(body) + body).decode().rstrip("=")


def read(text: str, query: bytes) -> Cursor:
    """Reads a cursor. Raises Problem when it is not ours, was altered, or belongs to another query."""
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        body = raw[_CHECK_BYTES:]
        cursor = Cursor(*msgspec.msgpack.decode(body, type=tuple[bytes, int, int, bytes]))
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise Problem("cursor.malformed") from None
    if raw[:_CHECK_BYTES] != _check(body):
        raise Problem("cursor.malformed")
    if cursor.query != query:
        raise Problem("cursor.of-another-query")
    return cursor


def key(cursor: Cursor, kind: type[K]) -> K:
    """The last row's key as a `kind`. Raises Problem when it has another shape."""
    try:
        return msgspec.msgpack.decode(cursor.key, type=kind)
    except msgspec.MsgspecError:
        raise Problem("cursor.malformed") from None


def _check(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_CHECK_BYTES, person=b"cairn cursor 1").digest()
