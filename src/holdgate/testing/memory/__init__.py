"""An in-memory Kafka and RabbitMQ, for tests without a broker: a pure model of each, and the asyncio shell that is their intake."""

from __future__ import annotations

from holdgate.testing.memory.broker import MemoryBroker
from holdgate.testing.memory.intake import MemoryDeadLetters, MemoryIntake
from holdgate.testing.memory.message import LedgerEntry, MemoryDelivery, Message
from holdgate.testing.memory.models import QueueSettings
from holdgate.testing.memory.share import ShareGroup, ShareRecord, ShareSettings, ShareState

__all__ = [
    "LedgerEntry",
    "MemoryBroker",
    "MemoryDeadLetters",
    "MemoryDelivery",
    "MemoryIntake",
    "Message",
    "QueueSettings",
    "ShareGroup",
    "ShareRecord",
    "ShareSettings",
    "ShareState",
]
