"""How a dependency reaches its circuit: alone with a circuit of its own, or bound to a guard's.

A guard's circuit belongs to the guard's event loop. Calls on that loop's thread use the circuit directly. On any other thread each acquire
takes a trip through the loop and waits for the answer, and each record is sent to the loop without waiting. A dependency's own circuit has
no loop, so a lock is held around every step, and never around the user's call.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from threading import get_ident
from time import sleep

from holdgate.core import Circuit, Outcome, Permit, Rejected, State, Told
from holdgate.core.permits import issue
from holdgate.errors import GuardClosed
from holdgate.ports import Clock
from holdgate.runtime.inner_waits import InnerWaits
from holdgate.runtime.slots import Slots, Step
from holdgate.runtime.wording import kind_of

_SUCCESS = Outcome.SUCCESS
_FAILURE = Outcome.FAILURE

# A call is recorded right after its failure was noted. What was noted earlier is of a call that has opened nothing (seconds).
_RECORDED_WITHIN = 1.0


class OwnCircuit:
    """A plain breaker: a circuit outside any guard, shared by all threads and loops of the process. Nobody reads its events.

    `acquire`, `succeeded`, `record` and `release` do what they do in GuardCircuit. They are closures for speed: a call spends most of its
    time on the way to them.

    Most programs call from one thread, and a lock that is taken twice would be a fifth of such a call. So the first thread that calls owns
    the circuit, and `thread` names that owner. The owner may skip the lock for one step at a time. It sets `busy`, checks `thread`, does
    the step and clears `busy`. The first call from any other thread ends the ownership for good: that call clears `thread` and waits until
    `busy` is false. Either the owner's step began before, and the other thread waits for its end, or the owner sees that `thread` is
    cleared and takes the lock. From then on every thread takes the lock.
    """

    __slots__ = ("acquire", "busy", "circuit", "now", "record", "release", "spare", "succeeded", "thread")

    def __init__(self, circuit: Circuit, clock: Clock) -> None:  # noqa: C901, PLR0915 - closures, for speed; see above
        self.circuit = circuit
        self.now = now = clock.now
        self.thread: int | None = None  # the owner; None before the first call, and after a second thread has called
        self.busy = False
        self.spare: Permit | None = issue(0, 0.0, 1)  # the owner's permit, used again and again; None while a call has it
        lock = threading.Lock()
        take, give = lock.acquire, lock.release  # a `with` costs twice as much
        pending = circuit.events_pending
        is_shared = False

        def own() -> None:
            """Make the first thread the owner, and end the ownership when a second one calls. Runs under the lock."""
            nonlocal is_shared
            if self.thread is None:
                self.thread = get_ident()
            elif self.thread != get_ident():
                is_shared = True
                self.thread = None
                while self.busy:
                    sleep(0)  # lets the owner end its step

        def acquire() -> Permit | Rejected:
            take()
            try:
                if not is_shared:
                    own()
                return circuit.try_acquire(now())
            finally:
                give()

        def record(permit: Permit, outcome: Outcome, retry_after: float | None = None, told: Told | None = None) -> None:
            take()
            try:
                if not is_shared:
                    own()
                circuit.record(permit, outcome, now(), retry_after=retry_after, told=told)
                pending.clear()
            finally:
                give()

        def succeeded(permit: Permit) -> None:
            record(permit, _SUCCESS)

        def release(permit: Permit) -> None:
            take()
            try:
                if not is_shared:
                    own()
                circuit.release(permit, now())
                pending.clear()
            finally:
                give()

        self.acquire = acquire
        self.succeeded = succeeded
        self.record = record
        self.release = release

    def note(self, exception: BaseException) -> None:
        """Do nothing: nobody asks a plain breaker what a call has failed with."""

    def count_failure(self, error: BaseException) -> None:
        """Do nothing: nobody could read it."""

    def took_long(self, took: float) -> None:
        """Do nothing: no handler of a guard is busy meanwhile."""

    def after(self) -> None:
        """Drop what the circuit announced, after a call has ended: events that nobody reads would pile up for ever."""
        self.circuit.events_pending.clear()  # one step for the interpreter, so it needs no lock


class GuardCircuit:
    """A guard's circuit for one dependency, usable from any thread. It must be made on the thread of `loop`.

    Errors name `guard` by its repr. `is_declared`: the guard was given the dependency, and has not only met it in a handler. `settled` is
    called on the loop after a call outside of handlers has ended, when the guard should take a turn: the circuit has something to announce,
    or a slot of its ramp is free again. `count` is called on the loop for each such call that has failed, with the dependency and the type
    of what was raised. None means that nobody wants to know. `lines` gets the line of calls that wait for a slot, while somebody is in it.
    """

    __slots__ = (
        "_closed", "_count", "_inner_waits", "_is_pooled", "_lock", "_loop", "_pending", "_settled", "busy", "circuit", "guard",
        "is_declared", "noted", "now", "slots", "spare", "thread",
    )  # fmt: skip

    def __init__(
        self,
        guard: object,
        circuit: Circuit,
        clock: Clock,
        settled: Callable[[], object],
        loop: asyncio.AbstractEventLoop,
        *,
        count: Callable[[str, str], object] | None = None,
        lines: set[Slots] | None = None,
    ) -> None:
        self.guard = guard
        self.is_declared = False  # Dependency.bind sets it
        self.circuit = circuit
        self.now = clock.now
        self._settled = settled
        self._count = count
        self._loop = loop
        self.noted: tuple[str, float] | None = None  # what a call has failed with last, and when; taken by `failed_with`
        self._is_pooled = False  # between `pool_failures` and `stop_pooling`
        self._inner_waits = InnerWaits(circuit)
        self.thread: int | None = get_ident()  # the one that may use the circuit directly
        self.busy = False  # as in OwnCircuit, but here no other thread ends the ownership
        self.spare: Permit | None = issue(0, 0.0, 1)  # as in OwnCircuit
        self.slots = Slots(circuit, clock.now, set() if lines is None else lines)
        self._lock = threading.Lock()  # guards the two below: other threads wait for answers that a closing guard must give
        self._pending: set[Future[Permit | Rejected]] = set()
        self._closed = False

    def acquire(self) -> Permit | Rejected:
        """Return a permit for one call, or the refusal. Raises GuardClosed in a thread whose guard is left meanwhile."""
        if get_ident() == self.thread:
            return self.circuit.try_acquire(self.now())
        return self._through_the_loop(self.circuit.try_acquire)

    def take(self, step: Step) -> Permit | Rejected:
        """Return what a step on the loop acquires, which gets the time. As `acquire`."""
        return step(self.now()) if get_ident() == self.thread else self._through_the_loop(step)

    def take_later_in_thread(self, step: Step, *, within: float | None, is_over: Callable[[], bool]) -> Permit | Rejected:
        """Wait in this thread. Raises GuardClosed if the guard is left meanwhile."""
        if self._closed or self._loop.is_closed():
            raise self._gone()
        waiting = self.slots.take(step, within=within, is_over=is_over)
        return asyncio.run_coroutine_threadsafe(waiting, self._loop).result()

    def slot_ended(self, slot: Permit, outcome: Outcome | None, told: Told | None) -> None:
        """Let the limiter know that a call in a handler has ended."""
        now = self.now()
        if get_ident() == self.thread:
            self._slot_ended(slot, outcome, now, told)
        else:
            self._send(self._slot_ended, slot, outcome, now, told)

    def succeeded(self, permit: Permit) -> None:
        """Settle the permit of a good call."""
        self.record(permit, _SUCCESS)

    def record(self, permit: Permit, outcome: Outcome, retry_after: float | None = None, told: Told | None = None) -> None:
        """Settle the permit with an outcome. Its duration is the time since it was acquired."""
        now = self.now()
        if get_ident() == self.thread:
            self._record(permit, outcome, now, retry_after, None, told)
        else:  # the loop may be late, so the duration of the call is measured here
            self._send(self._record, permit, outcome, now, retry_after, now - permit.acquired_at, told)

    def note(self, exception: BaseException) -> None:
        """Remember what a call has failed with, for the line that says why its circuit has opened. From any thread, before the record."""
        self.noted = kind_of(exception), self.now()

    def failed_with(self, at: float) -> str | None:
        """Return what was noted last, and forget it. None means that there is nothing new, or that it is too old to have opened the circuit
        at this monotonic second."""
        noted, self.noted = self.noted, None
        return None if noted is None or noted[1] < at - _RECORDED_WITHIN else noted[0]

    def release(self, permit: Permit) -> None:
        """Give the permit back without a verdict."""
        if get_ident() == self.thread:
            self._release(permit)
        else:
            self._send(self._release, permit)

    def count_failure(self, error: BaseException) -> None:
        """Count what a call outside of handlers has failed with. From any thread."""
        if self._count is None:
            return
        name, kind = self.circuit.name, kind_of(error)
        if get_ident() == self.thread:
            self._count(name, kind)
        else:
            self._send(self._count, name, kind)

    def pool_failures(self) -> None:
        """Let the guard take a turn after each failure from now on: others count it, too, and it says nothing once it is old."""
        self._is_pooled = True

    def stop_pooling(self) -> None:
        """Take no turn for a failure any more: nobody else counts it."""
        self._is_pooled = False

    def took_long(self, took: float) -> None:
        """Look at a good call in a handler that took this many seconds. From any thread."""
        self._inner_waits.look(took, self.now())

    def close(self) -> None:
        """Let go when the guard is left. Waiting threads get GuardClosed, and records that are still sent are lost with the circuit."""
        with self._lock:
            self._closed = True
            pending = list(self._pending)
            self._pending.clear()
        for answer in pending:
            answer.set_exception(self._gone())
        self.slots.close()

    def _slot_ended(self, slot: Permit, outcome: Outcome | None, now: float, told: Told | None) -> None:
        self.circuit.limits.slot_ended(slot, outcome, now, told)
        self.after()

    def _record(  # noqa: PLR0917 - a step that is sent to the loop takes no keywords
        self, permit: Permit, outcome: Outcome, now: float, retry_after: float | None, duration: float | None, told: Told | None
    ) -> None:
        self.circuit.record(permit, outcome, now, retry_after=retry_after, duration=duration, told=told)
        if outcome is _FAILURE and self._is_pooled and not self._closed:
            self._settled()
        else:
            self.after()

    def _release(self, permit: Permit) -> None:
        self.circuit.release(permit, self.now())
        self.after()

    def after(self) -> None:
        """Let the guard take a turn if there is a reason, after a call outside of handlers has ended on the loop's thread."""
        # In a circuit that is not closed a slot of the ramp is free again, in a limited one a slot of the limit. Something may wait for it.
        circuit = self.circuit
        if not self._closed and (circuit.events_pending or circuit.state is not State.CLOSED or circuit.limits.active):
            self._settled()

    def _through_the_loop(self, step: Step) -> Permit | Rejected:
        answer: Future[Permit | Rejected] = Future()
        with self._lock:
            if self._closed:
                raise self._gone()
            self._pending.add(answer)
        try:
            self._loop.call_soon_threadsafe(self._answer, answer, step)
        except RuntimeError as error:  # the loop was closed without leaving the guard
            raise self._gone() from error
        return answer.result()

    def _answer(self, answer: Future[Permit | Rejected], step: Step) -> None:
        with self._lock:
            if answer not in self._pending:
                return
            self._pending.remove(answer)
        try:
            answer.set_result(step(self.now()))
        except BaseException as error:  # noqa: BLE001 - whatever it is, a thread waits for it
            answer.set_exception(error)

    def _send(self, step: Callable[..., object], *args: object) -> None:
        with suppress(RuntimeError):  # the loop is closed, and the circuit is gone with it
            self._loop.call_soon_threadsafe(step, *args)

    def _gone(self) -> GuardClosed:
        return GuardClosed(f"{self.guard!r} was left while a thread called dependency {self.circuit.name!r}")


# How a dependency reaches its circuit now.
Access = OwnCircuit | GuardCircuit
