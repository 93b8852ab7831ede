"""What the tests of the way out share: a handler with poison, a partition with one poison message, and readings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.runtime.stage import (
    GROUP,
    ORDERS,
    BreakingIntake,
    Handler,
    broker_with,
)

from holdgate import Guard, Reject, RetryPolicy
from holdgate.testing import MemoryBroker

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdgate import Delivery

ORDER, OTHER = ORDERS
POISON = b"poison"
ATTEMPTS = 5  # RetryPolicy's default
MAX_BACKOFF = RetryPolicy().max_backoff
CONFIRM_WITHIN = 15.0


class Picky(Handler):
    """Cannot process the message whose body is `POISON`: raises `error` for it. `fresh` has a new one made each time."""

    def __init__(self, error: Callable[[], BaseException] = lambda: Reject("poison")) -> None:
        super().__init__()
        self.error = error

    async def __call__(self, delivery: Delivery[Any]) -> None:
        if delivery.body == POISON:
            self.started.append((str(delivery.source), delivery.position))
            raise self.error()
        await super().__call__(delivery)


def with_poison(before: int = 2, after: int = 2) -> MemoryBroker:
    """One partition, one poison message in it."""
    broker = broker_with(before)
    broker.produce("orders", POISON, b"k7", {"trace": b"t"})
    for number in range(after):
        broker.produce("orders", str(number).encode())
    return broker


def orders(broker: MemoryBroker, **settings: Any) -> BreakingIntake:
    return BreakingIntake(broker, topics=["orders"], **settings)


def committed(broker: MemoryBroker) -> int:
    return broker.committed(GROUP).get(ORDER, 0)


def held(guard: Guard) -> tuple[str, ...]:
    source = guard.snapshot().sources.get(ORDER)
    return () if source is None else source.reasons
