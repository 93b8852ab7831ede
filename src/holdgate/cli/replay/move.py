"""The replay itself: take, write, confirm, remember, one letter after the other, no faster than asked, and to be stopped at any time.

One at a time because of what a stop may cost: at most the letters since the last remembered one are moved twice, and none is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from holdgate.cli.replay.route import Route


class Pace:
    """At most `rate` letters a second, evenly: a replay must not be the next outage."""

    def __init__(self, rate: float) -> None:
        self._between = 1 / rate
        self._next = 0.0

    def wait_for(self, now: float) -> float:
        """Seconds to wait before the next one, which is counted from then on."""
        begins = max(now, self._next)
        self._next = begins + self._between
        return begins - now


class Stop:
    """Somebody's wish that it ends: the letter under way is finished, and no other begun."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()

    @property
    def is_asked(self) -> bool:
        """Whether it was asked for."""
        return self._asked.is_set()

    def ask(self) -> None:
        """End after this one."""
        self._asked.set()

    async def pause(self, seconds: float) -> None:
        """Wait so long, or until it was asked for."""
        if seconds > 0:
            waiting = asyncio.ensure_future(self._asked.wait())
            await asyncio.wait({waiting}, timeout=seconds)
            waiting.cancel()


async def move(route: Route, *, rate: float, limit: int | None, stop: Stop, moved: Callable[[int], object]) -> int:
    """Move what waited at the beginning, at most `limit` letters (None: all), `rate` a second; returns how many.

    `moved` is called after each with the number so far. Raises what the route raises; what was moved before is remembered all the same,
    once the route has ended.
    """
    pace, now = Pace(rate), asyncio.get_running_loop().time
    count = 0
    while limit is None or count < limit:
        await stop.pause(pace.wait_for(now()))
        letter = None if stop.is_asked else await route.take()
        if letter is None:
            break
        await route.put(letter)
        await route.done(letter)
        count += 1
        moved(count)
    return count
