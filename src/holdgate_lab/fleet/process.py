"""One life of one simulated process: its loop, its chance, whether it lives, and how it tells its story."""

from __future__ import annotations

from random import Random

from holdgate_lab.fleet.checker import Checker
from holdgate_lab.fleet.clock import ProcessLoop, Schedule


class Process:
    """A process named `name`. `draw` is its own chance, so that what others do does not change it. Implements `holdgate.ports.Clock`."""

    def __init__(self, name: str, schedule: Schedule, checker: Checker, chance: Random) -> None:
        self.name = name
        self.is_alive = True
        self.was_frozen = False  # and may have missed what the group has asked of it
        self.draw = chance.random
        # It has no sockets, signals and subprocesses, which an abstract loop promises.
        self.loop = ProcessLoop(schedule, self._failed)  # type: ignore[abstract]  # pyright: ignore[reportAbstractUsage]
        self._schedule = schedule
        self._checker = checker

    def now(self) -> float:
        """The second."""
        return self._schedule.now

    def say(self, words: str) -> None:
        """Tell what this process does."""
        if self.is_alive:
            self._checker.say(f"{self.name} {words}")

    def complain(self, invariant: str, words: str) -> None:
        """It breaks an invariant."""
        if self.is_alive:
            self._checker.complain(invariant, words)

    def freeze(self, seconds: float) -> None:
        """Do nothing for so long."""
        self.say(f"is frozen for {seconds:g} s")
        self.was_frozen = True
        self.loop.freeze()
        self._schedule.after(seconds, self._thaw)

    @property
    def is_frozen(self) -> bool:
        """Whether it does nothing now, and will go on."""
        return self.loop.is_frozen

    def _thaw(self) -> None:
        if self.is_alive:
            self.say("goes on")
            self.loop.thaw()

    def _failed(self, words: str) -> None:
        self.complain("runtime", f"{self.name}: {words}")
