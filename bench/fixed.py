"""The limit of the HTTP figure: Cairn's own server with an application that reads the body and answers a fixed JSON.

`python -m bench.fixed PORT`: bare ASGI. `python -m bench.fixed PORT litestar`: through the framework's routing too.
A file named after that is what it answers; without one, a receipt.
"""

import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from litestar import HttpMethod, Litestar, Request, Response, route
from litestar.enums import ScopeType
from litestar.types import Receive, Scope, Send

from api.server import protocol_of
from api.settings import ApiSettings

ANSWER = (
    b'{"command_id":"0197b2a4-5f6e-7c3d-8a9b-0c1d2e3f4a5b","first_position":1,"last_position":1,"position":1,'
    b'"stream_version":2,"epoch":1700000000000000,"recorded_at":"2026-01-01T00:00:00.000000Z","leaves":["'
    + b"0" * 64
    + b'"],"replayed":false}'
)
PATHS = (
    "/commands/estimate/{id:uuid}/add-line",
    "/commands/drafts/{id:uuid}/save-drafts",
    "/connections/{id:uuid}/records",
)


def bare(answer: bytes) -> Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]:
    """An application that reads the body, and answers."""
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.WEBSOCKET:
            return
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": answer, "more_body": False})

    return application


def routed(answer: bytes) -> Litestar:
    """Reads the body, answers."""

    @route(list(PATHS), http_method=[HttpMethod.GET, HttpMethod.POST])
    async def answered(request: Request[Any, Any, Any]) -> Response[bytes]:
        await request.body()
        return Response(answer, media_type="application/json", status_code=201)

    return Litestar([answered], openapi_config=None, logging_config=None)


def main(port: int, framework: bool, answer: bytes) -> None:
    """Serves until it is stopped."""
    config = uvicorn.Config(
        routed(answer) if framework else bare(answer),
        host="127.0.0.1",
        port=port,
        loop="none",
        http=protocol_of(ApiSettings()),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    uvloop.run(uvicorn.Server(config).serve())


if __name__ == "__main__":
    named = [word for word in sys.argv[2:] if word != "litestar"]
    main(int(sys.argv[1]), "litestar" in sys.argv[2:], Path(named[0]).read_bytes() if named else ANSWER)
