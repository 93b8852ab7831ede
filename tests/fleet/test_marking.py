"""What a worker writes of its own calls."""

from __future__ import annotations

from holdgate.fleet.marking import (
    A_ROW,
    ALL_FAILURES,
    ALL_FAILURES_PER_SECOND,
    FIRST_FAILURES,
    LEAST_WORKERS,
    MARK_EVERY,
    TALLY_EVERY,
    Marking,
)
from holdgate.fleet.records import Bad, Good, StageTally

NAME = "payments"


def test_the_first_failure_is_written_and_the_first_good_call_after_it() -> None:
    """A worker that was well says that it is bad with its first failure, and that it is good with the next good call, once each."""
    marking = Marking(NAME, 0.0)
    assert marking.mark(0, False, 0.0) is None
    assert marking.mark(1, False, 0.0) == Bad(NAME, 1, False)
    assert marking.is_bad
    assert marking.mark(1, False, 1.0) is None
    assert marking.mark(0, False, 1.0) == Good(NAME)
    assert marking.mark(0, False, 1.0) is None
    assert not marking.is_bad


def test_a_longer_row_is_written_five_times_a_second_at_most() -> None:
    """Of a row that becomes longer only every fifth of a second something is written, and what is held back is due then."""
    marking = Marking(NAME, 0.0)
    marking.mark(1, False, 0.0)
    assert marking.mark(2, False, 0.1) is None
    assert marking.due == MARK_EVERY
    assert marking.mark(3, False, 0.2) == Bad(NAME, 3, False)
    assert marking.due is None


def test_an_opening_is_written_immediately() -> None:
    """That the circuit has opened is never held back, and nothing that comes after it is written."""
    marking = Marking(NAME, 0.0)
    marking.mark(4, False, 0.0)
    assert marking.mark(5, True, 0.01) == Bad(NAME, 5, True)
    assert marking.mark(6, True, 10.0) is None


def test_a_probe_that_fails_is_no_second_opening() -> None:
    """A circuit that is half-open and opens again says nothing new, unless somebody else was good meanwhile: then once for each probe."""
    marking = Marking(NAME, 0.0)
    assert marking.mark(5, True, 0.0) == Bad(NAME, 5, True)
    assert [marking.mark(5, opened, 4.0) for opened in (False, True, True)] == [None, None, None]
    assert [marking.mark(5, opened, 8.0, is_old=True) for opened in (True, False, True, True)] == [None, None, Bad(NAME, 5, True), None]


def test_a_circuit_that_is_still_open_after_an_outage_says_so() -> None:
    """The fleet has forgotten, so it is news, however short its row and whatever others write."""
    marking = Marking(NAME, 0.0)
    marking.mark(5, True, 0.0)
    marking.forget()
    for _ in range(int(ALL_FAILURES * LEAST_WORKERS)):
        marking.heard(LEAST_WORKERS, 1.0)
    assert marking.mark(1, True, 1.0) == Bad(NAME, 1, True)


def test_first_failures_are_written_now_and_then() -> None:
    """After three first failures no more is written until the third in a row, or some seconds later."""
    marking = Marking(NAME, 0.0)
    for _ in range(int(FIRST_FAILURES)):
        assert marking.mark(1, False, 0.0) is not None
        assert marking.mark(0, False, 0.0) is not None
    assert marking.mark(1, False, 0.0) is None
    assert marking.mark(0, False, 0.0) is None
    assert marking.mark(A_ROW, False, 0.0) == Bad(NAME, A_ROW, False)
    assert marking.mark(0, False, 0.0) is not None
    assert marking.mark(1, False, 10.0) is not None


def test_where_others_write_of_failures_nobody_has_a_first_one_to_write() -> None:
    """Twenty lines of anybody use up what all have for first failures; a row of three is written, and some time later a first one is."""
    marking = Marking(NAME, 0.0)
    for _ in range(int(ALL_FAILURES * LEAST_WORKERS)):
        marking.heard(LEAST_WORKERS, 0.0)
    assert marking.mark(1, False, 0.0) is None
    assert marking.mark(A_ROW, False, 0.0) == Bad(NAME, A_ROW, False)
    assert marking.mark(0, False, 0.0) == Good(NAME)
    assert marking.mark(1, False, 0.9 / LEAST_WORKERS / ALL_FAILURES_PER_SECOND) is None
    assert marking.mark(1, False, 1.1 / LEAST_WORKERS / ALL_FAILURES_PER_SECOND) == Bad(NAME, 1, False)


def test_more_workers_have_more_first_failures_to_write() -> None:
    """Of a hundred twenty lines are a fifth of what they may write, and of three no more than of twenty."""
    for callers, written in ((100, Bad(NAME, 1, False)), (3, None)):
        marking = Marking(NAME, 0.0)
        for _ in range(int(ALL_FAILURES * LEAST_WORKERS)):
            marking.heard(callers, 0.0)
        assert marking.mark(1, False, 0.0) == written


def test_a_flood_of_failures_ends_with_the_flood() -> None:
    """However many were read, the next first failure is written as soon as after twenty."""
    marking = Marking(NAME, 0.0)
    for _ in range(1000):
        marking.heard(LEAST_WORKERS, 0.0)
    assert marking.mark(1, False, 1.1 / LEAST_WORKERS / ALL_FAILURES_PER_SECOND) == Bad(NAME, 1, False)


def test_what_is_needed_for_an_opening_is_always_written() -> None:
    """A worker that is about to open the fleet holds its failure back no longer."""
    marking = Marking(NAME, 0.0)
    for _ in range(int(FIRST_FAILURES)):
        marking.mark(1, False, 0.0)
        marking.mark(0, False, 0.0)
    assert marking.mark(1, False, 0.0) is None
    assert marking.mark(1, False, 0.0, always=True) == Bad(NAME, 1, False)
    assert marking.mark(1, False, 0.0, always=True) is None


def test_what_the_fleet_has_forgotten_is_written_again() -> None:
    """After an outage the fleet knows of no failures, so the next one is news."""
    marking = Marking(NAME, 0.0)
    marking.mark(5, True, 0.0)
    marking.forget()
    assert marking.mark(1, False, 1.0) == Bad(NAME, 1, False)


def test_a_part_of_a_stage_that_is_done_is_written_immediately() -> None:
    """As soon as a worker has the results of its part, or a bad one, it says so; otherwise once a second."""
    marking = Marking(NAME, 0.0)
    assert marking.tally(7, 0, 0, 4, 0.0) is None
    assert marking.tally(7, 1, 0, 4, 0.1) is None
    assert marking.due == TALLY_EVERY
    assert marking.tally(7, 4, 0, 4, 0.2) == StageTally(NAME, 7, 4, 0)
    assert marking.tally(7, 4, 0, 4, 0.3) is None
    assert marking.due is None
    assert marking.tally(7, 5, 0, 4, 0.3) is None
    assert marking.tally(7, 5, 1, 4, 0.5) == StageTally(NAME, 7, 5, 1)
    assert marking.tally(7, 6, 1, 4, 0.4 + TALLY_EVERY) is None
    assert marking.tally(7, 6, 1, 4, 0.5 + TALLY_EVERY) == StageTally(NAME, 7, 6, 1)


def test_results_say_how_long_they_took() -> None:
    """The good ones together, in milliseconds; more than a record can say is cut."""
    marking = Marking(NAME, 0.0)
    assert marking.tally(7, 4, 0, 4, 0.0, took=0.8125) == StageTally(NAME, 7, 4, 0, 812)
    assert marking.tally(8, 4, 0, 4, 0.0, took=1e12) == StageTally(NAME, 8, 4, 0, 2**31 - 1)


def test_a_new_stage_begins_at_nothing() -> None:
    """What was written of one stage counts for nothing in the next."""
    marking = Marking(NAME, 0.0)
    marking.tally(7, 4, 1, 4, 0.0)
    assert marking.tally(8, 4, 0, 4, 0.1) == StageTally(NAME, 8, 4, 0)


def test_the_first_result_of_a_stage_is_no_line_of_its_own() -> None:
    """However long ago the last line was: what comes within a second of the stage's beginning is told when all of the part is there."""
    marking = Marking(NAME, 0.0)
    marking.tally(7, 4, 0, 4, 0.0)
    assert marking.tally(8, 0, 0, 4, 9.0) is None
    assert marking.tally(8, 1, 0, 4, 9.1) is None
    assert marking.due == 9.0 + TALLY_EVERY
    assert marking.tally(8, 4, 0, 4, 9.2) == StageTally(NAME, 8, 4, 0)
