"""The settings of limits, and what a limiter shows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from holdgate.core.limits import LimiterSnapshot, Limits, share_of
from holdgate.errors import SettingsError

NAN = float("nan")


def test_nothing_is_known_by_default() -> None:
    """Limits without numbers are found out."""
    limits = Limits()
    assert (limits.rate, limits.per, limits.concurrency, limits.adaptive, limits.pace) == (None, 1.0, None, True, None)


def test_a_rate_is_a_pace() -> None:
    """A rate of 600 in a minute is ten a second."""
    assert Limits(rate=600, per=timedelta(minutes=1)).pace == 10


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"rate": 0}, "limits.rate must be at least 1, got 0: nothing would ever start. guard.force_open stops all calls for a time"),
        ({"rate": -5}, "limits.rate must be at least 1, got -5"),
        ({"rate": 0.0}, "limits.rate must be at least 1, got 0: nothing would ever start. guard.force_open stops all calls for a time"),
        ({"rate": 1.0}, "limits.rate must be a whole number, got 1.0"),
        ({"rate": 1.5}, "limits.rate must be a whole number, got 1.5"),
        ({"rate": 0.5, "per": 2}, "got 0.5 with per=2: write rate=1, per=4"),
        ({"rate": NAN}, "limits.rate must be a whole number, got nan"),
        ({"rate": True}, "limits.rate must be a whole number, got True"),
        ({"rate": 10**9 + 1}, "at most 1000000000, got more, with per=1: leave rate out where nothing limits"),
        ({"rate": 10**400, "per": 60}, "at most 1000000000, got more, with per=60: leave rate out where nothing limits"),
        ({"rate": 1, "per": 1e300}, "limits.per must be at most 31622400 seconds, a year, got 1e+300"),
        ({"rate": 10, "per": 0}, "limits.per must be seconds above 0, got 0"),
        ({"rate": 10, "per": NAN}, "limits.per must be a finite number, got nan"),
        ({"concurrency": 0}, "limits.concurrency must be at least 1, got 0"),
        ({"concurrency": 2.5}, "limits.concurrency must be a whole number, got 2.5"),
        ({"adaptive": 1}, "limits.adaptive must be True or False, got 1"),
        (
            {"adaptive": False},
            "limits.adaptive=False with rate=None and concurrency=None limits nothing: give a number, or leave limits out",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, Any], named: str) -> None:
    """An error names the setting, what it must be and what it is."""
    with pytest.raises(SettingsError) as caught:
        Limits(**given)
    assert named in str(caught.value)
    assert str(caught.value).startswith("limits.")
    assert str(caught.value).endswith(named[-5:])


def test_half_of_two_calls_is_one() -> None:
    """In the same span. All of them is what was given."""
    limits = Limits(rate=2, per=1.0)
    assert share_of(limits, 0.5) == Limits(rate=1, per=1.0)
    assert share_of(limits, 1) is limits


def test_the_most_that_may_be_set_is_taken() -> None:
    """A thousand million calls, and a leap year."""
    assert Limits(rate=10**9).rate == 10**9
    assert Limits(rate=1, per=366 * 86400).per == 366 * 86400


def test_a_share_of_the_longest_span_is_no_error() -> None:
    """The span cannot become longer than what may be set."""
    longest = Limits(rate=1, per=366 * 86400)
    assert share_of(longest, 0.05) == longest
    assert share_of(Limits(rate=1, per=60), 0.05).per == pytest.approx(1200)


def test_waste_is_the_share_of_refused_calls() -> None:
    """One refusal for 99 calls that were let in is one percent, and no call is no waste."""
    assert _snapshot(accepted=99, refused=1).waste == 0.01
    assert _snapshot(accepted=0, refused=0).waste == 0


def _snapshot(accepted: int, refused: int) -> LimiterSnapshot:
    return LimiterSnapshot(in_flight=0, width=None, pace=None, next_at=None, accepted=accepted, refused=refused, experiments=0, why="free")


@pytest.mark.parametrize(
    ("share", "rate", "per", "concurrency"),
    [(0.5, 10, 60.0, 4), (0.3, 6, 60.0, 2), (0.01, 1, 300.0, 1), (1.0, 20, 60.0, 8)],
)
def test_a_part_of_the_numbers_is_whole_calls_over_a_longer_span(share: float, rate: int, per: float, concurrency: int) -> None:
    """Of twenty calls a minute and eight in parallel. A hundredth is one call in five minutes, and one in flight at the least."""
    part = share_of(Limits(rate=20, per=60.0, concurrency=8), share)
    assert (part.rate, part.per, part.concurrency) == (rate, pytest.approx(per), concurrency)
    assert share_of(Limits(rate=20, per=60.0), share).concurrency is None
    assert share_of(Limits(concurrency=8), share).rate is None
