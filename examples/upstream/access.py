"""Who may call, and how often: API key, basic, OAuth2 client credentials, and a limit per window."""

import base64
import binascii
import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from urllib.parse import unquote_plus

Headers = Mapping[str, str]
"""By lower-case name."""


@dataclass(frozen=True)
class Credentials:
    """What callers must know. Pairs are name and secret."""

    api_key: str
    basic: tuple[str, str]
    client: tuple[str, str]
    token_seconds: int


class Access:
    """Issues tokens, which end with the process, and judges what callers show."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._tokens: dict[str, float] = {}

    def token_for(self, headers: Headers, form: Mapping[str, str]) -> tuple[str, int] | None:
        """A new token and its seconds, for the client's name and secret in a basic header or in the form."""
        shown = _basic(headers)
        if shown is None:
            shown = (form.get("client_id", ""), form.get("client_secret", ""))
        else:
            shown = (unquote_plus(shown[0]), unquote_plus(shown[1]))
        if not _equal(shown, self._credentials.client):
            return None
        token = secrets.token_urlsafe(24)
        now = time.monotonic()
        self._tokens = {each: end for each, end in self._tokens.copy().items() if end > now}
        self._tokens[token] = now + self._credentials.token_seconds
        return token, self._credentials.token_seconds

    def revoke(self) -> None:
        """Ends every token."""
        self._tokens = {}

    def admits(self, ways: list[str], headers: Headers) -> bool:
        """Whether one of the ways that are switched on is satisfied; nothing is asked where none is."""
        return not ways or any(self._shown(way, headers) for way in ways)

    def _shown(self, way: str, headers: Headers) -> bool:
        if way == "key":
            return hmac.compare_digest(headers.get("x-api-key", "").encode(), self._credentials.api_key.encode())
        if way == "basic":
            pair = _basic(headers)
            return pair is not None and _equal(pair, self._credentials.basic)
        kind, _, token = headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and self._tokens.get(token.strip(), 0.0) > time.monotonic()


def challenge(ways: list[str]) -> str:
    """What a refused caller is told to show."""
    asked = {"key": 'ApiKey realm="upstream"', "basic": 'Basic realm="upstream"', "oauth2": 'Bearer realm="upstream"'}
    return ", ".join(asked[way] for way in ways)


def _basic(headers: Headers) -> tuple[str, str] | None:
    kind, _, text = headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        name, _, secret = base64.b64decode(text.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return name, secret


def _equal(shown: tuple[str, str], known: tuple[str, str]) -> bool:
    return hmac.compare_digest("\0".join(shown).encode(), "\0".join(known).encode())


class Allowance:
    """So many requests in each window, counted from the first one in it."""

    def __init__(self) -> None:
        self._turn = Lock()
        self._began = 0.0
        self._used = 0

    def take(self, limit: int, window_seconds: int) -> tuple[bool, dict[str, str]]:
        """Whether this request may go on, and what its answer says about the limit."""
        with self._turn:
            now = time.monotonic()
            if not self._used or now >= self._began + window_seconds:
                self._began, self._used = now, 0
            allowed = self._used < limit
            self._used += allowed
            wait = max(1, int(self._began + window_seconds - now + 0.999))
        headers = {
            "X-RateLimit-Limit": str(limit),
            "X-RateLimit-Remaining": str(max(0, limit - self._used)),
            "X-RateLimit-Reset": str(wait),
        }
        return allowed, headers if allowed else headers | {"Retry-After": str(wait)}
