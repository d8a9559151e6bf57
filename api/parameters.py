"""Query parameters that a route does not know are refused, not ignored: a misspelt filter must not answer all rows."""

import difflib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.routes import HTTPRoute
from litestar.types import HTTPScope

from api.problems import Fault, Problem

AnyConnection = ASGIConnection[Any, Any, Any, Any]


async def refuse_unknown(connection: AnyConnection, _: BaseRouteHandler) -> None:
    """A guard of every route. Raises Problem naming each parameter that the route, or what it depends on, has not.

    Async, though it awaits nothing: the framework hands a plain function to a thread, for every request.
    """
    scope = cast("HTTPScope", connection.scope)  # there are no web sockets here
    if not scope["query_string"]:
        return
    known = _known(connection.app)[scope["path_template"], scope["method"]]
    unknown = [name for name in connection.query_params if name not in known]
    if unknown:
        faults = [Fault(f"/{name}", "parameter-unknown", _advice(name, known)) for name in unknown]
        raise Problem("request.parameter-unknown", faults=faults, unknown=unknown, known=sorted(known))


def _advice(name: str, known: frozenset[str]) -> str:
    if not known:
        return "This route takes no parameters."
    close = difflib.get_close_matches(name.lower(), known, n=1)
    meant = f" Did you mean `{close[0]}`?" if close else ""
    return f"There is no parameter `{name}` here.{meant}"


@lru_cache(maxsize=4)
def _known(app: Litestar) -> Mapping[tuple[str, str], frozenset[str]]:
    """By route and method: the parameters that its signature and those of its dependencies name."""
    return {
        (route.path_format, method): frozenset(parameter.field_alias for parameter in model.expected_query_params)
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for method, (_, model) in route.route_handler_map.items()
    }
