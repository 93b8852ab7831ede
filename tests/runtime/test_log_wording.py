"""Events in words: what a person reads in the log."""

from __future__ import annotations

import inspect
import time

import pytest

import holdgate.core.events
import holdgate.flow.events
from holdgate.core import (
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    CircuitReset,
    LeaseExpired,
    LeaseTooShort,
    LimitChanged,
    Override,
    OverrideCleared,
    OverrideSet,
    Reason,
    State,
    ThresholdExceeded,
)
from holdgate.events import (
    AnyEvent,
    AttributionShared,
    CommandEnded,
    CommandGiven,
    FlowEvent,
    HandlerStuck,
    HoldContinued,
    LocalCauseSuspected,
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
from holdgate.flow.message import Partition, Queue
from holdgate.runtime.log import _WORDS, words

ORDERS = Partition("orders", 3)
PAYMENTS = ("circuit:payments",)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            CircuitOpened("payments", 90.0, 1, Reason.CONSECUTIVE_FAILURES, 95.2, 1, State.CLOSED),
            "payments: closed -> open (consecutive_failures), next try in 5.2 s",
        ),
        (CircuitHalfOpened("payments", 95.2, 2, State.OPEN), "payments: open -> half open, one probe goes through"),
        (CircuitClosed("payments", 99.0, 3, State.HALF_OPEN), "payments: half open -> closed, full rate"),
        (LimitChanged("payments", 96.0, 2, 2, 4), "payments: half open, up to 4 calls in parallel now, 2 before"),
        (
            ThresholdExceeded("payments", 90.0, 0, Reason.FAILURE_RATE, 0.6, 0.5),
            "payments: failure_rate is 0.6, the threshold is 0.5",
        ),
        (
            ThresholdExceeded("payments", 90.0, 0, Reason.FAILURE_RATE, 0.6, 0.5, observed=True),
            "payments: failure_rate is 0.6, the threshold is 0.5; the circuit would have opened, and is only observed",
        ),
        (ThresholdExceeded("payments", 90.0, 0, Reason.PROBE, 1, 1), "payments: the probe failed"),
        (ThresholdExceeded("payments", 90.0, 0, Reason.SLOW_PROBE, 1, 1), "payments: the probe was slow"),
        (ThresholdExceeded("payments", 90.0, 0, Reason.PERMIT_LEASE, 1, 1), "payments: a call did not end within permit_lease"),
        (CircuitReset("payments", 1.0, 4, State.OPEN), "payments: reset by an operator to closed, immediately the full rate"),
        (OverrideSet("payments", 1.0, 4, Override.FORCED_OPEN, None), "payments: forced open by an operator, until it is cleared"),
        (OverrideSet("payments", 1.0, 4, Override.DISABLED, 61.0), "payments: disabled by an operator, for 1 min"),
        (OverrideCleared("payments", 1.0, 4, Override.METRICS_ONLY), "payments: no longer metrics only"),
        (
            LeaseExpired("payments", 400.0, 4, 100.0, 300.0),
            "payments: a call has not ended within 5 min (permit_lease), and counts as a failure now",
        ),
        (
            LeaseTooShort("payments", 500.0, 4, 400.0),
            "payments: a call succeeded after 6 min 40 s, and had counted as a failure by then: raise permit_lease above that",
        ),
        (SourceHeld(90.0, ORDERS, PAYMENTS), "holding orders[3]: circuit:payments"),
        (SourceReleased(99.0, Queue("mail"), 9.0), "no longer holding mail, held for 9.0 s"),
        (
            HoldContinued(690.0, ORDERS, PAYMENTS, 90.0, 702.0),
            "still holding orders[3] after 10 min: circuit:payments; next try in 12.0 s",
        ),
        (
            HoldContinued(690.0, ORDERS, ("operator",), 90.0, None),
            "still holding orders[3] after 10 min: operator; nothing is planned that would end it",
        ),
        (
            SourceBlocked(1.0, ORDERS, 7, 5, "KeyError"),
            (
                "orders[3] is blocked behind offset 7, which failed 5 times by its own fault (KeyError) and has nowhere to go."
                " Everything behind it waits."
            ),
        ),
        (
            SourceBlocked(1.0, Queue("mail"), 7, 0, ""),
            "mail is blocked behind delivery tag 7, which was rejected and has nowhere to go. Everything behind it waits.",
        ),
        (
            SourceBlocked(1.0, ORDERS, 7, 6, "KeyError", suspect=True),
            (
                "orders[3] is waiting behind offset 7, which has failed 6 times (KeyError). No other message has been tried meanwhile,"
                " so holdgate cannot tell a bad message from an outage."
            ),
        ),
        (
            CommandGiven(1.0, "hold", "orders", "alice", "deploying 1.2.3", 1801.0),
            "hold orders by alice, for 30 min: deploying 1.2.3",
        ),
        (
            CommandGiven(1.0, "clear_override", "payments", "the program", "it is back"),
            "clear override payments by the program: it is back",
        ),
        (CommandGiven(1.0, "skip", ORDERS, "bob", "test data", position=7), "skip orders[3]@7 by bob: test data"),
        (CommandGiven(1.0, "reload", "/etc/h.toml", "SIGHUP", "a 1 -> 2"), "settings: /etc/h.toml (SIGHUP) was read again: a 1 -> 2"),
        (
            CommandEnded(601.0, CommandGiven(1.0, "force_open", "payments", "alice", "migration", 601.0)),
            "force open payments by alice is over after 10 min",
        ),
        (SourceRetried(1.0, ORDERS, 2, "API fixed"), "orders[3]: an operator lets 2 rejected messages be tried again: API fixed"),
        (SourceFallingBack(1.0, ORDERS, ("payments", "mail")), "orders[3] falls back, because payments, mail cannot be called"),
        (HandlerStuck(601.0, ORDERS, 7, 600.4), "the handler of orders[3]@7 has run for 10 min and has not ended"),
        (MessageSkipped(1.0, ORDERS, 7, "KeyError", by_operator=False), "orders[3]@7 was skipped by the retry policy: KeyError"),
        (MessageSkipped(1.0, ORDERS, 7, "duplicate", by_operator=True), "orders[3]@7 was skipped by an operator: duplicate"),
        (
            UndeclaredNeed(1.0, ORDERS, "ledger"),
            "the handler of orders[3] called 'ledger', which is not in needs=: add it, and orders[3] is held while 'ledger' is down",
        ),
        (
            AttributionShared(1.0, ORDERS, ("a", "b")),
            "one exception on orders[3] counted against a, b: call each by `dependency.call`, so that they can be told apart",
        ),
        (
            OutageSuspected(1.0, (ORDERS,), "client.ConnectError", 3, 4, 1.0),
            (
                "orders[3]: 3 of the last 4 messages failed with client.ConnectError, which no dependency in needs= claims. holdgate takes"
                " that for an outage: the source is held until a message succeeds, and no message is charged. Add client.ConnectError to"
                " failures= of the dependency that is down, or a Dependency to needs=. If these messages are bad, raise Reject instead."
            ),
        ),
        (
            OutageSuspected(61.0, (ORDERS,), "client.Gone", 9, 9, 1.0),
            (
                "orders[3]: 9 of the last 9 messages failed with client.Gone, which no dependency in needs= claims. holdgate takes"
                " that for an outage: the source has been held for 1 min, and no message is charged. Add client.Gone to"
                " failures= of the dependency that is down, or a Dependency to needs=. If these messages are bad, raise Reject instead."
            ),
        ),
        (
            OutageOver(61.0, (ORDERS,), "KeyError", 60.0),
            "orders[3]: a message succeeded, so the outage of KeyError is over after 1 min",
        ),
        (
            LocalCauseSuspected(1.0, ("a", "b")),
            "every dependency failed at about the same time (a, b): look for the cause on this machine first",
        ),
    ],
)
def test_each_event_has_words(event: AnyEvent, line: str) -> None:
    """Numbers with their unit, and what follows."""
    assert words(event)[1] == line


def test_no_event_is_left_without_words() -> None:
    """A new kind of event is not logged as a bare value."""
    kinds = [
        kind
        for module in (holdgate.core.events, holdgate.flow.events)
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if kind.__module__ == module.__name__ and kind not in (holdgate.core.events.Event, FlowEvent, SourceEvent)
    ]

    assert set(kinds) - set(_WORDS) == set()


HELD = "the source is held until a message succeeds, and no message is charged."


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            OutageSuspected(61.0, (ORDERS,), "KeyError", 9, 9, 61.0, is_bug=True, began=1.0),
            (
                "orders[3]: the handler fails for every message with KeyError since {}; this looks like a bug or a format"
                f" change: {HELD} Mend the handler and deploy. If these messages are bad, raise Reject instead."
            ),
        ),
        (
            OutageSuspected(61.0, (ORDERS,), "KeyError", 9, 10, 61.0, is_bug=True, began=1.0),
            (
                "orders[3]: the handler fails for 9 of the last 10 messages with KeyError since {}; this looks like a bug or a format"
                f" change: {HELD} Mend the handler and deploy. If these messages are bad, raise Reject instead."
            ),
        ),
        (
            OutageSuspected(61.0, (ORDERS,), "httpx.HTTPStatusError", 9, 9, 61.0, status=401, began=1.0),
            (
                "orders[3]: the handler fails for every message with httpx.HTTPStatusError 401 since {}; this looks like an expired token"
                f" or wrong credentials: {HELD} If 401 is the dependency's failure, add it to failures= (http.status_of gives it)."
                " If these messages are bad, raise Reject instead."
            ),
        ),
        (
            OutageSuspected(61.0, (ORDERS,), "KeyError", 9, 9, 1.0, is_bug=True, began=1.0, needs=("payments", "ledger")),
            (
                "orders[3]: the handler fails for every message that needs payments and ledger with KeyError since {}; this looks like a"
                " bug or a format change: they are tried again, and not charged; the other messages go on. Mend the handler and deploy."
                " If these messages are bad, raise Reject instead."
            ),
        ),
        (
            OutageSuspected(61.0, (ORDERS,), "httpx.HTTPStatusError", 9, 10, 61.0, status=401, began=1.0, needs=()),
            (
                "orders[3]: the handler fails for 9 of the last 10 messages that need nothing with httpx.HTTPStatusError 401 since {}; this"
                " looks like an expired token or wrong credentials: they are tried again, and not charged; the other messages go on. If 401"
                " is the dependency's failure, add it to failures= (http.status_of gives it). If these messages are bad, raise Reject"
                " instead."
            ),
        ),
        (
            OutageSuspected(61.0, (ORDERS,), "httpx.HTTPStatusError", 9, 9, 61.0, status=422, began=1.0),
            (
                "orders[3]: the handler fails for every message with httpx.HTTPStatusError 422 since {}; this looks like a request that"
                f" the server does not accept any more: {HELD} If 422 is the dependency's failure, add it to failures="
                " (http.status_of gives it). If these messages are bad, raise Reject instead."
            ),
        ),
    ],
)
def test_what_is_no_outage_is_called_by_its_name(event: AnyEvent, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug, an expired token, a wrong address: since when, by the wall clock, so that it can be compared with a deploy."""
    wall = 1_800_000_000.0
    monkeypatch.setattr("time.time", lambda: wall)
    began = time.strftime("%H:%M", time.localtime(wall - 60.0))
    assert words(event)[1] == line.format(began)


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_server_in_trouble_is_an_outage_and_not_a_refusal(status: int) -> None:
    """With `needs` forgotten, a 503 for every message is what an outage looks like, and the line says what to add."""
    _, line = words(OutageSuspected(1.0, (ORDERS,), "httpx.HTTPStatusError", 3, 3, 1.0, status=status, began=1.0))
    assert line == (
        f"orders[3]: 3 of the last 3 messages failed with httpx.HTTPStatusError {status}, which no dependency in needs= claims. holdgate"
        " takes that for an outage: the source is held until a message succeeds, and no message is charged. Add httpx.HTTPStatusError to"
        " failures= of the dependency that is down, or a Dependency to needs=. If these messages are bad, raise Reject instead."
    )
