"""Patient functions on their guard's own loop, in virtual time: they wait, try again, and raise what is their own."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from tests.runtime.stage import Down, Wrong, dependency, quiet_guard

from holdgate import Delivery, Dependency, Guard, Partition, State
from holdgate.errors import CommandError, GuardClosed, HoldgateError, SettingsError, WaitedTooLong
from holdgate.testing import MemoryBroker, MemoryIntake, in_virtual_time


class TooMany(Exception):
    """What a dependency says that has too many calls for now."""


class Called:
    """An async function of a number, which notes what happens: `down` and `wrong` make it fail."""

    __name__ = "charge"

    def __init__(self, seconds: float = 0.01) -> None:
        self.seconds = seconds
        self.down = False
        self.wrong: set[int] = set()
        self.started: list[int] = []
        self.running = self.most = 0

    async def __call__(self, number: int) -> int:
        self.started.append(number)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self.seconds)
            if self.down:
                raise Down
            if number in self.wrong:
                raise Wrong(number)
            return 2 * number
        finally:
            self.running -= 1


def loop_time() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture
def payments() -> Dependency:
    return dependency()


@in_virtual_time
async def test_a_call_runs_at_once_and_returns_its_result(payments: Dependency) -> None:
    """In healthy times nothing is waited for, not even a step of the loop."""
    async with quiet_guard() as guard:
        called = Called(seconds=0.0)
        charge = guard.patient(needs=[payments])(called)
        assert [await charge(number) for number in range(3)] == [0, 2, 4]
        assert called.started == [0, 1, 2]


@in_virtual_time
async def test_an_outage_is_waited_out(payments: Dependency) -> None:
    """Of eight callers a few find out, one at a time asks, and each gets its result; nobody sees the outage."""
    async with quiet_guard() as guard:
        called = Called()
        charge = guard.patient(needs=[payments])(called)
        called.down = True
        calls = [asyncio.create_task(charge(number)) for number in range(8)]
        await asyncio.sleep(60.0)
        assert payments.circuit.state is State.OPEN
        assert len(called.started) <= 26
        called.most = 0
        during = len(called.started)
        while len(called.started) < during + 2:
            await asyncio.sleep(0.1)
        assert called.most == 1  # one probe, and then the next
        called.down = False
        assert sorted(await asyncio.gather(*calls)) == [0, 2, 4, 6, 8, 10, 12, 14]
        assert all(source.waiting == 0 for source in guard.snapshot().sources.values())


@in_virtual_time
async def test_a_call_that_comes_in_an_outage_waits_without_a_try(payments: Dependency) -> None:
    """It is held like any message, is seen in the snapshot by the function's name, and is not called before the circuit admits it."""
    async with quiet_guard() as guard:
        called = Called()
        charge = guard.patient(needs=[payments], name="charging")(called)
        await charge(0)
        guard.force_open("payments", reason="test", for_=30.0)
        began = loop_time()
        waiting = asyncio.create_task(charge(1))
        await asyncio.sleep(1.0)
        (source,) = guard.snapshot().sources.values()
        assert (source.held, source.reasons, source.waiting) == (True, ("circuit:payments",), 1)
        assert list(guard.snapshot().sources) == [Partition("charging", 0)]
        assert await waiting == 2
        assert loop_time() - began >= 30.0
        assert called.started == [0, 1]


@in_virtual_time
async def test_its_own_failures_are_raised_as_they_are_each_time(payments: Dependency) -> None:
    """At the first attempt, however many there are in a row: no outage that nobody has described is made of them."""
    async with quiet_guard() as guard:
        called = Called()
        called.wrong = set(range(20))
        charge = guard.patient(needs=[payments])(called)
        for number in range(20):
            with pytest.raises(Wrong, match=str(number)):
                await charge(number)
        assert called.started == list(range(20))
        assert not guard.snapshot().sources[Partition("charge", 0)].held
        assert payments.circuit.state is State.CLOSED


@in_virtual_time
async def test_one_bad_call_among_good_ones_is_raised_to_its_caller() -> None:
    """It fails as an outage does. Others show that the dependency is well, so it does not wait for ever."""
    payments = dependency()
    async with quiet_guard() as guard:

        @guard.patient(needs=[payments])
        async def charge(number: int) -> None:
            await asyncio.sleep(0.01)
            if number == 7:
                raise Down

        bad = asyncio.create_task(charge(7))
        while not bad.done():
            await charge(1)
        with pytest.raises(Down):
            await bad
        assert payments.circuit.state is State.CLOSED


@in_virtual_time
async def test_a_wait_has_the_callers_bound(payments: Dependency) -> None:
    """The error says what it has waited for, and carries what the last attempt raised; a call that was never tried has nothing to carry."""
    async with quiet_guard() as guard:
        called = Called()
        called.down = True
        charge = guard.patient(needs=[payments], wait_at_most=20.0)(called)
        began = loop_time()
        with pytest.raises(WaitedTooLong, match=r"charge has waited for payments for 20\.0 s") as raised:
            await charge(1)
        assert loop_time() - began == pytest.approx(20.0)
        assert isinstance(raised.value.__cause__, Down)
        assert raised.value.dependencies == ("payments",)
        guard.force_open("payments", reason="test")
        with pytest.raises(WaitedTooLong) as raised:
            await charge(2)
        assert raised.value.__cause__ is None
        assert 2 not in called.started


@in_virtual_time
async def test_an_attempt_is_not_cut_off_by_the_bound(payments: Dependency) -> None:
    """What runs when the time is over may succeed."""
    async with quiet_guard() as guard:
        charge = guard.patient(needs=[payments], wait_at_most=1.0)(Called(seconds=5.0))
        assert await charge(1) == 2


@in_virtual_time
@pytest.mark.parametrize("when", [0.0, 0.005, 0.5, 4.0, 8.0], ids=["at once", "running", "backing off", "between", "open"])
async def test_a_cancelled_call_leaves_nothing(payments: Dependency, when: float) -> None:
    """Whatever it was doing, the others go on, and no permit stays behind."""
    async with quiet_guard() as guard:
        called = Called()
        called.down = True
        charge = guard.patient(needs=[payments])(called)
        cancelled = asyncio.create_task(charge(1))
        other = asyncio.create_task(charge(2))
        await asyncio.sleep(when)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        called.down = False
        assert await other == 4
        assert await charge(3) == 6
        assert payments.circuit.snapshot(loop_time()).in_flight == 0


@in_virtual_time
async def test_a_cancelled_attempt_is_no_verdict(payments: Dependency) -> None:
    """Ten callers that hang up say nothing of what they have called."""
    async with quiet_guard() as guard:
        charge = guard.patient(needs=[payments])(Called(seconds=100.0))
        calls = [asyncio.create_task(charge(number)) for number in range(10)]
        await asyncio.sleep(1.0)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        seen = payments.circuit.snapshot(loop_time())
        assert (seen.state, seen.calls, seen.in_flight) == (State.CLOSED, 0, 0)


@in_virtual_time
async def test_a_throttled_call_waits_for_room() -> None:
    """A limit is no failure: the call comes again when there is room, and the circuit stays closed."""
    payments = Dependency("payments", failures=(Down, TooMany), throttled=TooMany)
    async with quiet_guard() as guard:
        running = most = refused = 0

        @guard.patient(needs=[payments])
        async def charge(number: int) -> int:
            nonlocal running, most, refused
            if running >= 2:
                refused += 1
                raise TooMany
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.05)
            running -= 1
            return number

        assert await asyncio.gather(*(charge(number) for number in range(20))) == list(range(20))
        assert most == 2
        assert refused
        assert payments.circuit.state is State.CLOSED


@in_virtual_time
async def test_a_call_form_inside_uses_the_permit_of_the_call(payments: Dependency) -> None:
    """It is not refused in the ramp, and what it met decides whose failure it was."""
    async with quiet_guard() as guard:
        called = Called()

        @guard.patient(needs=[payments])
        async def charge(number: int) -> int:
            doubled = await payments.call(called, number)
            raise Down if number == 3 else Wrong(doubled)

        called.down = True
        waiting = asyncio.create_task(charge(1))
        await asyncio.sleep(30.0)
        called.down = False
        with pytest.raises(Wrong):
            await waiting
        with pytest.raises(Down):  # the call was good: this is the function's own
            await charge(3)


@in_virtual_time
async def test_an_undeclared_dependency_is_waited_for_too(payments: Dependency) -> None:
    """A call form that refuses inside makes its dependency one more need of the call."""
    email = dependency("email")
    async with quiet_guard(email) as guard:
        called = Called()

        @guard.patient(needs=[payments])
        async def charge(number: int) -> int:
            return await email.call(called, number)

        assert await charge(0) == 0
        guard.force_open("email", reason="test", for_=20.0)
        began = loop_time()
        assert await charge(1) == 2
        assert loop_time() - began >= 20.0
        assert called.started == [0, 1]


@in_virtual_time
async def test_two_needs_are_both_waited_for(payments: Dependency) -> None:
    """All or none: it is not called while either is down."""
    email = dependency("email")
    async with quiet_guard() as guard:
        called = Called()
        charge = guard.patient(needs=[payments, email])(called)
        await charge(0)
        guard.force_open("email", reason="test", for_=20.0)
        guard.force_open("payments", reason="test", for_=30.0)
        began = loop_time()
        await charge(1)
        assert loop_time() - began >= 30.0


@in_virtual_time
async def test_a_patient_call_within_another_is_refused(payments: Dependency) -> None:
    """It would wait with a permit in hand, perhaps for that very permit; the remedy is in the text."""
    async with quiet_guard() as guard:
        inner = guard.patient(needs=[payments], name="inner")(Called())

        @guard.patient(needs=[payments], name="outer")
        async def outer() -> int:
            return await inner(1)

        with pytest.raises(CommandError, match="give its needs to that handler or patient function"):
            await outer()


@in_virtual_time
async def test_a_patient_call_in_a_handler_of_the_guard_is_refused(payments: Dependency) -> None:
    """The handler's run has needs of its own, and waits already. Such a handler is wrong for every message, so its run ends."""
    broker = MemoryBroker(topics={"orders": 1})
    broker.produce("orders", b"1")
    async with quiet_guard() as guard:
        charge = guard.patient(needs=[payments])(Called())

        async def handle(delivery: Delivery[Any]) -> None:
            await charge(1)

        with pytest.raises(CommandError, match="patient"):
            await guard.run(MemoryIntake(broker, topics=["orders"]), handler=handle, needs=[payments])


@in_virtual_time
async def test_calls_that_wait_are_let_go_when_the_guard_stops(payments: Dependency) -> None:
    """Those that run may end, those that wait raise GuardClosed, with what they failed with; and so does every later one."""
    async with quiet_guard() as guard:
        called = Called(seconds=2.0)
        charge = guard.patient(needs=[payments])(called)
        called.down = True
        waiting = [asyncio.create_task(charge(number)) for number in range(5)]
        await asyncio.sleep(3.0)
        guard.disable("payments", reason="test")
        called.down = False
        with suppress(HoldgateError):
            await asyncio.sleep(0.5)
        guard.clear_override("payments", reason="test")
        running = [call for call in waiting if not call.done()]
        assert running
        await guard.stop()
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(end, int | GuardClosed) for end in ends)
        with pytest.raises(GuardClosed):
            await charge(9)
    with pytest.raises(GuardClosed, match="make a new one"):
        await charge(9)


async def test_a_plain_function_waits_in_a_thread(payments: Dependency) -> None:
    """The guard's own loop goes on meanwhile; there the call would be refused, because it would stop that loop."""
    async with Guard(signals=False) as guard:
        tried = 0

        @guard.patient(needs=[payments])
        def charge(number: int) -> int:
            nonlocal tried
            tried += 1
            if tried < 2:
                raise Down
            return 2 * number

        with pytest.raises(CommandError, match=r"asyncio\.to_thread"):
            charge(1)
        assert await asyncio.to_thread(charge, 2) == 4
        assert tried == 2


@in_virtual_time
async def test_calls_share_as_few_places_as_run_side_by_side(payments: Dependency) -> None:
    """A hundred calls one by one have one place; eight side by side have eight, and the ramp ends there."""
    async with quiet_guard() as guard:
        charge = guard.patient(needs=[payments])(Called())
        for number in range(100):
            await charge(number)
        assert len(guard.snapshot().sources) == 1
        for _ in range(3):
            await asyncio.gather(*(charge(number) for number in range(8)))
        assert len(guard.snapshot().sources) == 8


@in_virtual_time
async def test_functions_of_one_name_share_their_places(payments: Dependency) -> None:
    """Decorated anew in each request, say. With other needs the name must differ."""
    async with quiet_guard() as guard:
        for _ in range(3):
            await guard.patient(needs=[payments])(Called())(1)
        assert len(guard.snapshot().sources) == 1
        with pytest.raises(SettingsError, match="two patient functions are named 'charge'"):
            guard.patient(needs=[dependency("email")])(Called())


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"needs": []}, "needs is empty"),
        ({"needs": "payments"}, "pass the Dependency itself"),
        ({"needs": [dependency()], "wait_at_most": 0}, "wait_at_most must be seconds above 0"),
        ({"needs": [dependency()], "name": "with space"}, "name must be up to 100 letters"),
    ],
)
def test_wrong_settings_are_refused(settings: Any, text: str) -> None:
    """Where the decorator is made, and not at the first call."""
    with pytest.raises(SettingsError, match=text):
        Guard().patient(**settings)


def test_what_cannot_be_called_patiently_is_refused() -> None:
    """A generator, and what is no function."""
    patient = Guard().patient(needs=[dependency()])

    def several() -> Any:
        yield 1

    with pytest.raises(SettingsError, match="is a generator"):
        patient(several)
    with pytest.raises(SettingsError, match="cannot be called"):
        patient("charge")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"did you mean needs="):
        Guard().patient(need=[dependency()])  # type: ignore[call-arg]


@pytest.mark.parametrize("sender", ["send", "delay", "kiq"])
def test_what_a_framework_has_made_of_a_function_is_refused(sender: str) -> None:
    """The decorators are the wrong way round: the patient function would have no `send`, and its worker would call the one inside."""

    class Actor:
        def __call__(self, number: int) -> int:
            return number

    setattr(Actor, sender, Actor.__call__)
    patient = Guard().patient(needs=[dependency()])
    with pytest.raises(SettingsError, match=rf"is a framework's Actor already, with a {sender}\(\) .*: put @guard.patient below"):
        patient(Actor())
    assert patient(Called())


@in_virtual_time
async def test_a_run_that_broke_is_begun_anew(payments: Dependency) -> None:
    """A mistake of ours ends it, and lets go of what waits. Calls of before have nothing to do with the places of later ones."""
    async with quiet_guard() as guard:
        called = Called(seconds=10.0)
        charge = guard.patient(needs=[payments])(called)
        running = asyncio.create_task(charge(1))
        await asyncio.sleep(1.0)
        (worker,) = guard.workers
        worker.fail(RuntimeError("a mistake"))
        await asyncio.sleep(0)
        later = [asyncio.create_task(charge(number)) for number in (2, 3)]
        assert await running == 2
        assert await asyncio.gather(*later) == [4, 6]
        assert called.most == 3
        assert len(guard.snapshot().sources) == 2
        assert [await charge(4), await charge(5)] == [8, 10]
        assert len(guard.snapshot().sources) == 2


@in_virtual_time
async def test_the_end_of_the_guard_cancels_nobodys_task(payments: Dependency) -> None:
    """A call is often granted in the step in which another ends. That one's task has gone on to other things, and is its framework's."""
    called = Called()
    called.down = True
    async with quiet_guard(drain_timeout=1.0) as guard:
        charge = guard.patient(needs=[payments])(called)

        async def work(number: int) -> int:
            result = await charge(number)
            called.seconds = 100.0  # of the attempts that come after the first good one
            await asyncio.sleep(200.0)
            return result

        workers = [asyncio.create_task(work(number)) for number in range(3)]
        await asyncio.sleep(30.0)
        called.down = False
        while called.seconds < 100.0:
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.1)
        assert called.running == 1
    await asyncio.sleep(300.0)
    ends = await asyncio.gather(*workers, return_exceptions=True)
    assert sorted(type(end).__name__ for end in ends) == ["GuardClosed", "int", "int"]


@in_virtual_time
@pytest.mark.parametrize("ends_by", [None, Down, Wrong])
async def test_a_call_that_outlives_its_guard_ends_as_it_ends(payments: Dependency, ends_by: type[Exception] | None) -> None:
    """Nobody asks whose failure it was any more: the result is returned, and what is raised comes as the cause of GuardClosed."""
    tried = 0
    async with quiet_guard(drain_timeout=1.0) as guard:

        @guard.patient(needs=[payments])
        async def charge() -> int:
            nonlocal tried
            tried += 1
            if tried == 1:
                raise Down
            await asyncio.sleep(100.0)
            if ends_by is not None:
                raise ends_by
            return 7

        running = asyncio.create_task(charge())
        while tried < 2:
            await asyncio.sleep(0.1)
    assert not running.done()
    if ends_by is None:
        assert await running == 7
    else:
        with pytest.raises(GuardClosed) as raised:
            await running
        assert isinstance(raised.value.__cause__, ends_by)


@in_virtual_time
@pytest.mark.parametrize("drain_timeout", [1.0, 60.0], ids=["after its run has ended", "while it drains"])
async def test_a_call_of_a_run_that_broke_does_not_wait_for_it(payments: Dependency, drain_timeout: float) -> None:
    """A later call has begun another run meanwhile, which knows nothing of this one."""
    async with quiet_guard(drain_timeout=drain_timeout) as guard:

        @guard.patient(needs=[payments])
        async def charge(number: int) -> int:
            await asyncio.sleep(10.0)
            if number == 1:
                raise Down
            return number

        running = asyncio.create_task(charge(1))
        await asyncio.sleep(1.0)
        (worker,) = guard.workers
        worker.fail(RuntimeError("a mistake"))
        await asyncio.sleep(0)
        assert await charge(2) == 2
        await asyncio.wait({running}, timeout=100.0)
        assert isinstance(running.exception(), GuardClosed)
        seen = payments.circuit.snapshot(loop_time())
        assert seen.in_flight == 0
