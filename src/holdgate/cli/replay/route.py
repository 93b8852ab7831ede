"""The replay itself, and the `Route` that it needs of a broker.

`move` takes one letter after the other, writes it, waits for the confirmation, and lets the route remember it. It is no faster than the
given rate, and can be stopped at any time. Letters go one at a time because of what a stop may cost: at most the letters since the last
remembered one are moved twice, and none is lost.
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

    `waiting` counts the letters; where the log has gaps there may be fewer. `looked_at` counts those that were read for the other fields.
    `kinds` counts them by source and exception, and `replayed` by how often they were replayed before. `oldest` and `newest` are the times
    of writing, in seconds since the epoch. None means that none was read.
    """

    waiting: int
    looked_at: int = 0
    kinds: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    replayed: Counter[int] = field(default_factory=Counter[int])
    oldest: float | None = None
    newest: float | None = None

    def saw(self, headers: Iterable[tuple[str, Any]], written: float) -> None:
        """Count one letter that was read."""
        headers = list(headers)
        told = dict(headers)
        self.looked_at += 1
        self.kinds[_text(told.get(SOURCE)), _text(told.get(EXCEPTION))] += 1
        self.replayed[replays_of(headers)] += 1
        self.oldest = written if self.oldest is None else min(self.oldest, written)
        self.newest = written if self.newest is None else max(self.newest, written)


class Route(Protocol):
    """A way from one topic or queue to another. No method is cancelled half-way: a step that has begun is waited for."""

    async def survey(self) -> Survey:
        """Connect, and look at the waiting letters without taking them. Raises IntakeError where a broker, topic or queue is missing."""
        ...

    async def begin(self) -> None:
        """Get ready to take. Only what waits now will be taken, so that letters that come back do not go round for ever."""
        ...

    async def take(self) -> object | None:
        """Return the next letter. None means that none is left of those that waited at the beginning."""
        ...

    async def put(self, letter: object) -> None:
        """Write a letter where it goes, and return when that is confirmed."""
        ...

    async def done(self, letter: object) -> None:
        """Remember that a letter was moved, so that it is not taken again. Several may be remembered together."""
        ...

    async def end(self) -> None:
        """Remember everything that is done, and disconnect. Idempotent, and safe when nothing has begun."""
        ...


def replayed(headers: Iterable[tuple[str, V]], count: V) -> list[tuple[str, V]]:
    """Return the headers that go back with a message: its own ones, and `count`, the number of replays with this one."""
    return [*((name, value) for name, value in own_headers(headers) if name != REPLAYS), (REPLAYS, count)]


def _text(value: Any) -> str:
    return UNKNOWN if value is None else value.decode(errors="replace") if isinstance(value, bytes) else str(value)


class EvenRate:
    """Allows at most `rate` letters a second, evenly: a replay must not be the next outage."""

    def __init__(self, rate: float) -> None:
        self._between = 1 / rate
        self._next = 0.0

    def wait_for(self, now: float) -> float:
        """Return the seconds to wait before the next letter, and count that letter."""
        begins = max(now, self._next)
        self._next = begins + self._between
        return begins - now


class Stop:
    """The request to end a replay: the letter under way is finished, and no other is begun."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()

    @property
    def is_asked(self) -> bool:
        """Whether the replay was asked to end."""
        return self._asked.is_set()

    def ask(self) -> None:
        """Ask the replay to end after the letter under way."""
        self._asked.set()

    async def pause(self, seconds: float) -> None:
        """Wait for so many seconds, or until the replay is asked to end."""
        if seconds > 0:
            waiting = asyncio.ensure_future(self._asked.wait())
            await asyncio.wait({waiting}, timeout=seconds)
            waiting.cancel()


async def move(route: Route, *, rate: float, limit: int | None, stop: Stop, moved: Callable[[int], object]) -> int:
    """Move the letters that waited at the beginning, `rate` a second, and return how many were moved.

    `limit` is the most letters to move. None means all. `moved` is called after each letter with the number so far. Raises what the route
    raises. What was moved before is remembered all the same, once the route has ended.
    """
    pace, now = EvenRate(rate), asyncio.get_running_loop().time
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
