"""A dependency: something downstream that can be down, with the rule for its failures and the forms in which it is called.

A module creates a Dependency once. Inside a guard the Dependency uses the guard's circuit of its name. Outside of any guard it is a plain
breaker with a circuit of its own.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Awaitable, Callable, Hashable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, Never, ParamSpec, Protocol, TypeVar, TypeVarTuple, cast, overload

from holdgate.core import Circuit, CircuitSettings, Outcome, Told, validation
from holdgate.core.causes import chain_of
from holdgate.core.keys import MAX_KEYS
from holdgate.core.limits import Limits
from holdgate.core.outcomes import Classifier, Matcher
from holdgate.errors import CallNotPermitted, SettingsError
from holdgate.runtime.access import Access, GuardCircuit, OwnCircuit
from holdgate.runtime.calling import Calling, access_here, current_attempt, run_async, run_sync
from holdgate.runtime.clock import SystemClock
from holdgate.runtime.functions import check_fallback, check_function, is_async, no_keywords
from holdgate.runtime.guarded import caller_async, caller_sync, guard_function
from holdgate.slips import suggest_keywords
from holdgate.told import believable

if TYPE_CHECKING:
    from datetime import timedelta

    from holdgate.flow.message import Delivery

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_log = logging.getLogger("holdgate")

# What fits into a metric's label, a URL, a settings file and a command line without quoting.
_NAME = re.compile(r"\w[\w.:-]{0,99}")


class Guarded(Protocol):
    """`Dependency.guarded(fallback=...)`: wraps a function and keeps its signature."""

    def __call__(self, fn: Callable[P, R], /) -> Callable[P, R]: ...


class Dependency:
    """Something downstream that can be down: a payment API, a database, a mail relay. Used by one guard at a time.

    - `name`: the label in logs, events and metrics: up to 100 letters, digits and `_ . : -`, beginning with a letter or digit.
    - `failures`: which exceptions are failures of the dependency: a type, a tuple of types, or a predicate. It is applied to the exception
      and to all that the exception stands for: causes (`raise ... from`), members of groups, and last what was being handled meanwhile.
      None means every exception but errors of the program (KeyError, TypeError, ValueError and their like), which are the message's or
      the code's. `Exception` takes those as well.
    - `excluded`: which exceptions are the message's own fault, in the same forms and applied likewise. It wins over `failures`.
    - `throttled`: which exceptions say that it has too many calls for now, in the same forms and applied likewise. They are no failures and
      no attempts: the message waits. It wins over `failures`. None means what the known clients raise for that (a 429, RESOURCE_EXHAUSTED,
      too many connections, a full pool), as far as it would be a failure. () means none.
    - `result_failures`: gets what a call returned; true means that the call has failed. None means that a return is a success.
    - `result_throttled`: gets what a call returned; true means that it was throttled. None means as for `throttled`, among the results that
      `result_failures` takes for failures.
    - `told`: gets a throttled exception, or what a call returned, and gives what it says of the limit (`Told`), or None. None means that of
      the throttled answers of the known clients, and of no good one. `http.told` reads good ones as well.
    - `retry_after`: gets an exception and returns the seconds that the server asked to wait, or None. None means that no server asks.
    - `probe`: async or plain, finds out whether the dependency is well again, in place of the first message after an outage. No means that
      it raises, returns False, or takes longer than `probe_timeout`. A yes begins the ramp and never closes the circuit. Only a guard runs
      probes. None means that messages find out.
    - `probe_timeout`: seconds above 0, or a timedelta, that a probe may take.
    - `settings`: when its circuit opens, and how it comes back.
    - `limits`: how many calls it takes. None means that nothing limits them until it answers "not so fast"; then its limit is found out.
    - `key`: gets a delivery and gives what its limits and its circuit are kept by beside those of the whole (a tenant, an API key, a host):
      a str or bytes of up to 200, an int or a UUID, or None for a message that has none. `limits` are those of each key then. It makes no
      call, and is asked once for each message when that comes in. None means one limit and one circuit for all.
    - `max_keys`: how many keys are remembered, from 1. With more, the one goes that was used longest ago and that no message waits for.

    A predicate that raises costs the verdict of that call, and is logged. Raises SettingsError.
    """

    __slots__ = (
        "__weakref__",
        "_caller_async",
        "_caller_sync",
        "_classifier",
        "_lock",
        "_result_failures",
        "_result_throttled",
        "_retry_after",
        "_throttled",
        "_told",
        "access",
        "key",
        "limits",
        "looks_at_results",
        "max_keys",
        "name",
        "probe",
        "probe_timeout",
        "reads_good_answers",
        "settings",
    )

    @suggest_keywords
    def __init__(
        self,
        name: str,
        *,
        failures: Matcher | None = None,  # all but what shows a bug: an outage that is taken for the message's fault loses messages
        excluded: Matcher = (),
        throttled: Matcher | None = None,  # a circuit that opens for a limit sleeps for minutes what heals in a second
        result_failures: Callable[[Any], bool] | None = None,
        result_throttled: Callable[[Any], bool] | None = None,
        told: Callable[[Any], Told | None] | None = None,
        retry_after: Callable[[Exception], float | None] | None = None,
        probe: Callable[[], object] | None = None,
        probe_timeout: float | timedelta = 5.0,  # what a user would wait for: a dependency that answers later is not well
        settings: CircuitSettings = CircuitSettings(),  # noqa: B008 - frozen; its own defaults have their reasons beside them
        limits: Limits | None = None,  # nobody pays for a limit that never shows
        key: Callable[[Delivery[Any]], Hashable] | None = None,  # one limit and one circuit: only the user knows whether there are tenants
        max_keys: int = MAX_KEYS,  # less than 100 MB, and more tenants than one worker has in trouble at a time
    ) -> None:
        self.name = check_name(name)
        self._classifier = Classifier(failures, excluded, throttled, _presumed_throttled)
        self._throttled = _never if throttled is not None else _presumed_throttled
        self._result_failures = _plain("result_failures", result_failures)
        self._result_throttled = _plain("result_throttled", result_throttled)
        self._told = _plain("told", told)
        self.reads_good_answers = told is not None
        # Each call of a dependency with keys goes the long way, too: only there keys are asked.
        self.looks_at_results = not (result_failures is None and result_throttled is None and told is None and key is None)
        self._retry_after = _plain("retry_after", retry_after)
        self.probe = _callable("probe", probe)
        self.probe_timeout = validation.seconds("probe_timeout", probe_timeout)
        if not isinstance(cast("object", settings), CircuitSettings):
            raise SettingsError(f"settings must be a CircuitSettings, got {settings!r}")
        self.settings = settings
        self.limits = check_limits(limits)
        self.key = _plain("key", key)
        self.max_keys = validation.count("max_keys", max_keys)
        if key is None and max_keys != MAX_KEYS:
            raise SettingsError(f"max_keys={max_keys} with key=None bounds nothing: give key=, or leave max_keys out")
        self.access: Access = self._alone()  # how calls reach the circuit now; a slot and not a property, because every call reads it
        self._caller_sync: Callable[..., Any] | None = None  # both are made at the first call
        self._caller_async: Callable[..., Awaitable[Any]] | None = None
        self._lock = threading.Lock()  # for bind and unbind; calls do not take it

    def __repr__(self) -> str:
        return f"Dependency({self.name!r})"

    # -- calling it -------------------------------------------------------------------------------------------------------------------

    async def call(
        self,
        fn: Callable[[*Ts], Awaitable[T]],
        *args: *Ts,
        fallback: Callable[[CallNotPermitted], T | Awaitable[T]] | None = None,
        key: Hashable = None,
        **keywords: Never,
    ) -> T:
        """Await `fn(*args)` as a call of this dependency.

        - `fn`: an async function, never a coroutine that was made already.
        - `args`: what it is called with. Use `functools.partial` for keywords.
        - `fallback`: gets the CallNotPermitted of a refused call, plain or async, and gives the result. None means that CallNotPermitted is
          raised. A failure is raised as it is, with or without a fallback.
        - `key`: that of this call, for a dependency with keys. None means that of the message in hand; outside of handlers it means none,
          and the call is one of the whole alone.

        A call that is cancelled gives no verdict, so put a time limit inside of `fn`.
        """
        check_function(fn, "call")
        if keywords:
            raise SettingsError(no_keywords(fn, "call", keywords))
        if fallback is None and key is None and not self.looks_at_results and current_attempt.get() is None:
            if self._caller_async is None:
                self._caller_async = caller_async(self)
            return cast("T", await self._caller_async(fn, *args))
        return await run_async(self, fn, args, keywords, fallback, key=key)

    def call_sync(
        self,
        fn: Callable[[*Ts], T],
        *args: *Ts,
        fallback: Callable[[CallNotPermitted], T] | None = None,
        key: Hashable = None,
        **keywords: Never,
    ) -> T:
        """Call the plain function `fn(*args)` as a call of this dependency, from any thread.

        - `fn`: a plain function. It runs where it is called: on an event loop's thread it blocks that loop.
        - `args`: what it is called with. Use `functools.partial` for keywords.
        - `fallback`: gets the CallNotPermitted of a refused call, and gives the result; plain. None means that CallNotPermitted is raised.
        - `key`: as for `call`.
        """
        check_function(fn, "call_sync")
        if fallback is not None:
            check_fallback(fallback)
        if keywords:
            raise SettingsError(no_keywords(fn, "call_sync", keywords))
        if fallback is None and key is None and not self.looks_at_results and current_attempt.get() is None:
            if self._caller_sync is None:
                self._caller_sync = caller_sync(self)
            return cast("T", self._caller_sync(fn, *args))
        return run_sync(self, fn, args, keywords, fallback, key=key)

    def calling(self, *, key: Hashable = None) -> Calling:
        """Return a block that is one call, for `with` and `async with`. Entering it raises CallNotPermitted when refused. `key` as for
        `call`."""
        return Calling(self, key)

    @overload
    def guarded(self, fn: Callable[P, R], /) -> Callable[P, R]: ...

    @overload
    def guarded(self, /, *, fallback: Callable[[CallNotPermitted], Any] | None = None) -> Guarded: ...

    def guarded(self, fn: Any = None, /, *, fallback: Callable[[CallNotPermitted], Any] | None = None) -> Any:
        """Decorate a function so that each call of it is a call of this dependency; async stays async, plain stays plain.

        - `fn`: the function. Generators are refused: their work happens after the call has returned. Left out, a decorator is returned, as
          in `@dependency.guarded(fallback=...)`.
        - `fallback`: as for `call`; plain for a plain function. None means that CallNotPermitted is raised.
        """
        if fn is not None:
            return guard_function(self, fn, fallback)

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            return guard_function(self, function, fallback)

        return decorate

    # -- judging its calls ------------------------------------------------------------------------------------------------------------

    def classify(self, exception: BaseException) -> Outcome | None:
        """Return the outcome of an exception, FAILURE, THROTTLED or IGNORED. Never raises.

        None means that the exception is never an outcome (cancellation, holdgate's own errors), or that one of the settings raised.
        """
        try:
            return self._classifier.classify(exception)
        except Exception as broken:  # noqa: BLE001 - a user's predicate may raise anything
            self._report("failures, excluded or throttled", broken, exception)
            return None

    def excludes(self, exception: BaseException) -> bool:
        """Return whether `excluded` makes an exception the message's own fault. Never raises: `classify` reports one that does."""
        try:
            return self._classifier.excludes(exception)
        except Exception:  # noqa: BLE001 - a user's predicate may raise anything
            return False

    def classify_result(self, result: object) -> Outcome | None:
        """Return the outcome of a result, SUCCESS, or FAILURE or THROTTLED by the settings. None means that one raised. Never raises."""
        if not self.looks_at_results:
            return Outcome.SUCCESS
        setting = "result_throttled"
        try:
            if self._result_throttled is not None and self._result_throttled(result):
                return Outcome.THROTTLED
            setting = "result_failures"
            if self._result_failures is None or not self._result_failures(result):
                return Outcome.SUCCESS
            is_throttled = self._result_throttled is None and self._throttled(result)
            return Outcome.THROTTLED if is_throttled else Outcome.FAILURE
        except Exception as broken:  # noqa: BLE001 - as above
            self._report(setting, broken, None)
            return None

    def told_of(self, answer: object) -> Told | None:
        """Return what an answer says of the limit: a throttled exception, with all that it stands for, or a result. None means nothing.

        Never raises. What cannot be true is left out.
        """
        from holdgate.runtime import known_limits  # noqa: PLC0415 - it imports all presets; a run does so at its start

        error = answer if isinstance(answer, Exception) else None
        found = known_limits.read_told(answer, self._told, lambda broken: self._report("told", broken, error))
        if error is not None and (found is None or found.retry_after is None):
            asked = believable(Told(self.retry_after_of(error)))
            found = asked if found is None or asked is None else asked.after(found)
        return found

    def retry_after_of(self, exception: BaseException) -> float | None:
        """Return the seconds above 0 that the server asked to wait. None means that it did not ask, or that this is unknown. Never raises.

        The longest wait of all that the exception stands for (core/causes.py) counts: each server of a group wants its time.
        """
        if self._retry_after is None:
            return None
        said, meanwhile = chain_of(exception)
        waits, broken = self._waits(said)
        if not waits:
            waits, broken = self._waits(meanwhile, broken)
        if not waits and broken is not None:
            self._report("retry_after", broken, exception)
        return max(waits, default=None)

    def _waits(self, links: Iterable[BaseException], broken: Exception | None = None) -> tuple[list[float], Exception | None]:
        """Return what `retry_after` gives for each, and what it raised first: it may be written for one client's errors and fail on
        another's."""
        waits: list[float] = []
        for link in links:
            try:
                wait = self._retry_after(link) if self._retry_after is not None and isinstance(link, Exception) else None
                if wait is not None and wait > 0:  # false for NaN, too
                    waits.append(float(wait))
            except Exception as error:  # noqa: BLE001 - as above
                broken = broken or error
        return waits, broken

    # -- its circuit ------------------------------------------------------------------------------------------------------------------

    @property
    def circuit(self) -> Circuit:
        """The circuit that calls go through here: in a handler that of its guard, elsewhere that of the guard that has the dependency, and
        the dependency's own outside of any guard.

        Look at `dependency.circuit.state` before a call. Do not keep the circuit: another one takes its place when a guard is entered or
        left.
        """
        return access_here(self).circuit

    def bind(self, binding: GuardCircuit) -> None:
        """Hand the dependency over to a guard that declares it. A guard that has only met it in a handler gives way, and keeps its circuit
        for its own handlers.

        Raises SettingsError, naming both, while another guard has declared it. For guards only.
        """
        with self._lock:
            owner = self.access
            if isinstance(owner, GuardCircuit) and owner.is_declared:
                raise SettingsError(
                    f"dependency {self.name!r} is used by {owner.guard!r} and cannot be used by {binding.guard!r} at the same time;"
                    " give each guard a Dependency of its own"
                )
            binding.is_declared = True
            self.access = binding

    def lend(self, binding: GuardCircuit) -> None:
        """Let calls outside of handlers go through the circuit of a guard that has met the dependency in a handler, unless another guard
        has it. For guards only."""
        with self._lock:
            if not isinstance(self.access, GuardCircuit):
                self.access = binding

    def unbind(self, binding: GuardCircuit) -> None:
        """Take the dependency back from a guard, and drop that guard's circuit. The next call finds a fresh circuit. For guards only."""
        with self._lock:
            if self.access is binding:
                self.access = self._alone()
        binding.close()

    def _alone(self) -> OwnCircuit:
        clock = SystemClock()
        limits = self.limits if self.key is None else None  # those are of each key, and out here no call has one
        return OwnCircuit(Circuit(self.name, self.settings, now=clock.now(), draw=clock.draw, limits=limits), clock)

    def _report(self, setting: str, broken: Exception, exception: BaseException | None) -> None:
        # The type and the line alone: the text of an exception may quote the payload.
        traceback = broken.__traceback__
        while traceback is not None and traceback.tb_next is not None:
            traceback = traceback.tb_next
        where = f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}" if traceback is not None else "an unknown line"
        text = f"{setting} of dependency {self.name!r} raised {type(broken).__qualname__} at {where}; the call got no verdict"
        _log.error(text)
        # An exception that is raised again and again keeps one note, not thousands.
        if exception is not None and text not in getattr(exception, "__notes__", ()):
            exception.add_note(text)


def _presumed_throttled(answer: object) -> bool:
    """Return whether one of the known clients says "not so fast" by this."""
    return _known_throttled()(answer)


@cache
def _known_throttled() -> Callable[[object], bool]:
    """Return what asks the known clients. It is kept, because an import that is there already costs as much as one client's answer."""
    from holdgate.runtime import known_limits  # noqa: PLC0415 - as above

    return known_limits.throttled


def _never(answer: object) -> bool:  # noqa: ARG001 - it does not look
    return False


def check_limits(limits: object) -> Limits | None:
    """Return the limits of a dependency. Raises SettingsError for anything else than Limits, or None."""
    if limits is None or isinstance(limits, Limits):
        return limits
    raise SettingsError(f"limits must be Limits, got {limits!r}: write limits=Limits(rate=100, per=60), or leave it out")


def check_name(name: object) -> str:
    """Return the name of a dependency. Raises SettingsError for one that is no label."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SettingsError(
            f"name must be up to 100 letters, digits and _ . : - that begin with a letter or digit, as in 'payments', got {name!r}"
        )
    return name


F = TypeVar("F", bound=Callable[..., Any])


def _callable(setting: str, fn: F | None) -> F | None:
    if fn is not None and not callable(fn):
        raise SettingsError(f"{setting}={fn!r} cannot be called: pass the function itself")
    return fn


def _plain(setting: str, fn: F | None) -> F | None:
    if fn is None:
        return None
    if not callable(fn):
        raise SettingsError(f"{setting}={fn!r} cannot be called")
    if is_async(fn):
        raise SettingsError(f"{setting}={fn!r} is async, and its answer would always be true; give a plain function")
    return fn
