"""The arithmetic of an outage without a guard, and its words."""

from __future__ import annotations

import pytest

from holdgate.brokers.costs import TURN, counted, given_up, gone_after, hot_loop, lasting, lost_share

HOUR = 3600.0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.21, "0.21 seconds"),
        (1, "1 second"),
        (60, "1 minute"),
        (90, "90 seconds"),
        (1800, "30 minutes"),
        (3600, "1 hour"),
        (5400, "90 minutes"),
        (86400, "1 day"),
        (7 * 86400, "7 days"),
    ],
)
def test_a_duration_has_the_unit_that_a_person_would_take(seconds: float, words: str) -> None:
    """A round one where there is one."""
    assert lasting(seconds) == words


def test_counts_have_commas_and_their_noun() -> None:
    """In the singular for one."""
    assert (counted(3600), counted(1, "call"), counted(360_000, "call")) == ("3,600", "1 call", "360,000 calls")


def test_what_the_attempts_do_not_cover_is_lost() -> None:
    """Messages come evenly, and each is tried for as long as its attempts last: 540 of 3,600 seconds leave 85 of 100 messages."""
    assert [lost_share(covered, HOUR) for covered in (0, 540, HOUR, 2 * HOUR)] == [1, 0.85, 0, 0]
    assert given_up(540, HOUR) == (
        "what comes in the first 3600 s - 540 s = 3060 s of the outage is given up before it ends, 85 of 100 messages"
    )
    assert given_up(0, HOUR) == "all that comes in the outage is given up, 100 of 100 messages"
    assert given_up(HOUR, HOUR) == "the outage of 3600 s is over by then, so none is given up"


def test_a_message_that_comes_back_immediately_goes_round() -> None:
    """Each turn is a call that fails; with a limit the message is gone after so many."""
    assert hot_loop(HOUR).startswith(f"3600 s / {TURN:g} s a turn = 360,000 calls that fail")
    assert hot_loop(HOUR, turn=60).startswith("3600 s / 60 s a turn = 60 calls that fail")
    assert gone_after(21, HOUR).startswith("21 attempts of 0.01 s each = 0.21 s, and it is gone: what comes in the first 3600 s - 0.21 s")
    assert gone_after(100, HOUR, turn=60) == (
        "100 attempts of 60 s each = 6000 s, and it is gone: the outage of 3600 s is over by then, so none is given up"
    )
