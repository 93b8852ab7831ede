"""The settings of a fleet."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from holdgate.errors import SettingsError
from holdgate.fleet import FleetSettings


def test_durations_may_be_timedeltas() -> None:
    """A timedelta is the same as its seconds."""
    assert FleetSettings(open_duration_max=timedelta(minutes=1), silence=timedelta(seconds=4)) == FleetSettings(
        open_duration_max=60.0, silence=4.0
    )


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"name": ""}, "fleet.name must be a text of 1 to 128 bytes"),
        ({"name": 7}, "got 7"),
        ({"name": "x" * 129}, "128 bytes"),
        ({"quorum": 1}, "fleet.quorum must be at least 2, got 1"),
        ({"quorum": 2.5}, "fleet.quorum must be a whole number"),
        ({"open_share": 50}, "fleet.open_share must be a ratio"),
        ({"open_duration_max": 0}, "fleet.open_duration_max must be seconds above 0"),
        ({"silence": -1}, "fleet.silence must be seconds above 0"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, Any], text: str) -> None:
    """A wrong value raises, with the value and what it must be."""
    with pytest.raises(SettingsError, match=text):
        FleetSettings(**given)
