"""Kafka through confluent-kafka (librdkafka): the intake, its deliveries, and dead letters."""

from __future__ import annotations

from holdgate.errors import MissingExtra

try:
    import confluent_kafka.aio as _aio
except ImportError as error:
    raise MissingExtra("confluent-kafka is not installed, or too old: pip install 'holdgate[confluent]'") from error

from holdgate.brokers.confluent.dead_letters import ConfluentDeadLetters
from holdgate.brokers.confluent.deliveries import ConfluentDelivery
from holdgate.brokers.confluent.intake import ConfluentIntake
from holdgate.brokers.retention import RecordsLost

del _aio

__all__ = ["ConfluentDeadLetters", "ConfluentDelivery", "ConfluentIntake", "RecordsLost"]
