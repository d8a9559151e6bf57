"""What the server is told to ask for, and to get wrong. Set on the command line and by `/faults`, at any time."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from threading import Lock
from typing import Any

from examples.upstream.fields import COLUMNS

WAYS = ("key", "basic", "oauth2")


@dataclass
class Switches:
    """Numbers of times count down; all else stays until it is set again."""

    auth: list[str] = field(default_factory=list)
    rate_limit: int = 0
    rate_window_seconds: int = 60
    slow_ms: int = 0
    errors: int = 0
    drops: int = 0
    html: int = 0
    half_batches: int = 0
    short_answers: int = 0
    repeat_pages: int = 0
    endless: bool = False
    rename: str = ""
    only: str = ""

    def renamed(self) -> dict[str, str]:
        """The name that callers see, by column, where they differ."""
        old, _, new = self.rename.partition(":")
        return {old: new} if self.rename else {}


class Panel:
    """The switches of a running server; every thread may turn them."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._turn = Lock()
        self._first = dict(settings)
        self._now = Switches()
        self.set(settings)

    def now(self) -> Switches:
        """As they stand. The object is not changed afterwards."""
        with self._turn:
            return self._now

    def shown(self) -> dict[str, Any]:
        """As they stand, by name."""
        return asdict(self.now())

    def set(self, settings: Mapping[str, Any]) -> None:
        """Turns those that are named. Raises ValueError, and then none was turned."""
        known = {each.name: type(getattr(Switches(), each.name)) for each in fields(Switches)}
        for name, value in settings.items():
            if name not in known:
                raise ValueError(f"There is no switch {name!r}: {', '.join(known)}.")
            if type(value) is not known[name] or (known[name] is int and value < 0):
                raise ValueError(f"{name} is {_said(known[name])}, not {json.dumps(value)}.")
        _check(settings)
        with self._turn:
            self._now = Switches(**asdict(self._now) | dict(settings))

    def reset(self) -> None:
        """As the command line had them."""
        with self._turn:
            self._now = Switches(**self._first)

    def take(self, name: str) -> bool:
        """Whether this is one of the times that are left; then one less is."""
        with self._turn:
            left = int(getattr(self._now, name))
            if left > 0:
                self._now = Switches(**asdict(self._now) | {name: left - 1})
            return left > 0


def _said(kind: type) -> str:
    return {int: "a number from 0", bool: "true or false", str: "text", list: "a list"}[kind]


def _check(settings: Mapping[str, Any]) -> None:
    if unknown := [way for way in settings.get("auth", []) if way not in WAYS]:
        raise ValueError(f"auth is any of {', '.join(WAYS)}, not {unknown}.")
    if settings.get("rate_window_seconds") == 0:
        raise ValueError("rate_window_seconds is at least 1.")
    if rename := settings.get("rename"):
        old, _, new = rename.partition(":")
        if old not in COLUMNS or not new or new in {*COLUMNS, "id", "version", "modified_at", "deleted"}:
            raise ValueError(f"rename is OLD:NEW, OLD a column and NEW none, not {rename!r}.")


def parsed(texts: list[str]) -> dict[str, Any]:
    """`name=value` from a command line; a value is JSON, or else text. Raises ValueError."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"A fault is name=value, not {text!r}.")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found
