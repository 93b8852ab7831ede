"""The retry policy: its waits, its defaults, and the settings that it refuses."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdgate.errors import SettingsError
from holdgate.flow.policy import RetryPolicy

POLICY = RetryPolicy(attempts=3, initial_backoff=1.0, multiplier=2.0, max_backoff=6.0, jitter=0.0)


def test_the_defaults() -> None:
    """The numbers that the docs name."""
    assert RetryPolicy() == RetryPolicy(
        attempts=5,
        initial_backoff=0.5,
        multiplier=2.0,
        max_backoff=30.0,
        jitter=0.2,
        not_retryable=(),
        doubt=1e-6,
        reject_after_probes=None,
        on_exhausted="reject",
    )


def test_backoffs_that_clash_are_told_with_the_remedy() -> None:
    """Both values, and what to do."""
    with pytest.raises(SettingsError) as caught:
        RetryPolicy(initial_backoff=5.0, max_backoff=2.0)
    assert str(caught.value) == "max_backoff=2.0 is shorter than initial_backoff=5.0: raise the first or lower the second"


@pytest.mark.parametrize(
    ("alone", "gives_way"),
    [
        ({"initial_backoff": 60.0}, {"max_backoff": 60.0}),
        ({"initial_backoff": 30.0}, {"max_backoff": 30.0}),
        ({"max_backoff": 0.1}, {"initial_backoff": 0.1}),
        ({"max_backoff": 60.0}, {"initial_backoff": 0.5}),
    ],
)
def test_a_backoff_alone_is_never_refused_for_the_default_of_the_other(alone: dict[str, float], gives_way: dict[str, float]) -> None:
    """The one that is left out gives way, and is worked out anew by `replace`."""
    policy = RetryPolicy(**alone)  # type: ignore[arg-type]
    assert policy == RetryPolicy(**alone, **gives_way)  # type: ignore[arg-type]
    assert replace(policy, **dict.fromkeys(alone, 2.0)) == replace(RetryPolicy(), **dict.fromkeys(alone, 2.0))  # type: ignore[arg-type]


def test_waits_double_up_to_the_maximum() -> None:
    """1, 2, 4, and then the cap instead of 8."""
    assert [POLICY.wait(failures, 0.5) for failures in (1, 2, 3, 4)] == [1.0, 2.0, 4.0, 6.0]


def test_jitter_spreads_both_ways() -> None:
    """A fifth less at the lowest draw, a fifth more at the highest, nothing in the middle."""
    policy = RetryPolicy(initial_backoff=10.0, jitter=0.2)

    assert [policy.wait(1, draw) for draw in (0.0, 0.5)] == [8.0, 10.0]
    assert policy.wait(1, 1.0) == pytest.approx(12.0)


def test_the_cap_comes_after_jitter() -> None:
    """No wait is longer than the maximum that was set."""
    assert RetryPolicy(initial_backoff=30.0, max_backoff=30.0, jitter=0.5).wait(1, 0.99) == 30.0


def test_a_week_of_failures_does_not_overflow() -> None:
    """The exponent is bounded."""
    assert RetryPolicy(multiplier=1e4).wait(10**6, 0.5) == 30.0


@given(failures=st.integers(1, 100), draw=st.floats(0, 1, exclude_max=True), jitter=st.floats(0, 1, exclude_max=True))
def test_every_wait_is_positive_and_capped(failures: int, draw: float, jitter: float) -> None:
    """Whatever the chance and the jitter."""
    assert 0 < RetryPolicy(jitter=jitter).wait(failures, draw) <= 30.0


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ({"attempts": 0}, "attempts must be at least 1, got 0"),
        ({"attempts": True}, "attempts must be a whole number, got True"),
        ({"attempts": 2.0}, "attempts must be a whole number, got 2.0"),
        ({"initial_backoff": 0.0}, "initial_backoff must be seconds above 0, got 0.0"),
        ({"initial_backoff": math.nan}, "initial_backoff must be a finite number, got nan"),
        ({"initial_backoff": 40.0, "max_backoff": 30.0}, "max_backoff=30.0 is shorter than initial_backoff=40.0"),
        ({"max_backoff": math.inf}, "max_backoff must be a finite number, got inf"),
        ({"multiplier": 0.9}, "multiplier=0.9"),
        ({"multiplier": math.inf}, "multiplier must be a finite number, got inf"),
        ({"jitter": 1.0}, "jitter=1.0"),
        ({"jitter": -0.1}, "jitter=-0.1"),
        ({"doubt": 0.0}, "doubt=0.0"),
        ({"doubt": 1.0}, "doubt=1.0"),
        ({"doubt": math.nan}, "doubt must be a finite number, got nan"),
        ({"reject_after_probes": 0}, "reject_after_probes must be at least 1, got 0"),
        ({"reject_after_probes": True}, "reject_after_probes must be a whole number, got True"),
        ({"reject_after_probes": 1.5}, "reject_after_probes must be a whole number, got 1.5"),
        ({"not_retryable": "ValueError"}, "not_retryable must hold exception types, got 'ValueError'"),
        ({"not_retryable": (ValueError, BaseException)}, "not_retryable must hold exception types, got .class 'BaseException'."),
        ({"not_retryable": Exception}, "not_retryable must not hold Exception: a refused call raises it"),
        ({"on_exhausted": "drop"}, 'on_exhausted must be "reject" or "skip", got \'drop\''),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting: dict[str, Any], text: str) -> None:
    """At construction, with the value in the error."""
    with pytest.raises(SettingsError, match=text):
        RetryPolicy(**setting)


def test_one_type_that_is_not_retryable_needs_no_tuple() -> None:
    """It is read as one."""
    assert RetryPolicy(not_retryable=KeyError).not_retryable == (KeyError,)


def test_the_smallest_settings_are_accepted() -> None:
    """One attempt, no growth, no jitter, and a maximum that is the first wait."""
    policy = RetryPolicy(attempts=1, multiplier=1.0, jitter=0.0, initial_backoff=2.0, max_backoff=2.0)

    assert policy.wait(9, 0.5) == 2.0


def test_a_wait_grows_no_further_after_sixty_four_failures() -> None:
    """A number without end would be too big for a float, where the longest wait is as good as none."""
    endless = replace(POLICY, max_backoff=1e300)
    assert [endless.wait(failures, 0.5) for failures in (64, 65, 66, 5000)] == [2.0**63, 2.0**64, 2.0**64, 2.0**64]
