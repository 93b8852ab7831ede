from __future__ import annotations

import pytest

from holdgate.cli.demo.scenario import Phase, Scenario
from holdgate.errors import SettingsError


@pytest.mark.parametrize(
    ("now", "phase"),
    [(0.0, Phase.UP), (5.99, Phase.UP), (6.0, Phase.DOWN), (15.99, Phase.DOWN), (16.0, Phase.WEAK), (19.99, Phase.WEAK), (20.0, Phase.UP)],
)
def test_payments_goes_down_comes_back_weak_and_recovers(now: float, phase: Phase) -> None:
    """In a run of thirty seconds payments is down from 6 to 16 s and weak until 20 s."""
    assert Scenario(30.0).payments(now) is phase


def test_a_shorter_run_tells_the_same_story_faster() -> None:
    """Every moment of the story, and the circuit's wait with it, shrinks with the length."""
    short = Scenario(15.0)
    assert (short.down_at, short.weak_at, short.up_at, short.quiet_at, short.open_duration) == (3.0, 8.0, 10.0, 13.5, 0.5)


def test_email_is_always_up() -> None:
    """The mail service is healthy also while payments is down, so that isolation can be seen."""
    scenario = Scenario()
    assert {scenario.email(now) for now in (0.0, 10.0, 18.0, 29.0)} == {Phase.UP}


@pytest.mark.parametrize("seconds", [3.9, 601.0, -1.0, float("nan")])
def test_a_length_without_room_for_the_story_is_refused(seconds: float) -> None:
    """Too short, too long or no number: refused with the value and the option that sets it."""
    with pytest.raises(SettingsError, match="--seconds"):
        Scenario(seconds)
