"""What an answer says of a limit, and what of it can be true."""

from __future__ import annotations

import math
from typing import Any, cast

import pytest

from holdgate.told import LONGEST, Told, believable


@pytest.mark.parametrize("lie", [0, -1.0, math.nan, math.inf, -math.inf, 1e9, LONGEST + 1, "30", True * 0])
def test_a_time_that_cannot_be_is_left_out(lie: Any) -> None:
    """Of a wait as of a window; and what remains of a window that cannot be says nothing."""
    assert believable(Told(retry_after=lie)) is None
    assert believable(Told(reset=lie)) is None
    assert believable(Told(remaining=5, reset=lie)) is None
    assert believable(Told(retry_after=3.0, remaining=5, reset=lie)) == Told(retry_after=3.0)


@pytest.mark.parametrize("lie", [-1, 2.5, math.nan, "5", True])
def test_a_count_that_cannot_be_is_left_out(lie: Any) -> None:
    """The window's end may be true all the same."""
    assert believable(Told(remaining=lie, reset=30.0)) == Told(reset=30.0)
    assert believable(Told(remaining=lie)) is None


def test_what_can_be_true_stays() -> None:
    """As it is, and nothing stays nothing."""
    for said in (Told(7.0, 0, 30.0), Told(remaining=5), Told(reset=LONGEST), None):
        assert believable(said) == said
    assert believable(Told()) is None


def test_anything_else_than_a_told_is_a_mistake() -> None:
    """Of a `told` of the user's own: a plain number, say."""
    with pytest.raises(TypeError, match="told must return a Told or None, got float"):
        believable(cast("Any", 7.0))


def test_the_later_answer_knows_the_window_and_the_longer_wait_holds() -> None:
    """An answer without a window leaves the one before."""
    early = Told(9.0, 5, 30.0)
    assert Told(2.0, 4, 29.0).after(early) == Told(9.0, 4, 29.0)
    assert Told(12.0).after(early) == Told(12.0, 5, 30.0)
    assert Told(reset=3.0).after(early) == Told(9.0, None, 3.0)
    assert Told().after(Told()) == Told()


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        (Told(12.0), 12.0),
        (Told(12.0, 0, 12.0), 12.0),
        (Told(12.0, 3, 60.0), 12.0),
        (Told(12.0, 3, 12.0), None),
        (Told(None, 3, 12.0), None),
        (Told(), None),
    ],
)
def test_trap_the_end_of_a_window_with_calls_left_is_no_wait(told: Told, seconds: float | None) -> None:
    """A 429 names a quota of 100,000 an hour that is nearly full: another limit has refused, and an hour is not what it wants."""
    assert told.sure_wait == seconds
