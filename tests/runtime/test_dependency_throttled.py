"""What a Dependency takes for throttled by itself and by its settings, and what it reads of the limit."""

from __future__ import annotations

import logging
import math
from types import SimpleNamespace
from typing import Any

import pytest

from holdgate import Delivery, Dependency, Outcome, RetryPolicy, http
from holdgate.core import Told
from holdgate.errors import SettingsError
from holdgate.presets import search, sql
from holdgate.testing import MemoryDeadLetters, rehearse


class StatusError(Exception):
    """What httpx raises for a status."""

    def __init__(self, status_code: int, **headers: str) -> None:
        super().__init__(status_code)
        self.response = SimpleNamespace(status_code=status_code, headers={name.replace("_", "-"): value for name, value in headers.items()})


class Cluster(Exception):
    """What Elasticsearch's client raises: a full disk is a 429, too."""

    __module__ = "elasticsearch"

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error
        self.status_code = 429
        self.meta = SimpleNamespace(status=429, headers={})


class PaymentError(Exception):
    """What the payments client raises."""


@pytest.mark.parametrize(
    "dependency",
    [Dependency("payments"), Dependency("payments", failures=http.failures), Dependency("payments", failures=Exception)],
    ids=["no settings", "a preset", "everything"],
)
def test_a_429_is_throttled_without_a_word(dependency: Dependency) -> None:
    """And a 503 is a failure, also one that says when to come back."""
    assert dependency.classify(StatusError(429)) is Outcome.THROTTLED
    assert dependency.classify(StatusError(503, Retry_After="7")) is Outcome.FAILURE
    wrapped = PaymentError()
    wrapped.__cause__ = StatusError(429)
    assert dependency.classify(wrapped) is Outcome.THROTTLED


def test_a_429_of_another_dependency_is_none_of_ours() -> None:
    """Only what would be a failure can be throttled, as long as nobody says otherwise."""
    assert Dependency("db", failures=sql.failures).classify(StatusError(429)) is Outcome.IGNORED
    assert Dependency("db", failures=sql.failures, throttled=http.throttled).classify(StatusError(429)) is Outcome.THROTTLED


def test_throttling_can_be_left_out_and_chosen() -> None:
    """() counts a 429 as a failure, as before; a predicate may take a 503 in."""
    assert Dependency("payments", throttled=()).classify(StatusError(429)) is Outcome.FAILURE
    chosen = Dependency("payments", failures=http.failures, throttled=http.asks_to_wait)
    assert chosen.classify(StatusError(503, Retry_After="7")) is Outcome.THROTTLED
    assert chosen.classify(StatusError(503)) is Outcome.FAILURE


def test_a_full_disk_is_not_too_many_calls() -> None:
    """Elasticsearch has closed an index to writes, with a 429: one client's meaning is not another's."""
    cluster = Dependency("search", failures=search.failures)
    assert cluster.classify(Cluster("cluster_block_exception")) is Outcome.FAILURE
    assert cluster.classify(Cluster("es_rejected_execution_exception")) is Outcome.THROTTLED


class Odd(Exception):
    """An exception of a client that nobody knows: whatever is read of it may be anything, and raise anything."""

    def __init__(self) -> None:
        super().__init__([], {})

    @property
    def response(self) -> object:
        raise RuntimeError

    @property
    def meta(self) -> object:
        raise RuntimeError


def test_an_exception_that_no_client_knows_is_a_failure_and_costs_no_verdict(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing of it can be read, and that is nobody's mistake."""
    assert Dependency("payments").classify(Odd()) is Outcome.FAILURE
    assert Dependency("payments").told_of(Odd()) is None
    assert caplog.records == []


def test_results_are_read_as_exceptions_are() -> None:
    """A response that was returned without raising: by `result_throttled`, or among those that have failed."""
    refused, down, good = (SimpleNamespace(status_code=status, headers={}) for status in (429, 503, 200))
    by_itself = Dependency("payments", result_failures=lambda response: response.status_code >= 400)
    assert [by_itself.classify_result(each) for each in (refused, down, good)] == [Outcome.THROTTLED, Outcome.FAILURE, Outcome.SUCCESS]
    given = Dependency("payments", result_throttled=http.throttled)
    assert [given.classify_result(each) for each in (refused, down, good)] == [Outcome.THROTTLED, Outcome.SUCCESS, Outcome.SUCCESS]
    nothing = Dependency("payments", throttled=(), result_failures=lambda response: response.status_code >= 400)
    assert nothing.classify_result(refused) is Outcome.FAILURE
    assert not Dependency("payments").looks_at_results


@pytest.mark.parametrize("setting", ["result_throttled", "told"])
def test_what_cannot_be_called_or_is_async_is_refused(setting: str) -> None:
    """Its answer would always be true."""

    async def later(_: object) -> bool:
        return True

    for given in (later, 5):
        with pytest.raises(SettingsError, match=setting):
            Dependency("payments", **{setting: given})  # type: ignore[arg-type]


def test_what_a_throttled_answer_says_is_read_by_itself() -> None:
    """Also in what it was wrapped into. `retry_after` of the user's own counts where nothing else says it."""
    payments = Dependency("payments", retry_after=lambda _: 9.0)
    wrapped = PaymentError()
    wrapped.__cause__ = StatusError(429, X_RateLimit_Remaining="0", X_RateLimit_Reset="12")
    assert payments.told_of(wrapped) == Told(12.0, 0, 12.0)
    assert payments.told_of(StatusError(429)) == Told(retry_after=9.0)
    assert Dependency("payments").told_of(StatusError(429)) is None


def test_a_reader_of_the_users_own_is_asked_alone() -> None:
    """What cannot be true is left out of it as well, and good answers are read, too."""
    payments = Dependency("payments", told=lambda answer: Told(math.nan, answer.left, 30.0))
    assert payments.told_of(SimpleNamespace(left=3)) == Told(None, 3, 30.0)
    assert payments.told_of(SimpleNamespace(left=-3)) == Told(reset=30.0)
    assert (payments.reads_good_answers, payments.looks_at_results) == (True, True)


@pytest.mark.parametrize("broken", [lambda _: 1 / 0, lambda _: 7.0])
def test_a_reader_that_fails_says_nothing_and_is_told(broken: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever it raises, and if it returns anything else than a Told."""
    caplog.set_level(logging.ERROR, "holdgate")
    payments = Dependency("payments", told=broken)
    assert payments.told_of(StatusError(429)) is None
    assert payments.told_of(object()) is None
    assert "told of dependency 'payments' raised" in caplog.text


def test_a_rule_for_results_that_fails_costs_the_verdict(caplog: pytest.LogCaptureFixture) -> None:
    """And is told by its name."""
    payments = Dependency("payments", result_throttled=lambda response: response.status == 429)
    assert payments.classify_result(None) is None
    assert "result_throttled of dependency 'payments' raised AttributeError" in caplog.text


def test_a_batch_call_that_was_throttled_in_part_is_made_again() -> None:
    """DynamoDB returns what it has not taken. A handler that asks for its message again gets it, with no attempt charged."""
    answers: list[dict[str, Any]] = [{}, {"UnprocessedItems": {"orders": [1]}}, {}]
    dynamo = Dependency("dynamo", result_throttled=lambda answer: bool(answer.get("UnprocessedItems")))

    async def write() -> dict[str, Any]:
        return answers.pop(0)

    async def handle(delivery: Delivery[Any]) -> None:
        if (await dynamo.call(write)).get("UnprocessedItems"):
            delivery.retry()

    report = rehearse(
        handle, needs=[dynamo], deliveries=[b"1", b"2"], retry=RetryPolicy(attempts=1), dead_letters=(dead := MemoryDeadLetters())
    )
    assert report.processed == (b"1", b"2")
    assert report.called == 3
    assert dead.letters == []
