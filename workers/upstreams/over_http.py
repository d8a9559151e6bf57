"""An upstream that answers JSON over HTTP: pages by number, cursor or link, later changes by a watermark, pushes."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final, Literal
from urllib.parse import urljoin, urlsplit

import msgspec

from domain.upstreams import HttpUpstream, PagesByCursor, PagesByLink, PagesByNumber
from workers.upstreams.egress import Egress
from workers.upstreams.http_calls import Answer, Calls
from workers.upstreams.upstream import (
    Batch,
    Broken,
    Change,
    Credentials,
    Denied,
    Outcome,
    PushResult,
    Row,
    Scope,
    earlier,
)

_DEPTH: Final = 5
"""Objects within objects become `a.b.c`, so deep."""


class Place(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a cursor of ours holds. Without `next` the fetch is complete, and the next one begins."""

    of: Literal["http"]
    next: str | None = None
    since: str | None = None
    watermark: str | None = None
    etag: str | None = None
    modified: str | None = None
    pages: int = 0
    rows: int = 0
    page_digest: str = ""


class HttpKind:
    """See `Upstream`. `columns` are those without which the mapping cannot read a row."""

    def __init__(self, config: HttpUpstream, credentials: Credentials, columns: frozenset[str], egress: Egress) -> None:
        self._config = config
        self._columns = columns
        self._calls = Calls(config, credentials, egress)

    @property
    def pushes(self) -> bool:
        """Whether it is configured where changes go."""
        return self._config.push is not None

    async def close(self) -> None:
        """Closes the connections."""
        await self._calls.close()

    async def fetch(self, since: str | None = None) -> AsyncGenerator[Batch, None]:
        """A batch a page."""
        begun = _place(since)
        place = begun if begun.next is not None else Place(of="http", since=begun.watermark)
        scope = Scope.FULL if place.since is None or self._config.changes is None else Scope.CHANGES
        digests = {place.page_digest}
        followed = {place.next}
        while True:
            answer = await self._page(place, begun)
            if answer.status == 304:
                yield Batch(scope=Scope.NOTHING, cursor=_cursor(msgspec.structs.replace(begun, next=None)), last=True)
                return
            rows = self._rows(answer)
            digest = sha256(msgspec.json.encode(rows)).hexdigest()[:32] if rows else ""
            if rows and digest in digests:
                raise Broken("upstream.page-repeated", page=place.pages + 1, row=place.rows + 1)
            digests.add(digest)
            following = self._after(answer, place, rows)
            if following is not None and following in followed:
                raise Broken("upstream.page-repeated", page=place.pages + 1, row=place.rows + 1)
            followed.add(following)
            batch = self._batch(rows, place.rows + 1, scope)
            place = self._moved(place, answer, following, digest, len(rows))
            yield msgspec.structs.replace(batch, cursor=_cursor(place), last=following is None)
            if following is None:
                return
            if place.pages >= self._config.limits.pages_max:
                raise Broken("upstream.too-many-pages", pages_max=self._config.limits.pages_max)

    async def _page(self, place: Place, begun: Place) -> Answer:
        config = self._config
        url = config.url + config.records
        size = {config.size_parameter: str(config.size)} if config.size_parameter else {}
        asked = dict(config.parameters)
        if config.changes is not None and place.since is not None:
            asked |= config.changes.parameters | {config.changes.parameter: place.since}
        headers = {}
        if place.next is None and config.conditional:
            headers = {"If-None-Match": begun.etag} if begun.etag else {}
            headers |= {"If-Modified-Since": begun.modified} if begun.modified else {}
        match config.paging:
            case PagesByNumber() as paging:
                asked[paging.parameter] = place.next or str(paging.first)
            case PagesByCursor() as paging if place.next is not None:
                asked = ({} if paging.alone else asked) | {paging.parameter: place.next}
            case PagesByLink() if place.next is not None:
                return await self._calls.get(place.next, {}, headers)
        return await self._calls.get(url, asked | size, headers)

    def _rows(self, answer: Answer) -> list[dict[str, object]]:
        found = _at(answer.document, self._config.rows_at)
        if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
            where = self._config.rows_at or "the document"
            raise Broken("upstream.not-json", why=f"{where} is no list of objects")
        rows = [dict(_flat(row)) for row in found]
        living = [row for row in rows if not self._gone(row)]
        missing = self._columns.difference(living[0]) if living else frozenset()
        if missing and (missing := missing.difference(*living)):
            raise Broken("upstream.schema-changed", missing=sorted(missing), found=sorted(living[0])[:100])
        return rows

    def _gone(self, row: Row) -> bool:
        field = self._config.tombstone_field
        return field is not None and row.get(field) is True

    def _batch(self, rows: Sequence[dict[str, object]], first: int, scope: Scope) -> Batch:
        living = [(number, row) for number, row in enumerate(rows, first) if not self._gone(row)]
        return Batch(
            scope=scope,
            rows=tuple(row for _, row in living),
            numbers=tuple(number for number, _ in living),
            tombstones=tuple(row for row in rows if self._gone(row)),
            cursor="",
        )

    def _after(self, answer: Answer, place: Place, rows: Sequence[Row]) -> str | None:
        """The next page's number, cursor or address."""
        match self._config.paging:
            case PagesByNumber() as paging:
                number = int(place.next or paging.first)
                if paging.pages_at is None:
                    return str(number + 1) if rows else None
                pages = _at(answer.document, paging.pages_at)
                if not isinstance(pages, int):
                    raise Broken("upstream.not-json", why=f"{paging.pages_at} is no number of pages")
                return str(number + 1) if number - paging.first + 1 < pages else None
            case PagesByCursor() as paging:
                return _text(_at(answer.document, paging.next_at), paging.next_at)
            case PagesByLink(next_at=next_at):
                found = answer.next_link if next_at is None else _text(_at(answer.document, next_at), next_at)
                return None if found is None else self._own(found)

    def _own(self, link: str) -> str:
        """The address, if it is the configured host's."""
        url = urljoin(self._config.url + self._config.records, link)
        if urlsplit(url)[:2] != urlsplit(self._config.url)[:2]:
            raise Broken("upstream.redirected", host=urlsplit(url).hostname, why="the next page is on another host")
        return url

    def _moved(self, place: Place, answer: Answer, following: str | None, digest: str, rows: int) -> Place:
        first = place.pages == 0
        watermark = self._watermark(answer, place) if first else place.watermark
        etag = answer.headers.get("ETag") if first else place.etag
        modified = answer.headers.get("Last-Modified") if first else place.modified
        return Place(
            of="http",
            next=following,
            since=place.since if following is not None else None,
            watermark=watermark,
            etag=etag,
            modified=modified,
            pages=place.pages + 1 if following is not None else 0,
            rows=place.rows + rows if following is not None else 0,
            page_digest=digest if following is not None else "",
        )

    def _watermark(self, answer: Answer, place: Place) -> str | None:
        """As of when the listing is, by its first page: what comes meanwhile is in the next fetch, if need be again."""
        if self._config.changes is None:
            return None
        found = _at(answer.document, self._config.changes.at)
        if isinstance(found, bool) or not isinstance(found, str | int | Decimal) or found == "":
            raise Broken("upstream.not-json", why=f"{self._config.changes.at} says no watermark")
        if place.since is not None and earlier(str(found), place.since):
            raise Broken("upstream.went-back", stands_at=str(found), stood_at=place.since)
        return str(found)

    async def push(self, changes: Sequence[Change], idempotency_key: str) -> tuple[PushResult, ...]:
        """In requests of at most `batch_max` changes, each under a key of its own that follows from the given one."""
        how = self._config.push
        if how is None:
            raise Denied("upstream.not-supported", why="it is not configured where changes go")
        results: list[PushResult] = []
        for start in range(0, len(changes), how.batch_max):
            part = changes[start : start + how.batch_max]
            document = {"changes": [self._sent(change, numeric=how.numeric_versions) for change in part]}
            answer = await self._calls.post(self._config.url + how.path, document, f"{idempotency_key}-{start}")
            results += self._results(part, answer.document)
        return tuple(results)

    def _sent(self, change: Change, *, numeric: bool) -> dict[str, object]:
        version: object = change.version
        if numeric and change.version is not None and change.version.isdecimal():
            version = int(change.version)
        return {"id": self._id(change), "version": version, "fields": change.fields}

    def _id(self, change: Change) -> str:
        field = self._config.id_field
        if field not in change.identity:
            raise Denied("upstream.not-supported", why=f"what identifies a record has no {field}, which changes go by")
        return str(change.identity[field])

    def _results(self, part: Sequence[Change], document: Any) -> Iterator[PushResult]:
        """One a change: what the upstream left out is unknown, and what it made up is passed over."""
        said = document.get("results") if isinstance(document, dict) else None
        if not isinstance(said, list):
            raise Broken("upstream.not-json", why="results is no list")
        by_id = {str(each.get("id")): each for each in said if isinstance(each, dict)}
        for change in part:
            yield _result(change.record, by_id.get(self._id(change)), self._config.version_field)


def _result(record: str, said: dict[str, Any] | None, version_field: str | None) -> PushResult:
    if said is None or said.get("status") not in {"confirmed", "refused", "conflict"}:
        return PushResult(record=record, outcome=Outcome.UNKNOWN)
    theirs = said.get("record") or said.get("current")
    theirs = dict(_flat(theirs)) if isinstance(theirs, dict) else None
    version = said.get("version", (theirs or {}).get(version_field or ""))
    reason = said.get("reason")
    reason = reason if isinstance(reason, dict) else {"text": reason}
    return PushResult(
        record=record,
        outcome=Outcome(said["status"]),
        version=None if version is None else str(version),
        theirs=theirs,
        code=_said(reason.get("code")),
        reason=_said(reason.get("text")),
    )


def _said(text: object) -> str | None:
    return None if text is None else str(text)[:1_000]


def _at(document: Any, place: str) -> Any:
    """What stands at `a.b` of the document; None where there is nothing."""
    for name in place.split(".") if place else ():
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _flat(row: dict[str, Any], before: str = "", depth: int = _DEPTH) -> Iterator[tuple[str, object]]:
    for name, cell in row.items():
        if isinstance(cell, dict) and cell and depth:
            yield from _flat(cell, f"{before}{name}.", depth - 1)
        else:
            yield before + name, cell


def _text(found: object, where: str) -> str | None:
    if found is None or found == "":
        return None
    if isinstance(found, bool) or not isinstance(found, str | int):
        raise Broken("upstream.not-json", why=f"{where} is no text")
    return str(found)


def _cursor(place: Place) -> str:
    return msgspec.json.encode(place).decode()


def _place(cursor: str | None) -> Place:
    if cursor is None:
        return Place(of="http")
    try:
        return msgspec.json.decode(cursor, type=Place)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise Broken("upstream.cursor-unknown", why=str(error)[:200]) from error
