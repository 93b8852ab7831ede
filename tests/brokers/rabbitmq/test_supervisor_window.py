"""The window of a queue in bytes: fewer messages for later consumers where bodies are big, and a word about the one that runs."""

from __future__ import annotations

import logging

import pytest
from tests.brokers.rabbitmq.line import Line

from holdgate.brokers.rabbitmq.supervisor import Window
from holdgate.flow.message import Queue
from holdgate.testing.clock import run_virtual

MIB = 1024 * 1024


def window(*sizes: int, room: int | None = 64 * MIB) -> Window:
    made = Window(Queue("orders"), 50, room)
    for size in sizes:
        made.add_size(size)
    return made


def test_small_bodies_leave_the_window_alone() -> None:
    """Fifty times a kilobyte, nothing seen yet, and no bound."""
    assert (window(1000, 2000).size, window().size, window(8 * MIB, room=None).size) == (50, 50, 50)


def test_big_bodies_make_the_next_window_smaller() -> None:
    """As many as there is room for, by their mean, and one at least."""
    assert (window(8 * MIB, 8 * MIB).size, window(MIB, 3 * MIB).size, window(100 * MIB).size) == (8, 32, 1)


def test_the_mean_follows_the_times() -> None:
    """Big ones of last week are forgotten."""
    assert window(*[8 * MIB] * 500, *[1000] * 5000).size == 50


def test_a_window_that_is_too_big_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    """With the figures, and what to set."""
    big = window(8 * MIB)
    with caplog.at_level(logging.WARNING):
        big.warn()
        big.warn()
        window(1000).warn()
        window(8 * MIB, room=None).warn()

    (line,) = caplog.messages
    assert line == (
        "orders: prefetch=50 times a mean body of 8.0 MiB is 400 MiB, but this queue may have 64 MiB of Guard(memory=), and RabbitMQ "
        "sends a whole prefetch unasked: set prefetch=8, or raise memory=. Consumers that start later take 8"
    )


def test_a_channel_tells_the_size_of_what_arrives() -> None:
    """Also of what is not handed out: it is in memory all the same."""

    async def arrives() -> list[int]:
        line = Line()
        await line.channel.consume(10, {})
        await line.arrive(1, 2)
        return line.sizes

    assert run_virtual(arrives()) == [4, 4]
