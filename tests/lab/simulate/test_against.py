from __future__ import annotations

import pytest
from tests.lab.simulate.examples import SHORT, file_of, scenario_from

from holdgate.core import CircuitSettings, TimeWindow
from holdgate.errors import SettingsError
from holdgate_lab.fleet.scenario import Scenario
from holdgate_lab.simulate.against import scenario_against
from holdgate_lab.simulate.comparison import differences

OURS = scenario_from(SHORT)


def against(text: str, ours: str = SHORT) -> Scenario:
    return scenario_against(scenario_from(ours), file_of(ours, "ours.toml"), file_of(text, "theirs.toml"))


def complaint(text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        against(text)
    return str(caught.value)


def test_settings_alone_are_laid_over_the_scenario() -> None:
    """What the file says replaces, what it leaves out stays."""
    theirs = against("workers = 2\n[dependencies.payments.circuit]\nminimum_calls = 4\n")
    assert (theirs.workers, theirs.dependencies[0].circuit) == (2, CircuitSettings(open_duration=3, minimum_calls=4))
    assert theirs.topics == OURS.topics


def test_a_circuit_for_all_replaces_that_of_each() -> None:
    """Otherwise settings that somebody compares with would change nothing."""
    theirs = against("[circuit]\nopen_duration = 50\nwindow.seconds = 9\n")
    assert theirs.dependencies[0].circuit == CircuitSettings(open_duration=50, window=TimeWindow(9))


def test_a_circuit_of_one_dependency_comes_before_that_for_all() -> None:
    """As in a scenario."""
    assert (
        against("circuit.open_duration = 50\ndependencies.payments.circuit.open_duration = 60").dependencies[0].circuit.open_duration == 60
    )


def test_a_window_replaces_the_other_as_a_whole() -> None:
    """One of calls and one of seconds at the same time is none."""
    ours = SHORT.replace("circuit.open_duration = 3", "circuit.window.calls = 5")
    theirs = against("dependencies.payments.circuit.window.seconds = 9", ours)
    assert theirs.dependencies[0].circuit.window == TimeWindow(9)


def test_a_whole_scenario_leaves_nothing_over() -> None:
    """What it does not say is the default, not what the other file says."""
    theirs = against(SHORT.replace("circuit.open_duration = 3", ""))
    assert theirs.dependencies[0].circuit == CircuitSettings()


def test_name_and_description_are_no_difference() -> None:
    """Who compares two files has given them two names."""
    assert differences(OURS, against(f'name = "before"\ndescription = "Before."\n{SHORT}')) == ()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (SHORT.replace("rate = 4", "rate = 5"), "theirs.toml:5: topics.orders.rate: 5.0 here, and 4.0 in ours.toml"),
        (SHORT.replace("capacity = 4", "capacity = 5"), "theirs.toml:8: dependencies.payments.capacity: 5 here, and 4 in ours.toml"),
        (SHORT.replace("until = 10", "until = 9"), "theirs.toml:11: faults: "),
        (SHORT + "[dependencies.email]\n", "theirs.toml:16: dependencies.email: a table here, and nothing in ours.toml"),
        (SHORT + "[queues.mails]\n", "theirs.toml:16: queues.mails: a table here, and nothing in ours.toml"),
        ("topics.orders.keys = 3\n", "theirs.toml:1: topics.orders.keys: 3 here, and 0 in ours.toml"),
    ],
)
def test_another_world_is_refused(text: str, place: str) -> None:
    """Two worlds with two settings would show nothing about the settings."""
    told = complaint(text)
    assert told.startswith(place)
    assert told.endswith("--against compares settings, so the world must be the same")


@pytest.mark.parametrize("text", ["workers = 9", "retry.attempts = 2", "dependencies.payments.timeout = 9", "order = 'none'", "inbox = 5"])
def test_everything_that_a_team_can_set_may_differ(text: str) -> None:
    """Callers' patience and the size of the fleet as well."""
    assert len(differences(OURS, against(text))) == 1


def test_a_dependency_that_the_scenario_does_not_have_is_a_slip() -> None:
    """Told with the nearest one, not as another world."""
    assert complaint("dependencies.paymets.timeout = 3").endswith("known here; did you mean payments?")


def test_wrong_settings_have_the_lines_of_their_own_file() -> None:
    """Also where they clash with what the scenario says."""
    assert complaint("workers = 2\n[dependencies.payments.circuit]\nopen_duration_max = 1\n").startswith(
        "theirs.toml:3: dependencies.payments.circuit.open_duration_max: open_duration=3 is above open_duration_max=1"
    )


@pytest.mark.parametrize("text", ["circuit = 3", "dependencies = 3", "dependencies.payments = 3", "[circuit]\nopen_duraton = 3"])
def test_another_shape_is_an_error_and_no_crash(text: str) -> None:
    """Whatever a person writes is answered in one line."""
    assert complaint(text).startswith("theirs.toml:")
