"""The story of an outage: what a reader knows, and what is told next."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from holdgate import Override, Partition, State
from holdgate.core.states import Reason
from holdgate.events import (
    AnyEvent,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    CircuitReset,
    HoldContinued,
    LimitBegan,
    LimitChanged,
    LimitMoved,
    MessagesHeld,
    OverrideCleared,
    OverrideSet,
    SourceHeld,
    SourceReleased,
    ThresholdExceeded,
)
from holdgate.runtime.log import words
from holdgate.runtime.outages import Line, Outages

ZERO, ONE = Partition("orders", 0), Partition("orders", 1)
PAYMENTS = ("circuit:payments",)


class Facts:
    """What the broker and the circuit would say."""

    def __init__(self) -> None:
        self.waiting = 0
        self.is_all = True
        self.asked: list[float] = []
        self.call: str | None = None  # what a call form has failed with
        self.questions: list[Callable[[], object]] = []  # what is to be called when the broker answers

    def ask(self, then: Callable[[], object]) -> None:
        self.questions.append(then)

    def waiting_for(self, dependency: str) -> tuple[int, bool]:
        return self.waiting, self.is_all

    def ask_before(self, at: float) -> None:
        self.asked.append(at)

    def failed_with(self, dependency: str, at: float) -> str | None:
        return self.call

    def failures_of(self, dependency: str) -> int:
        return 5


class Reader:
    """Reads what is told at INFO and above."""

    def __init__(self) -> None:
        self.facts = Facts()
        self.outages = Outages(self.facts)

    def told(self, *events: AnyEvent) -> list[str]:
        return [line.text for line in self.outages.tell(events, words) if line.level >= logging.INFO]


def opened(at: float, until: float, reason: Reason = Reason.PROBE, previous: State = State.HALF_OPEN) -> CircuitOpened:
    return CircuitOpened("payments", at, 1, reason, until, 1, previous)


def trips(at: float = 90.0, until: float = 95.0) -> tuple[AnyEvent, ...]:
    return (
        ThresholdExceeded("payments", at, 0, Reason.CONSECUTIVE_FAILURES, 5, 5),
        opened(at, until, Reason.CONSECUTIVE_FAILURES, State.CLOSED),
    )


def half_opens(at: float) -> CircuitHalfOpened:
    return CircuitHalfOpened("payments", at, 2, State.OPEN)


def closes(at: float) -> CircuitClosed:
    return CircuitClosed("payments", at, 3, State.HALF_OPEN)


def held(*several: Partition, reasons: tuple[str, ...] = PAYMENTS) -> list[AnyEvent]:
    return [SourceHeld(90.0, source, reasons) for source in several]


def released(*several: Partition) -> list[AnyEvent]:
    return [SourceReleased(95.0, source, 5.0) for source in several]


def test_a_probe_that_hung_is_told_with_how_far_the_tries_are_apart() -> None:
    """Its wait began with the probe, so that little of it is left: that alone would read as a call every 0.2 seconds."""
    reader = Reader()
    reader.told(*trips(90.0, 94.0))
    reader.told(half_opens(94.0))
    reader.outages.failed("payments", "TimeoutError")
    hung = CircuitOpened("payments", 99.0, 3, Reason.PROBE, 99.2, 1, State.HALF_OPEN, asked=94.0)
    assert reader.told(hung) == [
        "payments is still down (probe: TimeoutError), next try in 0.2 s, 5.2 s after this one, 0 wait; down for 9.0 s"
    ]
    reader.told(half_opens(99.2))
    quick = CircuitOpened("payments", 100.2, 5, Reason.PROBE, 103.2, 1, State.HALF_OPEN, asked=99.2)
    assert reader.told(quick) == ["payments is still down (probe: TimeoutError), next try in 3.0 s, 0 wait; down for 10.2 s"]


def test_in_a_fleet_no_time_of_the_circuits_own_is_promised() -> None:
    """The fleet says who tries next, and when: often later, and often another worker."""
    reader = Reader()
    reader.told(*trips(90.0, 94.0))
    reader.told(half_opens(94.0))
    reader.outages.failed("payments", "TimeoutError")
    failed = CircuitOpened("payments", 94.0, 3, Reason.PROBE, 97.5, 1, State.HALF_OPEN, asked=94.0, in_fleet=True)
    assert reader.told(failed) == ["payments is still down (probe: TimeoutError), one worker tries for all, 0 wait; down for 4.0 s"]


def test_an_outage_is_told_from_its_beginning_to_its_end() -> None:
    """Two lines when it begins, one for each failed probe, and two when it ends."""
    reader = Reader()
    reader.outages.failed("payments", "HTTPStatusError 503")
    assert reader.told(*trips(), *held(ZERO, ONE)) == [
        "payments is down (consecutive_failures): 5 calls in a row failed, the last with HTTPStatusError 503; next try in 5.0 s",
        "holding orders[0,1]: circuit:payments",
    ]

    assert reader.told(half_opens(95.0), *released(ZERO, ONE)) == []
    reader.facts.waiting = 1500
    assert reader.outages.failed("payments", "ConnectError ECONNREFUSED")
    failed_probe = (ThresholdExceeded("payments", 95.1, 2, Reason.PROBE, 1, 1), opened(95.1, 105.1), *held(ZERO, ONE))
    assert reader.told(*failed_probe) == [
        "payments is still down (probe: ConnectError ECONNREFUSED), next try in 10.0 s, 1,500 wait; down for 5.1 s"
    ]

    assert reader.told(half_opens(105.1), *released(ZERO, ONE)) == []
    assert reader.told(LimitChanged("payments", 690.0, 2, 1, 2)) == [
        "payments answers again after 10 min: up to 2 calls in parallel now, more as they succeed; 1,500 wait"
    ]
    assert reader.told(LimitChanged("payments", 690.5, 2, 2, 4)) == []
    reader.facts.waiting = 20
    assert reader.told(closes(693.0)) == [
        "payments is back after 10 min 3 s: 6 calls failed, 1,500 messages waited; no longer holding orders[0,1]"
    ]
    assert reader.facts.asked == [95.0, 105.1]


def test_what_is_not_told_is_written_at_debug() -> None:
    """Nothing is lost: each event has a line."""
    outages = Outages(Facts())
    levels = [line.level for line in outages.tell([*trips(), half_opens(95.0), *released(ZERO)], words)]
    assert levels == [logging.DEBUG, logging.WARNING, logging.DEBUG, logging.DEBUG]


def test_the_second_outage_is_told_like_the_first() -> None:
    """Also its holds."""
    reader = Reader()
    for at in (90.0, 900.0):
        assert len(reader.told(*trips(at, at + 5.0), *held(ZERO))) == 2
        reader.told(half_opens(at + 5.0), *released(ZERO))
        assert reader.told(closes(at + 6.0)) == [
            "payments is back after 6.0 s: 5 calls failed, 0 messages waited; no longer holding orders[0]"
        ]


def test_a_source_that_went_away_held_is_told_when_it_is_held_again() -> None:
    """It was revoked in the outage, so nothing released it."""
    reader = Reader()
    reader.told(*trips(), *held(ZERO, ONE))
    reader.told(half_opens(95.0), *released(ZERO))
    assert "no longer holding orders[0]" in reader.told(closes(96.0))[0]
    assert reader.told(*trips(200.0, 205.0), *held(ONE))[1] == "holding orders[1]: circuit:payments"


def test_a_failure_in_the_ramp_is_down_again() -> None:
    """It had answered: that is not still down."""
    reader = Reader()
    reader.outages.failed("payments", "TimeoutError")
    reader.told(*trips())
    reader.told(half_opens(95.0))
    reader.told(LimitChanged("payments", 96.0, 2, 1, 2))
    again = (ThresholdExceeded("payments", 97.0, 2, Reason.FAILURE_RATE, 2 / 3, 0.5), opened(97.0, 107.0, Reason.FAILURE_RATE))
    why = "failure_rate: a share of 0.67 of its calls failed, 0.5 is too much, the last with TimeoutError"
    assert reader.told(*again) == [f"payments is down again ({why}), next try in 10.0 s, 0 wait; down for 7.0 s"]


def test_a_cut_of_the_ramp_is_told() -> None:
    """It answers some calls and not others."""
    reader = Reader()
    reader.told(*trips())
    reader.told(half_opens(95.0), LimitChanged("payments", 96.0, 2, 1, 2))
    assert reader.told(LimitChanged("payments", 97.0, 2, 4, 2)) == ["payments fails in part: up to 2 calls in parallel now, 4 before"]


def test_a_smaller_share_of_a_fleets_limit_is_no_failure() -> None:
    """Others have a part of it now: nothing is said, and nothing when it is more again."""
    reader = Reader()
    reader.told(*trips())
    reader.told(half_opens(95.0), LimitChanged("payments", 96.0, 2, 1, 2, in_fleet=True))
    assert reader.told(LimitChanged("payments", 97.0, 2, 2, 1, in_fleet=True)) == []
    assert reader.told(LimitChanged("payments", 98.0, 2, 1, 3, in_fleet=True)) == []


def test_a_turn_of_others_in_a_fleet_is_no_news() -> None:
    """The share of a worker falls to nothing and rises again while the fleet comes back: that is neither an answer nor a failure."""
    reader = Reader()
    reader.told(*trips())
    assert reader.told(half_opens(95.0), LimitChanged("payments", 96.0, 2, 1, 0)) == []


@pytest.mark.parametrize(
    ("reason", "value", "threshold", "why"),
    [
        (Reason.FAILURE_RATE, 0.6, 0.5, "a share of 0.6 of its calls failed, 0.5 is too much"),
        (Reason.SLOW_CALL_RATE, 0.5, 0.5, "a share of 0.5 of its calls were slow, 0.5 is too much"),
        (Reason.CONSECUTIVE_FAILURES, 5, 5, "5 calls in a row failed"),
    ],
)
def test_each_rule_is_told_in_english(reason: Reason, value: float, threshold: float, why: str) -> None:
    """With its name, as in settings and metrics, and its figures."""
    (line,) = Reader().told(ThresholdExceeded("payments", 90.0, 0, reason, value, threshold), opened(90.0, 95.0, reason, State.CLOSED))
    assert line == f"payments is down ({reason.value}): {why}; next try in 5.0 s"


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        (Reason.RETRY_AFTER, "its server asked to be left alone, with HTTPStatusError 429"),
        (Reason.OPEN_FOR, "the program asked to leave it alone"),
    ],
)
def test_a_wait_that_was_asked_for_is_told(reason: Reason, why: str) -> None:
    """No rule was met."""
    reader = Reader()
    reader.outages.failed("payments", "HTTPStatusError 429")
    assert reader.told(opened(90.0, 120.0, reason, State.CLOSED)) == [f"payments is down ({reason.value}): {why}; next try in 30.0 s"]


@pytest.mark.parametrize(
    ("reason", "how"),
    [
        (Reason.PROBE, "probe: TimeoutError"),
        (Reason.SLOW_PROBE, "probe: it answered, too slowly"),
        (Reason.PERMIT_LEASE, "probe: no answer within permit_lease"),
        (Reason.RETRY_AFTER, "probe: TimeoutError, its server asked to be left alone"),
        (Reason.OPEN_FOR, "the program asked to leave it alone"),
    ],
)
def test_each_end_of_a_probe_is_told(reason: Reason, how: str) -> None:
    """A reader wants to know whether it refuses, hangs or is slow."""
    reader = Reader()
    reader.outages.failed("payments", "TimeoutError")
    reader.told(*trips())
    reader.told(half_opens(95.0))
    assert reader.told(opened(96.0, 106.0, reason)) == [f"payments is still down ({how}), next try in 10.0 s, 0 wait; down for 6.0 s"]


def test_a_broker_that_does_not_say_how_much_waits_is_no_lie() -> None:
    """What is here is the least that waits."""
    reader = Reader()
    reader.facts.waiting, reader.facts.is_all = 500, False
    reader.told(*trips())
    reader.told(half_opens(95.0))
    assert "at least 500 wait;" in reader.told(opened(96.0, 106.0))[0]
    reader.told(half_opens(106.0))
    assert reader.told(closes(107.0)) == ["payments is back after 17.0 s: 5 calls failed, at least 500 messages waited"]


def test_other_reasons_of_a_source_outlive_the_outage() -> None:
    """An operator holds it as well: that is told when it is the only reason left, and not in between."""
    reader = Reader()
    both = ("circuit:payments", "operator")
    reader.told(*trips(), *held(ZERO))
    assert reader.told(*held(ZERO, reasons=both)) == ["holding orders[0]: circuit:payments, operator"]
    assert reader.told(half_opens(95.0), *held(ZERO, reasons=("operator",))) == []
    assert reader.told(opened(96.0, 106.0), *held(ZERO, reasons=both))[1:] == []
    reader.told(half_opens(106.0), *held(ZERO, reasons=("operator",)))
    assert reader.told(closes(107.0)) == [
        "payments is back after 17.0 s: 5 calls failed, 0 messages waited",
        "holding orders[0]: operator",
    ]
    assert reader.told(*released(ZERO)) == ["no longer holding orders[0], held for 5.0 s"]


def test_a_source_of_two_outages_is_free_when_both_are_over() -> None:
    """The end of the first says nothing of it."""
    reader = Reader()
    ledger = CircuitOpened("ledger", 91.0, 1, Reason.OPEN_FOR, 95.0, 1, State.CLOSED)
    reader.told(*trips(), ledger, *held(ZERO, reasons=("circuit:payments", "circuit:ledger")))
    reader.told(half_opens(95.0), CircuitHalfOpened("ledger", 95.0, 2, State.OPEN), *released(ZERO))
    assert "no longer holding" not in reader.told(closes(96.0))[0]
    assert "no longer holding orders[0]" in reader.told(CircuitClosed("ledger", 97.0, 3, State.HALF_OPEN))[0]


def test_draining_is_no_hold() -> None:
    """The end of a run has lines of its own."""
    reader = Reader()
    assert reader.told(*held(ZERO, reasons=("draining",))) == []
    assert reader.told(*trips(), *held(ONE, reasons=("circuit:payments", "draining")))[1:] == ["holding orders[1]: circuit:payments"]


@pytest.mark.parametrize("reason", ["operator", "unclaimed failures", "blocked"])
def test_what_ends_while_a_run_drains_is_no_release(reason: str) -> None:
    """Nothing starts there any more, and the end of the run tells of it. A source of another run has its line all the same."""
    reader = Reader()
    reader.told(*held(ZERO, ONE, reasons=(reason,)))
    assert reader.told(*held(ZERO, reasons=("draining", reason))) == []
    assert reader.told(*held(ZERO, reasons=("draining",))) == []
    assert reader.told(*held(ZERO, reasons=(reason, "draining"))) == [f"holding orders[0]: {reason}"]
    assert reader.told(*held(ZERO, reasons=("draining",)), *released(ONE)) == ["no longer holding orders[1], held for 5.0 s"]


def test_a_forced_opening_is_told_by_the_operators_lines() -> None:
    """Its end is a half-open, and after that it answers again."""
    reader = Reader()
    forced = OverrideSet("payments", 90.0, 1, Override.FORCED_OPEN, None)
    assert reader.told(forced, *held(ZERO)) == [
        "payments: forced open by an operator, until it is cleared",
        "holding orders[0]: circuit:payments",
    ]
    cleared = OverrideCleared("payments", 150.0, 2, Override.FORCED_OPEN)
    assert reader.told(cleared, CircuitHalfOpened("payments", 150.0, 2, State.CLOSED), *released(ZERO)) == [
        "payments: no longer forced open",
        "payments: one call tries whether it answers",
    ]
    assert reader.told(closes(151.0)) == [
        "payments is back after 1 min 1 s: 0 calls failed, 0 messages waited; no longer holding orders[0]"
    ]


@pytest.mark.parametrize(
    "event", [CircuitReset("payments", 96.0, 4, State.OPEN), OverrideSet("payments", 96.0, 4, Override.DISABLED, None)]
)
def test_an_operator_ends_an_outage(event: AnyEvent) -> None:
    """From then on failures have lines of their own, and the holds end with one."""
    reader = Reader()
    reader.told(*trips(), *held(ZERO))
    assert reader.told(event, *released(ZERO))[1:] == ["no longer holding orders[0], held for 5.0 s"]
    assert not reader.outages.failed("payments", "TimeoutError")
    assert not reader.outages.is_down("payments")


def test_a_half_open_of_which_nothing_is_known_is_an_outage() -> None:
    """An operator has switched the circuit off in an outage, and on again: it was open all the time."""
    reader = Reader()
    assert reader.told(half_opens(95.0)) == []
    assert reader.told(opened(96.0, 106.0))[0].startswith("payments is still down")


@pytest.mark.parametrize(
    ("because", "why"),
    [
        (
            "order",
            'order="source" keeps everything behind the first message: order="key" or "none" lets messages pass that need none of it',
        ),
        ("held_span", "the others wait, too, since held_span= lets no more of them pass"),
        ("memory", "the others wait, too, since the messages that cannot go fill Guard(memory=)"),
    ],
)
def test_a_hold_of_what_lacks_nothing_says_why(because: str, why: str) -> None:
    """Messages have their own needs, and others could pass: the reader wants to know what keeps them."""
    reader = Reader()
    holds = [SourceHeld(90.0, source, PAYMENTS, because) for source in (ZERO, ONE)]
    assert reader.told(*trips(), *holds, SourceHeld(90.0, Partition("bills", 0), PAYMENTS))[1:] == [
        f"holding orders[0,1]: circuit:payments; {why}",
        "holding bills[0]: circuit:payments",
    ]
    assert words(holds[0])[1] == f"holding orders[0]: circuit:payments; {why}"


def test_messages_that_wait_while_others_go_on_share_a_line() -> None:
    """Those of all partitions that wait for the same."""
    partly = [MessagesHeld(90.0, source, ("payments",)) for source in (ZERO, ONE)]
    assert Reader().told(*partly, MessagesHeld(90.0, ONE, ("mail", "payments"))) == [
        "orders[0,1]: messages that need payments wait, and the others go on",
        "orders[1]: messages that need mail or payments wait, and the others go on",
    ]
    assert words(partly[0]) == (logging.INFO, "orders[0]: messages that need payments wait, and the others go on")


def test_holds_that_last_share_a_line() -> None:
    """Twelve partitions are one line, and what is held for another reason is another."""
    assert Reader().told(
        HoldContinued(690.0, ZERO, PAYMENTS, 90.0, 702.0),
        HoldContinued(690.0, ONE, PAYMENTS, 95.0, 702.0),
        HoldContinued(690.0, Partition("bills", 0), ("operator",), 90.0, None),
    ) == [
        "still holding orders[0,1] after 10 min: circuit:payments; next try in 12.0 s",
        "still holding bills[0] after 10 min: operator; nothing is planned that would end it",
    ]


def test_a_threshold_that_is_only_observed_has_its_own_line() -> None:
    """Nothing follows it."""
    (line,) = Reader().told(ThresholdExceeded("payments", 90.0, 0, Reason.FAILURE_RATE, 0.6, 0.5, observed=True))
    assert line.endswith("and is only observed")


def test_a_call_whose_attempt_has_not_ended_says_what_it_failed_with() -> None:
    """In a thread the circuit opens first. Without this the reader would know that payments is down, and not what it says."""
    reader = Reader()
    reader.facts.call = "HTTPError 503"
    assert reader.told(*trips()) == [
        "payments is down (consecutive_failures): 5 calls in a row failed, the last with HTTPError 503; next try in 5.0 s"
    ]


def test_nothing_here_is_not_nothing_at_the_broker() -> None:
    """Where only some messages of a source need it, nobody can tell how many wait there: no line says that none does."""
    reader = Reader()
    reader.facts.is_all = False
    reader.outages.failed("payments", "HTTPError 503")
    reader.told(*trips())
    (still,) = reader.told(opened(95.0, 100.0))
    assert still == "payments is still down (probe: HTTPError 503), next try in 5.0 s, none waits here; down for 5.0 s"
    (back,) = reader.told(CircuitClosed("payments", 100.0, 3, State.HALF_OPEN))
    assert back == "payments is back after 10.0 s: 5 calls failed, none waited here"


# -- limits ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (LimitBegan(10.0, "payments", 9.84, 4, "pace"), "payments lets 9.84/s through (TooMany 429); 1,200 wait, about 2 min 2 s"),
        (LimitBegan(10.0, "payments", 0.2, 1, "pace"), "payments lets 12 a minute through (TooMany 429); 1,200 wait, about 1 h 40 min"),
        (
            LimitBegan(10.0, "payments", 1.0, 3, "rate"),
            "payments lets 1/s, the rate of its Limits, through (TooMany 429); 1,200 wait, about 20 min",
        ),
        (LimitBegan(10.0, "payments", None, 4, "width"), "payments lets 4 calls in parallel through (TooMany 429); 1,200 wait"),
        (
            LimitBegan(10.0, "payments", None, 0, "throttled", until=3610.0),
            "payments lets nothing through (TooMany 429), one message asks again in 1 h; 1,200 wait",
        ),
        (
            LimitBegan(10.0, "payments", None, 0, "throttled"),
            "payments lets nothing through (TooMany 429), one message asks again; 1,200 wait",
        ),
        (
            LimitMoved(10.0, "payments", 20.0, 4, "pace", None, 0),
            "payments lets 20/s through now, nothing before (TooMany 429); 1,200 wait, about 1 min",
        ),
        (
            LimitBegan(10.0, "payments", 10.0, None, "free", observed=True),
            "payments would let 10/s through; it is only observed (TooMany 429); 1,200 wait, about 2 min",
        ),
    ],
)
def test_a_limit_is_told_with_what_waits_and_how_long_that_takes(event: LimitBegan | LimitMoved, words: str) -> None:
    """When the broker has answered: behind a limit nothing has asked it, and what is here is an inbox of a hundred."""
    reader, lines = Reader(), list[Line]()
    reader.outages.throttled("payments", "TooMany 429")
    reader.outages.tell_later(event, lines.append)
    assert lines == []
    reader.facts.waiting = 1200
    for answer in reader.facts.questions:
        answer()
    assert [line.text for line in lines] == [words]


def test_no_time_is_promised_for_what_is_only_a_part() -> None:
    """A hundred here are ten seconds, and the hour at the broker is more."""
    reader, lines = Reader(), list[Line]()
    reader.outages.tell_later(LimitBegan(10.0, "payments", 10.0, 4, "pace"), lines.append)
    reader.facts.waiting, reader.facts.is_all = 100, False
    reader.facts.questions[0]()
    assert [line.text for line in lines] == ["payments lets 10/s through; at least 100 wait"]
