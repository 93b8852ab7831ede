"""What a replay needs of a broker: look at the dead letters, take them one by one, write each where it goes, and remember that.

The replay itself: take, write, confirm, remember, one letter after the other, no faster than asked, and to be stopped at any time.

One at a time because of what a stop may cost: at most the letters since the last remembered one are moved twice, and none is lost.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from holdgate.flow.message import EXCEPTION, REPLAYS, SOURCE, own_headers, replays_of

V = TypeVar("V")

UNKNOWN = "?"


@dataclass(slots=True)
class Survey:
    """What waits to be moved.

    `waiting` counts the letters; at most so many where the log has gaps. `looked_at` says how many of them were read for the rest: by
    source and exception, and by how often they were replayed before. `oldest`, `newest`: when they were written, in seconds since the
    epoch; None when none was read.
    """

    waiting: int
    looked_at: int = 0
    kinds: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    replayed: Counter[int] = field(default_factory=Counter[int])
    oldest: float | None = None
    newest: float | None = None

    def saw(self, headers: Iterable[tuple[str, Any]], written: float) -> None:
        """Count one letter in."""
        headers = list(headers)
        told = dict(headers)
        self.looked_at += 1
        self.kinds[_text(told.get(SOURCE)), _text(told.get(EXCEPTION))] += 1
        self.replayed[replays_of(headers)] += 1
        self.oldest = written if self.oldest is None else min(self.oldest, written)
        self.newest = written if self.newest is None else max(self.newest, written)


class Route(Protocol):
    """From one topic or queue to another. Nothing in here is cancelled half-way: a step that has begun is waited for."""

    async def survey(self) -> Survey:
        """Connect, and look at what waits without taking it. Raises IntakeError where a broker, a topic or a queue is not there."""
        ...

    async def begin(self) -> None:
        """Be ready to take: only what waits now will be taken, so that letters which come back do not go round for ever."""
        ...

    async def take(self) -> object | None:
        """The next letter; None when there is no more of those that waited at the beginning."""
        ...

    async def put(self, letter: object) -> None:
        """Write it where it goes; returns when that is confirmed."""
        ...

    async def done(self, letter: object) -> None:
        """It will not be taken again. May be remembered in runs."""
        ...

    async def end(self) -> None:
        """Remember everything that is done, and disconnect. Idempotent, and fine when nothing began."""
        ...


def replayed(headers: Iterable[tuple[str, V]], count: V) -> list[tuple[str, V]]:
    """The headers that go back with a message: its own, and the number of replays, this one included, as the broker writes numbers."""
    return [*((name, value) for name, value in own_headers(headers) if name != REPLAYS), (REPLAYS, count)]


def _text(value: Any) -> str:
    return UNKNOWN if value is None else value.decode(errors="replace") if isinstance(value, bytes) else str(value)


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
