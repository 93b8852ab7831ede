"""The report as text: for eyes in a terminal, and in plain ASCII for pipes and logs."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from holdgate_lab.simulate import cells, words
from holdgate_lab.simulate.comparison import Comparison
from holdgate_lab.simulate.rows import sections

ASCII_LEGEND = "- fine   x some calls fail or are slow   ! most fail   # open, or down   1248+ half-open: so many at once in all workers"
LEGEND = ASCII_LEGEND.replace("-", cells.BLOCKS.fine, 1).replace("#", cells.BLOCKS.bad, 1)

# A million, or "not yet".
FIGURE = 7


def print_report(comparison: Comparison, console: Console, *, ascii_only: bool) -> None:
    """Print it: first what it was and whether anything was broken, then the rows of time, then the table."""
    glyphs, legend = (cells.ASCII, ASCII_LEGEND) if ascii_only else (cells.BLOCKS, LEGEND)
    lines = [*words.headline(comparison), *words.differences(comparison), "", *words.verdicts(comparison)]
    if comparison.runs:
        lines += ["", *_pictures(comparison, glyphs), legend, ""]
    for text in lines:
        console.print(Text(text, style="bold red" if text.startswith("BROKEN") else ""), soft_wrap=True)
    if comparison.runs:
        console.print(_table(comparison, ascii_only=ascii_only))


def _pictures(comparison: Comparison, glyphs: cells.Glyphs) -> Iterator[str]:
    """For each dependency its faults, and under them what each run did; then what waited."""
    scenario, runs = comparison.scenario, comparison.runs
    most = cells.most_waiting(run.outcome for run in runs)
    width = max(len(name) for name in (*(spec.name for spec in scenario.dependencies), *(f"  {run.entrant.label}" for run in runs)))
    for spec in scenario.dependencies:
        yield f"{spec.name:<{width}} {cells.fault_row(scenario, spec.name, glyphs)}"
        for run in runs:
            yield f"  {run.entrant.label:<{width - 2}} {cells.state_row(scenario, run.outcome, spec.name, glyphs)}"
    yield f"waiting, up to {most}"
    for run in runs:
        yield f"  {run.entrant.label:<{width - 2}} {cells.backlog_row(scenario, run.outcome, most, glyphs)}".rstrip()


def _table(comparison: Comparison, *, ascii_only: bool) -> Table:
    table = Table(box=box.ASCII if ascii_only else box.ROUNDED)
    # In a narrow terminal the labels become longer: a figure that lost a digit would be another one.
    table.add_column("", overflow="fold")
    for run in comparison.runs:
        table.add_column(run.entrant.label, justify="right", overflow="fold", min_width=FIGURE)
    for section in sections(comparison):
        table.add_section()
        table.add_row(Text(section.title, style="bold"))
        for row in section.rows:
            table.add_row(Text(f"    {row.label}" if row.is_part else f"  {row.label}"), *row.values)
    return table
