"""Acks without a broker, for what one cannot be made to show: which frames go out, and when."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiormq.exceptions import ChannelInvalidStateError

from holdgate.brokers.rabbitmq.channel import Acks
from holdgate.flow.message import Settlement
from holdgate.testing import run_virtual

ACK = Settlement.ACK
REJECT = Settlement.REJECT


class Wire:
    """The acks that a channel sends, as (word, tag, multiple)."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int, bool]] = []
        self.is_closed = False
        self.stuck: asyncio.Event | None = None

    async def basic_ack(self, tag: int, multiple: bool = False, wait: bool = True) -> None:
        await self._send("ack", tag, multiple, wait)

    async def basic_reject(self, tag: int, *, requeue: bool = True, wait: bool = True) -> None:
        assert not requeue
        await self._send("reject", tag, False, wait)

    async def _send(self, word: str, tag: int, multiple: bool, wait: bool) -> None:
        assert not wait, "waiting for a drain costs a wake-up per ack"
        if self.is_closed:
            raise ChannelInvalidStateError("closed")
        if self.stuck is not None:
            await self.stuck.wait()
        self.sent.append((word, tag, multiple))


class Out:
    """Acks over a wire, with `count` messages out, by tags from 1."""

    def __init__(self, count: int, run: int = 100) -> None:
        self.wire = Wire()
        self.unsettled: dict[int, Any] = dict.fromkeys(range(1, count + 1))
        self.acks = Acks(self.wire, self.unsettled)
        self.acks.run = run

    def settle(self, *tags: int, settlement: Settlement = ACK) -> None:
        for tag in tags:
            del self.unsettled[tag]
            self.acks.record(tag, settlement)


def frames(count: int, *tags: int, rejected: tuple[int, ...] = ()) -> list[tuple[str, int, bool]]:
    """What is sent when these are settled, of so many that are out."""

    async def settled() -> list[tuple[str, int, bool]]:
        out = Out(count)
        out.settle(*rejected, settlement=REJECT)
        out.settle(*tags)
        assert await out.acks.flush()
        return out.wire.sent

    return run_virtual(settled())


def test_a_run_is_one_frame() -> None:
    """Everything below the oldest unfinished one goes out as one ack of the last of them."""
    assert frames(5, 1, 2, 3) == [("ack", 3, True)]


def test_one_is_acked_for_itself() -> None:
    """A run of one covers nothing else."""
    assert frames(5, 1) == [("ack", 1, False)]


def test_a_run_ends_below_the_oldest_unfinished() -> None:
    """What lies past it is acked one by one: a run over it would settle unfinished work."""
    assert frames(6, 1, 2, 4, 6) == [("ack", 2, True), ("ack", 4, False), ("ack", 6, False)]


def test_nothing_is_joined_past_an_unfinished_first() -> None:
    """With the oldest still out there is no run at all."""
    assert frames(3, 3, 2) == [("ack", 3, False), ("ack", 2, False)]


def test_everything_finished_is_one_run() -> None:
    """In whatever order it was finished."""
    assert frames(4, 4, 2, 3, 1) == [("ack", 4, True)]


def test_a_reject_goes_before_the_run_over_it() -> None:
    """A run covers every tag below it that is still out: a rejected one must be gone by then, and no run may end at it."""
    assert frames(4, 1, 3, rejected=(2,)) == [("reject", 2, False), ("ack", 3, True)]
    assert frames(4, 1, 2, rejected=(3,)) == [("reject", 3, False), ("ack", 2, True)]


def test_what_was_sent_alone_is_no_end_of_a_later_run() -> None:
    """Tag 3 went out by itself; when 1 and 2 follow, their run ends at 2, which is still out."""

    async def in_two_flushes() -> list[tuple[str, int, bool]]:
        out = Out(4)
        out.settle(3)
        await out.acks.flush()
        out.settle(1, 2)
        await out.acks.flush()
        return out.wire.sent

    assert run_virtual(in_two_flushes()) == [("ack", 3, False), ("ack", 2, True)]


def test_a_full_run_goes_out_at_once() -> None:
    """With `run` of them recorded nothing waits for the timer."""

    async def full() -> list[tuple[str, int, bool]]:
        out = Out(4, run=2)
        out.settle(1, 2)
        await asyncio.sleep(0)
        return out.wire.sent

    assert run_virtual(full()) == [("ack", 2, True)]


def test_the_rest_goes_out_soon() -> None:
    """What fills no run waits 20 ms, from the first of it."""

    async def soon() -> tuple[int, list[tuple[str, int, bool]]]:
        out = Out(4)
        out.settle(1)
        await asyncio.sleep(0.015)
        out.settle(2)
        before = len(out.wire.sent)
        await asyncio.sleep(0.01)
        return before, out.wire.sent

    assert run_virtual(soon()) == (0, [("ack", 2, True)])


def test_held_back_nothing_goes_out_before_a_flush() -> None:
    """A probe's ack keeps its window full: neither a full run nor the timer sends it; a flush does, and what follows goes out by itself."""

    async def held_back() -> tuple[int, bool, list[tuple[str, int, bool]]]:
        out = Out(4, run=1)
        out.acks.held_back = True
        out.settle(1)
        await asyncio.sleep(1)
        before = len(out.wire.sent), out.acks.waiting and out.acks.has_success
        await out.acks.flush()
        out.settle(2)
        await asyncio.sleep(0)
        return *before, out.wire.sent

    assert run_virtual(held_back()) == (0, True, [("ack", 1, False), ("ack", 2, False)])


def test_a_rejected_probe_is_no_success() -> None:
    """A window is not widened for a message that was refused."""

    async def rejected() -> bool:
        out = Out(1)
        out.acks.held_back = True
        out.settle(1, settlement=REJECT)
        return out.acks.waiting and not out.acks.has_success

    assert run_virtual(rejected())


def test_one_sender_at_a_time() -> None:
    """While frames wait for the socket, what is recorded meanwhile goes out behind them, by the same task."""

    async def stuck() -> list[tuple[str, int, bool]]:
        out = Out(4, run=1)
        out.wire.stuck = asyncio.Event()
        out.settle(1)
        await asyncio.sleep(0)
        out.settle(2)
        out.settle(3)
        await asyncio.sleep(0)
        out.wire.stuck.set()
        await out.acks.flush()
        return out.wire.sent

    assert run_virtual(stuck()) == [("ack", 1, False), ("ack", 3, True)]


def test_a_flush_is_bounded() -> None:
    """A socket that takes nothing keeps nobody waiting for ever; the flush says that something is left."""

    async def stuck() -> tuple[bool, float]:
        out = Out(2, run=1)
        out.wire.stuck = asyncio.Event()
        out.settle(1)
        await asyncio.sleep(0)
        out.settle(2)
        flushed = await out.acks.flush()
        taken = asyncio.get_running_loop().time()
        out.wire.stuck.set()
        await out.acks.flush()
        return flushed, taken

    flushed, taken = run_virtual(stuck())
    assert not flushed
    assert 5.0 <= taken < 6.0


def test_a_closing_channel_is_no_error() -> None:
    """The messages come again; whoever sends has nothing to do about it."""

    async def closing() -> list[tuple[str, int, bool]]:
        out = Out(2)
        out.wire.is_closed = True
        out.settle(1)
        await out.acks.flush()
        return out.wire.sent

    assert run_virtual(closing()) == []


def test_the_end_says_what_was_not_sent(caplog: pytest.LogCaptureFixture) -> None:
    """A channel that is gone takes its settlements with it: told, and never sent."""

    async def end() -> list[tuple[str, int, bool]]:
        out = Out(3)
        out.settle(1, 2)
        out.acks.end()
        await asyncio.sleep(1)
        assert not out.acks.waiting
        return out.wire.sent

    assert run_virtual(end()) == []
    assert "a channel closed before 2 settlements were sent" in caplog.text
