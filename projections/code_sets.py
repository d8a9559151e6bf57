"""The company's code sets: which editions there are, and what their codes stand for."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

import msgspec

from domain import actuals, company, estimate, membership, pricebook, project
from domain.codeset import CodeMeaning, CodeSetRegistered, CodesImported
from domain.decider import Event
from domain.registry import OF_UPSTREAMS
from eventstore.db import Reader
from eventstore.sql import beside
from projections.projection import Key, Projection, Seen, Table, change, changes, identity, of_stream


class CodeSetEdition(msgspec.Struct, frozen=True):
    """An edition of a code set."""

    codeset_id: UUID
    code_set: str
    edition: str
    source: str | None
    registered_at: datetime
    registered_by: UUID


class CostCode(msgspec.Struct, frozen=True):
    """A cost code of an edition."""

    codeset_id: UUID
    code: str
    description: str
    unit: str | None


editions_table = Table("code_sets_editions", CodeSetEdition, key=("codeset_id",))
codes_table = Table("code_sets_codes", CostCode, key=("codeset_id", "code"))


def registered(row: CodeSetEdition | None, seen: Seen, key: Key) -> CodeSetEdition:
    event: CodeSetRegistered = seen.event
    return CodeSetEdition(
        codeset_id=key[0],
        code_set=event.code_set,
        edition=event.edition,
        source=event.source,
        registered_at=seen.recorded_at,
        registered_by=identity(seen.raw_actor),
    )


def new_codes(seen: Seen) -> Iterable[tuple[Key, CodeMeaning]]:
    """Each code of the event with its key."""
    codeset_id = identity(seen.raw_stream_id)
    return [((codeset_id, meaning.code), meaning) for meaning in seen.event.codes]


def code_imported(row: CostCode | None, seen: Seen, meaning: CodeMeaning) -> CostCode:
    return CostCode(identity(seen.raw_stream_id), meaning.code, meaning.description, meaning.unit)


projection = Projection(
    name="code_sets",
    version=1,
    sql=beside(__file__),
    tables=(editions_table, codes_table),
    on={
        CodeSetRegistered: (change(editions_table, of_stream, registered),),
        CodesImported: (changes(codes_table, new_codes, code_imported),),
    },
    ignores=frozenset[type[Event]](
        (
            *actuals.actuals.events,
            *company.company.events,
            *estimate.estimate.events,
            *membership.membership.events,
            *pricebook.pricebook.events,
            *project.project.events,
            *OF_UPSTREAMS,
        )
    ),
)


async def editions(
    reader: Reader, *, at: int, limit: int, after: tuple[str, str] | None = None, code_set: str | None = None
) -> list[CodeSetEdition]:
    """A page of editions in order of (set, edition), those after `after`; of one set if asked."""
    after_set, after_edition = after or ("", "")
    values = {
        "at": at,
        "limit": limit,
        "after_set": after_set,
        "after_edition": after_edition,
        "code_set": code_set,
    }
    return await reader.rows(projection.sql["editions"], values, CodeSetEdition)


async def edition(reader: Reader, codeset_id: UUID, *, at: int) -> CodeSetEdition | None:
    """One edition."""
    return await reader.row(projection.sql["edition"], {"at": at, "codeset_id": codeset_id}, CodeSetEdition)


async def codes(
    reader: Reader,
    codeset_id: UUID,
    *,
    at: int,
    limit: int,
    after: str | None = None,
    prefix: str | None = None,
    search: str | None = None,
) -> list[CostCode]:
    """A page of an edition's codes in order, those after `after`. `prefix` begins the code; `search` is part of the
    code or its description, in any letter case.
    """
    values = {
        "at": at,
        "codeset_id": codeset_id,
        "limit": limit,
        "after": after or "",
        "prefix": prefix or "",
        "search": search,
    }
    return await reader.rows(projection.sql["codes"], values, CostCode)
