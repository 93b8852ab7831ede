"""Patient calls on the guard's loop: each is a message that a run of guests brings (guests.py), and so all rules are those of messages.

Theory of operation. A caller posts steps, which run here, and waits for answers (patient.py). Between `start` and its end a call has a
*place*: a source of its own, `charge[0]`, that another call takes afterwards. There are as many places as calls were ever under way at the
same time, and no more lanes than places. So the caller's own concurrency is the run's, a ramp ends there, and the waiting list is fair
between callers.

    start      the call takes a place, and its message is offered
    GO         it was granted: the function runs, in the caller's own thread or task
    ended      the function has raised or returned. DONE, or RAISE what it raised, or it waits for the next GO
    give_up    the caller has gone, whatever the call was doing: its place is forgotten, and what it needs learns nothing
    CLOSED     nothing starts any more, because the guard stops

A message of a broker is tried again when it fails by its own fault; a call is not. Its caller knows what to do, and gets what was raised.
So there is one attempt (`_ONCE`), and a failure that no need claims is never taken for an outage that nobody has described: the caller sees
each of them.

What is ugly. The intake of such a run has no broker. Its `receive` is a clock.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

from holdgate.errors import GuardClosed, HoldgateError, SettingsError
from holdgate.flow.attribution import Cause, attribute
from holdgate.flow.gate import gates_of
from holdgate.flow.inbox import OVERHEAD, Order
from holdgate.flow.message import AnyDelivery, Backlog, Delivery, Partition, Settlement, Source
from holdgate.flow.plan import Plan
from holdgate.flow.policy import RetryPolicy, Verdict
from holdgate.ports import IntakeListener
from holdgate.runtime.guests import GuestHost, GuestLane, GuestRun
from holdgate.runtime.home import Home
from holdgate.runtime.run_settings import plan_run
from holdgate.runtime.wording import kind_of
from holdgate.runtime.worker import log_end
from holdgate.tasks import begin_later

if TYPE_CHECKING:
    from holdgate.flow.engine import Engine
    from holdgate.runtime.dependency import Dependency


class PatientHost(GuestHost, Protocol):
    """What patient calls ask of their guard."""

    engine: Engine

    @property
    def stopping(self) -> bool:
        """Whether nothing new begins any more."""
        ...

    def wake(self) -> None:
        """Take a turn at the loop's next step."""
        ...


# A failure of the call's own is its caller's affair, immediately. Failures of what it needs are waited out all the same.
_ONCE = RetryPolicy(attempts=1)

# How often the run shows that it lives. Nothing waits for it (seconds).
_EVERY = 1.0


class Reply(Enum):
    """What a caller is told. AGAIN: its attempt has failed, and it waits for the next GO."""

    GO = "go"
    DONE = "done"
    AGAIN = "again"
    RAISE = "raise"
    CLOSED = "closed"


class PatientCall:
    """One call, from its first step to its last. `answer` takes what its caller is told, from the guard's thread, and must not wait."""

    __slots__ = ("answer", "context", "delivery", "is_over", "lane", "refusal")

    def __init__(self, context: Context, answer: Callable[[Reply], object]) -> None:
        self.context = context  # the caller's, for spans
        self.answer = answer
        self.delivery: CallDelivery | None = None
        self.lane: GuestLane | None = None  # while its function runs
        self.is_over = False
        self.refusal: HoldgateError | None = None  # why it was CLOSED

    @property
    def runs(self) -> bool:
        """Whether its function runs, or is about to."""
        return self.lane is not None


class CallDelivery(Delivery[PatientCall]):
    """What the engine sees of a call: a message without content."""

    __slots__ = ("_number",)

    def __init__(self, source: Source, call: PatientCall, number: int) -> None:
        super().__init__(source, call)
        self._number = number

    @property
    def position(self) -> int:
        return self._number

    @property
    def body(self) -> bytes | None:
        return None

    @property
    def key(self) -> bytes | None:
        return None

    @property
    def headers(self) -> Mapping[str, Any]:
        return {}

    @property
    def timestamp(self) -> float | None:
        return None


class PatientLane(GuestLane):
    """A lane whose attempts are calls: one that fails by its own fault ends with that, and is no rejected message in the log."""

    __slots__ = ()

    def begin(self) -> None:
        """Begin the attempt. The current task, if there is one, is that of the call that has made room: the guard may not cancel it."""
        super().begin()
        self.task = None

    def end(self, delivery: AnyDelivery, error: BaseException | None, *, timed_out: bool = False) -> Verdict:
        """Settle an attempt by what its calls and its exception say. REJECT means that its caller gets what it raised."""
        worker, now, calls = self.worker, self.worker.now(), self.calls
        if not delivery.assignment.alive:  # the run is over, and a guard that was left knows no dependency any more
            self.forget_calls()
            self.delivery = None
            return worker.engine.interrupted(delivery, now)
        gates = gates_of(delivery)
        found = attribute([worker.dependency_of(gate) for gate in gates], calls, error, now, timed_out=timed_out)
        is_slip = isinstance(error, HoldgateError) and found.cause is Cause.DEPENDENCY  # no dependency says so: nobody else would
        if found.cause is Cause.MESSAGE or is_slip:
            found = found._replace(cause=Cause.REJECTED, unclaimed="")
        name = type(error).__name__ if error is None else kind_of(error)
        verdict = worker.engine.settle(delivery, found, name, now, reason=found.reason)
        if verdict is Verdict.REJECT:
            worker.engine.rejected(delivery, now)
        self.forget_calls()
        self.delivery = None
        if error is not None and found.cause is not Cause.REJECTED:  # else it is the caller's to log
            worker.log_failure(delivery, error, found, [gate.name for gate in gates], "" if verdict is Verdict.REJECT else "it waits")
        return verdict


class CallIntake:
    """The intake of one run of calls, which has no broker. `planned` is called when the engine has made a plan."""

    order: Order = "source"
    can_reject = True
    inbox = 1
    rebalance_timeout = 10.0  # no place is ever revoked

    def __init__(self, name: str, planned: Callable[[], None]) -> None:
        self.names = (name,)
        self._planned = planned
        self._ended = asyncio.Event()

    async def open(self, listener: IntakeListener) -> None:
        """Nothing: there is no broker."""

    async def receive(self) -> Sequence[AnyDelivery]:
        """Wait for a second. Calls come another way."""
        try:
            async with asyncio.timeout(_EVERY):
                await self._ended.wait()
        except TimeoutError:
            return ()
        await asyncio.sleep(0)
        return ()

    def apply(self, plan: Plan) -> None:  # noqa: ARG002 - a call that waits needs nobody to hold it
        """Look whether the run is over."""
        self._planned()

    def weigh(self, deliveries: Sequence[Delivery[Any]]) -> int:
        """Return what the calls take here. Their arguments are the caller's."""
        return OVERHEAD * len(deliveries)

    def settle(self, delivery: AnyDelivery, settlement: Settlement) -> None:
        """Nothing: the caller gets it."""

    async def flush(self) -> bool:
        self._ended.set()
        return True

    def way_of_rejected(self, name: str) -> str:  # noqa: ARG002 - all alike
        return "are the framework's affair: a call's own failure is raised to its caller"

    async def backlog(self) -> Mapping[Source, Backlog]:
        """Nothing: what waits outside is the framework's."""
        return {}

    async def close(self) -> None:
        self._ended.set()


class PatientCalls:
    """All calls of one name, and their places. Everything here happens on the guard's loop."""

    def __init__(self, guard: PatientHost, name: str, needs: Sequence[Dependency]) -> None:
        self.name = name
        self.needs = tuple(needs)
        self._guard = guard
        self._run: GuestRun | None = None
        self._opening: asyncio.Task[None] | None = None
        self._early: list[PatientCall] = []  # came while the run opens
        self._under_way: dict[PatientCall, None] = {}
        self._places = 0
        self._free: list[int] = []  # a heap: low numbers first, so that few places are used where few suffice
        self._calls = 0

    # -- the steps of a call ----------------------------------------------------------------------------------------------------------

    def start(self, call: PatientCall) -> None:
        """Let a call wait for its turn, which may come in this very step."""
        if call.is_over:
            return
        if self._guard.stopping:
            self._close(call, _stops(self.name))
            return
        if self._run is None or self._run.is_over:
            self._early.append(call)
            if self._opening is None:
                self._opening = begin_later(self._open(), f"opening of {self.name}")
            return
        self._offer(self._run, call)

    def ended(self, call: PatientCall, error: Exception | None) -> None:
        """End the attempt of a call. `error` None means that its function has returned."""
        lane, call.lane = call.lane, None
        if lane is None or call.is_over:
            return
        delivery = call.delivery
        call.delivery = None  # the engine may grant it before `leave` returns, and the caller must hear of its failure first
        verdict = call.context.run(lane.leave, error)
        call.delivery = delivery
        if verdict in (Verdict.DONE, Verdict.REJECT):
            self._finish(call)
            call.answer(Reply.DONE if verdict is Verdict.DONE else Reply.RAISE)
        elif delivery is None or not self._is_tried_again(delivery):  # whether it is the caller's own failure would show in time
            self._close(call, _stops(self.name))
        else:
            call.answer(Reply.AGAIN)
            if call.runs:
                call.answer(Reply.GO)

    def give_up(self, call: PatientCall) -> None:
        """Forget a call whose caller has gone."""
        if call.is_over:
            return
        delivery, run = call.delivery, self._run
        self._finish(call)
        lane, call.lane = call.lane, None
        if lane is not None:
            call.context.run(lane.quit)  # the engine may grant it again before this returns
        if delivery is None or run is None or not _is_of(run, delivery):
            return
        if delivery.assignment.inbox.waiting:  # never tried
            delivery.assignment.drop_waiting()
        else:
            run.worker.lost((delivery.source,))
        self._guard.wake()

    def _is_tried_again(self, delivery: CallDelivery) -> bool:
        run = self._run
        return run is not None and not run.is_over and _is_of(run, delivery)

    def granted(self, lane: GuestLane) -> None:
        """Let the function of this call run."""
        call = cast("CallDelivery", lane.delivery).message
        if call.is_over:  # its caller has gone: the lane lets go of it when its place is forgotten, in a moment
            return
        call.context.run(lane.begin)
        call.lane = lane
        if call.delivery is not None:
            call.answer(Reply.GO)

    # -- places -----------------------------------------------------------------------------------------------------------------------

    def _offer(self, run: GuestRun, call: PatientCall) -> None:
        if self._free:
            number = heapq.heappop(self._free)
        else:
            number, self._places = self._places, self._places + 1
        self._calls += 1
        source = Partition(self.name, number)
        call.delivery = CallDelivery(source, call, self._calls)
        self._under_way[call] = None
        if not run.takes(source):
            run.assigned((source,))
        run.offer(call.delivery)

    def _finish(self, call: PatientCall) -> None:
        call.is_over = True
        was_under_way = self._under_way.pop(call, self) is not self
        delivery, run = call.delivery, self._run
        if was_under_way and delivery is not None and run is not None and _is_of(run, delivery):
            heapq.heappush(self._free, cast("Partition", delivery.source).number)

    def _close(self, call: PatientCall, refusal: HoldgateError) -> None:
        if not call.is_over and call.lane is None:  # one that runs may end
            call.refusal = refusal
            self._finish(call)
            call.answer(Reply.CLOSED)

    # -- the run ----------------------------------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        """Begin the run, and bring what came meanwhile. A guard that stops, or settings that clash, refuse all of it."""
        self._free.clear()
        self._places = 0
        refusal: HoldgateError = _stops(self.name)
        try:
            intake = CallIntake(self.name, self._let_go)
            plans = plan_run(intake, self.needs, order=None, key=None, concurrency=None, span=1000, retry=_ONCE)
            run = self._run = GuestRun(self._guard, intake, plans, self.granted, PatientLane)
            await run.open()
            if run.task is not None:
                run.task.add_done_callback(partial(log_end, run.worker))  # nobody awaits it, and the next call begins another
        except HoldgateError as error:
            self._run, refusal = None, error
        self._opening = None
        early, self._early = self._early, []
        for call in early:
            if self._run is None or self._run.is_over:
                self._close(call, refusal)
            elif not call.is_over:
                self._offer(self._run, call)

    def _let_go(self) -> None:
        """Let go of what waits when the run is over."""
        if self._run is not None and self._run.is_over:
            for call in list(self._under_way):
                self._close(call, _stops(self.name))


def _is_of(run: GuestRun, delivery: CallDelivery) -> bool:
    """Return whether a call belongs to this run, and not to one that has ended by an error before."""
    return delivery.assignment is not None and delivery.assignment.run is run.worker.run


class Patients:
    """The patient functions of one guard, by name. May be used from any thread."""

    def __init__(self, guard: PatientHost, home: Home) -> None:
        self.home = home
        self._guard = guard
        self._by_name: dict[str, PatientCalls] = {}

    @property
    def engine(self) -> object:
        """The engine of the guard, to recognise its own handlers by."""
        return self._guard.engine

    def calls_of(self, name: str, needs: Sequence[Dependency]) -> PatientCalls:
        """Return the calls of this name, shared by functions with the same needs. Raises SettingsError if the needs differ."""
        calls = self._by_name.setdefault(name, PatientCalls(self._guard, name, needs))
        if calls.needs != tuple(needs):
            raise SettingsError(
                f"two patient functions are named {name!r} and need different things ({_names(calls.needs)}, {_names(needs)}):"
                " give one of them a name=, it is the label everywhere"
            )
        return calls


def _stops(name: str) -> GuardClosed:
    return GuardClosed(f"{name} does not wait any more: the guard stops")


def _names(needs: Sequence[Dependency]) -> str:
    return " and ".join(each.name for each in needs) or "nothing"
