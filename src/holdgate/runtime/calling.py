"""The call forms: one call of a dependency, inside a handler or outside of any. guarded.py has the third form, `guarded`.

Theory of operation. A call is admitted or refused at its beginning (`begin`), and judged at its end. There are two kinds. Outside of
handlers a call has a permit of its own and settles that permit (`OwnCall`). Inside a handler a call notes its result for attribution to
read (`HandlerCall`). There a declared need uses the permit that the delivery holds, and an undeclared one takes and settles its own. The
circuit is that of the guard which runs the handler: it takes up a dependency that nobody has declared at the first call
(undeclared.py).

A call of a declared need that ends well leaves nothing but a duration. So it has no object while it runs: a token says that it does, and it
becomes a `HandlerCall` when it raises. What its admission has found out serves the further calls of the attempt (`HeldNeed`).

The end is always reported, by `returned`, `passed` or `raised`. None of them raises: a user's predicate that fails costs the verdict, not
the slot.

A call form deep inside a handler finds its delivery by `current_attempt`. A lane puts itself into that context variable once, when the lane
starts. Afterwards only the lane's delivery changes, because setting a context variable costs more than the guard may spend per message. A
handler's child tasks and its thread copy the context, and so share the lane.

What is ugly. A task that outlives its handler still has the lane. Its calls count as outside of any handler while the lane is idle, and
for the lane's next delivery afterwards.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from contextvars import ContextVar
from threading import get_ident
from types import CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, cast

from holdgate.core import Circuit, Outcome, Override, Permit, Rejected, State, Told
from holdgate.errors import CallNotPermitted, SettingsError
from holdgate.flow.attribution import AttemptCalls, CallSummary
from holdgate.flow.gate import gates_of
from holdgate.flow.message import Delivery
from holdgate.runtime.access import GuardCircuit
from holdgate.runtime.functions import answer_with, awaitable, no_coroutine
from holdgate.runtime.inner_waits import LONG
from holdgate.runtime.keyed_access import acquire_by_key, key_in_handler
from holdgate.runtime.slots import BRIEFLY

if TYPE_CHECKING:
    from holdgate.runtime.access import Access


class CalledDependency(Protocol):
    """What a call needs of its dependency. None of the methods raises."""

    access: Access
    looks_at_results: bool
    reads_good_answers: bool
    key: Callable[[Delivery[Any]], Hashable] | None

    @property
    def name(self) -> str: ...

    def classify(self, exception: BaseException) -> Outcome | None:
        """Return what an exception means for the dependency. None means no verdict."""
        ...

    def classify_result(self, result: object) -> Outcome | None:
        """Return what a result means for the dependency. None means no verdict."""
        ...

    def retry_after_of(self, exception: BaseException) -> float | None:
        """Return the seconds above 0 that the server asked to wait. None means that it did not ask."""
        ...

    def told_of(self, answer: object) -> Told | None:
        """Return what an exception or a result says of a limit. None means nothing."""
        ...


class Attempt(Protocol):
    """A lane, as call forms see it.

    `delivery` is None, or has no permits (not even an empty tuple), while no handler runs. `calls` is made by the first call form of a
    handler; the lane takes it away at the handler's end, so that the next one starts without.
    """

    delivery: Delivery[Any] | None
    calls: AttemptCalls | None

    def access_of(self, dependency: CalledDependency) -> Access:
        """Return how its guard reaches a dependency, which the guard takes up if it does not know it. From any thread."""
        ...


# None outside of handlers. Set once per lane.
current_attempt: ContextVar[Attempt | None] = ContextVar("holdgate_attempt", default=None)


def running_delivery(attempt: Attempt) -> Delivery[Any] | None:
    """Return the delivery whose handler runs and to which a call form belongs. None means that no handler runs."""
    delivery = attempt.delivery
    return None if delivery is None or delivery.permits is None else delivery


def access_here(dependency: CalledDependency) -> Access:
    """Return how a call that is made here reaches the circuit of a dependency."""
    attempt = current_attempt.get()
    if attempt is None or running_delivery(attempt) is None:
        return dependency.access
    return attempt.access_of(dependency)


def permit_for(delivery: Delivery[Any], circuit: Circuit) -> Permit | None:
    """Return the permit that a running delivery holds for a declared need. None means that it does not need this dependency."""
    permits: tuple[Permit, ...] = delivery.permits
    for gate, permit in zip(gates_of(delivery), permits, strict=False):
        if gate.circuit is circuit:
            return permit
    return None


# Names of the module: an enum's member costs more to look up than a step of a call.
_SUCCESS = Outcome.SUCCESS
_FAILURE = Outcome.FAILURE
_THROTTLED = Outcome.THROTTLED
_IGNORED = Outcome.IGNORED
_CLOSED = State.CLOSED


class Call(Protocol):
    """A call under way."""

    def returned(self, result: object) -> None:
        """Report that the call has returned. The dependency may have settings that look at the result."""
        ...

    def passed(self) -> None:
        """Report that the call ended well, without a result to look at."""
        ...

    def raised(self, exception: BaseException) -> None:
        """Report the exception in which the call ended, and which goes on to the caller."""
        ...


# What a further call of the same attempt has to know of a declared need, whose permit the delivery holds: into which summary it goes, the
# circuit and the generation of the permit, the clock, and the access.
HeldNeed = tuple[CallSummary, Circuit, int, Callable[[], float], "Access"]


def begin(dependency: CalledDependency, key: Hashable = None) -> Call | Rejected:
    """Admit one call, or refuse it. Reads the clock once. `key`: that of the call. None means that of the message in
    hand, if it has one."""
    attempt = current_attempt.get()
    call = _admit(dependency, attempt, key)
    if isinstance(call, tuple):
        calls = None if attempt is None else attempt.calls
        return HandlerCall(dependency, call[4], calls or AttemptCalls(), None)  # none any more: a thread whose handler ends meanwhile
    return call


def _admit(dependency: CalledDependency, attempt: Attempt | None, key: Hashable = None) -> HeldNeed | OwnCall | HandlerCall | Rejected:
    """Admit one call, or refuse it. A HeldNeed is for a call that needs no object of its own: nothing is noted of it yet."""
    access = dependency.access
    delivery = None if attempt is None else attempt.delivery
    if attempt is None or delivery is None or delivery.permits is None:  # as in `running_delivery`, whose call would cost as much as this
        permit = access.acquire() if key is None else acquire_by_key(dependency, access, key)
        return permit if isinstance(permit, Rejected) else OwnCall(dependency, access, permit)
    calls = attempt.calls
    if calls is None:
        calls = attempt.calls = AttemptCalls()
    held = permit_for(delivery, access.circuit)
    if held is None:  # not a need of this delivery, or the guard has another circuit for it
        access = attempt.access_of(dependency)
        held = permit_for(delivery, access.circuit)
    if dependency.key is not None or key is not None:
        key = key_in_handler(dependency, delivery, key, is_declared=held is not None)
    own = (access.acquire() if key is None else acquire_by_key(dependency, access, key)) if held is None else _refusal(access.circuit, held)
    if own is None and access.circuit.limits.active:
        return _begin_limited(dependency, access, calls, held)
    if isinstance(own, Rejected):
        if not own.is_limited:
            calls.refused[dependency.name] = None
        return own
    if own is not None or held is None or dependency.looks_at_results:
        return HandlerCall(dependency, access, calls, own)
    need: HeldNeed = calls.summary_of(dependency.name), access.circuit, held.generation, access.now, access
    calls.held[dependency] = need
    return need


def _begin_limited(dependency: CalledDependency, access: Access, calls: AttemptCalls, held: Permit | None) -> HandlerCall | Rejected:
    """Begin a call of a declared need whose limiter counts each call of the handler."""
    if held is None or not isinstance(access, GuardCircuit):
        return HandlerCall(dependency, access, calls, None)
    slot = access.take(lambda now: access.circuit.limits.slot(held, now, access.circuit.state))
    return slot if isinstance(slot, Rejected) else HandlerCall(dependency, access, calls, None, slot)


async def later_async(dependency: CalledDependency, refused: Rejected) -> Call | Rejected:
    """Wait for the slot of a call in a handler, if a limit alone has refused it. For async forms."""
    wait = _wait_for(dependency, refused)
    if wait is None:
        return refused
    return wait.over(await wait.access.slots.take(wait.step, within=wait.within))


def later_sync(dependency: CalledDependency, refused: Rejected) -> Call | Rejected:
    """Do the same for plain forms, in a handler's thread. On the event loop's thread nothing may wait, and the call is refused."""
    wait = _wait_for(dependency, refused)
    if wait is None:
        return refused
    if get_ident() == wait.access.thread:
        return wait.over(refused)
    return wait.over(wait.access.take_later_in_thread(wait.step, within=wait.within, is_over=wait.is_over))


def _wait_for(dependency: CalledDependency, refused: Rejected) -> _Wait | None:
    """Return how to wait, if a limit alone refuses a call in a handler of a guard. None means that there is nothing to wait for."""
    if not refused.is_limited:
        return None
    attempt = current_attempt.get()
    delivery = None if attempt is None else running_delivery(attempt)
    if attempt is None or delivery is None or attempt.calls is None:
        return None
    access = attempt.access_of(dependency)
    return _Wait(dependency, attempt, delivery, attempt.calls, access) if isinstance(access, GuardCircuit) else None


class _Wait:
    """A call in a handler that waits for a slot. One of a need waits for as long as it takes; the message holds its place meanwhile.

    Any other is refused if that takes long: then its message waits before its handler, because it needs the dependency from now on.
    """

    __slots__ = ("_attempt", "_calls", "_delivery", "_dependency", "_held", "access", "within")

    def __init__(
        self, dependency: CalledDependency, attempt: Attempt, delivery: Delivery[Any], calls: AttemptCalls, access: GuardCircuit
    ) -> None:
        self._dependency = dependency
        self._attempt = attempt
        self._delivery = delivery
        self._calls = calls
        self._held = permit_for(delivery, access.circuit)
        self.access = access
        self.within = BRIEFLY if self._held is None else None

    def step(self, now: float) -> Permit | Rejected:
        """Acquire what the call counts by."""
        circuit, held = self.access.circuit, self._held
        if held is None:
            return circuit.try_acquire(now)
        return _refusal(circuit, held) or circuit.limits.slot(held, now, circuit.state)

    def is_over(self) -> bool:
        """Return whether a thread waits in vain: its handler has no time left, or its message was taken away."""
        return self._calls.timed_out or self._attempt.delivery is not self._delivery

    def over(self, found: Permit | Rejected) -> Call | Rejected:
        """Begin the call, or note that it is refused after all."""
        if isinstance(found, Rejected):
            self._calls.refused[self._dependency.name] = None
            return found
        own, slot = (found, None) if self._held is None else (None, found)
        return HandlerCall(self._dependency, self.access, self._calls, own, slot)


def _refusal(circuit: Circuit, held: Permit) -> Rejected | None:
    """Refuse a call of a delivery that already runs, if the circuit has turned since. None means that the call is admitted.

    An earlier state of the circuit has admitted the delivery. Closed, or closed again, is fine. In any other state the dependency was found
    down since. A half-open circuit counts its calls, and this permit is not among them.
    """
    if held.generation == circuit.generation:
        return None
    override = circuit.override
    if override is Override.FORCED_OPEN:
        return Rejected(None, circuit.state, override)
    if override is not None or circuit.state is _CLOSED:
        return None
    return Rejected(circuit.next_deadline() if circuit.state is State.OPEN else None, circuit.state)


class OwnCall:
    """A call outside of handlers, with a permit of its own."""

    __slots__ = ("_access", "_dependency", "_permit")

    def __init__(self, dependency: CalledDependency, access: Access, permit: Permit) -> None:
        self._dependency = dependency
        self._access = access
        self._permit = permit

    def returned(self, result: object) -> None:
        dependency = self._dependency
        if not dependency.looks_at_results:
            self._access.succeeded(self._permit)
        else:
            outcome = dependency.classify_result(result)
            settle(self._access, self._permit, outcome, told=_said(dependency, outcome, result))

    def passed(self) -> None:
        self._access.succeeded(self._permit)

    def raised(self, exception: BaseException) -> None:
        outcome = self._dependency.classify(exception)
        if outcome is _FAILURE:
            self._access.note(exception)
        settle(self._access, self._permit, outcome, *_asked(self._dependency, outcome, exception))
        if outcome is _FAILURE:
            self._access.count_failure(exception)


class HandlerCall:
    """A call inside a handler. `permit` is the call's own, for an undeclared dependency. None means that the delivery holds one.

    `slot` is what the limiter of a declared need counts the call by. None means that nothing is limited.
    """

    __slots__ = ("_access", "_calls", "_dependency", "_permit", "_slot", "_started", "_summary")

    def __init__(
        self, dependency: CalledDependency, access: Access, calls: AttemptCalls, permit: Permit | None, slot: Permit | None = None
    ) -> None:
        self._slot = slot
        self._dependency = dependency
        self._access = access
        self._calls = calls
        self._permit = permit
        self._summary = calls.summary_of(dependency.name)
        self._started = self._summary.running[self] = access.now()

    def instead_of(self, token: object) -> None:
        """Take the place of a call that began at another time, and was noted by this token."""
        running = self._summary.running
        self._started = running[self] = running[token]
        del running[token]

    def returned(self, result: object) -> None:
        dependency = self._dependency
        if not dependency.looks_at_results:
            self._ended(_SUCCESS)
            return
        outcome = dependency.classify_result(result)
        if outcome is not _SUCCESS:
            self._summary.failed_result = outcome is not None
        self._ended(outcome, told=_said(dependency, outcome, result))

    def passed(self) -> None:
        self._ended(_SUCCESS)

    def raised(self, exception: BaseException) -> None:
        if not isinstance(exception, Exception):
            self._cut()
            return
        outcome = self._dependency.classify(exception)
        if outcome is not _IGNORED:
            self._calls.excused.append(exception)
        if outcome is _FAILURE and self._permit is not None:  # of a declared need the attempt's end tells, and settles
            self._access.note(exception)
        self._ended(outcome, *_asked(self._dependency, outcome, exception))

    def _ended(self, outcome: Outcome | None, retry_after: float | None = None, told: Told | None = None) -> None:
        duration = self._over()
        if outcome is not None:
            self._summary.ended(outcome, duration, retry_after, told)
        if duration > LONG and outcome is _SUCCESS:
            self._access.took_long(duration)
        if self._permit is not None:
            settle(self._access, self._permit, outcome, retry_after, told)
        elif self._slot is not None:
            self._free_slot(outcome, told)

    def _free_slot(self, outcome: Outcome | None, told: Told | None = None) -> None:
        if self._slot is not None and isinstance(self._access, GuardCircuit):
            self._access.slot_ended(self._slot, outcome, told)

    def _cut(self) -> None:
        """End a cancelled call without a verdict. If the guard's own timeout has cancelled it, the call took too long, and stays under way
        for attribution."""
        timed_out = self._calls.timed_out
        if not timed_out:
            self._summary.cut(self._over())
        if self._permit is not None:
            settle(self._access, self._permit, _FAILURE if timed_out else None)
        else:
            self._free_slot(_FAILURE if timed_out else None)

    def _over(self) -> float:
        # The record of calls may keep the exception, which keeps its frames, and a frame keeps this call. Without this, each failure would
        # be a circle that waits for the garbage collector.
        del self._calls
        del self._summary.running[self]
        return self._access.now() - self._started


def _raised(dependency: CalledDependency, attempt: Attempt | None, need: HeldNeed, token: object, exception: BaseException) -> None:
    """Report the exception of a call that had no object of its own. If its attempt is over, nobody wants to know."""
    summary, access = need[0], need[4]
    calls = None if attempt is None else attempt.calls
    if calls is None or calls.summaries.get(dependency.name) is not summary:
        del summary.running[token]
        return
    call = HandlerCall(dependency, access, calls, None)
    call.instead_of(token)
    call.raised(exception)


def settle(access: Access, permit: Permit, outcome: Outcome | None, retry_after: float | None = None, told: Told | None = None) -> None:
    """Record the outcome, or give the permit back. None means that there is no outcome."""
    if outcome is None:
        access.release(permit)
    else:
        access.record(permit, outcome, retry_after, told)


def _asked(dependency: CalledDependency, outcome: Outcome | None, exception: BaseException) -> tuple[float | None, Told | None]:
    """Return how long a failed call's server asks to wait, and what a throttled one says of its limit."""
    if outcome is _FAILURE:
        return dependency.retry_after_of(exception), None
    return None, dependency.told_of(exception) if outcome is _THROTTLED else None


def _said(dependency: CalledDependency, outcome: Outcome | None, result: object) -> Told | None:
    """Return what a result says of its limit: a throttled one, and a good one if the dependency was given a way to read it."""
    if outcome is _THROTTLED or (outcome is _SUCCESS and dependency.reads_good_answers):
        return dependency.told_of(result)
    return None


T = TypeVar("T")


async def run_async(
    dependency: CalledDependency, fn: Callable[..., Awaitable[T]], args: Any, kwargs: Any, fallback: Any, *, key: Hashable = None
) -> T:
    """Call an async function. When the call is refused, answer with the fallback, which may be async too."""
    attempt = current_attempt.get()
    calls = None if attempt is None else attempt.calls
    call = None if calls is None else calls.held.get(dependency)
    calls = None  # it may come to keep the exception, which keeps this frame
    if call is None or call[1].generation != call[2]:
        call = _admit(dependency, attempt, key)
        if not isinstance(call, tuple):
            return await _run_async(dependency, call, fn, args, kwargs, fallback=fallback)
    summary, _, _, now, _ = call
    token = object()
    summary.running[token] = started = now()
    try:
        result = await awaitable(fn, fn(*args, **kwargs))
    except BaseException as error:
        _raised(dependency, attempt, call, token, error)
        raise
    del summary.running[token]
    took = now() - started
    if summary.outcome is not _SUCCESS or took > summary.slowest:
        summary.ended(_SUCCESS, took)
        if took > LONG:
            access_here(dependency).took_long(took)
    return result


async def _run_async(
    dependency: CalledDependency, call: Call | Rejected, fn: Callable[..., Awaitable[T]], args: Any, kwargs: Any, *, fallback: Any
) -> T:
    if isinstance(call, Rejected):
        call = await later_async(dependency, call)
    if isinstance(call, Rejected):
        return cast("T", await answer_with(refuse(dependency, call, fallback)))
    try:
        result = await awaitable(fn, fn(*args, **kwargs))
    except BaseException as error:
        call.raised(error)
        raise
    call.returned(result)
    return result


def run_sync(dependency: CalledDependency, fn: Callable[..., T], args: Any, kwargs: Any, fallback: Any, *, key: Hashable = None) -> T:
    """Call a plain function. When the call is refused, answer with the fallback."""
    attempt = current_attempt.get()
    calls = None if attempt is None else attempt.calls
    call = None if calls is None else calls.held.get(dependency)
    calls = None  # it may come to keep the exception, which keeps this frame
    if call is None or call[1].generation != call[2]:
        call = _admit(dependency, attempt, key)
        if not isinstance(call, tuple):
            return _run_sync(dependency, call, fn, args, kwargs, fallback=fallback)
    summary, _, _, now, _ = call
    token = object()
    summary.running[token] = started = now()
    try:
        result = fn(*args, **kwargs)
        if result.__class__ is CoroutineType:
            no_coroutine(fn, result)
    except BaseException as error:
        _raised(dependency, attempt, call, token, error)
        raise
    del summary.running[token]
    took = now() - started
    if summary.outcome is not _SUCCESS or took > summary.slowest:
        summary.ended(_SUCCESS, took)
        if took > LONG:
            access_here(dependency).took_long(took)
    return result


def _run_sync(dependency: CalledDependency, call: Call | Rejected, fn: Callable[..., T], args: Any, kwargs: Any, *, fallback: Any) -> T:
    if isinstance(call, Rejected):
        call = later_sync(dependency, call)
    if isinstance(call, Rejected):
        return cast("T", refuse(dependency, call, fallback))
    try:
        result = fn(*args, **kwargs)
        if result.__class__ is CoroutineType:
            no_coroutine(fn, result)
    except BaseException as error:
        call.raised(error)
        raise
    call.returned(result)
    return result


class Calling:
    """One call as a block, for `with` and `async with`. Made by `Dependency.calling`, and used by one call at a time."""

    __slots__ = ("_call", "_dependency", "_key")

    def __init__(self, dependency: CalledDependency, key: Hashable = None) -> None:
        self._dependency = dependency
        self._key = key
        self._call: Call | None = None

    def __enter__(self) -> Self:
        call = self._begin()
        return self._entered(later_sync(self._dependency, call) if isinstance(call, Rejected) else call)

    def _begin(self) -> Call | Rejected:
        if self._call is not None:
            raise SettingsError("this block is entered already; each call needs a `calling()` of its own")
        return begin(self._dependency, self._key)

    def _entered(self, call: Call | Rejected) -> Self:
        if isinstance(call, Rejected):
            raise CallNotPermitted(self._dependency.name, call.retry_at)
        self._call = call
        return self

    def __exit__(self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None) -> None:
        call, self._call = self._call, None
        if call is None:
            return
        if error is None:
            call.passed()
        else:
            call.raised(error)

    async def __aenter__(self) -> Self:
        call = self._begin()
        return self._entered(await later_async(self._dependency, call) if isinstance(call, Rejected) else call)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.__exit__(kind, error, traceback)


def refuse(dependency: CalledDependency, rejected: Rejected, fallback: Any) -> Any:
    """Raise CallNotPermitted, or return what the fallback gives for it."""
    # A fresh exception each time: a shared one would grow its traceback for ever.
    if fallback is None:
        raise CallNotPermitted(dependency.name, rejected.retry_at)
    return fallback(CallNotPermitted(dependency.name, rejected.retry_at))
