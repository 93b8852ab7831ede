"""A keeper without a broker, for what one cannot be made to show: the order of its calls, and what is told once."""

from __future__ import annotations

from typing import Any

import pytest
from tests.brokers.rabbitmq.test_channels import Line

from holdgate.brokers.rabbitmq.client import Client
from holdgate.brokers.rabbitmq.supervisor import QueueSupervisor, Window
from holdgate.brokers.rabbitmq.terms import DeliveryLimitNear, QueueTerms
from holdgate.flow.message import Queue, Settlement
from holdgate.flow.plan import Plan
from holdgate.testing import run_virtual

SOURCE = Queue("orders")


class Guard:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def assigned(self, sources: object) -> Plan:
        self.told.append("assigned")
        return Plan()

    def lost(self, sources: object) -> None:
        self.told.append("lost")


def keeper(told: list[DeliveryLimitNear] | None = None, guard: Any = None, **settings: Any) -> QueueSupervisor:
    usual: dict[str, Any] = {"timeout": 100.0, "margin": 20.0, "nacks": False, "limit": 3, "single_active": False}
    return QueueSupervisor(
        Client("amqp://localhost/"),
        QueueTerms(SOURCE, **{**usual, **settings}),
        guard or Guard(),
        window=Window(SOURCE, 10, None),
        arguments={},
        plan=Plan,
        store=lambda plan: None,
        rings=lambda: None,
        limit_near=(told if told is not None else []).append,
        parking=None,
        failed=lambda error: None,
    )


@pytest.mark.parametrize("nacks", [False, True])
def test_acks_are_out_before_anything_goes_back(nacks: bool) -> None:
    """A settlement that the broker has not seen when its message goes back would make it come again; also a probe's, which is kept back."""

    async def hands_back() -> list[tuple[Any, ...]]:
        line = Line()
        await line.channel.consume(1, {})
        line.channel.acks.held_back = True
        await line.arrive(1, 2)
        line.channel.settle(line.channel.unsettled[1], Settlement.ACK)
        await keeper(nacks=nacks)._hand_back(line.channel)
        return line.raw.calls[2:]

    back = [("cancel", "tag"), ("nack", 2, True)] if nacks else [("close",)]
    assert run_virtual(hands_back()) == [("ack", 1, False), *back]


def test_a_channel_that_died_before_its_guard_heard_of_it_is_lost() -> None:
    """Closed between its opening and the assignment, nobody else would tell the guard that the queue is not here."""

    async def dead_on_arrival() -> list[str]:
        line, guard = Line(), Guard()
        line.raw.closing.set_result(None)
        line.channel.alive = False
        await keeper(guard=guard)._keep(line.channel)
        return guard.told

    assert run_virtual(dead_on_arrival()) == ["assigned", "lost"]


def test_a_limit_is_told_once() -> None:
    """From when the rest would have gone back on, and not at each look."""

    async def looks() -> list[DeliveryLimitNear]:
        told: list[DeliveryLimitNear] = []
        watching = keeper(told)
        line = Line()
        await line.arrive(1, redelivered=True)
        line.channel.unsettled[1].raw.header.properties.headers = {"x-delivery-count": 1}
        for now in (79.0, 81.0, 82.0):
            watching._watch_limit(line.channel, now)
            if now == 79.0:
                assert told == []
        return told

    assert run_virtual(looks()) == [DeliveryLimitNear(SOURCE, returns=1, limit=3)]
