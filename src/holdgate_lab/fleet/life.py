"""What it is to be a process: it acts in time, it may be dead, and it may be frozen."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdgate_lab.fleet.world import World


class Life:
    """One life of worker `number`, the world's `life`-th. `draw` is its own chance, so that what others do does not change it."""

    def __init__(self, world: World, number: int, life: int) -> None:
        self.world = world
        self.name = f"worker {number}"
        self.is_alive = True
        self.was_frozen = False  # and may have missed what the group has asked of it
        self.draw = Random(f"{world.seed}/{number}/{life}").random
        self._deferred: list[Callable[[], None]] | None = None  # what happens while it is frozen

    @property
    def now(self) -> float:
        """The second."""
        return self.world.schedule.now

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Do something of this worker's after so many seconds, unless it is dead by then."""
        self.world.schedule.after(seconds, lambda: self.act(act))

    def act(self, act: Callable[[], None]) -> None:
        """Do it now, or when the worker is no longer frozen, or never when it is dead."""
        if not self.is_alive:
            return
        if self._deferred is not None:
            self._deferred.append(act)
            return
        act()

    def freeze(self, seconds: float) -> None:
        """Do nothing for so long."""
        self.say(f"is frozen for {seconds:g} s")
        self._deferred = []
        self.was_frozen = True
        self.world.schedule.after(seconds, self._thaw)

    @property
    def is_frozen(self) -> bool:
        """Whether it does nothing now, and will go on."""
        return self._deferred is not None

    def _thaw(self) -> None:
        deferred, self._deferred = self._deferred, None
        if self.is_alive and deferred is not None:
            self.say("goes on")
            for act in deferred:
                self.act(act)

    def say(self, words: str) -> None:
        """Tell what this worker does."""
        self.world.witness.say(f"{self.name} {words}")
