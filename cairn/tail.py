"""Follows the stream of events in the terminal, and takes it up again where it was after a broken connection."""

import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
from rich.text import Text

from cairn.client import ApiError, Client
from cairn.terminal import out, say

PAUSE_SECONDS = (0.5, 15.0)
SILENCE_SECONDS_MAX = 60.0
COLOURS = ("cyan", "green", "magenta", "yellow", "blue")


def follow(url: str, token: str, company: UUID, *, after: int | None, count: int | None) -> None:
    """Print each event as it comes; ends after `count` of them, or never. Raises ApiError when the API refuses."""
    last: str | None = None
    pause, seen = PAUSE_SECONDS[0], 0
    with Client(url, token, company, timeout_seconds=SILENCE_SECONDS_MAX) as client:
        while True:
            try:
                for identity, event in _events(client, last, after):
                    _show(event)
                    last, pause, seen = identity, PAUSE_SECONDS[0], seen + 1
                    if seen == count:
                        return
            except httpx.TransportError as error:
                say(f"the connection broke ({error or type(error).__name__}); trying again")
                time.sleep(pause)
                pause = min(pause * 2, PAUSE_SECONDS[1])


def _events(client: Client, last: str | None, after: int | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The events of one connection with their ids, until it ends."""
    headers = {"Accept": "text/event-stream"} | ({} if last is None else {"Last-Event-ID": last})
    query = {} if after is None else {"after": after}
    with client.http.stream("GET", "/stream", params=query, headers=headers) as answer:
        if not answer.is_success:
            answer.read()
            problem = answer.json()
            raise ApiError(f"{problem.get('title')} ({problem.get('code')})", str(problem.get("code")))
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            name, _, value = line.partition(":")
            if name:
                fields[name] = value.removeprefix(" ")
            elif fields.get("event") == "problem":
                problem = json.loads(fields["data"])
                raise ApiError(f"{problem.get('title')} ({problem.get('code')})", str(problem.get("code")))
            elif not line and "data" in fields:
                yield fields.get("id", ""), json.loads(fields["data"])
                fields = {}
            elif not line:
                fields = {}


def _show(event: dict[str, Any]) -> None:
    """One line: position, when, what, to which thing, and the data."""
    kind, subject = str(event["type"]), str(event["subject"])
    data = json.dumps({name: value for name, value in event["data"].items() if name != "type"}, ensure_ascii=False)
    head = f"{event['position']:>8}  {event['time'][:19]}  "
    if not out.is_terminal:
        print(f"{head}{kind}  {subject}  {data}", flush=True)
        return
    colour = COLOURS[sum(kind.partition(".")[0].encode()) % len(COLOURS)]
    line = Text.assemble(head, (f"{kind:<26}", colour), f" {subject[:8]}  ", (data, "dim"), no_wrap=True)
    out.print(line, overflow="ellipsis", no_wrap=True, soft_wrap=False)
