"""Holds that are longer than the group's patience, and handlers that are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.kafka import looks
from tests.ledger.circuits import spans

if TYPE_CHECKING:
    from tests.integration.kafka.scene import Scene


# Seconds: a process may stand still for as long on a busy machine, but hardly, and the test lasts for more than two of them.
MAX_POLL = 4
SESSION = 5


async def test_a_hold_longer_than_the_poll_interval(scene: Scene) -> None:
    """Held without a break for more than twice `max_poll_interval_ms`, the member polls on and stays: not one rebalance."""
    topic = await scene.topic(partitions=4)
    await scene.start(1, "--max-poll", str(MAX_POLL), "--open", str(2 * MAX_POLL + 1))
    begin = await scene.produce(topic, 20)
    await scene.processing(5, since=begin)
    outage = await scene.down()
    await scene.produce(topic, 50)
    await scene.opened(since=outage)
    await scene.up()
    await scene.finished()
    await scene.drained()
    entries = await scene.check(assignments=4, lanes=4)
    held = spans(entries, ("held",), ("unheld",), lambda entry: entry.place)
    longest = min(max(end - begin for begin, end in times) for times in held.values())
    assert len(held) == 4
    assert longest > 2 * MAX_POLL, "the hold was too short to show anything"


async def test_handlers_slower_than_session_and_poll_interval(scene: Scene) -> None:
    """A handler may take longer than `session_timeout_ms` and `max_poll_interval_ms` together: it is neither evicted nor started twice."""
    topic = await scene.topic(partitions=2)
    await scene.start(1, "--max-poll", str(MAX_POLL), "--session", str(SESSION))
    scene.latency(MAX_POLL + SESSION + 1.0)
    await scene.produce(topic, 1)
    await scene.finished()
    await scene.drained()
    entries = await scene.check(assignments=2)
    assert len(looks.told(entries, "called")) == 2
