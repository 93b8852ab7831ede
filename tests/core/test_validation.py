"""Checks of single settings."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from holdgate.core import validation
from holdgate.errors import SettingsError

NOT_NUMBERS = [True, False, "1", None, float("nan"), float("inf"), -float("inf"), [1], 10**400]


@pytest.mark.parametrize("value", NOT_NUMBERS, ids=repr)
def test_what_is_no_finite_number_is_refused(value: object) -> None:
    """Text, None, a bool, NaN and infinity are no numbers, and the error names the setting and the value."""
    with pytest.raises(SettingsError, match="open_multiplier must be") as caught:
        validation.number("open_multiplier", value)
    assert repr(value) in str(caught.value)


def test_a_whole_number_becomes_a_float() -> None:
    """An int is taken where a float is meant."""
    assert validation.number("x", 2) == 2.0
    assert type(validation.number("x", 2)) is float


def test_a_timedelta_is_seconds() -> None:
    """A duration may be a timedelta."""
    assert validation.seconds("open_duration", timedelta(minutes=1, milliseconds=500)) == 60.5


@pytest.mark.parametrize("value", [0, -1, 0.0, timedelta(0), timedelta(seconds=-3)], ids=repr)
def test_a_duration_is_above_zero(value: object) -> None:
    """Zero and negative durations are refused."""
    with pytest.raises(SettingsError, match="above 0"):
        validation.seconds("open_duration", value)


@pytest.mark.parametrize("value", NOT_NUMBERS, ids=repr)
def test_a_duration_is_a_number(value: object) -> None:
    """What is no number is no duration."""
    with pytest.raises(SettingsError):
        validation.seconds("open_duration", value)


@pytest.mark.parametrize("value", [0.001, 0.5, 1, 1.0])
def test_a_ratio_goes_up_to_one(value: float) -> None:
    """A ratio is above 0 and at most 1."""
    assert validation.ratio("bad_rate", value) == value


@pytest.mark.parametrize(("value", "meant"), [(50, "write 0.5 for 50 %"), (1.5, "write 0.015 for 1.5 %"), (100, "write 1 for 100 %")])
def test_percent_is_refused_with_the_ratio_that_was_meant(value: float, meant: str) -> None:
    """Percent is the usual slip, and the error says what to write."""
    with pytest.raises(SettingsError, match=meant):
        validation.ratio("failure_rate_threshold", value)


@pytest.mark.parametrize("value", [0, -0.1, 100.1, 1000])
def test_other_numbers_are_no_ratio(value: float) -> None:
    """Where no percent can be meant the error proposes none."""
    with pytest.raises(SettingsError, match=r"must be a ratio in \(0, 1\], got [^:]*$"):
        validation.ratio("failure_rate_threshold", value)


@pytest.mark.parametrize("value", [True, 1.0, "3", None, float("nan")], ids=repr)
def test_a_count_is_a_whole_number(value: object) -> None:
    """A float, even a whole one, a bool and text are no counts."""
    with pytest.raises(SettingsError, match="must be a whole number"):
        validation.count("minimum_calls", value)


@pytest.mark.parametrize("value", [0, -1])
def test_a_count_begins_at_one(value: int) -> None:
    """Zero calls make no sense."""
    with pytest.raises(SettingsError, match="must be at least 1"):
        validation.count("minimum_calls", value)


def test_one_is_a_count() -> None:
    """The least count is taken."""
    assert validation.count("minimum_calls", 1) == 1


def test_a_duration_may_be_short() -> None:
    """A fraction of a second is one."""
    assert validation.seconds("open_duration", 0.05) == 0.05


@pytest.mark.parametrize("check", [validation.seconds, validation.ratio, validation.count])
def test_every_check_names_the_setting(check: Callable[[str, object], object]) -> None:
    """With the value as it was given."""
    with pytest.raises(SettingsError, match=r"^open_jitter must be .*, got 'much'"):
        check("open_jitter", "much")


def test_a_default_that_gave_way_remembers_what_is_usual() -> None:
    """So that it can come back when the other setting does."""
    assert validation.Usual(5.0).at_most(2.0).at_most(10.0) == 5.0
    assert validation.Usual(5.0).at_least(8.0).at_least(1.0) == 5.0
    assert (validation.Usual(5.0).at_most(2.0).usual, validation.Usual(5.0).at_least(8.0).usual) == (5.0, 5.0)


def test_two_defaults_keep_their_room() -> None:
    """Neither has to give way; a given value moves the other, and two given ones stay as they are."""
    usual = validation.Usual
    assert validation.make_room(usual(5.0), usual(300.0)) == (5.0, 300.0)
    assert validation.make_room(usual(5.0).at_most(2.0), usual(300.0)) == (5.0, 300.0)
    assert validation.make_room(usual(5.0), 2.0) == (2.0, 2.0)
    assert validation.make_room(600.0, usual(300.0)) == (600.0, 600.0)
    assert validation.make_room(600.0, 2.0) == (600.0, 2.0)


def test_a_default_stays_one() -> None:
    """A check does not take it for a value that was given."""
    assert isinstance(validation.number("open_duration", validation.Usual(5.0)), validation.Usual)
    assert type(validation.number("open_duration", 5.0)) is float


def test_what_is_no_percent_either_gets_no_proposal() -> None:
    """The text ends with the value: nothing was meant in percent."""
    with pytest.raises(SettingsError) as caught:
        validation.ratio("failure_rate_threshold", 1000)
    assert str(caught.value) == "failure_rate_threshold must be a ratio in (0, 1], got 1000"
