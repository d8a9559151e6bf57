"""Bodies of requests: read raw, within a size and a time."""

import asyncio
from typing import Final

from litestar.types import Receive

from api.identity import Headers
from api.problems import Problem
from api.settings import ApiSettings

_DRAINED_BYTES_MAX: Final = 256 * 1024 * 1024
"""A refused body up to this length may still arrive, to be dropped: most clients read no answer before all is sent."""


async def read(receive: Receive, headers: Headers, settings: ApiSettings) -> bytes:
    """The body of a request, whole. Raises Problem when it is too large, too slow, or not sent as JSON."""
    media_type = headers.get(b"content-type", b"application/json").partition(b";")[0].strip().lower()
    if media_type != b"application/json":
        raise Problem("request.media-type-unsupported", media_type=media_type.decode("latin-1"))
    announced = headers.get(b"content-length", b"")
    if announced.isdigit() and int(announced) > settings.api_body_bytes_max:
        raise _too_large(settings, close=int(announced) > _DRAINED_BYTES_MAX)
    try:
        async with asyncio.timeout(settings.api_body_seconds_max):
            return await _received(receive, settings)
    except TimeoutError:
        raise Problem(
            "request.body-too-slow", headers={"Connection": "close"}, seconds_max=settings.api_body_seconds_max
        ) from None


async def _received(receive: Receive, settings: ApiSettings) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem("request.malformed", "The client went away before its body was complete.")
        assert message["type"] == "http.request"
        part = message["body"]
        if not message["more_body"] and not parts:
            parts.append(part)
            size = len(part)
        elif part:
            parts.append(part)
            size += len(part)
        if size > settings.api_body_bytes_max:
            raise _too_large(settings, close=message["more_body"])
        if not message["more_body"]:
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(settings: ApiSettings, *, close: bool) -> Problem:
    headers = {"Connection": "close"} if close else {}
    return Problem("request.body-too-large", headers=headers, bytes_max=settings.api_body_bytes_max)
