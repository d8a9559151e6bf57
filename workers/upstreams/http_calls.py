"""Single calls to an upstream over HTTP: credentials, retries, its limits and ours, and JSON or a clear error."""

import asyncio
import re
import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx
import msgspec
import stamina

from domain.upstreams import ApiKey, Basic, ClientCredentials, HttpUpstream
from workers.upstreams.egress import Egress, GuardedTransport
from workers.upstreams.upstream import Broken, Credentials, Denied, Unavailable

_CONNECTIONS: Final = httpx.Limits(max_connections=4, max_keepalive_connections=2, keepalive_expiry=30)
_JSON: Final = msgspec.json.Decoder(float_hook=Decimal)
_EARLY_SECONDS: Final = 30.0
"""A token is fetched again so long before it ends."""
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_EPOCH_FROM: Final = 10**9
"""A reset above this is an instant, not a number of seconds: both are in use."""
_WAIT: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")


class Answer(msgspec.Struct, frozen=True):
    """What came: the JSON document, None for 304."""

    status: int
    headers: httpx.Headers
    document: Any
    next_link: str | None
    """Of the Link header."""


class Calls:
    """Makes calls to one upstream. Nothing is redirected, no proxy is taken from the environment."""

    def __init__(self, config: HttpUpstream, credentials: Credentials, egress: Egress) -> None:
        self._config = config
        self._credentials = credentials
        limits = config.limits
        timeout = httpx.Timeout(limits.silence_seconds_max, connect=limits.connect_seconds_max)
        self._client = httpx.AsyncClient(
            transport=GuardedTransport(egress, _CONNECTIONS),
            timeout=timeout,
            trust_env=False,
            follow_redirects=False,
            headers={"Accept": "application/json", "User-Agent": "cairn"},
        )
        self._token: str | None = None
        self._token_ends = 0.0
        self._not_before = 0.0

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    async def get(self, url: str, parameters: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        """Parameters of the address itself stay, if none are given. Raises UpstreamError."""
        return await self._persistently(
            self._client.build_request("GET", url, params=parameters or None, headers=headers)
        )

    async def post(self, url: str, document: object, idempotency_key: str) -> Answer:
        """As often as needed: the key makes it one time for the upstream. Raises UpstreamError."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": idempotency_key}
        body = msgspec.json.encode(document)
        return await self._persistently(self._client.build_request("POST", url, content=body, headers=headers))

    async def _persistently(self, request: httpx.Request) -> Answer:
        limits = self._config.limits
        attempts = stamina.retry_context(
            on=self._whether_again,
            attempts=limits.attempts_max,
            timeout=None,
            wait_initial=limits.first_wait_seconds,
            wait_max=limits.wait_seconds_max,
            wait_jitter=limits.first_wait_seconds,
        )
        async for attempt in attempts:
            with attempt:
                await self._allowance()
                return await self._admitted(request)
        raise AssertionError("a last attempt returns or raises")

    def _whether_again(self, error: Exception) -> bool | float:
        """Or after how many seconds, when the upstream says so."""
        if not isinstance(error, Unavailable) or error.code == "upstream.html-answered":
            return False
        asked = error.retry_after_seconds
        if asked is None:
            return True
        return asked if asked <= self._config.limits.wait_seconds_max else False

    async def _allowance(self) -> None:
        """Waits for the next window where the upstream said that this one is used up."""
        waiting = self._not_before - time.monotonic()
        if waiting > self._config.limits.wait_seconds_max:
            raise Unavailable("upstream.rate-limited", retry_after_seconds=round(waiting, 3))
        if waiting > 0:
            await asyncio.sleep(waiting)

    async def _admitted(self, request: httpx.Request) -> Answer:
        """With a new token once, if the old one is refused: it may have been revoked."""
        fresh = self._token is None
        await self._show(request)
        try:
            return await self._answered(request)
        except Denied as error:
            if fresh or error.code != "upstream.unauthorised" or self._token is None:
                raise
        self._token = None
        await self._show(request)
        return await self._answered(request)

    async def _show(self, request: httpx.Request) -> None:
        """Puts the credentials on the request."""
        shown = self._credentials
        match self._config.auth:
            case ApiKey(header=header):
                request.headers[header] = shown.secret
            case Basic():
                request.headers["Authorization"] = _basic(shown)
            case ClientCredentials() as how:
                request.headers["Authorization"] = f"Bearer {await self._bearer(how)}"

    async def _bearer(self, how: ClientCredentials) -> str:
        if self._token is None or time.monotonic() >= self._token_ends:
            form = {"grant_type": "client_credentials"} | ({"scope": how.scope} if how.scope else {})
            headers = {"Authorization": _basic(self._credentials, quoted=True)}
            answer = await self._answered(self._client.build_request("POST", how.token_url, data=form, headers=headers))
            token, seconds = _issued(answer.document)
            self._token, self._token_ends = token, time.monotonic() + max(seconds - _EARLY_SECONDS, seconds / 2)
        return self._token

    async def _answered(self, request: httpx.Request) -> Answer:
        limits = self._config.limits
        host = request.url.host
        try:
            async with asyncio.timeout(limits.answer_seconds_max):
                response = await self._client.send(request, stream=True)
                try:
                    self._note_allowance(response.headers)
                    _refuse(response)
                    body = await _whole(response, limits.page_bytes_max)
                finally:
                    await response.aclose()
        except httpx.ConnectError as error:
            if isinstance(_first_cause(error), ssl.SSLError):
                raise Denied("upstream.tls-refused", host=host, why=str(_first_cause(error))[:200]) from error
            raise Unavailable("upstream.unreachable", host=host, why="no connection") from error
        except (httpx.TransportError, TimeoutError) as error:
            raise Unavailable("upstream.unreachable", host=host, why=type(error).__name__) from error
        except httpx.HTTPError as error:
            raise Broken("upstream.not-json", host=host, why=type(error).__name__) from error
        following = response.links.get("next", {}).get("url")
        return Answer(response.status_code, response.headers, _document(response, body), following)

    def _note_allowance(self, headers: httpx.Headers) -> None:
        for prefix in ("RateLimit-", "X-RateLimit-"):
            left, reset = headers.get(f"{prefix}Remaining"), headers.get(f"{prefix}Reset")
            if left is not None and reset is not None and left.strip() == "0" and _WAIT.fullmatch(reset.strip()):
                seconds = float(reset)
                seconds = seconds - time.time() if seconds > _EPOCH_FROM else seconds
                self._not_before = time.monotonic() + max(0.0, seconds)


def _basic(shown: Credentials, *, quoted: bool = False) -> str:
    """`quoted`: as RFC 6749 section 2.3.1 wants clients' names and secrets."""
    name, secret = shown.name, shown.secret
    if quoted:
        name, secret = (str(httpx.QueryParams({"x": each}))[2:] for each in (name, secret))
    request = httpx.Request("GET", "https://x")
    return str(next(httpx.BasicAuth(name, secret).auth_flow(request)).headers["Authorization"])


def _issued(document: Any) -> tuple[str, float]:
    if isinstance(document, dict) and isinstance(token := document.get("access_token"), str):
        seconds = document.get("expires_in", 300)
        return token, float(seconds) if isinstance(seconds, int | Decimal) else 300.0
    raise Broken("upstream.not-json", why="the answer to the request for a token has no access_token")


def _refuse(response: httpx.Response) -> None:
    """Raises what an answer's status means, unless it is good."""
    status, host = response.status_code, response.request.url.host
    if status == 304 or 200 <= status < 300:
        return
    facts: dict[str, object] = {"host": host, "status": status}
    if status in _PASSING or status >= 500:
        code = "upstream.rate-limited" if status == 429 else "upstream.failing"
        raise Unavailable(code, retry_after_seconds=_retry_after(response.headers), **facts)
    if status in {401, 403, 407}:
        raise Denied("upstream.unauthorised", **facts)
    if 300 <= status < 400:
        raise Broken("upstream.redirected", **facts)
    raise Broken("upstream.refused", **facts)


def _retry_after(headers: httpx.Headers) -> float | None:
    text = headers.get("Retry-After", "").strip()
    if _WAIT.fullmatch(text):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


async def _whole(response: httpx.Response, bytes_max: int) -> bytes:
    """The body, unpacked. What is larger than allowed is not read to its end."""
    pieces: list[bytes] = []
    size = 0
    async for piece in response.aiter_bytes():
        size += len(piece)
        if size > bytes_max:
            raise Broken("upstream.page-too-large", host=response.request.url.host, bytes_max=bytes_max)
        pieces.append(piece)
    return b"".join(pieces)


def _document(response: httpx.Response, body: bytes) -> Any:
    if response.status_code == 304:
        return None
    host = response.request.url.host
    if "html" in response.headers.get("Content-Type", "").lower() or body.lstrip()[:1] == b"<":
        raise Unavailable("upstream.html-answered", host=host, status=response.status_code)
    try:
        return _JSON.decode(body.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Broken("upstream.not-json", host=host, why=str(error)[:200]) from error


def _first_cause(error: BaseException) -> BaseException:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
        if isinstance(error, ssl.SSLError):
            break
    return error
