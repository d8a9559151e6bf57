"""Chance that can be looked up: what is drawn for a number depends on nothing but the seed and that number."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from itertools import accumulate
from typing import Generic, TypeVar

Thing = TypeVar("Thing")


class Draws:
    """About 60 draws for one number, always the same ones in the same order."""

    def __init__(self, *what: int | str) -> None:
        self._left = int.from_bytes(blake2b("/".join(map(str, what)).encode()).digest(), "little")

    def below(self, limit: int) -> int:
        """A whole number from 0 up to the limit, each as likely."""
        self._left, drawn = divmod(self._left, limit)
        return drawn

    def within(self, least: int, most: int) -> int:
        """A whole number, both ends inclusive."""
        return least + self.below(most - least + 1)

    def along(self, spread: Sequence[int]) -> int:
        """A whole number of a distribution that is given by values at equal steps of its share, least and most too."""
        step, part = divmod(self.below((len(spread) - 1) * 1024), 1024)
        return spread[step] + (spread[step + 1] - spread[step]) * part // 1024


class Chooser(Generic[Thing]):
    """Things by their shares."""

    def __init__(self, shares: Iterable[tuple[Thing, int]]) -> None:
        self._things, weights = zip(*shares, strict=True)
        self._up_to = list(accumulate(weights))

    def one(self, draws: Draws) -> Thing:
        """Draws one."""
        thing: Thing = self._things[bisect_right(self._up_to, draws.below(self._up_to[-1]))]
        return thing
