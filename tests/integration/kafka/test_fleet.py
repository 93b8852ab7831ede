"""Workers in a fleet, as processes on a real broker. `make test-fleet` has the crashes and the logs that fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.kafka.agreeing import begin, conducted, finish, outage

if TYPE_CHECKING:
    from tests.integration.kafka.scene import Scene


async def test_an_outage_is_one_for_three_workers(scene: Scene, topic) -> None:
    """One conducts it, and all come back with one ramp: nothing is lost, repeated or reordered."""
    await begin(scene, 3, f"kafka://{scene.kafka.bootstrap}/{await topic()}")
    await conducted(scene, await outage(scene))
    await scene.up()
    await finish(scene)
