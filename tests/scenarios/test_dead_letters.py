"""The target of the dead letters goes away, or the worker does between the letter and its confirmation, on any broker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.scenarios.brokers import on_every_broker
from tests.scenarios.world import Work, numbered, payments

from holdgate import RetryPolicy
from holdgate.events import MessageSkipped, SourceHeld, SourceReleased

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.scenarios.world import World

    from holdgate import Delivery, Guard

RETRY = RetryPolicy(attempts=1, initial_backoff=0.02, max_backoff=0.2)


@on_every_broker
async def test_a_target_that_is_down_holds_the_source_and_loses_nothing(world: World) -> None:
    """Reason `dead letters`, no other source with it; the letter is tried again, and both go on when the target is back."""
    work = Work(wrong=[b"poison"])
    world.target.failing = ConnectionError()
    await world.produce(world.first, [b"poison"])
    async with world.working(work, needs=[payments()], retry=RETRY) as guard:
        await world.until(lambda: world.reasons() == {"dead letters"}, "its source was held")
        await world.produce(world.first, numbered(10))
        await world.produce(world.second, numbered(10, b"other"))
        await world.until(lambda: len(work.processed) == 10, "the other source went on")
        assert sorted(work.processed) == sorted(numbered(10, b"other"))
        assert {source for source, seen in guard.snapshot().sources.items() if seen.held} == {world.first}
        tried = world.target.tried
        await world.until(lambda: world.target.tried >= tried + 2, "it was tried again")
        world.target.failing = None
        await world.until(lambda: len(work.processed) == 20, "all was processed")
        assert world.reasons() == set()

    await world.check(work.processed, buried=[b"poison"])
    assert work.calls(b"poison") == 1
    assert [event.reasons for event in world.told(SourceHeld) if "draining" not in event.reasons] == [("dead letters",)]
    assert {event.source for event in world.told(SourceReleased)} == {world.first}


@on_every_broker
async def test_a_worker_that_stops_while_the_target_is_down_leaves_the_message(world: World) -> None:
    """It is rejected again by whoever comes next, and nothing was settled meanwhile."""
    work = Work(wrong=[b"poison"])
    world.target.failing = ConnectionError()
    await world.produce(world.first, [b"poison", *numbered(3)])
    async with world.working(work, order="source", retry=RETRY):
        await world.until(lambda: world.target.tried >= 2, "it was tried again")
    await world.check(work.processed, left=[b"poison", *numbered(3)])

    world.target.failing = None
    async with world.working(work, order="source", retry=RETRY):
        await world.until(lambda: len(work.processed) == 3, "the next worker did the rest")
    await world.check(work.processed, buried=[b"poison"])


@on_every_broker
async def test_cut_off_between_the_letter_and_its_settlement_it_comes_twice_at_worst(world: World) -> None:
    """The letter is confirmed, and before the message can be settled its source is gone: it comes again, and so does its letter."""
    work, cut = Work(wrong=[b"poison"]), asyncio.Event()

    async def confirmed() -> None:
        if not cut.is_set():
            cut.set()
            await world.bed.cut()
            await asyncio.sleep(0.5)  # the answer is on its way while the worker learns that its source is not its own any more

    world.target.confirmed = confirmed
    await world.produce(world.first, [b"poison", *numbered(20)])
    async with world.working(work, order="source", retry=RETRY):
        await world.until(lambda: cut.is_set() and set(work.processed) >= set(numbered(20)), "all was processed")
        await world.until(lambda: bool(world.target.letters), "its letter was confirmed")

    assert 1 <= (await world.buried())[b"poison"] <= 2
    assert set(await world.buried()) == {b"poison"}
    assert sorted(set(work.processed)) == sorted(numbered(20))
    assert [body for source in world.bed.sources for body in await world.bed.left(source)] == []


@on_every_broker
async def test_messages_of_batches_wait_for_a_target_that_is_down(world: World) -> None:
    """Each that a handler rejects out of its batch is kept, and those around it are done; all letters are written when it is back."""
    processed: list[bytes] = []

    async def store(deliveries: Sequence[Delivery[Any]]) -> None:
        await asyncio.sleep(0.005)
        for delivery in deliveries:
            if (delivery.body or b"").startswith(b"bad"):
                delivery.reject("it says so")
            else:
                processed.append(delivery.body or b"")

    bad = numbered(3, b"bad")
    world.target.failing = ConnectionError()
    await world.produce(world.first, [*numbered(5), *bad[:2], *numbered(5, b"between"), bad[2], *numbered(5, b"behind")])
    async with world.working(store, needs=[payments()], order="source", batch=20, retry=RETRY):
        await world.until(lambda: world.reasons() == {"dead letters"}, "its source was held")
        tried = world.target.tried
        await world.until(lambda: world.target.tried >= tried + 3, "they were tried again")
        assert world.target.letters == []
        world.target.failing = None
        await world.until(lambda: len(processed) == 15 and len(world.target.letters) == 3, "all was dealt with")
        await world.until(lambda: world.reasons() == set(), "its source was free again")  # a letter is confirmed after it is written

    await world.check(processed, buried=bad)
    assert sorted((letter.body, letter.reason) for letter in world.target.letters) == [(body, "it says so") for body in bad]


@on_every_broker
async def test_an_operator_sends_what_waits_or_gives_it_up(world: World) -> None:
    """`retry` does not wait for the next try, `skip` settles one message without a letter, and the source goes on."""
    work = Work(wrong=[b"sent", b"given up"])
    world.target.failing = ConnectionError()
    patient = RetryPolicy(attempts=1, initial_backoff=0.02, max_backoff=1000.0)
    await world.produce(world.first, [b"given up"])
    async with world.working(work, order="source", retry=patient) as guard:
        await world.until(lambda: world.reasons() == {"dead letters"}, "its source was held")
        (position,) = [found.position for found in _unsent(guard)]
        await world.produce(world.first, [b"sent", *numbered(5)])
        guard.skip(world.first, position, reason="an empty order", actor="alice")
        await world.until(lambda: world.target.tried == 2, "the next one was rejected")
        await world.until(lambda: world.reasons() == {"dead letters"}, "its source was held again")
        world.target.failing = None
        assert guard.retry(world.first, reason="the target is back", actor="alice") == 1
        await world.until(lambda: len(work.processed) == 5, "what was behind it was processed")

    assert [event.position for event in world.told(MessageSkipped)] == [position]
    assert await world.buried() == {b"sent": 1}
    assert [body for source in world.bed.sources for body in await world.bed.left(source)] == []
    assert work.processed == numbered(5)


def _unsent(guard: Guard) -> list[Delivery[Any]]:
    """Nobody names a letter that waits but the log, so this looks inside."""
    return [delivery for run in guard.engine.runs for assignment in run.assignments.values() for delivery in assignment.unsent]
