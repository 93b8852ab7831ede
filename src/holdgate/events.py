"""Every event that an observer may get: `Guard(observers=[...])`, or `Circuit.take_events` for a circuit alone.

Events are frozen values in the past tense. None of them has a payload, a key or a header in it. `at` is the guard's monotonic second. They
come in the order in which they happened, and an observer gets them at the end of the turn in which they happened.

The order here is that of an outage: what led to it, what it stopped, how it ended; then single messages, doubts, and what operators did.
"""

from __future__ import annotations

from holdgate.core.events import (
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    CircuitReset,
    Event,
    LeaseExpired,
    LeaseTooShort,
    LimitChanged,
    OverrideCleared,
    OverrideSet,
    ThresholdExceeded,
)
from holdgate.fleet.events import (
    ConductorChanged,
    FleetEvent,
    FleetLogCameBack,
    FleetLogFellSilent,
    FleetMembersChanged,
    FleetOpened,
    FleetOrdered,
    FleetRecovered,
    LocalCauseFound,
)
from holdgate.flow.events import (
    AnyEvent,
    AttributionShared,
    Command,
    CommandEnded,
    CommandGiven,
    DependencyMet,
    FleetCommand,
    FlowEvent,
    HandlerStuck,
    HoldContinued,
    KeysHeld,
    KeysReleased,
    LimitBegan,
    LimitEnded,
    LimitMoved,
    LocalCauseSuspected,
    MessagesHeld,
    MessageSkipped,
    OutageOver,
    OutageSuspected,
    SourceBlocked,
    SourceEvent,
    SourceFallingBack,
    SourceHeld,
    SourceReleased,
    SourceRetried,
    UndeclaredNeed,
)

__all__ = [  # noqa: RUF022 - the order of the docstring
    # What every event is one of.
    "AnyEvent",
    "Event",
    "FlowEvent",
    "SourceEvent",
    "FleetEvent",
    # A circuit, from its threshold to the full rate.
    "ThresholdExceeded",
    "CircuitOpened",
    "CircuitHalfOpened",
    "LimitChanged",
    "CircuitClosed",
    "LeaseExpired",
    "LeaseTooShort",
    # How many calls it takes.
    "LimitBegan",
    "LimitMoved",
    "LimitEnded",
    "KeysHeld",
    "KeysReleased",
    # What a fleet of workers agrees on (`Guard(fleet=...)`).
    "FleetOpened",
    "ConductorChanged",
    "FleetRecovered",
    "LocalCauseFound",
    "FleetMembersChanged",
    "FleetLogFellSilent",
    "FleetLogCameBack",
    "FleetOrdered",
    # What it does to sources.
    "SourceHeld",
    "MessagesHeld",
    "HoldContinued",
    "SourceFallingBack",
    "SourceReleased",
    # A single message, or a handler.
    "SourceBlocked",
    "MessageSkipped",
    "HandlerStuck",
    # What the guard is not sure of, and what would make it sure.
    "OutageSuspected",
    "OutageOver",
    "LocalCauseSuspected",
    "AttributionShared",
    "DependencyMet",
    "UndeclaredNeed",
    # What an operator did.
    "Command",
    "FleetCommand",
    "CommandGiven",
    "CommandEnded",
    "SourceRetried",
    "OverrideSet",
    "OverrideCleared",
    "CircuitReset",
]
