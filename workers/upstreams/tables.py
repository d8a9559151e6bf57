"""What a file of rows is once it is open, whatever its format."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from domain.mapping import column_name
from workers.upstreams.upstream import RowFault


class TableRow(NamedTuple):
    """A row by its number, from 1 after the header: its cells, or why it has none."""

    number: int
    cells: tuple[object, ...]
    fault: str | None


class Sheet(NamedTuple):
    """Names of columns, each once; remarks on the whole; and the rows, to be read once."""

    columns: tuple[str, ...]
    remarks: tuple[RowFault, ...]
    rows: Iterator[TableRow]


def columns_of(header: Sequence[object]) -> tuple[tuple[str, ...], tuple[RowFault, ...]]:
    """Names without blanks around them. Trailing columns without a name are left out; a second `Cost` is `Cost (2)`."""
    names = ["" if cell is None else column_name(str(cell)) for cell in header]
    while names and not names[-1]:
        names.pop()
    seen: Counter[str] = Counter()
    taken = set(names)
    columns: list[str] = []
    remarks: list[RowFault] = []
    for place, given in enumerate(names, 1):
        name = given or f"Column {place}"
        seen[name] += 1
        number = seen[name]
        unique = name
        while number > 1 and (unique := f"{name} ({number})") in taken:
            number += 1
        if unique != given:
            message = f"Column {place} is called {unique}: {'its name came before' if given else 'it has no name'}"
            remarks.append(RowFault(row=0, code="column-renamed", message=message))
        taken.add(unique)
        columns.append(unique)
    return tuple(columns), tuple(remarks)
