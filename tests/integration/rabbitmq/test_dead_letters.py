"""Dead letters of worker processes: both kinds of poison, a target that goes away, and workers that end while letters are under way."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.integration.rabbitmq.scene import told
from tests.ledger.ledger import mark
from tests.servers.rabbitmq_address import QUORUM

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.integration.rabbitmq.scene import Message, Scene
    from tests.ledger.fleet import Worker
    from tests.ledger.ledger import Entry

PREFETCH = 20
LANES = 16
LATENCY = 0.005


async def mixed(scene: Scene, queue: str, times: int = 3) -> set[Message]:
    """Write good messages, and between them some that say that they are poison, and some that just fail."""
    poison: set[Message] = set()
    for _ in range(times):
        await scene.produce(queue, 20)
        poison |= await scene.poison(queue, 1, "reject")
        poison |= await scene.poison(queue, 1, "broken")
    await scene.produce(queue, 20)
    return poison


def confirmed(entries: list[Entry], who: str | None = None) -> int:
    """How many letters were written down as confirmed."""
    return len(told(entries, "dead_letter", who))


def held_for(entries: list[Entry], reason: str) -> set[str]:
    """The queues that were ever held for this reason, and no other."""
    return {entry.facts["queue"] for entry in told(entries, "note") if entry.facts.get("reasons") == [reason]}


async def all_buried(scene: Scene, poison: set[Message]) -> None:
    """Wait until each has a letter, and everything else is processed."""
    await scene.finished()
    await scene.until(lambda entries: {(*entry.place, entry.offset) for entry in told(entries, "dead_letter")} >= poison)
    await scene.drained()


async def check(scene: Scene, dead: str, poison: set[Message], *, second_letters: int = 0, duplicates: int = 0) -> None:
    """The ledger's invariants, and what is in the queue: each poison message once, and so many again at most."""
    scene.check(lanes=LANES, poison=poison, duplicates=duplicates)
    letters = Counter(int(message.body) for message in await scene.rabbitmq.waiting(dead))
    assert set(letters) == {number for _, _, number in poison}
    assert letters.total() - len(poison) <= second_letters


async def test_both_kinds_of_poison_through_an_outage(scene: Scene, arguments: Mapping[str, Any]) -> None:
    """What fails by itself is charged through the outage as before it, and nothing else ends in the dead letters."""
    queue = await scene.queue(arguments)
    dead = await scene.dead_letters()
    scene.latency(LATENCY)
    worker, _ = await scene.start(2, "--dead", dead, "--prefetch", str(PREFETCH))
    begin = mark()
    poison = await mixed(scene, queue)
    await scene.processing(20, since=begin)
    outage = await scene.outage(queue)
    poison |= await mixed(scene, queue)
    await scene.opened(worker, times=2, since=outage)
    await scene.up()
    await all_buried(scene, poison)
    await check(scene, dead, poison)
    assert len(poison) == 12


async def test_poison_outages_and_every_kind_of_end(scene: Scene, arguments: Mapping[str, Any]) -> None:
    """Kill -9 in an outage, SIGTERM in the next one: the letters are the poison, a second one of each that the dead one had at worst."""
    queue = await scene.queue(arguments)
    dead = await scene.dead_letters()
    scene.latency(LATENCY)
    settings = ("--dead", dead, "--prefetch", str(PREFETCH))
    killed, terminated = await scene.start(2, *settings)
    begin = mark()
    poison = await mixed(scene, queue)
    await scene.processing(20, since=begin)
    poison |= await _outage_and_end(scene, queue, killed, "kill")
    await scene.start(1, *settings)
    poison |= await _outage_and_end(scene, queue, terminated, "terminate")
    assert terminated.exit_code == 0, terminated.output
    await scene.start(1, *settings)
    poison |= await mixed(scene, queue)
    await all_buried(scene, poison)
    await check(scene, dead, poison, second_letters=PREFETCH, duplicates=PREFETCH)


async def _outage_and_end(scene: Scene, queue: str, worker: Worker, how: str) -> set[Message]:
    """An outage with poison in it, in which this worker ends; over at the return."""
    outage = await scene.outage(queue)
    poison = await mixed(scene, queue)
    await scene.opened(worker, since=outage)
    getattr(worker, how)()
    await worker.ended()
    await scene.up()
    return poison


async def test_a_target_that_goes_away_holds_the_poisoned_queue_and_no_other(scene: Scene, arguments: Mapping[str, Any]) -> None:
    """Reason `dead letters` until the queue is there again; then the letters are in it, and the queue goes on."""
    poisoned, other = await scene.queue(arguments), await scene.queue(arguments)
    dead = await scene.dead_letters()
    scene.latency(LATENCY)
    await scene.start(1, "--dead", dead)
    await scene.rabbitmq.delete(dead)
    poison = await scene.poison(poisoned, 2)
    await scene.until(lambda entries: held_for(entries, "dead letters") == {poisoned})
    await scene.produce(poisoned, 60)
    await scene.produce(other, 60)
    await scene.until(lambda entries: sum(entry.facts["topic"] == other for entry in told(entries, "processed")) == 60)
    assert not confirmed(scene.ledger.entries())
    assert not [entry for entry in told(scene.ledger.entries(), "processed") if entry.facts["topic"] == poisoned]
    await scene.rabbitmq.declare(dead, QUORUM)
    await all_buried(scene, poison)
    await check(scene, dead, poison)
    assert held_for(scene.ledger.entries(), "dead letters") == {poisoned}


async def test_killed_while_the_target_is_away(scene: Scene, arguments: Mapping[str, Any]) -> None:
    """What could not be put anywhere is with the broker still: the next process has it, and writes its letter."""
    queue = await scene.queue(arguments)
    dead = await scene.dead_letters()
    scene.latency(LATENCY)
    (worker,) = await scene.start(1, "--dead", dead)
    await scene.rabbitmq.delete(dead)
    poison = await mixed(scene, queue)
    await scene.until(lambda entries: held_for(entries, "dead letters") == {queue})
    worker.kill()
    assert await worker.ended() == -9
    await scene.rabbitmq.declare(dead, QUORUM)
    await scene.start(1, "--dead", dead)
    await all_buried(scene, poison)
    await check(scene, dead, poison, duplicates=50)


async def test_a_drain_takes_letters_under_way_along(scene: Scene, arguments: Mapping[str, Any]) -> None:
    """After SIGTERM every letter that was written is acked for, so none comes twice."""
    queue = await scene.queue(arguments)
    dead = await scene.dead_letters()
    scene.latency(LATENCY)
    worker, _ = await scene.start(2, "--dead", dead, "--prefetch", str(PREFETCH), "--slow-letters", "0.3")
    poison = await mixed(scene, queue, times=15)
    await scene.until(lambda entries: confirmed(entries, worker.name) >= 2)
    worker.terminate()
    assert await worker.ended() == 0, worker.output
    await all_buried(scene, poison)
    await check(scene, dead, poison)
