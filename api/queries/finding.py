"""Finding things by what is written in them, and prices by their code."""

from datetime import date
from typing import Annotated, Final
from uuid import UUID

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter
from pydantic_core import PydanticCustomError

from api.problems import Fault, Problem
from api.views import PagedView
from domain import units
from projections import price_history, words
from projections import search as texts
from projections.price_history import Place, PriceGroup, PriceObservation, Wanted
from projections.search import KINDS, WANTED_CHARACTERS_MAX, WANTED_WORDS_MAX, Hit, Kind

HITS_MAX: Final = 50
"""Hits of a page, at most."""
OBSERVATIONS_MAX: Final = 200
"""Observations of a page, at most."""

Words = Annotated[
    str,
    QueryParameter(
        description=f"What to look for: words or their beginnings, all of which must be there; at most "
        f"{WANTED_CHARACTERS_MAX} characters and {WANTED_WORDS_MAX} words. Accents, letter case and punctuation make "
        "no difference, and there are no operators."
    ),
]
Kinds = Annotated[
    list[Kind] | None, QueryParameter(description="Only things of this kind; may be repeated.", required=False)
]
From = Annotated[
    str | None, QueryParameter(name="from", description="A date: observations of this day and later.", required=False)
]
To = Annotated[
    str | None, QueryParameter(name="to", description="A date: observations of this day and earlier.", required=False)
]


class Hits(msgspec.Struct, frozen=True):
    """The best hits first. `count` says how many there are, at least so many if `at_least`: of what is found very often
    only a part is looked at, and the best of it given.
    """

    items: list[Hit]
    next: str | None
    position: int
    count: int
    at_least: bool


class PriceHistory(msgspec.Struct, frozen=True):
    """Observations, the latest first, and what all of them come to: null on later pages, where it would be the same."""

    items: list[PriceObservation]
    next: str | None
    position: int
    groups: list[PriceGroup] | None


@get("/search", operation_id="Search", tags=["finding"], opt={"model": "search"})
async def search(
    paged: NamedDependency[PagedView],
    q: Words,
    kind: Kinds = None,
    project_id: FromQuery[UUID | None] = None,
    deleted: FromQuery[bool] = False,
) -> Response[Hits]:
    """Projects, estimates, risks and lines in which all these words are, the best first; with `deleted=true` those of
    deleted projects too. A risk or line is found once, in the latest version of the project that has the words.
    """
    paged.limit = min(paged.limit, HITS_MAX)
    after = paged.after(int) or 0
    found = await texts.search(
        paged.reader,
        _wanted(q),
        at=paged.at,
        limit=paged.limit + 1,
        after=after,
        kinds=[each for each in KINDS if not kind or each in kind],
        project_id=project_id,
        deleted=deleted,
    )
    page = paged.page(found.hits, lambda _: after + paged.limit).content
    return paged.answer(Hits(page.items, page.next, page.position, found.count, found.at_least))


def _wanted(typed: str) -> words.Asked:
    """What to look for. Raises Problem when there is no word in it, or too much."""
    if len(typed) > WANTED_CHARACTERS_MAX:
        raise _unfit("q", f"At most {WANTED_CHARACTERS_MAX} characters; these are {len(typed)}.")
    wanted = words.asked(typed)
    count = sum(len(chunk) for chunk in wanted)
    if not wanted:
        raise _unfit("q", "There is no letter or digit to look for.")
    if count > WANTED_WORDS_MAX:
        raise _unfit("q", f"At most {WANTED_WORDS_MAX} words; these are {count}.")
    return wanted


def _unfit(parameter: str, message: str) -> Problem:
    return Problem("request.parameter-invalid", faults=[Fault(f"/{parameter}", "parameter-invalid", message)])


@get("/price-history", operation_id="PriceHistory", tags=["finding"], opt={"model": "price_history"})
async def history_of_prices(
    paged: NamedDependency[PagedView],
    *,
    code: FromQuery[str],
    code_set: FromQuery[str | None] = None,
    unit: FromQuery[str | None] = None,
    currency: FromQuery[str | None] = None,
    first: From = None,
    last: To = None,
) -> Response[PriceHistory]:
    """The unit prices that lines of all projects have for a cost code, grouped by code set, unit and currency; each
    once, however many versions repeat it.
    """
    paged.limit = min(paged.limit, OBSERVATIONS_MAX)
    for parameter, given in (("code", code), ("code_set", code_set), ("currency", currency)):
        if given is not None and "\0" in given:
            raise _unfit(parameter, "No code has a NUL character.")
    wanted = Wanted(
        code=code,
        code_set=code_set,
        unit=_unit(unit),
        currency=currency,
        from_on=_day("from", first),
        to_on=_day("to", last),
    )
    after = paged.after(Place)
    rows: list[PriceObservation]
    groups: list[PriceGroup] | None = None
    if after is None:
        groups, rows = await price_history.first_page(paged.reader, wanted, at=paged.at, limit=paged.limit + 1)
    else:
        rows = await price_history.next_page(paged.reader, wanted, after, at=paged.at, limit=paged.limit + 1)
    page = paged.page(rows, price_history.place_of).content
    return paged.answer(PriceHistory(page.items, page.next, page.position, groups))


def _day(parameter: str, given: str | None) -> date | None:
    try:
        return None if given is None else date.fromisoformat(given)
    except ValueError:
        raise _unfit(parameter, "A date looks like 2026-01-31.") from None


def _unit(given: str | None) -> str | None:
    try:
        return None if given is None else units.canonical(given)
    except PydanticCustomError as error:
        raise _unfit("unit", error.message()) from None


PAGED = (search, history_of_prices)
SINGLE = ()
