"""How an upstream is reached and spoken to, as data. Secrets are kept apart from it."""

import re
from typing import Annotated, Any, Final, Literal, Self, assert_never
from urllib.parse import urlsplit

import pydantic
from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from domain.faults import Fault, refuse
from domain.text import Label, Name, one_line

_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,60}")
_IDENTIFIER: Final = re.compile(r"[^\x00\"%]{1,63}")


def _web_address(text: str) -> str:
    try:
        parts = urlsplit(text)
        known = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 0) >= 0
    except ValueError:
        known = False
    if not known or parts.username is not None or parts.query or parts.fragment or not text.isascii():
        raise PydanticCustomError(
            "web_address", "An address is https://host/path, without credentials, query or fragment"
        )
    return text.rstrip("/")


def _path(text: str) -> str:
    if not text.startswith("/") or text.startswith("//") or "?" in text or "#" in text or ".." in text.split("/"):
        raise PydanticCustomError("path", "A path begins with one slash and has no query")
    return one_line(text)


def _header_name(text: str) -> str:
    if not _HEADER.fullmatch(text):
        raise PydanticCustomError("header_name", "This is no name of a header")
    return text


def _identifier(text: str) -> str:
    if not _IDENTIFIER.fullmatch(text):
        raise PydanticCustomError(
            "identifier", "A name in a database has 1 to 63 characters here, no quotes and no percent signs"
        )
    return text


WebAddress = Annotated[str, StringConstraints(max_length=500), AfterValidator(_web_address)]
Path = Annotated[str, StringConstraints(max_length=500), AfterValidator(_path)]
Place = Annotated[str, StringConstraints(max_length=200), AfterValidator(one_line)]
"""Where in a JSON document something stands: names with dots between; empty for the document itself."""
HeaderName = Annotated[str, AfterValidator(_header_name)]
Identifier = Annotated[str, AfterValidator(_identifier)]


class _Input(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)


class PagesByNumber(_Input):
    """`?page=1`, `?page=2` … until a page is empty, or the last one that the answer names."""

    by: Literal["page"]
    parameter: Label = "page"
    first: int = Field(default=1, ge=0, le=1)
    pages_at: Place | None = Field(default=None, description="Where an answer says how many pages there are.")


class PagesByCursor(_Input):
    """Each answer gives the next one's cursor; the last gives none."""

    by: Literal["cursor"]
    parameter: Label = "cursor"
    next_at: Place = "next_cursor"
    alone: bool = Field(default=True, description="Whether a cursor carries the filter, so that none is sent with it.")


class PagesByLink(_Input):
    """Each answer gives the next one's address, on the same host: in the `Link` header, or in the document."""

    by: Literal["link"]
    next_at: Place | None = Field(default=None, description="Null: the header.")


class Watermark(_Input):
    """What a full listing says of how new it is, and how to ask for what came later."""

    at: Place = Field(description="Where an answer says it.", examples=["as_of_version"])
    parameter: Label = Field(description="The parameter that asks for later records only.", examples=["since_version"])
    parameters: dict[Label, Name] = Field(
        default_factory=dict, description="What is asked besides, then.", examples=[{"deleted": "1"}]
    )


class NoKey(_Input):
    """Nothing is shown."""

    by: Literal["nothing"]


class ApiKey(_Input):
    """The secret, in a header."""

    by: Literal["api-key"]
    header: HeaderName = "X-Api-Key"


class Basic(_Input):
    """Name and secret, as RFC 7617 has it."""

    by: Literal["basic"]


class ClientCredentials(_Input):
    """A token for name and secret, as RFC 6749 section 4.4 has it, fetched again before it ends."""

    by: Literal["oauth2"]
    token_url: WebAddress
    scope: Name | None = None


class HttpPush(_Input):
    """Changes go as `{"changes": [{"id", "version", "fields"}]}` with an `Idempotency-Key`.

    The answer is `{"results": [{"id", "status", "version", "record" | "current", "reason": {"code", "text"}}]}`.
    """

    path: Path = "/changes"
    batch_max: int = Field(default=500, ge=1, le=10_000, description="Changes in a request.")
    numeric_versions: bool = Field(default=True, description="Whether versions are numbers in JSON.")


class HttpLimits(_Input):
    """What an upstream may not exceed."""

    pages_max: int = Field(default=100_000, ge=1)
    page_bytes_max: int = Field(default=64 * 1024 * 1024, ge=1_000)
    connect_seconds_max: float = Field(default=10, gt=0, le=120)
    silence_seconds_max: float = Field(default=60, gt=0, le=600, description="Between two pieces of an answer.")
    answer_seconds_max: float = Field(default=300, gt=0, le=3600, description="For a whole answer.")
    attempts_max: int = Field(default=6, ge=1, le=20)
    first_wait_seconds: float = Field(default=0.5, gt=0, le=60, description="Doubled with every attempt, with jitter.")
    wait_seconds_max: float = Field(default=60, gt=0, le=3600, description="If asked for more, it is for later.")


class HttpUpstream(_Input):
    """JSON over HTTP."""

    kind: Literal["http"]
    url: WebAddress
    records: Path = "/records"
    parameters: dict[Label, Name] = Field(default_factory=dict, description="Sent with the first page's request.")
    rows_at: Place = Field(default="records", description="Where the list of records stands in an answer.")
    paging: Annotated[PagesByNumber | PagesByCursor | PagesByLink, Field(discriminator="by")]
    size_parameter: Label | None = "per_page"
    size: int = Field(default=500, ge=1, le=100_000)
    changes: Watermark | None = Field(default=None, description="Null: every listing is a full one.")
    conditional: bool = Field(
        default=False, description="Whether the first page's ETag or Last-Modified tells of the whole listing."
    )
    tombstone_field: Label | None = Field(default="deleted", description="True in a record that is gone.")
    id_field: Label = "id"
    version_field: Label | None = "version"
    auth: Annotated[NoKey | ApiKey | Basic | ClientCredentials, Field(discriminator="by")]
    push: HttpPush | None = None
    limits: HttpLimits = HttpLimits()


class FolderUpstream(_Input):
    """The newest of the CSV or XLSX files in a folder of the machine that syncs, by name."""

    kind: Literal["folder"]
    folder: Name = Field(description="Below one of the folders that the operator allows.")
    pattern: Name = Field(default="*.csv", examples=["export-*.xlsx"])
    encoding: Literal["utf-8", "windows-1252", "utf-16"] | None = Field(default=None, description="Null: found out.")
    delimiter: Literal[",", ";", "\t", "|"] | None = Field(default=None, description="Null: found out.")
    sheet: Name | None = Field(default=None, description="Null: the first.")
    cell_bytes_max: int = Field(default=1_000_000, ge=100, le=10_000_000)
    file_bytes_max: int = Field(default=4_000_000_000, ge=1_000)

    @model_validator(mode="after")
    def _names_files(self) -> Self:
        if "/" in self.pattern or not self.pattern.lower().endswith((".csv", ".txt", ".tsv", ".xlsx")):
            refuse(
                self, [Fault(("pattern",), "pattern", "A pattern names files in the folder: .csv, .txt, .tsv, .xlsx")]
            )
        return self


class SqlUpstream(_Input):
    """A table or view of a PostgreSQL database. Writing back needs a column that changes with every version."""

    kind: Literal["sql"]
    host: Name
    port: int = Field(default=5432, ge=1, le=65535)
    database: Name
    schema_name: Identifier = "public"
    table: Identifier
    key: Annotated[tuple[Identifier, ...], Field(min_length=1, max_length=20)] = Field(
        description="The columns that are unique together and never null: rows are read in their order."
    )
    version_column: Identifier | None = None
    modified_column: Identifier | None = Field(default=None, description="Null: every fetch is a full one.")
    version_is_kept: Literal["by-us", "by-upstream"] = Field(
        default="by-us", description="Whether a write raises the version column by one, or the database does itself."
    )
    tls: bool = Field(default=True, description="Verified TLS; may be off for addresses that the operator allows.")
    rows_max: int = Field(default=50_000_000, ge=1)
    statement_seconds_max: int = Field(default=600, ge=1, le=86_400)


UpstreamInput = Annotated[HttpUpstream | FolderUpstream | SqlUpstream, Field(discriminator="kind")]
_READER: Final[pydantic.TypeAdapter[HttpUpstream | FolderUpstream | SqlUpstream]] = pydantic.TypeAdapter(UpstreamInput)


def can_push(upstream: HttpUpstream | FolderUpstream | SqlUpstream) -> bool:
    """Whether changes can be written back as it is configured. Exports are not written back to, nor is a table whose
    rows have no version: somebody's work could be overwritten.
    """
    match upstream:
        case HttpUpstream():
            return upstream.push is not None
        case SqlUpstream():
            return upstream.version_column is not None
        case FolderUpstream():
            return False
    assert_never(upstream)


def changes_in_a_request(upstream: HttpUpstream | FolderUpstream | SqlUpstream) -> int | None:
    """As it is configured; None: as many as there are."""
    return upstream.push.batch_max if isinstance(upstream, HttpUpstream) and upstream.push else None


def upstream_of(stored: bytes | str) -> HttpUpstream | FolderUpstream | SqlUpstream:
    """Reads what `as_stored` made. Raises pydantic.ValidationError."""
    return _READER.validate_json(stored)


def as_stored(upstream: HttpUpstream | FolderUpstream | SqlUpstream) -> dict[str, Any]:
    """As JSON values."""
    return upstream.model_dump(mode="json")
