"""The settings of a circuit: defaults, what is refused, what the error says."""

from __future__ import annotations

import pickle
from copy import deepcopy
from dataclasses import FrozenInstanceError, replace
from datetime import timedelta
from typing import Any

import pytest

from holdgate.core import CircuitSettings, CountWindow, RampSettings, TimeWindow
from holdgate.errors import HoldgateError, SettingsError


def test_the_defaults() -> None:
    """The numbers that the docs name."""
    assert CircuitSettings() == CircuitSettings(
        window=CountWindow(20),
        minimum_calls=10,
        failure_rate_threshold=0.5,
        slow_call_duration=None,
        slow_call_rate_threshold=0.5,
        consecutive_failures=5,
        open_duration=3.5,
        open_share=0.1,
        open_multiplier=None,
        open_duration_max=300.0,
        open_jitter=0.1,
        healthy_interval=30.0,
        retry_after_max=3600.0,
        permit_lease=300.0,
        ramp=RampSettings(),
    )


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"window": 20}, "window must be a CountWindow or a TimeWindow, got 20"),
        ({"window": None}, "window must be a CountWindow or a TimeWindow, got None"),
        ({"ramp": 1.0}, "ramp must be RampSettings, got 1.0"),
        ({"minimum_calls": 0}, "minimum_calls must be at least 1, got 0"),
        ({"minimum_calls": 2.5}, "minimum_calls must be a whole number, got 2.5"),
        ({"failure_rate_threshold": 50}, "failure_rate_threshold must be a ratio in (0, 1], got 50: write 0.5 for 50 %"),
        ({"failure_rate_threshold": 0}, "failure_rate_threshold must be a ratio in (0, 1], got 0"),
        ({"failure_rate_threshold": float("nan")}, "failure_rate_threshold must be a finite number, got nan"),
        ({"failure_rate_threshold": True}, "failure_rate_threshold must be a number, got True"),
        ({"slow_call_rate_threshold": 80}, "slow_call_rate_threshold must be a ratio in (0, 1], got 80: write 0.8 for 80 %"),
        ({"slow_call_duration": 0}, "slow_call_duration must be seconds above 0, got 0"),
        ({"slow_call_duration": -1.0}, "slow_call_duration must be seconds above 0, got -1.0"),
        ({"consecutive_failures": 0}, "consecutive_failures must be at least 1, got 0"),
        ({"consecutive_failures": True}, "consecutive_failures must be a whole number, got True"),
        ({"open_duration": 0}, "open_duration must be seconds above 0, got 0"),
        ({"open_duration": "5"}, "open_duration must be a number, got '5'"),
        ({"open_duration_max": float("inf")}, "open_duration_max must be a finite number, got inf"),
        ({"open_duration": 10.0, "open_duration_max": 5.0}, "open_duration=10 is above open_duration_max=5: raise open_duration_max"),
        ({"open_multiplier": 0.9}, "open_multiplier must be at least 1, got 0.9: waits would become shorter in an outage"),
        ({"open_share": 0}, "open_share must be a ratio in (0, 1], got 0"),
        ({"open_share": 10}, "open_share must be a ratio in (0, 1], got 10: write 0.1 for 10 %"),
        ({"open_multiplier": "2"}, "open_multiplier must be a number, got '2'"),
        ({"open_jitter": 1.0}, "open_jitter must be in [0, 1), got 1: at 1 a wait could be 0 seconds"),
        ({"open_jitter": None}, "open_jitter must be a number, got None"),
        ({"open_jitter": -0.1}, "open_jitter must be in [0, 1), got -0.1: at 1 a wait could be 0 seconds"),
        ({"healthy_interval": 0}, "healthy_interval must be seconds above 0, got 0"),
        ({"retry_after_max": 0}, "retry_after_max must be seconds above 0, got 0"),
        ({"permit_lease": -5}, "permit_lease must be seconds above 0, got -5"),
        ({"failure_rate_threshold": 0.1, "ramp": RampSettings(bad_rate=0.1)}, "or the circuit would close at a rate that opens it: lower"),
        (
            {"ramp": RampSettings(bad_rate=0.6)},
            "ramp.bad_rate=0.6 must be below failure_rate_threshold=0.5",
        ),
        ({"permit_lease": 5.0, "slow_call_duration": 10.0}, "permit_lease=5 must be at least slow_call_duration=10, or calls that are"),
        ({"permit_lease": 5.0, "slow_call_duration": 10.0}, "would be taken back as failures: raise permit_lease"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_senseless_settings_are_refused(settings: dict[str, Any], named: str) -> None:
    """Each error names the setting and its value, and both where two clash."""
    with pytest.raises(SettingsError) as caught:
        CircuitSettings(**settings)
    assert named in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, HoldgateError)


def test_the_edges_are_taken() -> None:
    """What is just in range, and None where a rule can be off."""
    settings = CircuitSettings(
        window=TimeWindow(30.0),
        failure_rate_threshold=1,
        slow_call_rate_threshold=1.0,
        consecutive_failures=None,
        open_duration=300.0,
        open_multiplier=1,
        open_jitter=0,
        slow_call_duration=300,
        minimum_calls=1,
    )
    assert (settings.open_multiplier, settings.open_jitter, settings.slow_call_duration) == (1.0, 0.0, 300.0)


def test_durations_take_a_timedelta_and_keep_seconds() -> None:
    """Every duration may be a timedelta; the settings hold floats."""
    minute = timedelta(minutes=1)
    settings = CircuitSettings(
        slow_call_duration=timedelta(milliseconds=1500),
        open_duration=timedelta(seconds=1),
        open_duration_max=minute,
        healthy_interval=minute,
        retry_after_max=minute,
        permit_lease=minute,
    )
    assert (settings.slow_call_duration, settings.open_duration, settings.open_duration_max) == (1.5, 1.0, 60.0)
    assert (settings.healthy_interval, settings.retry_after_max, settings.permit_lease) == (60.0, 60.0, 60.0)


def test_settings_are_frozen_values() -> None:
    """They cannot be changed, compare by value, and `replace` checks again."""
    settings = CircuitSettings()
    with pytest.raises(FrozenInstanceError):
        settings.open_duration = 1.0  # type: ignore[misc]
    assert hash(settings) == hash(CircuitSettings())
    with pytest.raises(SettingsError):
        replace(settings, open_duration=-1.0)


@pytest.mark.parametrize(
    ("alone", "gives_way"),
    [
        ({"failure_rate_threshold": 0.1}, {"ramp": RampSettings(bad_rate=0.05)}),  # Polly's and Istio's
        ({"failure_rate_threshold": 0.2}, {"ramp": RampSettings(bad_rate=0.1)}),
        ({"failure_rate_threshold": 0.001}, {"ramp": RampSettings(bad_rate=0.0005)}),
        ({"slow_call_rate_threshold": 0.1}, {"ramp": RampSettings(bad_rate=0.1)}),  # no call is slow
        ({"slow_call_rate_threshold": 0.1, "slow_call_duration": 1.0}, {"ramp": RampSettings(bad_rate=0.05)}),
        ({"failure_rate_threshold": 0.1, "ramp": RampSettings(growth=3.0)}, {"ramp": RampSettings(growth=3.0, bad_rate=0.05)}),
        ({"open_duration": 600.0}, {"open_duration_max": 600.0}),
        ({"open_duration": 300.0}, {"open_duration_max": 300.0}),
        ({"open_duration_max": 2.0}, {"open_duration": 2.0}),
        ({"open_duration_max": timedelta(minutes=1)}, {"open_duration": 3.5}),
        ({"slow_call_duration": 400.0}, {"permit_lease": 800.0}),
        ({"slow_call_duration": 150.0}, {"permit_lease": 300.0}),
    ],
)
def test_a_setting_alone_is_never_refused_for_a_default(alone: dict[str, Any], gives_way: dict[str, Any]) -> None:
    """The default of the other one gives way, and further than it must it does not move."""
    assert CircuitSettings(**alone) == CircuitSettings(**(alone | gives_way))


def test_a_default_that_gave_way_is_worked_out_anew() -> None:
    """`replace` does not take for given what nobody gave: neither that a value gave way, nor that it did not."""
    strict = CircuitSettings(failure_rate_threshold=0.1, open_duration_max=2.0, slow_call_duration=400.0)
    plain = replace(strict, failure_rate_threshold=0.5, open_duration_max=300.0, slow_call_duration=None)
    assert plain == CircuitSettings()
    assert replace(plain, failure_rate_threshold=0.1, open_duration_max=2.0, slow_call_duration=400.0) == strict


def test_a_default_that_gives_way_survives_a_copy() -> None:
    """Settings go to worker processes; there too a replace works anew."""
    settings: CircuitSettings = pickle.loads(pickle.dumps(deepcopy(CircuitSettings(open_duration=600.0))))  # noqa: S301 - our own
    assert settings == CircuitSettings(open_duration=600.0)
    assert replace(settings, open_duration=3.5) == CircuitSettings()


def test_a_lease_as_long_as_a_slow_call_is_taken() -> None:
    """Only a shorter one would take back calls that are not even slow."""
    settings = CircuitSettings(permit_lease=10.0, slow_call_duration=10.0)
    assert (settings.permit_lease, settings.slow_call_duration) == (10.0, 10.0)


def test_without_slow_calls_no_default_moves_for_them() -> None:
    """Neither the lease nor the ramp's rate, whatever the threshold of slow calls."""
    settings = CircuitSettings(failure_rate_threshold=1.0, slow_call_rate_threshold=0.01)
    assert (settings.permit_lease, settings.ramp.bad_rate) == (300.0, 0.1)


def test_a_clash_is_told_with_its_remedy() -> None:
    """To the last word."""
    with pytest.raises(SettingsError) as caught:
        CircuitSettings(permit_lease=5.0, slow_call_duration=10.0)
    assert str(caught.value) == (
        "permit_lease=5 must be at least slow_call_duration=10, or calls that are not even slow would be taken back as failures: "
        "raise permit_lease"
    )


# -- the ramp's own settings --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"initial": 0}, "ramp.initial must be at least 1, got 0"),
        ({"initial": True}, "ramp.initial must be a whole number, got True"),
        ({"growth": 1.0}, "ramp.growth must be above 1, got 1: the limit would never reach the full rate"),
        ({"growth": 0.5}, "ramp.growth must be above 1, got 0.5: the limit would never reach the full rate"),
        ({"growth": float("nan")}, "ramp.growth must be a finite number, got nan"),
        ({"full": 0}, "ramp.full must be at least 1, got 0"),
        ({"full": 4, "initial": 8}, "ramp.initial=8 is above ramp.full=4: lower initial or raise full"),
        ({"bad_rate": 10}, "ramp.bad_rate must be a ratio in (0, 1], got 10: write 0.1 for 10 %"),
        ({"bad_rate": -0.1}, "ramp.bad_rate must be a ratio in (0, 1], got -0.1"),
        ({"bad_rate": False}, "ramp.bad_rate must be a number, got False"),
        ({"bad_rate": True}, "ramp.bad_rate must be a number, got True"),
        ({"minimum_verdicts": 0}, "ramp.minimum_verdicts must be at least 1, got 0"),
        ({"stage_timeout": 0}, "ramp.stage_timeout must be seconds above 0, got 0"),
        ({"stage_per_relapse": -1}, "ramp.stage_per_relapse must be seconds above 0, got -1"),
        ({"stage_per_relapse": False}, "ramp.stage_per_relapse must be a number, got False"),
    ],
)
def test_senseless_settings_of_a_ramp_are_refused(settings: dict[str, float], named: str) -> None:
    """Each error names the setting and its value, and both where two clash."""
    with pytest.raises(SettingsError) as caught:
        RampSettings(**settings)  # type: ignore[arg-type]
    assert str(caught.value).startswith(named)


def test_sensible_settings_of_a_ramp_are_taken() -> None:
    """The edges of each range, and a timedelta."""
    settings = RampSettings(initial=4, full=4, bad_rate=0, growth=3, stage_timeout=timedelta(seconds=2), stage_per_relapse=0)
    assert (settings.stage_timeout, settings.growth, settings.bad_rate, settings.stage_per_relapse) == (2.0, 3.0, 0, 0)


def test_the_settings_of_a_ramp_are_a_frozen_value() -> None:
    """They cannot be changed under a running ramp."""
    with pytest.raises(FrozenInstanceError):
        RampSettings().initial = 2  # type: ignore[misc]


def test_the_defaults_of_a_ramp() -> None:
    """The numbers that the docs name."""
    settings = RampSettings()
    assert (settings.initial, settings.growth, settings.full, settings.bad_rate) == (1, 2.0, None, 0.1)
    assert (settings.minimum_verdicts, settings.stage_timeout) == (3, 10.0)
