"""What the guard does in Celery's requests and consumer. The requests are Celery's own, with a station that notes how they end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("celery", reason="celery is not installed: pip install 'holdgate[celery]'")

from amqp.exceptions import RecoverableConnectionError
from billiard.einfo import ExceptionInfo
from celery import Celery
from celery.exceptions import Terminated
from celery.worker.request import Request

from holdgate.core import Outcome
from holdgate.flow.attribution import Attribution, Cause, NeedVerdict
from holdgate.flow.message import Queue
from holdgate.flow.policy import Verdict
from holdgate.integrations.celery.consumer import GuardedConsumer, GuardedRequest
from holdgate.integrations.celery.given_back import TaskGivenBack
from holdgate.runtime.wording import RaisedElsewhere


class Station:
    """Notes how attempts end, and lets none be tried again."""

    def __init__(self) -> None:
        self.ends: list[str] = []

    def succeeded(self, delivery: Any) -> None:
        self.ends.append("succeeded")

    def replaced(self, delivery: Any) -> None:
        self.ends.append("replaced")

    def given_back(self, delivery: Any, what: TaskGivenBack) -> Verdict:
        self.ends.append("given back")
        return Verdict.STALE


def failure_of(error: Exception) -> ExceptionInfo:
    try:
        raise error
    except type(error):
        return ExceptionInfo()


class Bench:
    """A request of a guarded task that has come to the station."""

    def __init__(self) -> None:
        app = Celery("test", broker="memory://", backend="cache+memory://", set_as_current=False)

        @app.task(name="charge", shared=False, acks_late=True)
        def charge() -> None: ...

        self.station = Station()
        self.acked: list[bool] = []
        self.signals: list[int] = []
        guarding = SimpleNamespace(station=self.station)
        message = SimpleNamespace(
            headers={"id": "1", "task": "charge"}, body=b"", payload=((), {}, {}), properties={}, delivery_info={},
            content_type="application/json", content_encoding="utf-8",
        )  # fmt: skip
        self.pool = SimpleNamespace(terminate_job=lambda _, number: self.signals.append(number))
        guarded = type("Guarded", (GuardedRequest, Request), {"guarding": guarding})
        self.request: Any = guarded(message, on_ack=lambda *_: self.acked.append(True), app=app, task=app.tasks["charge"])
        self.request.delivery = object()

    def begin(self) -> None:
        self.request.on_accepted(4711, 0.0)


def test_a_task_that_an_operator_terminates_is_no_success() -> None:
    """Celery acks it, and then hears that its process has ended: a probe of a dependency that hangs would close the circuit."""
    it = Bench()
    it.begin()
    it.request.terminate(it.pool)
    it.request.on_failure(failure_of(Terminated("SIGTERM")))
    assert len(it.signals) == 1
    assert it.acked == [True]
    assert it.station.ends == ["replaced"]


def test_a_task_that_is_to_be_terminated_when_it_begins_has_not_ended() -> None:
    """Celery only notes it, until the pool has begun the task."""
    it = Bench()
    it.request.terminate(it.pool)
    assert it.station.ends == []
    it.begin()
    assert it.station.ends == ["replaced"]


def test_a_terminated_task_whose_result_was_on_its_way_has_ended_once() -> None:
    """Its message is acked: to return it as well would cost the channel."""
    it = Bench()
    it.begin()
    it.request.terminate(it.pool)
    found = Attribution((NeedVerdict(Outcome.FAILURE),), Cause.DEPENDENCY)
    failure = failure_of(ConnectionError())
    it.request.on_failure(failure_of(TaskGivenBack(found, RaisedElsewhere("ConnectionError", "tasks.py:7", "", ""), failure)))
    assert it.station.ends == ["replaced"]


def test_a_message_of_a_connection_that_is_gone_is_given_back_already() -> None:
    """The main loop goes on."""

    def send(*_: object) -> None:
        raise RecoverableConnectionError

    it = Bench()
    it.request.message.channel = SimpleNamespace(send_method=send)
    it.request.message.delivery_tag = 1
    consumer = SimpleNamespace(connection_errors=(RecoverableConnectionError,))
    GuardedConsumer.forget(consumer, it.request, acknowledge=False)  # type: ignore[arg-type]


def test_a_task_of_an_eta_is_as_old_as_its_delivery() -> None:
    """What the guard gets to know, when the task comes to it at last."""
    bench = Bench()
    offered: list[float] = []
    consumer = GuardedConsumer.__new__(GuardedConsumer)
    consumer._guarded, consumer._queues = frozenset({"charge"}), {None: Queue("orders")}
    bench.station.offer = lambda _source, _request, age: offered.append(age)  # type: ignore[attr-defined]
    consumer.guarding = bench.request.guarding
    bench.request.taken_at -= 1500.0
    consumer.arrived(bench.request)
    assert offered == [pytest.approx(1500.0, abs=60.0)]


def test_a_task_that_has_gone_well_is_freed_without_the_garbage_collector() -> None:
    """Request and delivery know one another, and a worker makes thousands of them in a second."""
    it = Bench()
    it.begin()
    it.request.acknowledge()
    assert it.station.ends == ["succeeded"]
    assert it.acked == [True]
    assert it.request.delivery is None
    it.request.acknowledge()  # Celery may do so twice
    assert it.station.ends == ["succeeded"]
