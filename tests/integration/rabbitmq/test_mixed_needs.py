"""Two kinds of messages in one queue, on a real broker: while what one needs is down, the other keeps its pace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from benchmarks.mixed_needs import Plan, on_rabbitmq

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from tests.servers.rabbitmq_address import RabbitMQAddress

# Nine hundred charges wait, in a window of fifty.
PLAN = Plan(pace=150, before=4.0, outage=12.0)


@pytest.mark.versions
@pytest.mark.parametrize("order", ["key", "none"])
async def test_mails_keep_their_pace_while_payments_is_down(
    rabbitmq: RabbitMQAddress, queue: Callable[..., Awaitable[str]], arguments: Mapping[str, Any], order: str
) -> None:
    """Nothing is lost, nothing is left in the queue, and with order="key" every key stays in order."""
    name = await queue(arguments)
    result = await on_rabbitmq(rabbitmq.url, name, order=order, plan=PLAN)

    # The ratio of two paces is a figure for a quiet machine (make bench): one that others load may stand still for a second of twelve.
    assert result.ratio >= 0.75
    assert result.held_back == 0
    assert result.missing == 0
    assert order == "none" or result.out_of_order == 0
    assert result.failed_calls < 40
    assert await rabbitmq.waiting_once_free(name) == []
