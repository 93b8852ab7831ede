"""What the fault runs of fleets share: workers that share a log, and questions about who conducts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.integration.kafka import looks
from tests.ledger.ledger import after, mark

from holdgate.cli.fleet.places import log_at

if TYPE_CHECKING:
    from tests.integration.kafka.scene import Scene
    from tests.ledger.fleet import Worker
    from tests.ledger.ledger import Entry, Mark

PARTITIONS = 6
# For so many seconds there are more messages while a circuit is on its way back: a minute, and what a busy machine needs.
TRICKLES = 90


async def begin(scene: Scene, count: int, url: str | None, *, through: str | None = None) -> list[Worker]:
    """Start so many workers that share the log at this URL, None for no log, and return them at work and known to each other.

    With `through` the second half of them finds the log there.
    """
    topic = await scene.topic(partitions=PARTITIONS)
    scene.latency(0.02)
    if url is not None:
        await log_at(url, ()).create()
    begin = mark()
    halves = [(count, url)] if through is None else [(count // 2, url), (count - count // 2, through)]
    workers: list[Worker] = []
    for size, address in halves:
        workers += await scene.start(size, "--session", "6", *(() if address is None else ("--agree", address)))
    if url is not None:
        await scene.until(lambda entries: all(knows(entries, worker, count, begin) for worker in workers))
    started = await scene.produce(topic, 40)
    await scene.processing(30, since=started)
    return workers


def knows(entries: list[Entry], worker: Worker, count: int, since: Mark) -> bool:
    """Whether a worker has heard of so many."""
    return any(note.facts["members"] == count for note in looks.noted(after(entries, since), "members", worker.name))


async def outage(scene: Scene) -> Mark:
    """Begin an outage that every worker meets, and return the mark from before it."""
    since = await scene.down()
    scene.dependencies["payments"].reset_counts()
    for topic in {topic for topic, _ in scene.places}:
        await scene.produce(topic, 60)
    await scene.opened(since=since)
    return since


async def conducted(scene: Scene, since: Mark) -> str:
    """Wait until somebody conducts, and return the last who does."""
    entries = await scene.until(lambda entries: bool(looks.told(after(entries, since), "note", own=True)))
    return looks.told(after(entries, since), "note", own=True)[-1].who


async def finish(scene: Scene, **expected: Any) -> None:
    """Wait until all is processed and closed, end the workers, and check the ledger.

    A circuit that nobody asks does not close, and a stage of the ramp lasts four round trips of the log. With a slow broker all messages
    were processed before the ramp had come to its end. So there are more as long as a circuit is on its way.
    """
    names = [worker.name for worker in scene.running]
    for _ in range(TRICKLES):
        if all(looks.state(scene.ledger.entries(), name, "payments") == "closed" for name in names):
            break
        for topic in {topic for topic, _ in scene.places}:
            await scene.produce(topic, 5)
        await asyncio.sleep(1.0)
    await scene.closed()
    await scene.finished()
    await scene.drained()
    await scene.check(recovers_within=60.0, fleet=True, **expected)


def all_noted(entries: list[Entry], workers: list[Worker], since: Mark, **facts: Any) -> bool:
    """Whether each of these has noted this since the mark."""
    return all(looks.told(after(entries, since), "note", worker.name, **facts) for worker in workers)
