"""Failing scenarios made small."""

from __future__ import annotations

from holdgate.core import CircuitSettings
from holdgate_lab.fleet.extras import Command, Extras
from holdgate_lab.fleet.generate import random_scenario
from holdgate_lab.fleet.scenario import DependencySpec, Fault, MemberEvent, QueueSpec, Scenario, TopicSpec
from holdgate_lab.fleet.shrink import shrink, shrink_extras

LARGE = Scenario(
    name="large",
    seconds=10.0,
    workers=3,
    span=20,
    topics=(TopicSpec(name="orders", needs=("payments", "mail"), partitions=4, backlog=60, rate=2.0, poison=(1, 5)),),
    queues=(QueueSpec(name="tasks", needs=("mail",), backlog=10),),
    dependencies=(DependencySpec(name="payments", circuit=CircuitSettings(consecutive_failures=2)), DependencySpec(name="mail")),
    faults=(
        Fault(at=1.0, until=2.0, dependency="payments", kind="refuse"),
        Fault(at=1.0, until=2.0, dependency="mail", kind="slow", factor=3.0),
    ),
    members=(MemberEvent(at=1.0, worker=1, kind="kill"), MemberEvent(at=2.0, worker=2, kind="leave")),
)


def test_everything_that_does_not_matter_goes() -> None:
    """It fails whenever payments refuses calls and there are eight messages: nothing else is left."""

    def fails(scenario: Scenario) -> bool:
        refuses = any(fault.kind == "refuse" for fault in scenario.faults)
        return refuses and any(topic.backlog >= 8 for topic in scenario.topics)

    small = shrink(LARGE, fails)
    assert (small.workers, small.queues, small.members, small.span) == (1, (), (), 1000)
    assert [fault.kind for fault in small.faults] == ["refuse"]
    assert small.topics == (TopicSpec(name="orders", backlog=8),)
    assert small.dependencies == (DependencySpec(name="payments"),)


def test_it_gives_up_after_so_many_trials() -> None:
    """A scenario whose trials are slow must not keep anybody waiting for ever."""
    trials = []

    def fails(scenario: Scenario) -> bool:
        trials.append(scenario)
        return True

    shrink(random_scenario(3), fails, most=7)
    assert len(trials) == 7


def test_extras_that_do_not_matter_go() -> None:
    """One command is enough."""
    commands = (Command(1.0, "payments", "reset", 1.0), Command(2.0, "payments", "disable", 1.0))
    extras = Extras(batch=5, fallback=0.0, claims=True, retry_after=1.0, commands=commands)
    fewest = shrink_extras(extras, lambda fewer: any(command.word == "disable" for command in fewer.commands))
    assert fewest == Extras(commands=commands[1:])
