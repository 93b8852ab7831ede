"""Two dependencies, one of them down: only what needs it is held."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.kafka import looks
from tests.ledger.ledger import after, mark
from tests.ledger.progress import slowed_by_others, slower_after

if TYPE_CHECKING:
    from tests.integration.kafka.scene import Scene

OUTAGES = 3
# Calls that set the pace, made in each span: two lanes at 10 ms make them in a second.
PACED = 200
# In each partition: at that pace more than three times what is asked for.
EACH = 4000


async def test_the_other_topic_runs_at_full_rate(scene: Scene) -> None:
    """One consumer, two topics: while payments is down the topic that needs mail is as fast as before, and the first one as fast again
    after it."""
    orders = await scene.topic("payments", partitions=2)
    letters = await scene.topic("mail", partitions=2)
    scene.latency(0.01, "payments")
    scene.latency(0.01, "mail")
    await scene.start(1, "--pace", scene.dependencies["mail"].address)
    await scene.produce(orders, EACH)
    begin = await scene.produce(letters, EACH)
    await scene.processing(20, since=begin)
    scene.note(measuring="begin")
    await _paced(scene)
    for _ in range(OUTAGES):
        outage = await scene.down()
        await scene.opened(since=outage)
        await _paced(scene)
        await scene.up()
        await scene.closed()
        await _paced(scene)
    scene.note(measuring="end")
    entries = scene.ledger.entries()
    for topic in (orders, letters):
        assert len({entry for entry in looks.done(entries) if entry[0] == topic}) < 2 * EACH, "it ran dry, so its rate says nothing"
    assert not [entry for entry in looks.told(entries, "held") if entry.facts["topic"] == letters]
    await scene.drained()
    entries = await scene.check(complete=False, lanes=2)
    assert list(slowed_by_others(entries, letters, "payments", 0.95)) == []
    assert list(slower_after(entries, orders, "payments", 0.95)) == []


async def _paced(scene: Scene) -> None:
    begin = mark()
    await scene.until(lambda entries: len(looks.told(after(entries, begin), "paced")) >= PACED)
