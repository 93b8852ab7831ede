"""Two kinds of messages in one topic, on a real broker: while what one needs is down, the other keeps its pace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from benchmarks.mixed_needs import Plan, on_kafka

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.servers.kafka_address import KafkaAddress

# Eighteen hundred messages come in the outage: a stuck message would end all work after a thousand.
PLAN = Plan(pace=150, before=4.0, outage=12.0)


@pytest.mark.parametrize("order", ["key", "none"])
async def test_mails_keep_their_pace_while_payments_is_down(kafka: KafkaAddress, topic: Callable[..., Awaitable[str]], order: str) -> None:
    """Nothing is lost, and with order="key" every key stays in order."""
    result = await on_kafka(kafka.bootstrap, await topic(), order=order, plan=PLAN)

    # The ratio of two paces is a figure for a quiet machine (make bench): one that others load may stand still for a second of twelve.
    assert result.ratio >= 0.75
    assert result.held_back == 0
    assert result.missing == 0
    assert order == "none" or result.out_of_order == 0
    assert result.failed_calls < 40
