"""A queue's channel and its supervisor without a broker: what they call is written down, and what they hear is the test's."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from holdgate.brokers.rabbitmq.channel import QueueChannel
from holdgate.brokers.rabbitmq.client import Client
from holdgate.brokers.rabbitmq.supervisor import QueueSupervisor, Window
from holdgate.brokers.rabbitmq.terms import DeliveryLimitNear, QueueTerms
from holdgate.flow.message import Queue
from holdgate.flow.plan import Plan

SOURCE = Queue("orders")


class Raw:
    """As much of an aiormq channel as is looked at; its calls are written down."""

    def __init__(self) -> None:
        self.on_consumer_cancel_callbacks: set[Any] = set()
        self.closing = asyncio.get_running_loop().create_future()
        self.calls: list[tuple[Any, ...]] = []
        self.consumers: dict[str, Any] = {}
        self.create_task = asyncio.get_running_loop().create_task
        self.close_error: Exception | None = None

    @property
    def is_closed(self) -> bool:
        return self.closing.done()

    async def basic_qos(self, *, prefetch_count: int) -> None:
        self.calls.append(("qos", prefetch_count))

    async def basic_consume(self, queue: str, callback: Any, *, arguments: dict[str, Any]) -> Any:
        self.calls.append(("consume", queue, arguments))
        return SimpleNamespace(consumer_tag="tag")

    async def basic_cancel(self, tag: str) -> None:
        self.calls.append(("cancel", tag))

    async def basic_ack(self, tag: int, multiple: bool = False, wait: bool = True) -> None:
        self.calls.append(("ack", tag, multiple))

    async def basic_nack(self, tag: int, requeue: bool = True, wait: bool = True) -> None:
        self.calls.append(("nack", tag, requeue))

    async def close(self) -> None:
        self.calls.append(("close",))
        if self.close_error is not None:
            raise self.close_error
        self.closing.set_result(None)


class Line:
    """A channel over `Raw`, and what it reported."""

    def __init__(self) -> None:
        self.raw = Raw()
        self.lost: list[QueueChannel] = []
        self.failed: list[BaseException] = []
        self.heard: list[str] = []
        self.sizes: list[int] = []
        self.channel = QueueChannel(
            Queue("orders"),
            self.raw,
            counts="returns",
            ring=lambda: self.ring(),  # noqa: PLW0108 - a test may put another one there
            changed=lambda: self.heard.append("changed"),
            lost=self.lost.append,
            failed=self.failed.append,
            add_size=self.sizes.append,
        )

    def ring(self) -> None:
        self.heard.append("rings")

    async def arrive(self, *tags: int, redelivered: bool = False) -> None:
        for tag in tags:
            frame = Basic.Deliver("tag", tag, redelivered, "", "orders")
            self.channel._arrive(DeliveredMessage(frame, ContentHeader(), b"body", self.raw))


class Guard:
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def assigned(self, sources: object) -> Plan:
        self.heard.append("assigned")
        return Plan()

    def lost(self, sources: object) -> None:
        self.heard.append("lost")


def supervisor(reported: list[DeliveryLimitNear] | None = None, guard: Any = None, **settings: Any) -> QueueSupervisor:
    usual: dict[str, Any] = {"timeout": 100.0, "margin": 20.0, "nacks": False, "limit": 3, "single_active": False}
    return QueueSupervisor(
        Client("amqp://localhost/"),
        QueueTerms(SOURCE, **{**usual, **settings}),
        guard or Guard(),
        window=Window(SOURCE, 10, None),
        arguments={},
        plan=Plan,
        store=lambda plan: None,
        ring=lambda: None,
        limit_near=(reported if reported is not None else []).append,
        overflow=None,
        failed=lambda error: None,
    )
