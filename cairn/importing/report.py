"""What an import says of itself: faults with their places, what became of the rows, figures side by side."""

from cairn.importing.faults import Fault
from cairn.importing.run import Imported, Outcome
from cairn.terminal import say, show, show_table
from domain.money import plain


def told(outcome: Outcome) -> None:
    """Shows it: faults alone, where there are any."""
    if outcome.faults.total:
        _faults(outcome)
        return
    for each in outcome.companies:
        _company(each, written=outcome.written)
    if not outcome.written:
        say("dry run: nothing was written")


def _faults(outcome: Outcome) -> None:
    columns = ("file", "table", "row", "column", "code", "what is wrong")
    show_table(columns, [_cells(fault) for fault in outcome.faults.listed], numeric=("row",))
    more = outcome.faults.total - len(outcome.faults.listed)
    if more:
        counted = ", ".join(f"{code} {count:,}" for code, count in outcome.faults.counted.most_common())
        say(f"{more:,} more are not listed; of all: {counted}")


def _cells(fault: Fault) -> tuple[object, ...]:
    return (fault.place.file, fault.place.table or "", fault.place.row or "", fault.column, fault.code, fault.message)


def _company(each: Imported, *, written: bool) -> None:
    where = f"positions {each.first}–{each.last}, one unit" if each.first is not None else "nothing new"
    show(f"company {each.company}" + (f": {where}" if written else ""))
    tallies = [(what, tally.new, tally.changed, tally.same, tally.left_out) for what, tally in each.tallies.items()]
    show_table(("what", "new", "changed", "same", "left out"), tallies, numeric=("new", "changed", "same", "left out"))
    figures = [
        (figure.what, figure.name, plain(figure.source))
        + (() if figure.found is None else (plain(figure.found), "same" if figure.same else "DIFFERS"))
        for figure in each.figures
    ]
    show_table(("what", "figure", "source", "read models", ""), figures, numeric=("source", "read models"))
