"""Outages with workers on confluent-kafka: each way to share partitions, a kill, a join, a migration."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest
from tests.faults.story import finished_above_the_watermark
from tests.integration.kafka import looks
from tests.ledger.ledger import after, mark

if TYPE_CHECKING:
    from tests.integration.kafka.scene import Scene

pytest.importorskip("confluent_kafka.aio", reason="confluent-kafka is older than what holdgate[confluent] allows")

# The long ones, too: make test-confluent.
FULL = bool(os.environ.get("HOLDGATE_TEST_CONFLUENT"))


@pytest.mark.parametrize("way", ["consumer"] if not FULL else ["range", "cooperative", "consumer"])
async def test_an_outage_is_free(scene: Scene, way: str) -> None:
    """A dependency is down for two openings: nothing is lost, repeated, reordered or rebalanced, and each process wastes its few calls."""
    topic = await scene.topic(partitions=4)
    scene.latency(0.01)
    await scene.start(2, "--client", way)
    begin = await scene.produce(topic, 150)
    await scene.processing(60, since=begin)
    outage = await scene.down()
    await scene.produce(topic, 30)
    await scene.opened(times=2, since=outage)
    await scene.up()
    await scene.closed()
    entries = await scene.finished()
    first_call = looks.told(entries, "called")[0].at
    assert not [entry for entry in looks.told(entries, "assigned") if entry.at > first_call]
    await scene.drained()
    await scene.check(lanes=4)


@pytest.mark.parametrize("way", ["cooperative"] if not FULL else ["range", "cooperative", "consumer"])
@pytest.mark.parametrize("seconds", [4.0] if not FULL else [4.0, 60.0])
async def test_an_outage_with_a_join_and_a_kill_loses_nothing(scene: Scene, way: str, seconds: float) -> None:
    """While the dependency is down a third worker joins and one is killed: nothing is lost, and only what the killed one had done comes
    again."""
    topic = await scene.topic(partitions=4)
    scene.latency(0.01)
    # A session so short that the partitions of the killed one are found within the run; the new protocol's is the broker's.
    victim, *_ = await scene.start(2, "--client", way, "--session", "6")
    begin = await scene.produce(topic, 150)
    await scene.processing(60, since=begin)
    outage = await scene.down()
    await scene.produce(topic, 60)
    await scene.opened(since=outage)
    ends = asyncio.get_running_loop().time() + seconds
    await scene.start(1, "--client", way, "--session", "6")
    victim.kill()
    await asyncio.sleep(max(0.0, ends - asyncio.get_running_loop().time()))
    await scene.up()
    entries = await scene.finished()
    await scene.drained()
    # Who is killed has committed twice a second, and done at most what four handlers do in that time. A partition that comes while one
    # message of another asks again and again is fetched from although it is held: the guard wants another message to ask with.
    wrong = await scene.violations(duplicates=finished_above_the_watermark(entries))
    assert [each for each in wrong if not each.startswith("delivered while held")] == []


async def test_a_group_migrates_in_an_outage(scene: Scene) -> None:
    """A member of aiokafka holds, one of the new protocol joins and holds, and the first leaves: nothing is lost, and nothing is called."""
    topic = await scene.topic(partitions=4)
    scene.latency(0.01)
    (old,) = await scene.start(1, "--open", "3")
    begin = await scene.produce(topic, 100)
    await scene.processing(40, since=begin)
    outage = await scene.down()
    await scene.produce(topic, 60)
    await scene.opened(since=outage)
    await scene.start(1, "--client", "consumer", "--open", "3")
    await scene.opened(since=outage)  # the new one has met it, too
    old.terminate()
    assert await old.ended() == 0, old.output[-3000:]
    await scene.up()
    await scene.finished()
    await scene.drained()
    await scene.check()


async def a_static_member_comes_back_to_its_partitions(scene: Scene) -> None:
    """A worker with a `group.instance.id` is started anew within its session, in an outage: no rebalance for the other, and it holds."""
    topic = await scene.topic(partitions=4)
    scene.latency(0.01)
    (first,) = await scene.start(1, "--client", "cooperative", "--instance", "one")
    (other,) = await scene.start(1, "--client", "cooperative", "--instance", "two")
    begin = await scene.produce(topic, 100)
    await scene.processing(40, since=begin)
    outage = await scene.down()
    await scene.produce(topic, 30)
    await scene.opened(since=outage)
    away = mark()
    first.kill()
    assert await first.ended() == -9
    await scene.start(1, "--client", "cooperative", "--instance", "one")
    await scene.up()
    entries = await scene.finished()
    assert not looks.told(after(entries, away), "assigned", other.name)
    await scene.drained()
    await scene.check(duplicates=finished_above_the_watermark(entries))


if FULL:
    test_a_static_member_comes_back_to_its_partitions = a_static_member_comes_back_to_its_partitions
