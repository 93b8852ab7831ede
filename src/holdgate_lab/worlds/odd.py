"""Odd worlds: limits of bytes, of days, of clocks that are wrong and units that are others, crowds, refusals that come late.

They were written after the law, to try it where nothing had been chosen for. What it was changed for since is said in
docs/explanation/limits-by-evidence.md. Each is a function, so that a test can have a shorter one. `ODD_WORLDS` has them by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from random import Random

from holdgate_lab.worlds.answers import FarEnd, HttpAnswer
from holdgate_lab.worlds.catalogue import rate, window
from holdgate_lab.worlds.far_ends import TOO_MANY, Capricious, Changing, FixedWindow, Servers, TokenBucket, around, steady
from holdgate_lab.worlds.odd_ends import BanningLonger, Crowded, RefusingLate, Renaming, Sliding, WeighingBucket, dated, waves
from holdgate_lab.worlds.world import LimitedWorld, Promise


def midnight(seconds: float = 2400.0, at: float = 1800.0) -> LimitedWorld:
    """A quota of the day is used up, and another day has another rate."""
    rates = Changing(((0, 10), (at, 20)))
    return LimitedWorld(
        name="midnight",
        teaches="10 calls a second, and 9,000 a day, used up after a quarter of an hour. At midnight the next begin, at 20 a second.",
        seconds=seconds,
        make=lambda chance: FixedWindow(chance, 9000, 86400.0, 86400.0 - at, behind=TokenBucket(chance, rates, 10)),
        best=lambda end: min(9000, 10 * min(end, at)) + min(9000, 20 * max(0.0, end - at)),
        promise=Promise(goodput=0.9, waste=0.01),
    )


_SMALL, _LARGE, _SHARE_OF_LARGE = 0.5, 5.5, 0.1


def by_bytes(seconds: float = 1200.0) -> LimitedWorld:
    """What is counted is what a call weighs."""
    return LimitedWorld(
        name="by-bytes",
        teaches="10 MB a second, and 20 together. Nine of ten calls have 0.5 MB, and one has 5.5; 429 beyond.",
        seconds=seconds,
        make=lambda chance: WeighingBucket(chance, 10.0, 20.0, _half_or_eleven_times),
        best=lambda end: 10 * end + 20,
        promise=Promise(goodput=0.6, waste=0.025),
    )


def _half_or_eleven_times(chance: Random) -> float:
    return _LARGE if chance.random() < _SHARE_OF_LARGE else _SMALL


def crowd(seconds: float = 1200.0) -> LimitedWorld:
    """Others come in bursts."""
    return LimitedWorld(
        name="crowd",
        teaches="20 calls a second, in bursts of 40. Every twenty seconds or so others take 60 together, and for seconds nothing is left.",
        seconds=seconds,
        make=lambda chance: Crowded(chance, TokenBucket(chance, steady(20), 40), 60, 20.0),
        best=lambda end: 17 * end + 40,
        promise=Promise(goodput=0.15, waste=0.04),
    )


def late_429(seconds: float = 1200.0) -> LimitedWorld:
    """A refusal costs half of the work."""
    return LimitedWorld(
        name="late-429",
        teaches="16 servers of 0.2 s behind 40 calls a second. A call too many is refused after half of its work, with a 429.",
        seconds=seconds,
        make=lambda chance: RefusingLate(chance, TokenBucket(chance, steady(40), 40), 16, 0.2),
        best=lambda end: 40 * end + 40,
        promise=Promise(goodput=0.95, waste=0.01),
    )


def skewed_date(seconds: float = 1200.0) -> LimitedWorld:
    """A date to wait for, by a wrong clock."""
    return replace(
        rate(seconds),
        name="skewed-date",
        letter="",
        teaches="10 calls a second; beyond, 503 with a Retry-After that is a date, two seconds on, of a clock that is an hour fast.",
        make=_skewed_date,
        promise=Promise(goodput=0.55, waste=0.09),
    )


def _skewed_date(chance: Random) -> FarEnd:
    headers = dated(2.0, 3600.0)
    return Renaming(TokenBucket(chance, steady(10), 10), lambda now: HttpAnswer(HTTPStatus.SERVICE_UNAVAILABLE, headers(now)))


def milliseconds(seconds: float = 1200.0) -> LimitedWorld:
    """Headers in another unit."""
    return replace(
        window(seconds),
        name="milliseconds",
        letter="",
        teaches="600 calls a minute, and every answer says in milliseconds when the window ends, without saying that it means them.",
        make=_with_milliseconds,
        promise=Promise(goodput=0.9, waste=0.015),
    )


def _with_milliseconds(chance: Random) -> FarEnd:
    return FixedWindow(chance, 600, 60.0, chance.uniform(0, 60), tells=_in_milliseconds)


def _in_milliseconds(remaining: int, reset: float) -> Mapping[str, str]:
    return {"X-RateLimit-Remaining": str(remaining), "X-RateLimit-Reset": f"{reset * 1000:.0f}"}


def hourly(seconds: float = 10800.0) -> LimitedWorld:
    """A limit that halves and doubles with the hour."""
    rates = waves(4, 8, 3600.0, seconds)
    return LimitedWorld(
        name="hourly",
        teaches="8 calls a second in the first hour, 4 in the second, 8 in the third; 429 beyond.",
        seconds=seconds,
        make=lambda chance: TokenBucket(chance, rates, 10),
        best=lambda end: rates.between(0, end) + 10,
        promise=Promise(goodput=0.96, waste=0.01),
    )


def sliding(seconds: float = 1200.0) -> LimitedWorld:
    """The last ten seconds count."""
    return LimitedWorld(
        name="sliding",
        teaches="100 calls in any ten seconds, and 429 beyond.",
        seconds=seconds,
        make=lambda chance: Sliding(chance, 100, 10.0),
        best=lambda end: 10 * end + 100,
        promise=Promise(goodput=0.65, waste=0.015),
    )


def counts_refused(seconds: float = 1200.0) -> LimitedWorld:
    """And calls in vain count as well."""
    return replace(
        sliding(seconds),
        name="counts-refused",
        teaches="The same, and a call that is refused counts as well: whoever hammers is never let in again.",
        make=_counts_refused,
        promise=Promise(goodput=0.7, waste=0.02),
    )


def _counts_refused(chance: Random) -> FarEnd:
    return Sliding(chance, 100, 10.0, counts_refused=True)


def cap_retry_after(seconds: float = 1200.0) -> LimitedWorld:
    """A cap that calls itself a rate, and says when to come back."""
    return LimitedWorld(
        name="cap-retry-after",
        teaches="8 at a time, 0.1 s each. The ninth gets a 429 with Retry-After: 1, although one is free within 0.1 s.",
        seconds=seconds,
        make=_cap_retry_after,
        best=lambda end: 80 * end,
        promise=Promise(goodput=0.95, waste=0.01),
    )


def _cap_retry_after(chance: Random) -> FarEnd:
    refusal = HttpAnswer(TOO_MANY, {"Retry-After": "1"})
    return Servers(chance, steady(8), lambda _, chance: around(chance, 0.1), room=0, refusal=refusal)


def often_by_chance(seconds: float = 1200.0) -> LimitedWorld:
    """One call in twelve."""
    return LimitedWorld(
        name="often-by-chance",
        teaches="16 servers of 0.2 s, and one call in twelve gets a 429 by chance: to call less often would not help.",
        seconds=seconds,
        make=_often_by_chance,
        best=lambda end: 80 * end,
        promise=Promise(goodput=0.35, waste=0.11),
    )


def _often_by_chance(chance: Random) -> FarEnd:
    return Capricious(chance, Servers(chance, steady(16), lambda _, chance: around(chance, 0.2)), 1 / 12, HttpAnswer(TOO_MANY))


def chance_in_rate(seconds: float = 1200.0) -> LimitedWorld:
    """Chance, and a limit behind it."""
    return LimitedWorld(
        name="chance-in-rate",
        teaches="10 calls a second, and one in fifty gets a 429 by chance beside those that come too early.",
        seconds=seconds,
        make=lambda chance: Capricious(chance, TokenBucket(chance, steady(10), 10), 0.02, HttpAnswer(TOO_MANY)),
        best=lambda end: 10 * end + 10,
        promise=Promise(goodput=0.6, waste=0.07),
    )


def longer_ban(seconds: float = 3600.0) -> LimitedWorld:
    """Bans that grow."""
    return LimitedWorld(
        name="longer-ban",
        teaches="10 calls a second. One call too many is banned for 10 s, the next for 20, 40 ..., until ten minutes have gone well.",
        seconds=seconds,
        make=lambda chance: BanningLonger(chance, TokenBucket(chance, steady(10), 10), 10.0, 600.0),
        best=lambda end: 10 * end,
        promise=Promise(goodput=0.6, waste=0.005),
    )


def without_burst(seconds: float = 1200.0) -> LimitedWorld:
    """Ten a second, one by one."""
    return replace(
        rate(seconds),
        name="without-burst",
        letter="",
        teaches="10 calls a second, each at least a tenth of a second after the one before; 429 otherwise.",
        make=_without_burst,
        promise=Promise(goodput=0.8, waste=0.01),
    )


def _without_burst(chance: Random) -> FarEnd:
    return TokenBucket(chance, steady(10), 1)


_FEW = 0.05


def _few_slow(chance: Random) -> float:
    return 2.0 if chance.random() < _FEW else 0.01


def few_slow(seconds: float = 600.0) -> LimitedWorld:
    """Many servers, and a slow call now and then."""
    return LimitedWorld(
        name="few-slow",
        teaches="48 servers: nineteen of twenty calls take 10 ms, and one takes 2 s. Nothing is refused.",
        seconds=seconds,
        make=lambda chance: Servers(chance, steady(48), lambda _, chance: _few_slow(chance)),
        best=lambda end: 48 / (_FEW * 2.0 + (1 - _FEW) * 0.01) * end,
        promise=Promise(goodput=0.9, waste=0.002),
    )


ODD_WORLDS: Mapping[str, LimitedWorld] = {
    world.name: world
    for world in (
        midnight(), by_bytes(), crowd(), late_429(), skewed_date(), milliseconds(), hourly(), sliding(), counts_refused(),
        cap_retry_after(), often_by_chance(), chance_in_rate(), longer_ban(), without_burst(), few_slow(),
    )
}  # fmt: skip
