"""Whom the command line speaks to and as whom; and the tokens it issues through the API."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4, uuid5

from api.identity import mint
from cairn import up
from cairn.client import ApiError, Client, Command
from cairn.settings import Settings
from domain.decider import Role

ROLES = [role.value for role in Role]


def whom_to_ask(settings: Settings) -> tuple[str, str]:
    """The API's URL and the token to show it: those named by the settings, else this folder's. Raises ApiError."""
    url, token = settings.tools.url or up.url_of(settings.store.data_folder), settings.tools.token
    if url is None:
        raise ApiError(f"Nothing runs in {settings.store.data_folder}. Start it with `cairn up`, or set CAIRN_URL.")
    if token is None:
        path = settings.store.data_folder / "operator-token"
        if not path.exists():
            raise ApiError(f"There is no {path}. Set CAIRN_TOKEN to a token of that API.")
        token = path.read_text(encoding="ascii").strip()
    return url, token


def caller(settings: Settings, company: UUID) -> Client:
    """A client that acts for this company. Raises ApiError."""
    url, token = whom_to_ask(settings)
    return Client(url, token, company)


def member_of(client: Client, company: UUID, email: str, *, name: str, role: str) -> UUID:
    """The member of this address, who is added when there is none. Raises ApiError."""
    return _member(client, email) or _added(client, company, email, name, role)


def issued(client: Client, company: UUID, member: UUID, *, label: str, expires_at: datetime) -> str:
    """A new token for a member. Raises ApiError."""
    token, secret_hash = mint(company)
    until = expires_at.astimezone(UTC).replace(microsecond=0).isoformat()
    body = {"token_id": str(uuid4()), "secret_hash": secret_hash, "label": label, "expires_at": until}
    client.send(Command("membership", member, "issue-token", body))
    return token


def _member(client: Client, email: str) -> UUID | None:
    """The member of this address. Letter case makes no difference."""
    same = (member for member in _all(client, "/members") if member["email"].casefold() == email.casefold())
    return next((UUID(member["member_id"]) for member in same), None)


def _all(client: Client, path: str) -> Iterator[dict[str, Any]]:
    """The rows of every page."""
    query: dict[str, Any] = {}
    while True:
        page = client.get(path, **query)
        yield from page["items"]
        if page["next"] is None:
            return
        query = {"cursor": page["next"]}


def _added(client: Client, company: UUID, email: str, name: str, role: str) -> UUID:
    member = uuid5(company, f"{email.casefold()} {uuid4()}")
    body = {"name": name, "email": email, "role": role}
    client.send(Command("membership", member, "add-member", body, uuid4()))  # an id made of them would tell who it is
    return member


def listed(client: Client) -> list[tuple[str, ...]]:
    """Member, name, role, token, label, expiry, and whether it was revoked, of every token. Raises ApiError."""
    return [
        (
            member["member_id"],
            member["name"],
            member["role"],
            token["token_id"],
            token["label"],
            token["expires_at"],
            "revoked" if token["revoked"] else "",
        )
        for member in _all(client, "/members")
        for token in _all(client, f"/members/{member['member_id']}/tokens")
    ]


def revoked(client: Client, member: UUID, token_id: UUID) -> None:
    """End a token. Raises ApiError."""
    client.send(Command("membership", member, "revoke-token", {"token_id": str(token_id)}))
