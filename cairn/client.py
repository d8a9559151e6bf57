"""Speaks to Cairn's HTTP API the way any client would."""

import json
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from uuid import UUID, uuid5

import httpx

COMMAND_IDS = UUID("5d3a7c1e-8f0b-5a64-9b1d-2f6e0c4a7d88")
"""Name space of command ids made from what the command says: the same command, sent again, has the same id."""


class ApiError(Exception):
    """The API refused, or is not there. The message is for people; `code` is the problem's, "" when there is none."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class Command:
    """A command to send: to which stream, which verb, what body (a JSON object)."""

    def __init__(self, aggregate: str, id: UUID, verb: str, body: Mapping[str, Any], command_id: UUID | None = None):
        self.aggregate, self.id, self.verb, self.body = aggregate, id, verb, body
        words = f"{aggregate}/{id}/{verb} {json.dumps(body, sort_keys=True)}"
        self.command_id = command_id or uuid5(COMMAND_IDS, words)


class Client:
    """One caller: an API's URL and a token. The operator names the company to act for."""

    def __init__(self, url: str, token: str, company: UUID | None = None, timeout_seconds: float = 30) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        if company is not None:
            headers["Cairn-Company"] = str(company)
        self.http = httpx.Client(base_url=url, headers=headers, timeout=timeout_seconds, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.http.close()

    def send(self, command: Command) -> dict[str, Any]:
        """The command's receipt. Raises ApiError."""
        path = f"/commands/{command.aggregate}/{command.id}/{command.verb}"
        headers = {"Idempotency-Key": str(command.command_id)}
        receipt: dict[str, Any] = self._answer("POST", path, json=command.body, headers=headers)
        return receipt

    def send_all(self, commands: Sequence[Command]) -> list[dict[str, Any]]:
        """The receipts of a batch. Raises ApiError for the first that was refused."""
        items = [
            {
                "command_id": str(command.command_id),
                "aggregate": command.aggregate,
                "id": str(command.id),
                "verb": command.verb,
                "body": command.body,
            }
            for command in commands
        ]
        outcomes = self._answer("POST", "/commands", json=items)["outcomes"]
        for outcome in outcomes:
            if outcome.get("problem"):
                raise _refusal(outcome["problem"])
        return [outcome["receipt"] for outcome in outcomes]

    def get(self, path: str, *, newer_than: str | None = None, **query: str | int | list[str]) -> Any:
        """A query's answer; `newer_than` is the token of a write it must show. Raises ApiError."""
        headers = {} if newer_than is None else {"Cairn-After": newer_than}
        return self._answer("GET", path, params=query, headers=headers)

    def _answer(self, method: str, path: str, **request: Any) -> Any:
        try:
            answer = self.http.request(method, path, **request)
        except httpx.TransportError as error:
            raise ApiError(f"No answer from {self.http.base_url}: {error}. Is Cairn up? See `cairn up`.") from error
        if answer.is_success:
            return answer.json()
        try:
            problem = answer.json()
        except ValueError:
            problem = {"title": f"{method} {path} was answered {answer.status_code}"}
        raise _refusal(problem)


def token_of(receipt: Mapping[str, Any]) -> str:
    """What to send as Cairn-After to read at least as new as this receipt."""
    return f"{receipt['epoch']}.{receipt['position']}"


def _refusal(problem: Mapping[str, Any]) -> ApiError:
    words = [str(problem[name]) for name in ("title", "detail") if problem.get(name)]
    code = str(problem.get("code", ""))
    return ApiError(": ".join(words) + (f" ({code})" if code else ""), code)
