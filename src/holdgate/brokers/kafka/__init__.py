"""Kafka through aiokafka: the intake, its deliveries, dead letters, and the report of records that retention deleted during a hold."""

from __future__ import annotations

from holdgate.errors import MissingExtra

try:
    import aiokafka as _aiokafka
except ImportError as error:
    raise MissingExtra("aiokafka is not installed: pip install 'holdgate[kafka]'") from error

from holdgate.brokers.kafka.dead_letters import KafkaDeadLetters
from holdgate.brokers.kafka.deliveries import KafkaDelivery
from holdgate.brokers.kafka.fleet_log import KafkaFleetLog
from holdgate.brokers.kafka.intake import KafkaIntake
from holdgate.brokers.retention import RecordsLost

del _aiokafka

__all__ = ["KafkaDeadLetters", "KafkaDelivery", "KafkaFleetLog", "KafkaIntake", "RecordsLost"]
