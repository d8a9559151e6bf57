"""Every read model, one line each."""

from collections.abc import Mapping

from projections import (
    access,
    accuracy,
    activity_log,
    actuals_detail,
    changesets,
    code_sets,
    connections,
    estimate_detail,
    estimate_kpis,
    pfa,
    price_books,
    price_history,
    project_list,
    project_names,
    search,
    simulations,
    version_history,
)
from projections.projection import Projection

PROJECTIONS: tuple[Projection, ...] = (
    access.projection,
    project_names.projection,
    project_list.projection,
    estimate_detail.projection,
    estimate_kpis.projection,
    version_history.projection,
    activity_log.projection,
    simulations.projection,
    connections.projection,
    changesets.projection,
    actuals_detail.projection,
    code_sets.projection,
    price_books.projection,
    accuracy.projection,
    search.projection,
    price_history.projection,
    pfa.projection,
)

FOLLOWED: tuple[Projection, ...] = tuple(each for each in PROJECTIONS if not each.inline)
"""Those that projector processes bring up to date."""
INLINE: tuple[Projection, ...] = tuple(each for each in PROJECTIONS if each.inline)
"""Those that are applied in the append's own transaction."""

REJECTIONS: Mapping[str, str] = {**access.REJECTIONS, **project_names.REJECTIONS}
"""Every code an inline model can refuse with → what it means, in a sentence."""

_BY_NAME: Mapping[str, Projection] = {projection.name: projection for projection in PROJECTIONS}


def projection_of(name: str) -> Projection:
    """The model of this name. Raises KeyError."""
    return _BY_NAME[name]
