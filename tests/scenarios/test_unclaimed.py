"""An outage of something that no need describes, on any broker: no good message is rejected, and the log says what to declare."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.scenarios.brokers import on_every_broker
from tests.scenarios.world import SOON, Down, Work, numbered, payments

from holdgate import Dependency, RetryPolicy, http
from holdgate.core import CircuitOpened
from holdgate.events import OutageOver, OutageSuspected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.scenarios.world import World

    from holdgate import Delivery

HELD = "unclaimed failures"
DOWN = f"{Down.__module__}.Down"


async def through_an_outage(world: World, work: Work, bodies: Sequence[bytes], lanes: int) -> None:
    """Down until every message in hand has failed more often than a message may, and back.

    It begins when each of the `lanes` has one: a message that comes alone and fails too often by then is a bad one."""
    calls = len(work.called)
    work.down = True
    work.going.clear()
    half = len(bodies) // 2
    await world.produce(world.first, bodies[:half])
    await world.produce(world.second, bodies[half:])
    await world.until(lambda: len(work.called) == calls + lanes, "every lane had a message")
    work.going.set()
    await world.until(lambda: HELD in world.reasons(), "it was taken for an outage")
    attempts = SOON.attempts
    await world.until(lambda: len(work.called) > calls + 16 * attempts, "all that is in hand was tried again and again")
    assert world.target.letters == []
    assert {event.error for event in world.told(OutageSuspected)} == {DOWN}
    work.down = False


async def worked(world: World, work: Work, count: int) -> list[bytes]:
    """A past in which everything went well."""
    good = numbered(count, b"good")
    await world.produce(world.first, good[: count // 2])
    await world.produce(world.second, good[count // 2 :])
    await world.until(lambda: len(work.processed) == count, "a past was there")
    return good


@on_every_broker
async def test_without_needs_an_outage_rejects_nothing(world: World) -> None:
    """Sixteen lanes on two sources; nobody has told of any dependency."""
    work = Work()
    bodies = numbered(60)
    async with world.working(work, order="none", concurrency=16):
        await worked(world, work, 40)
        await through_an_outage(world, work, bodies, lanes=16)
        await world.until(lambda: len(work.processed) == 100, "all was processed")
        await world.until(lambda: world.reasons() == set(), "nothing is held")

    await world.check(work.processed)
    assert [event.error for event in world.told(OutageOver)] == [DOWN]


@on_every_broker
async def test_with_two_messages_in_view_an_outage_rejects_nothing(world: World) -> None:
    """One lane for each of two sources, whose past is long enough: what never failed in two hundred messages does in both."""
    work = Work()
    bodies = numbered(20)
    async with world.working(work, order="source"):
        await worked(world, work, 200)
        await through_an_outage(world, work, bodies, lanes=2)
        await world.until(lambda: len(work.processed) == 220, "all was processed")

    await world.check(work.processed)


@on_every_broker
async def test_a_type_that_is_missing_in_failures_rejects_nothing(world: World) -> None:
    """The dependency is declared, and its client raises something else: no circuit opens, and no message goes."""
    work = Work()
    bodies = numbered(60)
    async with world.working(work, needs=[payments(failures=TimeoutError)], order="none", concurrency=16):
        await worked(world, work, 40)
        await through_an_outage(world, work, bodies, lanes=16)
        await world.until(lambda: len(work.processed) == 100, "all was processed")

    await world.check(work.processed)
    assert world.told(CircuitOpened) == []


@on_every_broker
async def test_batches_of_an_outage_that_nobody_described_are_rejected_neither(world: World) -> None:
    """They come again in halves, and nothing of them is charged."""
    work = Work()
    bodies = numbered(60)

    async def handler(deliveries: Sequence[Delivery[Any]]) -> None:
        for delivery in deliveries:
            await work(delivery)

    async with world.working(handler, order="none", concurrency=8, batch=5):
        await worked(world, work, 100)
        done = len(work.processed)
        await through_an_outage(world, work, bodies, lanes=8)
        await world.until(lambda: len(set(work.processed)) == done + 60, "all was processed")

    await world.check(sorted(set(work.processed)))


@on_every_broker
async def test_bad_messages_in_a_row_hold_nothing_for_long(world: World) -> None:
    """Six at once, behind each other: a message behind them is tried, succeeds, and all six go to the dead letters."""
    work = Work(wrong=numbered(6, b"bad"))
    async with world.working(work, order="none", concurrency=3, retry=RetryPolicy(attempts=4, initial_backoff=0.02, jitter=0.0)):
        await worked(world, work, 40)
        await world.produce(world.first, [*numbered(6, b"bad"), *numbered(60)])
        await world.until(lambda: len(work.processed) == 100, "the good ones were processed")
        fed = await world.feed(world.first, lambda: len(world.target.letters) == 6, "the bad ones were rejected")
        await world.until(lambda: len(work.processed) == 100 + len(fed), "so were those beside them")
        await asyncio.sleep(0)

    await world.check(work.processed, buried=numbered(6, b"bad"))
    assert max(work.calls(body) for body in numbered(6, b"bad")) < 20


class HTTPStatusError(Exception):
    """What an HTTP client raises for an answer."""

    def __init__(self, status: int) -> None:
        self.status = status


class Broken(Work):
    """A handler that fails with `error` while it is set, whatever the message."""

    def __init__(self, error: Exception | None = None, *, wrong: Sequence[bytes] = ()) -> None:
        super().__init__()
        self.error = error
        self.misses = set(wrong)

    async def __call__(self, delivery: Delivery[Any]) -> None:
        if self.error is not None or delivery.body in self.misses:
            self.called.append(delivery.body or b"")
            await self.going.wait()
            raise self.error or KeyError("amount")
        await super().__call__(delivery)


async def held_by(world: World, work: Broken, error: Exception, bodies: Sequence[bytes]) -> OutageSuspected:
    """Every message fails with it, more often than a message may, and none is rejected."""
    work.error = error
    work.going.clear()
    half = len(bodies) // 2
    await world.produce(world.first, bodies[:half])
    await world.produce(world.second, bodies[half:])
    # The first of them alone would be a bad message, and a slow broker brings the others after it was tried five times.
    await world.until(lambda: min(world.in_hand(world.first), world.in_hand(world.second)) >= half // 2, "its neighbours have come")
    calls = len(work.called)
    work.going.set()
    await world.until(lambda: HELD in world.reasons(), "it was taken for more than a bad message")
    await world.until(lambda: len(work.called) > calls + 8 * SOON.attempts, "all that is in hand was tried again and again")
    assert world.target.letters == []
    event: OutageSuspected = world.told(OutageSuspected)[0]
    work.error = None
    return event


@on_every_broker
async def test_a_bug_in_the_handler_opens_no_circuit_and_rejects_nothing(world: World) -> None:
    """The dependency has no `failures` of its own, and every message is one without the field, from a deploy on."""
    work, dependency = Broken(), Dependency("payments")
    async with world.working(work, needs=[dependency], order="none", concurrency=8):
        await worked(world, work, 40)
        event = await held_by(world, work, KeyError("amount"), numbered(60))
        await world.until(lambda: len(work.processed) == 100, "all was processed")

    assert (event.error, event.is_bug, event.status) == ("KeyError", True, None)
    assert world.told(CircuitOpened) == []
    await world.check(work.processed)


@on_every_broker
async def test_one_message_with_such_an_error_goes_after_exactly_its_attempts(world: World) -> None:
    """Among healthy neighbours nobody waits for it, and no circuit hears of it."""
    bad = numbered(3, b"bad")
    work, dependency = Broken(wrong=bad), Dependency("payments")
    async with world.working(work, needs=[dependency], order="none", concurrency=4):
        await worked(world, work, 40)
        good = len(work.processed)
        for body in bad:
            await world.produce(world.first, [body])
            fed = await world.feed(world.first, lambda body=body: bool(world.target.attempts(body)), "it was rejected")  # type: ignore[misc]
            good += len(fed)
            assert fed or work.processed
        await world.until(lambda: len(work.processed) == good, "the neighbours were processed")

    assert [world.target.attempts(body) for body in bad] == [[SOON.attempts]] * 3
    assert (world.told(CircuitOpened), world.told(OutageSuspected)) == ([], [])
    await world.check(work.processed, buried=bad)


@on_every_broker
async def test_an_expired_token_rejects_nothing(world: World) -> None:
    """A 401 is no failure of the dependency by `http.failures`; for every message it is an outage all the same."""
    work, dependency = Broken(), payments(failures=http.failures)
    async with world.working(work, needs=[dependency], order="none", concurrency=8):
        await worked(world, work, 40)
        event = await held_by(world, work, HTTPStatusError(401), numbered(60))
        await world.until(lambda: len(work.processed) == 100, "all was processed")

    assert (event.error, event.status, event.is_bug) == (f"{__name__}.HTTPStatusError", 401, False)
    await world.check(work.processed)


@on_every_broker
async def test_a_wrong_address_after_a_deploy_rejects_nothing(world: World) -> None:
    """The worker has just started, and nothing has ever succeeded in it."""
    work, dependency = Broken(), payments(failures=http.failures)
    async with world.working(work, needs=[dependency], order="none", concurrency=8):
        event = await held_by(world, work, HTTPStatusError(404), numbered(60))
        await world.until(lambda: len(work.processed) == 60, "all was processed")

    assert event.status == 404
    await world.check(work.processed)


@on_every_broker
async def test_what_is_counted_as_a_failure_opens_the_circuit(world: World) -> None:
    """A 401 by the user's own word: then the dependency is held, and probed."""
    work = Broken()
    dependency = payments(failures=lambda error: http.failures(error) or http.status_of(error) == 401)
    async with world.working(work, needs=[dependency], order="none", concurrency=8):
        await worked(world, work, 40)
        work.error = HTTPStatusError(401)
        await world.produce(world.first, numbered(20))
        await world.until(lambda: bool(world.told(CircuitOpened)), "the circuit has opened")
        work.error = None
        await world.until(lambda: len(work.processed) == 60, "all was processed")

    assert world.told(OutageSuspected) == []
    await world.check(work.processed)
