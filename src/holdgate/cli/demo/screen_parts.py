"""The pieces of the live screen: pure functions from a frame to what rich prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from holdgate.cli.demo.frame import Frame, Note, SideFrame, Status
from holdgate.cli.demo.scenario import Phase
from holdgate.cli.demo.timeline import BLOCKS, Mark, timeline

# Cells of a row: half a second each in a run of thirty, and with its label inside eighty columns.
CELLS = 60
LABEL = 14
# How many of the last notes are shown: an outage, two probes and the way back.
NOTES = 7

# Fits under the rows in eighty columns.
LEGEND = "─ fine   ■ down, open, failing calls   ▁▂▄▆█ half-open: 1 to 16 at once"
ASCII_LEGEND = "- fine   # down, open, failing calls   1248+ half-open: that many at once"

COLOURS = {"good": "green", "partly": "yellow", "bad": "red"}
PHASES = {
    Phase.UP: Status("UP", "□", "good"),
    Phase.DOWN: Status("DOWN: refuses every call", "■", "bad"),
    Phase.WEAK: Status("WEAK: back with little capacity", "◪", "partly"),
}
TRENDS = {-1: "▼", 0: " ", 1: "▲"}


def status_text(status: Status) -> Text:
    """A shape and a word; the colour only repeats them."""
    return Text(f"{status.shape} {status.word}", style=f"bold {COLOURS[status.mood]}")


def side_panel(title: str, side: SideFrame) -> Panel:
    """One side now."""
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    wait = "-" if side.receipt_wait is None else f"{side.receipt_wait:.1f} s"
    held = f"{side.status.held} of {side.status.sources} partitions" if side.status.sources else "-"
    for label, value in (
        ("calls in payments", str(side.in_flight)),
        ("wasted calls", str(side.wasted)),
        ("dead letters", str(side.dead)),
        ("lag", f"{TRENDS[side.trend]} {side.waiting}"),
        ("held", held),
        ("a receipt takes", wait),
        ("processed", str(side.processed)),
    ):
        grid.add_row(label, value)
    return Panel(Group(status_text(side.status), grid), title=title, title_align="left")


def row(label: str, marks: Sequence[Mark], frame: Frame) -> Text:
    """One row of cells with its label."""
    cells = timeline(marks, frame.now, frame.scenario.seconds / CELLS, BLOCKS)[:CELLS]
    return Text(f"{label:<{LABEL}} {cells}", no_wrap=True)


def note_lines(notes: Sequence[Note]) -> Text:
    """The last notes, always as many lines, so that the screen does not jump."""
    lines = [f"{note.at:6.1f} s  {note.text}" for note in notes[-NOTES:]]
    return Text("\n".join(lines + [""] * (NOTES - len(lines))), no_wrap=True)


def screen(frame: Frame) -> Group:
    """The whole picture."""
    head = Text.assemble(
        ("holdgate demo", "bold"), f"  {frame.now:4.1f} of {frame.scenario.seconds:g} s    payments: ", status_text(PHASES[frame.phase])
    )
    sides = Table.grid(expand=True)
    sides.add_column(ratio=1)
    sides.add_column(ratio=1)
    sides.add_row(side_panel("with holdgate", frame.guarded), side_panel("without", frame.naive))
    return Group(
        head,
        sides,
        row("payments", frame.service, frame),
        row("with holdgate", frame.guarded.marks, frame),
        row("without", frame.naive.marks, frame),
        Text(LEGEND, style="dim", no_wrap=True),
        note_lines(frame.notes),
    )
