"""What a handler asks for with its delivery: never again, or later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from tests.runtime.stage import GROUP, ORDERS, Down, Handler, Wrong, broker_with, dependency, quiet_guard, running, until

from holdgate import Delivery, RetryPolicy, State
from holdgate.errors import CallNotPermitted, SettingsError
from holdgate.events import MessageSkipped
from holdgate.flow.snapshot import RetryWaiting
from holdgate.testing import MemoryBroker, MemoryDeadLetters, MemoryIntake, in_virtual_time

ORDER = ORDERS[0]


def committed(broker: MemoryBroker) -> int:
    return broker.committed(GROUP).get(ORDER, 0)


def now() -> float:
    return asyncio.get_running_loop().time()


class Saying(Handler):
    """Says something of the message whose body is `b"1"`; the others are processed."""

    def __init__(self, word: Callable[[Delivery[Any]], None]) -> None:
        super().__init__()
        self.word = word
        self.times: list[float] = []

    async def __call__(self, delivery: Delivery[Any]) -> None:
        if delivery.body == b"1":
            self.times.append(now())
            self.word(delivery)
        else:
            await super().__call__(delivery)


async def settled(handler: Handler, **settings: Any) -> list[str | None]:
    """Three messages, until all are settled; the reasons of those that were rejected."""
    broker, dead = broker_with(3), MemoryDeadLetters()
    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker, topics=["orders"]), handler, dead_letters=dead, **settings)):
        await until(lambda: committed(broker) == 3)
    return [letter.reason for letter in dead.letters]


@in_virtual_time
async def test_a_rejected_delivery_goes_to_the_dead_letters() -> None:
    """At once, with the handler's reason, though it returned."""
    handler = Saying(lambda delivery: delivery.reject("no such customer"))

    assert await settled(handler) == ["no such customer"]
    assert len(handler.times) == 1


@in_virtual_time
async def test_a_rejection_stands_whatever_is_raised_after_it() -> None:
    """The exception would be the dependency's, and be tried again."""

    def word(delivery: Delivery[Any]) -> None:
        delivery.reject("broken")
        raise Down

    assert await settled(Saying(word), needs=[dependency()]) == ["broken"]


@in_virtual_time
async def test_a_refused_call_comes_before_a_rejection() -> None:
    """What looks like poison may be the outage: it is held, and comes again."""
    words = iter([CallNotPermitted("elsewhere"), None])

    def word(delivery: Delivery[Any]) -> None:
        refusal = next(words)
        if refusal is not None:
            delivery.reject("it could not be checked")
            raise refusal

    assert await settled(Saying(word)) == []


@pytest.mark.parametrize("raised", [None, Wrong, Down])
@in_virtual_time
async def test_a_delivery_comes_again_when_its_handler_says(raised: type[Exception] | None) -> None:
    """After so many seconds, whether it returned or raised; its place is kept, and what is behind it waits."""

    def word(delivery: Delivery[Any]) -> None:
        if delivery.attempt == 1:
            delivery.retry(after=77.0)
            if raised is not None:
                raise raised

    handler = Saying(word)
    assert await settled(handler, needs=[dependency()]) == []
    assert handler.times[1] - handler.times[0] == pytest.approx(77.0, abs=0.2)
    assert [position for _, position in handler.done] == [0, 2]


@in_virtual_time
async def test_asking_for_another_time_is_never_charged() -> None:
    """One attempt is allowed, and a hundred are asked for; without a time the policy's backoffs apply."""

    def word(delivery: Delivery[Any]) -> None:
        if delivery.attempt < 100:
            delivery.retry()

    handler = Saying(word)
    policy = RetryPolicy(attempts=1, initial_backoff=0.5, multiplier=1.0, max_backoff=1.0, jitter=0.0)
    assert await settled(handler, retry=policy) == []
    assert len(handler.times) == 100
    assert handler.times[1] - handler.times[0] == pytest.approx(0.5, abs=0.2)


@pytest.mark.parametrize("after", [0, -1.0, float("nan"), float("inf")])
@in_virtual_time
async def test_a_time_that_makes_no_sense_is_refused(after: float) -> None:
    """With the value; the handler's mistake is the message's own failure."""
    seen: list[str] = []

    def word(delivery: Delivery[Any]) -> None:
        try:
            delivery.retry(after)
        except SettingsError as error:
            seen.append(str(error))

    await settled(Saying(word))

    assert [f"after={after!r}" in text for text in seen] == [True]


class Malformed(Down):
    """What no retry will heal."""


@in_virtual_time
async def test_what_is_not_retryable_is_rejected_at_once() -> None:
    """By its type, though the dependency takes it for a failure; its circuit hears nothing of it."""

    def word(delivery: Delivery[Any]) -> None:
        raise Malformed

    handler = Saying(word)
    broker, dead = broker_with(3), MemoryDeadLetters()
    async with (
        quiet_guard() as guard,
        running(
            guard.run(
                MemoryIntake(broker, topics=["orders"]),
                handler,
                needs=[dependency()],
                retry=RetryPolicy(not_retryable=(Malformed, KeyError)),
                dead_letters=dead,
            )
        ),
    ):
        await until(lambda: committed(broker) == 3)
        seen = guard.snapshot().dependencies["payments"]
        assert (len(handler.times), len(dead.letters), seen.failures, seen.state) == (1, 1, 0, State.CLOSED)


@in_virtual_time
async def test_a_loop_says_the_same() -> None:
    """On what it loops over."""
    broker, dead = broker_with(3), MemoryDeadLetters()
    times: list[tuple[int, int]] = []
    async with (
        quiet_guard() as guard,
        guard.deliveries(MemoryIntake(broker, topics=["orders"]), dead_letters=dead) as deliveries,
    ):
        async for delivery in deliveries:
            async with delivery:
                times.append((delivery.position, delivery.attempt))
                if delivery.position == 0 and delivery.attempt == 1:
                    delivery.retry(after=5.0)
                elif delivery.position == 1:
                    delivery.reject("never")
            if delivery.position == 2:
                break
        await until(lambda: committed(broker) == 3)

    assert times == [(0, 1), (0, 2), (1, 1), (2, 1)]
    assert [letter.reason for letter in dead.letters] == ["never"]


@in_virtual_time
async def test_skipping_and_dead_letters_exclude_each_other() -> None:
    """One of them would be in vain, and nobody would see which."""
    async with quiet_guard() as guard:
        with pytest.raises(SettingsError, match=r"dead_letters= is given, and RetryPolicy\(on_exhausted=\"skip\"\)"):
            await guard.run(
                MemoryIntake(broker_with(1), topics=["orders"]),
                Handler(),
                retry=RetryPolicy(on_exhausted="skip"),
                dead_letters=MemoryDeadLetters(),
            )


@in_virtual_time
async def test_what_is_skipped_is_settled() -> None:
    """By the policy's word: the source goes on, and an event names the message."""
    seen: list[Any] = []
    broker, handler = broker_with(3), Saying(lambda delivery: delivery.reject("test data"))
    async with (
        quiet_guard(observers=[seen.append]) as guard,
        running(guard.run(MemoryIntake(broker, topics=["orders"]), handler, retry=RetryPolicy(on_exhausted="skip"))),
    ):
        await until(lambda: committed(broker) == 3)

    assert [(event.position, event.reason) for event in seen if isinstance(event, MessageSkipped)] == [(1, "test data")]


@in_virtual_time
async def test_a_request_that_comes_between_two_attempts_counts_for_neither() -> None:
    """A task that the first attempt left behind asks while the message waits for its backoff; the second attempt processes it."""
    letters, left, attempts = MemoryDeadLetters(), set[asyncio.Task[None]](), list[int]()

    async def reject_late(delivery: Delivery[Any]) -> None:
        await asyncio.sleep(0.1)
        delivery.reject("too late")

    async def handler(delivery: Delivery[Any]) -> None:
        attempts.append(delivery.attempt)
        if delivery.attempt == 1:
            left.add(asyncio.create_task(reject_late(delivery)))
            raise Wrong

    broker = broker_with(1)
    retry = RetryPolicy(initial_backoff=1.0)
    async with (
        quiet_guard() as guard,
        running(guard.run(MemoryIntake(broker, topics=["orders"]), handler, retry=retry, dead_letters=letters)),
    ):
        await until(lambda: committed(broker) == 1)

    assert (attempts, letters.letters) == ([1, 2], [])


@in_virtual_time
async def test_another_time_may_be_a_timedelta() -> None:
    """As every duration: it was a TypeError, which was charged to the message."""
    handler = Saying(lambda delivery: delivery.retry(timedelta(seconds=7)) if delivery.attempt == 1 else None)
    assert await settled(handler) == []
    assert handler.times[1] - handler.times[0] >= 7.0


@in_virtual_time
async def test_a_message_that_waits_for_its_next_try_is_shown() -> None:
    """Nothing holds its source: else what waits behind it would have no reason."""
    words: list[Callable[[Delivery[Any]], None]] = [_fails, lambda delivery: delivery.retry(after=600)]
    broker = broker_with(4)
    source = MemoryIntake(broker, topics=["orders"])
    async with quiet_guard() as guard, running(guard.run(source, Saying(lambda delivery: words[delivery.attempt - 1](delivery)))):

        def seen() -> RetryWaiting | None:
            of_source = guard.snapshot().sources.get(ORDERS[0])
            return None if of_source is None else of_source.retrying

        await until(lambda: seen() is not None)
        first = seen()
        assert first is not None
        assert (first.position, first.failures, first.error) == (1, 1, "Wrong")
        assert 0 < first.at - guard.now() < 1
        await until(lambda: (later := seen()) is not None and later.at - guard.now() > 60)
        second = seen()
        assert second is not None
        assert (second.position, second.failures) == (1, 1)
        assert 590 < second.at - guard.now() <= 600


def _fails(_: Delivery[Any]) -> None:
    raise Wrong
