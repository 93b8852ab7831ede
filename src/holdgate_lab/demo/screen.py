"""What is shown while the demo runs: the values of one picture, the pieces that rich draws of them, and the outputs that show it.

A run is a row of cells on one line, a side is a word with a shape that says the same without colour. The pieces are pure functions from a
frame to what rich prints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from holdgate_lab.demo.scenario import DemoScenario, ServicePhase

# Cells of a row: half a second each in a run of thirty, and with its label inside eighty columns.
CELLS = 60
LABEL = 14
# How many of the last notes are shown: an outage, two probes and the way back.
NOTES = 7

# Fits under the rows in eighty columns.
LEGEND = "─ fine   ■ down, open, failing calls   ▁▂▄▆█ half-open: 1 to 16 at once"
ASCII_LEGEND = "- fine   # down, open, failing calls   1248+ half-open: that many at once"


class Kind(IntEnum):
    """What a cell tells, the rarest last: where a cell saw two, the rarer one is shown, or a probe of 20 ms would never be seen."""

    FINE = 0  # the circuit is closed; calls succeed; the service is up
    BAD = 1  # the circuit is open; calls fail; the service is down
    PARTLY = 2  # the circuit is half-open; the service is weak


@dataclass(frozen=True, slots=True)
class Mark:
    """From `at` on it is like this. `limit` is how many messages a half-open circuit admits in parallel; 0 where there is none."""

    at: float
    kind: Kind
    limit: int = 0


@dataclass(frozen=True, slots=True)
class Alphabet:
    """The characters of a row; `steps` are for the limits 1, 2, 4, 8 and above, and the last of them for no limit."""

    fine: str
    bad: str
    steps: str

    def glyph(self, mark: Mark) -> str:
        """The character for one cell."""
        if mark.kind is Kind.PARTLY:
            step = mark.limit.bit_length() - 1 if mark.limit else len(self.steps) - 1
            return self.steps[min(step, len(self.steps) - 1)]
        return self.bad if mark.kind is Kind.BAD else self.fine


BLOCKS = Alphabet(fine="─", bad="■", steps="▁▂▄▆█")
LETTERS = Alphabet(fine="-", bad="#", steps="1248+")


def timeline(marks: Sequence[Mark], now: float, cell_seconds: float, alphabet: Alphabet) -> str:
    """The row from 0 to `now`, one character per `cell_seconds`; `marks` are in order of time."""
    row: list[str] = []
    carried = Mark(0.0, Kind.FINE)
    index = 0
    while len(row) * cell_seconds < now:
        end = (len(row) + 1) * cell_seconds
        start = index
        while index < len(marks) and marks[index].at < end:
            index += 1
        inside = marks[start:index]
        shown = max(reversed(inside), key=lambda mark: mark.kind) if inside else carried
        carried = inside[-1] if inside else carried
        row.append(alphabet.glyph(shown))
    return "".join(row)


@dataclass(frozen=True, slots=True)
class Status:
    """What a side is doing: a word, a shape that says the same without colour, and the sources it holds."""

    word: str
    shape: str
    mood: str  # "good", "bad" or "partly": the colour, where there is one
    held: int = 0
    sources: int = 0


@dataclass(frozen=True, slots=True)
class Note:
    """Something happened `at` seconds into the run."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class SideFrame:
    """One side at one moment. `receipt_wait` is how long the last receipt took, in seconds; None when the last second had none."""

    status: Status
    in_flight: int
    waiting: int
    trend: int  # -1: the backlog shrinks, 1: it grows, 0: neither
    processed: int
    wasted: int
    dead: int
    receipt_wait: float | None
    marks: Sequence[Mark]


@dataclass(frozen=True, slots=True)
class Frame:
    """The whole run at one moment."""

    now: float
    scenario: DemoScenario
    phase: ServicePhase
    service: Sequence[Mark]
    guarded: SideFrame
    naive: SideFrame
    notes: Sequence[Note]


class Output(Protocol):
    """Where a run is shown while it goes on."""

    def begin(self, broker: str) -> None:
        """The broker is being reached; joining a group takes seconds, so say something."""
        ...

    def show(self, frame: Frame) -> None:
        """The picture now, eight times a second."""
        ...

    def note(self, note: Note) -> None:
        """Something happened: shown immediately, not with the next picture."""
        ...

    def end(self) -> None:
        """The run is over. Idempotent."""
        ...


COLOURS = {"good": "green", "partly": "yellow", "bad": "red"}
PHASES = {
    ServicePhase.UP: Status("UP", "□", "good"),
    ServicePhase.DOWN: Status("DOWN: refuses every call", "■", "bad"),
    ServicePhase.WEAK: Status("WEAK: back with little capacity", "◪", "partly"),
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


def output_for(console: Console, *, live: bool) -> Output:
    """A live screen where the cursor can move, plain lines elsewhere."""
    return LiveScreen(console) if live else PlainLines(console)


class LiveScreen:
    """A screen redrawn in place. It draws when it is told to: no thread of its own beside the event loop."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None

    def begin(self, broker: str) -> None:
        self._live = Live(Text(f"joining the groups on {broker} ..."), console=self._console, auto_refresh=False)
        self._live.start(refresh=True)

    def show(self, frame: Frame) -> None:
        if self._live is not None:
            self._live.update(screen(frame), refresh=True)

    def note(self, note: Note) -> None:
        """The next picture, an eighth of a second away, has it."""

    def end(self) -> None:
        if self._live is not None:
            self._live.stop()


class PlainLines:
    """One line a second and one for everything that happens: for pipes, logs and terminals that cannot move their cursor."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = 0.0

    def _print(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)

    def begin(self, broker: str) -> None:
        self._print(f"joining the groups on {broker} ...")

    def show(self, frame: Frame) -> None:
        if frame.now < self._next:
            return
        self._next = float(int(frame.now) + 1)
        sides = f"with holdgate: {_plain(frame.guarded)} | without: {_plain(frame.naive)}"
        self._print(f"{frame.now:6.1f} s  payments {frame.phase.name:<4} | {sides}")

    def note(self, note: Note) -> None:
        self._print(f"{note.at:6.1f} s  * {note.text}")

    def end(self) -> None:
        """Nothing is open."""


def _plain(side: SideFrame) -> str:
    facts = f"in-flight {side.in_flight:2} lag {side.waiting:4} wasted {side.wasted:4} dead {side.dead:4} processed {side.processed:5}"
    return f"{side.status.word:<12} {facts}"


class Silent:
    """Nothing while it runs: the document at the end is all."""

    def begin(self, broker: str) -> None:
        """Nothing."""

    def show(self, frame: Frame) -> None:
        """Nothing."""

    def note(self, note: Note) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""
