"""A page of the log as columns: the server joins the values of many events, and here they are taken apart again.

Value by value costs more than reading what the values say; of a page there are a dozen values, and one JSON array.
"""

import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import accumulate
from typing import Any

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

Unpack = Callable[[bytes], tuple[Any, ...]]


@lru_cache(maxsize=1_024)
def _integers(code: str, count: int) -> Unpack:
    return struct.Struct(f">{count}{code}").unpack


@lru_cache(maxsize=1_024)
def _pieces(width: int, count: int) -> Unpack:
    return struct.Struct(f"{width}s" * count).unpack


def _instants(count: int, body: bytes) -> list[datetime]:
    """Events of one append share their instant, and so its object."""
    values = _integers("q", count)(body)
    instants = {value: _EPOCH + timedelta(microseconds=value) for value in set(values)}
    return list(map(instants.__getitem__, values))


class Joined:
    """Values of neighbouring events, taken apart when one is asked for: most readers want the decoded event alone.
    `lengths`: of each, as integers of four bytes; `between`: bytes that stand between two.
    """

    __slots__ = ("_between", "_first", "_lengths", "_parts", "body")

    def __init__(self, body: bytes, lengths: bytes, between: int, first: int) -> None:
        self.body = body
        self._lengths = lengths
        self._between = between
        self._first = first
        self._parts: list[bytes] | None = None

    def parts(self) -> list[bytes]:
        """All of them."""
        if self._parts is None:
            lengths = _integers("i", len(self._lengths) // 4)(self._lengths)
            ends = accumulate(length + self._between for length in lengths)
            body, between = self.body, self._between
            self._parts = [
                body[end - between - length : end - between] for length, end in zip(lengths, ends, strict=True)
            ]
        return self._parts

    def at(self, position: int) -> bytes:
        """That of the event at a position."""
        return self.parts()[position - self._first]


def columns(count: int, joined: Sequence[Any]) -> tuple[Sequence[Any], ...] | None:
    """The columns of `count` neighbours, from the joined values of a stored row's but for the bodies, in their order.
    None when these are no neighbours, or cannot be told apart.
    """
    positions, instants, stream_versions, schema_versions, streams, ids, actors, commands, types, leaves = joined
    numbers = _integers("q", count)(positions)
    named: list[str] = types.split("\n")
    if len(named) != count or numbers != tuple(range(numbers[0], numbers[0] + count)):
        return None
    sixteen = _pieces(16, count)
    return (
        numbers,
        _instants(count, instants),
        _integers("i", count)(stream_versions),
        _integers("h", count)(schema_versions),
        sixteen(streams),
        sixteen(ids),
        sixteen(actors),
        sixteen(commands),
        named,
        _pieces(32, count)(leaves),
    )
