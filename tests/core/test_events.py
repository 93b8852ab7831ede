"""Events as values."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest

from holdgate.core import CircuitClosed, CircuitOpened, Event, LimitChanged, Reason, State, ThresholdExceeded, events

KINDS = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event]


@pytest.mark.parametrize("kind", KINDS)
def test_every_event_says_whose_when_and_in_which_generation(kind: type[Event]) -> None:
    """The first three fields are the same everywhere, and every kind explains itself."""
    assert [field.name for field in fields(kind)][:3] == ["name", "at", "generation"]
    assert kind.__doc__


def test_the_kinds_are_the_ten_of_the_docs() -> None:
    """No event comes or goes unnoticed."""
    assert sorted(kind.__name__ for kind in KINDS) == [
        "CircuitClosed",
        "CircuitHalfOpened",
        "CircuitOpened",
        "CircuitReset",
        "LeaseExpired",
        "LeaseTooShort",
        "LimitChanged",
        "OverrideCleared",
        "OverrideSet",
        "ThresholdExceeded",
    ]


def test_an_event_is_frozen() -> None:
    """Observers share it."""
    event = LimitChanged("payments", 1.0, 2, 4, 8)
    with pytest.raises(FrozenInstanceError):
        event.limit = 1  # type: ignore[misc]


def test_a_threshold_is_exceeded_and_not_only_observed() -> None:
    """Unless the event says so."""
    assert ThresholdExceeded("payments", 0.0, 1, Reason.FAILURE_RATE, 0.6, 0.5).observed is False


def test_an_event_without_an_outage_and_a_fleet_says_so() -> None:
    """Those who make one by hand need not."""
    is_open = CircuitOpened("payments", 0.0, 1, Reason.FAILURE_RATE, 5.0, 1, State.CLOSED)
    assert (is_open.outage_since, is_open.probes, is_open.asked, is_open.in_fleet) == (None, 0, None, False)
    closed = CircuitClosed("payments", 0.0, 1, State.HALF_OPEN)
    assert (closed.outage_since, closed.probes) == (None, 0)
    assert LimitChanged("payments", 0.0, 1, 4, 8).in_fleet is False
