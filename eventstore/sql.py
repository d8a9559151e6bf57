"""Loads the named statements of the .sql file beside a module."""

import re
from collections.abc import Mapping
from pathlib import Path

_NAME = re.compile(rb"^-- name: (\w+).*$", re.MULTILINE)


def beside(module_file: str) -> Mapping[str, bytes]:
    """The statements of `<module>.sql`, by the name in each `-- name: <name>` line. As bytes, for the driver."""
    return parse(Path(module_file).with_suffix(".sql").read_bytes())


def parse(text: bytes) -> Mapping[str, bytes]:
    """`text` cut at its `-- name:` lines; what stands before the first is prose. Two of one name fail."""
    found: dict[str, bytes] = {}
    marks = list(_NAME.finditer(text))
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        name = mark.group(1).decode()
        if name in found:
            raise ValueError(f"two statements are named {name!r}")
        found[name] = text[mark.end() : following.start() if following else None].strip().rstrip(b";")
    return found
