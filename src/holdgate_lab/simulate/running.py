"""The runs of a comparison, one after the other, with their progress."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import replace

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from holdgate_lab.fleet.outcome import WORKER_KINDS, RunOutcome
from holdgate_lab.fleet.scenario import Scenario
from holdgate_lab.fleet.simulation import simulate
from holdgate_lab.fleet.worker import FleetWorker
from holdgate_lab.fleet.world import NewWorker
from holdgate_lab.simulate.comparison import Entrant, FinishedRun
from holdgate_lab.together.guards import GuardedTogether

GUARDED = "holdgate"
FLEET = "a fleet"


def entrants(
    scenario: Scenario, others: Sequence[tuple[str, Scenario]], workers: Collection[str], *, in_fleet: bool = False
) -> list[Entrant]:
    """Who takes part: each kind of worker that is asked for, and holdgate once more with each of the other settings.

    The baselines run with the scenario's settings only: they are what all settings of holdgate are compared with. `in_fleet`: beside each
    of holdgate's there is one whose workers share a log.
    """
    taking_part: list[Entrant] = []
    for worker in WORKER_KINDS:
        if worker not in workers:
            continue
        taking_part.append(Entrant(worker, scenario, worker))
        if worker != GUARDED:
            continue
        taking_part += [_together(taking_part[-1])] if in_fleet else []
        for name, theirs in others:
            alone = Entrant(f"with {name}", theirs, worker, against=name)
            taking_part += [alone, _together(alone)] if in_fleet else [alone]
    return taking_part


def _together(alone: Entrant) -> Entrant:
    return replace(alone, label=f"{alone.label}, fleet" if alone.against else FLEET, in_fleet=True)


class Runs:
    """All runs with one seed. `finished` has what has come to its end, also after an interruption in the middle."""

    def __init__(self, taking_part: Sequence[Entrant], seed: int) -> None:
        self.finished: list[FinishedRun] = []
        self._entrants = taking_part
        self._seed = seed

    def run(self, console: Console) -> bool:
        """Run them; progress goes to the console. False: it was interrupted, by Ctrl-C or SIGTERM."""
        try:
            with _termination_interrupts(), _progress(console) as progress:
                for run in self._each(progress):
                    self.finished.append(run)
        except KeyboardInterrupt:
            return False
        return True

    def _each(self, progress: Progress) -> Iterator[FinishedRun]:
        bars = [progress.add_task(entrant.label, total=entrant.scenario.seconds, start=False) for entrant in self._entrants]
        for entrant, bar in zip(self._entrants, bars, strict=True):
            progress.start_task(bar)
            outcome = self.outcome_of(entrant, self._seed, _mover(progress, bar))
            progress.update(bar, completed=entrant.scenario.seconds)
            yield FinishedRun(entrant, outcome)

    @staticmethod
    def outcome_of(entrant: Entrant, seed: int, progress: Callable[[float], None] | None = None) -> RunOutcome:
        """Run one of them. `progress` as for `simulate`."""
        make: NewWorker = GuardedTogether() if entrant.in_fleet else FleetWorker
        return simulate(entrant.scenario, entrant.worker, seed, progress=progress, make=make)


def _mover(progress: Progress, bar: TaskID) -> Callable[[float], None]:
    return lambda second: progress.update(bar, completed=second)


def _progress(console: Console) -> Progress:
    """Bars where somebody watches, and nothing elsewhere; they are gone when the report comes."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    if not console.is_terminal:
        # Disabled bars would do, but rich up to 14.2 prints an empty line after them; to a console that says nothing it prints nothing.
        console = Console(quiet=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


@contextlib.contextmanager
def _termination_interrupts() -> Generator[None, None, None]:
    """A supervisor's SIGTERM ends it as Ctrl-C does."""
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
