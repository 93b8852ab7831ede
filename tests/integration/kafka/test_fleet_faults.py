"""Faults of fleets: the one that conducts is killed, another stands still, and the log itself is frozen and wiped (`make test-fleet`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis
from tests.integration.kafka import looks
from tests.integration.kafka.agreeing import PARTITIONS, all_noted, begin, conducted, finish, outage
from tests.ledger.ledger import after, mark
from tests.ledger.messages import uncommitted
from tests.servers.redis_server import RedisServer

from holdgate.cli.fleet.places import log_at

if TYPE_CHECKING:
    from tests.integration.kafka.scene import Scene


@pytest.mark.slow
@pytest.mark.parametrize("agrees", [True, False], ids=["fleet", "alone"])
async def test_a_conductor_that_is_killed_is_followed_by_another(scene: Scene, topic, agrees: bool) -> None:
    """In the middle of an outage, with another worker that stands still meanwhile. Nothing is lost; without a fleet neither."""
    workers = await begin(scene, 6, f"kafka://{scene.kafka.bootstrap}/{await topic()}" if agrees else None)
    down = await outage(scene)
    conductor = await conducted(scene, down) if agrees else workers[0].name
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
    await finish(scene, duplicates=repeated + 2 * PARTITIONS, order=None)
    print(f"failed calls {'with' if agrees else 'without'} a fleet: {scene.dependencies['payments'].failed}")


@pytest.mark.slow
@pytest.mark.parametrize("server", ["redis", "valkey"])
async def test_a_log_that_is_frozen_and_then_wiped(scene: Scene, server: str) -> None:
    """In the middle of an outage: each worker goes by its own rules, and together again when the log is back. Nothing is lost."""
    async with RedisServer(server) as log:
        url = f"{log.url}?key=holdgate-fleet"
        workers = await begin(scene, 3, url)
        down = await outage(scene)
        await conducted(scene, down)
        frozen = mark()
        log.freeze()
        await scene.until(lambda entries: all_noted(entries, workers, frozen, log="FleetLogFellSilent"))
        thawed = mark()
        log.thaw()
        await scene.until(lambda entries: all_noted(entries, workers, thawed, log="FleetLogCameBack"))
        client = Redis.from_url(log.url)
        await client.flushall()
        await client.aclose()
        await log_at(url, ()).create()
        await scene.up()
        await finish(scene)
