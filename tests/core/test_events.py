"""Events as values."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest

from holdgate.core import Event, LimitChanged, Reason, ThresholdExceeded, events

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
