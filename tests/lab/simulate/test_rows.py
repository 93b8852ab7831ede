from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
from tests.lab.simulate.examples import REFUSES, SCENARIO, SERIES, comparison_of, outcome_of, run_of, seen

from holdgate_lab.fleet.outcome import StreamSample
from holdgate_lab.fleet.scenario import DependencySpec, Fault, FaultKind, QueueSpec, Scenario, TopicSpec
from holdgate_lab.simulate.comparison import Comparison
from holdgate_lab.simulate.rows import fault_words, sections


def facts(comparison: Comparison) -> dict[str, dict[str, tuple[str, ...]]]:
    return {section.title: {row.label: row.values for row in section.rows} for section in sections(comparison)}


def alone(scenario: Scenario) -> Comparison:
    streams = {stream.name: SERIES[0][1] for stream in (*scenario.topics, *scenario.queues)}
    dependencies = {spec.name: SERIES[0][0] for spec in scenario.dependencies}
    samples = tuple(replace(sample, streams=streams, dependencies=dependencies) for sample in outcome_of().samples)
    return Comparison(scenario, 0, (run_of(replace(outcome_of(), samples=samples), scenario=scenario),))


def test_every_fact_has_a_value_for_every_run() -> None:
    """Side by side, or nobody could compare them."""
    comparison = comparison_of()
    assert {len(row.values) for section in sections(comparison) for row in section.rows} == {2}


def test_the_sections_are_messages_then_dependencies_then_topics() -> None:
    """What a person asks first comes first."""
    assert list(facts(comparison_of())) == ["messages", "payments", "orders (needs payments)"]


def test_the_facts_of_a_dependency() -> None:
    """With the failed calls of each fault, and what the circuits did."""
    assert facts(comparison_of(run_of(outcome_of())))["payments"] == {
        "calls": ("14",),
        "failed calls": ("6",),
        "while it refuses (1-3 s)": ("6",),
        "at other times": ("0",),
        "most calls in it at a sample": ("3",),
        "some circuit open or half-open": ("2 s",),
        "all circuits closed for good at": ("4 s",),
    }


def test_what_did_not_come_to_its_end_is_not_yet() -> None:
    """And what never was has nothing to come to an end."""
    late = outcome_of(SERIES[:2])
    never = outcome_of([(seen(), StreamSample(backlog=1, held=0, processed=1))])
    found = facts(comparison_of(run_of(late), run_of(never)))
    assert found["payments"]["all circuits closed for good at"] == ("not yet", "-")
    assert found["orders (needs payments)"]["drained for good at"] == ("not yet", "-")


def test_only_what_there_is_has_rows() -> None:
    """Delivery counts are of queues, rebalances of topics, and poison letters need poison."""
    topics, queues = alone(SCENARIO), alone(replace(SCENARIO, topics=(), queues=(QueueSpec(name="mails", poison=(1,)),)))
    first, second = facts(topics)["messages"], facts(queues)["messages"]
    assert ("rebalances" in first, "rebalances" in second) == (True, False)
    assert ("highest delivery count" in first, "highest delivery count" in second) == (False, True)
    assert ("dead letters that were poison" in first, "dead letters that were poison" in second) == (False, True)
    assert list(facts(queues))[-1] == "mails"


def test_the_worst_comes_first() -> None:
    """The dependency with the most failed calls, and the longest backlog."""
    scenario = replace(
        SCENARIO,
        dependencies=(DependencySpec(name="email"), *SCENARIO.dependencies),
        topics=(TopicSpec(name="mails", needs=("email",)), *SCENARIO.topics),
    )
    quiet, idle = seen(), StreamSample(backlog=0, held=0, processed=0)
    samples = tuple(
        replace(sample, dependencies={**sample.dependencies, "email": quiet}, streams={**sample.streams, "mails": idle})
        for sample in outcome_of().samples
    )
    run = run_of(replace(outcome_of(), samples=samples), scenario=scenario)
    assert list(facts(Comparison(scenario, 0, (run,)))) == [
        "messages",
        "payments",
        "email",
        "orders (needs payments)",
        "mails (needs email)",
    ]


@pytest.mark.parametrize("kind", get_args(FaultKind))
def test_every_kind_of_fault_has_words(kind: FaultKind) -> None:
    """With its moments."""
    assert fault_words(replace(REFUSES, kind=kind)).endswith(" (1-3 s)")


def test_the_words_of_a_fault_have_its_parameters() -> None:
    """A flap of 5 and 5 is another one than of 20 and 4."""
    assert fault_words(Fault(at=0.5, until=9, dependency="x", kind="flap", down=20, up=4)) == "it flaps, 20 s down and 4 s up (0.5-9 s)"
