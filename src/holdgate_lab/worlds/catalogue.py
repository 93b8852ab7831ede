"""The worlds that holdgate's limits were measured in, beside their peers: rates, windows, quotas, queues, caps and silence.

Each is a function, so that a test can have a shorter one. `WORLDS` has them as they are promised for, by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from random import Random

from holdgate_lab.worlds.answers import FarEnd
from holdgate_lab.worlds.far_ends import Changing, FixedWindow, Servers, TokenBucket, around, steady
from holdgate_lab.worlds.world import LimitedWorld, Promise, Trouble


def rate(seconds: float = 1200.0) -> LimitedWorld:
    """10 calls a second, and 429 without a word beyond."""
    return LimitedWorld(
        name="rate",
        letter="a",
        teaches="An API lets 10 calls a second through, in bursts of 10, and its 429 does not say when to come back.",
        seconds=seconds,
        make=lambda chance: TokenBucket(chance, steady(10), 10),
        best=lambda end: 10 * end + 10,
        promise=Promise(goodput=0.98, waste=0.01),
    )


def retry_after(seconds: float = 1200.0) -> LimitedWorld:
    """The same, with a Retry-After."""
    return replace(
        rate(seconds),
        name="retry-after",
        letter="b",
        teaches="The same, and its 429 says Retry-After: 1.",
        make=_with_retry_after,
    )


def _with_retry_after(chance: Random) -> FarEnd:
    return TokenBucket(chance, steady(10), 10, headers={"Retry-After": "1"})


def window(seconds: float = 1200.0) -> LimitedWorld:
    """600 calls a minute."""
    return LimitedWorld(
        name="window",
        letter="c",
        teaches="An API lets 600 calls of each minute through, of its own minutes, and answers 429 until the next begins.",
        seconds=seconds,
        make=lambda chance: FixedWindow(chance, 600, 60.0, chance.uniform(0, 60)),
        best=lambda end: 10 * end,
        promise=Promise(goodput=0.96, waste=0.015),
    )


def _with_headers(chance: Random) -> FarEnd:
    return FixedWindow(chance, 600, 60.0, chance.uniform(0, 60), tells=_remaining_and_reset)


def _remaining_and_reset(remaining: int, reset: float) -> Mapping[str, str]:
    return {"X-RateLimit-Remaining": str(remaining), "X-RateLimit-Reset": f"{reset:.3f}"}


def headers(seconds: float = 1200.0) -> LimitedWorld:
    """The same, and every answer says what remains."""
    return replace(
        window(seconds),
        name="headers",
        letter="c+",
        teaches="The same, and every answer says how many calls remain and when the window ends.",
        make=_with_headers,
        promise=Promise(goodput=0.99, waste=0.0),
    )


def slow_servers(seconds: float = 1200.0) -> LimitedWorld:
    """16 servers of half a second, and any number may wait."""
    return LimitedWorld(
        name="slow-servers",
        letter="d",
        teaches="16 servers take half a second for a call. They refuse nothing: what is too much waits, and is given up after 5 s.",
        seconds=seconds,
        make=lambda chance: Servers(chance, steady(16), lambda _, chance: around(chance, 0.5)),
        best=lambda end: 32 * end,
        promise=Promise(goodput=0.98, waste=0.0, in_flight=30),
    )


def cap(seconds: float = 1200.0) -> LimitedWorld:
    """Eight at a time, or 503."""
    return LimitedWorld(
        name="cap",
        letter="e",
        teaches="A database has 8 connections of 0.1 s a call. The ninth call gets a 503.",
        seconds=seconds,
        make=lambda chance: Servers(chance, steady(8), lambda _, chance: around(chance, 0.1), room=0),
        best=lambda end: 80 * end,
        promise=Promise(goodput=0.97, waste=0.01),
    )


def changing_cap(seconds: float = 1500.0, start: float = 600.0, end: float = 900.0) -> LimitedWorld:
    """18 servers, 6 for a while, 18 again."""
    servers = Changing(((0, 18), (start, 6), (end, 18)))
    return LimitedWorld(
        name="changing-cap",
        letter="f1",
        teaches="18 servers of 0.2 s with room for 8 that wait, then 503. For a while 12 of them are gone.",
        seconds=seconds,
        make=lambda chance: Servers(chance, servers, lambda _, chance: around(chance, 0.2), room=8),
        best=lambda until: servers.between(0, until) / 0.2,
        promise=Promise(goodput=0.98, waste=0.005, back_after=15),
        trouble=Trouble(start, end, 90),
    )


def changing_rate(seconds: float = 1500.0, start: float = 600.0, end: float = 900.0) -> LimitedWorld:
    """30 a second, 10 for a while, 30 again."""
    rates = Changing(((0, 30), (start, 10), (end, 30)))
    return LimitedWorld(
        name="changing-rate",
        letter="f2",
        teaches="An API lets 30 calls a second through, for a while 10, then 30 again; 429 beyond.",
        seconds=seconds,
        make=lambda chance: TokenBucket(chance, rates, 30),
        best=lambda until: rates.between(0, until) + 30,
        promise=Promise(goodput=0.98, waste=0.01, back_after=30),
        trouble=Trouble(start, end, 30),
    )


def drift(seconds: float = 3600.0) -> LimitedWorld:
    """Calls become slower and slower, without a fault."""
    return LimitedWorld(
        name="drift",
        letter="g",
        teaches="16 servers become slower: a call of 0.1 s takes twice as long after an hour. Nothing is at fault.",
        seconds=seconds,
        make=lambda chance: Servers(chance, steady(16), lambda now, chance: around(chance, 0.1 * (1 + now / 3600))),
        best=lambda end: 16 / 0.1 * 3600 * math.log(1 + end / 3600),
        promise=Promise(goodput=0.98, waste=0.0, in_flight=32),
    )


def strangers(seconds: float = 1200.0) -> LimitedWorld:
    """Ten workers that share a rate."""
    return replace(
        rate(seconds),
        name="strangers",
        letter="h",
        teaches="Ten workers that do not know of each other share an API of 10 calls a second.",
        workers=10,
        promise=Promise(goodput=0.97, waste=0.025, fairness=0.97),
    )


def two_kinds(seconds: float = 1800.0) -> LimitedWorld:
    """Quick calls and slow ones."""
    return LimitedWorld(
        name="two-kinds",
        letter="i",
        teaches="16 servers: four of five calls take 10 ms, and one takes 2 s. Nothing is refused.",
        seconds=seconds,
        make=lambda chance: Servers(chance, steady(16), lambda _, chance: quick_or_slow(chance)),
        best=lambda end: 16 / MEAN_OF_QUICK_AND_SLOW * end,
        promise=Promise(goodput=0.95, waste=0.002, in_flight=50),
    )


def quota(seconds: float = 2100.0, start: float = 300.0, end: float = 1500.0) -> LimitedWorld:
    """A quota is used up for twenty minutes."""
    return LimitedWorld(
        name="quota",
        letter="j",
        teaches="A quota is used up: 429 to everything for twenty minutes, and 10 calls a second before and after.",
        seconds=seconds,
        make=lambda chance: TokenBucket(chance, steady(10), 10, is_shut=lambda now: start <= now < end),
        best=lambda until: 10 * (min(until, start) + max(0.0, until - end)) + 20,
        promise=Promise(goodput=0.93, waste=0.02, calls_a_minute=1, back_after=150),
        trouble=Trouble(start, end, 10),
    )


def silence(seconds: float = 1500.0, start: float = 300.0, end: float = 900.0) -> LimitedWorld:
    """No answer at all for ten minutes."""
    return LimitedWorld(
        name="silence",
        letter="k",
        teaches="16 servers of 0.2 s are silent for ten minutes: no call is answered.",
        seconds=seconds,
        make=lambda chance: Servers(chance, steady(16), lambda _, chance: around(chance, 0.2), is_silent=lambda now: start <= now < end),
        best=lambda until: 80 * (min(until, start) + max(0.0, until - end)),
        promise=Promise(goodput=0.95, waste=0.004, calls_a_minute=5, back_after=30),
        trouble=Trouble(start, end, 80),
    )


_QUICK, _SLOW, _SHARE_OF_SLOW = 0.01, 2.0, 0.2
MEAN_OF_QUICK_AND_SLOW = (1 - _SHARE_OF_SLOW) * _QUICK + _SHARE_OF_SLOW * _SLOW


def quick_or_slow(chance: Random) -> float:
    """Return 10 ms, or 2 s once in five times."""
    return _SLOW if chance.random() < _SHARE_OF_SLOW else _QUICK


WORLDS: Mapping[str, LimitedWorld] = {
    world.name: world
    for world in (
        rate(), retry_after(), window(), headers(), slow_servers(), cap(), changing_cap(), changing_rate(), drift(), strangers(),
        two_kinds(), quota(), silence(),
    )
}  # fmt: skip
