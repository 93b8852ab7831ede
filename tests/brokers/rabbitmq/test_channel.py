"""A channel without a broker, for what one cannot be made to do at the right moment."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from holdgate.brokers.rabbitmq.channel import QueueChannel
from holdgate.flow.message import Queue, Settlement
from holdgate.testing import run_virtual


class Raw:
    """As much of an aiormq channel as is looked at; its calls are written down."""

    def __init__(self) -> None:
        self.on_consumer_cancel_callbacks: set[Any] = set()
        self.closing = asyncio.get_running_loop().create_future()
        self.calls: list[tuple[Any, ...]] = []
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
    """A channel over it, and what it told."""

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
            rings=lambda: self.ring(),  # noqa: PLW0108 - a test may put another one there
            changed=lambda: self.heard.append("changed"),
            lost=self.lost.append,
            failed=self.failed.append,
            saw=self.sizes.append,
        )

    def ring(self) -> None:
        self.heard.append("rings")

    async def arrive(self, *tags: int, redelivered: bool = False) -> None:
        for tag in tags:
            frame = Basic.Deliver("tag", tag, redelivered, "", "orders")
            await self.channel._arrive(DeliveredMessage(frame, ContentHeader(), b"body", self.raw))


def test_what_arrives_after_the_end_is_dropped() -> None:
    """A callback that runs while its channel closes puts nothing down: it would be handed out, and it is somebody else's."""

    async def late() -> tuple[int, int]:
        line = Line()
        await line.arrive(1)
        line.raw.closing.set_result(None)
        await asyncio.sleep(0)
        await line.arrive(2)
        return len(line.channel.arrived), len(line.channel.unsettled)

    assert run_virtual(late()) == (0, 0)


def test_its_end_is_told_once() -> None:
    """Closed by the broker, and then by us: one loss. Closed by us alone: none."""

    async def ends() -> tuple[int, int]:
        theirs, ours = Line(), Line()
        theirs.raw.closing.set_result(None)
        await asyncio.sleep(0)
        await theirs.channel.close()
        await ours.channel.close()
        await ours.channel.close()
        await asyncio.sleep(0)
        assert ours.raw.calls == [("close",)]
        return len(theirs.lost), len(ours.lost)

    assert run_virtual(ends()) == (1, 0)


def test_a_close_that_fails_is_a_close() -> None:
    """The channel is gone whatever its close ran into; the reason is kept."""

    async def fails() -> str:
        line = Line()
        line.raw.close_error = Exception()  # as aiormq raises it
        await line.channel.close()
        return repr(line.channel.reason)

    assert run_virtual(fails()) == "Exception()"


def test_the_end_of_another_consumer_is_not_its_own() -> None:
    """A cancel that names a consumer of before says nothing about the present one."""

    async def cancelled() -> tuple[bool, bool]:
        line = Line()
        await line.channel.consume(10, {})
        (callback,) = line.raw.on_consumer_cancel_callbacks
        callback(SimpleNamespace(consumer_tag="another"))
        before = line.channel.alive
        callback(SimpleNamespace(consumer_tag="tag"))
        return before, line.channel.alive

    assert run_virtual(cancelled()) == (True, False)


def test_the_window_is_set_before_the_consumer_begins() -> None:
    """It counts for consumers that start after it; a run of acks is a quarter of it."""

    async def consumes() -> tuple[list[tuple[Any, ...]], int]:
        line = Line()
        await line.channel.consume(40, {"x-priority": 5})
        return line.raw.calls, line.channel.acks.run

    assert run_virtual(consumes()) == ([("qos", 40), ("consume", "orders", {"x-priority": 5})], 10)


def test_nacks_go_in_the_order_of_arrival() -> None:
    """The broker puts them in front in the order in which they come; what is settled is not among them."""

    async def nacks() -> list[tuple[Any, ...]]:
        line = Line()
        await line.channel.consume(10, {})
        await line.arrive(1, 2, 3)
        line.channel.settle(line.channel.unsettled[2], Settlement.ACK)
        await line.channel.acks.flush()
        await line.channel.cancel()
        await line.channel.nack_back()
        assert not line.channel.unsettled
        assert not line.channel.arrived
        return line.raw.calls[2:]

    assert run_virtual(nacks()) == [("ack", 2, False), ("cancel", "tag"), ("nack", 1, True), ("nack", 3, True)]


def test_cancelling_twice_asks_once() -> None:
    """Without a consumer there is nothing to cancel."""

    async def cancels() -> list[tuple[Any, ...]]:
        line = Line()
        await line.channel.consume(10, {})
        await line.channel.cancel()
        await line.channel.cancel()
        return line.raw.calls[2:]

    assert run_virtual(cancels()) == [("cancel", "tag")]


def test_a_probes_settlement_wakes_its_keeper() -> None:
    """Held back, nothing but the keeper would send it. Messages that come, and other settlements, leave the keeper alone."""

    async def settles() -> list[str]:
        line = Line()
        await line.arrive(1, 2)
        line.channel.settle(line.channel.unsettled[1], Settlement.ACK)
        line.channel.acks.held_back = True
        line.channel.settle(line.channel.unsettled[2], Settlement.ACK)
        return line.heard

    assert run_virtual(settles()) == ["rings", "rings", "changed"]
