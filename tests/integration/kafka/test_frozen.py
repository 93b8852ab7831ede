"""A process that stands still for longer than its session: others have its partitions when it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.kafka import looks
from tests.ledger.ledger import mark
from tests.ledger.messages import uncommitted

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.kafka.scene import Scene
    from tests.ledger.fleet import Worker
    from tests.ledger.ledger import Mark

PARTITIONS = 4


async def test_a_blocked_event_loop(scene: Scene, tmp_path: Path) -> None:
    """No heartbeat until others have its partitions: evicted. Nothing is lost, no stale commit is accepted, nothing stale is started."""
    unblock = tmp_path / "unblock"
    worker, topic = await _begin(scene, "--unblock", str(unblock))
    blocked = mark()
    worker.block()
    await _taken_over(scene, worker, topic, since=blocked)
    unblock.touch()
    await scene.until(lambda entries: len(looks.noted(entries, "blocking")) == 2)
    await _finish(scene, worker)


async def test_a_zombie(scene: Scene) -> None:
    """Stopped by SIGSTOP until others have its partitions, and longer: when it goes on it commits nothing and starts nothing stale."""
    worker, topic = await _begin(scene)
    frozen = mark()
    worker.freeze()
    await _taken_over(scene, worker, topic, since=frozen)
    worker.thaw()
    await _finish(scene, worker)


async def _begin(scene: Scene, *arguments: str) -> tuple[Worker, str]:
    topic = await scene.topic(partitions=PARTITIONS)
    scene.latency(0.02)
    worker, _ = await scene.start(2, "--session", "5", *arguments)
    begin = await scene.produce(topic, 250)
    await scene.processing(60, since=begin)
    return worker, topic


async def _taken_over(scene: Scene, worker: Worker, topic: str, *, since: Mark) -> None:
    """Wait until somebody else has all partitions, and has gone on for a while: what this one has in hand is long done."""
    await scene.until(lambda entries: looks.taken_over(entries, worker.name, since))
    begin = await scene.produce(topic, 25)
    await scene.processing(100, since=begin)


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
