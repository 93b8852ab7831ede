"""The guard in the life of a worker, with a main process that is this test: its end, and signals that interrupt it."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("celery", reason="celery is not installed: pip install 'holdgate[celery]'")

from celery import Celery
from celery.worker import state

from holdgate import Dependency
from holdgate.integrations.celery import CeleryGuard

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 30.0


@contextmanager
def begun() -> Iterator[CeleryGuard]:
    """A guard that has begun in a worker."""
    app = Celery("test", broker="amqp://", set_as_current=False)
    app.conf.task_acks_late = True

    @app.task(name="charge", shared=False)
    def charge() -> None: ...

    guarded = CeleryGuard(app, needs={"charge": [Dependency("payments")]})
    consumer = SimpleNamespace(initial_prefetch_count=8, soon=lambda call: None)
    worker: Any = SimpleNamespace(
        hub=object(), pool_cls=object, prefetch_multiplier=4, max_concurrency=2, pool=SimpleNamespace(num_processes=2), consumer=consumer
    )
    guarded.prepare(worker)
    guarded.begin(worker)
    try:
        yield guarded
    finally:
        guarded.end()


def until(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_guard_that_is_stopped_stops_its_worker(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise it would go on taking tasks that nobody starts, up to its prefetch, and say nothing."""
    monkeypatch.setattr(state, "should_stop", None)
    with begun() as guarded:
        loop = guarded._loop
        assert loop is not None
        loop.run(guarded.guard.stop(), PATIENCE)
        until(lambda: state.should_stop is not None)
    assert state.should_stop == os.EX_OK
    assert "the guard was stopped; the worker stops" in caplog.text


def test_the_end_of_a_worker_is_no_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its exit code is Celery's own."""
    monkeypatch.setattr(state, "should_stop", None)
    with begun():
        pass
    assert state.should_stop is None


def test_a_signal_that_interrupts_a_step_of_the_guard_finds_no_station() -> None:
    """Celery's cold shutdown waits for the pool in its signal handler, and tasks end there: the guard must not be entered twice."""
    found: list[object] = []
    with begun() as guarded:
        loop = guarded._loop
        assert loop is not None
        before = signal.signal(signal.SIGUSR1, lambda *_: found.append(guarded.station))
        try:
            signal.raise_signal(signal.SIGUSR1)
            with loop:
                signal.raise_signal(signal.SIGUSR1)
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert found == [guarded.station, None]
