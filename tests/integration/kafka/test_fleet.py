"""Workers in a fleet, as processes: the one that conducts is killed, another stands still, and the log itself is frozen and wiped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis
from tests.integration.kafka import looks
from tests.ledger.ledger import after, mark
from tests.ledger.messages import uncommitted
from tests.servers.redis_server import RedisServer

from holdgate.cli.fleet.places import log_at

if TYPE_CHECKING:
    from tests.integration.kafka.scene import Scene
    from tests.ledger.fleet import Worker
    from tests.ledger.ledger import Entry, Mark

PARTITIONS = 6


async def test_an_outage_is_one_for_three_workers(scene: Scene, topic) -> None:
    """One conducts it, and all come back with one ramp: nothing is lost, repeated or reordered."""
    await _begin(scene, 3, f"kafka://{scene.kafka.bootstrap}/{await topic()}")
    await _conducted(scene, await _outage(scene))
    await scene.up()
    await _finish(scene)


@pytest.mark.slow
@pytest.mark.parametrize("agrees", [True, False], ids=["fleet", "alone"])
async def test_a_conductor_that_is_killed_is_followed_by_another(scene: Scene, topic, agrees: bool) -> None:
    """In the middle of an outage, with another worker that stands still meanwhile. Nothing is lost; without a fleet neither."""
    workers = await _begin(scene, 6, f"kafka://{scene.kafka.bootstrap}/{await topic()}" if agrees else None)
    outage = await _outage(scene)
    conductor = await _conducted(scene, outage) if agrees else workers[0].name
    killed = next(worker for worker in workers if worker.name == conductor)
    frozen = next(worker for worker in workers if worker.name != conductor)
    since = mark()
    killed.kill()
    frozen.freeze()
    assert await killed.ended() == -9
    if agrees:
        await scene.until(lambda entries: bool(looks.noted(after(entries, since), "conductor")))
    else:
        await scene.until(lambda entries: len(looks.told(after(entries, since), "opened")) > len(workers))
    frozen.thaw()
    await scene.up()
    repeated = sum(uncommitted(scene.ledger.entries(), worker.name) for worker in (killed, frozen))
    await _finish(scene, duplicates=repeated + 2 * PARTITIONS, order=None)
    print(f"failed calls {'with' if agrees else 'without'} a fleet: {scene.dependencies['payments'].failed}")


@pytest.mark.slow
@pytest.mark.parametrize("server", ["redis", "valkey"])
async def test_a_log_that_is_frozen_and_then_wiped(scene: Scene, server: str) -> None:
    """In the middle of an outage: each worker goes by its own rules, and together again when the log is back. Nothing is lost."""
    async with RedisServer(server) as log:
        url = f"{log.url}?key=holdgate-fleet"
        workers = await _begin(scene, 3, url)
        outage = await _outage(scene)
        await _conducted(scene, outage)
        frozen = mark()
        log.freeze()
        await scene.until(lambda entries: _all_noted(entries, workers, frozen, log="FleetLogFellSilent"))
        thawed = mark()
        log.thaw()
        await scene.until(lambda entries: _all_noted(entries, workers, thawed, log="FleetLogCameBack"))
        client = Redis.from_url(log.url)
        await client.flushall()
        await client.aclose()
        await log_at(url, ()).create()
        await scene.up()
        await _finish(scene)


def _all_noted(entries: list[Entry], workers: list[Worker], since: Mark, **facts: Any) -> bool:
    """Whether each of these has noted this since the mark."""
    return all(looks.told(after(entries, since), "note", worker.name, **facts) for worker in workers)


async def _begin(scene: Scene, count: int, url: str | None) -> list[Worker]:
    topic = await scene.topic(partitions=PARTITIONS)
    scene.latency(0.02)
    if url is not None:
        await log_at(url, ()).create()
    begin = mark()
    workers = await scene.start(count, "--session", "6", *(() if url is None else ("--agree", url)))
    if url is not None:
        await scene.until(lambda entries: all(_knows(entries, worker, count, begin) for worker in workers))
    started = await scene.produce(topic, 40)
    await scene.processing(30, since=started)
    return workers


def _knows(entries: list[Entry], worker: Worker, count: int, since: Mark) -> bool:
    """Whether a worker has heard of so many."""
    return any(note.facts["members"] == count for note in looks.noted(after(entries, since), "members", worker.name))


async def _outage(scene: Scene) -> Mark:
    outage = await scene.down()
    scene.dependencies["payments"].reset_counts()
    for topic in {topic for topic, _ in scene.places}:
        await scene.produce(topic, 60)
    await scene.opened(since=outage)
    return outage


async def _conducted(scene: Scene, since: Mark) -> str:
    """Wait until somebody conducts, and return the last who does."""
    entries = await scene.until(lambda entries: bool(looks.told(after(entries, since), "note", own=True)))
    return looks.told(after(entries, since), "note", own=True)[-1].who


async def _finish(scene: Scene, **expected: Any) -> None:
    await scene.closed()
    await scene.finished()
    await scene.drained()
    await scene.check(recovers_within=60.0, fleet=True, **expected)
