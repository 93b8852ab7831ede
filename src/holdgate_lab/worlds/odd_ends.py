"""Services that count something else than calls, count in vain calls too, answer late, or tell the time by another clock.

Theory of operation. As in far_ends.py, each is a far end on the running loop's time, and nobody gives a call back. What stands before
another service passes on to it what it lets through.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from random import Random

from holdgate_lab.worlds.answers import OK, FarEnd, HttpAnswer, Reply
from holdgate_lab.worlds.far_ends import REFUSAL_TAKES, TOO_MANY, Changing, TokenBucket, around, quick

_NO = HttpAnswer(TOO_MANY)
# Some instant: what a far end's loop calls second 0.
_BEGAN = datetime(2026, 11, 30, tzinfo=UTC)


class WeighingBucket:
    """Lets `rate` units a second through, such as bytes or a model's tokens, and as many as `room` together. A call weighs what it weighs.

    `weighs` draws what a call weighs. What was refused comes again: the next call that arrives is that one.
    """

    def __init__(self, chance: Random, rate: float, room: float, weighs: Callable[[Random], float]) -> None:
        self._chance = chance
        self._rate = rate
        self._room = room
        self._weighs = weighs
        self._again: deque[float] = deque()
        self._left = room
        self._filled_at = 0.0

    def arrive(self, reply: Reply) -> None:
        """Answer well what there is room for, and with 429 otherwise."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._left = min(self._room, self._left + self._rate * (now - self._filled_at))
        self._filled_at = now
        weight = self._again.popleft() if self._again else self._weighs(self._chance)
        if weight > self._left:
            self._again.append(weight)
            loop.call_later(around(self._chance, REFUSAL_TAKES), reply, _NO)
            return
        self._left -= weight
        loop.call_later(quick(self._chance), reply, OK)


class Sliding:
    """Lets `limit` calls of the last `seconds` through, whenever they began.

    `counts_refused`: whether a call that is refused counts as well, as it does where each call leaves its mark before it is looked at.
    """

    def __init__(self, chance: Random, limit: int, seconds: float, *, counts_refused: bool = False) -> None:
        self._chance = chance
        self._limit = limit
        self._seconds = seconds
        self._counts_refused = counts_refused
        self._marks: deque[float] = deque()

    def arrive(self, reply: Reply) -> None:
        """Answer well while the last seconds have room."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._marks and self._marks[0] <= now - self._seconds:
            self._marks.popleft()
        has_room = len(self._marks) < self._limit
        if has_room or self._counts_refused:
            self._marks.append(now)
        if has_room:
            loop.call_later(quick(self._chance), reply, OK)
        else:
            loop.call_later(around(self._chance, REFUSAL_TAKES), reply, _NO)


class Crowded:
    """A bucket from which others take `count` tokens together, every `every` seconds on average. They come first: it may owe tokens."""

    def __init__(self, chance: Random, bucket: TokenBucket, count: int, every: float) -> None:
        self._chance = chance
        self._bucket = bucket
        self._count = count
        self._every = every
        self._next = chance.expovariate(1 / every)

    def arrive(self, reply: Reply) -> None:
        """Let the others take theirs first."""
        now = asyncio.get_running_loop().time()
        while self._next <= now:
            self._bucket.owe(self._next, self._count)
            self._next += self._chance.expovariate(1 / self._every)
        self._bucket.arrive(reply)


class RefusingLate:
    """So many servers with a queue. A call for which `bucket` has no token is refused only after half of its work."""

    def __init__(self, chance: Random, bucket: TokenBucket, servers: int, takes: float) -> None:
        self._chance = chance
        self._bucket = bucket
        self._servers = servers
        self._takes = takes
        self._queue: deque[Reply] = deque()
        self._working = 0

    def arrive(self, reply: Reply) -> None:
        """Put the call to work, or into the queue."""
        self._queue.append(reply)
        self._go_on()

    def _go_on(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue and self._working < self._servers:
            reply = self._queue.popleft()
            self._working += 1
            takes = around(self._chance, self._takes)
            if self._bucket.takes(loop.time()):
                loop.call_later(takes, self._finish, reply, OK)
            else:
                loop.call_later(takes / 2, self._finish, reply, _NO)

    def _finish(self, reply: Reply, answer: HttpAnswer) -> None:
        self._working -= 1
        self._go_on()
        reply(answer)


class BanningLonger:
    """A bucket that bans after one call too many, for `seconds`, and twice as long each time until `forgives` seconds have gone well."""

    def __init__(self, chance: Random, bucket: TokenBucket, seconds: float, forgives: float) -> None:
        self._chance = chance
        self._bucket = bucket
        self._seconds = seconds
        self._forgives = forgives
        self._lasts = seconds
        self._until = -math.inf

    def arrive(self, reply: Reply) -> None:
        """Answer well, or refuse and ban."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now >= self._until and self._bucket.takes(now):
            loop.call_later(quick(self._chance), reply, OK)
            return
        if now >= self._until:
            self._lasts = self._seconds if now > self._until + self._forgives else 2 * self._lasts
            self._until = now + self._lasts
        loop.call_later(around(self._chance, REFUSAL_TAKES), reply, _NO)


class Renaming:
    """Passes calls on to `behind`, and answers `answer` where that refuses. `answer` gets the moment of the refusal."""

    def __init__(self, behind: FarEnd, answer: Callable[[float], HttpAnswer]) -> None:
        self._behind = behind
        self._answer = answer

    def arrive(self, reply: Reply) -> None:
        """Pass on."""
        loop = asyncio.get_running_loop()
        self._behind.arrive(lambda given: reply(given if given.is_good else self._answer(loop.time())))


def dated(wait: float, skew: float) -> Callable[[float], Mapping[str, str]]:
    """Return what makes headers with the date after `wait` seconds, by a clock that is `skew` seconds wrong."""

    def headers(now: float) -> Mapping[str, str]:
        sent = _BEGAN + timedelta(seconds=math.floor(now + skew))
        return {"Date": format_datetime(sent, usegmt=True), "Retry-After": format_datetime(sent + timedelta(seconds=wait), usegmt=True)}

    return headers


def waves(low: float, high: float, each: float, until: float) -> Changing:
    """Return a number that is `high` and `low` in turn, for `each` seconds."""
    count = math.ceil(until / each)
    return Changing(tuple((number * each, low if number % 2 else high) for number in range(count)))
