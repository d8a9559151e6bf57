"""What people see: lines, tables, progress bars. Colours and bars only on a terminal, else plain text."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

FAILED = 1

out = Console(highlight=False, soft_wrap=True)
"""Answers."""
err = Console(stderr=True, highlight=False, soft_wrap=True)
"""Everything else: what is going on, and what went wrong."""


class Failed(click.ClickException):
    """Ends the command with its message on standard error."""

    exit_code = FAILED

    def __init__(self, message: object) -> None:
        super().__init__(str(message))


class Asked(Failed):
    """The same, where somebody has to say what is meant."""

    exit_code = 3


class SettingsWrong(Failed):
    """The same, for settings."""

    exit_code = 78  # as sysexits: configuration


def say(line: str) -> None:
    """A line about what is going on."""
    err.print(line, markup=False)


def show(line: str, style: str | None = None, end: str = "\n") -> None:
    """A line of the answer."""
    out.print(line, markup=False, style=style, end=end)


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]], numeric: Sequence[str] = ()) -> None:
    """A table of the answer: drawn on a terminal, else values parted by tabs, for other programs."""
    if not out.is_terminal:
        for row in rows:
            print(*row, sep="\t")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(str, row))
    out.print(table)


class Bar:
    """A progress bar. Where nobody watches, one line per new title."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._task = None if progress is None else progress.add_task("", total=None)
        self._title = ""

    def advance(self, title: str, done: int, total: int | None) -> None:
        """Say what is being done, how much of it is done, and how much there is."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, description=title, completed=done, total=total)
        elif title != self._title:
            say(title)
        self._title = title


@contextmanager
def bar() -> Iterator[Bar]:
    """A progress bar, for as long as the block lasts."""
    if not err.is_terminal:
        yield Bar(None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err) as progress:
        yield Bar(progress)
