"""Positions as they travel over HTTP: tokens, `at=`, and what a log says of them."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final, NamedTuple

from api.problems import Problem
from eventstore import log
from eventstore.db import Reader
from eventstore.log import Head

_TOKEN: Final = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})")
_DIGITS: Final = re.compile(r"[0-9]{1,18}")
_INSTANT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


class Token(NamedTuple):
    """A position of one epoch of a log, written `<epoch>.<position>`. Epoch None: of whatever epoch."""

    epoch: int | None
    position: int

    def __str__(self) -> str:
        return str(self.position) if self.epoch is None else f"{self.epoch}.{self.position}"


def token(text: str, name: str) -> Token:
    """Reads a token. Raises Problem that names the header or parameter it came in."""
    if found := _TOKEN.fullmatch(text):
        return Token(int(found[1]), int(found[2]))
    raise Problem("request.header-malformed", f"{name} is a token such as 1763735471123456.42.", header=name)


def at(text: str) -> Token | datetime:
    """Reads the `at` parameter: a position, a token, or an RFC 3339 instant."""
    if _DIGITS.fullmatch(text):
        return Token(None, int(text))
    if found := _TOKEN.fullmatch(text):
        return Token(int(found[1]), int(found[2]))
    instant = text.replace(" ", "+") if text.count(" ") == 1 and "T" in text.upper() else text
    if _INSTANT.fullmatch(instant):
        try:
            return datetime.fromisoformat(instant.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    detail = "`at` is a position such as 42, a token, or an instant such as 2026-11-21T14:30:00Z."
    raise Problem("request.parameter-invalid", detail, parameter="at")


async def must_belong(reader: Reader, head: Head, asked: Token) -> None:
    """Raises Problem unless the token's position is one this log went through in that epoch, or could still reach.

    A log that was restored shares its beginning with the one it was restored from: a token from there stays good.
    """
    if asked.epoch is None or asked.epoch == head.epoch:
        return
    last = _last_of(await log.epochs(reader), asked.epoch)
    if last is None or asked.position > last:
        raise Problem("position.other-epoch", epoch=head.epoch, asked=str(asked), last_position=last)


def _last_of(epochs: Sequence[tuple[int, int]], epoch: int) -> int | None:
    """The last position of an epoch that has ended; None for one this log never had."""
    for (began, _), (_, after) in pairwise(epochs):
        if began == epoch:
            return after
    return None


def not_ahead(head: Head, position: int) -> None:
    """Raises Problem when a position has not been written."""
    if position > head.position:
        raise Problem("position.ahead", asked=position, head=head.position)


async def resolved(reader: Reader, asked: Token | datetime) -> int:
    """The position that `at` names. An instant is looked up in the log, once."""
    if isinstance(asked, Token):
        return asked.position
    now = datetime.now(UTC)
    if asked > now:
        raise Problem("position.ahead", asked=asked.isoformat(), now=now.isoformat())
    return await log.position_at(reader, asked)
