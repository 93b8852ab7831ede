"""The operator's exits from a source that is blocked: try again, or skip."""

from __future__ import annotations

from typing import Any

import pytest
from tests.runtime.stage import GROUP, ORDERS, Handler, Wrong, broker_with, quiet_guard, running, until

from holdgate import Delivery, Guard, Partition, RetryPolicy
from holdgate.errors import SettingsError
from holdgate.flow.events import MessageSkipped, SourceRetried
from holdgate.testing import MemoryBroker, MemoryIntake, in_virtual_time

ORDER = ORDERS[0]
ONCE = RetryPolicy(attempts=1)


class Broken(Handler):
    """Cannot process the message whose body is `b"1"` until it is `fixed`."""

    fixed = False

    async def __call__(self, delivery: Delivery[Any]) -> None:
        if delivery.body == b"1" and not self.fixed:
            raise Wrong
        await super().__call__(delivery)


def committed(broker: MemoryBroker) -> int:
    return broker.committed(GROUP).get(ORDER, 0)


def is_blocked(guard: Guard) -> bool:
    seen = guard.snapshot().sources.get(ORDER)
    return seen is not None and "blocked" in seen.reasons


@in_virtual_time
async def test_a_blocked_source_goes_on_when_the_handler_is_mended() -> None:
    """By `retry`, with the reason in the event, and nothing is lost."""
    broker, handler, seen = broker_with(3), Broken(), list[Any]()
    async with (
        quiet_guard(observers=[seen.append]) as guard,
        running(guard.run(MemoryIntake(broker, topics=["orders"]), handler, retry=ONCE)),
    ):
        await until(lambda: is_blocked(guard))
        handler.fixed = True
        assert guard.retry(ORDER, reason="deployed 1.2.3") == 1
        await until(lambda: committed(broker) == 3)

    assert [position for _, position in handler.done] == [0, 1, 2]
    assert [event.reason for event in seen if isinstance(event, SourceRetried)] == ["deployed 1.2.3"]


@in_virtual_time
async def test_a_skipped_message_is_settled_and_lost() -> None:
    """By `skip`, with the reason in the event; those behind it are processed."""
    broker, handler, seen = broker_with(3), Broken(), list[Any]()
    async with (
        quiet_guard(observers=[seen.append]) as guard,
        running(guard.run(MemoryIntake(broker, topics=["orders"]), handler, retry=ONCE)),
    ):
        await until(lambda: is_blocked(guard))
        guard.skip(ORDER, 1, reason="test data")
        await until(lambda: committed(broker) == 3)

    assert [position for _, position in handler.done] == [0, 2]
    assert [(event.position, event.reason) for event in seen if isinstance(event, MessageSkipped)] == [(1, "test data")]


@in_virtual_time
async def test_an_exit_that_does_not_exist_is_an_error() -> None:
    """A source that is not ours, and a message that is not in the way."""
    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker_with(1), topics=["orders"]), Broken())):
        await until(lambda: ORDER in guard.snapshot().sources)
        with pytest.raises(SettingsError, match=r"orders\[9\] is not assigned here; these are: orders\[0\]"):
            guard.retry(Partition("orders", 9), reason="")
        with pytest.raises(SettingsError, match=r"orders\[9\] is not assigned here"):
            guard.skip(Partition("orders", 9), 0, reason="")
        with pytest.raises(SettingsError, match=r"no message at orders\[0\]@7"):
            guard.skip(ORDER, 7, reason="")
        assert guard.retry(ORDER, reason="") == 0
