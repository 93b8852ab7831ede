"""Faults of fleets: the one that conducts is killed, and another stands still (`make test-fleet`). For the log: test_fleet_logs.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.integration.kafka import looks
from tests.integration.kafka.agreeing import PARTITIONS, begin, conducted, finish, outage
from tests.ledger.ledger import after, mark
from tests.ledger.messages import uncommitted

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
