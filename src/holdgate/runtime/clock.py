"""The real clock and real chance. The only file of holdgate that reads either: everything else is given `now` and `draw`."""

from __future__ import annotations

import time


class SystemClock:
    """Monotonic time of this process and random numbers.

    `now` is seconds from an arbitrary start; it never goes back when the wall clock is set. `draw` is uniform in [0, 1).
    """

    __slots__ = ()

    # The function itself and not a method around it: `clock.now` is bound once and then called twice a message.
    now = staticmethod(time.monotonic)

    @staticmethod
    def draw() -> float:
        from random import random  # noqa: PLC0415 - a millisecond of each start, and drawn only once something has failed

        return random()
