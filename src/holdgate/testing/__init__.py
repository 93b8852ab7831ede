"""For your tests: brokers in memory, time that jumps, and the cases every intake must pass. Needs no broker and no test framework."""

from __future__ import annotations

from holdgate.testing.clock import NO_JITTER, LoopClock, ManualClock, Stalled, VirtualEventLoop, in_virtual_time, run_virtual
from holdgate.testing.memory import (
    LedgerEntry,
    MemoryBroker,
    MemoryDeadLetters,
    MemoryDelivery,
    MemoryIntake,
    Message,
    QueueSettings,
)
from holdgate.testing.rehearsal import Outage, Rehearsal, rehearse

__all__ = [
    "NO_JITTER",
    "LedgerEntry",
    "LoopClock",
    "ManualClock",
    "MemoryBroker",
    "MemoryDeadLetters",
    "MemoryDelivery",
    "MemoryIntake",
    "Message",
    "Outage",
    "QueueSettings",
    "Rehearsal",
    "Stalled",
    "VirtualEventLoop",
    "in_virtual_time",
    "rehearse",
    "run_virtual",
]
