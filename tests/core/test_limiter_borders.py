"""The limiter at its borders: what is exactly as old, as long or as wide as a rule names."""

from __future__ import annotations

import math

import pytest

from holdgate.core import width as widths
from holdgate.core.limiter import DOWN_AFTER, GENTLE_AFTER, Limiter
from holdgate.core.limits import Limits
from holdgate.core.outcomes import Outcome
from holdgate.core.refusal_test import RefusalTest

SUCCESS, FAILURE, THROTTLED = Outcome.SUCCESS, Outcome.FAILURE, Outcome.THROTTLED


def _limiter() -> Limiter:
    return Limiter(Limits(), lambda: 0.5)


def test_a_test_of_refusals_asks_with_all_of_its_calls_at_once() -> None:
    """The width is one, as it was before the refusal, and the three that are left may ask beside the first."""
    limiter = _limiter()
    limiter._gate.shut(1.0, is_down=False)
    test = limiter._chance.test = RefusalTest(4, 1.0)
    limiter.start(1.0)

    assert limiter.snapshot(1.0).width == 1
    assert (limiter.free(1.0), test.free(1.0)) == (3, 3)


@pytest.mark.parametrize(("took", "why"), [(1.5, "free"), (math.nextafter(1.5, 2.0), "down")])
def test_failures_that_last_for_two_usual_calls_are_no_outage_yet(took: float, why: str) -> None:
    """A call takes half a second, and the last good one ended at half a second."""
    limiter = _limiter()
    limiter.end(limiter.start(0.0), SUCCESS, 0.0, 0.5)
    limiter._failures = DOWN_AFTER - 1
    limiter._width._clean = 10**6  # one failure after so many good calls is chance
    token = limiter.start(0.5)
    limiter.end(token, FAILURE, 0.5, took)

    assert (limiter.snapshot(took).why == "down") is (why == "down")


def test_a_call_that_begins_in_the_moment_of_a_decision_is_news() -> None:
    """It knows of it: only what began before is old. Refused at a level that was let in, it shuts the gate."""
    limiter = _limiter()
    limiter._cut_at = 1.0
    limiter.end(limiter.start(1.0), THROTTLED, 1.0, 1.25)
    assert limiter.snapshot(1.25).why == "throttled"
    old = _limiter()
    old._cut_at = 1.0
    token = old.start(math.nextafter(1.0, 0.0))
    old.end(token, THROTTLED, 0.75, 1.25)
    assert old.snapshot(1.25).why == "free"


def test_a_call_is_answered_when_it_was_silent_for_as_long_as_one_waits() -> None:
    """For a second, where no refusal has been timed: with the next moment before it, it may still be refused."""
    limiter = _limiter()
    limiter.start(0.0, 3)
    limiter.start(math.nextafter(0.0, 1.0), 5)
    limiter.start(0.5, 7)

    assert limiter._unanswered(3, 1.0) == 5


@pytest.mark.parametrize(("shut_for", "is_gentle"), [(GENTLE_AFTER, False), (math.nextafter(GENTLE_AFTER, math.inf), True)])
def test_after_a_shut_that_was_long_the_width_comes_back_by_and_by(
    shut_for: float, is_gentle: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a pace a shorter one needs no such care."""
    told: list[bool] = []
    monkeypatch.setattr(widths.Width, "reopen", lambda _, *, is_gentle: told.append(is_gentle))
    limiter = _limiter()
    limiter._pace._begin(0.0, 10.0)
    limiter._gate.shut(0.0, is_down=False)
    limiter._open(shut_for)

    assert told == [is_gentle]


def test_a_call_that_was_let_in_ends_the_row_of_failures() -> None:
    """As many as before it make an outage."""
    limiter = _limiter()
    limiter._failures = DOWN_AFTER - 1
    limiter.end(limiter.start(0.0), SUCCESS, 0.0, 0.5)

    assert limiter._failures == 0


@pytest.mark.parametrize(("passed", "level"), [(9, 8), (8, 8), (7, 5)])
def test_a_level_that_was_let_in_before_needs_no_answers(passed: int, level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a higher one, calls that began before may still be refused, and were never inside then: three of eight."""
    seen: list[int] = []
    monkeypatch.setattr(widths.Width, "accept", lambda _, level, arm, took: seen.append(level))
    limiter = _limiter()
    limiter._width.passed = passed
    limiter.start(1.0, 3)
    limiter.end(limiter.start(1.0, 5), SUCCESS, 1.0, 1.5)

    assert seen == [level]


def test_only_the_call_that_goes_alone_ends_that() -> None:
    """Others that end beside it are old."""
    limiter = _limiter()
    old = limiter.start(0.0)
    limiter._width.is_careful = True
    alone = limiter.start(0.5)
    limiter._forget(old)
    assert (limiter.free(0.6), limiter.snapshot(0.6).why) == (0, "throttled")
    limiter._forget(alone)
    assert limiter.free(0.6) == 1


def test_a_snapshot_names_when_the_next_call_may_start() -> None:
    """The same moment as the limiter."""
    limiter = Limiter(Limits(rate=1, adaptive=False), lambda: 0.5)
    limiter.start(5.0)
    assert limiter.snapshot(5.5).next_at == limiter.next_at(5.5) == 6.0
