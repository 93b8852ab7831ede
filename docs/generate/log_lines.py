"""What each event looks like in the log: one example per event, written by the code that writes the log."""

from __future__ import annotations

import logging
import re

from docs.generate.tables import table

from holdgate.core.states import Override, Reason, State
from holdgate.events import (
    AnyEvent,
    AttributionShared,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    CircuitReset,
    CommandEnded,
    CommandGiven,
    DependencyMet,
    HandlerStuck,
    HoldContinued,
    LeaseExpired,
    LeaseTooShort,
    LimitChanged,
    LocalCauseSuspected,
    MessageSkipped,
    OutageOver,
    OutageSuspected,
    OverrideCleared,
    OverrideSet,
    SourceBlocked,
    SourceFallingBack,
    SourceHeld,
    SourceReleased,
    SourceRetried,
    ThresholdExceeded,
    UndeclaredNeed,
)
from holdgate.flow.message import Partition
from holdgate.runtime.log import Announcer

_ORDERS = Partition("orders", 3)
_HELD = ("circuit:payments",)

# Each with what its reader should do, empty for nothing.
EXAMPLES: list[tuple[AnyEvent, str]] = [
    (ThresholdExceeded("payments", 90.0, 0, Reason.CONSECUTIVE_FAILURES, 5, 5), "The rule that was met; the next line says what follows."),
    (
        CircuitOpened("payments", 90.0, 1, Reason.CONSECUTIVE_FAILURES, 95.2, 1, State.CLOSED),
        "The dependency is down, for the reason in brackets ([all reasons](states.md#why-a-circuit-opens)). Look at the dependency.",
    ),
    (SourceHeld(90.0, _ORDERS, _HELD), "These partitions wait, for these reasons. Nothing is lost, and nothing to do here."),
    (
        HoldContinued(690.0, _ORDERS, _HELD, 90.0, 702.0),
        "Every `hold_warn_after`, for a hold that lasts. Keep an eye on the topic's retention.",
    ),
    (CircuitHalfOpened("payments", 95.2, 2, State.OPEN), "One message finds out whether the dependency answers again."),
    (LimitChanged("payments", 96.0, 2, 2, 4), "The ramp. Fewer than before means that the last stage went badly."),
    (CircuitClosed("payments", 99.0, 3, State.HALF_OPEN), "The dependency is back."),
    (SourceReleased(99.0, _ORDERS, 9.0), "The partitions go on where they stood."),
    (
        SourceBlocked(120.0, _ORDERS, 4711, 5, "KeyError"),
        "Fix the handler and deploy, or skip the message. Once a minute until then.",
    ),
    (
        SourceBlocked(120.0, _ORDERS, 4711, 6, "ConnectionError", suspect=True),
        "The circuit has opened, or could have, and another attempt failed. The message is tried again; a health `probe` can tell.",
    ),
    (
        MessageSkipped(120.0, _ORDERS, 4711, "duplicate", by_operator=True),
        "It was settled without having been processed.",
    ),
    (SourceRetried(120.0, _ORDERS, 2, "handler mended"), "An operator did that: they start afresh, or their dead letters are sent now."),
    (
        HandlerStuck(690.0, _ORDERS, 4711, 600.0),
        "Every `hold_warn_after`, for a handler that does not end. Give it a time limit, or the run a `timeout`.",
    ),
    (SourceFallingBack(90.0, _ORDERS, ("payments",)), "Its messages go to the fallback until the dependency is tried again."),
    (
        AttributionShared(120.0, _ORDERS, ("payments", "ledger")),
        "With several needs the guard cannot tell whose exception it was. Call them by `dependency.call`.",
    ),
    (
        DependencyMet(80.0, _ORDERS, "ledger"),
        "Add the dependency to `needs`: [until then](../how-to/call-a-dependency.md#a-dependency-that-nobody-has-declared).",
    ),
    (UndeclaredNeed(120.0, _ORDERS, "ledger"), "Add the dependency to `needs`."),
    (
        LocalCauseSuspected(90.0, ("ledger", "payments")),
        "Look at this machine first: network, DNS, clock.",
    ),
    (
        OutageSuspected(90.0, (_ORDERS,), "httpx.ConnectError", 3, 3, 90.0),
        "Do what it says; once a minute. [The rule](../explanation/fate-of-a-message.md#an-outage-nobody-described).",
    ),
    (
        OutageSuspected(90.0, (_ORDERS,), "KeyError", 12, 12, 90.0, is_bug=True, began=30.0),
        "Look at the handler, and at what the producers have deployed since then. Nothing is lost meanwhile.",
    ),
    (
        OutageSuspected(90.0, (_ORDERS,), "httpx.HTTPStatusError", 12, 12, 90.0, status=401, began=30.0),
        "Look at the token, or the address. [More](../how-to/sort-errors.md#a-bug-an-expired-token-a-wrong-address).",
    ),
    (OutageOver(190.0, (_ORDERS,), "httpx.ConnectError", 100.0), "It goes on. Declare what the line before it has named."),
    (
        CommandGiven(90.0, "hold", "orders", "alice", "deploying 1.2.3", 1890.0),
        "Who did what, and why: [all commands](../how-to/operate.md).",
    ),
    (
        CommandEnded(1890.0, CommandGiven(90.0, "hold", "orders", "alice", "deploying 1.2.3", 1890.0)),
        "Its time was over, or the program itself has ended it. Nobody has to do anything.",
    ),
    (OverrideSet("payments", 90.0, 1, Override.FORCED_OPEN, None), "An operator did that; who, says the line before it."),
    (OverrideCleared("payments", 190.0, 2, Override.FORCED_OPEN), "An operator did that, or its time was over."),
    (CircuitReset("payments", 190.0, 3, State.OPEN), "An operator did that: immediately the full rate."),
    (
        LeaseExpired("payments", 400.0, 2, 100.0, 300.0),
        "A call of a half-open circuit did not come back and counts as failed. Does the call have a time limit?",
    ),
    (LeaseTooShort("payments", 450.0, 3, 350.0), "It did come back, and well. Raise `permit_lease` above `duration`."),
]


# The wall clock of a line is that of the machine.
_CLOCK = re.compile(r"since \d\d:\d\d")


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def table_rows() -> list[tuple[str, str, str, str]]:
    """Event, level, line and advice, as the guard's own announcer logs them."""
    kept = _Kept()
    log = logging.getLogger("holdgate")
    level, propagates = log.level, log.propagate
    log.addHandler(kept)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    try:
        for event, _ in EXAMPLES:
            Announcer(()).announce([event])
    finally:
        log.removeHandler(kept)
        log.setLevel(level)
        log.propagate = propagates
    return [
        (f"`{type(event).__name__}`", record.levelname, _code(_CLOCK.sub("since 03:12", record.getMessage())), advice)
        for (event, advice), record in zip(EXAMPLES, kept.records, strict=True)
    ]


def _code(line: str) -> str:
    return f"`` {line} ``" if "`" in line else f"`{line}`"


def log_table() -> str:
    """All of them."""
    return table(("event", "level", "line", "what to make of it"), table_rows())
