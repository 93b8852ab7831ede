"""A window that grows by what waits in it: further consumers beside the first one, and their end."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from tests.brokers.rabbitmq.line import SOURCE, Line, supervisor

from holdgate.brokers.rabbitmq.client import ConsumerCancelled
from holdgate.brokers.rabbitmq.supervisor import Window
from holdgate.flow.message import Settlement
from holdgate.flow.plan import Plan, SourcePlan
from holdgate.testing import run_virtual


class Watched:
    """A supervisor of a queue with a prefetch of ten, whose plan says how many are passed."""

    def __init__(self, **settings: Any) -> None:
        self.line = Line()
        self.passed = 0
        self.supervisor = supervisor(**settings)
        self.supervisor._plan = lambda: Plan({SOURCE: SourcePlan(passed=self.passed)})
        self.supervisor._look_every = 0.01

    async def steps(self, *passed: int) -> list[tuple[Any, ...]]:
        """Take a step for each, and return the calls on the channel."""
        self.line.raw.calls.clear()
        for self.passed in passed:
            await self.supervisor._step(self.line.channel)
        return [call[:2] for call in self.line.raw.calls]

    async def consume(self) -> None:
        await self.line.channel.consume(10, {})


def test_a_further_consumer_begins_for_what_is_passed() -> None:
    """The first one keeps its window; the next ones are a quarter of the whole at least, so that they stay few."""

    async def grows() -> list[tuple[Any, ...]]:
        watched = Watched()
        await watched.consume()
        return await watched.steps(0, 5, 5, 10, 10, 40, 41, 41)

    qos = [call[1] for call in run_virtual(grows()) if call[0] == "qos"]
    assert qos == [5, 5, 30, 12]


def test_they_end_when_nothing_is_passed_any_more() -> None:
    """Acks wait until the wire is empty, and are sent after the cancels: those of the first consumer go on."""

    async def ends() -> tuple[list[tuple[Any, ...]], int, str | None]:
        watched = Watched()
        await watched.consume()
        await watched.steps(5)
        await watched.line.arrive(1)
        watched.line.channel.settle(watched.line.channel.unsettled[1], Settlement.ACK)
        calls = await watched.steps(0, 0)
        return calls, watched.line.channel.extra, watched.line.channel.consumer

    assert run_virtual(ends()) == ([("cancel", "tag"), ("ack", 1)], 0, "tag")


def test_a_channel_that_dies_while_it_narrows_is_left_alone() -> None:
    """Its messages come again; a call on it would raise."""

    async def dies() -> list[tuple[Any, ...]]:
        watched = Watched()
        await watched.consume()
        await watched.steps(5)
        watched.line.channel.alive = False
        return await watched.steps(0)

    assert run_virtual(dies()) == []


@pytest.mark.parametrize("single_active", [True, False])
def test_a_window_that_cannot_grow_is_named_once(single_active: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Beside a single active consumer no other gets anything; and memory may have no room."""

    async def stays() -> list[tuple[Any, ...]]:
        watched = Watched(single_active=single_active)
        watched.supervisor._window = Window(SOURCE, 10, 1000)
        watched.supervisor._window.add_size(10 if single_active else 100)
        watched.supervisor._window._warned = True
        await watched.consume()
        return await watched.steps(5, 10)

    with caplog.at_level(logging.WARNING):
        assert run_virtual(stays()) == []
    why = "it has a single active consumer" if single_active else "Guard(memory=) has no room for more"
    (record,) = caplog.records
    assert record.getMessage() == (
        f"orders: 5 messages wait for dependencies that are down, and its window cannot grow for the others, since {why}: once it is full,"
        " the others wait, too; fallback= can park those messages, or give each kind a queue of its own"
    )


def test_a_window_grows_no_further_than_memory_has_room() -> None:
    """Of a hundred bytes each, fifteen fit."""

    async def grows() -> list[tuple[Any, ...]]:
        watched = Watched()
        watched.supervisor._window = Window(SOURCE, 10, 1500)
        watched.supervisor._window.add_size(100)
        await watched.consume()
        return await watched.steps(20)

    assert run_virtual(grows()) == [("qos", 5), ("consume", "orders")]


def test_a_broker_that_cancels_a_further_consumer_ends_the_channel() -> None:
    """Nothing that is out is ours any more, whoever brought it."""

    async def cancelled() -> tuple[bool, BaseException | None, int]:
        watched = Watched()
        line = watched.line
        await line.channel.widen(5, {})
        line.channel._cancelled("another")
        assert line.channel.alive
        line.channel._cancelled("tag")
        return line.channel.alive, line.channel.reason, len(line.lost)

    alive, reason, lost = run_virtual(cancelled())
    assert (alive, type(reason), lost) == (False, ConsumerCancelled, 1)


def test_all_consumers_end_before_messages_go_back() -> None:
    """A further one would get them at once."""

    async def cancels() -> list[tuple[Any, ...]]:
        watched = Watched(nacks=True)
        await watched.consume()
        await watched.line.channel.widen(5, {})
        await watched.line.arrive(1)
        watched.line.raw.calls.clear()
        await watched.supervisor._return_all(watched.line.channel)
        return watched.line.raw.calls

    assert run_virtual(cancels()) == [("cancel", "tag"), ("cancel", "tag"), ("nack", 1, True)]


def test_messages_that_wait_for_long_are_no_fault_of_slow_handlers(caplog: pytest.LogCaptureFixture) -> None:
    """They go back before the consumer timeout as in any hold, without advice that would not help."""

    async def goes_back() -> None:
        watched = Watched(timeout=100.0, margin=20.0)
        await watched.consume()
        watched.passed = 5

        class Guard:
            async def revoked(self, sources: object) -> None: ...

            def assigned(self, sources: object) -> Plan:
                return Plan()

        watched.supervisor._guard = Guard()  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
        await watched.line.arrive(1)
        watched.line.channel.unsettled[1].arrived_at -= 90.0
        await watched.steps(5)

    with caplog.at_level(logging.WARNING):
        run_virtual(goes_back())
    assert "too slow" not in caplog.text
