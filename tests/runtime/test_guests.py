"""Attempts in tasks of another framework: a run whose messages are brought, and whose handlers are elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.runtime.stage import Down, Wrong, dependency, quiet_guard

from holdgate import Delivery, Dependency, Guard, Partition, Reject, RetryPolicy, State
from holdgate.errors import CallNotPermitted, IntakeError, NeedsError
from holdgate.flow.inbox import Order
from holdgate.flow.message import Backlog, Settlement, Source
from holdgate.flow.plan import Plan
from holdgate.flow.policy import Verdict
from holdgate.ports import IntakeListener
from holdgate.runtime.guests import GuestLane, GuestRun
from holdgate.runtime.run_settings import plan_run
from holdgate.testing import MemoryDeadLetters, in_virtual_time

ORDERS = Partition("orders", 0)
OTHERS = Partition("orders", 1)
STEADY = RetryPolicy(attempts=3, initial_backoff=1.0, jitter=0.0)


class Brought(Delivery[int]):
    """A message that a framework brings."""

    @property
    def position(self) -> int:
        return self.message

    @property
    def body(self) -> bytes | None:
        return b"canary-body"

    @property
    def key(self) -> bytes | None:
        return None

    @property
    def headers(self) -> Mapping[str, Any]:
        return {}

    @property
    def timestamp(self) -> float | None:
        return None


class Settled:
    """The intake of such a run: it receives nothing, and notes what is settled."""

    names: Collection[str] | None = ("orders",)
    order: Order = "source"
    inbox = 100
    rebalance_timeout = 10.0

    def __init__(self, *, broken: bool = False) -> None:
        self.settled: list[tuple[int, Settlement]] = []
        self.closed = asyncio.Event()
        self.broken = broken

    async def open(self, listener: IntakeListener) -> None:
        if self.broken:
            raise IntakeError("no broker")

    async def receive(self) -> Sequence[Delivery[Any]]:
        with_limit = asyncio.wait_for(self.closed.wait(), 1.0)
        try:
            await with_limit
        except TimeoutError:
            return ()
        await asyncio.sleep(0.1)
        return ()

    def apply(self, plan: Plan) -> None: ...

    def settle(self, delivery: Delivery[Any], settlement: Settlement) -> None:
        self.settled.append((delivery.position, settlement))

    async def flush(self) -> bool:
        self.closed.set()
        return True

    async def backlog(self) -> Mapping[Source, Backlog]:
        return {}

    async def close(self) -> None:
        self.closed.set()


class Stage:
    """A framework: it brings messages, and begins those that were granted when the test says so. They are of this size."""

    size = 0

    def __init__(self, guard: Guard, intake: Settled, **settings: Any) -> None:
        settings = {"order": None, "key": None, "concurrency": None, "span": 1000, "retry": STEADY} | settings
        needs = settings.pop("needs")
        self.intake = intake
        self.granted: list[tuple[float, GuestLane]] = []
        self.run = GuestRun(guard, intake, plan_run(intake, needs, declared=guard.dependencies.values(), **settings), self.note)

    def note(self, lane: GuestLane) -> None:
        self.granted.append((asyncio.get_running_loop().time(), lane))

    def bring(self, position: int, source: Partition = ORDERS) -> Brought:
        """Bring a message."""
        delivery = Brought(source, position)
        if not self.run.takes(source):
            self.run.assigned((source,))
            self.run.worker.guard.turn()  # as after a step
        self.run.offer(delivery, self.size)
        return delivery

    def lane(self) -> GuestLane:
        """Return the lane that was granted and not taken yet."""
        (granted,) = self.granted
        self.granted.clear()
        return granted[1]

    def attempt(self, error: BaseException | None = None) -> Verdict | None:
        """Let the granted message be an attempt that ends so."""
        lane = self.lane()
        lane.begin()
        return lane.leave(error)


@pytest.fixture(autouse=True, params=[100, 100_000], ids=["light", "heavy"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Light messages start in one step where they can, and heavy ones never do: nothing else is different."""
    monkeypatch.setattr(Stage, "size", request.param)
    return int(request.param)


@asynccontextmanager
async def stage(*dependencies: Dependency, guarded: Sequence[Dependency] = (), **settings: Any) -> AsyncIterator[Stage]:
    async with quiet_guard(*guarded) as guard:
        made = Stage(guard, Settled(), **({"needs": dependencies} | settings))
        await made.run.open()
        yield made


@in_virtual_time
async def test_a_message_that_comes_alone_is_granted_before_offer_returns() -> None:
    """The common case: it starts where it is, and its success settles it."""
    async with stage(dependency()) as bed:
        delivery = bed.bring(7)
        lane = bed.lane()
        assert lane.delivery is delivery
        lane.begin()
        assert delivery.attempt == 1
        assert lane.leave(None) is Verdict.DONE
        assert bed.intake.settled == [(7, Settlement.ACK)]


@in_virtual_time
async def test_a_light_message_is_not_weighed(size: int) -> None:
    """It costs as much as to start it; a heavy one is weighed, by the intake's way or by its body and key."""
    async with stage(dependency()) as bed:
        bed.bring(1)
        assert bed.attempt() is Verdict.DONE
        await asyncio.sleep(0.1)  # the plan of the new source
        delivery = bed.bring(2)
        assert (delivery.assignment.weigh() > 0) is (size > 4096)
        assert bed.attempt() is Verdict.DONE


@in_virtual_time
async def test_a_source_that_is_not_here_is_assigned() -> None:
    """Also where the message comes with an assignment that is over."""
    async with stage(dependency()) as bed:
        first = Brought(ORDERS, 1)
        bed.run.offer(first, bed.size)
        assert bed.run.takes(ORDERS)
        assert bed.attempt() is Verdict.DONE
        bed.run.worker.lost((ORDERS,))
        assert not bed.run.takes(ORDERS)
        again = Brought(ORDERS, 2)
        again.assignment = first.assignment
        bed.run.offer(again, bed.size)
        assert again.assignment is not first.assignment
        assert bed.attempt() is Verdict.DONE
        assert bed.intake.settled == [(1, Settlement.ACK), (2, Settlement.ACK)]


@in_virtual_time
async def test_a_message_with_the_assignment_of_the_one_before_starts_by_it() -> None:
    """It need not be looked up, and is the same."""
    async with stage(dependency()) as bed:
        first = bed.bring(1)
        assert bed.attempt() is Verdict.DONE
        await asyncio.sleep(0.1)  # the plan of the new source
        second = Brought(ORDERS, 2)
        second.assignment = first.assignment
        bed.run.offer(second, bed.size)
        assert second.assignment is bed.run.worker.run.assignments[ORDERS]
        assert bed.attempt() is Verdict.DONE


@in_virtual_time
async def test_a_message_that_comes_behind_another_waits_for_it() -> None:
    """One at a time in the order of the source, though a lane is free."""
    async with stage(dependency()) as bed:
        for source in (OTHERS, ORDERS):
            bed.bring(0, source)
            assert bed.attempt() is Verdict.DONE
        await asyncio.sleep(0.1)  # the plans of the new sources
        bed.bring(1)
        lane = bed.lane()
        lane.begin()
        bed.bring(2)
        assert not bed.granted
        lane.leave(None)
        await asyncio.sleep(2.0)  # the next poll takes a turn
        assert bed.attempt() is Verdict.DONE
        assert [position for position, _ in bed.intake.settled] == [0, 0, 1, 2]


@in_virtual_time
async def test_an_outage_keeps_the_message_until_the_circuit_lets_it_through() -> None:
    """Five failures open the circuit: the message waits, is granted as the probe, and is settled when it succeeds."""
    payments = dependency()
    async with stage(payments) as bed:
        bed.bring(1)
        while payments.circuit.state is State.CLOSED:
            while not bed.granted:
                await asyncio.sleep(0.5)
            assert bed.attempt(Down()) is Verdict.AGAIN
        opened = asyncio.get_running_loop().time()
        bed.bring(1, OTHERS)
        await asyncio.sleep(4.0)
        assert not bed.granted
        await asyncio.sleep(2.0)
        assert bed.granted[0][0] - opened == pytest.approx(5.0)
        assert bed.attempt() is Verdict.DONE
        assert bed.attempt() is Verdict.DONE
        assert bed.intake.settled == [(1, Settlement.ACK)] * 2


@in_virtual_time
async def test_a_failure_of_its_own_waits_and_is_charged() -> None:
    """By the run's RetryPolicy: granted again after the backoff, and rejected after the last attempt."""
    letters = MemoryDeadLetters()
    async with stage(dependency(), dead_letters=letters) as bed:
        bed.bring(1)
        for _ in range(2):
            assert bed.attempt(Wrong()) is Verdict.AGAIN
            assert not bed.granted
            await asyncio.sleep(5.0)
        assert bed.attempt(Wrong()) is Verdict.REJECT
        await asyncio.sleep(0.1)
        assert [letter.attempts for letter in letters.letters] == [3]
        assert bed.intake.settled == [(1, Settlement.ACK)]


@in_virtual_time
async def test_a_source_that_goes_away_takes_a_granted_message_along() -> None:
    """Revoked between the grant and the beginning: the lane is free again, and the message of the next assignment gets it."""
    async with stage(dependency()) as bed:
        bed.bring(1)
        lane = bed.lane()
        await bed.run.worker.revoked((ORDERS,))
        assert lane.delivery is None
        assert not bed.run.takes(ORDERS)
        bed.bring(1)
        assert bed.attempt() is Verdict.DONE


@in_virtual_time
async def test_an_attempt_of_which_nothing_can_be_said_gives_its_message_back() -> None:
    """Whoever ran it has gone: no verdict, no permit kept, nothing settled, and it may start again."""
    payments = dependency()
    async with stage(payments) as bed:
        bed.bring(1)
        lane = bed.lane()
        lane.begin()
        lane.quit()
        assert bed.intake.settled == []
        assert payments.circuit.snapshot(asyncio.get_running_loop().time()).calls == 0
        await asyncio.sleep(0.1)
        assert bed.attempt() is Verdict.DONE
        assert bed.intake.settled == [(1, Settlement.ACK)]


@in_virtual_time
async def test_a_late_result_settles_nothing() -> None:
    """The source was lost while the handler ran, which did not mind: its result is stale."""
    async with stage(dependency()) as bed:
        bed.bring(1)
        lane = bed.lane()
        ended: list[Verdict | None] = []

        async def handle() -> None:
            lane.begin()
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                ended.append(lane.leave(None))

        handler = asyncio.create_task(handle())
        await asyncio.sleep(0.1)
        bed.run.worker.lost((ORDERS,))
        await handler
        assert ended == [Verdict.STALE]
        assert bed.intake.settled == []


@in_virtual_time
async def test_an_interrupted_attempt_gives_no_verdict_and_its_task_goes_on() -> None:
    """The guard cancels the framework's task because the source goes: the lane takes the cancellation back."""
    async with stage(dependency()) as bed:
        bed.bring(1)
        lane = bed.lane()
        left: list[object] = []

        async def handle() -> None:
            lane.begin()
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError as error:
                left.append(lane.leave(error))
            await asyncio.sleep(0.1)
            left.append("goes on")

        handler = asyncio.create_task(handle())
        await asyncio.sleep(0.1)
        await bed.run.worker.revoked((ORDERS,))
        await handler
        assert left == [None, "goes on"]
        assert bed.intake.settled == []


@in_virtual_time
async def test_a_timeout_is_a_failure_of_what_was_needed() -> None:
    """The handler is cancelled in the framework's task, and the message waits for its next attempt."""
    payments = dependency()
    payments_down = Dependency("payments", failures=TimeoutError, settings=payments.settings)
    async with stage(payments_down, timeout=2.0) as bed:
        bed.bring(1)
        lane = bed.lane()
        left: list[object] = []

        async def handle() -> None:
            lane.begin()
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError as error:
                left.append(lane.leave(error))

        await asyncio.create_task(handle())
        assert left == [Verdict.AGAIN]
        assert bed.run.worker.guard.engine.gates["payments"].circuit.snapshot(0.0).failures == 1


@in_virtual_time
async def test_a_cancellation_by_others_passes_and_is_no_verdict() -> None:
    """The framework stops its task: the message is the engine's again, and starts once more."""
    async with stage(dependency()) as bed:
        bed.bring(1)
        lane = bed.lane()
        left: list[object] = []

        async def handle() -> None:
            lane.begin()
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError as error:
                left.append(lane.leave(error))
                raise

        handler = asyncio.create_task(handle())
        await asyncio.sleep(0.1)
        handler.cancel()
        with pytest.raises(asyncio.CancelledError):
            await handler
        assert left == [None]
        assert bed.attempt() is Verdict.DONE


@in_virtual_time
async def test_call_forms_know_the_attempt() -> None:
    """A call in the handler uses the permit of its message, and its failure is counted although the handler returns."""
    payments = dependency()
    async with stage(payments) as bed:
        bed.bring(1)
        lane = bed.lane()

        async def fails() -> None:
            raise Down

        lane.begin()
        with pytest.raises(Down):
            await payments.call(fails)
        assert lane.leave(None) is Verdict.DONE
        assert payments.circuit.snapshot(0.0).failures == 1


@in_virtual_time
async def test_a_refused_call_holds_the_message_uncharged() -> None:
    """A handler that meets an open circuit of its own accord: what comes out of it is the outage."""
    payments, email = dependency(), dependency("email")
    async with stage(payments, guarded=(email,)) as bed:
        bed.run.worker.guard.engine.gates["email"].circuit.force_open(0.0)
        delivery = bed.bring(1)
        lane = bed.lane()
        lane.begin()
        with pytest.raises(CallNotPermitted) as refused:
            await email.call(asyncio.sleep, 0)
        assert lane.leave(refused.value) is Verdict.AGAIN
        assert delivery.attempt == 0


@in_virtual_time
async def test_needs_of_each_message_are_asked_and_their_error_is_the_attempts() -> None:
    """`needs` as a function is asked when the message is brought; what it raises comes out of `begin`."""
    payments = dependency()

    def needs(delivery: Delivery[Any]) -> list[Dependency]:
        if delivery.position == 2:
            raise ValueError("canary-position")
        return [payments]

    async with stage(needs=needs, guarded=(payments,), retry=RetryPolicy(attempts=1, on_exhausted="skip")) as bed:
        bed.bring(1)
        assert bed.attempt() is Verdict.DONE
        bed.bring(2)
        lane = bed.lane()
        with pytest.raises(NeedsError) as raised:
            lane.begin()
        assert lane.leave(raised.value) is Verdict.DONE
        assert [position for position, _ in bed.intake.settled] == [1, 2]


@in_virtual_time
async def test_a_rejection_is_the_handlers_own_word() -> None:
    """Reject goes to the dead letters at once, as in every handler."""
    letters = MemoryDeadLetters()
    async with stage(dependency(), dead_letters=letters) as bed:
        bed.bring(1)
        assert bed.attempt(Reject("no such customer")) is Verdict.REJECT
        await asyncio.sleep(0.1)
        assert [letter.reason for letter in letters.letters] == ["no such customer"]


@in_virtual_time
async def test_a_run_that_drains_starts_nothing() -> None:
    """After a stop a message that is brought is not granted, and what had begun may end."""
    async with stage(dependency()) as bed:
        bed.bring(1)
        lane = bed.lane()
        lane.begin()
        stopping = asyncio.create_task(bed.run.worker.guard.finish({bed.run.worker: bed.run.task}))
        await asyncio.sleep(0.1)
        assert bed.run.is_over
        bed.bring(1, OTHERS)
        bed.run.offer(Brought(Partition("orders", 2), 1), bed.size)
        assert not bed.granted
        assert not bed.run.takes(Partition("orders", 2))
        assert lane.leave(None) is Verdict.DONE
        await stopping
        assert bed.intake.settled == [(1, Settlement.ACK)]


@in_virtual_time
async def test_a_run_that_cannot_open_says_so() -> None:
    """What the intake raises comes out of `open`."""
    async with quiet_guard() as guard:
        bed = Stage(guard, Settled(broken=True), needs=[])
        with pytest.raises(IntakeError, match="no broker"):
            await bed.run.open()
        assert bed.run.is_over
