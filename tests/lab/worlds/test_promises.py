"""holdgate in short worlds with a limit: real guards on the broker in memory. The whole worlds are in benchmarks/limits.py.

A short world gives less time to learn in, and what was learned pays back for less long. So these promise a little less.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdgate_lab.worlds import catalogue, hard, more
from holdgate_lab.worlds.figures import missed
from holdgate_lab.worlds.playing import play
from holdgate_lab.worlds.world import LimitedWorld, Promise

SHORT = [
    (catalogue.rate(150.0), Promise(goodput=0.97, waste=0.015)),
    (catalogue.retry_after(150.0), Promise(goodput=0.96, waste=0.015)),
    (catalogue.headers(130.0), Promise(goodput=0.98, waste=0.0)),
    (catalogue.slow_servers(60.0), Promise(goodput=0.9, waste=0.0, in_flight=40)),
    (catalogue.cap(40.0), Promise(goodput=0.7, waste=0.02)),
    (catalogue.quota(700.0, 150.0, 450.0), Promise(goodput=0.7, waste=0.05, calls_a_minute=3)),
    (more.one_partition(150.0), Promise(goodput=0.97, waste=0.015)),
    (more.outage_in_limit(300.0, 60.0, 120.0), Promise(goodput=0.85, waste=0.03, back_after=40)),
    (more.bursts(240.0), Promise(goodput=0.95, waste=0.02)),
    (more.whole_seconds(130.0), Promise(goodput=0.95, waste=0.02)),
    (more.window_and_cap(150.0), Promise(goodput=0.93, waste=0.03)),
    (hard.other_window(120.0), Promise(goodput=0.97, waste=0.02)),
    (hard.two_limits(300.0), Promise(goodput=0.85, waste=0.03)),
    (hard.uneven_cap_429(60.0), Promise(goodput=0.85, waste=0.02)),
]


@pytest.mark.parametrize(("world", "promise"), SHORT, ids=[world.name for world, _ in SHORT])
def test_a_short_world_is_as_promised(world: LimitedWorld, promise: Promise) -> None:
    """With seed 1."""
    assert missed(play(world, 1), promise) == []


def test_twelve_hundred_messages_take_two_minutes_behind_ten_a_second() -> None:
    """All of them in 126 s, and at most 12 calls in vain: 3,000 s were not enough for a circuit alone."""
    world = more.backlog()
    assert missed(play(world, 1), world.promise) == []


def test_refusals_by_chance_are_no_limit() -> None:
    """One call in fifty gets a 503 whatever is in flight."""
    world = more.random_faults(60.0)
    assert missed(play(world, 1), replace(world.promise, goodput=0.75)) == []
