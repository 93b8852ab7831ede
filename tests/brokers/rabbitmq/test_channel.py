"""A channel without a broker: for what no broker can be made to do at the right moment, and when what has come is a batch."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from tests.brokers.rabbitmq.line import Line

from holdgate.brokers.rabbitmq.channel import batch_due_at
from holdgate.flow.message import Settlement
from holdgate.testing import run_virtual

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST = 4


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


@pytest.mark.parametrize("is_further", [False, True])
def test_a_consumer_that_ends_before_its_start_is_answered_is_not_waited_for(*, is_further: bool) -> None:
    """The answer and the broker's cancel may be read in one step, after a handler has blocked the loop. Nothing would ever come again."""

    async def cancelled() -> tuple[bool, str]:
        line = Line()
        if is_further:
            await line.channel.consume(10, {})
        consume = line.raw.basic_consume

        async def consume_and_end(*args: Any, **named: Any) -> Any:
            answer = await consume(*args, **named)
            answer.consumer_tag = "short"
            (callback,) = line.raw.on_consumer_cancel_callbacks
            callback(SimpleNamespace(consumer_tag="short"))
            return answer

        line.raw.basic_consume = consume_and_end
        await (line.channel.widen(5, {}) if is_further else line.channel.consume(10, {}))
        return line.channel.alive, type(line.channel.reason).__name__

    assert run_virtual(cancelled()) == (False, "ConsumerCancelled")


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


def test_a_probes_settlement_wakes_its_supervisor() -> None:
    """It is held back, and only the supervisor sends it. Arriving messages and other settlements wake nobody."""

    async def settles() -> list[str]:
        line = Line()
        await line.arrive(1, 2)
        line.channel.settle(line.channel.unsettled[1], Settlement.ACK)
        line.channel.acks.held_back = True
        line.channel.settle(line.channel.unsettled[2], Settlement.ACK)
        return line.heard

    assert run_virtual(settles()) == ["rings", "rings", "changed"]


def channel(arrivals: Sequence[float], *, prefetch: int = 10, in_work: int = 0) -> Any:
    """As much of a channel as is looked at; everything in `arrivals` waits."""
    arrived = [SimpleNamespace(arrived_at=at) for at in arrivals]
    return SimpleNamespace(arrived=arrived, unsettled=range(len(arrived) + in_work), prefetch=prefetch, last_arrival=arrivals[-1])


@pytest.mark.parametrize(
    ("waiting", "after_the_last"),
    [
        pytest.param(channel([1.0]), 0.005, id="one alone waits for a pause of the wire"),
        pytest.param(channel([1.0, 1.004]), 0.005, id="and for another after each that comes"),
        pytest.param(channel([1.0, 1.001, 1.002, 1.003]), 0.0, id="a full batch waits for nothing"),
        pytest.param(channel([1.0, 1.0], prefetch=2), 0.0, id="nor does a full window, of which nothing more can come"),
        pytest.param(channel([1.0, 1.0], prefetch=5, in_work=3), 0.0, id="in which others are still in work"),
        pytest.param(channel([1.0, 1.018]), 0.002, id="a trickle does not keep the first longer than 20 ms"),
    ],
)
def test_when_it_is_a_batch(waiting: Any, after_the_last: float) -> None:
    """A pause, a full batch or window, or 20 ms: whichever comes first."""
    assert batch_due_at(waiting, MOST) == pytest.approx(waiting.last_arrival + after_the_last)
