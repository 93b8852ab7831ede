"""Holds that are longer than the group's patience, and handlers that are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.kafka import looks
from tests.ledger.circuits import spans

if TYPE_CHECKING:
    from tests.integration.kafka.scene import Scene


async def test_a_hold_longer_than_the_poll_interval(scene: Scene) -> None:
    """Held without a break for more than twice `max_poll_interval_ms`, the member polls on and stays: not one rebalance."""
    topic = await scene.topic(partitions=4)
    await scene.start(1, "--max-poll", "3", "--open", "7")
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
    assert longest > 2 * 3, "the hold was too short to show anything"


async def test_handlers_slower_than_session_and_poll_interval(scene: Scene) -> None:
    """A handler may take longer than `session_timeout_ms` and `max_poll_interval_ms` together: it is neither evicted nor started twice."""
    topic = await scene.topic(partitions=2)
    await scene.start(1, "--max-poll", "2", "--session", "3")
    scene.latency(6.0)
    await scene.produce(topic, 1)
    await scene.finished()
    await scene.drained()
    entries = await scene.check(assignments=2)
    assert len(looks.told(entries, "called")) == 2
