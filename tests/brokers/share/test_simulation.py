"""Several workers on one share group, by seeds: nothing is lost, nothing is archived without a letter, and counts are bounded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.brokers.share import simulation
from tests.brokers.share.simulation import LIMIT, SimulatedWorker, drawn, play, wrong

if TYPE_CHECKING:
    from holdgate import Delivery

SEEDS = 12


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_invariants_hold(seed: int) -> None:
    """Over outages of seconds and minutes, a kill, a join, slow and poison messages."""
    ended = play(seed)
    assert wrong(ended) == []
    assert len(ended.handled) >= len(ended.course.bodies) / 2


def test_the_seeds_have_everything() -> None:
    """Runs with one worker and with several, with a kill, a join, an overflow, a long outage, and two of them; and runs without."""
    courses = [drawn(seed) for seed in range(SEEDS)]
    assert {course.workers > 1 for course in courses} == {True, False}
    assert {course.kill is None for course in courses} == {True, False}
    assert {course.join is None for course in courses} == {True, False}
    assert {course.overflow for course in courses} == {True, False}
    assert {len(course.outages) for course in courses} == {1, 2}
    assert max(end - begin for course in courses for begin, end in course.outages) > LIMIT * simulation.LOCK
    kinds = {body.split(b"-")[0] for course in courses for body in course.bodies}
    assert kinds == {b"good", b"poison", b"slow"}


class Forgetful(SimulatedWorker):
    """Takes for handled what the dependency refused."""

    async def handle(self, delivery: Delivery[Any]) -> None:
        await asyncio.sleep(simulation.WORK)
        if not self.world.is_down:
            self.world.ended.handled[delivery.body or b""] += 1


class Giving(SimulatedWorker):
    """Rejects what the dependency refused: a good message becomes a dead letter."""

    async def handle(self, delivery: Delivery[Any]) -> None:
        await asyncio.sleep(simulation.WORK)
        if self.world.is_down:
            raise simulation.Reject("down")
        self.world.ended.handled[delivery.body or b""] += 1


def test_what_is_archived_unheard_or_delivered_too_often_is_found() -> None:
    """Each by its message."""
    course = drawn(0)
    body = course.bodies[0]
    ended = simulation.Ended(course, archived=[body], deliveries={body: 99})
    found = wrong(ended)
    assert f"{body.decode()} was archived, and is no letter and not handled" in found
    assert f"{body.decode()} was delivered 99 times, allowed {ended.most}" in found


@pytest.mark.parametrize(("worker", "words"), [(Forgetful, "is lost"), (Giving, "is a dead letter though only the dependency failed")])
def test_a_mistaken_worker_is_found(worker: type[SimulatedWorker], words: str) -> None:
    """The checker can fail."""
    assert any(words in sentence for sentence in wrong(play(1, worker)))
