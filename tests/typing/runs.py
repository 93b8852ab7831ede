"""Runs, deliveries, needs and settings, as a type checker sees them. Checked, and never run."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, assert_type

from aio_pika import IncomingMessage
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from holdgate import (
    CircuitSettings,
    CountWindow,
    Delivery,
    Dependency,
    Guard,
    Health,
    Limits,
    LogSettings,
    Parking,
    Partition,
    Queue,
    RampSettings,
    RetryPolicy,
    Settings,
    Snapshot,
    SourceSnapshot,
    State,
    TimeWindow,
    http,
    load,
    needs_by_header,
)
from holdgate.brokers.kafka import KafkaDeadLetters, KafkaDelivery, KafkaIntake
from holdgate.brokers.rabbitmq import RabbitMQDeadLetters, RabbitMQDelivery, RabbitMQIntake
from holdgate.control import Control
from holdgate.events import AnyEvent
from holdgate.ports import DeadLetters, Intake
from holdgate.presets import sql

payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after, settings=CircuitSettings(open_duration=5))
database = Dependency("database", failures=sql.failures, limits=Limits(rate=100, per=60))

# -- deliveries -----------------------------------------------------------------------------------------------------------------------


async def any_message(delivery: Delivery[Any]) -> None:
    """What every broker's message has."""
    assert_type(delivery.body, bytes | None)
    assert_type(delivery.key, bytes | None)
    assert_type(delivery.headers, Mapping[str, Any])
    assert_type(delivery.attempt, int)
    assert_type(delivery.source, Partition | Queue)
    assert_type(delivery.timestamp, float | None)
    delivery.reject("no amount")
    delivery.retry(after=5.0)
    delivery.retry(after="5")  # type: ignore[arg-type]


def of_rabbitmq(delivery: Delivery[IncomingMessage]) -> str | None:
    """A delivery is generic in the client's own message, and has its attributes."""
    assert_type(delivery.message, IncomingMessage)
    return delivery.message.routing_key


def own_classes(record: KafkaDelivery, message: RabbitMQDelivery) -> tuple[Any, IncomingMessage]:
    """Those of the two brokers say what theirs is."""
    return record.message, message.message


async def batch(deliveries: Sequence[Delivery[Any]]) -> None:
    """With `batch=` a handler takes several."""
    assert_type([each.body for each in deliveries], list[bytes | None])


def plain(delivery: Delivery[Any]) -> None:
    """A plain handler runs in a thread."""


def needs_of(delivery: Delivery[Any]) -> list[Dependency]:
    """What one message needs."""
    return [payments] if delivery.key else [payments, database]


async def wrong(first: str, second: str) -> None:
    """No handler: it takes two arguments."""


# -- runs -----------------------------------------------------------------------------------------------------------------------------


async def runs(consumer: AIOKafkaConsumer, dead: DeadLetters) -> None:
    """Every form of handler and of needs."""
    kafka = KafkaIntake(consumer, topics=["orders"])
    rabbitmq = RabbitMQIntake("amqp://localhost/", "orders", prefetch=20)
    either: Sequence[Intake[Any]] = [kafka, rabbitmq]
    async with Guard(database, drain_timeout=timedelta(seconds=20), observers=[seen]) as guard:
        assert_type(guard, Guard)
        await guard.run(either[0], any_message, needs=[payments], dead_letters=dead)
        await guard.run(kafka, plain, needs=[payments], order="key", concurrency=8, retry=RetryPolicy(attempts=3))
        await guard.run(kafka, batch, needs=[payments], batch=100)
        await guard.run(rabbitmq, {"orders": any_message, "mails": plain}, needs={"orders": [payments], "mails": needs_of})
        await guard.run(rabbitmq, any_message, needs=needs_of, fallback=plain, fallback_after=60)
        await guard.run(rabbitmq, any_message, needs=needs_by_header("type", {"mail": [payments]}, otherwise=[]))
        await guard.run(rabbitmq, any_message, needs=payments)  # type: ignore[arg-type]
        await guard.run(rabbitmq, any_message, needs=["payments"])  # type: ignore[list-item]
        await guard.run(rabbitmq, wrong, needs=[payments])  # type: ignore[arg-type]
        await guard.run(rabbitmq, any_message, order="random")  # type: ignore[arg-type]
        await guard.run(rabbitmq, any_message, concurency=8)  # type: ignore[call-arg]


async def loop(guard: Guard, intake: Intake[Any]) -> None:
    """The loop form: its deliveries have what a handler's have."""
    async with guard.deliveries(intake, needs=[payments]) as deliveries:
        async for delivery in deliveries:
            async with delivery:
                assert_type(delivery.body, bytes | None)
                assert_type(delivery.attempt, int)


def seen(event: AnyEvent) -> None:
    """An observer."""
    assert_type(event.at, float)


def asked(guard: Guard) -> None:
    """What a guard answers is frozen, and so is what its commands take."""
    assert_type(guard.health(), Health)
    snapshot = guard.snapshot()
    assert_type(snapshot, Snapshot)
    assert_type(snapshot.dependencies["payments"].state, State)
    assert_type(snapshot.sources[Partition("orders", 0)], SourceSnapshot)
    guard.hold(Queue("orders"), reason="a migration")
    guard.hold("orders", reason="a migration", for_=timedelta(hours=1))
    guard.force_open("payments")  # type: ignore[call-arg]
    snapshot.dependencies["payments"].state = State.OPEN  # type: ignore[misc]


# -- settings -------------------------------------------------------------------------------------------------------------------------


def settings(dead: DeadLetters, producer: AIOKafkaProducer) -> None:
    """Frozen, with keywords."""
    window: CountWindow | TimeWindow = TimeWindow(60)
    CircuitSettings(window=window, ramp=RampSettings())
    CircuitSettings(CountWindow(20))  # type: ignore[call-arg]
    CircuitSettings(failure_rate_threshold="0.5")  # type: ignore[arg-type]
    CircuitSettings().minimum_calls = 5  # type: ignore[misc]
    Limits(rate=100, per=60)
    Limits(rate="100")  # type: ignore[arg-type]
    RetryPolicy(attempts=5, max_backoff=timedelta(minutes=1))
    LogSettings(repeat_every=60)
    assert_type(load("holdgate.toml"), Settings)
    Guard(control=Control(port=9099))
    letters: list[DeadLetters] = [dead, KafkaDeadLetters(producer), RabbitMQDeadLetters("amqp://localhost/", "{queue}.dead")]
    assert_type(letters, list[DeadLetters])
    Parking("anywhere")  # type: ignore[arg-type]
