"""What may wait for ever, and what may not."""

from __future__ import annotations

from dataclasses import replace

from tests.lab.fleet.saboteurs import ForgetsTime

from holdgate_lab.fleet.explore import try_out
from holdgate_lab.fleet.liveness import patience, quiet_from
from holdgate_lab.fleet.scenario import DependencySpec, Fault, MemberEvent, Scenario, TopicSpec

ONE = Scenario(
    name="one",
    seconds=5.0,
    topics=(TopicSpec(name="orders", needs=("payments",), backlog=6),),
    dependencies=(DependencySpec(name="payments"),),
    faults=(Fault(at=0.0, until=3.0, dependency="payments", kind="refuse"),),
)


def with_poison(poison_as: str, **more: object) -> Scenario:
    topic = replace(ONE.topics[0], poison=(2,), poison_as=poison_as)  # type: ignore[arg-type]
    return replace(ONE, topics=(topic,), **more)  # type: ignore[arg-type]


def test_nothing_is_wrong_after_the_last_of_all_things() -> None:
    """The last fault, the end of the last freeze, or the end of the scenario."""
    assert quiet_from(ONE) == 5.0
    assert quiet_from(replace(ONE, members=(MemberEvent(at=4.0, worker=0, kind="freeze", seconds=9.0),))) == 13.0
    assert patience(ONE) > ONE.dependencies[0].circuit.open_duration_max


def test_everything_is_finished_after_an_outage() -> None:
    """A worker without a timer never tries again, and is found wedged."""
    assert try_out(ONE, 0) is None
    broken = try_out(ONE, 0, worker=ForgetsTime)
    assert broken is not None
    assert broken.invariant == "liveness"
    assert "orders[0]: 6 messages from 0 on" in broken.words


def test_a_lone_message_that_looks_like_an_outage_may_wait() -> None:
    """Nobody can tell."""
    assert try_out(with_poison("dependency"), 0) is None


def test_what_stands_behind_a_message_that_has_nowhere_to_go_may_wait() -> None:
    """Its partition is blocked; with dead letters it is not, and must be finished."""
    assert try_out(with_poison("message", dead_letters=False), 0) is None
    assert try_out(with_poison("message"), 0) is None
