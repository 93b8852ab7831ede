"""Outcomes: what one call says of its dependency, how an exception is classified as one, and what messages have come to, counted.

Who decides by an outcome, for somebody who adds one or changes what it means:

    attribution.py, of flow    which of several outcomes of one attempt counts, and what that means for the message (`Cause`)
    fate.py, keyed.py, of flow what becomes of the message, and whether its result is news for the circuit, or for its key
    circuit.py                 what is a verdict (`VERDICTS`): it is counted and judged. Everything else gives its permit back
    limiter.py, keys.py        what is a refusal, from which a limit is learned
    runtime                    dependency.py, which settings lead to it; failures.py, what the log says of it
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from enum import Enum
from types import ModuleType
from typing import Any, TypeGuard, cast

from holdgate.core.causes import chain_of, is_plain
from holdgate.errors import CallNotPermitted, HoldgateError, Reject, SettingsError
from holdgate.told import Told as Told  # noqa: PLC0414 - what a circuit is told of has its name here, too

# What `failures`, `excluded` and `throttled` take. A predicate gets the exception and returns whether it matches.
Matcher = type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool]

# These say nothing about the dependency: a refusal is the circuit's own, and a Reject is about the message.
NEVER_OUTCOMES = (CallNotPermitted, Reject)

# What Python itself raises when code and data do not fit together: a mistake of the program, or a message in another form than before. If
# `failures` is left out these are no failures, because a dependency that is down is never seen as one of them by a careful client.
#
# - TypeError, AttributeError, NameError, LookupError (KeyError, IndexError): a misspelt name, a field that is missing.
# - AssertionError, NotImplementedError, ImportError, RecursionError: the code says so itself, or was deployed without a part of it.
# - ValueError, ArithmeticError, SyntaxError: a value that cannot be read. JSON, Unicode, Decimal, XML and pydantic raise subclasses.
# - StopIteration, StopAsyncIteration: `next(...)` of something that has nothing. Python makes a RuntimeError of it on its way out of a
#   coroutine, and that one counts here, too.
#
# RuntimeError, EOFError and MemoryError are missing on purpose: clients raise the first two when a connection is closed, and the third
# is the machine's.
PROGRAM_ERRORS = (
    TypeError,
    AttributeError,
    NameError,
    LookupError,
    AssertionError,
    NotImplementedError,
    ImportError,
    RecursionError,
    ValueError,
    ArithmeticError,
    SyntaxError,
    StopIteration,
    StopAsyncIteration,
)

_AT_THE_END = (StopIteration, StopAsyncIteration)


def is_program_error(error: BaseException) -> bool:
    """Return whether an exception is one of PROGRAM_ERRORS, and no OSError: a certificate that is not valid is a ValueError, too."""
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, _AT_THE_END):  # PEP 479
        return True
    return isinstance(error, PROGRAM_ERRORS) and not isinstance(error, OSError)


class Outcome(Enum):
    """What one call says of the dependency.

    THROTTLED: it is there, and says "not so fast". That is no failure and no health: it enters no window, as IGNORED, and a limit may be
    learned from it. IGNORED says nothing. Of both a half-open only gets its permit back.
    """

    SUCCESS = "success"
    FAILURE = "failure"
    THROTTLED = "throttled"
    IGNORED = "ignored"


# What a window counts and a half-open judges.
VERDICTS = (Outcome.SUCCESS, Outcome.FAILURE)


class MessageCounts:
    """Count what messages came to at one dependency, or at one of its keys. A message that fails comes again, so these are no calls.

    `successes` counts the messages that succeeded, `recoveries` those of them that had failed here before, `failures` the votes. They are
    never reset: the rules of votes and blame (flow/gate.py, flow/blame.py) look at differences.
    """

    __slots__ = ("failures", "recoveries", "successes")

    def __init__(self) -> None:
        self.successes = self.recoveries = self.failures = 0

    def succeeded(self) -> None:
        """Count a message that succeeded here."""
        self.successes += 1

    def recovered(self) -> None:
        """Count a success, which is counted as such already, of a message that had failed here."""
        self.recoveries += 1

    def voted(self) -> None:
        """Count a failure that is a vote."""
        self.failures += 1

    @property
    def first_successes(self) -> int:
        """Return how many messages succeeded here without a failure before. Not counted itself: the fast path counts successes alone."""
        return self.successes - self.recoveries


# Names of the module: an enum's member costs more to look up than most steps of a classification.
_FAILURE = Outcome.FAILURE
_THROTTLED = Outcome.THROTTLED
_IGNORED = Outcome.IGNORED


class Classifier:
    """Classify an exception as an outcome: THROTTLED if the dependency has too many calls for now, FAILURE if it is to blame, or IGNORED.

    The matchers are asked about the exception and about everything that it stands for (causes.py), such as its causes and the members of
    a group. Exceptions that were only being handled when it was raised are asked about last, and never make it an excluded one. If a
    predicate raises, its exception goes to the caller, unless another exception of the chain decides.

    - `failures`: an exception type, a tuple of them, or a plain predicate. None means every exception but PROGRAM_ERRORS.
    - `excluded`: the same, for exceptions that are neither failures nor throttled; it wins over both.
    - `throttled`: the same, for exceptions that say "not so fast"; it wins over `failures`, because clients wrap the one into the other.
      None means `presumed`.
    - `presumed`: a predicate for the same, which is asked only about what would be a failure. None means that nothing is throttled.

    Raises SettingsError for a class that is not an exception (an abstract class would be called like a predicate, and nothing would ever
    match), for cancellation and other exceptions that are never outcomes, for a coroutine function (its result would always be true), and
    if `excluded` covers all of `failures`.
    """

    __slots__ = ("_excludes", "_is_excluded", "_is_failure", "_is_presumed", "_is_throttled")

    def __init__(
        self,
        failures: Matcher | None = None,
        excluded: Matcher = (),
        throttled: Matcher | None = None,
        presumed: Callable[[Exception], bool] | None = None,
    ) -> None:
        if failures == ():
            raise SettingsError("failures must match something, got (): give Exception or the client's errors, or no circuit could open")
        self._is_failure = _is_no_program_error if failures is None else _predicate("failures", failures)
        self._is_excluded = _predicate("excluded", excluded)
        self._excludes = excluded != ()
        self._is_throttled = None if throttled is None else _predicate("throttled", throttled)
        self._is_presumed = presumed if throttled is None else None
        _check_clash(Exception if failures is None else failures, excluded)

    def classify(self, error: BaseException) -> Outcome | None:
        """Return the outcome. None means that the exception is never one: a cancellation, or an error of holdgate such as a refusal."""
        if is_plain(error):
            return self._classify_alone(error) if isinstance(error, Exception) and not isinstance(error, HoldgateError) else None
        explicit, implicit = chain_of(error)
        links: list[Exception] = []
        for link in explicit:
            if isinstance(link, HoldgateError):
                return None
            if isinstance(link, Exception):
                links.append(link)
        return self._classify_all(links, implicit) if links else None

    def _classify_alone(self, error: Exception) -> Outcome:
        """Classify an exception that stands for itself alone, as most do."""
        if self._is_excluded(error):
            return _IGNORED
        if self._is_throttled is not None and self._is_throttled(error):
            return _THROTTLED
        if not self._is_failure(error):
            return _IGNORED
        return _THROTTLED if self._is_presumed is not None and self._is_presumed(error) else _FAILURE

    def _classify_all(self, links: list[Exception], implicit: Sequence[BaseException]) -> Outcome:
        if self._excludes and _any(self._is_excluded, links):
            return _IGNORED
        handled = [link for link in implicit if isinstance(link, Exception) and not isinstance(link, HoldgateError)]
        if self._is_throttled is not None and self._matches(self._is_throttled, links, handled):
            return _THROTTLED
        if not self._matches(self._is_failure, links, handled):
            return _IGNORED
        return _THROTTLED if self._is_presumed is not None and self._matches(self._is_presumed, links, handled) else _FAILURE

    def excludes(self, error: BaseException) -> bool:
        """Return whether `excluded` matches the exception, or another one of its explicit chain."""
        return self._excludes and _any(self._is_excluded, [link for link in chain_of(error).explicit if isinstance(link, Exception)])

    def _matches(self, matches: Callable[[Exception], bool], links: list[Exception], handled: list[Exception]) -> bool:
        """Return whether one of the links matches, or one of those that were only being handled and are not excluded."""
        if _any(matches, links):
            return True
        return bool(handled) and _any(lambda error: not self._is_excluded(error) and matches(error), handled)


def _is_no_program_error(error: Exception) -> bool:
    return not is_program_error(error)


def _any(matches: Callable[[Exception], bool], links: list[Exception]) -> bool:
    """Return whether one of the links matches. If none does and a predicate raised, the answer is unknown, and its exception is raised."""
    broken: Exception | None = None
    for link in links:
        try:
            if matches(link):
                return True
        except Exception as error:  # noqa: BLE001 - a predicate that is written for one client's errors may raise on another's
            broken = broken or error
    if broken is not None:
        raise broken
    return False


def _predicate(setting: str, matcher: Matcher) -> Callable[[Exception], bool]:
    if isinstance(matcher, type | tuple):
        types = _types(matcher)
        for given in types:
            _check_type(setting, given)
        return lambda error: isinstance(error, types)
    if not callable(matcher):
        raise SettingsError(f"{setting} must be an exception type, a tuple of them or a predicate, got {_shown(matcher, setting)}")
    if inspect.iscoroutinefunction(matcher):
        raise SettingsError(f"{setting} must be a plain function, got {matcher!r}: a coroutine function's result is always true")
    return matcher


def _shown(given: object, setting: str) -> str:
    """Return what an error says of a value that matches nothing. A module, such as `holdgate.http`, has the predicate that was meant."""
    if isinstance(given, ModuleType) and hasattr(given, setting):
        return f"the module {given.__name__}: write {setting}={given.__name__.rpartition('.')[2]}.{setting}"
    return f"{given!r}: write a tuple" if isinstance(given, list) else repr(given)


def _check_type(setting: str, given: object) -> None:
    if not _is_exception_type(given):
        raise SettingsError(f"{setting} must hold subclasses of Exception, got {given!r}: it would never match")
    if setting in {"failures", "throttled"} and issubclass(given, NEVER_OUTCOMES):
        raise SettingsError(f"{setting} must not hold {given.__name__}, which is never an outcome of the dependency: leave it out")


def _is_exception_type(given: object) -> TypeGuard[type[Exception]]:
    return isinstance(given, type) and issubclass(given, Exception)


def _types(matcher: Any) -> tuple[type[Exception], ...]:
    return cast("tuple[type[Exception], ...]", matcher if isinstance(matcher, tuple) else (matcher,))


def _check_clash(failures: Matcher, excluded: Matcher) -> None:
    if not isinstance(failures, type | tuple) or not isinstance(excluded, type | tuple):
        return
    if all(issubclass(failure, _types(excluded)) for failure in _types(failures)):
        raise SettingsError(f"excluded={excluded!r} covers all of failures={failures!r}, so the circuit could never open: narrow excluded")
