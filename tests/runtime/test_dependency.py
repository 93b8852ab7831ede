from __future__ import annotations

import asyncio
import gc
import logging
import threading
import traceback
import weakref
from functools import partial
from typing import Any

import pytest
from tests.runtime.fake_lane import ManualClock

from holdgate.core import Circuit, CircuitSettings, Outcome, State
from holdgate.errors import CallNotPermitted, GuardClosed, Reject, SettingsError
from holdgate.runtime.access import GuardCircuit, OwnCircuit
from holdgate.runtime.dependency import Dependency


class PaymentError(Exception):
    """What the payments client raises."""


class CardError(PaymentError):
    """The card is at fault, not the payments service."""


def binding(guard: str = "guard A") -> GuardCircuit:
    return GuardCircuit(guard, Circuit("payments"), ManualClock(), lambda: None, asyncio.get_running_loop())


# Construction


@pytest.mark.parametrize("name", ["payments", "payments-eu.v2", "p", "a:b_c", "zahlung_ä", "9", "p" * 100])
def test_names_that_fit_into_a_label(name: str) -> None:
    """Letters of any language, digits, and a few signs between them."""
    assert Dependency(name).name == name


@pytest.mark.parametrize("name", ["", " ", "pay ments", "payments\n", "a/b", "-p", "p" * 101, None, 5, b"payments"])
def test_other_names_are_refused(name: Any) -> None:
    """The error shows what was given and what fits."""
    with pytest.raises(SettingsError, match=r"as in 'payments'"):
        Dependency(name)


def test_settings_must_be_circuit_settings() -> None:
    """A dict that looks right would fail at the first call only."""
    settings: Any = {"open_duration": 5.0}
    with pytest.raises(SettingsError, match="CircuitSettings"):
        Dependency("payments", settings=settings)


def test_failures_are_checked() -> None:
    """Trap 16: what never matches is refused when it is written."""
    failures: Any = int
    with pytest.raises(SettingsError, match="failures"):
        Dependency("payments", failures=failures)


@pytest.mark.parametrize("setting", ["result_failures", "retry_after"])
def test_a_setting_that_cannot_be_called_is_refused(setting: str) -> None:
    """The error names the setting and the value."""
    given: Any = {setting: 503}
    with pytest.raises(SettingsError, match=f"{setting}=503"):
        Dependency("payments", **given)


@pytest.mark.parametrize("setting", ["result_failures", "retry_after"])
def test_an_async_predicate_is_refused(setting: str) -> None:
    """Its answer, a coroutine, would always be true."""

    async def answer(_: object) -> bool:
        return False

    given: Any = {setting: answer}
    with pytest.raises(SettingsError, match=f"{setting}=.*async"):
        Dependency("payments", **given)


def test_repr_names_it() -> None:
    """Errors show dependencies."""
    assert repr(Dependency("payments")) == "Dependency('payments')"


# Judging


def test_exceptions_are_read_by_failures_and_excluded() -> None:
    """`excluded` wins; what matches nothing is ignored."""
    payments = Dependency("payments", failures=PaymentError, excluded=CardError)
    assert payments.classify(PaymentError()) is Outcome.FAILURE
    assert payments.classify(CardError()) is Outcome.IGNORED
    assert payments.classify(ValueError()) is Outcome.IGNORED


@pytest.mark.parametrize(
    "never", [CallNotPermitted("mail"), Reject(), GuardClosed(), SettingsError(), asyncio.CancelledError(), KeyboardInterrupt()]
)
def test_cancellation_and_holdgates_own_errors_are_never_outcomes(never: BaseException) -> None:
    """They say nothing of payments, whatever `failures` is."""
    assert Dependency("payments").classify(never) is None


def test_what_is_excluded_is_said_so() -> None:
    """A predicate that raises has said nothing."""

    def broken(error: Exception) -> bool:
        raise RuntimeError

    assert Dependency("payments", excluded=KeyError).excludes(KeyError())
    assert not Dependency("payments", excluded=KeyError).excludes(ValueError())
    assert not Dependency("payments", excluded=broken).excludes(KeyError())


def test_a_predicate_that_raises_costs_the_verdict_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """The original goes on with a note; the log has type and line, and not the text, which may quote the payload."""

    def judge(error: Exception) -> bool:
        raise KeyError("card 4111 1111")

    payments = Dependency("payments", failures=judge)
    original = ValueError("original")
    assert payments.classify(original) is None
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    for told in (record.getMessage(), *original.__notes__):
        assert "failures" in told
        assert "'payments'" in told
        assert "KeyError" in told
        assert "test_dependency.py:" in told
        assert "4111" not in told


def test_an_exception_that_is_raised_again_and_again_keeps_one_note() -> None:
    """One shared exception object must not grow with each call."""
    payments = Dependency("payments", failures=lambda _: 1 / 0 > 0)
    original = ValueError()
    payments.classify(original)
    payments.classify(original)
    assert len(original.__notes__) == 1


class Throttled(Exception):
    """A client's error that says when to come back."""

    def __init__(self, wait: float) -> None:
        super().__init__()
        self.wait = wait


def test_the_longest_wait_of_all_that_it_stands_for_counts() -> None:
    """In a cause, in a group, or being handled when something else was raised; what says nothing is passed over in silence."""
    payments = Dependency("payments", retry_after=lambda error: error.wait)  # type: ignore[attr-defined]
    wrapped = PaymentError()
    wrapped.__cause__ = Throttled(7)
    handling = PaymentError()
    handling.__context__ = Throttled(8)

    assert payments.retry_after_of(wrapped) == 7
    assert payments.retry_after_of(ExceptionGroup("x", [Throttled(3), ValueError(), Throttled(9), Throttled(float("nan"))])) == 9
    assert payments.retry_after_of(handling) == 8


def test_a_retry_after_that_only_raises_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing of the chain could be read, so the setting is wrong."""
    payments = Dependency("payments", retry_after=lambda error: error.wait)  # type: ignore[attr-defined]
    wrapped = PaymentError()
    wrapped.__cause__ = ValueError()

    assert payments.retry_after_of(wrapped) is None
    assert ["retry_after" in record.getMessage() for record in caplog.records] == [True]


def test_results_are_successes_by_default() -> None:
    """Whatever they are."""
    assert Dependency("payments").classify_result(503) is Outcome.SUCCESS


def test_results_are_read_by_result_failures() -> None:
    """True means that the call returned and still failed."""
    payments = Dependency("payments", result_failures=lambda status: status >= 500)
    assert payments.classify_result(503) is Outcome.FAILURE
    assert payments.classify_result(200) is Outcome.SUCCESS


def test_result_failures_that_raises_costs_the_verdict(caplog: pytest.LogCaptureFixture) -> None:
    """The result is the caller's all the same: the call was made."""
    payments = Dependency("payments", result_failures=lambda status: status >= 500)
    assert payments.classify_result("503") is None
    assert "result_failures of dependency 'payments' raised TypeError" in caplog.text


@pytest.mark.parametrize(("given", "expected"), [(30, 30.0), (0.5, 0.5), (None, None), (0, None), (-1, None), (float("nan"), None)])
def test_retry_after_is_seconds_above_zero_or_nothing(given: float | None, expected: float | None) -> None:
    """A server may send nonsense."""
    payments = Dependency("payments", retry_after=lambda _: given)
    assert payments.retry_after_of(PaymentError()) == expected


def test_retry_after_left_out_asks_nothing() -> None:
    """No server says when to come back."""
    assert Dependency("payments").retry_after_of(PaymentError()) is None


def test_retry_after_is_not_asked_about_cancellation() -> None:
    """It is written for exceptions of a client."""
    assert Dependency("payments", retry_after=lambda _: 30.0).retry_after_of(asyncio.CancelledError()) is None


@pytest.mark.parametrize("answer", ["soon", [30]])
def test_retry_after_that_raises_or_is_no_number_costs_the_wait_alone(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The failure itself is still counted by whoever asked."""
    payments = Dependency("payments", retry_after=lambda _: answer)
    assert payments.retry_after_of(PaymentError()) is None
    assert "retry_after of dependency 'payments' raised TypeError" in caplog.text


# Its circuit


def test_outside_of_guards_it_has_one_circuit_of_its_own() -> None:
    """Made at first use, with its name and settings, and kept."""
    settings = CircuitSettings(open_duration=1.0)
    payments = Dependency("payments", settings=settings)
    assert payments.circuit is payments.circuit
    assert (payments.circuit.name, payments.circuit.settings) == ("payments", settings)
    assert isinstance(payments.access, OwnCircuit)


def test_eight_threads_get_the_same_circuit() -> None:
    """The first use may come from several threads at once."""
    payments = Dependency("payments")
    barrier = threading.Barrier(8, timeout=60)
    found: list[Circuit] = []

    def work() -> None:
        barrier.wait()
        found.append(payments.circuit)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(found) == 8
    assert len(set(map(id, found))) == 1


async def test_a_guard_brings_its_own_circuit() -> None:
    """What the plain breaker knew does not count inside."""
    payments = Dependency("payments")
    alone = payments.circuit
    bound = binding()
    payments.bind(bound)
    assert payments.circuit is bound.circuit
    payments.unbind(bound)
    assert payments.circuit not in (alone, bound.circuit)
    assert payments.circuit.state is State.CLOSED


async def test_two_guards_at_a_time_are_refused() -> None:
    """Both are named; the first one keeps it."""
    payments = Dependency("payments")
    first = binding("guard A")
    payments.bind(first)
    with pytest.raises(SettingsError, match=r"'payments'.*'guard A'.*'guard B'"):
        payments.bind(binding("guard B"))
    assert payments.circuit is first.circuit


async def test_two_guards_one_after_the_other_are_fine() -> None:
    """The second one starts with its own circuit."""
    payments = Dependency("payments")
    first = binding("guard A")
    payments.bind(first)
    payments.unbind(first)
    second = binding("guard B")
    payments.bind(second)
    assert payments.circuit is second.circuit


async def test_unbinding_closes_the_binding() -> None:
    """Threads that still hold it are told."""
    payments = Dependency("payments")
    bound = binding()
    payments.bind(bound)
    payments.unbind(bound)
    with pytest.raises(GuardClosed):
        await asyncio.to_thread(bound.acquire)


async def test_unbinding_drops_the_guards_circuit() -> None:
    """A module's dependency lives as long as the process, and must not keep every guard's circuit alive."""

    class Watched(Circuit):
        __slots__ = ("__weakref__",)

    payments = Dependency("payments")
    circuit = Watched("payments")
    seen = weakref.ref(circuit)
    bound = GuardCircuit("guard A", circuit, ManualClock(), lambda: None, asyncio.get_running_loop())
    payments.bind(bound)
    payments.unbind(bound)
    del circuit, bound
    gc.collect()
    assert seen() is None


async def test_unbinding_what_another_guard_has_changes_nothing() -> None:
    """A guard that has met the dependency in a handler lets go of its own circuit alone."""
    payments = Dependency("payments")
    met, declared = binding("guard A"), binding("guard B")
    payments.lend(met)
    assert payments.circuit is met.circuit
    payments.bind(declared)
    assert payments.circuit is declared.circuit
    payments.unbind(met)
    assert payments.circuit is declared.circuit


async def test_a_guard_that_has_met_it_gives_way_to_one_that_declares_it_and_not_the_other_way() -> None:
    """Whoever comes first: a run that starts later must not be refused for what a handler has called by chance."""
    payments = Dependency("payments")
    first = binding("guard A")
    payments.bind(first)
    payments.lend(binding("guard B"))
    assert payments.circuit is first.circuit
    with pytest.raises(SettingsError, match="'guard A'"):
        payments.bind(binding("guard C"))


# Trap 13


def test_each_refusal_is_a_fresh_exception() -> None:
    """One shared object would grow its traceback for ever."""
    payments = Dependency("payments")
    payments.circuit.force_open(0.0)
    refusals = []
    for _ in range(2):
        with pytest.raises(CallNotPermitted) as caught:
            payments.call_sync(int)
        refusals.append(caught.value)
    assert refusals[0] is not refusals[1]
    assert len(traceback.extract_tb(refusals[0].__traceback__)) == len(traceback.extract_tb(refusals[1].__traceback__))


async def test_keywords_for_the_function_are_refused_with_the_remedy() -> None:
    """`call(client.post, url, json=...)` is what one writes first."""
    payments = Dependency("payments")
    keywords: Any = {"json": 1}

    async def post(url: str, **_: Any) -> str:
        return url

    with pytest.raises(
        SettingsError, match=r"^call\(\) takes no keywords .*got json=\.\.\.: write call\(functools\.partial\(post, \.\.\., json="
    ):
        await payments.call(post, "url", **keywords)
    with pytest.raises(SettingsError, match=r"^call_sync\(\) takes no keywords"):
        payments.call_sync(len, "url", **keywords)
    assert await payments.call(partial(post, json=1), "url") == "url"
