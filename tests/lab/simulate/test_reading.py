from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from tests.lab.simulate.examples import SHORT, scenario_from

from holdgate.core import CircuitSettings, CountWindow, RampSettings, TimeWindow
from holdgate.errors import SettingsError
from holdgate.flow.policy import RetryPolicy
from holdgate_lab.fleet.scenario import DependencySpec, Fault, FaultKind, MemberEvent, QueueSpec, TopicSpec
from holdgate_lab.simulate.reading import FAULT_KEYS, read_scenario

WHOLE = """\
description = "Everything at once."
seconds = 60
sample_every = 0.5
workers = 3
order = "none"
timeout = 2
retry = {attempts = 3, reject_after_probes = 4}

[topics.orders]
needs = ["payments"]
partitions = 4
poison = [3, 5]

[queues.mails]
delivery_limit = "none"

[dependencies.payments]
capacity = 5
circuit.window.seconds = 20

[[faults]]
at = 1
until = 2
dependency = "payments"
kind = "flap"
up = 0.2

[[members]]
at = 3
worker = 1
kind = "freeze"
seconds = 9
"""


def complaint(text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        scenario_from(text)
    return str(caught.value)


def test_every_part_of_a_scenario_is_read() -> None:
    """Named things from tables, timelines from lists of tables, settings under their own names."""
    scenario = scenario_from(WHOLE)
    assert scenario.topics == (TopicSpec(name="orders", needs=("payments",), partitions=4, poison=(3, 5)),)
    assert scenario.queues == (QueueSpec(name="mails", delivery_limit=None),)
    assert scenario.dependencies == (DependencySpec(name="payments", capacity=5, circuit=CircuitSettings(window=TimeWindow(20))),)
    assert scenario.faults == (Fault(at=1, until=2, dependency="payments", kind="flap", up=0.2),)
    assert scenario.members == (MemberEvent(at=3, worker=1, kind="freeze", seconds=9),)
    assert scenario.retry == RetryPolicy(attempts=3, reject_after_probes=4)
    assert (scenario.name, scenario.description, scenario.order, scenario.timeout) == ("some", "Everything at once.", "none", 2.0)


def test_a_scenario_is_called_as_its_file(tmp_path: Path) -> None:
    """Unless it says another name."""
    path = tmp_path / "friday-night.toml"
    path.write_text(SHORT)
    assert read_scenario(path).name == "friday-night"
    path.write_text('name = "saturday"\n' + SHORT)
    assert read_scenario(path).name == "saturday"


def test_a_circuit_at_the_top_is_for_every_dependency() -> None:
    """What a dependency says itself comes before it, down to a single setting of the ramp."""
    scenario = scenario_from("""
        seconds = 5
        [circuit]
        open_duration = 9
        window.seconds = 30
        ramp = {growth = 3, initial = 2}
        [dependencies.one]
        [dependencies.two.circuit]
        window.calls = 7
        ramp.growth = 4
    """)
    one, two = (spec.circuit for spec in scenario.dependencies)
    assert one == CircuitSettings(open_duration=9, window=TimeWindow(30), ramp=RampSettings(growth=3, initial=2))
    assert two == CircuitSettings(open_duration=9, window=CountWindow(7), ramp=RampSettings(growth=4, initial=2))


def test_a_wrong_circuit_at_the_top_is_told_once() -> None:
    """And not again for each dependency that it is for."""
    text = "seconds = 5\n[circuit]\nopen_duraton = 1\n[dependencies.one]\n[dependencies.two]\n"
    assert complaint(text) == "some.toml:3: circuit.open_duraton: is none of those that are known here; did you mean open_duration?"


def test_everything_that_is_wrong_is_told_at_once() -> None:
    """In one run, with a line for each."""
    told = complaint(WHOLE.replace("workers = 3", "wokers = 3").replace("capacity = 5", 'capacity = "5"').replace('"flap"', '"flip"'))
    assert [line.split(": ")[:2] for line in told.splitlines()] == [
        ["some.toml:4", "wokers"],
        ["some.toml:18", "dependencies.payments.capacity"],
        ["some.toml:25", "faults[0].kind"],
    ]


def test_a_need_that_is_no_dependency_is_told() -> None:
    """The scenario's own rule, with its words."""
    assert "'orders' needs ['payments'], and the dependencies are []" in complaint('seconds = 5\n[topics.orders]\nneeds = ["payments"]\n')


@pytest.mark.parametrize(
    ("kind", "key", "takes"),
    [("refuse", "ratio = 0.5", "latency"), ("flap", "factor = 3", "down and latency and up"), ("cold", "key = 1", "ratio and warm_up")],
)
def test_a_parameter_that_a_fault_does_not_look_at_is_refused(kind: str, key: str, takes: str) -> None:
    """It would do nothing, and somebody thinks that it does."""
    told = complaint(SHORT.replace('kind = "refuse"', f'kind = "{kind}"\n{key}'))
    name = key.split(" ", maxsplit=1)[0]
    assert told == f'some.toml:16: faults[0].{name}: does nothing in a fault of kind "{kind}", which takes {takes}'


def test_every_kind_of_fault_has_its_parameters() -> None:
    """A kind that is added must be added here."""
    assert set(FAULT_KEYS) == set(get_args(FaultKind))


def test_seconds_of_a_member_that_does_not_freeze_are_refused() -> None:
    """Nothing else takes time."""
    told = complaint(SHORT + '\n[[members]]\nat = 1\nworker = 0\nkind = "kill"\nseconds = 3\n')
    assert told == 'some.toml:21: members[0].seconds: does nothing in an event of kind "kill": only a freeze takes it'


@pytest.mark.parametrize(
    "text",
    [
        SHORT.replace("at = 5\nuntil = 10", "at = 20\nuntil = 30"),
        SHORT + '\n[[members]]\nat = 21\nworker = 0\nkind = "kill"\n',
    ],
)
def test_what_happens_after_the_end_is_refused(text: str) -> None:
    """It would not happen, and a report without it would look well."""
    assert "is not before the end, and the run is over after seconds = 20" in complaint(text)


def members(*events: tuple[float, int, str]) -> str:
    return SHORT + "".join(f'\n[[members]]\nat = {at}\nworker = {worker}\nkind = "{kind}"\n' for at, worker, kind in events)


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([(1, 1, "kill")], "worker 1 is not there at 1 s"),
        ([(1, 0, "join")], "worker 0 is there already at 1 s"),
        ([(2, 0, "drop"), (1, 0, "leave")], "worker 0 is not there at 2 s"),
        ([(1, 0, "freeze"), (2, 0, "join")], "worker 0 is there already at 2 s"),
    ],
)
def test_an_event_of_a_worker_that_changes_nothing_is_refused(events: list[tuple[float, int, str]], words: str) -> None:
    """A slip in its number, or in the order of things."""
    assert words in complaint(members(*events))


def test_workers_may_come_go_and_come_back() -> None:
    """Also some that were not there at the beginning."""
    events = [(1, 0, "kill"), (2, 1, "join"), (3, 1, "freeze"), (4, 1, "leave"), (5, 0, "join"), (6, 1, "join")]
    assert len(scenario_from(members(*events)).members) == 6


def test_a_million_samples_are_refused() -> None:
    """They would fill the memory, and nobody looks at them."""
    assert scenario_from("seconds = 100000").seconds == 100_000
    assert complaint("seconds = 100001") == "some.toml:1: sample_every: 100001 samples are more than anybody looks at: give 1.00001 or more"


def test_less_capacity_of_a_dependency_without_one_is_refused() -> None:
    """A share of no limit is no limit."""
    told = complaint(SHORT.replace("capacity = 4\n", "").replace('"refuse"', '"capacity"'))
    assert told == 'some.toml:14: faults[0].kind: "capacity" does nothing while dependencies.payments has no capacity: give it one'


def test_a_key_that_no_message_has_is_refused() -> None:
    """Keys are numbered from 0, and without keys there is none."""
    text = SHORT.replace('"refuse"', '"key"\nkey = 3')
    assert "nothing that needs payments has a key number 3" in complaint(text)
    assert "nothing that needs payments has a key number 3" in complaint(text.replace("rate = 4", "rate = 4\nkeys = 3"))
    assert scenario_from(text.replace("rate = 4", "rate = 4\nkeys = 4")).faults[0].key == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seconds = 5\ntopics = 3\n", "3 is not tables: write [topics.NAME] above the settings of each"),
        ("seconds = 5\nfaults = {}\n", "a table is not a list of tables: write [[faults]] above each"),
        ("seconds = 5\ndependencies = 3\n", "3 is not tables: write [dependencies.NAME]"),
        ("seconds = 5\ndependencies.payments = 3\n", "3 is no table of settings"),
        ("seconds = 5\ndependencies.payments.circuit = 3\n", "3 is no table of settings"),
        ("seconds = 5\ncircuit = 3\n", "3 is no table of settings"),
    ],
)
def test_another_shape_is_told_with_the_right_one(text: str, words: str) -> None:
    """Tables and lists of tables look alike; which is meant is said with an example."""
    assert words in complaint(text)
