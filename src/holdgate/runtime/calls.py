"""One call of a dependency: admitted or refused at its beginning, judged at its end, whatever form it has.

Two kinds. Outside of handlers a call has a permit of its own and settles it. Inside a handler it writes into the attempt's tally, for
attribution to read; there a declared need uses the permit that the delivery holds, and an undeclared one still takes and settles its own.

The end is always reported, by `returned` or `raised`, and neither raises: a user's predicate that fails costs the verdict, not the slot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from holdgate.core import Circuit, Outcome, Override, Permit, Rejected, State
from holdgate.flow.tally import Tally
from holdgate.runtime.attempt import current_attempt, permit_for, running_delivery

if TYPE_CHECKING:
    from holdgate.runtime.binding import Access
    from holdgate.runtime.dependency import Dependency


# Names of the module: an enum's member costs more to look up than a step of a call.
_SUCCESS = Outcome.SUCCESS
_FAILURE = Outcome.FAILURE
_IGNORED = Outcome.IGNORED
_CLOSED = State.CLOSED


class Call(Protocol):
    """A call under way."""

    def returned(self, result: object) -> None:
        """It ended well, unless `result_failures` says otherwise."""
        ...

    def passed(self) -> None:
        """It ended well, and there is no result to look at."""
        ...

    def raised(self, exception: BaseException) -> None:
        """It ended in this exception, which goes on to the caller."""
        ...


def begin(dependency: Dependency) -> Call | Rejected:
    """Admit one call, or refuse it. Reads the clock once."""
    access = dependency.access
    attempt = current_attempt.get()
    delivery = None if attempt is None else running_delivery(attempt)
    if attempt is None or delivery is None:
        permit = access.acquire()
        return permit if isinstance(permit, Rejected) else OwnCall(dependency, access, permit)
    tally = attempt.tally
    if tally is None:
        tally = attempt.tally = Tally()
    held = permit_for(delivery, access.circuit)
    own = access.acquire() if held is None else _refusal(access.circuit, held)
    if isinstance(own, Rejected):
        tally.refused[dependency.name] = None
        return own
    return HandlerCall(dependency, access, tally, own)


def _refusal(circuit: Circuit, held: Permit) -> Rejected | None:
    """Whether a delivery that already runs may go on calling; None: it may.

    It was admitted by an earlier state of the circuit. Closed or closed again is fine. Anything else has found the dependency down since,
    and a half-open one counts its calls: this permit is not among them.
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

    def __init__(self, dependency: Dependency, access: Access, permit: Permit) -> None:
        self._dependency = dependency
        self._access = access
        self._permit = permit

    def returned(self, result: object) -> None:
        if self._dependency.result_failures is None:
            self._access.succeeded(self._permit)
        else:
            settle(self._access, self._permit, self._dependency.classify_result(result))

    def passed(self) -> None:
        self._access.succeeded(self._permit)

    def raised(self, exception: BaseException) -> None:
        outcome = self._dependency.classify(exception)
        settle(self._access, self._permit, outcome, _retry_after(self._dependency, outcome, exception))


class HandlerCall:
    """A call inside a handler. `permit` is its own, for a dependency that `needs` does not name; None when the delivery holds one."""

    __slots__ = ("_access", "_dependency", "_permit", "_started", "_tally", "_touch")

    def __init__(self, dependency: Dependency, access: Access, tally: Tally, permit: Permit | None) -> None:
        self._dependency = dependency
        self._access = access
        self._tally = tally
        self._permit = permit
        self._touch = tally.touch(dependency.name)
        self._started = self._touch.running[self] = access.now()

    def returned(self, result: object) -> None:
        outcome = _SUCCESS if self._dependency.result_failures is None else self._dependency.classify_result(result)
        if outcome is _FAILURE:
            self._touch.failed_result = True
        self._ended(outcome, None)

    def passed(self) -> None:
        self._ended(_SUCCESS, None)

    def raised(self, exception: BaseException) -> None:
        if not isinstance(exception, Exception):
            self._cut()
            return
        outcome = self._dependency.classify(exception)
        if outcome is not _IGNORED:
            self._tally.excused.append(exception)
        self._ended(outcome, _retry_after(self._dependency, outcome, exception))

    def _ended(self, outcome: Outcome | None, retry_after: float | None) -> None:
        duration = self._over()
        if outcome is not None:
            self._touch.ended(outcome, duration, retry_after)
        if self._permit is not None:
            settle(self._access, self._permit, outcome, retry_after)

    def _cut(self) -> None:
        """Cancelled: no verdict. Unless the guard's own timeout did it: then the call is what took too long, and stays under way."""
        timed_out = self._tally.timed_out
        if not timed_out:
            self._touch.cut(self._over())
        if self._permit is not None:
            settle(self._access, self._permit, _FAILURE if timed_out else None)

    def _over(self) -> float:
        # The tally may keep the exception, that its frames, and a frame this call: let go, or each failure waits for the collector.
        del self._tally
        del self._touch.running[self]
        return self._access.now() - self._started


def settle(access: Access, permit: Permit, outcome: Outcome | None, retry_after: float | None = None) -> None:
    """Record the outcome, or give the permit back when there is none."""
    if outcome is None:
        access.release(permit)
    else:
        access.record(permit, outcome, retry_after)


def _retry_after(dependency: Dependency, outcome: Outcome | None, exception: BaseException) -> float | None:
    return dependency.retry_after_of(exception) if outcome is _FAILURE else None
