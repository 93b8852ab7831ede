"""Hard worlds: limits that say nothing true of themselves. Two at a time, bans, refusals by chance, small windows, caps that say 429.

Each is a function, so that a test can have a shorter one. `HARD_WORLDS` has them as they are promised for, by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from random import Random

from holdgate_lab.worlds.answers import FarEnd, HttpAnswer
from holdgate_lab.worlds.catalogue import MEAN_OF_QUICK_AND_SLOW, quick_or_slow, rate
from holdgate_lab.worlds.far_ends import TOO_MANY, Announcing, Banning, Capricious, FixedWindow, Servers, TokenBucket, steady
from holdgate_lab.worlds.world import LimitedWorld, Promise

_NO = HttpAnswer(TOO_MANY)


def two_limits(seconds: float = 1200.0) -> LimitedWorld:
    """A rate for the second and another for the minute."""
    return LimitedWorld(
        name="two-limits",
        teaches="An API lets 10 calls a second through, and 300 in each minute, and its 429 does not say which of the two it was.",
        seconds=seconds,
        make=lambda chance: FixedWindow(chance, 300, 60.0, chance.uniform(0, 60), behind=TokenBucket(chance, steady(10), 10)),
        best=lambda end: 5 * end,
        promise=Promise(goodput=0.93, waste=0.015),
    )


def ban(seconds: float = 1800.0) -> LimitedWorld:
    """One call too many is punished."""
    return LimitedWorld(
        name="ban",
        teaches="10 calls a second, and after one call too many 429 to everything for half a minute.",
        seconds=seconds,
        make=lambda chance: Banning(chance, TokenBucket(chance, steady(10), 10), 30.0),
        best=lambda end: 10 * end,
        promise=Promise(goodput=0.6, waste=0.005),
    )


def strict_ban(seconds: float = 1800.0) -> LimitedWorld:
    """And whoever goes on is punished longer."""
    return replace(
        ban(seconds),
        name="strict-ban",
        teaches="The same, and each call in that time begins it anew.",
        make=_strict_ban,
        promise=Promise(goodput=0.4, waste=0.01),
    )


def _strict_ban(chance: Random) -> FarEnd:
    return Banning(chance, TokenBucket(chance, steady(10), 10), 30.0, anew=True)


def chance_429(seconds: float = 1200.0) -> LimitedWorld:
    """Refusals that mean nothing, and say that they do."""
    return LimitedWorld(
        name="chance-429",
        teaches="16 servers of 0.2 s, and one call in fifty gets a 429 by chance: to call less often would not help.",
        seconds=seconds,
        make=_chance_429,
        best=lambda end: 80 * end,
        promise=Promise(goodput=0.35, waste=0.03),
    )


def _chance_429(chance: Random) -> FarEnd:
    return Capricious(chance, Servers(chance, steady(16), lambda _, chance: 0.2 * chance.uniform(0.9, 1.1)), 0.02, _NO)


def small_window(seconds: float = 1800.0) -> LimitedWorld:
    """A window of a few calls."""
    return LimitedWorld(
        name="small-window",
        teaches="60 calls a minute, of the service's own minutes, and 429 until the next begins.",
        seconds=seconds,
        make=lambda chance: FixedWindow(chance, 60, 60.0, chance.uniform(0, 60)),
        best=lambda end: end,
        promise=Promise(goodput=0.9, waste=0.05),
    )


def slow_rate(seconds: float = 3600.0) -> LimitedWorld:
    """A call now and then."""
    return LimitedWorld(
        name="slow-rate",
        teaches="One call in five seconds, and 429 without a word beyond.",
        seconds=seconds,
        make=lambda chance: TokenBucket(chance, steady(0.2), 1),
        best=lambda end: 0.2 * end + 1,
        promise=Promise(goodput=0.8, waste=0.035),
    )


def uneven_cap_429(seconds: float = 1200.0) -> LimitedWorld:
    """A cap whose calls are quick or slow, and which calls itself a rate."""
    return LimitedWorld(
        name="uneven-cap-429",
        teaches="8 at a time; four of five calls take 10 ms, and one takes 2 s. The ninth gets a 429.",
        seconds=seconds,
        make=lambda chance: Servers(chance, steady(8), lambda _, chance: quick_or_slow(chance), room=0, refusal=_NO),
        best=lambda end: 8 / MEAN_OF_QUICK_AND_SLOW * end,
        promise=Promise(goodput=0.95, waste=0.01),
    )


def other_window(seconds: float = 1200.0) -> LimitedWorld:
    """Headers of another limit than the one that refuses."""
    return replace(
        rate(seconds),
        name="other-window",
        letter="",
        teaches="10 calls a second, and every answer, a 429 too, says how much of a quota of 100,000 an hour is left: nearly all.",
        make=_other_window,
        promise=Promise(goodput=0.98, waste=0.01),
    )


def _other_window(chance: Random) -> FarEnd:
    return Announcing(TokenBucket(chance, steady(10), 10), 100_000, 3600.0)


HARD_WORLDS: Mapping[str, LimitedWorld] = {
    world.name: world
    for world in (two_limits(), ban(), strict_ban(), chance_429(), small_window(), slow_rate(), uneven_cap_429(), other_window())
}
