"""Where a run is shown: a live screen, plain lines, or nothing until the end."""

from __future__ import annotations

from rich.console import Console
from rich.live import Live
from rich.text import Text

from holdgate.cli.demo.frame import Frame, Note, SideFrame
from holdgate.cli.demo.screen_parts import screen


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
