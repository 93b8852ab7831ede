"""What a Celery worker is refused for, and what its log says of its tasks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("celery", reason="celery is not installed: pip install 'holdgate[celery]'")

from celery import Celery
from kombu import Queue

from holdgate import Dependency
from holdgate.errors import SettingsError
from holdgate.integrations.celery import CeleryGuard
from holdgate.integrations.celery.checks import check_tasks, check_transport, check_worker, consumer_timeouts, tell


def app_of(broker: str = "amqp://", **conf: Any) -> Celery:
    app = Celery("test", broker=broker, set_as_current=False)
    app.conf.update(conf)

    @app.task(name="charge", shared=False)
    def charge() -> None: ...

    return app


@pytest.mark.parametrize(("driver", "why"), [("memory", "was tried"), ("sqs", "visibility_timeout"), ("redis", "visibility_timeout")])
def test_other_transports_are_refused(driver: str, why: str) -> None:
    """With the reason: what is held would be handed out again."""
    connection = SimpleNamespace(transport=SimpleNamespace(driver_type=driver))
    with pytest.raises(SettingsError, match=why):
        check_transport(SimpleNamespace(connection_for_read=lambda: connection))
    check_transport(app_of())


def worker(**changed: Any) -> Any:
    pool = SimpleNamespace(__module__="celery.concurrency.gevent", is_green=changed.get("green", False))
    return SimpleNamespace(hub=changed.get("hub", object()), pool_cls=pool, prefetch_multiplier=changed.get("multiplier", 4))


def test_green_pools_and_prefetches_without_a_bound_are_refused() -> None:
    """With what to use instead."""
    with pytest.raises(SettingsError, match=r"gevent cannot be guarded.*prefork, threads or solo"):
        check_worker(worker(green=True))
    with pytest.raises(SettingsError, match="cannot be guarded"):
        check_worker(worker(hub=None))
    with pytest.raises(SettingsError, match=r"no bound.*set 1 or more"):
        check_worker(worker(multiplier=0))
    check_worker(worker())


def test_tasks_that_are_acked_early_are_refused() -> None:
    """By their names, and with both remedies."""
    with pytest.raises(SettingsError, match=r"\['charge'\] is acked before running.*task_acks_late = True"):
        check_tasks(app_of(), ["charge"])
    check_tasks(app_of(task_acks_late=True), ["charge"])


def test_tasks_that_nobody_would_await_are_refused() -> None:
    """Celery makes a coroutine of an async task, and throws it away: that looks like a success."""
    app = app_of(task_acks_late=True)

    @app.task(name="refund", shared=False)
    async def refund() -> None: ...

    with pytest.raises(SettingsError, match=r"\['refund'\] is async def, which Celery calls and does not await.*write def"):
        check_tasks(app, ["charge", "refund"])


def test_a_queue_may_have_a_consumer_timeout_of_its_own() -> None:
    """Its argument is in milliseconds; the others have the broker's."""
    queues = [
        Queue("own", queue_arguments={"x-consumer-timeout": 60_000}),
        Queue("reader", consumer_arguments={"x-consumer-timeout": 5000}),
        Queue("plain"),
    ]
    assert consumer_timeouts(app_of(task_queues=queues), 1800.0) == {"own": 60.0, "reader": 5.0, "plain": 1800.0}


def test_the_log_says_what_becomes_of_tasks_that_fail(caplog: pytest.LogCaptureFixture) -> None:
    """By Celery's defaults a task that fails in the end is gone, and so is one whose process is killed."""
    caplog.set_level("INFO")
    tell(app_of(task_acks_late=True), {"charge": ["payments"]})
    text = caplog.text
    assert "guards 1 task, charge; a failure of payments is tried again in place" in text
    assert "acked and gone; acks_on_failure_or_timeout=False dead-letters it" in text
    assert "task_reject_on_worker_lost = True" in text
    caplog.clear()
    tell(app_of(task_acks_late=True, task_reject_on_worker_lost=True, task_acks_on_failure_or_timeout=False), {"charge": ["payments"]})
    assert "gone" not in caplog.text


def test_a_guard_is_refused_what_it_cannot_be() -> None:
    """At construction: no Celery app, no needs, and a function that may return anything."""
    with pytest.raises(SettingsError, match="app must be a Celery app"):
        CeleryGuard("shop")
    with pytest.raises(SettingsError, match="needs must be a mapping"):
        CeleryGuard(app_of(), needs=[Dependency("payments")])  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="name what it may return"):
        CeleryGuard(app_of(), needs=lambda task: [])


def test_trap_a_second_guard_of_an_app_is_refused() -> None:
    """The worker's consumer would have the first one, and what the tasks of the second give back would be requeued again and again."""
    app = Celery("test", broker="memory://", set_as_current=False)
    CeleryGuard(app, needs={"charge": [Dependency("payments")]})
    with pytest.raises(SettingsError, match="has a CeleryGuard already"):
        CeleryGuard(app, needs={"mail": [Dependency("payments")]})


@pytest.mark.parametrize(
    ("needs", "why"),
    [
        ({"nobody": [Dependency("payments")]}, r"needs has \['nobody'\].*\['charge'\]"),
        ({}, "no task of the app has needs"),
        (None, "no task"),
    ],
)
def test_needs_of_no_task_are_refused_when_a_worker_is_made(needs: Any, why: str) -> None:
    """The names that are known stand beside those that are not."""
    guarded = CeleryGuard(app_of(task_acks_late=True), needs=needs)
    with pytest.raises(SettingsError, match=why):
        guarded.prepare(worker())


def test_what_would_be_refused_is_found_without_a_worker() -> None:
    """`check()` asks no broker, so a project's own test may call it: a name that no task has, early acks; then all is right."""
    with pytest.raises(SettingsError, match="correct the names"):
        CeleryGuard(app_of(), needs={"chrage": [Dependency("payments")]}).check()
    with pytest.raises(SettingsError, match="acked before running"):
        CeleryGuard(app_of(), needs={"charge": [Dependency("payments")]}).check()
    CeleryGuard(app_of(task_acks_late=True), needs={"charge": [Dependency("payments")]}).check()
