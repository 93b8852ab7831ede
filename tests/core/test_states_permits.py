"""Permits and refusals as values."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from holdgate.core import Rejected, State
from holdgate.core.states import EXPIRED, LIVE, SETTLED, issue


def test_a_permit_carries_when_and_in_which_generation_it_was_issued() -> None:
    """What a caller may read of it."""
    permit = issue(3, 1.5, 2)
    assert (permit.generation, permit.acquired_at, permit.weight, permit.standing) == (3, 1.5, 2, LIVE)
    assert repr(permit) == "<Permit generation=3 acquired_at=1.5 weight=2>"


def test_two_permits_of_one_moment_are_two() -> None:
    """They are told apart by identity."""
    assert issue(0, 0.0, 1) != issue(0, 0.0, 1)


def test_a_refusal_is_a_frozen_value() -> None:
    """One object serves many callers, so nobody can change it."""
    refusal = Rejected(5.0, State.OPEN)
    assert refusal.override is None
    with pytest.raises(FrozenInstanceError):
        refusal.retry_at = 1.0  # type: ignore[misc]


def test_the_standings_are_three() -> None:
    """And small whole numbers, which are quick to write and to compare."""
    assert (LIVE, SETTLED, EXPIRED) == (0, 1, 2)
