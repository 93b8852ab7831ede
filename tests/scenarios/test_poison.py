"""One message that can never be processed among a thousand that can, and one that is alone, on any broker."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.scenarios.brokers import on_every_broker
from tests.scenarios.world import Down, Work, Wrong, numbered, payments

from holdgate import Reject, RetryPolicy
from holdgate.core import CircuitClosed, CircuitOpened
from holdgate.events import SourceBlocked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.scenarios.world import World

    from holdgate import Delivery

GOOD = numbered(999)
ATTEMPTS = 4
RETRY = RetryPolicy(attempts=ATTEMPTS, initial_backoff=0.02, multiplier=1.0, jitter=0.0)
# So many others in between are a word: each such failure adds the logarithm of it at least, one that is counted a moment later set aside.
SOME = 4


async def thousand(world: World, work: Work, handler: Callable[[Delivery[Any]], Awaitable[None]] | None = None) -> None:
    """Work on 999 good messages and one in their middle. The handler calls `work`, and None is `work` itself."""
    await world.produce(world.first, [*GOOD[:400], b"poison", *GOOD[400:]])
    async with world.working(handler or work, needs=[payments()], order="none", concurrency=8, retry=RETRY):
        await world.until(lambda: len(work.processed) == 999 and bool(world.target.letters), "all was dealt with")
    await world.check(work.processed, buried=[b"poison"])
    assert world.told(CircuitOpened) == []


@on_every_broker
async def test_a_message_that_fails_by_itself_is_rejected_after_exactly_its_attempts(world: World) -> None:
    """Nobody else is asked, and no circuit hears of it."""
    work = Work(wrong=[b"poison"])
    await thousand(world, work)
    assert work.calls(b"poison") == ATTEMPTS
    assert world.target.attempts(b"poison") == [ATTEMPTS]


@on_every_broker
async def test_a_message_that_fails_as_its_dependency_would_is_rejected_on_the_word_of_others(world: World) -> None:
    """Each failure adds ln(1 + how many others were processed since the one before), up to ln(1/doubt), and the circuit stays closed.

    A slow broker lets few others in between, so what is limited is the number of failures that some others came before."""
    work, others = Work(poison=[b"poison"]), list[int]()

    async def handler(delivery: Delivery[Any]) -> None:
        try:
            await work(delivery)
        except Down:
            others.append(len(work.processed))
            raise

    await thousand(world, work, handler)
    assert len(others) >= ATTEMPTS
    some = sum(after - before >= SOME for before, after in itertools.pairwise(others))
    assert some <= math.ceil(RETRY.conviction / math.log(SOME))


@on_every_broker
async def test_what_is_rejected_by_word_or_by_type_goes_at_once(world: World) -> None:
    """One attempt each, and the dependency, whose failure the type would be, hears of neither."""
    work = Work()

    async def handler(delivery: Delivery[Any]) -> None:
        if delivery.body == b"reject":
            raise Reject("it says so")
        if delivery.body == b"never":
            raise ConnectionResetError
        await work(delivery)

    retry = RetryPolicy(not_retryable=ConnectionResetError)
    await world.produce(world.first, [b"reject", *numbered(5), b"never", b"last"])
    async with world.working(handler, needs=[payments(failures=OSError)], retry=retry) as guard:
        await world.until(lambda: len(work.processed) == 6 and len(world.target.letters) == 2, "all was dealt with")
        assert guard.snapshot().dependencies["payments"].failures == 0

    await world.check(work.processed, buried=[b"reject", b"never"])
    assert [(letter.body, letter.attempts, letter.reason) for letter in sorted(world.target.letters, key=lambda one: one.body or b"")] == [
        (b"never", 1, None),
        (b"reject", 1, "it says so"),
    ]


@on_every_broker
async def test_a_handler_says_it_of_its_delivery(world: World) -> None:
    """`reject()` sends it to the dead letters, `retry(after=)` lets it come again not before that time, and neither is a failure."""
    work, came = Work(), list[float]()

    async def handler(delivery: Delivery[Any]) -> None:
        if delivery.body == b"reject":
            delivery.reject("a test order")
        elif delivery.body == b"later" and delivery.attempt <= 3:
            came.append(asyncio.get_running_loop().time())
            delivery.retry(after=0.3)
        else:
            await work(delivery)

    await world.produce(world.first, [b"reject", b"later", *numbered(5)])
    async with world.working(handler, needs=[payments()], retry=RetryPolicy(attempts=1)) as guard:
        await world.until(lambda: len(work.processed) == 6 and bool(world.target.letters), "all was dealt with")
        assert guard.snapshot().dependencies["payments"].failures == 0
        came.append(asyncio.get_running_loop().time())

    await world.check(work.processed, buried=[b"reject"])
    assert len(came) == 4
    assert all(after - before >= 0.3 for before, after in itertools.pairwise(came))


@on_every_broker
async def test_a_lone_poison_message_in_strict_order_is_announced_and_not_dropped(world: World) -> None:
    """Nobody can tell whose fault it is: it keeps its place, what is behind it waits, and its place is named."""
    work = Work(poison=[b"poison"])
    await world.produce(world.first, [b"poison", *numbered(5)])
    async with world.working(work, needs=[payments()], order="source", retry=RETRY):
        await world.until(lambda: bool(world.told(SourceBlocked)), "it was announced")
        before = work.calls(b"poison")
        await world.until(lambda: work.calls(b"poison") >= before + 3, "it was tried further on")

    blocked = world.told(SourceBlocked)
    assert {(event.source, event.suspect, event.error) for event in blocked} == {(world.first, True, "Down")}
    assert set(work.called) == {b"poison"}
    await world.check([], left=[b"poison", *numbered(5)])


@on_every_broker
async def test_a_lone_poison_message_that_fails_immediately_does_not_ask_for_all_others(world: World) -> None:
    """It is in hand alone when the circuit opens, and a hold fetches nothing: what comes later is fetched all the same, asks, and is
    processed, and shows in the end whose fault it was."""
    work = Work(poison=[b"poison"], seconds=0.0)
    await world.produce(world.first, [b"poison"])
    async with world.working(work, needs=[payments()], order="none", concurrency=4, retry=RETRY):
        await world.until(lambda: bool(world.told(SourceBlocked)), "it was announced")
        await world.produce(world.first, GOOD[:100])
        await world.until(lambda: len(work.processed) == 100, "the others were processed")
        fed = await world.feed(world.first, lambda: bool(world.target.letters), "it was told from them")
        await world.until(lambda: len(work.processed) == 100 + len(fed), "all others were processed")
    await world.check(work.processed, buried=[b"poison"])


@on_every_broker
async def test_a_lone_poison_message_is_told_from_an_outage_by_probes(world: World) -> None:
    """After `reject_after_probes` pairs of a good probe and a failure it goes, and what is behind it is processed."""
    work, probes = Work(poison=[b"poison"]), list[bool]()

    async def probe() -> bool:
        probes.append(not work.down)
        return not work.down

    retry = RetryPolicy(initial_backoff=0.02, max_backoff=0.1, reject_after_probes=3)
    work.down = True
    await world.produce(world.first, [b"poison", *numbered(5)])
    async with world.working(work, needs=[payments(probe=probe)], order="source", retry=retry):
        await world.until(lambda: len(probes) >= 2, "two probes said no")
        assert world.target.letters == []
        in_outage = work.calls(b"poison")
        work.down = False
        await world.until(lambda: len(work.processed) == 5, "the others were processed")

    await world.check(work.processed, buried=[b"poison"])
    assert work.calls(b"poison") == in_outage + 3
    assert work.processed == numbered(5)


@on_every_broker
async def test_a_probe_never_closes_the_circuit(world: World) -> None:
    """Good probes begin the ramp again and again; it is closed by real work that succeeds, and not before."""
    work, probes = Work(), list[int]()
    work.down = True

    async def probe() -> None:
        probes.append(len(work.called))

    await world.produce(world.first, numbered(30))
    async with world.working(work, needs=[payments(probe=probe)], order="source"):
        await world.until(lambda: len(world.told(CircuitOpened)) >= 4, "three ramps that good probes had begun ended")
        assert len(probes) >= 3
        assert world.told(CircuitClosed) == []
        work.down = False
        await world.until(lambda: len(work.processed) == 30, "all was processed")
        await world.until(lambda: bool(world.told(CircuitClosed)), "real work closed it")

    assert probes == sorted(set(probes))  # a message was tried after each
    await world.check(work.processed)


@on_every_broker
async def test_a_handler_that_hangs_is_ended_by_the_timeout(world: World) -> None:
    """With a need it is the dependency's failure, charged nothing: the message comes again and is processed. So does one that the machine
    was too slow for."""
    work, hanging, ended = Work(), {b"slow"}, list[bytes]()

    async def handler(delivery: Delivery[Any]) -> None:
        try:
            if delivery.body in hanging:
                hanging.discard(delivery.body)
                await asyncio.sleep(1e6)
            await work(delivery)
        except asyncio.CancelledError:
            ended.append(delivery.body or b"")
            raise

    await world.produce(world.first, [b"slow", *numbered(5)])
    async with world.working(handler, needs=[payments()], timeout=0.5, retry=RetryPolicy(attempts=1, initial_backoff=0.02)) as guard:
        await world.until(lambda: len(work.processed) == 6, "all was processed")
        assert guard.snapshot().dependencies["payments"].failures == len(ended)

    await world.check(work.processed)
    assert b"slow" in ended


@on_every_broker
async def test_without_a_need_a_handler_that_hangs_is_the_messages_own_failure(world: World) -> None:
    """Charged each time, and rejected after its attempts. So is one that the machine was too slow for twice."""
    work, ended = Work(), list[bytes]()

    async def handler(delivery: Delivery[Any]) -> None:
        try:
            await asyncio.sleep(1e6 if delivery.body == b"slow" else 0)
            await work(delivery)
        except asyncio.CancelledError:
            ended.append(delivery.body or b"")
            raise

    await world.produce(world.first, [b"slow", *numbered(5)])
    async with world.working(handler, timeout=0.2, retry=RetryPolicy(attempts=2, initial_backoff=0.02)):
        await world.until(lambda: len(work.processed) + len(world.target.letters) == 6, "all was dealt with")

    twice = {body for body, times in Counter(ended).items() if times == 2}
    assert b"slow" in twice
    await world.check(work.processed, buried=[letter.body or b"" for letter in world.target.letters])
    assert {(letter.body, letter.attempts, letter.exception) for letter in world.target.letters} == {
        (body, 2, "TimeoutError") for body in twice
    }


@on_every_broker
async def test_an_error_of_each_kind_in_one_run(world: World) -> None:
    """`excluded` wins over `failures`: what is taken out is the message's own, though it would be the dependency's by type."""

    class Ours(Down):
        """A failure of the dependency by its type, and taken out."""

    work = Work()

    async def handler(delivery: Delivery[Any]) -> None:
        kinds = {b"ours": Ours, b"wrong": Wrong}
        if delivery.body in kinds:
            work.called.append(delivery.body)
            raise kinds[delivery.body]
        await work(delivery)

    await world.produce(world.first, [b"ours", b"wrong", *numbered(5)])
    async with world.working(handler, needs=[payments(excluded=Ours)], retry=RETRY) as guard:
        await world.until(lambda: len(work.processed) == 5 and len(world.target.letters) == 2, "all was dealt with")
        assert guard.snapshot().dependencies["payments"].failures == 0

    await world.check(work.processed, buried=[b"ours", b"wrong"])
    assert (work.calls(b"ours"), work.calls(b"wrong")) == (ATTEMPTS, ATTEMPTS)
