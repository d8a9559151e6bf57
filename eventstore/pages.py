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


def _bodies(joined: bytes, lengths: bytes, between: int) -> list[bytes]:
    """`lengths`: of each, as integers of four bytes; `between`: bytes that stand between two."""
    each = _integers("i", len(lengths) // 4)(lengths)
    ends = accumulate(length + between for length in each)
    return [joined[end - between - length : end - between] for length, end in zip(each, ends, strict=True)]


class Neighbours(dict[int, Sequence[Any]]):
    """The columns of `count` neighbouring events, by their number in a stored row. They came as one joined value each,
    and are taken apart when first asked for: most readers want the decoded event alone.
    """

    __slots__ = ("_joined", "count", "first", "payloads")

    def __init__(self, first: int, count: int, joined: Sequence[Any]) -> None:
        """`joined`: a row's columns from the instants to the leaves, then lengths and bodies of metadata and payloads.
        The column of types has more elements than `count` when they cannot be told apart.
        """
        self.first = first
        self.count = count
        self.payloads: bytes = joined[-1]
        self._joined = joined

    def __missing__(self, number: int) -> Sequence[Any]:
        taken = self[number] = self._taken_apart(number)
        return taken

    def _taken_apart(self, number: int) -> Sequence[Any]:
        count, joined = self.count, self._joined
        match number:
            case 0:
                return range(self.first, self.first + count)
            case 1:
                return _instants(count, joined[0])
            case 2:
                return _integers("i", count)(joined[1])
            case 3:
                return _integers("h", count)(joined[2])
            case 8:
                types: list[str] = joined[7].split("\n")
                return types
            case 9:
                return _pieces(32, count)(joined[8])
            case 10:
                return _bodies(joined[10], joined[9], 0)
            case 11:
                return _bodies(joined[12], joined[11], 1)
            case _:
                return _pieces(16, count)(joined[number - 1])
