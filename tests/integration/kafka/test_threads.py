"""Plain functions as handlers: they run in threads, which nobody can stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.kafka import looks
from tests.ledger.messages import uncommitted

if TYPE_CHECKING:
    from tests.integration.kafka.scene import Scene

# A thread starts when the machine lets it: what the engine admitted may begin a moment after a circuit has opened.
GRACE = 1.0


async def test_an_outage_and_a_drain(scene: Scene) -> None:
    """An outage costs what it costs async handlers; at SIGTERM the threads that run are waited for, and committed."""
    topic = await scene.topic(partitions=4)
    scene.latency(0.02)
    worker, _ = await scene.start(2, "--plain")
    begin = await scene.produce(topic, 150)
    await scene.processing(60, since=begin)
    outage = await scene.down()
    await scene.produce(topic, 50)
    await scene.opened(times=2, since=outage)
    healthy = await scene.up()
    await scene.closed()
    await scene.processing(20, since=healthy)
    # Some more: a quick machine may be done with those.
    scene.latency(1.0)
    await scene.produce(topic, 5)
    busy = await scene.until(lambda entries: len(_running(entries, worker.name)) == 2)
    worker.terminate()
    assert await worker.ended() == 0, worker.output
    scene.latency(0.005)
    entries = scene.ledger.entries()
    assert _running(busy, worker.name) <= looks.done(entries), "what ran at SIGTERM was finished"
    assert uncommitted(entries, worker.name) == 0
    await scene.finished()
    await scene.drained()
    await scene.check(lanes=2, grace=GRACE)


def _running(entries, who: str) -> set[tuple[str, int, int]]:
    """What has been called there and has not ended."""
    running: set[tuple[str, int, int]] = set()
    for entry in entries:
        if entry.who == who and entry.kind == "called":
            running.add((*entry.place, entry.offset))
        elif entry.who == who and entry.kind in ("processed", "failed"):
            running.discard((*entry.place, entry.offset))
    return running
