"""An in-memory Kafka and RabbitMQ for tests: a pure model of each, the asyncio shell that is their intake, and the log of a fleet."""

from __future__ import annotations

from holdgate.testing.memory.broker import MemoryBroker
from holdgate.testing.memory.fleet_log import NO_TROUBLE, LogTrouble, MemoryFleetLog, MemoryLogServer
from holdgate.testing.memory.intake import MemoryDeadLetters, MemoryIntake
from holdgate.testing.memory.message import LedgerEntry, MemoryDelivery, Message
from holdgate.testing.memory.models import QueueSettings
from holdgate.testing.memory.share import ShareGroup, ShareRecord, ShareSettings, ShareState

__all__ = [
    "NO_TROUBLE",
    "LedgerEntry",
    "LogTrouble",
    "MemoryBroker",
    "MemoryDeadLetters",
    "MemoryDelivery",
    "MemoryFleetLog",
    "MemoryIntake",
    "MemoryLogServer",
    "Message",
    "QueueSettings",
    "ShareGroup",
    "ShareRecord",
    "ShareSettings",
    "ShareState",
]
