"""The target of dead letters: opened, refused, closed, and what a run does without one."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
from tests.runtime.outbox_stage import (
    POISON,
    Picky,
    committed,
    orders,
    with_poison,
)
from tests.runtime.stage import (
    Handler,
    broker_with,
    quiet_guard,
    running,
    until,
)

from holdgate import Queue, RetryPolicy
from holdgate.errors import IntakeError, SettingsError
from holdgate.testing import MemoryBroker, MemoryDeadLetters, MemoryIntake, QueueSettings, in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Collection


# -- opening and closing ---------------------------------------------------------------------------------------------------------------


class Target(MemoryDeadLetters):
    """Raises what it was told to."""

    def __init__(self) -> None:
        super().__init__()
        self.opens: list[Collection[str] | None] = []
        self.breaks: dict[str, BaseException] = {}

    async def open(self, names: Collection[str] | None) -> None:
        self.opens.append(names)
        if "open" in self.breaks:
            raise self.breaks["open"]
        await super().open(names)

    async def close(self) -> None:
        await super().close()
        if "close" in self.breaks:
            raise self.breaks["close"]


@in_virtual_time
async def test_a_target_that_cannot_open_ends_the_run_before_anything_is_consumed() -> None:
    """It is told the topics, its error is raised, the intake was never opened, and what never opened is not closed."""
    broker, dead = with_poison(), Target()
    dead.breaks["open"] = IntakeError("no topic 'orders.dead'")
    intake = orders(broker)
    async with quiet_guard() as guard:
        with pytest.raises(IntakeError, match=r"orders\.dead"):
            await guard.run(intake, Picky(), dead_letters=dead)
    assert [set(names or ()) for names in dead.opens] == [{"orders"}]
    assert (intake.listener, dead.users) == (None, 0)


@in_virtual_time
async def test_a_target_that_cannot_close_is_an_error_of_the_run() -> None:
    """It may hold letters that nobody has confirmed."""
    broker, dead = with_poison(), Target()
    dead.breaks["close"] = IntakeError("no goodbye")
    async with quiet_guard() as guard:
        run = asyncio.create_task(guard.run(orders(broker), Picky(), dead_letters=dead))
        await until(lambda: committed(broker) == 5)
        await guard.stop()
        with pytest.raises(IntakeError, match="no goodbye"):
            await run


@in_virtual_time
async def test_one_target_serves_several_runs() -> None:
    """Each opens and closes it."""
    broker, dead = MemoryBroker(topics={"orders": 1, "mails": 1}), MemoryDeadLetters()
    for topic in ("orders", "mails"):
        broker.produce(topic, POISON)
    async with quiet_guard() as guard:
        runs = [guard.run(MemoryIntake(broker, topics=[topic], group=topic), Picky(), dead_letters=dead) for topic in ("orders", "mails")]
        async with running(runs[0]), running(runs[1]):
            await until(lambda: len(dead.letters) == 2)
            assert dead.users == 2
    assert dead.users == 0


@in_virtual_time
async def test_something_else_is_refused_as_dead_letters() -> None:
    """A producer, say; the text shows what is meant."""
    async with quiet_guard() as guard:
        with pytest.raises(SettingsError, match=r"dead_letters=object .* KafkaDeadLetters\(producer\)"):
            await guard.run(orders(broker_with(1)), Handler(), dead_letters=object())  # type: ignore[arg-type]


# -- without dead letters --------------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_queue_rejects_by_itself_what_nobody_takes() -> None:
    """As RabbitMQ does: to the queue's own dead letter exchange."""
    broker = MemoryBroker(queues=["graves"])
    broker.create_queue("orders", QueueSettings(dead_letters="graves"))
    for body in (b"1", POISON, b"2"):
        broker.produce("orders", body)
    handler = Picky()
    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker, queues=["orders"]), handler)):
        await until(lambda: not broker.waiting(Queue("orders")))
    assert [message.body for message in broker.waiting(Queue("graves"))] == [POISON]
    assert len(handler.done) == 2


@in_virtual_time
async def test_a_queue_with_dead_letters_acknowledges_what_they_have_confirmed() -> None:
    """Its own dead letter exchange gets nothing."""
    broker, dead = MemoryBroker(queues=["graves"]), MemoryDeadLetters()
    broker.create_queue("orders", QueueSettings(dead_letters="graves"))
    broker.produce("orders", POISON)
    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker, queues=["orders"]), Picky(), dead_letters=dead)):
        await until(lambda: not broker.waiting(Queue("orders")))
    assert [letter.body for letter in dead.letters] == [POISON]
    assert not broker.waiting(Queue("graves"))


@pytest.mark.parametrize(
    ("settings", "level"),
    [
        ({}, logging.WARNING),
        ({"dead_letters": MemoryDeadLetters()}, None),
        ({"retry": RetryPolicy(on_exhausted="skip")}, None),
    ],
    ids=["nothing given", "dead letters", "skipping"],
)
def test_a_partition_that_a_rejected_message_would_block_is_told_of_at_start(
    settings: dict[str, Any], level: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Where nobody has said what is to become of it."""
    caplog.set_level(logging.INFO, logger="holdgate")

    @in_virtual_time
    async def run() -> None:
        async with quiet_guard() as guard, running(guard.run(orders(broker_with(1)), Handler(), **settings)):
            await asyncio.sleep(1)

    run()
    said = [record.levelno for record in caplog.records if "no dead_letters given" in record.getMessage()]
    assert said == ([] if level is None else [level])


@in_virtual_time
async def test_a_queue_is_said_to_reject_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    """Here it has nowhere to put them, and that is said."""
    caplog.set_level(logging.INFO, logger="holdgate")
    broker = MemoryBroker(queues=["orders"])
    async with quiet_guard() as guard, running(guard.run(MemoryIntake(broker, queues=["orders"]), Handler())):
        await asyncio.sleep(1)
    assert "; rejected messages are dropped: the queue has no dead letter exchange" in caplog.text
    assert "will block" not in caplog.text
