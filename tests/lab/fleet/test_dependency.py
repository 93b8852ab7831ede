"""The model dependency: time, capacity, and every kind of fault."""

from __future__ import annotations

from typing import Any

import pytest

from holdgate_lab.fleet.dependency import CallAnswer, ModelDependency
from holdgate_lab.fleet.scenario import DependencySpec, Fault, FaultKind


def middle() -> float:
    return 0.5


def dependency(*faults: Fault, capacity: int | None = None, draw: Any = middle) -> ModelDependency:
    return ModelDependency(DependencySpec(name="payments", capacity=capacity), faults, draw)


def fault(kind: FaultKind, **more: Any) -> Fault:
    return Fault(at=10.0, until=20.0, dependency="payments", kind=kind, **more)


def test_a_call_takes_its_latency_with_some_spread() -> None:
    """A tenth less or more, by chance."""
    assert dependency().call(0.0) == CallAnswer(good=True, seconds=0.05)
    assert dependency(draw=lambda: 0.0).call(0.0).seconds == pytest.approx(0.045)


def test_calls_beyond_the_capacity_wait_and_slow_it_down() -> None:
    """With three times as many in it as it bears, a call takes three times as long, and a tenth of that more."""
    crowded = dependency(capacity=2)
    seconds = [crowded.call(0.0).seconds for _ in range(7)]
    assert seconds[:3] == [0.05, 0.05, 0.05]
    assert seconds[6] == pytest.approx(0.05 * 3 * 1.1)


def test_who_has_left_takes_no_room() -> None:
    """And is counted as served."""
    crowded = dependency(capacity=1)
    crowded.call(0.0)
    crowded.leave()
    assert (crowded.inside, crowded.served) == (0, 1)


def test_a_fault_is_active_from_its_beginning_until_its_end() -> None:
    """The end itself is healthy again."""
    refusing = dependency(fault("refuse"))
    assert [refusing.call(now).good for now in (9.99, 10.0, 19.99, 20.0)] == [True, False, False, True]


def test_a_refused_call_occupies_nothing() -> None:
    """It is over before it has begun."""
    refusing = dependency(fault("refuse"))
    assert refusing.call(10.0) == CallAnswer(good=False, seconds=0.02, occupies=False)
    assert refusing.inside == 0


def test_a_hanging_call_is_answered_after_the_end() -> None:
    """Whoever waits, waits until then."""
    assert dependency(fault("hang")).call(12.0) == CallAnswer(good=False, seconds=pytest.approx(8.02))


def test_slow_is_a_factor_of_the_time() -> None:
    """And the call is good."""
    assert dependency(fault("slow", factor=4.0)).call(12.0) == CallAnswer(good=True, seconds=pytest.approx(0.2))


@pytest.mark.parametrize(("draw", "good"), [(0.29, False), (0.3, True)])
def test_errors_are_a_share_of_the_calls(draw: float, good: bool) -> None:
    """By chance."""
    assert dependency(fault("errors", ratio=0.3), draw=lambda: draw).call(12.0).good is good


def test_partial_capacity_is_a_share_of_it() -> None:
    """A quarter of four: the second call at once waits for the first."""
    weak = dependency(fault("capacity", ratio=0.25), capacity=4)
    weak.call(12.0)
    weak.call(12.0)
    assert weak.call(12.0).seconds == pytest.approx(0.05 * 2 * 1.05)


def test_a_cold_cache_warms_up_with_the_calls_it_serves() -> None:
    """What was served before it went cold warms nothing."""
    cold = dependency(fault("cold", ratio=0.1, warm_up=10.0), capacity=10)
    cold.served = 1000
    cold.inside = 10
    at_first = cold.call(12.0).seconds
    cold.served += 100
    assert at_first > 5 * cold.call(12.0).seconds


def test_flapping_is_down_first() -> None:
    """Three seconds down, one up, and again."""
    flapping = dependency(fault("flap", down=3.0, up=1.0))
    assert [flapping.call(now).good for now in (10.0, 12.9, 13.0, 13.9, 14.0, 17.5)] == [False, False, True, True, False, True]


def test_one_key_fails_and_the_others_do_not() -> None:
    """Nor do messages without a key."""
    for_one = dependency(fault("key", key=2))
    assert [for_one.call(12.0, key).good for key in (1, 2, None)] == [True, False, True]


def test_faults_add_up() -> None:
    """Slow and failing at once."""
    both = dependency(fault("slow", factor=2.0), fault("errors", ratio=1.0))
    assert both.call(12.0) == CallAnswer(good=False, seconds=pytest.approx(0.1))
