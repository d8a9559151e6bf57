"""Who may do what: derived from the registry of commands and the routes of queries, for people and for documents."""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from api.identity import EVERYBODY
from domain.decider import Role
from domain.registry import COMMANDS


class Allowed(NamedTuple):
    """Who may do something; `oneself`: who else may, about their own membership."""

    roles: frozenset[Role]
    oneself: frozenset[Role] = frozenset()

    def __str__(self) -> str:
        if self.roles == EVERYBODY:
            return "every role"
        named = ", ".join(role for role in Role if role in self.roles) or "the operator alone"
        return f"{named}; every member about themselves" if self.oneself else named


def allowed(handler: HTTPRouteHandler) -> Allowed | None:
    """Who may call a route; None for one that needs no token, and for the batch, whose commands each say it."""
    command = handler.opt.get("command")
    if command is not None:
        return Allowed(command.roles, command.roles_for_oneself)
    if handler.opt.get("open") or not ("GET" in handler.http_methods or "takes" in handler.opt):
        return None
    return Allowed(handler.opt.get("roles", EVERYBODY))


def handlers(litestar: Litestar) -> Iterator[tuple[str, HTTPRouteHandler]]:
    """Path and handler of every route of ours; those the framework adds of itself have no tags."""
    for route in litestar.routes:
        if isinstance(route, HTTPRoute):
            yield from ((route.path_format, handler) for handler in route.route_handlers if handler.tags)


def table(litestar: Litestar) -> list[tuple[str, str, str]]:
    """(what, which, who): commands by aggregate as the registry has them, then queries: one row for each who."""
    grouped: dict[tuple[str, Allowed], list[str]] = defaultdict(list)
    for (aggregate, verb), (_, kind) in COMMANDS.items():
        grouped[f"commands of {aggregate}", Allowed(kind.roles, kind.roles_for_oneself)].append(verb)
    for path, handler in sorted(handlers(litestar), key=lambda each: each[0]):
        who = allowed(handler)
        if who is not None and "command" not in handler.opt:
            grouped["queries", who].append(path)
    return [(what, ", ".join(f"`{each}`" for each in which), str(who)) for (what, who), which in grouped.items()]
