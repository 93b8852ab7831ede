"""The limiter, number by number, in small worlds: what it has got done, what was refused, and what it knows at the end.

A change of a number here is a change of the law: then its worlds are played anew (benchmarks/limits). Why each of them is as it is stands
in test_limiter.py, which has ranges.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdgate.core.limiter import Limiter
from holdgate.core.limits import Limits
from holdgate.core.outcomes import Outcome, Told

from .limited_world import Service, play

FAILURE = Outcome.FAILURE


def _uneven(call: int) -> float:
    return 0.4 if call % 5 == 0 else 0.025


# Limits, service, seconds; then good calls, refused ones, the most in flight, experiments, width, pace, and what holds calls back.
_WORLDS: dict[str, tuple[Limits | None, Service, float, tuple[object, ...]]] = {
    "rate": (Limits(), Service(rate=10, burst=10), 60.0, (607, 6, 4, 3, 4, 10.05986, "pace")),
    "rate none": (None, Service(rate=10, burst=10), 60.0, (609, 194, 200, 4, 1, None, "free")),
    "slow rate": (Limits(), Service(rate=0.5, burst=1), 200.0, (79, 14, 2, 1, 3, 0.4854198, "pace")),
    "cap": (Limits(), Service(cap=8), 30.0, (2320, 15, 13, 11, 8, None, "free")),
    "cap fails": (Limits(), Service(cap=8, refusal=FAILURE), 30.0, (2318, 15, 13, 11, 8, None, "free")),
    "cap uneven": (Limits(), Service(cap=8, seconds=_uneven), 30.0, (2368, 12, 10, 11, 8, None, "free")),
    "cap none": (None, Service(cap=8), 30.0, (2367, 202, 200, 11, 8, None, "free")),
    "queue": (Limits(), Service(servers=6), 30.0, (1611, 0, 9, 4, 8, None, "free")),
    "queue most": (Limits(concurrency=4), Service(servers=6), 20.0, (795, 0, 4, 0, 4, None, "free")),
    "both": (Limits(), Service(cap=6, rate=20, burst=5), 40.0, (570, 3, 4, 2, 4, 14.18633, "pace")),
    "window": (Limits(), Service(window=100), 130.0, (216, 9, 8, 1, 8, 2.029588, "pace")),
    "ban": (Limits(), Service(rate=10, burst=10, ban=20.0), 100.0, (51, 7, 4, 1, 4, 0.7971282, "pace")),
    "chance F": (Limits(), Service(by_chance=20, refusal=FAILURE, servers=10), 40.0, (3919, 206, 16, 6, 11, None, "free")),
    "chance rate": (Limits(), Service(by_chance=50, rate=20, burst=20), 60.0, (1010, 52, 6, 4, 8, 23.32143, "pace")),
    "silent": (Limits(), Service(servers=6, is_silent=lambda now: 5.0 <= now < 40.0), 60.0, (764, 10, 8, 3, 7, None, "free")),
    "retry": (Limits(), Service(rate=5, burst=5, told=lambda _now: Told(1.0)), 30.0, (138, 4, 4, 3, 3, 4.808209, "pace")),
    "nothing": (Limits(), Service(rate=0, burst=0), 600.0, (0, 13, 1, 0, 1, None, "throttled")),
    "slowcalls": (Limits(), Service(cap=5, seconds=lambda _call: 2.0), 60.0, (124, 3, 7, 2, 4, None, "free")),
    "chance": (Limits(), Service(by_chance=50), 15.0, (398, 8, 8, 2, 8, 65.23012, "pace")),
    "chance most": (Limits(concurrency=2), Service(by_chance=20), 60.0, (1014, 53, 2, 2, 2, 3090390000.0, "free")),
    "chance quick": (Limits(concurrency=3), Service(by_chance=20, seconds=lambda _call: 0.01), 8.0, (143, 7, 3, 2, 3, 25.29439, "pace")),
    "chance narrow": (Limits(), Service(by_chance=30, servers=3, seconds=lambda _call: 0.05), 30.0, (1261, 43, 5, 9, 4, 8312262.0, "free")),
    "no burst": (Limits(), Service(rate=10, burst=1, seconds=lambda _call: 1.0), 300.0, (416, 6, 3, 8, 2, 1.679198, "pace")),
    "rate given": (Limits(rate=20), Service(cap=3), 20.0, (396, 2, 4, 4, 4, 20.0, "rate")),
}


@pytest.mark.parametrize("world", _WORLDS)
def test_what_becomes_of_a_world(world: str) -> None:
    """The same each time: chance is the middle of its range."""
    limits, service, seconds, (good, refused, widest, experiments, width, pace, why) = _WORLDS[world]
    limiter = Limiter(limits, lambda: 0.5)
    played = play(limiter, replace(service, busy=[], live=[]), seconds)
    seen = limiter.snapshot(seconds)
    assert (len(played.good), played.refused, played.widest) == (good, refused, widest)
    assert (seen.experiments, seen.width, seen.why) == (experiments, width, why)
    assert seen.pace == (None if pace is None else pytest.approx(pace, rel=1e-5))
