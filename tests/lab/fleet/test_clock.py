"""The virtual clock, and the event loops on it."""

from __future__ import annotations

import asyncio
from functools import partial

from holdgate_lab.fleet.clock import ProcessLoop, Schedule


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


# -- processes ------------------------------------------------------------------------------------------------------------------------


class Scene:
    """A schedule, and loops on it. `story` has what happened, `failures` what a loop complained of."""

    def __init__(self) -> None:
        self.schedule = Schedule()
        self.story: list[tuple[float, str]] = []
        self.failures: list[str] = []

    def loop(self) -> ProcessLoop:
        return ProcessLoop(self.schedule, self.failures.append)  # type: ignore[abstract]

    def say(self, words: str) -> None:
        self.story.append((self.schedule.now, words))

    async def tick(self, name: str, every: float) -> None:
        while True:
            await asyncio.sleep(every)
            self.say(name)

    def run(self, until: float) -> None:
        while self.schedule.step(until):
            pass


def test_two_processes_share_one_clock() -> None:
    """Each sees its own loop as the running one, and no time passes but by timers."""
    scene = Scene()
    for name, every in (("a", 1.0), ("b", 0.8)):
        scene.loop().create_task(scene.tick(name, every))
    scene.run(2.5)
    assert scene.story == [(0.8, "b"), (1.0, "a"), (1.6, "b"), (2.0, "a"), (2.4000000000000004, "b")]


def test_a_future_wakes_a_task_of_another_process() -> None:
    """In the same moment, in that process's own loop."""
    scene = Scene()
    first, second = scene.loop(), scene.loop()
    given: asyncio.Future[str] = first.create_future()

    async def wait() -> None:
        scene.say(await given)
        assert asyncio.get_running_loop() is first

    first.create_task(wait())
    second.call_later(3.0, given.set_result, "here")
    scene.run(5.0)
    assert scene.story == [(3.0, "here")]
    assert scene.failures == []


def test_a_frozen_process_does_late_what_was_due() -> None:
    """In its order, while the others go on."""
    scene = Scene()
    frozen, other = scene.loop(), scene.loop()
    for when in (2.0, 1.5):
        frozen.call_at(when, scene.say, f"frozen {when}")
    other.call_at(1.7, scene.say, "other")
    frozen.freeze()
    scene.schedule.at(4.0, frozen.thaw)
    scene.run(5.0)
    assert scene.story == [(1.7, "other"), (4.0, "frozen 1.5"), (4.0, "frozen 2.0")]


def test_a_process_that_is_ended_leaves_nothing_half_done() -> None:
    """Its tasks unwind, however long that would take, without any time passing; its timers do nothing any more."""
    scene = Scene()
    loop = scene.loop()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(10.0)
            scene.say("let go")

    task = loop.create_task(work())
    loop.call_at(2.0, scene.say, "never")
    scene.run(1.0)
    loop.end()
    scene.run(20.0)
    assert scene.story == [(1.0, "let go")]
    assert task.cancelled()


def test_what_a_process_raises_is_told() -> None:
    """A callback, as a real loop would log it."""
    scene = Scene()
    loop = scene.loop()
    loop.call_later(1.0, {}.__getitem__, "gone")
    scene.run(2.0)
    (failure,) = scene.failures
    assert "KeyError('gone')" in failure


def test_a_process_that_never_lets_time_pass_is_told() -> None:
    """It is stopped: the test would never end."""
    scene = Scene()
    loop = scene.loop()

    def again() -> None:
        loop.call_soon(again)

    loop.call_soon(again)
    scene.run(1.0)
    assert scene.failures == ["has taken 100000 steps in one moment"]


def test_cancelled_timers_do_not_pile_up() -> None:
    """A guard arms its timer anew for nearly every message."""
    scene = Scene()
    loop = scene.loop()
    for number in range(10_000):
        loop.call_later(1000.0 + number, scene.say, "never").cancel()
    assert len(scene.schedule._acts) < 500
