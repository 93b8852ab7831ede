"""Poison among good messages: the dead letters are the poison, exactly, through outages and crashes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.integration.rabbitmq.scene import told

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.integration.rabbitmq.scene import Scene

LANES = 16
PREFETCH = 20


async def test_the_dead_letters_are_exactly_the_poison(scene: Scene, arguments: Mapping[str, Any]) -> None:
    """Through an outage that begins and ends in the middle of it; none is rejected for the outage, none of the poison twice."""
    queue = await scene.queue(arguments)
    dead = await scene.dead_letters()
    scene.latency(0.005)
    worker, _ = await scene.start(2, "--dead", dead, "--prefetch", str(PREFETCH))
    poison = await _mixed(scene, queue)
    await scene.processing(40)
    await scene.outage(queue)
    poison |= await _mixed(scene, queue)
    await scene.opened(worker, times=2)
    await scene.up()
    await scene.finished()
    await scene.rabbitmq.becomes(dead, ready=len(poison))
    await scene.drained()
    scene.check(lanes=LANES, poison=poison)
    assert await _letters(scene, dead) == sorted(number for _, _, number in poison)


async def test_the_queues_own_exchange_gets_the_poison(scene: Scene, arguments: Mapping[str, Any]) -> None:
    """Without dead letters of the guard's, a message is rejected to the exchange of its queue: the poison, and no other."""
    dead = await scene.dead_letters()
    queue = await scene.queue({**arguments, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
    scene.latency(0.005)
    (worker,) = await scene.start(1, "--prefetch", str(PREFETCH))
    poison = await _mixed(scene, queue)
    await scene.processing(40)
    await scene.outage(queue)
    poison |= await _mixed(scene, queue)
    await scene.opened(worker, times=2)
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


async def test_a_crash_costs_a_second_letter_at_worst(scene: Scene, arguments: Mapping[str, Any]) -> None:
    """Kill -9 in the middle of the poison: what was published and not yet acked is published again by another process."""
    queue = await scene.queue(arguments)
    dead = await scene.dead_letters()
    scene.latency(0.005)
    worker, _ = await scene.start(2, "--dead", dead, "--prefetch", str(PREFETCH))
    poison = set()
    for _ in range(10):
        poison |= await _mixed(scene, queue)
    await scene.until(lambda entries: len(told(entries, "dead_letter", worker.name)) >= 4)
    worker.kill()
    assert await worker.ended() == -9
    await scene.finished()
    await scene.until(lambda entries: {(*each.place, each.offset) for each in told(entries, "dead_letter")} >= poison)
    await scene.drained()
    scene.check(lanes=LANES, poison=poison, duplicates=PREFETCH)
    letters = await _letters(scene, dead)
    assert set(letters) == {number for _, _, number in poison}
    # As many as one process has in hand.
    assert len(letters) - len(poison) <= PREFETCH


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
