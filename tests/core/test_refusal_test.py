"""One test after a refusal: who asks in it, and when it is over."""

from __future__ import annotations

from holdgate.core.refusal_test import IMMEDIATELY, RefusalTest


def test_so_many_may_ask_and_only_at_once() -> None:
    """What comes later may have met a new token."""
    test = RefusalTest(2, 10.0)
    assert test.free(10.0) == 2
    test.start(1, 10.0)
    assert test.free(10.0 + IMMEDIATELY) == 1
    assert test.free(10.0 + IMMEDIATELY * 1.01) == 0


def test_it_is_over_with_the_last_result() -> None:
    """And not while a call more may ask."""
    test = RefusalTest(2, 10.0)
    test.start(1, 10.0)
    test.end(1, was_let_in=True)
    assert not test.is_over(10.0, 1.0)
    test.start(2, 10.0)
    assert not test.is_over(10.1, 1.0)
    test.end(2, was_let_in=False)
    assert test.is_over(10.1, 1.0)
    assert (test.asked, test.let_in) == (2, 1)


def test_with_no_demand_it_is_over_soon() -> None:
    """Nobody has asked."""
    test = RefusalTest(1, 10.0)
    assert test.is_over(10.0 + 2 * IMMEDIATELY, 1.0)
    assert test.asked == 0


def test_results_of_other_calls_say_nothing() -> None:
    """They began before it, or their results are known already."""
    test = RefusalTest(1, 10.0)
    test.start(7, 10.0)
    test.end(3, was_let_in=True)
    assert test.let_in == 0
    test.end(7, was_let_in=True)
    test.end(7, was_let_in=True)
    assert test.let_in == 1


def test_silence_means_let_in() -> None:
    """Refusals are quick. Their results say nothing more, then."""
    test = RefusalTest(2, 10.0)
    test.start(1, 10.0)
    test.start(2, 10.01)
    test.end(2, was_let_in=False)
    assert not test.is_over(10.2, 0.2)
    assert test.next_at(0.2) == 10.01 + 0.2
    assert test.is_over(10.21, 0.2)
    test.end(1, was_let_in=False)
    assert (test.asked, test.let_in) == (2, 1)


def test_silence_of_one_does_not_undo_the_answer_of_another() -> None:
    """One was let in, of another nothing was heard: that makes two."""
    test = RefusalTest(2, 10.0)
    test.start(1, 10.0)
    test.start(2, 10.0)
    test.end(1, was_let_in=True)
    assert test.is_over(11.0, 1.0)
    assert test.let_in == 2


def test_a_call_that_was_never_made_has_not_asked() -> None:
    """Another may, as long as it does so at once; and its result says nothing any more."""
    test = RefusalTest(1, 10.0)
    test.start(1, 10.0)
    test.take_back(1)
    test.take_back(1)
    assert (test.asked, test.free(10.0)) == (0, 1)
    test.end(1, was_let_in=True)
    assert test.let_in == 0
    assert test.is_over(10.0 + 2 * IMMEDIATELY, 1.0)
