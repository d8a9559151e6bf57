"""`python -m bench [figure …]`: measures, prints a table and writes JSON. A missed goal is no failure: exit 0."""

import argparse
import os
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import msgspec
import psutil
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from bench import (
    append_hot,
    append_sequential,
    append_single,
    catch_up,
    disk,
    estimating,
    http,
    long_stream,
    memory,
    mirror,
    outage,
    project,
    relay,
    search,
    simulation,
    visible,
)
from bench.ground import Ground
from bench.measure import Line, Options, Report
from bench.progress import CONSOLE
from cairn import embedded
from eventstore import process

FIGURES: dict[str, ModuleType] = {
    "append_single": append_single,
    "append_hot": append_hot,
    "append_sequential": append_sequential,
    "catch_up": catch_up,
    "project": project,
    "relay": relay,
    "http": http,
    "visible": visible,
    "search": search,
    "disk": disk,
    "long_stream": long_stream,
    "estimating": estimating,
    "memory": memory,
    "mirror": mirror,
    "simulation": simulation,
    "outage": outage,
}

WIDTH = 100
"""A table narrower than this would cut its numbers."""

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = _parser()
    arguments = parser.parse_args()
    unknown = [name for name in arguments.figures if name not in FIGURES]
    if unknown:
        parser.error(f"no such figure: {', '.join(unknown)}; there are {', '.join(FIGURES)}")
    options = Options(
        rounds=arguments.rounds, seconds=arguments.seconds, full=arguments.full, records=arguments.records
    )
    process.calm_collector()  # as the processes of the product do
    reports = []
    for name in arguments.figures or FIGURES:
        CONSOLE.print(f"[dim]{name}: {FIGURES[name].TITLE}[/]")
        with Ground() as ground:
            report = FIGURES[name].measure(ground, options)
        reports.append(replace(report, notes=[*report.notes, *_disturbed()]))
        _show(reports[-1])
    _write(reports, options, arguments.json)


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:<18} {module.TITLE}" for name, module in FIGURES.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Benchmarks against peers and limits, run in turns: a ratio compares within one round.",
        epilog=f"figures:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("figures", nargs="*", metavar="figure", help="all, when none is named")
    parser.add_argument("--rounds", type=int, default=Options().rounds, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=Options().seconds, help="of each arm, default: %(default)s")
    parser.add_argument("--full", action="store_true", help="the sizes and times the goals name; takes long")
    parser.add_argument("--records", type=int, metavar="N", help="mirrored records, for the figure mirror")
    parser.add_argument("--json", type=Path, help="where the values go; default: a file of its own in bench/results")
    return parser


def _disturbed() -> list[str]:
    """Says so when the machine had more to do than to be measured."""
    minute, cores = os.getloadavg()[0], os.cpu_count() or 1
    return [f"Load {minute:.1f} on {cores} cores: only ratios can be believed."] if minute > 1.5 * cores else []


def _show(report: Report) -> None:
    table = Table(title=report.title, title_justify="left", title_style="bold")
    for heading in ("", "median", "least", "greatest", "unit", "goal", ""):
        table.add_column(heading, justify="left" if heading in ("", "unit") else "right", no_wrap=True)
    for line in report.lines:
        values = (line.median, min(line.values), max(line.values))
        table.add_row(line.label, *(_number(value) for value in values), line.unit, _goal(line), _verdict(line))
    console = Console(width=max(WIDTH, Console().width))
    console.print(table)
    for note in report.notes:
        console.print(f"  {note}")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _goal(line: Line) -> str:
    return "" if line.goal is None else f"{'≤' if line.at_most else '≥'} {_number(line.goal)}"


def _verdict(line: Line) -> str:
    return {None: "", True: "[green]reached[/]", False: "[red]missed[/]"}[line.met]


def _write(reports: list[Report], options: Options, target: Path | None) -> None:
    now = datetime.now(UTC)
    machine = {
        "cores": psutil.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": platform.platform(),
        "python": platform.python_version(),
        "servers": embedded.versions(),
    }
    body = {"measured_at": now, "machine": machine, "options": options, "reports": reports}
    file = target or RESULTS / f"{now:%Y%m%dT%H%M%SZ}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(body)) + b"\n")
    CONSOLE.print(f"[dim]written to {file}[/]")


if __name__ == "__main__":
    began = time.perf_counter()
    main()
    CONSOLE.print(f"[dim]{time.perf_counter() - began:.0f} s[/]")
