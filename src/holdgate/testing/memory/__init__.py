"""An in-memory Kafka and RabbitMQ, for tests without a broker: a pure model of each, and the asyncio shell that is their intake."""

from __future__ import annotations

from holdgate.testing.memory.broker import MemoryBroker
from holdgate.testing.memory.dead_letters import MemoryDeadLetters
from holdgate.testing.memory.delivery import MemoryDelivery
from holdgate.testing.memory.intake import MemoryIntake
from holdgate.testing.memory.message import LedgerEntry, Message
from holdgate.testing.memory.rabbitmq_model import QueueSettings

__all__ = ["LedgerEntry", "MemoryBroker", "MemoryDeadLetters", "MemoryDelivery", "MemoryIntake", "Message", "QueueSettings"]
