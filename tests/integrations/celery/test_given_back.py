"""What leaves a guarded task in its pool process. The tracer is Celery's own, with no broker."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

pytest.importorskip("celery", reason="celery is not installed: pip install 'holdgate[celery]'")

from celery import Celery, Task
from celery.app.trace import build_tracer
from celery.exceptions import SoftTimeLimitExceeded

from holdgate import Dependency
from holdgate.flow.attribution import Cause
from holdgate.integrations.celery.given_back import TaskGivenBack, install

PAYMENTS = Dependency("payments", failures=ConnectionError)


class Unpicklable(ConnectionError):
    """As httpx has them: it cannot be made again from its arguments."""

    def __init__(self, *, response: object) -> None:
        super().__init__("canary-text")
        self.response = response


def app_of() -> Celery:
    return Celery("test", broker="memory://", backend="cache+memory://", set_as_current=False)


def task_that(raises: Exception | None, **options: Any) -> Any:
    """Return a guarded task that raises this."""
    app = app_of()

    def work() -> str:
        if raises is not None:
            raise raises
        return "well"

    task = app.task(name="work", shared=False, **options)(work)
    found = app.tasks[task.name]
    install(found, lambda _: [PAYMENTS])
    return found


def run(task: Any) -> Any:
    """Run it as a pool process does. Returns what it returned, or the exception that goes to the main process."""
    result, info, *_ = build_tracer(task.name, task, app=task.app)("id", (), {}, {"id": "id", "delivery_info": {}})
    return result if info is None else info.retval


def test_a_failure_of_a_need_is_given_back() -> None:
    """With its attribution, and nothing is stored as a failure."""
    task = task_that(ConnectionError("down"))
    given = run(task)
    assert isinstance(given, TaskGivenBack)
    assert given.attribution.cause is Cause.DEPENDENCY
    assert task.AsyncResult("id").state == "PENDING"


def test_what_is_given_back_can_be_sent_to_the_main_process() -> None:
    """Also where the exception itself cannot be pickled: then it is told by what was found out here."""
    given = run(task_that(Unpicklable(response=object())))
    again = pickle.loads(pickle.dumps(given))  # noqa: S301 - our own
    assert again.attribution == given.attribution
    assert again.error.kind == "Unpicklable"
    assert again.error.place.startswith("test_given_back.py:")


@pytest.mark.parametrize("raised", [ValueError("own"), None], ids=["own failure", "success"])
def test_everything_else_is_celerys(raised: Exception | None) -> None:
    """A failure of the task's own is stored as without a guard, and a result comes out."""
    task = task_that(raised)
    assert run(task) == ("well" if raised is None else raised)
    assert task.AsyncResult("id").state == ("SUCCESS" if raised is None else "FAILURE")


def test_a_soft_time_limit_is_a_failure_of_the_needs() -> None:
    """Whatever `failures` says: the task was waiting for something."""
    given = run(task_that(SoftTimeLimitExceeded()))
    assert isinstance(given, TaskGivenBack)
    assert given.attribution.findings[0].outcome is not None


def test_autoretry_does_not_see_it() -> None:
    """It would publish a copy of the message, and spend a retry."""
    assert isinstance(run(task_that(ConnectionError(), autoretry_for=(Exception,), max_retries=1)), TaskGivenBack)


class Refused(Exception):
    """What a task calls it when payments does not answer."""


def task_with(cls: type[Task], call: Any) -> Any:
    """Return a guarded task of a class of its own."""
    app = app_of()
    task = app.task(name="work", shared=False, bind=True, base=cls, max_retries=1)(call)
    install(app.tasks[task.name], lambda _: [PAYMENTS])
    return app.tasks[task.name]


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The copies of a message that a retry publishes."""
    published: list[object] = []
    monkeypatch.setattr(Task, "signature_from_request", lambda *_, **__: published.append(1) or _Sent())
    return published


def fails(*_: object) -> None:
    raise ConnectionError("down")


def goes_well(*_: object) -> str:
    return "well"


def test_trap_a_task_that_retries_for_another_exception_is_given_back(copies: list[object]) -> None:
    """`self.retry(exc=Refused())` while it handles what payments has raised: a retry would be spent on the outage."""

    def work(self: Any) -> None:
        try:
            fails()
        except ConnectionError:
            raise self.retry(exc=Refused()) from None

    assert isinstance(run(task_with(Task, work)), TaskGivenBack)
    assert copies == []


def test_trap_a_class_that_retries_whatever_its_tasks_raise_passes_it_on(copies: list[object]) -> None:
    """It catches what we raise as well, and would publish a copy for it."""

    class Retrying(Task):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            try:
                return self.run(*args, **kwargs)
            except Exception as error:
                raise self.retry(exc=error) from error

    assert isinstance(run(task_with(Retrying, fails)), TaskGivenBack)
    assert copies == []


def test_trap_a_need_that_fails_before_the_tasks_own_function_is_given_back() -> None:
    """In `before_start`, or around the function in `__call__`, where many open a session: nothing of the task was done."""

    class Prepared(Task):
        def before_start(self, *_: Any) -> None:
            fails()

    class Surrounded(Task):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            self.run(*args, **kwargs)
            fails()

    for cls in (Prepared, Surrounded):
        assert isinstance(run(task_with(cls, goes_well)), TaskGivenBack), cls


def test_a_class_of_several_tasks_keeps_its_call_for_those_without_a_guard() -> None:
    """The guard is put around the call of one task, and not of its class."""

    class Failing(Task):
        def __call__(self, *_: Any, **__: Any) -> Any:
            fails()

    guarded = task_with(Failing, goes_well)
    free = guarded.app.task(name="free", shared=False, base=Failing)(goes_well)
    assert isinstance(run(guarded), TaskGivenBack)
    assert isinstance(run(guarded.app.tasks[free.name]), ConnectionError)


def test_a_retry_of_the_tasks_own_goes_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no failure of a need is retried by Celery."""
    task = task_that(ValueError(), autoretry_for=(ValueError,), max_retries=1)
    sent: list[object] = []
    monkeypatch.setattr(type(task), "signature_from_request", lambda *_, **__: sent.append(1) or _Sent())
    run(task)
    assert sent == [1]


class _Sent:
    def apply_async(self) -> None: ...


def test_a_task_that_is_called_as_a_function_raises_what_it_raises() -> None:
    """No message is behind such a call."""
    with pytest.raises(ConnectionError):
        task_that(ConnectionError())()


def test_it_is_put_around_a_task_once() -> None:
    """A pool process that was forked has it already."""
    task = task_that(ConnectionError())
    before = task.run
    install(task, lambda _: [PAYMENTS])
    assert task.run is before


def test_celery_logs_it_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Without a traceback and without the exception's text, which the guard's own log leaves out as well."""
    caplog.set_level("INFO")
    run(task_that(ConnectionError("canary-text")))
    [record] = [record for record in caplog.records if "given back" in record.getMessage()]
    assert record.levelname == "INFO"
    assert record.exc_info is None
