"""A supervisor without a broker, for what no broker can be made to show: the order of its calls, and what is reported once."""

from __future__ import annotations

from typing import Any

import pytest
from tests.brokers.rabbitmq.line import SOURCE, Guard, Line, supervisor

from holdgate.brokers.rabbitmq.terms import DeliveryLimitNear
from holdgate.flow.message import Settlement
from holdgate.testing import run_virtual


@pytest.mark.parametrize("nacks", [False, True])
def test_acks_are_out_before_anything_goes_back(nacks: bool) -> None:
    """A settlement that the broker has not seen when its message goes back would make it come again; also a probe's, which is kept back."""

    async def hands_back() -> list[tuple[Any, ...]]:
        line = Line()
        await line.channel.consume(1, {})
        line.channel.acks.held_back = True
        await line.arrive(1, 2)
        line.channel.settle(line.channel.unsettled[1], Settlement.ACK)
        await supervisor(nacks=nacks)._return_all(line.channel)
        return line.raw.calls[2:]

    back = [("cancel", "tag"), ("nack", 2, True)] if nacks else [("close",)]
    assert run_virtual(hands_back()) == [("ack", 1, False), *back]


def test_a_channel_that_died_before_its_guard_heard_of_it_is_lost() -> None:
    """Closed between its opening and the assignment, nobody else would tell the guard that the queue is not here."""

    async def dead_on_arrival() -> list[str]:
        line, guard = Line(), Guard()
        line.raw.closing.set_result(None)
        line.channel.alive = False
        await supervisor(guard=guard)._serve(line.channel)
        return guard.heard

    assert run_virtual(dead_on_arrival()) == ["assigned", "lost"]


def test_a_limit_is_reported_once() -> None:
    """From when the rest would have gone back on, and not at each look."""

    async def looks() -> list[DeliveryLimitNear]:
        reported: list[DeliveryLimitNear] = []
        watched = supervisor(reported)
        line = Line()
        await line.arrive(1, redelivered=True)
        line.channel.unsettled[1].raw.header.properties.headers = {"x-delivery-count": 1}
        for now in (79.0, 81.0, 82.0):
            watched._warn_near_limit(line.channel, now)
            if now == 79.0:
                assert reported == []
        return reported

    assert run_virtual(looks()) == [DeliveryLimitNear(SOURCE, returns=1, limit=3)]
