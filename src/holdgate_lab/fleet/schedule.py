"""The virtual clock: what is to happen, in order of time, and in order of asking where two things happen at once."""

from __future__ import annotations

import heapq
from collections.abc import Callable

Act = Callable[[], None]


class Schedule:
    """A heap of acts. `now` moves from one to the next and never stands still for real."""

    __slots__ = ("_acts", "_number", "now")

    def __init__(self) -> None:
        self.now = 0.0
        self._number = 0
        self._acts: list[tuple[float, int, Act]] = []

    def at(self, when: float, act: Act) -> None:
        """Do it at that second; at once, after what was asked for before, when that is over already."""
        self._number += 1
        heapq.heappush(self._acts, (max(self.now, when), self._number, act))

    def after(self, seconds: float, act: Act) -> None:
        """Do it so many seconds from now."""
        self.at(self.now + seconds, act)

    def step(self, until: float) -> bool:
        """Do the next act, unless it comes after `until`: False, and then it is `until`."""
        acts = self._acts
        if not acts or acts[0][0] > until:
            self.now = max(self.now, until)
            return False
        self.now, _, act = heapq.heappop(acts)
        act()
        return True
