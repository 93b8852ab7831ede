"""Poison among good messages, where the guard has no dead letters of its own (with them: test_dead_letters.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.ledger.ledger import mark

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.integration.rabbitmq.scene import Scene

LANES = 16
PREFETCH = 20


@pytest.mark.versions
async def test_the_queues_own_exchange_gets_the_poison(scene: Scene, arguments: Mapping[str, Any]) -> None:
    """Without dead letters of the guard's, a message is rejected to the exchange of its queue: the poison, and no other."""
    dead = await scene.dead_letters()
    queue = await scene.queue({**arguments, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
    scene.latency(0.005)
    (worker,) = await scene.start(1, "--prefetch", str(PREFETCH))
    begin = mark()
    poison = await _mixed(scene, queue)
    await scene.processing(40, since=begin)
    outage = await scene.outage(queue)
    poison |= await _mixed(scene, queue)
    await scene.opened(worker, times=2, since=outage)
    await scene.up()
    await scene.finished()
    await scene.rabbitmq.becomes(dead, ready=len(poison))
    await scene.drained()
    letters = await _letters(scene, dead)
    for number in letters:
        # The broker wrote them: what it has is what it did.
        scene.writer.write("dead_letter", topic=queue, partition=0, offset=number)
    scene.check(lanes=LANES, poison=poison)
    assert letters == sorted(number for _, _, number in poison)


async def _mixed(scene: Scene, queue: str) -> set[tuple[str, int, int]]:
    """Write good messages, and poison between them."""
    poison = set()
    for _ in range(3):
        await scene.produce(queue, 20)
        poison |= await scene.poison(queue, 2)
    await scene.produce(queue, 20)
    return poison


async def _letters(scene: Scene, dead: str) -> list[int]:
    """The numbers of what is in the queue for dead letters."""
    return sorted(int(message.body) for message in await scene.rabbitmq.waiting(dead))
