from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random

import pytest

from holdgate import Dependency, Limits, http
from holdgate_lab.worlds.answers import CountingClient, StatusError
from holdgate_lab.worlds.catalogue import rate, strangers, two_kinds
from holdgate_lab.worlds.more import bursts, one_partition
from holdgate_lab.worlds.playing import Scene, guarded, play
from holdgate_lab.worlds.world import Bursts


def paced() -> Dependency:
    """A dependency whose rate is known: nothing has to be found out."""
    return Dependency("api", failures=http.failures, limits=Limits(rate=5, adaptive=False))


def test_the_same_seed_gives_the_same_figures() -> None:
    """To the last digit; another seed is another run of chance."""
    world = two_kinds(10.0)
    first = play(world, 1)
    assert play(world, 1) == first
    assert play(world, 2) != first


def test_a_static_rate_is_kept_to() -> None:
    """Half of what the service lets through is half of the best, without a call in vain."""
    figures = play(rate(40.0), 1, guarded(paced))
    assert figures.wasted == 0
    assert 195 <= figures.good <= 205


def test_a_known_number_in_flight_is_kept_to() -> None:
    """However many handlers there are."""
    bulkhead = guarded(lambda: Dependency("api", failures=http.failures, limits=Limits(concurrency=3, adaptive=False)))
    assert play(replace(rate(10.0)), 1, bulkhead).in_flight == 3


def test_who_shares_a_queue_never_waits_for_messages() -> None:
    """Ten workers at a known rate each have their full share: the feeder keeps enough waiting for all."""
    slow = guarded(lambda: Dependency("api", failures=http.failures, limits=Limits(rate=1, adaptive=False)))
    figures = play(strangers(60.0), 1, slow)
    assert figures.fairness == pytest.approx(1.0, abs=0.001)
    assert figures.good >= 580


def test_messages_that_come_in_bursts_are_no_more_than_they_are() -> None:
    """Thirty each ten seconds, for a worker that could do fifty."""
    assert play(replace(bursts(40.0), bursts=Bursts(30, 10.0)), 1, guarded(paced)).good == 120


def test_one_partition_is_one_after_the_other() -> None:
    """Never two in flight."""
    assert play(one_partition(20.0), 1, guarded(paced)).in_flight <= 1


def test_a_consumer_of_another_kind_is_measured_by_the_same_figures() -> None:
    """Who hammers has the whole rate, and wastes nearly half of all calls."""

    async def hammer(scene: Scene, client: CountingClient, chance: Random) -> None:
        while True:
            try:
                await client.post()
            except StatusError:
                await asyncio.sleep(0)

    figures = play(rate(30.0), 1, hammer)
    assert figures.goodput > 0.95
    assert figures.waste > 0.4


def test_what_a_consumer_fails_with_is_raised() -> None:
    """At once: the world does not go on without it."""

    async def broken(scene: Scene, client: CountingClient, chance: Random) -> None:
        raise LookupError("broken")

    with pytest.raises(LookupError, match="broken"):
        play(rate(3600.0), 1, broken)
