"""A dependency's failure, a word of the handler's and a message's own error are found in whatever a client or a task group wraps them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.scenarios.brokers import on_every_broker
from tests.scenarios.world import Down, Work, Wrong, numbered, payments

from holdgate import Dependency, Reject, RetryPolicy
from holdgate.core import CircuitOpened

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tests.scenarios.world import World

    from holdgate import Delivery

    Shape = Callable[[Exception], Awaitable[None]]


class ApiError(Exception):
    """What a client makes of everything."""


async def plain(error: Exception) -> None:
    """As it is."""
    raise error


async def from_a_cause(error: Exception) -> None:
    """A client's own error, said to come from it."""
    raise ApiError from error


async def while_handling(error: Exception) -> None:
    """A client's own error, raised in an `except`."""
    try:
        raise error
    except Exception:  # noqa: BLE001 - whatever it is
        raise ApiError  # noqa: B904 - that it does not say from what is the case


async def in_a_task_group(error: Exception) -> None:
    """A child fails, beside one that is cancelled by that."""
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(3600))
        group.create_task(plain(error))


async def in_nested_groups(error: Exception) -> None:
    """A child with children, whose error is wrapped as well."""
    async with asyncio.TaskGroup() as group:
        group.create_task(in_a_task_group(error))
        group.create_task(from_a_cause(error))


async def as_an_argument(error: Exception) -> None:
    """A client that hides what it wraps, and still carries it."""
    raise ApiError("failed", error) from None


ON_PURPOSE: Sequence[Shape] = (plain, from_a_cause, in_a_task_group, in_nested_groups, as_an_argument)


class Shaped(Work):
    """A handler whose n-th message fails in the n-th shape; `errors` by body come before the outage."""

    def __init__(self, shapes: Sequence[Shape], errors: dict[bytes, Exception] | None = None) -> None:
        super().__init__()
        self.shapes = shapes
        self.errors = errors or {}

    async def __call__(self, delivery: Delivery[Any]) -> None:
        body = delivery.body or b""
        self.called.append(body)
        await asyncio.sleep(self.seconds)
        error = self.errors.get(body) or (Down() if self.down else None)
        if error is not None:
            await self.shapes[delivery.position % len(self.shapes)](error)
        self.processed.append(body)


@on_every_broker
async def test_an_outage_is_seen_in_every_shape_and_buries_nothing(world: World) -> None:
    """With one attempt: a single failure taken for the message's own would be a dead letter."""
    work, bodies = Shaped([*ON_PURPOSE, while_handling]), numbered(60)
    work.down = True
    await world.produce(world.first, bodies[:30])
    await world.produce(world.second, bodies[30:])
    async with world.working(work, needs=[payments()], retry=RetryPolicy(attempts=1, initial_backoff=0.02, max_backoff=0.1)):
        await world.until(lambda: len(world.told(CircuitOpened)) >= 6, "five probes failed, in different shapes")
        work.down = False
        await world.until(lambda: len(work.processed) == 60, "all was processed")

    await world.check(work.processed)


@on_every_broker
async def test_a_failure_beside_an_error_of_the_messages_own_is_a_failure(world: World) -> None:
    """A mixed group in an outage charges nothing; when the dependency answers, the message's own error is charged."""

    async def mixed(error: Exception) -> None:
        raise ExceptionGroup("several", [Wrong(), Down()] if work.down else [error])

    work, bodies = Shaped([mixed], {b"wrong": Wrong()}), numbered(40)
    work.down = True
    await world.produce(world.first, [b"wrong", *bodies])
    async with world.working(work, needs=[payments()], order="none", concurrency=4, retry=RetryPolicy(attempts=2, initial_backoff=0.02)):
        await world.until(lambda: len(world.told(CircuitOpened)) >= 3, "two probes failed")
        assert world.target.letters == []
        work.down = False
        await world.until(lambda: len(work.processed) == 40 and bool(world.target.letters), "all was processed, or rejected")

    await world.check(work.processed, buried=[b"wrong"])


@on_every_broker
async def test_words_win_in_every_shape(world: World) -> None:
    """`Reject` and `not_retryable` go at the first call, `excluded` after its attempts; the circuit, which takes all else, stays closed."""
    kinds: tuple[Exception, ...] = (Reject("never"), KeyError(), Wrong())
    errors = {b"%s-%d" % (type(error).__name__.encode(), number): error for error in kinds for number in range(len(ON_PURPOSE))}
    work, bodies = Shaped(ON_PURPOSE, errors), numbered(30)
    await world.produce(world.first, [body for pair in zip(bodies, errors, strict=False) for body in pair] + bodies[len(errors) :])
    retry = RetryPolicy(attempts=3, initial_backoff=0.02, max_backoff=0.1, not_retryable=KeyError)
    needs = [Dependency("payments", excluded=Wrong)]
    async with world.working(work, needs=needs, order="none", concurrency=4, retry=retry):
        await world.until(lambda: len(work.processed) == 30 and len(world.target.letters) == len(errors), "all was processed, or rejected")

    assert world.told(CircuitOpened) == []
    for body, error in errors.items():
        assert work.calls(body) == (3 if isinstance(error, Wrong) else 1)
    reasons = {letter.body: letter.reason for letter in world.target.letters}
    assert {reasons[body] for body in errors if body.startswith(b"Reject")} == {"never"}
    await world.check(work.processed, buried=list(errors))
