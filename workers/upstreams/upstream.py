"""What every kind of upstream is to us: rows come in batches, changes go out and are answered one by one."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from enum import StrEnum
from typing import ClassVar, Final, Protocol

import msgspec

Row = Mapping[str, object]
"""Column → cell, as the upstream gave it: text, or what JSON, a workbook or a database made of it."""

CODES: Final[Mapping[str, str]] = {
    "upstream.unreachable": "No connection, or it broke; also an answer that did not end in time.",
    "upstream.failing": "The upstream says that it failed (5xx).",
    "upstream.rate-limited": "It wants to be left alone for longer than we wait; `retry_after_seconds` says how long.",
    "upstream.html-answered": "A page for people came instead of data: maintenance, or a sign-in.",
    "upstream.file-changed": "The file was written while it was read.",
    "upstream.unauthorised": "It does not know the credentials, or they may not do this.",
    "upstream.address-refused": "The host is, or resolves to, an address that the operator does not allow.",
    "upstream.tls-refused": "Its certificate is not to be trusted for this host, or it speaks no TLS.",
    "upstream.folder-refused": "The folder is not below one that the operator allows.",
    "upstream.not-supported": "This kind of upstream, as configured, cannot do that.",
    "upstream.refused": "It refused the request itself (4xx): the configuration or a cursor does not fit.",
    "upstream.redirected": "It sent us elsewhere. Credentials are shown to the configured host alone.",
    "upstream.not-json": "The answer is no JSON, or not the JSON that was configured.",
    "upstream.page-too-large": "An answer has more bytes than allowed.",
    "upstream.too-many-pages": "A listing did not end within the pages allowed.",
    "upstream.page-repeated": "A page, or the way to the next one, came a second time: the listing would not end.",
    "upstream.schema-changed": "Columns that the mapping reads are gone; `missing` names them.",
    "upstream.went-back": "It stands at an earlier point than before, as after a restored backup: a full sync is due.",
    "upstream.cursor-unknown": "The cursor is none of this upstream's, or what it speaks of is gone: begin anew.",
    "upstream.file-missing": "There is no file that the pattern names.",
    "upstream.file-empty": "The file has no rows at all, or only its header.",
    "upstream.file-truncated": "The file ends in the middle of a row, a cell or an archive.",
    "upstream.file-too-large": "The file, or what it unpacks to, has more bytes than allowed.",
    "upstream.file-unreadable": "The file is not of its kind.",
    "upstream.cell-too-large": "A cell has more bytes than allowed; `row` says where.",
    "upstream.encoding-unreadable": "The bytes are no text in the encoding; `offset` says where.",
    "upstream.delimiter-unclear": "The header can be cut in more than one way: state the delimiter.",
    "upstream.query-refused": "The database refused the statement.",
}
"""What an UpstreamError says, by its code."""


class UpstreamError(Exception):
    """An upstream did not do its part. `facts` are JSON values, without secrets."""

    lasting: ClassVar[bool] = True
    """Whether it stays so until a person, or a full sync, does something about it."""

    def __init__(self, code: str, **facts: object) -> None:
        assert code in CODES, code
        super().__init__(f"{code}: {', '.join(f'{name}={value!r}' for name, value in facts.items())}")
        self.code = code
        self.facts = facts


class Unavailable(UpstreamError):
    """Later it may work. `retry_after_seconds` is what the upstream asked for, if it did."""

    lasting = False

    def __init__(self, code: str, *, retry_after_seconds: float | None = None, **facts: object) -> None:
        waiting = {} if retry_after_seconds is None else {"retry_after_seconds": retry_after_seconds}
        super().__init__(code, **facts, **waiting)
        self.retry_after_seconds = retry_after_seconds


class Denied(UpstreamError):
    """It may not be done: credentials, addresses, folders, or a kind that cannot."""


class Broken(UpstreamError):
    """What came is not what was agreed. Nothing after it can be trusted; what came before is as it was."""


class Credentials(msgspec.Struct, frozen=True):
    """What is shown to an upstream: a name, where there is one, and a secret. Never printed."""

    name: str = ""
    secret: str = ""

    def __repr__(self) -> str:
        return "Credentials(…)"


class Scope(StrEnum):
    """What a fetch listed."""

    FULL = "full"
    """Everything: what is not in it is gone."""
    CHANGES = "changes"
    """What changed since; what is gone comes as a tombstone, if the upstream has them."""
    NOTHING = "nothing"
    """Nothing changed, says the upstream."""


class RowFault(msgspec.Struct, frozen=True, kw_only=True):
    """A row that cannot be taken, or something odd about the whole (row 0). Rows count from 1, without the header."""

    row: int
    code: str
    message: str


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Some rows of a fetch. `first` is the number of the first one; rows with faults are counted and left out.

    `numbers` are those of each row, for lists of errors. `cursor`, given to `fetch`, goes on after this batch, and
    after the `last` one begins the next fetch.
    """

    scope: Scope
    rows: tuple[Row, ...] = ()
    numbers: tuple[int, ...] = ()
    tombstones: tuple[Row, ...] = ()
    faults: tuple[RowFault, ...] = ()
    faulty: int = 0
    cursor: str
    last: bool = False


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One record's change. `record` is the caller's name for it, unique in a push; `identity` names it upstream.

    `version` is the upstream's version that the change is based on.
    """

    record: str
    identity: dict[str, object]
    version: str | None
    fields: dict[str, object]


class Outcome(StrEnum):
    """What became of one change."""

    CONFIRMED = "confirmed"
    REFUSED = "refused"
    CONFLICT = "conflict"
    UNKNOWN = "unknown"
    """The upstream did not say. Pushing again with the same key finds out."""


class PushResult(msgspec.Struct, frozen=True, kw_only=True):
    """For one change: `theirs` is the record as it now stands upstream, where that was told."""

    record: str
    outcome: Outcome
    version: str | None = None
    theirs: dict[str, object] | None = None
    code: str | None = None
    reason: str | None = None


def earlier(one: str, other: str) -> bool:
    """Whether an upstream stood at `one` before `other`: numbers, or instants of ISO 8601 and one zone."""
    return int(one) < int(other) if one.isdecimal() and other.isdecimal() else one < other


class Upstream(Protocol):
    """A connection. Everything raises UpstreamError and nothing else of an upstream's making."""

    @property
    def pushes(self) -> bool:
        """Whether changes can be written back."""

    def fetch(self, since: str | None = None) -> AsyncGenerator[Batch, None]:
        """Batches in the upstream's order; from the beginning, or after the batch whose cursor is given."""

    async def push(self, changes: Sequence[Change], idempotency_key: str) -> tuple[PushResult, ...]:
        """As many results as changes, in their order. The same changes with the same key are done once.

        When it raises, it is unknown which changes were made: push the same again.
        """

    async def close(self) -> None:
        """Gives connections back. Harmless twice."""
