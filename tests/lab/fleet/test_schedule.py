"""The virtual clock."""

from __future__ import annotations

from functools import partial

from holdgate_lab.fleet.schedule import Schedule


def test_acts_come_in_order_of_time_and_then_of_asking() -> None:
    """Whatever they were asked for in."""
    schedule, done = Schedule(), []
    for name, when in (("late", 2.0), ("first", 1.0), ("second", 1.0)):
        schedule.at(when, partial(done.append, name))
    while schedule.step(10.0):
        pass
    assert done == ["first", "second", "late"]
    assert schedule.now == 10.0


def test_what_comes_after_the_end_is_not_done() -> None:
    """It is done when the end is moved."""
    schedule, done = Schedule(), []
    schedule.at(5.0, partial(done.append, "it"))
    assert not schedule.step(4.9)
    assert schedule.now == 4.9
    assert schedule.step(5.0)
    assert done == ["it"]


def test_what_is_asked_for_too_late_is_done_now() -> None:
    """Time never goes back."""
    schedule = Schedule()
    seen: list[float] = []
    schedule.at(3.0, lambda: schedule.at(1.0, lambda: seen.append(schedule.now)))
    while schedule.step(10.0):
        pass
    assert seen == [3.0]
