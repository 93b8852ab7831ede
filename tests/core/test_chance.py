"""Refusals by chance, and those of a limit."""

from __future__ import annotations

import random

import pytest

from holdgate.core.chance import CALM, DOUBTS, FALLEN, IMMEDIATELY, QUICKEST, TESTS, Chance


def _fallen() -> Chance:
    """A pace of ten that has fallen so far that the next call is a test."""
    chance = Chance()
    assert not chance.refuse(10.0)
    assert not chance.refuse(10.0 * FALLEN * 0.9)
    assert chance.is_tested
    return chance


def _known(share: float = 0.02) -> Chance:
    """One that knows that so many calls are refused by chance."""
    chance = Chance()
    pace = 10.0
    while not chance.is_known:
        for _ in range(int(1 / share) - 1):
            chance.let_in()
        chance.refuse(pace)
        chance.answer(was_let_in=True, after=0.0)
        pace *= 0.9
    return chance


def test_a_pace_that_fell_a_little_is_not_suspected() -> None:
    """Yields and climbs are what sharing looks like."""
    chance = Chance()
    for pace in (10.0, 8.0, 9.0, 10.0 * FALLEN * 1.01):
        assert not chance.refuse(pace)
        assert not chance.is_tested


def test_where_no_pace_is_known_nothing_is_tested() -> None:
    """A first refusal is one of a limit."""
    chance = Chance()
    assert not chance.refuse(None)
    assert not chance.is_tested


def test_who_was_too_quick_for_a_test_falls_from_what_can_be_tested() -> None:
    """A pace of a hundred a second has a token again before any call asks."""
    chance = Chance()
    chance.refuse(100.0)
    chance.refuse(QUICKEST * FALLEN * 1.01)
    assert not chance.is_tested
    chance.refuse(QUICKEST * FALLEN * 0.99)
    assert chance.is_tested


def test_enough_calls_that_are_let_in_right_after_a_refusal_are_an_answer() -> None:
    """And not one less."""
    chance = _fallen()
    for _ in range(TESTS - 1):
        assert not chance.answer(was_let_in=True, after=0.0)
        assert not chance.is_known
        chance.refuse(1.0)
    assert chance.answer(was_let_in=True, after=IMMEDIATELY)
    assert chance.is_known
    assert chance.best == 10.0


def test_one_that_is_refused_is_the_other_answer() -> None:
    """Then the lower pace is what it has to fall from, and the count begins anew."""
    chance = _fallen()
    for _ in range(TESTS - 1):
        chance.answer(was_let_in=True, after=0.0)
        chance.refuse(1.0)
    assert not chance.answer(was_let_in=False, after=0.0)
    chance.refuse(1.0)
    assert not chance.is_tested
    chance.refuse(FALLEN * 0.99)
    assert chance.is_tested
    assert not chance.answer(was_let_in=True, after=0.0)


def test_a_call_that_came_late_shows_nothing() -> None:
    """It may have met a new token."""
    chance = _fallen()
    for _ in range(2 * TESTS):
        chance.refuse(1.0)
        assert not chance.answer(was_let_in=True, after=2 * IMMEDIATELY)
    assert not chance.is_known


def test_an_answer_that_nobody_has_asked_for_shows_nothing() -> None:
    """Every opening of the gate is told."""
    chance = Chance()
    for _ in range(2 * TESTS):
        assert not chance.answer(was_let_in=True, after=0.0)
    assert not chance.is_known


def test_refusals_as_seldom_as_by_chance_are_excused() -> None:
    """One call in fifty, for ten thousand calls, in any order that chance gives."""
    chance, draw = _known(0.02), random.Random(3).random
    excused = refused = 0
    for _ in range(10_000):
        if draw() < 0.02:
            refused += 1
            excused += chance.refuse(10.0)
        else:
            chance.let_in()
    assert chance.is_known
    assert excused >= 0.9 * refused


def test_refusals_that_come_in_a_row_are_those_of_a_limit() -> None:
    """Four on end are one, though it is known that some come by chance."""
    chance = _known()
    assert [chance.refuse(10.0) for _ in range(4)] == [True, True, True, False]
    assert chance.is_known


def test_refusals_that_grow_with_the_pace_end_the_excuse() -> None:
    """A third of all calls: one limit after another, until it was no chance."""
    chance = _known()
    for _ in range(40):
        chance.refuse(10.0)
        chance.let_in()
        chance.let_in()
    assert not chance.is_known


def test_a_limit_now_and_then_does_not_end_it() -> None:
    """Limits with many good calls between them are those of a service that has both."""
    chance = _known()
    for _ in range(3 * DOUBTS):
        for _ in range(CALM):
            chance.let_in()
        while chance.refuse(10.0):
            pass
    assert chance.is_known


@pytest.mark.parametrize("share", [0.02, 0.1])
def test_a_share_that_was_seen_lower_is_the_lower(share: float) -> None:
    """What a start has refused is not excused for ever: with fewer refusals the bound comes down."""
    chance = _known(share)
    for _ in range(5000):
        chance.let_in()
    assert [chance.refuse(10.0) for _ in range(4)] == [True, True, True, False]
