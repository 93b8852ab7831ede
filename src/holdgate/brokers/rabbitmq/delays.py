"""Queues that make what comes back wait: `x-delayed-retry-type`, from RabbitMQ 4.3 on.

    type        by nack    by reject, a closed channel, a lost connection
    returned    waits      at once, in front
    failed      at once    waits
    all         waits      waits

What waits comes back to the front `x-delayed-retry-min` later; what was taken meanwhile has passed it. A nack waits for that long each
time, anything else for a multiple of it, once for each return, up to `x-delayed-retry-max`. Until then it is neither ready nor with a
consumer, and only the management API has its number (`messages_delayed`). What the consumer timeout takes back never waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from holdgate.brokers.rabbitmq.kinds import QueueFacts


@dataclass(frozen=True, slots=True)
class RetryDelay:
    """What a queue makes wait, and for how many seconds at least."""

    kind: Literal["all", "returned", "failed"]
    seconds: float

    @property
    def of_nacks(self) -> bool:
        """Whether a nacked message waits."""
        return self.kind != "failed"

    @property
    def of_closing(self) -> bool:
        """Whether what was out on a closed channel waits."""
        return self.kind != "returned"


def delay_of(facts: QueueFacts) -> RetryDelay | None:
    """The delay that the queue's arguments, or its policies as far as they are known, ask for; None for none."""
    kind = facts.arguments.get("x-delayed-retry-type") or (facts.policy or {}).get("delayed-retry-type")
    least = facts.number("x-delayed-retry-min", "delayed-retry-min")
    # Without a least there is no delay, whatever the type.
    return RetryDelay(kind, least / 1000) if kind in ("all", "returned", "failed") and least is not None and least > 0 else None


def word_on(delay: RetryDelay, *, nacks: bool, single_active: bool) -> str:
    """What its owner should know; `nacks`: that is how this queue's messages are given back."""
    later = f"{delay.seconds:g} s or more later, others pass it meanwhile, and until then it is neither ready nor in hand"
    remedy = "set x-delayed-retry-type=disabled where order or the backlog's number matters"
    if delay.kind == "returned":
        how = "a hold gives back by closing the channel here, which keeps the order, and counts; what another consumer nacks comes back"
    elif not delay.of_nacks and nacks:
        how = "what a hold gives back comes back at once, but what a lost connection or a killed worker had in hand comes back"
    else:
        how = "what a long hold gives back, and what a worker had in hand when it ended, comes back"
    order = "; the order of a single active consumer is not kept then" if single_active and delay.of_closing else ""
    return f"it delays what is returned to it (x-delayed-retry-type={delay.kind}): {how} {later}{order}; {remedy}"
