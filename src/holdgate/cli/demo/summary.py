"""The table at the end: the same facts for both sides, side by side."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from holdgate.cli.demo.report import Report, SideReport
from holdgate.cli.demo.screen_parts import ASCII_LEGEND, LABEL


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"


def rows(side: SideReport) -> list[tuple[str, str]]:
    """The facts of one side, in the order in which a person asks for them."""
    return [
        ("orders and receipts processed", str(side.processed)),
        ("lost", str(side.lost)),
        ("dead letters, all of them good messages", str(side.dead_letters)),
        ("still waiting at the end", str(side.waiting)),
        ("calls to payments", str(side.calls)),
        ("  wasted: made while it was down", str(side.wasted_calls)),
        ("  unanswered: too many at once", str(side.overrun_calls)),
        ("most calls in payments while it was weak", str(side.peak_in_flight_while_weak)),
        ("longest backlog", str(side.peak_waiting)),
        ("slowest receipt (needs only email)", _seconds(side.slowest_receipt_seconds)),
        ("processed twice", str(side.duplicates)),
        ("rebalances", str(side.rebalances)),
    ]


def table(report: Report, *, ascii_only: bool) -> Table:
    """The summary of a run."""
    summary = Table(box=box.ASCII if ascii_only else box.ROUNDED)
    summary.add_column("", no_wrap=True)
    summary.add_column("with holdgate", justify="right", no_wrap=True)
    summary.add_column("without", justify="right", no_wrap=True)
    for (label, guarded), (_, naive) in zip(rows(report.guarded), rows(report.naive), strict=True):
        summary.add_row(label, guarded, naive)
    return summary


def headline(report: Report) -> str:
    """What the numbers are about."""
    ending = "interrupted after" if report.interrupted else "ran"
    return f"{report.produced} messages on {report.broker}, {ending} {report.ran:.0f} s; payments was down for {_down(report):.0f} s"


def _down(report: Report) -> float:
    return max(0.0, min(report.ran, report.scenario.weak_at) - report.scenario.down_at)


def print_rows(report: Report, console: Console) -> None:
    """Print the three rows of cells with their legend, in ASCII: for outputs that have no last picture to show them."""
    for label, row in (
        ("payments", report.service_timeline),
        ("with holdgate", report.guarded.timeline),
        ("without", report.naive.timeline),
    ):
        console.print(Text(f"{label:<{LABEL}} {row}"), soft_wrap=True)
    console.print(Text(ASCII_LEGEND), soft_wrap=True)


def print_summary(report: Report, console: Console, *, ascii_only: bool) -> None:
    """Print the headline and the table. `ascii_only`: for pipes and logs, where nothing else is sure to be readable."""
    console.print(Text(headline(report)), soft_wrap=True)
    console.print(table(report, ascii_only=ascii_only))
