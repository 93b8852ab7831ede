"""A process that stands still for longer than its session: others have its partitions when it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.kafka import looks
from tests.ledger.messages import uncommitted

if TYPE_CHECKING:
    from tests.integration.kafka.scene import Scene
    from tests.ledger.fleet import Worker

PARTITIONS = 4


async def test_a_blocked_event_loop(scene: Scene) -> None:
    """Five seconds without a heartbeat: evicted. Nothing is lost, no stale commit is accepted, nothing stale is started."""
    worker = await _begin(scene)
    worker.block()
    await scene.until(lambda entries: bool(looks.noted(entries, "blocking")))
    await _taken_over(scene, worker)
    await scene.until(lambda entries: len(looks.noted(entries, "blocking")) == 2)
    await _finish(scene, worker)


async def test_a_zombie(scene: Scene) -> None:
    """Stopped by SIGSTOP until others have its partitions, and longer: when it goes on it commits nothing and starts nothing stale."""
    worker = await _begin(scene)
    worker.freeze()
    entries = await _taken_over(scene, worker)
    # The new owner goes on for a while: what the zombie has in hand is long done.
    await scene.until(lambda later: len(looks.done(later)) >= len(looks.done(entries)) + 100)
    worker.thaw()
    await _finish(scene, worker)


async def _begin(scene: Scene) -> Worker:
    topic = await scene.topic(partitions=PARTITIONS)
    scene.latency(0.02)
    worker, _ = await scene.start(2, "--session", "2")
    await scene.produce(topic, 250)
    await scene.processing(60)
    return worker


async def _taken_over(scene: Scene, worker: Worker):
    """Wait until somebody else has all partitions."""
    return await scene.until(lambda entries: len(looks.owners(entries)) == PARTITIONS and worker.name not in looks.owners(entries).values())


async def _finish(scene: Scene, worker: Worker) -> None:
    """It comes back into the group and does its share."""
    again = await scene.until(lambda entries: worker.name in looks.owners(entries).values())
    await scene.finished()
    await scene.drained()
    entries = await scene.check(duplicates=_made_twice(scene, worker))
    assert len(looks.told(entries, "revoked", worker.name)) > 0
    assert len(again) > 0


def _made_twice(scene: Scene, worker: Worker) -> int:
    """What it had finished and not committed when it stopped, and one in flight for each of its two partitions."""
    entries = scene.ledger.entries()
    others = [entry.at for entry in looks.told(entries, "assigned") if entry.who != worker.name]
    first = looks.told(entries, "processed")[0].at
    eviction = min(at for at in others if at > first)
    return uncommitted([entry for entry in entries if entry.at < eviction], worker.name) + 2
