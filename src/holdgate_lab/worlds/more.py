"""More worlds: shapes that meet, work that comes in bursts, workers that share. Nothing was tuned on them.

Each is a function, so that a test can have a shorter one. `MORE_WORLDS` has them as they are promised for, by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from random import Random

from holdgate_lab.worlds.answers import REFUSED, FarEnd
from holdgate_lab.worlds.catalogue import MEAN_OF_QUICK_AND_SLOW, quick_or_slow, rate, window
from holdgate_lab.worlds.far_ends import Changing, FixedWindow, Servers, TokenBucket, Unreachable, around, steady
from holdgate_lab.worlds.world import Bursts, LimitedWorld, Promise, Trouble


def backlog() -> LimitedWorld:
    """1,200 messages, and then nothing."""
    return replace(
        rate(126.0),
        name="backlog",
        letter="",
        teaches="1,200 messages wait for an API of 10 calls a second, whose 429 does not say when to come back: two minutes of work.",
        bursts=Bursts(1200, 3600.0),
        best=_all_of_them,
        promise=Promise(goodput=1.0, waste=0.01),
    )


def _all_of_them(_: float) -> float:
    return 1200


def rate_and_slow(seconds: float = 1200.0) -> LimitedWorld:
    """A rate whose answers take long."""
    return replace(
        rate(seconds),
        name="rate-and-slow",
        letter="",
        teaches="10 calls a second, and each takes 1 to 4 s: twenty-five must be in flight to use the rate.",
        make=_rate_and_slow,
        # Four doublings of the width with a round of slow calls each are forty seconds, in which 300 of 12,000 calls are missed; and the
        # rate is found while the width still moves.
        promise=Promise(goodput=0.94, waste=0.0125),
    )


def _rate_and_slow(chance: Random) -> FarEnd:
    return TokenBucket(chance, steady(10), 10, latency=lambda chance: chance.uniform(1, 4))


def uneven_cap(seconds: float = 1200.0) -> LimitedWorld:
    """A cap whose calls are quick or slow."""
    return LimitedWorld(
        name="uneven-cap",
        teaches="8 connections; four of five calls take 10 ms, and one takes 2 s. The ninth gets a 503.",
        seconds=seconds,
        make=lambda chance: Servers(chance, steady(8), lambda _, chance: quick_or_slow(chance), room=0),
        best=lambda end: 8 / MEAN_OF_QUICK_AND_SLOW * end,
        promise=Promise(goodput=0.93, waste=0.02),
    )


def two_workers(seconds: float = 1200.0) -> LimitedWorld:
    """Two that share."""
    return replace(
        rate(seconds),
        name="two-workers",
        letter="",
        teaches="Two workers that do not know of each other share an API of 10 calls a second.",
        workers=2,
        promise=Promise(goodput=0.97, waste=0.025, fairness=0.95),
    )


def quota_in_rate(seconds: float = 2400.0) -> LimitedWorld:
    """A quota that ends again and again."""
    return LimitedWorld(
        name="quota-in-rate",
        teaches="10 calls a second, and 3,000 in each ten minutes: the quota is used up after five of them.",
        seconds=seconds,
        make=lambda chance: FixedWindow(chance, 3000, 600.0, 0.0, behind=TokenBucket(chance, steady(10), 10)),
        best=lambda end: 3000 * (end // 600) + min(3000, 10 * (end % 600)),
        promise=Promise(goodput=0.95, waste=0.015),
    )


def tenfold(seconds: float = 1500.0, at: float = 600.0) -> LimitedWorld:
    """A rate that somebody has raised."""
    rates = Changing(((0, 10), (at, 100)))
    return LimitedWorld(
        name="tenfold",
        teaches="10 calls a second, and after ten minutes 100: somebody has bought a larger plan.",
        seconds=seconds,
        make=lambda chance: TokenBucket(chance, rates, 10),
        best=lambda end: rates.between(0, end) + 10,
        promise=Promise(goodput=0.9, waste=0.01),
    )


def bursts(seconds: float = 1200.0) -> LimitedWorld:
    """Work that comes in bursts."""
    return replace(
        rate(seconds),
        name="bursts",
        letter="",
        teaches="1,000 messages come every two minutes: a hundred seconds of work for 10 calls a second, and twenty without.",
        bursts=Bursts(1000, 120.0),
        best=_of_bursts,
        promise=Promise(goodput=0.98, waste=0.01),
    )


def _of_bursts(end: float) -> float:
    return 1000 * (end // 120) + min(1000, 10 * (end % 120))


def one_partition(seconds: float = 1200.0) -> LimitedWorld:
    """One message after the other."""
    return replace(
        rate(seconds),
        name="one-partition",
        letter="",
        teaches="One partition, whose messages wait for each other, before 10 calls a second.",
        in_order=True,
    )


def outage_in_limit(seconds: float = 1200.0, start: float = 300.0, end: float = 420.0) -> LimitedWorld:
    """A rate, and an outage in it."""
    return LimitedWorld(
        name="outage-in-limit",
        teaches="10 calls a second, and for two minutes nobody listens: every connection is refused.",
        seconds=seconds,
        make=lambda chance: Unreachable(chance, TokenBucket(chance, steady(10), 10), start, end, REFUSED),
        best=lambda until: 10 * (min(until, start) + max(0.0, until - end)) + 20,
        promise=Promise(goodput=0.96, waste=0.015, calls_a_minute=15, back_after=30),
        trouble=Trouble(start, end, 10),
    )


def random_faults(seconds: float = 900.0) -> LimitedWorld:
    """Refusals that mean nothing."""
    return LimitedWorld(
        name="random-faults",
        teaches="16 servers of 0.2 s, and one call in fifty gets a 503 by chance: fewer at a time would not help.",
        seconds=seconds,
        make=lambda chance: Servers(chance, steady(16), lambda _, chance: around(chance, 0.2), faults=0.02),
        best=lambda end: 80 * end,
        promise=Promise(goodput=0.95, waste=0.025),
    )


def whole_seconds(seconds: float = 1200.0) -> LimitedWorld:
    """Headers as most services send them."""
    return replace(
        window(seconds),
        name="whole-seconds",
        letter="",
        teaches="600 calls a minute, and every answer says in whole seconds when the window ends, rounded down.",
        make=_with_whole_seconds,
        promise=Promise(goodput=0.97, waste=0.01),
    )


def _with_whole_seconds(chance: Random) -> FarEnd:
    return FixedWindow(chance, 600, 60.0, chance.uniform(0, 60), tells=_in_whole_seconds)


def _in_whole_seconds(remaining: int, reset: float) -> Mapping[str, str]:
    return {"RateLimit": f'"default";r={remaining};t={int(reset)}'}


def fewer_servers(seconds: float = 1200.0, start: float = 400.0, end: float = 800.0) -> LimitedWorld:
    """A queue that becomes slower without a refusal."""
    servers = Changing(((0, 16), (start, 4), (end, 16)))
    return LimitedWorld(
        name="fewer-servers",
        teaches="16 servers of 0.5 s, for a while 4. They refuse nothing, and what waits for more than 5 s was in vain.",
        seconds=seconds,
        make=lambda chance: Servers(chance, servers, lambda _, chance: around(chance, 0.5)),
        best=lambda until: servers.between(0, until) / 0.5,
        promise=Promise(goodput=0.93, waste=0.02, back_after=60),
        trouble=Trouble(start, end, 32),
    )


def window_and_cap(seconds: float = 900.0) -> LimitedWorld:
    """Slow answers behind a window with a cap."""
    return LimitedWorld(
        name="window-and-cap",
        teaches="600 calls a minute, and 6 at a time that take 0.3 s: both say no, one with 429 and one with 503.",
        seconds=seconds,
        make=_window_and_cap,
        best=lambda end: 10 * end,
        promise=Promise(goodput=0.94, waste=0.02),
    )


def _window_and_cap(chance: Random) -> FixedWindow:
    behind = Servers(chance, steady(6), lambda _, chance: around(chance, 0.3), room=0)
    return FixedWindow(chance, 600, 60.0, chance.uniform(0, 60), behind=behind)


MORE_WORLDS: Mapping[str, LimitedWorld] = {
    world.name: world
    for world in (
        backlog(), rate_and_slow(), uneven_cap(), two_workers(), quota_in_rate(), tenfold(), bursts(), one_partition(),
        outage_in_limit(), random_faults(), whole_seconds(), fewer_servers(), window_and_cap(),
    )
}  # fmt: skip
