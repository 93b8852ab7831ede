"""What a call came to, and how an exception is read as an outcome."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from enum import Enum
from typing import Any, TypeGuard, cast

from holdgate.core.causes import chain_of, is_plain
from holdgate.errors import CallNotPermitted, HoldgateError, Reject, SettingsError

# What `failures` and `excluded` take. A predicate gets the exception and answers whether it belongs.
Matcher = type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool]

# A refusal says nothing about the dependency, and a rejected message is the message's own.
NEVER_OUTCOMES = (CallNotPermitted, Reject)


class Outcome(Enum):
    """What one call says of the dependency. IGNORED says nothing: it moves no window, and in half-open it only gives the slot back."""

    SUCCESS = "success"
    FAILURE = "failure"
    IGNORED = "ignored"


class Classifier:
    """Reads an exception as an outcome: FAILURE when it is the dependency's, IGNORED when it is not.

    `failures` and `excluded` are an exception type, a tuple of them, or a plain predicate; `excluded` wins. Each is asked about the
    exception and about all that it stands for (causes.py): a cause, a member of a group. What was only being handled when it was raised
    is asked last, for failures alone. A predicate that raises lets its exception go to the caller, unless another link of the chain is a
    failure or excluded. Raises SettingsError for a class that is no exception (an abstract class would be called as if it were
    a predicate, and nothing would ever trip), for cancellation and other exceptions that are never outcomes, for a coroutine function
    (its answer would always be true), and when `excluded` covers all of `failures`.
    """

    __slots__ = ("_is_excluded", "_is_failure")

    def __init__(self, failures: Matcher = Exception, excluded: Matcher = ()) -> None:
        if failures == ():
            raise SettingsError("failures=() matches nothing, so the circuit could never open; give Exception or the client's own errors")
        self._is_failure = _predicate("failures", failures)
        self._is_excluded = _predicate("excluded", excluded)
        _check_clash(failures, excluded)

    def classify(self, error: BaseException) -> Outcome | None:
        """The outcome, or None for what is never one: cancellation and the like, and holdgate's own errors, such as a refusal."""
        if is_plain(error):
            if not isinstance(error, Exception) or isinstance(error, HoldgateError):
                return None
            return Outcome.IGNORED if self._is_excluded(error) or not self._is_failure(error) else Outcome.FAILURE
        said, meanwhile = chain_of(error)
        links = [link for link in said if isinstance(link, Exception)]
        if not links or any(isinstance(link, HoldgateError) for link in links):
            return None
        if _any(self._is_excluded, links):
            return Outcome.IGNORED
        handled = [link for link in meanwhile if isinstance(link, Exception) and not isinstance(link, HoldgateError)]
        return Outcome.FAILURE if _any(self._is_failure, links) or _any(self._is_only_failure, handled) else Outcome.IGNORED

    def _is_only_failure(self, error: Exception) -> bool:
        return not self._is_excluded(error) and self._is_failure(error)


def _any(matches: Callable[[Exception], bool], links: list[Exception]) -> bool:
    """Whether one of the links matches; raises what a predicate raised when none does, for then nobody can tell."""
    broken: Exception | None = None
    for link in links:
        try:
            if matches(link):
                return True
        except Exception as error:  # noqa: BLE001 - a predicate written for one client's errors may not bear another's
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
        raise SettingsError(f"{setting}={matcher!r} is neither an exception type, nor a tuple of them, nor a predicate")
    if inspect.iscoroutinefunction(matcher):
        raise SettingsError(f"{setting}={matcher!r} is a coroutine function, whose answer is always true; give a plain function")
    return matcher


def _check_type(setting: str, given: object) -> None:
    if not _is_exception_type(given):
        raise SettingsError(f"{setting} holds {given!r}, which is no subclass of Exception and would never match; give exception types")
    if setting == "failures" and issubclass(given, NEVER_OUTCOMES):
        raise SettingsError(f"{setting} holds {given.__name__}, which is never an outcome of the dependency; leave it out")


def _is_exception_type(given: object) -> TypeGuard[type[Exception]]:
    return isinstance(given, type) and issubclass(given, Exception)


def _types(matcher: Any) -> tuple[type[Exception], ...]:
    return cast("tuple[type[Exception], ...]", matcher if isinstance(matcher, tuple) else (matcher,))


def _check_clash(failures: Matcher, excluded: Matcher) -> None:
    if not isinstance(failures, type | tuple) or not isinstance(excluded, type | tuple):
        return
    if all(issubclass(failure, _types(excluded)) for failure in _types(failures)):
        raise SettingsError(f"excluded={excluded!r} covers all of failures={failures!r}, so the circuit could never open; narrow excluded")
