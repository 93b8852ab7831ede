"""Services with a limit: a token bucket, a window with a border, servers with a queue. Each is a far end on the running loop's time.

Theory of operation. What a service lets through changes with time, so every number that may change is `Changing`: values, each from its
own second on. A refusal takes 20 ms, as over a network to the same region, and no work.

Nobody gives a call back. A client that gives up leaves its call where it is: a server that comes to it works in vain. That is what makes a
queue behind a slow service collapse.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from holdgate_lab.worlds.answers import OK, UNAVAILABLE, FarEnd, HttpAnswer, Reply

# A refusal needs no work, and one network round trip within a region with TLS.
REFUSAL_TAKES = 0.02
TOO_MANY = 429


@dataclass(frozen=True, slots=True)
class Changing:
    """A number that changes: `(from, value)` pairs in the order of time. The first holds before its time as well."""

    values: tuple[tuple[float, float], ...]

    @property
    def edges(self) -> tuple[float, ...]:
        """When it changes."""
        return tuple(at for at, _ in self.values[1:])

    def at(self, now: float) -> float:
        """Return the value at a moment."""
        current = self.values[0][1]
        for begins, value in self.values:
            if now >= begins:
                current = value
        return current

    def between(self, start: float, end: float) -> float:
        """Return its integral over a span of time."""
        total, begin = 0.0, start
        for edge in (*(edge for edge in self.edges if start < edge < end), end):
            total += self.at((begin + edge) / 2) * (edge - begin)
            begin = edge
        return total


def steady(value: float) -> Changing:
    """Return a number that does not change."""
    return Changing(((0.0, value),))


def around(chance: Random, mean: float, spread: float = 0.1) -> float:
    """Return a number near `mean`, at most `spread` of it away."""
    return mean * chance.uniform(1 - spread, 1 + spread)


def quick(chance: Random) -> float:
    """Return how long a good answer of an API takes: 80 ms, and up to 30 % more or less."""
    return around(chance, 0.08, 0.3)


class TokenBucket:
    """Lets `rate` calls a second through, and `burst` of them together. An empty bucket answers 429.

    - `latency`: draws the seconds that a good answer takes.
    - `headers`: what a 429 carries.
    - `is_shut`: whether everything gets a 429 at this moment, whatever the bucket holds.
    """

    def __init__(
        self,
        chance: Random,
        rate: Changing,
        burst: float,
        *,
        latency: Callable[[Random], float] = quick,
        headers: Mapping[str, str] | None = None,
        is_shut: Callable[[float], bool] = lambda _: False,
    ) -> None:
        self._chance = chance
        self._rate = rate
        self._burst = burst
        self._latency = latency
        self._refusal = HttpAnswer(TOO_MANY, headers or {})
        self._is_shut = is_shut
        self._tokens = burst
        self._filled_at = 0.0

    def arrive(self, reply: Reply) -> None:
        """Answer well while there is a token, and with 429 otherwise."""
        loop = asyncio.get_running_loop()
        if self.takes(loop.time()):
            loop.call_later(self._latency(self._chance), reply, OK)
        else:
            loop.call_later(around(self._chance, REFUSAL_TAKES), reply, self._refusal)

    def takes(self, now: float) -> bool:
        """Take a token if there is one, and return whether there was."""
        self._tokens = min(self._burst, self._tokens + self._rate.between(self._filled_at, now))
        self._filled_at = now
        if self._is_shut(now) or self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def owe(self, now: float, tokens: float) -> None:
        """Take so many tokens, whether they are there or not: somebody comes first."""
        self._tokens = min(self._burst, self._tokens + self._rate.between(self._filled_at, now)) - tokens
        self._filled_at = now


class FixedWindow:
    """Lets `limit` calls of each `period` through, and answers 429 until it ends. The first window is `offset` seconds old at the start.

    `tells`: makes the headers that every answer carries, of how many calls remain and of the seconds until the window ends. `behind`: what
    a call meets that the window lets through. None means that it is answered well after 80 ms.
    """

    def __init__(
        self,
        chance: Random,
        limit: int,
        period: float,
        offset: float,
        *,
        tells: Callable[[int, float], Mapping[str, str]] | None = None,
        behind: FarEnd | None = None,
    ) -> None:
        self._chance = chance
        self._limit = limit
        self._period = period
        self._offset = offset
        self._tells = tells
        self._behind = behind
        self._window = -1
        self._used = 0

    def arrive(self, reply: Reply) -> None:
        """Answer well until the window is used up."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        window = math.floor((now + self._offset) / self._period)
        if window != self._window:
            self._window, self._used = window, 0
        if self._used < self._limit:
            self._used += 1
            if self._behind is not None:
                self._behind.arrive(reply)
                return
            loop.call_later(quick(self._chance), reply, HttpAnswer(headers=self._headers(now)))
        else:
            loop.call_later(around(self._chance, REFUSAL_TAKES), reply, HttpAnswer(TOO_MANY, self._headers(now)))

    def _headers(self, now: float) -> Mapping[str, str]:
        if self._tells is None:
            return {}
        return self._tells(self._limit - self._used, (self._window + 1) * self._period - self._offset - now)


class Servers:
    """So many calls at work, the others in a queue, first come first served. What the queue has no room for gets a refusal.

    - `servers`: how many work at a moment.
    - `takes`: draws the seconds that one call needs, given the moment of its arrival.
    - `room`: how many may wait. None means any number.
    - `is_silent`: whether a call that arrives now is never answered.
    - `faults`: the share of calls that are refused whatever the queue looks like.
    - `refusal`: what is answered then.
    """

    def __init__(
        self,
        chance: Random,
        servers: Changing,
        takes: Callable[[float, Random], float],
        *,
        room: int | None = None,
        is_silent: Callable[[float], bool] = lambda _: False,
        faults: float = 0.0,
        refusal: HttpAnswer = UNAVAILABLE,
    ) -> None:
        self._chance = chance
        self._servers = servers
        self._takes = takes
        self._room = math.inf if room is None else room
        self._is_silent = is_silent
        self._faults = faults
        self._refusal = refusal
        self._queue: deque[tuple[float, Reply]] = deque()
        self._working = 0
        self._waits_for_edges = bool(servers.edges)

    def arrive(self, reply: Reply) -> None:
        """Put the call to work, into the queue, or refuse it."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._waits_for_edges:
            self._waits_for_edges = False
            for edge in self._servers.edges:
                # More servers than before take from the queue. A loop's timers may be early by its resolution.
                loop.call_at(max(edge, now) + 0.001, self._go_on)
        takes = self._takes(now, self._chance)
        if self._is_silent(now):
            return
        is_full = self._working >= self._servers.at(now) and len(self._queue) >= self._room
        if is_full or (self._faults and self._chance.random() < self._faults):
            loop.call_later(around(self._chance, REFUSAL_TAKES), reply, self._refusal)
            return
        self._queue.append((takes, reply))
        self._go_on()

    def _go_on(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue and self._working < self._servers.at(loop.time()):
            takes, reply = self._queue.popleft()
            self._working += 1
            loop.call_later(takes, self._finish, reply)

    def _finish(self, reply: Reply) -> None:
        self._working -= 1
        self._go_on()
        reply(OK)


class Unreachable:
    """Passes calls on to `behind`, but for a time in which every connection is refused."""

    def __init__(self, chance: Random, behind: FarEnd, start: float, end: float, refusal: HttpAnswer) -> None:
        self._chance = chance
        self._behind = behind
        self._start = start
        self._end = end
        self._refusal = refusal

    def arrive(self, reply: Reply) -> None:
        """Refuse, or pass on."""
        loop = asyncio.get_running_loop()
        if self._start <= loop.time() < self._end:
            loop.call_later(around(self._chance, REFUSAL_TAKES), reply, self._refusal)
        else:
            self._behind.arrive(reply)


class Banning:
    """A bucket that lets calls through, and refuses everything for `seconds` after one call too many.

    `anew`: whether a call that is refused begins the ban anew, as services do that punish whoever goes on.
    """

    def __init__(self, chance: Random, bucket: TokenBucket, seconds: float, *, anew: bool = False) -> None:
        self._chance = chance
        self._bucket = bucket
        self._seconds = seconds
        self._anew = anew
        self._until = -math.inf

    def arrive(self, reply: Reply) -> None:
        """Answer well, or refuse and ban."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        is_banned = now < self._until
        if not is_banned and self._bucket.takes(now):
            loop.call_later(quick(self._chance), reply, OK)
            return
        if self._anew or not is_banned:
            self._until = now + self._seconds
        loop.call_later(around(self._chance, REFUSAL_TAKES), reply, HttpAnswer(TOO_MANY))


class Capricious:
    """Passes calls on to `behind`, but for a share of them, which it refuses whatever else goes on."""

    def __init__(self, chance: Random, behind: FarEnd, share: float, refusal: HttpAnswer) -> None:
        self._chance = chance
        self._behind = behind
        self._share = share
        self._refusal = refusal

    def arrive(self, reply: Reply) -> None:
        """Refuse by chance, or pass on."""
        if self._chance.random() < self._share:
            asyncio.get_running_loop().call_later(around(self._chance, REFUSAL_TAKES), reply, self._refusal)
        else:
            self._behind.arrive(reply)


class Announcing:
    """Passes calls on to `behind`, and adds to every answer the headers of a window that is far from used up."""

    def __init__(self, behind: FarEnd, limit: int, period: float) -> None:
        self._behind = behind
        self._limit = limit
        self._period = period
        self._used = 0
        self._window = 0

    def arrive(self, reply: Reply) -> None:
        """Pass on, and count what was let in."""
        behind = self._behind
        now = asyncio.get_running_loop().time()
        behind.arrive(lambda given: reply(self._with_headers(given, now)))

    def _with_headers(self, given: HttpAnswer, now: float) -> HttpAnswer:
        window = int(now // self._period)
        if window != self._window:
            self._window, self._used = window, 0
        self._used += given.is_good
        left = f"{self._limit - self._used}"
        return HttpAnswer(
            given.status_code, {"X-RateLimit-Remaining": left, "X-RateLimit-Reset": f"{(window + 1) * self._period - now:.0f}"}
        )
