"""RabbitMQ, through aio-pika: the intake and its deliveries, dead letters, and reports of what would hurt, or does, in a long outage."""

from __future__ import annotations

from holdgate.errors import MissingExtra

try:
    import aio_pika as _aio_pika
except ImportError as error:
    raise MissingExtra("aio-pika is not installed: pip install 'holdgate[rabbitmq]'") from error

from holdgate.brokers.rabbitmq.channel import RabbitMQDelivery
from holdgate.brokers.rabbitmq.checks import Diagnosis
from holdgate.brokers.rabbitmq.dead_letters import RabbitMQDeadLetters
from holdgate.brokers.rabbitmq.fleet_log import RabbitMQFleetLog
from holdgate.brokers.rabbitmq.intake import RabbitMQIntake
from holdgate.brokers.rabbitmq.terms import DeliveryLimitNear

del _aio_pika

__all__ = ["DeliveryLimitNear", "Diagnosis", "RabbitMQDeadLetters", "RabbitMQDelivery", "RabbitMQFleetLog", "RabbitMQIntake"]
