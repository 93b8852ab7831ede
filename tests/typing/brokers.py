"""The other intakes, and the logs by which a fleet agrees, as a type checker sees them. Checked, and never run."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, assert_type

from holdgate import Delivery, Dependency, Guard
from holdgate.brokers.confluent import ConfluentDeadLetters, ConfluentDelivery, ConfluentIntake
from holdgate.brokers.kafka import KafkaFleetLog
from holdgate.brokers.rabbitmq import RabbitMQFleetLog
from holdgate.brokers.redis import RedisFleetLog
from holdgate.brokers.share import ShareDelivery, ShareIntake
from holdgate.ports import DeadLetters, Intake

payments = Dependency("payments")
SETTINGS = {"bootstrap.servers": "localhost:9092", "group.id": "charger"}


async def any_message(delivery: Delivery[Any]) -> None:
    """A handler for every intake."""


def own_classes(record: ConfluentDelivery, shared: ShareDelivery) -> None:
    """What every broker's message has, they have too."""
    assert_type(record.body, bytes | None)
    assert_type(record.headers, Mapping[str, Any])
    assert_type(shared.key, bytes | None)
    assert_type(shared.attempt, int)


async def runs(guard: Guard) -> None:
    """Both take librdkafka's settings, and are intakes."""
    confluent = ConfluentIntake(SETTINGS, topics=["orders"], commit_every=timedelta(seconds=1))
    share = ShareIntake(SETTINGS, "orders", in_hand=10)
    intakes: list[Intake[Any]] = [confluent, share]
    letters: DeadLetters = ConfluentDeadLetters(SETTINGS, "{topic}.dead")
    for intake in intakes:
        await guard.run(intake, any_message, needs=[payments], dead_letters=letters)
    ConfluentIntake(SETTINGS, topic="orders")  # type: ignore[call-arg]
    ShareIntake(SETTINGS, 1)  # type: ignore[arg-type]


def fleets() -> None:
    """Any of three logs."""
    Guard(fleet=KafkaFleetLog(bootstrap_servers="localhost:9092"))
    Guard(fleet=RabbitMQFleetLog("amqp://localhost/", stream="fleet"))
    Guard(fleet=RedisFleetLog("redis://localhost/"))
    Guard(fleet="redis://localhost/")  # type: ignore[arg-type]
    RedisFleetLog(1)  # type: ignore[arg-type]
