"""The limit of the HTTP figure: Cairn's own server with an application that reads the body and answers a fixed JSON.

`python -m bench.fixed PORT`: bare ASGI. `python -m bench.fixed PORT litestar`: through the framework's routing too.
"""

import sys
from typing import Any

import uvicorn
import uvloop
from litestar import Litestar, Request, Response, post
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
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())]


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body, answers."""
    if scope["type"] == ScopeType.WEBSOCKET:
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 201, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER, "more_body": False})


@post("/commands/estimate/{id:uuid}/add-line")
async def routed(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Reads the body, answers."""
    await request.body()
    return Response(ANSWER, media_type="application/json", status_code=201)


def main(port: int, framework: bool) -> None:
    """Serves until it is stopped."""
    application = Litestar([routed], openapi_config=None, logging_config=None) if framework else bare
    config = uvicorn.Config(
        application,
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
    main(int(sys.argv[1]), "litestar" in sys.argv[2:])
