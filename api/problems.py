"""Whatever goes wrong → an RFC 9457 problem document. The only module that knows status codes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import pydantic
from litestar.connection import Request
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException, ValidationException
from litestar.response import Response

from domain.decider import Rejected, Severity
from domain.registry import BY_CATEGORY
from domain.registry import REJECTIONS as DECIDED
from eventstore import db, telemetry
from eventstore.db import Unavailable
from eventstore.transact import CommandMisused, VersionConflict
from projections.registry import REJECTIONS as PROJECTED

EVENTS: Final[Mapping[str, str]] = {
    "database_failed": "PostgreSQL refused or broke off a statement; the caller was told to try again.",
    "request_failed": "A fault of ours; the caller was told no more than that.",
}
"""Names this package logs under."""

MEDIA_TYPE: Final = "application/problem+json"
FAULTS_MAX: Final = 10_000
"""Faults listed of one body; `faults_total` says how many there are."""


class Kind(NamedTuple):
    """What a code always means: its status, and a title that is the same each time."""

    status: int
    title: str


KINDS: Final[Mapping[str, Kind]] = {
    "request.malformed": Kind(400, "The request cannot be understood."),
    "request.json-malformed": Kind(400, "The body is not JSON, as RFC 8259 defines it."),
    "request.body-invalid": Kind(422, "The body does not fit what this request takes; every fault is listed."),
    "request.parameter-invalid": Kind(400, "A parameter of the URL does not fit; every fault is listed."),
    "request.parameter-unknown": Kind(400, "The route has no such parameter; each is named, and those that there are."),
    "request.header-missing": Kind(400, "A header that this request needs is missing."),
    "request.header-malformed": Kind(400, "A header cannot be understood."),
    "request.body-too-large": Kind(413, "The body is larger than this server accepts."),
    "request.head-too-large": Kind(431, "The head of the request is larger than this server accepts."),
    "request.body-too-slow": Kind(408, "The body did not arrive in time."),
    "request.media-type-unsupported": Kind(415, "The body must be sent as application/json."),
    "route.unknown": Kind(404, "Nothing is served under this path."),
    "route.method-not-allowed": Kind(
        405, "This path does not take this method; the Allow header lists those it takes."
    ),
    "identity.missing": Kind(401, "The request carries no token: send `Authorization: Bearer cairn_…`."),
    "identity.malformed": Kind(401, "The token does not look like one of ours."),
    "identity.unknown": Kind(401, "The token is not known, or no longer."),
    "identity.expired": Kind(401, "The token has expired."),
    "identity.forbidden": Kind(403, "The member's role does not allow this."),
    "identity.company-missing": Kind(400, "The operator names the company it acts for in the header Cairn-Company."),
    "company.unknown": Kind(404, "No company is registered under this id."),
    "thing.unknown": Kind(404, "There is no such thing, or there was none at that position."),
    "command.unknown": Kind(404, "No command of this name exists."),
    "command.timed-out": Kind(
        503, "The command took too long; send it again with the same id to learn what became of it."
    ),
    "batch.too-long": Kind(422, "The batch holds more commands than this server takes at once."),
    "batch.not-tried": Kind(503, "An earlier command of the batch met an unavailable system; this one was not tried."),
    "stream.version-stale": Kind(412, "The thing is not at the version that If-Match names."),
    "stream.contended": Kind(409, "The thing kept changing while the command was decided; send it again."),
    "idempotency.misused": Kind(422, "The Idempotency-Key belongs to another request."),
    "position.ahead": Kind(422, "The position or instant asked for is in the future."),
    "position.other-epoch": Kind(
        409, "The position belongs to another epoch of the log: the log was restored or forked."
    ),
    "simulation.no-curve": Kind(409, "The simulation has no curve: it is not finished yet, or has failed."),
    "model.behind": Kind(503, "The read model has not yet reached the position asked for."),
    "cursor.malformed": Kind(400, "The cursor is not one that this server gave out."),
    "cursor.of-another-query": Kind(400, "The cursor was given out for another query."),
    "comparison.currencies-differ": Kind(
        422, "Versions in different currencies cannot be compared: nothing is converted."
    ),
    "stream.too-many": Kind(503, "Too many event streams are open."),
    "system.busy": Kind(503, "Too many requests are under way."),
    "system.unavailable": Kind(503, "The system cannot take this now."),
    "system.timed-out": Kind(503, "The answer took too long to compute."),
    "system.not-ready": Kind(503, "The process is not ready; what is missing is listed."),
    "system.fault": Kind(500, "A fault of the server; it was logged, and nothing was acknowledged."),
    "metrics.loopback-only": Kind(403, "Metrics are only given to this machine."),
}
"""Codes of the HTTP side. Those of decisions are in `REJECTED`."""

REJECTED: Final[Mapping[str, str]] = {
    **DECIDED,
    **PROJECTED,
    **{f"{category}.id-in-use": "Something of another kind already has this id." for category in BY_CATEGORY},
}
"""Codes of decisions that said no. Their status follows from the decision's severity."""

STATUS_OF_SEVERITY: Final[Mapping[Severity, int]] = {"refused": 422, "missing": 404, "conflict": 409}


class Fault(msgspec.Struct, frozen=True):
    """One thing wrong with a body or parameter. `path` is a JSON pointer, `code` stable, `message` for people."""

    path: str
    code: str
    message: str


class Document(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem document as RFC 9457 has it, with our members `code`, `facts` and `faults`."""

    type: str
    title: str
    status: int
    code: str
    detail: str | None = None
    facts: dict[str, Any] = {}
    faults: list[Fault] = []
    faults_total: int = 0


class Problem(Exception):
    """A no of the HTTP side. `facts` are JSON values that explain it."""

    def __init__(
        self,
        code: str,
        detail: str | None = None,
        *,
        faults: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
        **facts: object,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail
        self.faults = faults
        self.headers = dict(headers or {})
        self.facts = facts


def document_of(error: Exception) -> tuple[Document, dict[str, str]]:
    """The document of whatever was raised, and the headers that go with it. Never says more than it should."""
    match error:
        case Problem():
            return _document(error), error.headers
        case Rejected():
            return _of_rejection(error), {}
        case VersionConflict():
            return _document(_of_conflict(error)), {}
        case CommandMisused():
            return _document(Problem("idempotency.misused", position=error.position)), {}
        case Unavailable():
            return _document(Problem("system.unavailable", error.what)), {"Retry-After": str(error.retry_after_seconds)}
        case pydantic.ValidationError():
            return _document(problem_of_body(error)), {}
        case _ if isinstance(error, db.NotMigrated):
            missing = Problem("system.unavailable", "A read model has not been built yet.")
            return _document(missing), {"Retry-After": "1"}
        case db.TookTooLong():
            return _document(Problem("system.timed-out")), {"Retry-After": "1"}
        case _ if isinstance(error, db.Disconnected):
            return _document(Problem("system.unavailable", "PostgreSQL does not answer.")), {"Retry-After": "1"}
        case HTTPException():
            return _of_framework(error)
    return _document(Problem("system.fault")), {}


def _document(problem: Problem) -> Document:
    kind = KINDS[problem.code]
    return Document(
        type=f"/problems/{problem.code}",
        title=kind.title,
        status=kind.status,
        code=problem.code,
        detail=problem.detail,
        facts=dict(problem.facts),
        faults=list(problem.faults[:FAULTS_MAX]),
        faults_total=len(problem.faults),
    )


def _of_rejection(rejected: Rejected) -> Document:
    return Document(
        type=f"/problems/{rejected.code}",
        title=REJECTED.get(rejected.code, "The command was refused."),
        status=STATUS_OF_SEVERITY[rejected.severity],
        code=rejected.code,
        facts=rejected.facts,
    )


def _of_conflict(conflict: VersionConflict) -> Problem:
    facts: dict[str, Any] = {
        "stream": f"{conflict.stream.category}-{conflict.stream.id}",
        "actual_version": conflict.actual,
    }
    if conflict.expected is None:
        return Problem("stream.contended", headers={"Retry-After": "1"}, **facts)
    return Problem("stream.version-stale", expected_version=conflict.expected, **facts)


def pointer(location: Iterable[int | str]) -> str:
    """A JSON pointer (RFC 6901): ('lines', 3, 'a/b') → `/lines/3/a~1b`. Empty: the whole document."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in location)


def problem_of_body(error: pydantic.ValidationError) -> Problem:
    """All faults of a body, in its order. Text that is not JSON at all has one fault, and another code."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    faults = [Fault(pointer(each["loc"]), each["type"].replace("_", "-"), each["msg"]) for each in details]
    if details[0]["type"] == "json_invalid":
        return Problem("request.json-malformed", faults[0].message, faults=faults)
    return Problem("request.body-invalid", f"{len(faults)} fault(s); nothing was stored.", faults=faults)


def _of_framework(error: HTTPException) -> tuple[Document, dict[str, str]]:
    headers = {key: value for key, value in (error.headers or {}).items() if key.lower() == "allow"}
    match error:
        case NotFoundException():
            return _document(Problem("route.unknown")), headers
        case MethodNotAllowedException():
            return _document(Problem("route.method-not-allowed")), headers
        case ValidationException():
            return _document(Problem("request.parameter-invalid", faults=_parameter_faults(error.extra))), headers
    if error.status_code < 500:
        return _document(Problem("request.malformed", error.detail)), headers
    return _document(Problem("system.fault")), headers


def _parameter_faults(extra: object) -> list[Fault]:
    if not isinstance(extra, list):
        return []
    return [Fault("/" + str(each.get("key", "")), "parameter-invalid", str(each.get("message", ""))) for each in extra]


def encoded(document: Document) -> bytes:
    """The document as JSON. Facts that JSON has no form for are written as text."""
    return msgspec.json.encode(document, enc_hook=str)


def report(error: Exception) -> None:
    """Logs what is a fault of ours, and what the database did not do; a refusal is neither."""
    if isinstance(error, db.DriverError):
        telemetry.log().warning("database_failed", error=repr(error))
    elif document_of(error)[0].status == 500:
        telemetry.log().error("request_failed", error=repr(error), exc_info=error)


def refusal(error: Exception) -> tuple[Document, dict[str, str]]:
    """The document of whatever was raised, with every header of its answer but the body's own."""
    document, headers = document_of(error)
    headers = headers | {"Cache-Control": "no-store"}
    if document.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="cairn"'
    return document, headers


def answer(_: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Litestar's way to answer whatever was raised."""
    report(error)
    document, headers = refusal(error)
    return Response(encoded(document), status_code=document.status, media_type=MEDIA_TYPE, headers=headers)


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """What a code means. `statuses` are those its problem document can have."""

    code: str
    title: str
    statuses: list[int]


def explained(code: str) -> Explained | None:
    """What the catalogue says of a code; None when there is none."""
    if code in KINDS:
        return Explained(code=code, title=KINDS[code].title, statuses=[KINDS[code].status])
    if code in REJECTED:
        return Explained(code=code, title=REJECTED[code], statuses=sorted(STATUS_OF_SEVERITY.values()))
    return None


def catalogue() -> list[Explained]:
    """Every code there is, in order."""
    return [found for code in sorted({**KINDS, **REJECTED}) if (found := explained(code)) is not None]
