"""What the call forms of one attempt saw, and how it is kept until attribution reads it."""

from __future__ import annotations

from itertools import permutations

import pytest

from holdgate.core import Outcome, Told
from holdgate.errors import Reject
from holdgate.flow.attribution import AttemptCalls, Attribution, CallSummary, Cause, attribute


def test_a_summary_begins_without_an_outcome() -> None:
    """A call that has only begun says nothing."""
    summary = CallSummary()
    assert summary.outcome is None
    assert summary.slowest == 0.0
    assert summary.retry_after is None
    assert summary.cut_short is None
    assert not summary.failed_result


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ((Outcome.SUCCESS, Outcome.FAILURE), Outcome.FAILURE),
        ((Outcome.SUCCESS, Outcome.IGNORED), Outcome.SUCCESS),
        ((Outcome.IGNORED, Outcome.FAILURE), Outcome.FAILURE),
        ((Outcome.IGNORED, Outcome.IGNORED), Outcome.IGNORED),
        ((Outcome.SUCCESS, Outcome.FAILURE, Outcome.IGNORED), Outcome.FAILURE),
        ((Outcome.SUCCESS, Outcome.THROTTLED, Outcome.IGNORED), Outcome.THROTTLED),
        ((Outcome.THROTTLED, Outcome.FAILURE), Outcome.FAILURE),
    ],
)
def test_one_failure_outweighs_all_and_a_success_outweighs_what_says_nothing(outcomes: tuple[Outcome, ...], expected: Outcome) -> None:
    """The order in which calls end does not matter."""
    for order in permutations(outcomes):
        summary = CallSummary()
        for outcome in order:
            summary.ended(outcome, 1.0)
        assert summary.outcome is expected


def test_the_slowest_call_counts() -> None:
    """A quick call after a slow one does not hide it."""
    summary = CallSummary()
    summary.ended(Outcome.SUCCESS, 2.0)
    summary.ended(Outcome.FAILURE, 0.5)
    assert summary.slowest == 2.0


def test_an_ignored_call_is_never_the_slowest() -> None:
    """What decides nothing decides nothing about slowness either, and a refusal is no work."""
    summary = CallSummary()
    summary.ended(Outcome.IGNORED, 9.0)
    summary.ended(Outcome.THROTTLED, 8.0)
    summary.ended(Outcome.SUCCESS, 1.0)
    assert summary.slowest == 1.0


def test_the_longest_wait_that_a_server_asked_for_counts() -> None:
    """Two failing calls with two answers: the later time is the one that satisfies both."""
    summary = CallSummary()
    summary.ended(Outcome.FAILURE, 0.1, 30.0)
    summary.ended(Outcome.FAILURE, 0.1, 10.0)
    summary.ended(Outcome.FAILURE, 0.1)
    assert summary.retry_after == 30.0


def test_the_longest_cut_counts() -> None:
    """Of several cancelled calls the longest is remembered."""
    summary = CallSummary()
    for duration in (1.0, 3.0, 2.0):
        summary.cut(duration)
    assert summary.cut_short == 3.0


def test_under_way_is_the_age_of_the_oldest_running_call() -> None:
    """Two calls run since 10 and 12; at 15 the longer one is five seconds old."""
    summary = CallSummary()
    assert summary.under_way(15.0) is None
    summary.running["second"] = 12.0
    summary.running["first"] = 10.0
    assert summary.under_way(15.0) == 5.0


def test_a_dependency_has_one_summary() -> None:
    """Asking again for the same name gives the same record."""
    calls = AttemptCalls()
    assert calls.summary_of("payments") is calls.summary_of("payments")
    assert list(calls.summaries) == ["payments"]


def test_a_new_record_has_seen_nothing() -> None:
    """No call, no refusal, no end of time."""
    calls = AttemptCalls()
    assert (calls.summaries, list(calls.refused), calls.timed_out) == ({}, [], False)
    assert CallSummary().failed_result is False


def test_short_times_are_kept_as_they_are() -> None:
    """Below a second too; the longest counts."""
    summary = CallSummary()
    summary.ended(Outcome.FAILURE, 0.25, 0.5)
    summary.cut(0.25)
    assert (summary.slowest, summary.retry_after, summary.cut_short) == (0.25, 0.5, 0.25)
    summary.ended(Outcome.FAILURE, 0.1, 0.4)
    summary.cut(0.1)
    assert (summary.slowest, summary.retry_after, summary.cut_short) == (0.25, 0.5, 0.25)


def test_what_answers_say_of_a_limit_is_kept_together() -> None:
    """The later window, and the longer wait: a call before that would be refused again."""
    summary = CallSummary()
    summary.ended(Outcome.SUCCESS, 1.0, told=Told(retry_after=9.0, remaining=5, reset=30.0))
    summary.ended(Outcome.THROTTLED, 1.0, told=Told(retry_after=2.0, remaining=0, reset=29.0))
    assert summary.told == Told(retry_after=9.0, remaining=0, reset=29.0)


def test_a_message_that_is_rejected_speaks_for_the_calls_that_it_has_made() -> None:
    """Payments has answered, and mail was not called: the handler rejects the message for what it has read."""

    class Need:
        def __init__(self, name: str) -> None:
            self.name = name

        def classify(self, _: BaseException) -> Outcome:
            return Outcome.IGNORED

    calls = AttemptCalls()
    calls.summary_of("payments").ended(Outcome.SUCCESS, 0.25)
    found = attribute([Need("payments"), Need("mail")], calls, Reject("no such order"), 1.0)  # type: ignore[list-item]

    assert (found.cause, found.reason) == (Cause.REJECTED, "no such order")
    assert [(each.outcome, each.duration) for each in found.findings] == [(Outcome.SUCCESS, 0.25), (None, None)]


def test_what_an_attempt_leaves_out_is_not_there() -> None:
    """Nothing is held for a call form before its first call; an end of which nobody says more has no calls and no time to wait."""
    assert (AttemptCalls().held, AttemptCalls().summaries) == ({}, {})
    found = Attribution((), Cause.MESSAGE)
    assert (found.undeclared, found.retry_after, found.refused) == ((), None, ())


class Says:
    """A dependency that takes everything for too many calls, and reads from the answer when to come back."""

    name = "payments"

    def classify(self, _: BaseException) -> Outcome:
        return Outcome.THROTTLED

    def told_of(self, answer: object) -> Told | None:
        return Told(retry_after=float(str(answer)))


def test_what_a_refusal_says_is_read_from_that_very_exception() -> None:
    """No call form has seen it."""
    found = attribute([Says()], None, ValueError("7.5"), 1.0)  # type: ignore[list-item]
    assert [each.told for each in found.findings] == [Told(retry_after=7.5)]


@pytest.mark.parametrize(
    ("summaries", "cause"),
    [({"payments": Outcome.FAILURE}, Cause.DEPENDENCY), ({"search": Outcome.FAILURE, "payments": Outcome.THROTTLED}, Cause.DEPENDENCY)],
)
def test_a_call_that_failed_is_why_whether_it_was_declared_or_not(summaries: dict[str, Outcome], cause: Cause) -> None:
    """Of a need, or of a dependency that no need names, beside one that was too fast."""
    calls = AttemptCalls()
    error = ValueError("1")
    calls.excused.append(error)
    for name, outcome in summaries.items():
        calls.summary_of(name).ended(outcome, 1.0)
    assert attribute([Says()], calls, error, 1.0).cause is cause  # type: ignore[list-item]


def test_of_two_calls_that_failed_alike_the_first_outcome_stays() -> None:
    """The same again is no other."""
    summary = CallSummary()
    for seconds in (1.0, 2.0):
        summary.ended(Outcome.FAILURE, seconds)
    assert (summary.outcome, summary.slowest) == (Outcome.FAILURE, 2.0)
