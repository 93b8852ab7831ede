"""Poison, outages, crashes and a target that goes away: the dead letters are the poison, exactly, and everything else is processed."""

from __future__ import annotations

import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.integration.kafka import looks
from tests.ledger.messages import uncommitted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from tests.integration.kafka.scene import Scene
    from tests.ledger.fleet import Worker

EACH = 60
PARTITIONS = 4

Message = tuple[str, int, int]


@asynccontextmanager
async def graveyard(scene: Scene) -> AsyncIterator[str]:
    """A topic for dead letters."""
    name = await scene.kafka.create_topic(f"dead-{uuid.uuid4().hex[:8]}", 2)
    yield name
    await scene.kafka.delete_topic(name)


async def found(scene: Scene, dead: str) -> list[Message]:
    """What the dead letters say they are."""
    told = [dict(record.headers) for record in await scene.kafka.read(dead)]
    return sorted(
        (one["holdgate-source"].decode(), int(one["holdgate-partition"]), int(one["holdgate-offset"]))
        for one in told
        if "holdgate-source" in one
    )


async def poison(scene: Scene, topic: str, *, broken: bool = True) -> set[Message]:
    """Two in every partition: they say so, but for one that fails by itself.

    One alone, and with good messages before it: several that fail by themselves, in front of everything else, are an outage that nobody
    described (flow/unclaimed.py), in which nothing is rejected.
    """
    bodies = {
        (number, turn): b"broken" if broken and (number, turn) == (0, 1) else b"reject" for number in range(PARTITIONS) for turn in (0, 1)
    }
    return {(topic, number, await scene.poison(topic, number, body)) for (number, _), body in bodies.items()}


def ends(topic: str, each: int) -> dict[looks.Place, int]:
    return {(topic, number): each for number in range(PARTITIONS)}


async def check(scene: Scene, dead: str, expected: Collection[Message], *, second_letters: int = 0, duplicates: int = 0) -> None:
    """The ledger's invariants, and what is in the topic: each poison message once, and so many again at most."""
    await scene.check(poison=expected, duplicates=duplicates)
    letters = await found(scene, dead)
    assert set(letters) == set(expected)
    assert len(letters) - len(expected) <= second_letters


async def test_the_dead_letters_are_exactly_the_poison(scene: Scene) -> None:
    """Through an outage that begins and ends in the middle of it; none is rejected for the outage, none of the poison twice."""
    topic = await scene.topic(partitions=PARTITIONS)
    async with graveyard(scene) as dead:
        await scene.start(2, "--dead", dead)
        await scene.produce(topic, EACH)
        expected = await poison(scene, topic)
        outage = await scene.down()
        await scene.produce(topic, EACH)
        expected |= await poison(scene, topic)
        await scene.opened(times=2, since=outage)
        await scene.up()
        await scene.committed_up_to(ends(topic, 2 * EACH + 4))
        await scene.drained()
        await check(scene, dead, expected)
        entries = scene.ledger.entries()
    # Not "blocked" notes: in a longer outage a head that nobody can compare is named, and goes on.
    assert [entry for entry in looks.noted(entries, "reasons") if "blocked" in entry.facts["reasons"]] == []
    assert len(expected) == 4 * PARTITIONS


async def test_a_crash_costs_a_second_letter_at_worst(scene: Scene) -> None:
    """Kill -9 in the middle of the poison: what was published and not committed is published again by whoever has the partition next."""
    topic = await scene.topic(partitions=PARTITIONS)
    async with graveyard(scene) as dead:
        worker, _ = await scene.start(2, "--dead", dead, "--commit-every", "2", "--session", "6")
        await scene.produce(topic, EACH)
        expected: set[Message] = set()
        for number in range(5):
            expected |= await poison(scene, topic, broken=number == 0)
        await scene.until(lambda entries: len(looks.told(entries, "dead_letter", worker.name)) >= 4)
        worker.kill()
        assert await worker.ended() == -9
        await scene.committed_up_to(ends(topic, EACH + 10))
        await scene.drained()
        entries = scene.ledger.entries()
        by_the_dead = len(looks.told(entries, "dead_letter", worker.name))
        again = len(looks.told(entries, "processed")) - len(looks.done(entries))
        # One more than it wrote down: it may have died between the confirmation and the line.
        await check(scene, dead, expected, second_letters=by_the_dead + PARTITIONS, duplicates=again)


async def test_a_target_that_goes_away_holds_the_poisoned_partition_and_no_other(scene: Scene) -> None:
    """Reason `dead letters` until the topic is there again; then the letter is in it, once, and the partition goes on."""
    topic = await scene.topic(partitions=PARTITIONS)
    async with graveyard(scene) as dead:
        await scene.start(1, "--dead", dead, "--letters-within", "3")
        await scene.kafka.delete_topic(dead)
        offset = await scene.poison(topic, 0, b"reject")
        await scene.produce(topic, EACH)
        await scene.until(lambda entries: any(entry.facts["reasons"] == ["dead letters"] for entry in looks.noted(entries, "reasons")))
        await scene.committed_up_to({(topic, number): EACH for number in range(1, PARTITIONS)})
        assert scene.committed.get((topic, 0), 0) == offset
        await scene.kafka.create_topic(dead, 2)
        await scene.committed_up_to({(topic, 0): EACH + 1})
        await scene.drained()
        await check(scene, dead, {(topic, 0, offset)}, second_letters=1)


async def test_a_drain_takes_letters_under_way_along(scene: Scene) -> None:
    """After SIGTERM every letter that was written is committed for, so none comes twice."""
    topic = await scene.topic(partitions=PARTITIONS)
    async with graveyard(scene) as dead:
        worker, _ = await scene.start(2, "--dead", dead, "--commit-every", "60", "--slow-letters", "0.3")
        expected: set[Message] = set()
        for number in range(5):
            expected |= await poison(scene, topic, broken=number == 0)
        await scene.until(lambda entries: len(looks.told(entries, "dead_letter", worker.name)) >= 2)
        worker.terminate()
        assert await worker.ended() == 0, worker.output
        # Somebody must have processed something, for the run to prove anything.
        begin = await scene.produce(topic, 1)
        await scene.processing(PARTITIONS, since=begin)
        await scene.drained()
        await check(scene, dead, expected)
        assert await scene.kafka.committed(scene.group, topic) == dict.fromkeys(range(PARTITIONS), 11)


async def test_poison_outages_and_every_kind_of_end(scene: Scene) -> None:
    """Kill -9 in an outage, SIGTERM in the next one: the letters are the poison, a second one of each that the dead one had at worst."""
    topic = await scene.topic(partitions=PARTITIONS)
    settings = ("--commit-every", "1", "--session", "6")
    async with graveyard(scene) as dead:
        killed, terminated = await scene.start(2, "--dead", dead, *settings)
        begin = await scene.produce(topic, EACH)
        expected = await poison(scene, topic)
        await scene.processing(EACH, since=begin)
        expected |= await outage_and_end(scene, topic, killed, "kill")
        await scene.start(1, "--dead", dead, *settings)
        expected |= await outage_and_end(scene, topic, terminated, "terminate")
        assert terminated.exit_code == 0, terminated.output
        await scene.start(1, "--dead", dead, *settings)
        await scene.committed_up_to(ends(topic, 3 * EACH + 6))
        await scene.drained()
        entries = scene.ledger.entries()
        by_the_dead = len(looks.told(entries, "dead_letter", killed.name))
        # One more than it wrote down of each: it may have died between the confirmation and the line.
        await check(scene, dead, expected, second_letters=by_the_dead + PARTITIONS, duplicates=uncommitted(entries, killed.name))
    assert len(expected) == 3 * 2 * PARTITIONS


async def outage_and_end(scene: Scene, topic: str, worker: Worker, how: str) -> set[Message]:
    """An outage with poison in it, in which this worker ends; over at the return."""
    outage = await scene.down()
    await scene.produce(topic, EACH)
    found = await poison(scene, topic)
    await scene.opened(since=outage)
    getattr(worker, how)()
    await worker.ended()
    await scene.up()
    return found
