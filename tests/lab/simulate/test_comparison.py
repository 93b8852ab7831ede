from __future__ import annotations

from dataclasses import replace

from tests.lab.simulate.examples import BROKEN, REFUSES, SCENARIO, comparison_of, outcome_of, run_of

from holdgate.core import CircuitSettings, CountWindow, RampSettings, TimeWindow
from holdgate_lab.fleet.scenario import DependencySpec, QueueSpec, Scenario, TopicSpec
from holdgate_lab.simulate.comparison import Difference, differences, streams_of


def with_circuit(circuit: CircuitSettings) -> Scenario:
    return replace(SCENARIO, dependencies=(DependencySpec(name="payments", capacity=10, circuit=circuit),))


def test_the_same_has_no_differences() -> None:
    """Equal, not identical."""
    assert differences(SCENARIO, replace(SCENARIO)) == ()


def test_a_setting_deep_inside_has_its_whole_place() -> None:
    """As TOML would write it."""
    (found,) = differences(SCENARIO, with_circuit(CircuitSettings(ramp=RampSettings(growth=3))))
    assert (found.setting, found.scenario, found.against) == ("dependencies.payments.circuit.ramp.growth", 2.0, 3.0)


def test_a_window_of_another_kind_is_one_difference() -> None:
    """Its settings have nothing in common."""
    theirs = with_circuit(CircuitSettings(window=TimeWindow(9)))
    place = ("dependencies", "payments", "circuit", "window")
    assert differences(SCENARIO, theirs) == (Difference(place, {"calls": 20}, {"seconds": 9.0, "buckets": 10}),)
    (found,) = differences(SCENARIO, with_circuit(CircuitSettings(window=CountWindow(30))))
    assert found.setting == "dependencies.payments.circuit.window.calls"


def test_what_only_one_has_differs_as_a_whole() -> None:
    """A name that the other one does not know."""
    theirs = replace(SCENARIO, topics=(*SCENARIO.topics, TopicSpec(name="mails")))
    (found,) = differences(SCENARIO, theirs)
    assert (found.setting, found.scenario) == ("topics.mails", None)


def test_a_timeline_differs_as_a_whole() -> None:
    """Its events have no names by which two of them were the same."""
    (found,) = differences(SCENARIO, replace(SCENARIO, faults=(replace(REFUSES, until=2),)))
    assert found.setting == "faults"
    assert isinstance(found.against, list)
    assert found.against[0]["until"] == 2


def test_it_is_sound_as_long_as_nothing_was_broken() -> None:
    """One violation in one run is enough."""
    good, bad = run_of(outcome_of()), run_of(outcome_of(violations=(BROKEN,)))
    assert comparison_of(good).is_sound
    assert not comparison_of(good, bad).is_sound


def test_topics_come_before_queues() -> None:
    """In every report in the same order."""
    queue = QueueSpec(name="mails")
    assert streams_of(replace(SCENARIO, queues=(queue,))) == (*SCENARIO.topics, queue)
