"""Which records are meant, as parameters of a URL: the same conditions that a command's filter has."""

from typing import Annotated, Any, Final

import msgspec
import pydantic
from litestar.di import Provide
from litestar.params import QueryParameter

from api.problems import Fault, Problem
from domain.record_filter import AMOUNTS, DAYS, RecordFilter

Groups = Annotated[
    list[str] | None,
    QueryParameter(description="Any of these; may be repeated. Empty: where it is blank.", required=False),
]
Least = Annotated[str | None, QueryParameter(description="An amount: records with at least this much.", required=False)]
Most = Annotated[str | None, QueryParameter(description="An amount: records with at most this much.", required=False)]
First = Annotated[str | None, QueryParameter(description="A day: this one and later.", required=False)]
Last = Annotated[str | None, QueryParameter(description="A day: this one and earlier.", required=False)]
Whether = Annotated[bool | None, QueryParameter(required=False)]
Search = Annotated[
    str | None,
    QueryParameter(
        description="Words of description, groups and identity, all of which must be there; the last may be the "
        "beginning of one.",
        required=False,
    ),
]
Drafted = Annotated[
    bool | None, QueryParameter(description="Whether the caller drafted on the record.", required=False)
]
Behind = Annotated[
    bool | None,
    QueryParameter(description="Whether the upstream moved a field since the caller drafted it.", required=False),
]
Removed = Annotated[
    bool | None,
    QueryParameter(description="True: records that are gone upstream, which else are left out.", required=False),
]

_RANGES: Final = {f"{name}_{end}": (name, end) for name in (*AMOUNTS, *DAYS) for end in ("least", "most")}


def asked(
    *,
    category: Groups = None,
    source: Groups = None,
    record_class: Groups = None,
    area: Groups = None,
    is_actualised: Whether = None,
    is_discontinued: Whether = None,
    plan_cost_least: Least = None,
    plan_cost_most: Most = None,
    forecast_cost_least: Least = None,
    forecast_cost_most: Most = None,
    actual_cost_least: Least = None,
    actual_cost_most: Most = None,
    monthly_rate_least: Least = None,
    monthly_rate_most: Most = None,
    purchase_price_least: Least = None,
    purchase_price_most: Most = None,
    plan_start_least: First = None,
    plan_start_most: Last = None,
    plan_end_least: First = None,
    plan_end_most: Last = None,
    forecast_start_least: First = None,
    forecast_start_most: Last = None,
    forecast_end_least: First = None,
    forecast_end_most: Last = None,
    actual_start_least: First = None,
    actual_start_most: Last = None,
    actual_end_least: First = None,
    actual_end_most: Last = None,
    search: Search = None,
    drafted: Drafted = None,
    behind: Behind = None,
    removed: Removed = None,
) -> RecordFilter:
    """The filter that the parameters make. Raises Problem with every fault, each at its parameter."""
    given = {name: value for name, value in locals().items() if value is not None}
    return filter_of(given)


def filter_of(given: dict[str, Any]) -> RecordFilter:
    """The filter of parameters by name. Raises Problem."""
    conditions: dict[str, Any] = {}
    for name, value in given.items():
        if name in _RANGES:
            field, end = _RANGES[name]
            conditions.setdefault(field, {})[end] = value
        else:
            conditions[name] = value
    try:
        return RecordFilter.model_validate_json(msgspec.json.encode(conditions))
    except pydantic.ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        faults = [Fault("/" + _parameter(each["loc"]), each["type"].replace("_", "-"), each["msg"]) for each in details]
        raise Problem("request.parameter-invalid", faults=faults) from None


def _parameter(location: tuple[int | str, ...]) -> str:
    """The parameter that a place in the filter stands for: ('plan_cost', 'least') → plan_cost_least."""
    name = "_".join(str(each) for each in location[:2])
    return name if name in _RANGES else str(location[0])


filters: Final = Provide(asked, sync_to_thread=False)
