"""For your tests: brokers in memory, time that jumps, and the cases every intake must pass. Needs no broker and no test framework."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdgate.testing.clock import NO_JITTER, LoopClock, ManualClock, Stalled, VirtualEventLoop, in_virtual_time, run_virtual
from holdgate.testing.memory import (
    NO_TROUBLE,
    LedgerEntry,
    LogTrouble,
    MemoryBroker,
    MemoryDeadLetters,
    MemoryDelivery,
    MemoryFleetLog,
    MemoryIntake,
    MemoryLogServer,
    Message,
    QueueSettings,
)
from holdgate.testing.outages import Answered, Dropped, ErrorAnswer, Hung, Met, Outage, Refused, ScriptedDependency
from holdgate.testing.rehearsal import Record, rehearse, rehearse_async
from holdgate.testing.report import Rehearsal

__all__ = [
    "NO_JITTER",
    "NO_TROUBLE",
    "Answered",
    "Dropped",
    "ErrorAnswer",
    "Hung",
    "LedgerEntry",
    "LogTrouble",
    "LoopClock",
    "ManualClock",
    "MemoryBroker",
    "MemoryDeadLetters",
    "MemoryDelivery",
    "MemoryFleetLog",
    "MemoryIntake",
    "MemoryLogServer",
    "Message",
    "Met",
    "Outage",
    "QueueSettings",
    "Record",
    "Refused",
    "Rehearsal",
    "ScriptedDependency",
    "Stalled",
    "VirtualEventLoop",
    "in_virtual_time",
    "rehearse",
    "rehearse_async",
    "run_virtual",
]

if not TYPE_CHECKING:  # a type checker would take every name for one that is here

    def __getattr__(name: str) -> object:
        """Name the module of what is looked for here and is further down."""
        from holdgate.slips import no_such_name  # noqa: PLC0415 - for an error alone

        raise no_such_name(__name__, name)
