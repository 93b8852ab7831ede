"""An in-memory Kafka and RabbitMQ: the pure model of `holdgate.simulator.broker` in an asyncio shell, for tests without a broker."""

from __future__ import annotations

from holdgate.simulator.ledger import LedgerEntry
from holdgate.simulator.message import Message
from holdgate.simulator.queue import QueueSettings
from holdgate.testing.memory.broker import MemoryBroker
from holdgate.testing.memory.dead_letters import MemoryDeadLetters
from holdgate.testing.memory.delivery import MemoryDelivery
from holdgate.testing.memory.intake import MemoryIntake

__all__ = ["LedgerEntry", "MemoryBroker", "MemoryDeadLetters", "MemoryDelivery", "MemoryIntake", "Message", "QueueSettings"]
