"""When a dependency is down, how it fails meanwhile, and the stand-in that fails so: `ScriptedDependency`.

Theory of operation. A rehearsal plays `Outage`s. What the handler calls in a test is no real service but a stand-in, which asks the
rehearsal at each call whether its dependency is down, and then fails as the real thing would: `ScriptedDependency` for a fake of one's own,
and under `holdgate.testing.scripted` a stand-in for each real client. They find the rehearsal by the Dependency, which belongs to one guard
at a time. So a client is made once, and each rehearsal brings its outages. Outside of a rehearsal a stand-in is always up, unless a drill
(drills.py) brings it an outage.

What an attempt of the handler met is noted in `current_attempt_log`, a context variable: the handler's child tasks and its thread carry it
along. What a thread of one's own calls meets the outage as well, but nobody knows for which message.

A call that hangs passes virtual time until its client would give up. In a coroutine that is a sleep. A plain call waits in its thread, and
the loop lets time pass for it (`VirtualEventLoop.wait_in_thread`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeAlias, cast
from weakref import WeakKeyDictionary

from holdgate.errors import SettingsError
from holdgate.runtime.dependency import Dependency
from holdgate.testing.clock import VirtualEventLoop

# -- how it fails ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Refused:
    """Nobody listens: every connection is refused immediately."""


@dataclass(frozen=True, slots=True)
class Hung:
    """The request is taken, and nothing comes back: a call ends by the time limit of its client.

    A call without a limit hangs until the outage is over. Then its connection is reset, as by a server that was started anew.
    """


@dataclass(frozen=True, slots=True)
class Dropped:
    """The request is taken, and the connection ends before the answer."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The service is there, and answers that it cannot do it now.

    - `status`: an HTTP status from 400. What other protocols answer is close to it: 429 means too much for now, everything else means
      unavailable.
    - `retry_after`: seconds that the service asks to wait, from 0. None means that it does not ask.

    Raises SettingsError.
    """

    status: int = 503  # what a load balancer says when nobody is behind it
    retry_after: float | None = None

    def __post_init__(self) -> None:
        if self.status < _FIRST_ERROR or (self.retry_after is not None and not self.retry_after >= 0):
            raise SettingsError(f"Answered must have status >= 400 and retry_after >= 0, got {self.status} and {self.retry_after}")

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the answer."""
        return {} if self.retry_after is None else {"Retry-After": f"{self.retry_after:.0f}"}


_FIRST_ERROR = 400
TOO_MUCH = 429

Fault: TypeAlias = Refused | Hung | Dropped | Answered | Exception


class ErrorAnswer(Exception):
    """What a ScriptedDependency raises for `Answered`: a client's error with a `status` and `headers`, as `holdgate.http` reads them."""

    def __init__(self, answered: Answered) -> None:
        super().__init__(f"HTTP {answered.status}")
        self.status = answered.status
        self.headers = answered.headers


# -- when it is down ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which a dependency is down.

    - `start`: when it begins, in seconds from the first delivery, from 0.
    - `end`: when it is over, in seconds from the first delivery, above `start`. A call at `end` succeeds.
    - `dependency`: the one that is down. None means the only one that the rehearsal has.
    - `fault`: how calls fail meanwhile: `Refused()`, `Hung()`, `Dropped()`, `Answered(503)`, or an exception that every call raises.

    Raises SettingsError unless 0 <= start < end, and for a fault that is none of these.
    """

    start: float
    end: float
    dependency: Dependency | None = None
    fault: Fault = field(default_factory=Refused)  # what a crash and a deployment look like to callers

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise SettingsError(f"an outage must have 0 <= start < end, got start={self.start} and end={self.end}")
        if not isinstance(cast("object", self.fault), Refused | Hung | Dropped | Answered | Exception):
            raise SettingsError(
                f"Outage(fault=...) must be Refused(), Hung(), Dropped(), Answered(503) or an exception, got {self.fault!r}: "
                "give an object, and not its class"
            )


class Script:
    """The outages of one dependency in one rehearsal, which begins now on `loop`."""

    def __init__(self, outages: Sequence[Outage], loop: VirtualEventLoop) -> None:
        self.wait_in_thread = loop.wait_in_thread
        self.met = 0  # calls that met an outage; for people, so one that is lost between two threads does no harm
        self._outages = outages
        self._loop = loop
        self._start = loop.time()

    def seconds(self) -> float:
        """Return the virtual seconds since the rehearsal began. May be called in any thread."""
        return self._loop.time() - self._start

    def now(self) -> Outage | None:
        """Return the outage that lasts now."""
        second = self.seconds()
        return next((outage for outage in self._outages if outage.start <= second < outage.end), None)


# By the object and not by its name: two tests may have a "payments" each, and one Dependency is used by one guard at a time.
_scripts: WeakKeyDictionary[Dependency, Script] = WeakKeyDictionary()


@contextmanager
def playing(scripts: dict[Dependency, Script]) -> Generator[None, None, None]:
    """Play these scripts to all stand-ins of their dependencies. Raises SettingsError while another rehearsal plays one of them."""
    busy = sorted(each.name for each in scripts if each in _scripts)
    if busy:
        raise SettingsError(f"another rehearsal of {', '.join(busy)} is running: let each rehearsal have Dependencies of its own")
    _scripts.update(scripts)
    try:
        yield
    finally:
        for each in scripts:
            del _scripts[each]


# Looks for the script of a dependency that no rehearsal plays.
Finder = Callable[[Dependency], Script | None]
_finders: list[Finder] = []


@contextmanager
def found_by(find: Finder) -> Generator[None, None, None]:
    """Let stand-ins outside of rehearsals ask `find` whether they have outages."""
    _finders.append(find)
    try:
        yield
    finally:
        _finders.remove(find)


def _script_of(dependency: Dependency) -> Script | None:
    script = _scripts.get(dependency)
    return next(filter(None, (find(dependency) for find in _finders)), None) if script is None else script


# -- what calls meet ------------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Calls:
    """The calls of one dependency in one attempt of a handler, or in all. `outlasted` counts those
    that hung without a time limit, until the outage was over."""

    made: int = 0
    failed: int = 0
    has_failed_last: bool = False
    outlasted: int = 0


class AttemptLog:
    """What the calls of one attempt of a handler met, by dependency."""

    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls: dict[Dependency, Calls] = {}

    def note(self, dependency: Dependency, *, failed: bool) -> Calls:
        """Note a call, and return the calls of its dependency."""
        calls = self.calls.setdefault(dependency, Calls())
        calls.made += 1
        calls.failed += failed
        calls.has_failed_last = failed
        return calls


current_attempt_log: ContextVar[AttemptLog | None] = ContextVar("holdgate_rehearsed_attempt", default=None)


# Who has waited for an answer for so many seconds has no time limit, or none worth the name.
_TELLING = 30.0


class Met:
    """An outage that a call has met."""

    __slots__ = ("_calls", "_outage", "_script")

    def __init__(self, outage: Outage, script: Script, calls: Calls) -> None:
        self._outage = outage
        self._script = script
        self._calls = calls

    @property
    def fault(self) -> Fault:
        """How the call fails."""
        return self._outage.fault

    async def hang(self, timeout: float | None) -> bool:
        """Wait as a call does that gets no answer.

        Returns True after `timeout` seconds, and False if the outage is over before: then the connection is reset. `timeout` None means
        no limit.
        """
        seconds, times_out = self._patience(timeout)
        await asyncio.sleep(seconds)
        return times_out

    def hang_in_thread(self, timeout: float | None) -> bool:
        """Block the calling thread so, and return the same."""
        seconds, times_out = self._patience(timeout)
        self._script.wait_in_thread(seconds)
        return times_out

    async def outlast(self, is_awaited: Callable[[], bool]) -> None:
        """Wait until the outage is over, as the far end of a call that hangs: its client waits by itself, as long as `is_awaited`."""
        seconds = self._left()
        await asyncio.sleep(seconds)
        # A probe is in flight at the end of many an outage. One that was sent just before would have been given up a little later.
        if is_awaited() and seconds >= min(_TELLING, (self._outage.end - self._outage.start) / 2):
            self._calls.outlasted += 1

    def succeeds_late(self) -> None:
        """Note that the call succeeds after all: it has hung only for its connection, which it gets now that the outage is over."""
        self._calls.has_failed_last = False

    def _patience(self, timeout: float | None) -> tuple[float, bool]:
        left = self._left()
        if timeout is not None and timeout <= left:
            return timeout, True
        if timeout is None:
            self._calls.outlasted += 1
        return left, False

    def _left(self) -> float:
        return max(0.0, self._outage.end - self._script.seconds())


class ScriptedDependency:
    """A stand-in for a dependency, which is down in the outages of a rehearsal. For a fake of your own; real clients have stand-ins in
    `holdgate.testing.scripted`.

        bank = ScriptedDependency(payments)

        async def post(order):  # the fake
            await bank.call(timeout=5)
            posted.append(order)

    - `dependency`: the Dependency that the rehearsal has in `needs`.

    May be used in any thread and loop. Outside of a rehearsal it is always up, unless pytest was given `--outage` with its name.
    Raises SettingsError for anything but a Dependency.
    """

    def __init__(self, dependency: Dependency) -> None:
        if not isinstance(cast("object", dependency), Dependency):
            raise SettingsError(f"a scripted stand-in takes a Dependency, got {dependency!r}: pass the one that is in needs")
        self.dependency = dependency

    def is_down(self) -> bool:
        """Return whether an outage lasts now. This counts as no call: use it in a fake that fails in a way of its own, beside `meet`."""
        script = _script_of(self.dependency)
        return script is not None and script.now() is not None

    def meet(self) -> Met | None:
        """Count one call, and return the outage that it meets. None means that the dependency is up."""
        script = _script_of(self.dependency)
        if script is None:
            return None
        outage = script.now()
        script.met += outage is not None
        log = current_attempt_log.get()
        calls = (AttemptLog() if log is None else log).note(self.dependency, failed=outage is not None)
        return None if outage is None else Met(outage, script, calls)

    async def call(self, timeout: float | None = None) -> None:
        """Return, or fail as the outage says. One call of a fake.

        - `timeout`: seconds after which your client would give up on a service that hangs. None means never.

        Raises ConnectionRefusedError, ConnectionResetError, TimeoutError, ErrorAnswer, or the exception of the outage.
        """
        met = self.meet()
        if met is not None:
            raise _error(met.fault, times_out=isinstance(met.fault, Hung) and await met.hang(timeout))

    def call_sync(self, timeout: float | None = None) -> None:
        """Do the same in a plain handler: the call waits in the handler's thread, on virtual time."""
        met = self.meet()
        if met is not None:
            raise _error(met.fault, times_out=isinstance(met.fault, Hung) and met.hang_in_thread(timeout))


def _error(fault: Fault, *, times_out: bool) -> Exception:
    if isinstance(fault, Exception):
        return raisable(fault)
    if isinstance(fault, Answered):
        return ErrorAnswer(fault)
    if isinstance(fault, Refused):
        return refusal()
    return TimeoutError("timed out") if times_out else reset()


def raisable(fault: Exception) -> Exception:
    """Return the exception of an outage, which is the same object each time, without its old traceback: that would grow with every call."""
    return fault.with_traceback(None)


def refusal() -> ConnectionRefusedError:
    """Return what a connection to a closed port raises."""
    return ConnectionRefusedError(111, "Connection refused")


def reset() -> ConnectionResetError:
    """Return what reading from a connection that was reset raises."""
    return ConnectionResetError(104, "Connection reset by peer")
