"""From a configuration to the upstream it describes."""

from collections.abc import Sequence
from pathlib import Path
from typing import assert_never

from domain.mapping import FieldMapping
from domain.upstreams import FolderUpstream, HttpUpstream, SqlUpstream
from workers.upstreams.egress import Egress
from workers.upstreams.folder import FolderKind
from workers.upstreams.over_http import HttpKind
from workers.upstreams.over_sql import SqlKind
from workers.upstreams.upstream import Credentials, Upstream


def opened(
    config: HttpUpstream | FolderUpstream | SqlUpstream,
    credentials: Credentials,
    mapping: FieldMapping,
    *,
    egress: Egress,
    folders: Sequence[Path],
) -> Upstream:
    """Nothing is connected to yet. `folders` are those below which the operator allows exports to be read."""
    match config:
        case HttpUpstream():
            return HttpKind(config, credentials, mapping.required_columns(), egress)
        case FolderUpstream():
            return FolderKind(config, mapping.required_columns(), folders)
        case SqlUpstream():
            return SqlKind(config, credentials, mapping.columns(), egress)
    assert_never(config)
