from __future__ import annotations

import asyncio

import pytest

from holdgate.errors import SettingsError
from holdgate_lab.demo.scenario import (
    CAPACITY,
    LATENCY,
    PATIENCE,
    REFUSAL,
    Answer,
    DemoScenario,
    Service,
    ServiceError,
    ServicePhase,
    StoryClock,
)


@pytest.mark.parametrize(
    ("now", "phase"),
    [
        (0.0, ServicePhase.UP),
        (5.99, ServicePhase.UP),
        (6.0, ServicePhase.DOWN),
        (15.99, ServicePhase.DOWN),
        (16.0, ServicePhase.WEAK),
        (19.99, ServicePhase.WEAK),
        (20.0, ServicePhase.UP),
    ],
)
def test_payments_goes_down_comes_back_weak_and_recovers(now: float, phase: ServicePhase) -> None:
    """In a run of thirty seconds payments is down from 6 to 16 s and weak until 20 s."""
    assert DemoScenario(30.0).payments(now) is phase


def test_a_shorter_run_tells_the_same_story_faster() -> None:
    """Every moment of the story, and the circuit's wait with it, shrinks with the length."""
    short = DemoScenario(15.0)
    assert (short.down_at, short.weak_at, short.up_at, short.quiet_at, short.open_duration) == (3.0, 8.0, 10.0, 13.5, 0.5)


def test_email_is_always_up() -> None:
    """The mail service is healthy also while payments is down, so that isolation can be seen."""
    scenario = DemoScenario()
    assert {scenario.email(now) for now in (0.0, 10.0, 18.0, 29.0)} == {ServicePhase.UP}


@pytest.mark.parametrize("seconds", [3.9, 601.0, -1.0, float("nan")])
def test_a_length_without_room_for_the_story_is_refused(seconds: float) -> None:
    """Too short, too long or no number: refused with the value and the option that sets it."""
    with pytest.raises(SettingsError, match="--seconds"):
        DemoScenario(seconds)


def test_the_clock_stands_at_zero_until_it_is_started() -> None:
    """Joining the groups takes seconds that are no part of the story."""
    time = 100.0
    clock = StoryClock(lambda: time)
    time = 105.0
    before = clock.now()
    clock.start()
    time = 107.5
    assert (before, clock.now()) == (0.0, 2.5)


class World:
    def __init__(self, phase: ServicePhase) -> None:
        self.now = 0.0
        self.phase = phase
        self.service = Service(lambda _now: self.phase, lambda: self.now)


def test_a_lone_call_takes_the_normal_latency() -> None:
    """Below its capacity the service answers in `LATENCY`."""
    assert World(ServicePhase.UP).service.begin() == Answer(LATENCY, failed=False)


def test_calls_up_to_the_capacity_do_not_slow_each_other_down() -> None:
    """The last call within the capacity takes as long as the first."""
    service = World(ServicePhase.UP).service
    answers = [service.begin() for _ in range(CAPACITY[ServicePhase.UP])]
    assert answers[-1] == Answer(LATENCY, failed=False)


def test_a_service_that_is_down_refuses_quickly_and_the_call_counts_as_wasted() -> None:
    """Down: every call fails after `REFUSAL`, and none of them could have succeeded."""
    service = World(ServicePhase.DOWN).service
    assert [service.begin(), service.begin()] == [Answer(REFUSAL, failed=True)] * 2
    assert (service.calls, service.wasted, service.overrun) == (2, 2, 0)


def test_a_weak_service_slows_down_with_its_load() -> None:
    """With twice the calls that it can take, a call takes twice as long and a little more."""
    service = World(ServicePhase.WEAK).service
    service.begin()
    assert service.begin() == Answer(pytest.approx(LATENCY * 2 * 1.05), failed=False)  # type: ignore[arg-type]


def test_a_stampede_on_a_weak_service_is_not_answered_in_time() -> None:
    """Sixteen calls at once overrun it: the caller gives up after `PATIENCE`, and the call counts as overrun, not as wasted."""
    service = World(ServicePhase.WEAK).service
    answers = [service.begin() for _ in range(16)]
    assert answers[-1] == Answer(PATIENCE, failed=True)
    assert service.wasted == 0
    assert service.overrun == sum(answer.failed for answer in answers)


def test_a_call_goes_on_occupying_the_service_after_its_caller_gave_up() -> None:
    """What was asked for is still worked on: that is why retries keep a weak service down."""
    world = World(ServicePhase.WEAK)
    for _ in range(16):
        world.service.begin()
    world.now = PATIENCE + 0.01
    assert world.service.in_flight() > 0


def test_a_call_leaves_the_service_when_its_time_is_over() -> None:
    """In flight is what has not ended yet."""
    world = World(ServicePhase.UP)
    world.service.begin()
    before = world.service.in_flight()
    world.now = LATENCY
    assert (before, world.service.in_flight()) == (1, 0)


def test_the_peak_is_taken_while_the_service_is_weak_only() -> None:
    """Many calls in a healthy service are no stampede."""
    world = World(ServicePhase.UP)
    for _ in range(10):
        world.service.begin()
    world.now = 1.0
    world.phase = ServicePhase.WEAK
    for _ in range(3):
        world.service.begin()
    assert world.service.peak_weak == 3


async def test_a_call_waits_as_long_as_the_answer_takes_and_raises_when_it_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller sees the service's time, and ServiceError for a refusal."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    await World(ServicePhase.UP).service.call()
    with pytest.raises(ServiceError):
        await World(ServicePhase.DOWN).service.call()
    assert slept == [LATENCY, REFUSAL]
