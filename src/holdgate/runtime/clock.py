"""The real clock and real chance. The only file of holdgate that reads either: everything else is given `now` and `draw`."""

from __future__ import annotations

import random
import time


class SystemClock:
    """Monotonic time of this process and random numbers.

    `now` is seconds from an arbitrary start; it never goes back when the wall clock is set. `draw` is uniform in [0, 1).
    """

    __slots__ = ()

    # The functions themselves and not methods around them: `clock.now` is bound once and then called twice a message.
    now = staticmethod(time.monotonic)
    draw = staticmethod(random.random)
