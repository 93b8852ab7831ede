"""How exceptions are read as outcomes."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import ssl
from abc import ABC, abstractmethod
from collections.abc import Hashable
from decimal import InvalidOperation
from types import ModuleType
from typing import Any
from xml.etree.ElementTree import ParseError

import pytest

import holdgate.errors
import holdgate.http
from holdgate.core import Classifier, Outcome
from holdgate.core.outcomes import VERDICTS, MessageCounts
from holdgate.errors import CallNotPermitted, HoldgateError, Reject, SettingsError


class Declined(Exception):
    """A business answer."""


class Transient(ABC):
    """An abstract class that is no exception."""

    @abstractmethod
    def retry(self) -> None:
        """Nothing can be made of it."""


class AbstractFailure(Exception, ABC):
    """An abstract class that is one."""


def test_by_default_every_exception_is_a_failure_but_errors_of_the_program() -> None:
    """A client's own, what Python raises for a closed connection, and the network's."""
    for failure in (ConnectionError(), TimeoutError(), OSError(), RuntimeError("closed"), EOFError(), MemoryError(), Declined()):
        assert Classifier().classify(failure) is Outcome.FAILURE


@pytest.mark.parametrize(
    "error",
    [
        KeyError("amount"), IndexError(), TypeError(), AttributeError(), NameError(), UnboundLocalError(), AssertionError(), ValueError(),
        json.JSONDecodeError("no JSON", "", 0), UnicodeDecodeError("utf-8", b"", 0, 1, ""), NotImplementedError(), RecursionError(),
        ModuleNotFoundError(), ZeroDivisionError(), InvalidOperation(), ParseError(),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_errors_of_the_program_are_no_failures_by_default(error: Exception) -> None:
    """They are the message's or the code's; `failures=Exception` takes them as well."""
    assert Classifier().classify(error) is Outcome.IGNORED
    assert Classifier(Exception).classify(error) is Outcome.FAILURE


def test_an_error_of_the_program_that_an_outage_brought_about_is_a_failure() -> None:
    """It stands for what it was raised from, or was being handled meanwhile; and a certificate that is not valid is a ValueError, too."""
    missing = KeyError()
    missing.__cause__ = ConnectionError()
    assert Classifier().classify(missing) is Outcome.FAILURE
    assert Classifier().classify(ExceptionGroup("", [KeyError(), ConnectionError()])) is Outcome.FAILURE
    assert Classifier().classify(ssl.SSLCertVerificationError()) is Outcome.FAILURE


def test_everything_excluded_is_refused_by_default_too() -> None:
    """The circuit could never open."""
    with pytest.raises(SettingsError, match="covers all of failures"):
        Classifier(excluded=Exception)


def test_another_type_is_ignored() -> None:
    """What matches no failure is not the dependency's, and no success either."""
    classifier = Classifier(ConnectionError)
    assert classifier.classify(ConnectionResetError()) is Outcome.FAILURE
    assert classifier.classify(ValueError()) is Outcome.IGNORED


def test_types_may_be_a_tuple() -> None:
    """Any of them matches."""
    classifier = Classifier((TimeoutError, ValueError), (UnicodeError,))
    assert classifier.classify(ValueError()) is Outcome.FAILURE
    assert classifier.classify(KeyError()) is Outcome.IGNORED
    assert classifier.classify(UnicodeDecodeError("utf-8", b"", 0, 1, "")) is Outcome.IGNORED


def test_what_is_excluded_is_told_from_what_matches_nothing() -> None:
    """Both are IGNORED: one by the user's own word, the other because nobody has said anything. What is no Exception is neither."""
    classifier = Classifier(ConnectionError, excluded=(KeyError, ConnectionResetError))

    assert [classifier.excludes(error()) for error in (KeyError, ConnectionResetError)] == [True, True]
    assert [classifier.excludes(error()) for error in (ValueError, ConnectionError)] == [False, False]
    assert not Classifier(excluded=lambda error: True).excludes(KeyboardInterrupt())


def test_excluded_wins() -> None:
    """An exception that both match is the message's own."""
    assert Classifier(Exception, Declined).classify(Declined()) is Outcome.IGNORED
    assert Classifier(Exception, lambda error: "no" in str(error)).classify(ValueError("no")) is Outcome.IGNORED


def test_a_predicate_decides() -> None:
    """Both take a plain function of the exception."""
    classifier = Classifier(lambda error: error.args == (503,))
    assert classifier.classify(Declined(503)) is Outcome.FAILURE
    assert classifier.classify(Declined(404)) is Outcome.IGNORED


def test_an_abstract_exception_is_a_type() -> None:
    """An abstract class that is an exception matches its subclasses."""
    error = type("Concrete", (AbstractFailure,), {})()
    assert Classifier(AbstractFailure).classify(error) is Outcome.FAILURE


@pytest.mark.parametrize(
    "error",
    [
        CallNotPermitted("payments"),
        Reject("bad"),
        asyncio.CancelledError(),
        GeneratorExit(),
        KeyboardInterrupt(),
        SystemExit(),
        BaseException(),
    ],
    ids=repr,
)
def test_some_are_never_outcomes(error: BaseException) -> None:
    """Our own refusal, a rejected message and cancellation are None, whatever the settings say."""
    assert Classifier(HoldgateError).classify(error) is None
    assert Classifier(lambda _: True).classify(error) is None
    assert Classifier(Exception, lambda _: True).classify(error) is None


def test_a_cancelled_future_of_a_thread_is_an_ordinary_exception() -> None:
    """concurrent.futures has a CancelledError of its own that is an Exception."""
    assert Classifier().classify(concurrent.futures.CancelledError()) is Outcome.FAILURE


@pytest.mark.parametrize("setting", ["failures", "excluded"])
@pytest.mark.parametrize("abstract", [Transient, Hashable, int, object])
def test_trap_16_a_class_that_is_no_exception_is_not_taken_for_a_predicate(setting: str, abstract: type) -> None:
    """An abstract class would match nothing, or everything, for ever: refused, naming setting and class."""
    with pytest.raises(SettingsError, match=setting) as caught:
        Classifier(**{setting: abstract})
    assert abstract.__name__ in str(caught.value)
    with pytest.raises(SettingsError, match=setting):
        Classifier(**{setting: (ValueError, abstract)})


@pytest.mark.parametrize("never", [BaseException, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit])
@pytest.mark.parametrize("setting", ["failures", "excluded"])
def test_what_is_never_an_outcome_cannot_be_listed(setting: str, never: Any) -> None:
    """BaseException and what is not an Exception would never match."""
    with pytest.raises(SettingsError, match=setting):
        Classifier(**{setting: never})


@pytest.mark.parametrize("never", [CallNotPermitted, Reject])
def test_our_own_exceptions_are_no_failures(never: type[Exception]) -> None:
    """They are refused among failures; among excluded they change nothing."""
    with pytest.raises(SettingsError, match=never.__name__):
        Classifier((ValueError, never))
    assert Classifier(Exception, never).classify(ValueError()) is Outcome.FAILURE


@pytest.mark.parametrize(
    ("failures", "excluded"),
    [
        (ConnectionError, Exception),
        (Exception, Exception),
        ((TimeoutError, ConnectionError), (OSError,)),
        (KeyError, (LookupError, OSError)),
    ],
)
def test_excluded_must_leave_something(failures: Any, excluded: Any) -> None:
    """When every failure is excluded the circuit could never open; the error names both."""
    with pytest.raises(SettingsError) as caught:
        Classifier(failures, excluded)
    assert repr(failures) in str(caught.value)
    assert repr(excluded) in str(caught.value)


def test_excluded_may_cover_some() -> None:
    """One failure that is left is enough, and predicates are not compared."""
    assert Classifier((TimeoutError, ValueError), OSError).classify(ValueError()) is Outcome.FAILURE
    assert Classifier(lambda _: True, Exception).classify(ValueError()) is Outcome.IGNORED


def test_no_failures_are_refused() -> None:
    """An empty tuple would never open."""
    with pytest.raises(SettingsError, match=r"failures must match something, got \(\)"):
        Classifier(())


def _nested() -> ModuleType:
    module = ModuleType("company.clients.http")
    module.failures = holdgate.http.failures  # type: ignore[attr-defined]
    return module


@pytest.mark.parametrize("matcher", ["ValueError", 5, [ValueError], ValueError("an instance")], ids=repr)
def test_other_values_are_refused(matcher: Any) -> None:
    """Neither type, tuple nor function: the error shows the value."""
    with pytest.raises(SettingsError, match="must be an exception type"):
        Classifier(matcher)


@pytest.mark.parametrize(
    ("matcher", "text"),
    [
        (holdgate.http, r"got the module holdgate.http: write failures=http.failures$"),
        (_nested(), r"got the module company.clients.http: write failures=http.failures$"),
        (holdgate.errors, r"got <module 'holdgate.errors' from .*>$"),
        ([OSError], r"got \[<class 'OSError'>\]: write a tuple$"),
    ],
    ids=["a module that has it", "one of a package of a package", "another module", "a list"],
)
def test_what_was_nearly_a_matcher_gets_the_remedy(matcher: Any, text: str) -> None:
    """`failures=http` is a dot away from what was meant."""
    with pytest.raises(SettingsError, match=text):
        Classifier(matcher)


def test_a_coroutine_function_is_no_predicate() -> None:
    """Its answer, a coroutine, would always be true."""

    async def predicate(error: Exception) -> bool:
        return False

    with pytest.raises(SettingsError, match="coroutine function"):
        Classifier(predicate)


def test_what_a_predicate_raises_goes_to_the_caller() -> None:
    """A broken predicate is heard of."""

    def broken(error: Exception) -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Classifier(broken).classify(ValueError())


def test_nothing_to_match_is_refused_with_the_remedy() -> None:
    """The whole sentence: it is read by whoever has just left the setting empty."""
    with pytest.raises(SettingsError) as caught:
        Classifier(failures=())
    assert str(caught.value) == "failures must match something, got (): give Exception or the client's errors, or no circuit could open"


def test_an_excluded_that_is_no_matcher_is_named_as_excluded() -> None:
    """Not as `failures`, which stands beside it."""
    with pytest.raises(SettingsError, match=r"^excluded must be an exception type, .*, got 3"):
        Classifier(excluded=3)  # type: ignore[arg-type]


class SlowDown(Declined):
    """A refusal that heals by itself."""


def test_what_is_throttled_is_no_failure() -> None:
    """By a type or a predicate, whatever `failures` says of it; but what is excluded is excluded."""
    assert Classifier(throttled=SlowDown).classify(SlowDown(429)) is Outcome.THROTTLED
    assert Classifier(ConnectionError, throttled=lambda error: error.args == (429,)).classify(Declined(429)) is Outcome.THROTTLED
    assert Classifier(throttled=SlowDown).classify(Declined(500)) is Outcome.FAILURE
    assert Classifier(excluded=Declined, throttled=SlowDown).classify(SlowDown(429)) is Outcome.IGNORED


def test_what_is_presumed_to_be_throttled_must_be_a_failure_first() -> None:
    """Another dependency's 429 is none of ours."""
    presumed = lambda error: isinstance(error, SlowDown)  # noqa: E731 - as it is given
    assert Classifier(presumed=presumed).classify(SlowDown(429)) is Outcome.THROTTLED
    assert Classifier(ConnectionError, presumed=presumed).classify(SlowDown(429)) is Outcome.IGNORED
    assert Classifier(throttled=(), presumed=presumed).classify(SlowDown(429)) is Outcome.FAILURE
    assert Classifier(throttled=ConnectionError, presumed=presumed).classify(SlowDown(429)) is Outcome.FAILURE


def test_a_throttled_call_is_found_in_what_it_was_wrapped_into() -> None:
    """A cause, a member of a group, and what was being handled; a client's own error around it would be a failure."""
    presumed = lambda error: isinstance(error, SlowDown)  # noqa: E731 - as it is given
    wrapped = ConnectionError("gave up")
    wrapped.__cause__ = SlowDown(429)
    meanwhile = ConnectionError("gave up")
    meanwhile.__context__ = SlowDown(429)
    group = ExceptionGroup("two", [ValueError(), SlowDown(429)])
    for classifier in (Classifier(throttled=SlowDown), Classifier(presumed=presumed)):
        for error in (wrapped, meanwhile, group):
            assert classifier.classify(error) is Outcome.THROTTLED
    assert Classifier(excluded=SlowDown, throttled=Declined).classify(meanwhile) is Outcome.FAILURE


def test_a_predicate_for_throttled_that_raises_costs_the_verdict_unless_another_link_decides() -> None:
    """As one of `failures`."""

    def broken(error: Exception) -> bool:
        return bool(error.status == 429)  # type: ignore[attr-defined]

    with pytest.raises(AttributeError):
        Classifier(throttled=broken).classify(ConnectionError())
    known = Declined(429)
    known.status = 429  # type: ignore[attr-defined]
    wrapped = ConnectionError()
    wrapped.__cause__ = known
    assert Classifier(throttled=broken).classify(wrapped) is Outcome.THROTTLED


@pytest.mark.parametrize("given", [CallNotPermitted, (OSError, Reject), int, 429, asyncio.CancelledError])
def test_what_can_never_be_throttled_is_refused(given: Any) -> None:
    """As for `failures`."""
    with pytest.raises(SettingsError, match="throttled must"):
        Classifier(throttled=given)


def test_cancellation_is_never_throttled() -> None:
    """Nor is an error of holdgate's own."""
    assert Classifier(throttled=lambda _: True).classify(asyncio.CancelledError()) is None
    assert Classifier(throttled=lambda _: True).classify(CallNotPermitted("payments", None)) is None


async def _meets_the_end() -> object:
    return next(iter(()))


def _at_the_end_of_a_coroutine() -> BaseException:
    try:
        _meets_the_end().send(None)
    except RuntimeError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize("error", [StopIteration(), StopAsyncIteration(), _at_the_end_of_a_coroutine()])
def test_the_end_of_an_iterator_is_a_mistake_of_the_program(error: BaseException) -> None:
    """`next(...)` that finds nothing opened a circuit: on its way out of a coroutine Python makes a RuntimeError of it."""
    assert Classifier().classify(error) is Outcome.IGNORED
    assert Classifier().classify(RuntimeError("connection is closed")) is Outcome.FAILURE


def test_only_a_success_and_a_failure_are_verdicts() -> None:
    """A refusal for now shows no failure and no health, and what is ignored shows nothing."""
    assert set(Outcome) - set(VERDICTS) == {Outcome.THROTTLED, Outcome.IGNORED}


def test_a_message_that_comes_again_and_succeeds_is_no_first_success() -> None:
    """It is counted among the successes, and as one that recovered."""
    counts = MessageCounts()
    counts.voted()
    counts.succeeded()
    counts.recovered()
    counts.succeeded()
    assert (counts.failures, counts.successes, counts.recoveries, counts.first_successes) == (1, 2, 1, 1)


def test_what_becomes_of_messages_is_counted_one_by_one() -> None:
    """Those that succeeded, those of them that had failed before, and the votes; the rest are first successes."""
    counts = MessageCounts()
    for _ in range(3):
        counts.succeeded()
    for _ in range(2):
        counts.recovered()
        counts.voted()
    assert (counts.successes, counts.recoveries, counts.failures, counts.first_successes) == (3, 2, 2, 1)
