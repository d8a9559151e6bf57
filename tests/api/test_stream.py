"""Event streams: in order, resumed without a gap or a repeat, ended when they must."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from msgspec.structs import replace

from domain.decider import Role
from tests.api.callers import SETTINGS, Caller, Company, line, problem, register, serving


class Event(NamedTuple):
    """A block of a stream."""

    id: str
    kind: str
    data: dict[str, Any]

    @property
    def position(self) -> int:
        """Where it stands in the log."""
        return int(self.id.partition(".")[2])


class Streaming:
    """An open stream, read block by block."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.comments = 0

    def block(self) -> Event | None:
        """The next event, comments passed over; None at the end."""
        found: dict[str, str] = {}
        for text in self._lines:
            if text.startswith(":"):
                self.comments += 1
            elif text:
                name, _, value = text.partition(": ")
                found[name] = value
            elif "data" in found:
                return Event(found.get("id", ""), found["event"], json.loads(found["data"]))
        return None

    def take(self, count: int) -> list[Event]:
        """So many events."""
        taken = [self.block() for _ in range(count)]
        assert None not in taken
        return [event for event in taken if event is not None]


@contextmanager
def stream(caller: Caller, path: str = "/stream", **headers: str) -> Iterator[Streaming]:
    """A stream that has begun."""
    named = caller.headers | {name.replace("_", "-"): value for name, value in headers.items()}
    with caller.world.http.stream("GET", caller.world.url + path, headers=named) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert next(lines) == "retry: 1000"
        yield Streaming(lines)


def test_the_whole_log_in_order(company: Company) -> None:
    estimate = company.estimate()
    auditor = company.auditor
    with stream(auditor, "/stream?after=0") as events:
        seen = events.take(company.head())
    assert [event.position for event in seen] == list(range(1, len(seen) + 1))
    assert seen[0].kind == "company.registered"
    listed = auditor.get("/log").json()["events"]
    assert [event.data for event in seen] == listed[: len(seen)]
    assert str(estimate) in {event.data["subject"] for event in seen}


def test_an_edit_is_seen_as_it_is_made(company: Company) -> None:
    estimate = company.estimate()
    with stream(company.auditor) as events:
        receipt = company.estimator.done("estimate", estimate, "add-line", line()).json()
        (event,) = events.take(1)
    assert (event.kind, event.position) == ("estimate.line-added", receipt["position"])
    assert event.data["leaf"] == receipt["leaves"][0]


def test_a_stream_is_resumed_without_a_gap_or_a_repeat(company: Company) -> None:
    estimate, auditor = company.estimate(), company.auditor
    start = company.head()
    seen: list[Event] = []
    last = f"{company.operator.get('/company').headers['Cairn-Epoch']}.{start}"
    for _ in range(3):
        with stream(auditor, Last_Event_ID=last) as events:
            for _ in range(3):
                company.estimator.done("estimate", estimate, "add-line", line())
            seen += events.take(2)  # the third is left unread, and must come first next time
        last = seen[-1].id
    with stream(auditor, Last_Event_ID=last) as events:
        seen += events.take(3)
    assert [event.position for event in seen] == list(range(start + 1, start + 10))


def test_only_the_types_asked_for(company: Company) -> None:
    estimate = company.estimate()
    company.estimator.done("estimate", estimate, "add-line", line())
    company.estimator.done("estimate", estimate, "submit-estimate")
    path = "/stream?after=0&type=estimate.started&type=estimate.submitted"
    with stream(company.auditor, path) as events:
        assert [event.kind for event in events.take(2)] == ["estimate.started", "estimate.submitted"]
        other = company.estimate()
        (event,) = events.take(1)
    assert event.data["subject"] == str(other)
    problem(company.auditor.get("/stream?type=estimate.exploded"), 400, "request.parameter-invalid")


def test_a_silent_stream_says_that_it_lives(company: Company) -> None:
    with stream(company.auditor) as events:
        lines = events._lines
        heard = [text for text, _ in zip(lines, range(6), strict=False) if text.startswith(":")]
    assert ": still here" in heard


def test_a_revoked_token_ends_its_stream(company: Company) -> None:
    caller, member, _ = company.new_member(Role.AUDITOR)
    with stream(caller) as events:
        company.operator.done("membership", member, "remove-member")
        seen = []
        while (event := events.block()) is not None:
            seen.append(event)
    assert seen[-1].kind == "problem"
    assert seen[-1].data["code"] == "identity.unknown"


@pytest.mark.parametrize(
    ("headers", "path", "status", "code"),
    [
        ({"Last_Event_ID": "7"}, "/stream", 400, "request.header-malformed"),
        ({"Last_Event_ID": "1.1"}, "/stream", 409, "position.other-epoch"),
        ({}, "/stream?after=999999", 422, "position.ahead"),
        ({}, "/stream?after=2026-01-01T00:00:00Z", 400, "request.parameter-invalid"),
    ],
)
def test_a_place_where_no_stream_begins(
    company: Company, headers: dict[str, str], path: str, status: int, code: str
) -> None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    problem(company.auditor.get(path, headers=named), status, code)


def test_streams_are_counted_and_end_with_the_server(company: Company, database_url: str) -> None:
    settings = replace(SETTINGS, api_streams_max=1)
    with serving(database_url, company.world.nats_url, settings, projecting=False) as small:
        mine = register(small)
        auditor = mine.auditor
        with stream(auditor, "/stream?after=0") as events:
            events.take(mine.head())
            problem(auditor.get("/stream"), 503, "stream.too-many")
        mine.operator.done("project", uuid4(), "create-project", {"name": "After"})


def test_the_log_is_read_in_pages(company: Company) -> None:
    company.estimate()
    auditor = company.auditor
    head, after, seen = company.head(), 0, []
    while after < head:
        page = auditor.get(f"/log?after={after}&limit=2").json()
        seen += [event["position"] for event in page["events"]]
        after = page["next"]
    assert seen == list(range(1, head + 1))
    assert auditor.get(f"/log?after={head}").json() == {"events": [], "next": head, "head": head}
    some = auditor.get("/log?type=project.created&type=estimate.started").json()["events"]
    assert [event["type"] for event in some] == ["project.created", "estimate.started"]
    problem(auditor.get("/log?type=nonsense"), 400, "request.parameter-invalid")
    problem(auditor.get("/log?limit=0"), 400, "request.parameter-invalid")
    problem(auditor.get(f"/log?at={head + 50}"), 422, "position.ahead")
