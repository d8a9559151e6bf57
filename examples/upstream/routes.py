"""What each route answers. Knows requests and answers, nothing of sockets."""

import base64
import binascii
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl, urlencode

from examples.upstream.access import Access, Allowance, challenge
from examples.upstream.fields import COLUMNS
from examples.upstream.store import (
    KeyReusedError,
    Listing,
    NoStepError,
    Page,
    Result,
    Row,
    Store,
    UnknownRecordError,
    instant,
)
from examples.upstream.switches import Panel

PER_PAGE = 100
PER_PAGE_MAX = 5000
BATCH_MAX = 5000
CHANGE_KEYS = {"id", "version", "fields"}
PARAMETERS = {"page", "per_page", "cursor", "since", "since_version", "deleted"}
START = (str, int, type(None))
PLACE = {
    "after": START,
    "before": START,
    "until": (int,),
    "lap": (int,),
    "since": (int, type(None)),
    "deleted": (bool,),
}
"""What a cursor holds: where its page and the one before it start, the newest version of the walk, laps, the filter."""

MAINTENANCE = """<!doctype html>
<html><head><title>Maintenance</title></head><body><h1>We will be back soon</h1></body></html>
"""


@dataclass(frozen=True)
class Request:
    """One call. `query` is not parsed yet; names of headers are lower-case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    base: str


@dataclass(frozen=True)
class Answer:
    """`sent` is how much of the answer goes out before the connection is dropped: all, half of the body, or nothing."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    sent: float = 1.0


class ProblemError(Exception):
    """A request that cannot be answered as it wished."""

    def __init__(self, status: int, code: str, text: str, **more: Any) -> None:
        super().__init__(text)
        self.answer = _json({"error": {"code": code, "text": text}} | more, status)


def _json(document: Any, status: int = 200, **headers: str) -> Answer:
    body = json.dumps(document).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, body, {"Content-Type": "application/json"} | named)


class Routes:
    """The whole surface."""

    def __init__(self, store: Store, panel: Panel, access: Access, advance: Callable[[float], dict[str, Any]]) -> None:
        self._store = store
        self._panel = panel
        self._access = access
        self._allowance = Allowance()
        self._advance = advance

    def answer(self, request: Request) -> Answer:
        """Never raises for what a caller did."""
        try:
            return self._admin(request) or self._faulty(request)
        except ProblemError as problem:
            return problem.answer

    def _admin(self, request: Request) -> Answer | None:
        """What tests and people turn: without credentials, limits and faults."""
        match request.method, request.path:
            case "GET", "/health":
                return _json({"status": "ok", "step": self._store.step()} | self._store.standing())
            case "GET", "/faults":
                return _json(self._panel.shown())
            case "POST", "/faults":
                return self._turned(_object(request))
            case "DELETE", "/faults":
                self._panel.reset()
                return _json(self._panel.shown())
            case "POST", "/advance":
                return self._advanced(_object(request) if request.body else {})
            case "POST", "/oauth/token":
                return self._token(request)
            case "DELETE", "/oauth/tokens":
                self._access.revoke()
                return Answer(204)
        return None

    def _turned(self, settings: dict[str, Any]) -> Answer:
        version = settings.pop("back_to_version", None)
        try:
            self._panel.set(settings)
        except ValueError as error:
            raise ProblemError(422, "invalid-switch", str(error)) from None
        if version is not None:
            if type(version) is not int:
                raise ProblemError(422, "invalid-switch", "back_to_version is a version.")
            try:
                self._store.restore(version)
            except NoStepError as error:
                raise ProblemError(422, "invalid-switch", str(error)) from None
        return _json(self._panel.shown())

    def _advanced(self, wishes: dict[str, Any]) -> Answer:
        share = wishes.pop("share", 0.1)
        if wishes or type(share) not in {int, float} or not 0 <= share <= 0.9:
            raise ProblemError(422, "invalid-share", "The body is nothing, or a share from 0 to 0.9.")
        try:
            return _json(self._advance(share))
        except NoStepError as error:
            raise ProblemError(409, "no-further-step", str(error)) from None

    def _token(self, request: Request) -> Answer:
        form = dict(parse_qsl(request.body.decode(errors="replace")))
        if form.get("grant_type") != "client_credentials":
            return _json({"error": "unsupported_grant_type" if "grant_type" in form else "invalid_request"}, 400)
        issued = self._access.token_for(request.headers, form)
        if issued is None:
            return _json({"error": "invalid_client"}, 401, WWW_Authenticate='Basic realm="upstream"')
        token, seconds = issued
        document = {"access_token": token, "token_type": "Bearer", "expires_in": seconds}
        return _json(document, Cache_Control="no-store")

    def _faulty(self, request: Request) -> Answer:
        """A route of the ERP itself, with everything that is switched on."""
        switches = self._panel.now()
        hit = request.path.startswith(switches.only)
        if hit:
            time.sleep(switches.slow_ms / 1000)
            if self._panel.take("errors"):
                return ProblemError(500, "internal", "Something went wrong.").answer
            if self._panel.take("html"):
                return Answer(200, MAINTENANCE.encode(), {"Content-Type": "text/html; charset=utf-8"})
        limits: dict[str, str] = {}
        if switches.rate_limit:
            allowed, limits = self._allowance.take(switches.rate_limit, switches.rate_window_seconds)
            if not allowed:
                return _with(ProblemError(429, "too-many-requests", "Later, please.").answer, limits)
        if not self._access.admits(switches.auth, request.headers):
            asked = {"WWW-Authenticate": challenge(switches.auth)}
            refused = ProblemError(401, "unauthorized", "Credentials are missing, wrong or expired.")
            return _with(refused.answer, limits | asked)
        try:
            answer = self._plain(request)
        except ProblemError as problem:
            answer = problem.answer
        except UnknownRecordError:
            answer = ProblemError(404, "unknown-record", "There is no such record.").answer
        if hit and answer.sent == 1 and self._panel.take("drops"):
            answer = replace(answer, sent=0.5 if answer.body else 0)
        return _with(answer, limits)

    def _plain(self, request: Request) -> Answer:
        match request.method, request.path.strip("/").split("/"):
            case "GET", ["records"]:
                return self._records(request)
            case "GET", ["records", id_]:
                return self._record(request, id_)
            case "PATCH", ["records", id_]:
                return self._patched(request, id_)
            case "DELETE", ["records", id_]:
                return self._conditional(self._store.delete(id_, _version_in(request)))
            case "POST", ["changes"]:
                return self._pushed(request)
            case _, ["records"] | ["records", _] | ["changes"]:
                raise ProblemError(405, "method-not-allowed", f"{request.method} is not possible here.")
        raise ProblemError(404, "no-such-route", f"There is nothing at {request.path}.")

    # ------------------------------------------------------------------ one record

    def _record(self, request: Request, id_: str) -> Answer:
        row = self._store.record(id_)
        renamed = self._panel.now().renamed()
        if row.deleted:
            raise ProblemError(410, "deleted", "The record was deleted.", current=row.document())
        tag = f'"{row.version}"'
        if not renamed and _matches(request, tag):
            return Answer(304, headers={"ETag": tag})
        return _json(_outward(row.document(), renamed), ETag=tag)

    def _patched(self, request: Request, id_: str) -> Answer:
        change = {"id": id_, "version": _version_in(request), "fields": _object(request)}
        return self._conditional(self._store.change(change, self._names()))

    def _conditional(self, result: Result) -> Answer:
        """A result as the answer to a request about one record."""
        renamed = self._panel.now().renamed()
        match result["status"]:
            case "conflict":
                current = _outward(result["current"], renamed)
                raise ProblemError(409, "version-conflict", "The record has changed meanwhile.", current=current)
            case "refused":
                status = 410 if result["reason"]["code"] == "deleted" else 422
                return _json({"error": result["reason"]}, status)
        return _json(_outward(result["record"], renamed), ETag=f'"{result["version"]}"')

    def _names(self) -> dict[str, str]:
        renamed = self._panel.now().renamed()
        return {renamed.get(column, column): column for column in COLUMNS}

    # ------------------------------------------------------------------ a batch

    def _pushed(self, request: Request) -> Answer:
        key = request.headers.get("idempotency-key", "").strip()
        if not 0 < len(key) <= 200:
            raise ProblemError(400, "idempotency-key-required", "Idempotency-Key is missing, or over 200 characters.")
        changes = _changes(_object(request))
        half = bool(changes) and self._panel.take("half_batches")
        only = (len(changes) + 1) // 2 if half else None
        try:
            results = self._store.push(key, sha256(request.body).hexdigest(), changes, self._names(), only)
        except KeyReusedError:
            raise ProblemError(
                422, "idempotency-key-reused", "This key came with other changes before; nothing was done."
            ) from None
        if half:
            return Answer(500, sent=0)
        if results and self._panel.take("short_answers"):
            results = results[: len(results) * 2 // 3]
        renamed = self._panel.now().renamed()
        return _json({"results": [_result_outward(result, renamed) for result in results]})

    # ------------------------------------------------------------------ listings

    def _records(self, request: Request) -> Answer:
        wishes = _parameters(request)
        answer = self._numbered(request, wishes) if "page" in wishes else self._following(request, wishes)
        tag = f'"{sha256(answer.body).hexdigest()[:32]}"'
        if _matches(request, tag):
            return Answer(304, headers={"ETag": tag})
        return _with(answer, {"ETag": tag})

    def _numbered(self, request: Request, wishes: dict[str, str]) -> Answer:
        if "cursor" in wishes:
            raise ProblemError(400, "invalid-parameter", "Either page or cursor.")
        number, size = _whole(wishes, "page", 1), _size(wishes)
        listing = self._listing(wishes)
        shown = number - 1 if number > 1 and self._panel.take("repeat_pages") else number
        page = self._store.numbered_page(listing, shown, size)
        last = max(1, -(-(page.total or 0) // size))
        endless = self._panel.now().endless
        if endless and shown > last:
            page = self._store.numbered_page(listing, (shown - 1) % last + 1, size)
        others = {"first": 1, "last": last}
        others |= {"prev": number - 1} if number > 1 else {}
        others |= {"next": number + 1} if endless or number < last else {}
        links = {rel: _url(request, wishes | {"page": str(other)}) for rel, other in others.items()}
        head = {"page": number, "per_page": size, "pages": last, "total": page.total, "as_of_version": page.version}
        return self._listed(page, head, links)

    def _following(self, request: Request, wishes: dict[str, str]) -> Answer:
        size = _size(wishes)
        if wishes.get("cursor"):
            if len(wishes.keys() - {"per_page"}) > 1:
                raise ProblemError(400, "invalid-parameter", "A cursor carries its filter; nothing goes with it.")
            place = _place(wishes["cursor"])
        else:
            listing = self._listing(wishes)
            place = {"after": None, "before": None, "until": None, "lap": 0}
            place |= {"since": listing.since, "deleted": listing.deleted}
        again = place["after"] is not None and self._panel.take("repeat_pages")
        start = place["before"] if again else place["after"]
        listing = Listing(place["since"], place["deleted"])
        page = self._store.following_page(listing, start, place["until"], size + 1)
        until = page.version if place["until"] is None else place["until"]
        following = self._next_place(page, place, size) if not again else place
        head: dict[str, Any] = {"per_page": size, "as_of_version": until, "next_cursor": None}
        head |= {} if page.total is None else {"total": page.total}
        links = {}
        if following:
            head["next_cursor"] = _cursor(following | {"until": until})
            links["next"] = _url(request, {"cursor": head["next_cursor"], "per_page": str(size)})
        return self._listed(page._replace(rows=page.rows[:size]), head, links)

    def _next_place(self, page: Page, place: dict[str, Any], size: int) -> dict[str, Any] | None:
        if len(page.rows) > size:
            last = page.rows[size - 1]
            return place | {"after": last.id if place["since"] is None else last.version, "before": place["after"]}
        if self._panel.now().endless:
            return place | {"after": None, "before": None, "lap": place["lap"] + 1}
        return None

    def _listed(self, page: Page, head: dict[str, Any], links: dict[str, str]) -> Answer:
        renamed = self._panel.now().renamed()
        rows = ", ".join(_row_text(row, renamed) for row in page.rows)
        body = f'{json.dumps(head)[:-1]}, "records": [{rows}]}}'
        headers = {"Content-Type": "application/json"}
        if links:
            headers["Link"] = ", ".join(f'<{url}>; rel="{rel}"' for rel, url in links.items())
        return Answer(200, body.encode(), headers)

    def _listing(self, wishes: dict[str, str]) -> Listing:
        if wishes.get("deleted", "0") not in {"0", "1"}:
            raise ProblemError(400, "invalid-parameter", "deleted is 0 or 1.")
        since = _whole(wishes, "since_version", 0) if "since_version" in wishes else None
        if "since" in wishes:
            if since is not None:
                raise ProblemError(400, "invalid-parameter", "Either since or since_version.")
            since = self._store.version_before(_instant(wishes["since"]))
        return Listing(since, wishes.get("deleted") == "1")


# ---------------------------------------------------------------------- reading requests


def _object(request: Request) -> dict[str, Any]:
    try:
        document = json.loads(request.body)
    except ValueError:
        raise ProblemError(400, "invalid-json", "The body is not JSON.") from None
    if not isinstance(document, dict):
        raise ProblemError(400, "invalid-json", "The body is not a JSON object.")
    return document


def _changes(document: dict[str, Any]) -> list[dict[str, Any]]:
    changes = document.get("changes")
    if not isinstance(changes, list) or len(changes) > BATCH_MAX:
        raise ProblemError(422, "invalid-changes", f"changes is a list of at most {BATCH_MAX}.")
    for number, change in enumerate(changes):
        if not (
            isinstance(change, dict)
            and change.keys() == CHANGE_KEYS
            and isinstance(change["id"], str)
            and type(change["version"]) is int
            and isinstance(change["fields"], dict)
        ):
            text = f"changes[{number}] is not an object of id (text), version (number) and fields (object)."
            raise ProblemError(422, "invalid-changes", text)
    return changes


def _version_in(request: Request) -> int:
    text = request.headers.get("if-match", "").strip()
    if not text:
        raise ProblemError(428, "if-match-required", "If-Match must name the version that was read.")
    bare = text.removeprefix("W/").strip('"')
    if not (bare.isascii() and bare.isdecimal() and len(bare) < 19):
        raise ProblemError(400, "invalid-if-match", 'If-Match is a version such as "17".')
    return int(bare)


def _matches(request: Request, tag: str) -> bool:
    return tag in (each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(","))


def _parameters(request: Request) -> dict[str, str]:
    pairs = parse_qsl(request.query, keep_blank_values=True)
    wishes = dict(pairs)
    if unknown := wishes.keys() - PARAMETERS:
        text = f"Unknown: {', '.join(sorted(unknown))}. Known: {', '.join(sorted(PARAMETERS))}."
        raise ProblemError(400, "invalid-parameter", text)
    if len(wishes) != len(pairs):
        raise ProblemError(400, "invalid-parameter", "A parameter was given twice.")
    return wishes


def _whole(wishes: dict[str, str], name: str, least: int) -> int:
    text = wishes[name]
    if not (text.isascii() and text.isdecimal() and len(text) < 13 and int(text) >= least):
        raise ProblemError(400, "invalid-parameter", f"{name} is a whole number from {least}.")
    return int(text)


def _size(wishes: dict[str, str]) -> int:
    return min(PER_PAGE_MAX, _whole(wishes, "per_page", 1)) if "per_page" in wishes else PER_PAGE


def _instant(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return instant(moment)
    except (ValueError, OverflowError):
        pass
    raise ProblemError(400, "invalid-parameter", "since is an instant with a zone, such as 2025-06-30T12:00:00Z.")


def _cursor(place: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def _place(cursor: str) -> dict[str, Any]:
    try:
        place = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError):
        place = None
    if not isinstance(place, dict) or any(type(place.get(name)) not in kinds for name, kinds in PLACE.items()):
        raise ProblemError(400, "invalid-cursor", "The cursor is none that was given here.")
    return place


def _url(request: Request, wishes: dict[str, str]) -> str:
    return f"{request.base}{request.path}?{urlencode(wishes)}"


# ---------------------------------------------------------------------- writing answers


def _with(answer: Answer, headers: Mapping[str, str]) -> Answer:
    return replace(answer, headers={**answer.headers, **headers})


def _outward(document: dict[str, Any], renamed: dict[str, str]) -> dict[str, Any]:
    return {renamed.get(name, name): value for name, value in document.items()} if renamed else document


def _result_outward(result: Result, renamed: dict[str, str]) -> Result:
    shown = {name: _outward(result[name], renamed) for name in ("record", "current") if name in result}
    return result | shown


def _row_text(row: Row, renamed: dict[str, str]) -> str:
    """As `_outward` would have it. The stored text is used as it is where nothing is renamed: listings are long."""
    if renamed or row.deleted:
        return json.dumps(_outward(row.document(), renamed))
    return f'{{"id": "{row.id}", "version": {row.version}, "modified_at": "{row.modified_at}", {row.fields[1:]}'
