"""How long a throttled message waits before it asks again, and when it is named."""

from __future__ import annotations

import math

import pytest
from tests.flow.stage import gate

from holdgate.core import Limits
from holdgate.flow.blame import FailureHistory
from holdgate.flow.throttling import asks_at, is_news, is_to_be_named, keeps_place, wait

HOUR = 3600.0


def test_without_a_word_of_the_server_the_waits_grow_to_two_and_a_half_minutes() -> None:
    """A quarter of a second first; then nobody asks more often than 24 times an hour, for ever."""
    waits = [wait(times, None, HOUR, 0.0) for times in range(1, 40)]
    assert waits[0] == 0.25
    assert waits[1] == pytest.approx(0.425)
    assert waits == sorted(waits)
    assert waits[-1] == 150.0
    assert wait(10**9, None, HOUR, 0.0) == 150.0


def test_what_the_server_says_counts_from_the_first_time_on() -> None:
    """However often it has refused before."""
    assert [wait(times, 7.0, HOUR, 0.0) for times in (1, 2, 20)] == [7.0, 7.0, 7.0]


def test_a_server_is_believed_up_to_a_bound() -> None:
    """A wrong header must not stop a message for a day."""
    assert wait(1, 86400.0, HOUR, 0.0) == HOUR


@pytest.mark.parametrize("lie", [0.0, -5.0, math.nan, -math.inf])
def test_a_wait_that_cannot_be_is_no_word(lie: float) -> None:
    """Zero, less, and no number at all: the waits grow by themselves."""
    assert wait(1, lie, HOUR, 0.0) == 0.25


def test_an_endless_wait_is_the_longest_that_is_believed() -> None:
    """Infinity is more than any bound."""
    assert wait(1, math.inf, HOUR, 0.0) == HOUR


def test_chance_makes_a_wait_longer_and_never_shorter() -> None:
    """Those that were told the same second must not come back together, nor before it."""
    assert wait(1, 10.0, HOUR, 0.5) == pytest.approx(10.5)
    assert wait(1, None, HOUR, 1.0) == pytest.approx(0.275)


def test_a_message_that_the_limiter_hands_slots_to_asks_half_as_seldom() -> None:
    """Immediately after its first refusal, and then half of the wait that is one shorter."""
    history, payments = FailureHistory(), gate()
    payments.circuit.set_limits(Limits(), 0.0)
    seen = []
    for _ in range(4):
        history.throttled_again("HTTPStatusError 429")
        seen.append(asks_at(history, (payments,), 60.0, 100.0, 0.0, needed=(payments,)))
    assert seen == [None, 100.125, pytest.approx(100.2125), pytest.approx(100.36125)]


def test_a_message_that_needs_nothing_believes_what_it_is_told() -> None:
    """There are no settings that bound it."""
    history = FailureHistory()
    history.throttled_again("HTTPStatusError 429")
    assert asks_at(history, (), 50_000.0, 100.0, 0.0, needed=()) == 50_100.0


def test_a_message_is_named_at_the_twelfth_time_in_a_row() -> None:
    """About six minutes of waits that grow by themselves."""
    history = FailureHistory()
    for _ in range(11):
        history.throttled_again("HTTPStatusError 429")
    assert not is_to_be_named(history)
    history.throttled_again("HTTPStatusError 429")
    assert is_to_be_named(history)


def test_a_message_has_its_place_for_two_refusals_in_a_row() -> None:
    """Then the others come first."""
    history = FailureHistory()
    kept = []
    for _ in range(4):
        history.throttled_again("HTTPStatusError 429")
        kept.append(keeps_place(history))
    assert kept == [True, True, False, False]


def test_the_third_refusal_in_a_row_is_no_news_if_others_were_let_in() -> None:
    """It says something of the message, then; while nobody is let in it says something of the limit, as the first two always do."""
    history, payments, mail = FailureHistory(), gate(), gate("mail")
    news = []
    for others in (1, 1, 1, 0, 1):
        news.append(is_news(history, payments))
        history.throttled_again("HTTPStatusError 429")
        payments.successes += others
    assert news == [True, True, False, False, True]
    assert is_news(history, mail)


def test_a_failure_ends_the_row() -> None:
    """What has been tried has been let in, and has had its turn."""
    history = FailureHistory()
    for _ in range(12):
        history.throttled_again("HTTPStatusError 429")
    history.place = -5
    history.failed("OSError", 1.0)
    assert (history.throttled, history.place) == (0, None)
    assert not is_to_be_named(history)
