"""Messages that can never be processed, and no dead letters to put them into."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.kafka import looks

if TYPE_CHECKING:
    from tests.integration.kafka.scene import Scene

EACH = 20
ATTEMPTS = 5


async def test_poison_blocks_its_partition_alone(scene: Scene) -> None:
    """Behind a rejected message, or one that has failed by itself five times, its partition waits: nothing is skipped, and the others go
    on to their end."""
    topic = await scene.topic(partitions=4)
    await scene.produce(topic, EACH)
    rejected = await scene.poison(topic, 0, b"reject")
    broken = await scene.poison(topic, 1, b"broken")
    await scene.produce(topic, EACH)
    await scene.start(1)
    await scene.committed_up_to({(topic, 0): rejected, (topic, 1): broken, (topic, 2): 2 * EACH, (topic, 3): 2 * EACH})
    entries = await scene.until(lambda entries: len(looks.noted(entries, "blocked")) == 2)
    await scene.drained()
    entries = await scene.check(complete=False, assignments=4)
    blocked = {entry.place: (entry.facts["blocked"], entry.facts["attempts"]) for entry in looks.noted(entries, "blocked")}
    assert blocked == {(topic, 0): (rejected, 0), (topic, 1): (broken, ATTEMPTS)}
    # The first reason; the drain adds its own.
    assert [entry.facts["reasons"] for entry in looks.noted(entries, "reasons")][:2] == [["blocked"], ["blocked"]]
    assert scene.committed == {(topic, 0): EACH, (topic, 1): EACH, (topic, 2): 2 * EACH, (topic, 3): 2 * EACH}
    assert looks.told(entries, "opened") == []
    assert max(entry.offset for entry in looks.told(entries, "called") if entry.place == (topic, 0)) == rejected
