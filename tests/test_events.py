"""The one face for events."""

from __future__ import annotations

import inspect
from typing import get_args

from holdgate import events
from holdgate.core import events as core_events
from holdgate.fleet import events as fleet_events
from holdgate.flow import events as flow_events


def test_every_event_of_each_floor_is_there_once() -> None:
    """What core, flow and fleet define, and nothing else: an event that is new there is missing here until somebody adds it."""
    defined = [
        each
        for floor in (core_events, flow_events, fleet_events)
        for each in vars(floor).values()
        if inspect.isclass(each) and each.__module__ == floor.__name__
    ]

    listed = [getattr(events, name) for name in events.__all__]

    assert len(set(events.__all__)) == len(events.__all__)
    assert {each for each in listed if inspect.isclass(each)} == set(defined)


def test_what_an_observer_is_given_is_one_of_these() -> None:
    """`AnyEvent` is the type to annotate an observer with."""
    assert get_args(events.AnyEvent) == (events.Event, events.FlowEvent, events.FleetEvent)
