"""One picture of the run: what every kind of output shows, with no thought of how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from holdgate.cli.demo.scenario import Phase, Scenario
from holdgate.cli.demo.timeline import Mark


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
    scenario: Scenario
    phase: Phase
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
        """Something happened: at once, not with the next picture."""
        ...

    def end(self) -> None:
        """The run is over. Idempotent."""
        ...
