"""An outage that is brought to a test from outside: in a rehearsal, on a loop of the test's own, and in threads."""

from __future__ import annotations

import asyncio

import pytest

from holdgate import Delivery, Dependency
from holdgate.errors import SettingsError
from holdgate.testing import Outage, ScriptedDependency, rehearse, rehearse_async, run_virtual
from holdgate.testing.drills import KINDS, Drill, current_drill, drilling

SECONDS = 60.0


@pytest.fixture
def payments() -> Dependency:
    return Dependency("payments", failures=(ConnectionError, TimeoutError))


@pytest.mark.parametrize("kind", KINDS)
def test_a_rehearsal_without_an_outage_gets_one(payments: Dependency, kind: str) -> None:
    """A handler that does all right passes, and the drill has counted the calls that met it."""
    bank = ScriptedDependency(payments)

    async def charge(delivery: Delivery) -> None:
        await bank.call(timeout=5)

    drill = Drill("payments", kind, SECONDS)
    with drilling(drill):
        report = rehearse(charge, needs=[payments], deliveries=3)

    assert report.problems == ()
    assert drill.calls == report.failed_calls > 0
    assert drill.verdicts == [report.verdict]
    assert drill.sentence == f"{drill.calls} calls met it; {report.verdict}"


def test_its_outages_stand_in_for_those_of_the_same_dependency(payments: Dependency) -> None:
    """A test that has an outage of its own keeps those of other dependencies only."""
    cache = Dependency("cache", failures=ConnectionError)
    drill = Drill("payments", "down", SECONDS)
    of_payments, of_cache = Outage(1, 2), Outage(3, 4)

    played = drill.instead_of([(of_payments, payments), (of_cache, cache)], {"payments": payments, "cache": cache})

    assert played == [(of_cache, cache), (Outage(0, SECONDS, payments), payments)]


def test_a_rehearsal_of_something_else_is_left_alone() -> None:
    """It does not need the dependency of the drill."""
    cache = Dependency("cache", failures=ConnectionError)
    stand_in = ScriptedDependency(cache)

    async def look(delivery: Delivery) -> None:
        await stand_in.call()

    drill = Drill("payments", "down", SECONDS)
    with drilling(drill):
        report = rehearse(look, needs=[cache], deliveries=3)

    assert report.problems == ()
    assert (drill.calls, drill.verdicts, drill.lacked_virtual_time) == (0, [], False)


def test_flapping_is_down_four_times(payments: Dependency) -> None:
    """And up in between, within the seconds of the drill."""
    turns = KINDS["flapping"](payments, 60.0)

    assert [(each.start, round(each.end, 6)) for each in turns] == [(0, 10), (15, 25), (30, 40), (45, 55)]


def test_outside_of_a_rehearsal_it_begins_with_the_first_call(payments: Dependency) -> None:
    """However long the test prepares itself; and when its seconds are over the dependency is up."""
    bank = ScriptedDependency(payments)

    async def main() -> None:
        await asyncio.sleep(1000)
        with pytest.raises(ConnectionRefusedError):
            await bank.call()
        await asyncio.sleep(SECONDS - 1)
        assert bank.is_down()
        await asyncio.sleep(1)
        assert not bank.is_down()
        await bank.call()

    drill = Drill("payments", "down", SECONDS)
    with drilling(drill):
        run_virtual(main())

    assert drill.calls == 1


def test_each_loop_has_an_outage_of_its_own(payments: Dependency) -> None:
    """The time of a loop that is closed stands still, and with it an outage that a second loop would wait for."""
    bank = ScriptedDependency(payments)

    async def main() -> None:
        with pytest.raises(ConnectionRefusedError):
            await bank.call()
        await asyncio.sleep(SECONDS)
        await bank.call()

    drill = Drill("payments", "down", SECONDS)
    with drilling(drill):
        run_virtual(asyncio.wait_for(main(), SECONDS * 2))
        run_virtual(asyncio.wait_for(main(), SECONDS * 2))

    assert drill.calls == 2


def test_a_plain_call_in_a_thread_meets_it(payments: Dependency) -> None:
    """The thread has no loop, and hangs on the virtual time of the test's."""
    bank = ScriptedDependency(payments)

    async def main() -> None:
        began = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError):
            await asyncio.to_thread(bank.call_sync, 5)
        assert asyncio.get_running_loop().time() - began == 5

    with drilling(Drill("payments", "slow", SECONDS)):
        run_virtual(main())


async def test_on_a_real_loop_nothing_fails(payments: Dependency) -> None:
    """A minute would take a minute; the drill notes that its test has rehearsed nothing."""
    drill = Drill("payments", "down", SECONDS)
    with drilling(drill):
        await ScriptedDependency(payments).call()

    assert drill.lacked_virtual_time
    assert drill.sentence == "it needs virtual time; 0 calls met it"


async def test_a_rehearsal_on_a_real_loop_has_virtual_time(payments: Dependency) -> None:
    """It runs in a thread, with a loop of its own."""
    bank = ScriptedDependency(payments)

    async def charge(delivery: Delivery) -> None:
        await bank.call()

    drill = Drill("payments", "down", SECONDS)
    with drilling(drill):
        report = await rehearse_async(charge, needs=[payments], deliveries=3)

    assert drill.calls == report.failed_calls > 0
    assert not drill.lacked_virtual_time


def test_after_a_drill_all_is_up(payments: Dependency) -> None:
    """A test that fails in one leaves nothing behind."""
    drill = Drill("payments", "down", SECONDS)

    def failing_test() -> None:
        with drilling(drill):
            assert current_drill() is drill
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing_test()

    assert current_drill() is None
    run_virtual(ScriptedDependency(payments).call())


@pytest.mark.parametrize(("kind", "seconds"), [("gone", 60.0), ("down", 0.0), ("down", float("nan"))])
def test_what_it_cannot_be(kind: str, seconds: float) -> None:
    """The error has the kinds."""
    with pytest.raises(SettingsError, match=f"down, slow, flapping and seconds above 0, got '{kind}'"):
        Drill("payments", kind, seconds)
