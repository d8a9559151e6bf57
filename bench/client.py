"""A lean HTTP/1.1 client for one connection: no pipelining, no parsing beyond status and length."""

import asyncio
from typing import Self, cast


class Refused(Exception):
    """The server answered something else than it should; the message is the answer."""


class Connection(asyncio.Protocol):
    """One keep-alive connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self._received = b""
        self._expected = 0

    @classmethod
    async def to(cls, host: str, port: int) -> Self:
        """Connects."""
        _, connection = await asyncio.get_running_loop().create_connection(cls, host, port)
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._received = self._received + data if self._received else data
        if not self._expected:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._received[:end].lower()
            start = head.index(b"content-length:") + 15
            self._expected = end + 4 + int(head[start : head.find(b"\r", start) if b"\r" in head[start:] else None])
        if len(self._received) >= self._expected:
            received, self._received, self._expected = self._received, b"", 0
            assert self._answer is not None
            self._answer.set_result(received)

    async def ask(self, request: bytes, status: bytes = b"2") -> bytes:
        """Sends a request and waits for its answer, head and body. Raises Refused on another status."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        answer = await self._answer
        if not answer.startswith(status, 9):
            raise Refused(answer.decode())
        return answer

    def close(self) -> None:
        """Disconnects."""
        if self._transport is not None:
            self._transport.close()


def request(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """A whole request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", "host: bench", *(f"{name}: {value}" for name, value in headers.items())]
    if method == "POST":
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
