"""Where the tasks of one worker meet the guard: which may start now, and what becomes of one that has ended.

Theory of operation. Celery takes a message, makes a request of it, and hands that to the pool. In between it comes here (`offer`). The
engine lets it start, now or later, and then it goes on to the pool (`start_granted`). Until then it waits in the main process, unacked, so
no more wait here than the prefetch allows, and the rest stays in the broker. A task that waits has no timer: the engine has one for all.

    offer           the task is in the engine's hands
    start_granted   the pool gets what may start. In the main thread alone, because Celery's pools want that
    succeeded       ... and then Celery acks it
    given_back      the engine decides. AGAIN: it waits here for its next start, still unacked, and no attempt of Celery's is spent.
                    REJECT: it fails as Celery's tasks do
    failed          its own failure, a retry, a revoked task: Celery's way; the engine only learns that it is over

What waits for too long goes back to its queue before the broker takes it (`_look_after`): the queue is cancelled, what waits is returned in
order, and the queue is taken again when one of the circuits would let a task try.

Which races matter. 1. The connection is lost while tasks run: their results come later, count for nothing, and their acks fail as without a
guard. What had not begun is forgotten, because the broker hands it out again. 2. A task is granted while its queue goes back: `_hand_back`
takes whatever has not started, and a grant of it finds the delivery gone.

Whatever touches the engine has the loop's lock (loop.py): ends come from pool threads too.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from holdgate.core import Outcome
from holdgate.core.states import State
from holdgate.flow.attribution import Attribution, Cause, NeedVerdict
from holdgate.flow.gate import gates_of
from holdgate.flow.inbox import OVERHEAD, Order
from holdgate.flow.message import AnyDelivery, Backlog, Delivery, Settlement, Source
from holdgate.flow.plan import Plan
from holdgate.flow.policy import Verdict
from holdgate.ports import IntakeListener
from holdgate.runtime.guests import GuestLane, GuestRun
from holdgate.runtime.needs import needs_error
from holdgate.runtime.wording import kind_of
from holdgate.tasks import begin_later

if TYPE_CHECKING:
    from holdgate.flow.state import Assignment
    from holdgate.integrations.celery.given_back import TaskGivenBack
    from holdgate.integrations.celery.loop import SharedLoop
    from holdgate.runtime.guard import Guard

log = logging.getLogger("holdgate")

# How often it looks whether tasks must go back to their queue (seconds).
_EVERY = 1.0
# Of the consumer timeout: a broker before RabbitMQ 4.3 looks for late acks only once a minute, and a nack must still arrive.
_GIVE_BACK = 0.8
# Nothing is waited for between the end of a queue and its new beginning but the main loop's next step; running tasks may end in this time.
_RETURN_WITHIN = 60.0

_NO_VERDICT = NeedVerdict(None)
_FAILED = NeedVerdict(Outcome.FAILURE)


class TaskDelivery(Delivery[Any]):
    """A task that Celery has taken. `message` is its request; `name` and `id` are the task's."""

    __slots__ = ("arrived_at", "lane")

    def __init__(self, source: Source, request: Any, arrived_at: float) -> None:
        super().__init__(source, request, request.delivery_info["redelivered"])
        self.arrived_at = arrived_at
        self.lane: GuestLane | None = None  # where it runs

    @property
    def name(self) -> str:
        """Return the name of the task, such as `shop.tasks.charge`."""
        name: str = self.message.type
        return name

    @property
    def id(self) -> str:
        """Return the task's id."""
        found: str = self.message.id
        return found

    @property
    def position(self) -> int:
        tag: int = self.message.message.delivery_tag
        return tag

    @property
    def body(self) -> bytes | None:
        body: object = self.message.body
        return body if isinstance(body, bytes) else str(body).encode()

    @property
    def key(self) -> bytes | None:
        return None

    @property
    def headers(self) -> Mapping[str, Any]:
        headers: Mapping[str, Any] = self.message.message.headers
        return headers

    @property
    def timestamp(self) -> float | None:
        return None


class PoolLane(GuestLane):
    """A lane whose attempts run in Celery's pool. They are no tasks of the loop, and only Celery's own time limits can end one."""

    __slots__ = ()

    def begin(self) -> None:
        self.since = self.worker.now()
        self.started = True
        if self.worker.tracing is not None and self.delivery is not None:
            self._span = self.worker.tracing.begin(self.delivery)

    def end_by(self, found: Attribution, error: BaseException | None, *, log_it: bool = True) -> Verdict | None:
        """End the attempt by an attribution that was made elsewhere. `error` None means that nothing was raised, or nobody knows."""
        delivery, worker = self.delivery, self.worker
        self.started = False
        if worker.tracing is not None:
            worker.tracing.end(self._span, error)
            self._span = None
        if delivery is None:
            return None
        lacking = len(gates_of(delivery)) - len(found.findings)  # what an attempt before has called, and was refused
        if lacking:
            found = found._replace(findings=found.findings + (_NO_VERDICT,) * lacking)
        name = "" if error is None else kind_of(error)
        verdict = worker.engine.settle(delivery, found, name, worker.now(), reason=found.reason)
        if error is not None and log_it:
            worker.log_failure(delivery, error, found, [gate.name for gate in gates_of(delivery)], "")
        if verdict is Verdict.DONE:
            self.acknowledge(delivery)
        elif verdict is Verdict.REJECT:
            worker.reject(delivery, error)
        self.delivery = None
        worker.idle.append(self)
        worker.turn_if_needed()
        return verdict


class MainProcess(Protocol):
    """What a station asks of Celery's consumer. All but `soon` are called in the main thread."""

    def soon(self, call: Callable[[], object]) -> None:
        """Let the main loop call this at its next step. From any thread."""
        ...

    start_in_pool: Callable[[Any], object]

    def give_up(self, request: Any, error: Exception) -> None:
        """Let a request fail that cannot be started."""
        ...

    def forget(self, request: Any, *, acknowledge: bool) -> None:
        """Let a request go that has not started: acked, or back to its queue."""
        ...

    def cancel(self, queue: str) -> None:
        """Stop taking from a queue."""
        ...

    def consume(self, queue: str) -> None:
        """Take from a queue again."""
        ...


class TaskStation:
    """All guarded tasks of one worker under the guard, and the intake of their run. Made on the loop."""

    order: Order = "none"
    can_reject = True
    rebalance_timeout = 2 * _RETURN_WITHIN

    def __init__(
        self, loop: SharedLoop, main: MainProcess, guard: Guard, *, prefetch: int, concurrency: int, timeouts: Mapping[str, float]
    ) -> None:
        self.names: Collection[str] | None = tuple(timeouts)
        self.inbox = max(prefetch, concurrency)
        self.concurrency = concurrency
        self._loop = loop
        self._main = main
        self._main_thread: int | None = None  # that of the first offer
        self._guard = guard
        self._hold_for = {name: seconds * _GIVE_BACK for name, seconds in timeouts.items()}
        self._longest = max(timeouts.values()) * _GIVE_BACK
        self._run: GuestRun | None = None
        self._waiting: dict[TaskDelivery, None] = {}  # offered, and not with the pool
        self._away: dict[Source, tuple[str, ...]] = {}  # queues that are cancelled, and what their tasks wait for
        self._granted: deque[GuestLane] = deque()
        self._assignment: Assignment | None = None  # that of the last task
        self._starting = False
        self._ending: TaskDelivery | None = None  # which is being settled, and by Celery
        self._ended = asyncio.Event()
        self._now = guard.now

    @property
    def held(self) -> int:
        """How many tasks wait here."""
        return len(self._waiting)

    # -- what Celery brings -----------------------------------------------------------------------------------------------------------

    def joined(self, run: GuestRun) -> None:
        """Take the run to which the tasks go."""
        self._run = run

    def offer(self, source: Source, request: Any, age: float = 0.0) -> None:
        """Let a task start, now or when it may. `age`: for how many seconds Celery has had it. It comes again if the guard has stopped."""
        run = self._run
        if run is None:
            return
        self._main_thread = threading.get_ident()
        delivery = request.delivery = TaskDelivery(source, request, self._now() - age)
        with self._loop:
            if self._away and source in self._away:  # its ETA has come, or an operator has added the queue
                if not run.is_over:
                    if not self._of(source):  # otherwise that is on its way
                        self._main.soon(partial(self._return_waiting, source))
                    self._waiting[delivery] = None
                return
            last = self._assignment
            if last is not None and last.source is source:
                delivery.assignment = last  # the same again, as nearly always: it need not be looked up
            if run.is_over:
                return
            lane = run.start(delivery, _size(request.body))
            self._assignment = delivery.assignment
            if lane is not None and not self._granted and not self._starting:  # nearly always: it starts in this step
                begun: tuple[Any, Exception | None] | None = self._begin_attempt(lane, delivery)
            else:
                self._waiting[delivery] = None
                if lane is not None:  # behind those that are to start already
                    self.granted(lane)
                begun = self._begin_next()
        if begun is not None:
            self._start(begun)

    def take_up(self, sources: Collection[Source]) -> None:
        """Begin with these queues, before their first task comes."""
        run = self._run
        with self._loop:
            if run is not None and not run.is_over:
                run.assigned([source for source in sources if not run.takes(source) and source not in self._away])

    def start_granted(self) -> None:
        """Hand to the pool whatever may start. In the main thread."""
        if self._granted:
            with self._loop:
                begun = self._begin_next()
            if begun is not None:
                self._start(begun)

    def _begin_next(self) -> tuple[Any, Exception | None] | None:
        """Begin the first of what may start: see `_begin`. None means that there is none, or that a caller further up sees to it."""
        return self._begin(self._granted.popleft()) if self._granted and not self._starting else None

    def _start(self, begun: tuple[Any, Exception | None]) -> None:
        """Hand to the pool what has begun, and then whatever else may start. Without the lock: a pool may run the task in here."""
        self._starting = True  # a pool without processes runs the task in here, and its end may let others start
        try:
            while True:
                request, error = begun
                if error is not None:
                    self._main.give_up(request, error)
                elif request is not None:
                    self._main.start_in_pool(request)
                if not self._granted:
                    break
                with self._loop:
                    begun = self._begin(self._granted.popleft())
        finally:
            self._starting = False

    def _begin(self, lane: GuestLane) -> tuple[Any, Exception | None]:
        """Begin an attempt. Returns its request, or None if there is nothing to begin any more; and the error that ends it here."""
        delivery = lane.delivery
        if not isinstance(delivery, TaskDelivery):
            return None, None
        if delivery not in self._waiting:  # it has gone back meanwhile
            lane.give_back(delivery)
            return None, None
        del self._waiting[delivery]
        return self._begin_attempt(lane, delivery)

    def _begin_attempt(self, lane: GuestLane, delivery: TaskDelivery) -> tuple[Any, Exception | None]:
        """Do the same for a delivery that waits for nothing any more."""
        lane.begin()
        delivery.lane = lane
        error = needs_error(delivery)
        if error is None:
            return delivery.message, None
        self._settle(delivery, _own_end(delivery, Cause.REJECTED), error)
        self._hand_out()
        return delivery.message, error

    # -- how an attempt ends: from any thread -------------------------------------------------------------------------------------------

    def succeeded(self, delivery: TaskDelivery) -> None:
        """End an attempt that went well."""
        with self._loop:
            lane, delivery.lane = delivery.lane, None
            if lane is not None:
                lane.leave(None)
                if self._waiting:  # all that the engine could hand out
                    self._hand_out()
            begun = self._begin_next() if self._granted and threading.get_ident() == self._main_thread else None
        if begun is not None:
            self._start(begun)

    def given_back(self, delivery: TaskDelivery, what: TaskGivenBack) -> Verdict | None:
        """End an attempt that a need has failed. Returns what is to become of the task; None or STALE means that it comes again."""
        return self._or_back(delivery, self._end(delivery, what.attribution, what.error))

    def timed_out(self, delivery: TaskDelivery, error: Exception) -> Verdict | None:
        """End an attempt whose hard time limit was over: a failure of all that it needs."""
        count = len(gates_of(delivery))
        found = Attribution((_FAILED,) * count, Cause.DEPENDENCY, shared=count > 1)
        return self._or_back(delivery, self._end(delivery, found, error))

    def failed(self, delivery: TaskDelivery, error: BaseException) -> None:
        """End an attempt by the task's own failure, which is no verdict on what it needs. Celery has logged what it was."""
        self._end(delivery, _own_end(delivery, Cause.REJECTED), error, log_it=False)

    def replaced(self, delivery: TaskDelivery) -> None:
        """End an attempt of which nothing is known but that it is over: a retry of its own, a revoked task."""
        self._end(delivery, _own_end(delivery, Cause.RETURNED), None)

    def _end(self, delivery: TaskDelivery, found: Attribution, error: BaseException | None, *, log_it: bool = True) -> Verdict | None:
        with self._loop:
            verdict = self._settle(delivery, found, error, log_it=log_it)
            self._hand_out()
        self._go_on()
        return verdict

    def _settle(self, delivery: TaskDelivery, found: Attribution, error: BaseException | None, *, log_it: bool = True) -> Verdict | None:
        lane, delivery.lane = delivery.lane, None
        if not isinstance(lane, PoolLane):  # its connection is gone
            return Verdict.STALE
        self._waiting[delivery] = None  # the engine may grant it before `end_by` returns
        self._ending = delivery
        verdict = lane.end_by(found, error, log_it=log_it)
        self._ending = None
        if verdict is Verdict.AGAIN and not delivery.assignment.going:
            return verdict
        self._waiting.pop(delivery, None)
        return Verdict.STALE if verdict is Verdict.AGAIN else verdict

    def _or_back(self, delivery: TaskDelivery, verdict: Verdict | None) -> Verdict | None:
        """Return the message of a task that does not start here again: its queue may have gone back while it ran, and nobody else would."""
        if verdict is None or verdict is Verdict.STALE:
            self._main.soon(partial(self._main.forget, delivery.message, acknowledge=False))
        return verdict

    def _hand_out(self) -> None:
        """Let the lane that has become free take what waits. With as many lanes as tasks in hand there would be nothing."""
        if self._run is not None:
            self._run.worker.hand_out()

    def _go_on(self) -> None:
        if self._granted and threading.get_ident() == self._main_thread:
            self.start_granted()

    # -- the connection, and the end ------------------------------------------------------------------------------------------------------

    def lost(self, runs_on: Callable[[Any], bool]) -> None:
        """Forget all that came over a connection that is gone. `runs_on` says of a request whether the pool has begun it."""
        run = self._run
        if run is None:
            return
        with self._loop:
            run.worker.lost(list(run.worker.run.assignments))
            self._waiting.clear()
            self._granted.clear()
            for lane in run.worker.lanes:
                delivery = lane.delivery
                if isinstance(delivery, TaskDelivery) and not (lane.started and runs_on(delivery.message)):
                    delivery.lane = None
                    lane.started = False
                    lane.give_back(delivery)

    def abandon(self) -> None:
        """Let go of what has not ended, because the process ends."""
        self.lost(lambda _: False)

    # -- what the engine decides ------------------------------------------------------------------------------------------------------

    def granted(self, lane: GuestLane) -> None:
        """Let the task of this lane start."""
        self._granted.append(lane)
        if threading.get_ident() != self._main_thread:
            self._main.soon(self.start_granted)

    def settle(self, delivery: AnyDelivery, settlement: Settlement) -> None:  # noqa: ARG002 - Celery settles what has run
        """Ack a task that an operator has skipped. Whatever has run is settled by Celery."""
        if isinstance(delivery, TaskDelivery) and delivery in self._waiting and delivery is not self._ending:
            del self._waiting[delivery]
            self._main.soon(lambda: self._main.forget(delivery.message, acknowledge=True))

    # -- the run's intake -------------------------------------------------------------------------------------------------------------

    async def open(self, listener: IntakeListener) -> None:
        """Nothing: Celery connects."""

    async def receive(self) -> Sequence[AnyDelivery]:
        """Wait for a second, and look whether what waits may stay. The tasks come another way."""
        try:
            async with asyncio.timeout(_EVERY):
                await self._ended.wait()
        except TimeoutError:
            self._look_after()
        else:
            await asyncio.sleep(0)
        return ()

    def apply(self, plan: Plan) -> None:
        """Nothing: the prefetch bounds what comes, and what has come waits."""

    def weigh(self, deliveries: Sequence[Delivery[Any]]) -> int:
        """Return the bytes of the task that has come."""
        return OVERHEAD + _size(deliveries[0].message.body)

    async def flush(self) -> bool:
        self._ended.set()
        return True

    def way_of_rejected(self, name: str) -> str:  # noqa: ARG002 - all queues alike
        return "fail as Celery's tasks do: the failure is stored, and the message is acked or rejected by acks_on_failure_or_timeout"

    async def backlog(self) -> Mapping[Source, Backlog]:
        """Nothing: the worker's channel is Celery's, and its main loop would wait for the answer."""
        return {}

    async def close(self) -> None:
        self._ended.set()

    # -- back to the queue before the broker takes it ---------------------------------------------------------------------------------

    def _look_after(self) -> None:
        """On the loop: give queues back whose oldest task has waited for too long, and take those again that may be tried."""
        now = self._now()
        oldest: dict[Source, float] = {}
        for delivery in self._waiting:
            oldest[delivery.source] = min(delivery.arrived_at, oldest.get(delivery.source, now))
        for source, since in oldest.items():
            if source not in self._away and now - since > self._hold_for.get(source.name, self._longest):
                self._send_back(source)
        for source in [source for source, names in self._away.items() if self._may_be_tried(source, names)]:
            if source not in oldest:
                self._main.soon(partial(self._take_again, source))

    def _send_back(self, source: Source) -> None:
        run = self._run
        if run is None or not run.takes(source):
            return
        names = dict.fromkeys(gate.name for delivery in self._of(source) if delivery.assignment is not None for gate in gates_of(delivery))
        self._away[source] = tuple(names)
        begin_later(run.worker.revoked((source,)), f"closing of {source.name}")
        self._main.soon(lambda: self._hand_back(source))

    def _hand_back(self, source: Source) -> None:
        """In the main thread: end the hold of a queue before the broker does."""
        returned = self._return_waiting(source)
        log.info(
            "%s: %d tasks have been held for %g s and go back, before the consumer timeout; it is taken again when a task may be tried",
            source,
            returned,
            self._hold_for.get(source.name, self._longest),
        )

    def _return_waiting(self, source: Source) -> int:
        """In the main thread: stop taking from a queue, and return what waits here, oldest first. Returns how many they were."""
        self._main.cancel(source.name)
        with self._loop:
            returned = sorted(self._of(source), key=lambda delivery: delivery.position)
            for delivery in returned:
                del self._waiting[delivery]
        for delivery in returned:
            self._main.forget(delivery.message, acknowledge=False)
        return len(returned)

    def _take_again(self, source: Source) -> None:
        """In the main thread. Only here the queue is away no longer: a step of Celery's main loop may be lost with a connection."""
        with self._loop:
            was_away = self._away.pop(source, None) is not None
        if was_away:
            self._main.consume(source.name)

    def _of(self, source: Source) -> list[TaskDelivery]:
        return [delivery for delivery in self._waiting if delivery.source == source]

    def _may_be_tried(self, source: Source, names: Iterable[str]) -> bool:
        engine = self._guard.engine
        if engine.is_held(source) or engine.is_held(source.name):
            return False
        return all(self._guard.circuit(name).state is not State.OPEN for name in names)


def _size(body: object) -> int:
    return len(body) if isinstance(body, bytes | str) else 0


def _own_end(delivery: AnyDelivery, cause: Cause) -> Attribution:
    """Return an end that says nothing of what the task needs."""
    return Attribution((_NO_VERDICT,) * len(gates_of(delivery)), cause)
