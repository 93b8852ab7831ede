"""The acks of one channel: joined only as far as all that they cover is ours, and done."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("faststream", reason="faststream is not installed: pip install 'holdgate[faststream]'")
pytest.importorskip("aio_pika", reason="aio-pika is not installed: pip install 'holdgate[rabbitmq]'")

from holdgate.flow.message import Settlement
from holdgate.integrations.faststream.rabbitmq import ChannelInUse

ACK, REJECT = Settlement.ACK, Settlement.REJECT


class Raw:
    """The client's channel: it notes what is sent, as tag and whether all below are covered; a reject has None."""

    is_closed = False

    def __init__(self) -> None:
        self.sent: list[tuple[int, bool | None]] = []

    async def basic_ack(self, tag: int, *, multiple: bool, wait: bool) -> None:
        assert not wait
        self.sent.append((tag, multiple))

    async def basic_reject(self, tag: int, *, requeue: bool, wait: bool) -> None:
        assert not requeue
        assert not wait
        self.sent.append((tag, None))


async def sent(channel: ChannelInUse) -> list[tuple[int, bool | None]]:
    """Everything that goes out by now."""
    assert await channel.acks.flush()
    raw = channel.raw
    assert isinstance(raw, Raw)
    return raw.sent


async def test_a_run_is_acked_in_one_frame() -> None:
    """A quarter of the prefetch, whatever the order in which handlers end."""
    channel = ChannelInUse(Raw(), 16)
    for tag in range(1, 7):
        channel.came(tag)
    for tag in (2, 1, 4, 3):
        channel.settle(tag, ACK)
    await asyncio.sleep(0)
    assert channel.raw.sent == [(4, True)]


async def test_nothing_unfinished_is_covered() -> None:
    """What is behind a message that is still out is acked alone."""
    channel = ChannelInUse(Raw(), 100)
    for tag in range(1, 6):
        channel.came(tag)
    for tag in (1, 2, 4, 5):
        channel.settle(tag, ACK)
    assert await sent(channel) == [(2, True), (4, False), (5, False)]


async def test_where_others_read_on_the_channel_each_is_acked_alone() -> None:
    """Tag 2 is somebody else's, and may not be done: nothing is covered from then on, not even what came before."""
    channel = ChannelInUse(Raw(), 100)
    for tag in (1, 3, 4):
        channel.came(tag)
    for tag in (1, 3, 4):
        channel.settle(tag, ACK)
    assert await sent(channel) == [(1, False), (3, False), (4, False)]


async def test_a_channel_whose_first_message_was_another_s_is_shared() -> None:
    """Its tags begin at 1."""
    channel = ChannelInUse(Raw(), 100)
    for tag in (2, 3):
        channel.came(tag)
        channel.settle(tag, ACK)
    assert await sent(channel) == [(2, False), (3, False)]


async def test_a_message_that_is_seen_late_is_not_covered_either() -> None:
    """It was passed on the way, by a parser that waits: when it is seen, others may still be missing."""
    channel = ChannelInUse(Raw(), 100)
    for tag in (1, 4, 2):
        channel.came(tag)
    for tag in (1, 2, 4):
        channel.settle(tag, ACK)
    assert await sent(channel) == [(1, False), (2, False), (4, False)]


async def test_what_others_have_settled_is_not_settled_again() -> None:
    """A second ack of one message would close the channel, with everything in hand."""
    channel = ChannelInUse(Raw(), 100)
    for tag in (1, 2, 3):
        channel.came(tag)
    channel.forget(1)
    for tag in (1, 2, 3, 3):
        channel.settle(tag, ACK)
    assert await sent(channel) == [(3, True)]


async def test_a_reject_goes_out_alone_and_before_the_run() -> None:
    """So that no run covers it."""
    channel = ChannelInUse(Raw(), 100)
    for tag in (1, 2, 3):
        channel.came(tag)
        channel.settle(tag, REJECT if tag == 2 else ACK)
    assert await sent(channel) == [(2, None), (3, True)]


async def test_a_channel_that_is_gone_sends_nothing_more(caplog: pytest.LogCaptureFixture) -> None:
    """Its messages come again, and the log says how many had been done."""
    channel = ChannelInUse(Raw(), 100)
    channel.came(1)
    channel.settle(1, ACK)
    channel.acks.end()
    assert await sent(channel) == []
    assert "before 1 settlements were sent" in caplog.text
