"""What a guarded task does in its pool process: a failure of what it needs is given back to the worker, and is not Celery's failure.

Theory of operation. When a task raises, Celery's pool process stores the failure, calls the errbacks and hooks, and only then tells the
main process. `Task.retry` publishes a copy of the message, and spends one of `max_retries`. Neither can be taken back. So the decision is
made inside of both, where the exception still has its answer and its headers: what attribution calls a failure of the task's needs, or "not
so fast", leaves the task as `TaskGivenBack`. Celery takes that for a `Reject` and does nothing. The main process never does what the
`Reject` asks for: it lets the engine decide, with the attribution that came along.

    the task raises            and it is its own failure: Celery's way, as without a guard
    the task calls retry       the same question, before anything is published: of what it retries for, and of what it has caught
    autoretry_for              is around us, and passes on what is an `Ignore`
    a soft time limit          is a failure of what the task was waiting for, as a handler's time limit is
    its class fails            in a `before_start` or `__call__` of its own, where many open a session: the same question

A class that catches what the task raises, and retries it, catches `TaskGivenBack` too. So `retry` passes it on.

Should a worker without a guard meet a `TaskGivenBack`, its `Reject` puts the message back into the queue. Nothing is lost.
"""

from __future__ import annotations

# Celery has no types of its own, and those that can be guessed are of no use.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
import logging
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, NoReturn

from billiard.einfo import ExceptionInfo
from celery.app.trace import task_has_custom
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded, TaskPredicate
from celery.utils.serialization import get_pickleable_etype, get_pickleable_exception

from holdgate.flow.attribution import Attribution, Cause, attribute
from holdgate.runtime.wording import RaisedElsewhere, kind_of, steps, text_of, whereabouts

if TYPE_CHECKING:
    from holdgate.runtime.dependency import Dependency

# These are not the message's: it comes again.
_NOT_ITS_OWN = (Cause.DEPENDENCY, Cause.THROTTLED, Cause.REFUSED)

_celerys = logging.getLogger("celery.app.trace")

Needs = Callable[[Any], Sequence["Dependency"]]


class TaskGivenBack(Reject, Ignore):  # type: ignore[misc]  # Celery has no types
    """A task could not be done because of what it needs. `attribution` says whose failure it was.

    `error` stands for what was raised, and `failure` is that itself, as Celery would have stored it.
    """

    def __init__(self, attribution: Attribution, error: RaisedElsewhere, failure: ExceptionInfo) -> None:
        super().__init__(str(error), requeue=True)
        self.attribution = attribution
        self.error = error
        self.failure = failure

    def __reduce__(self) -> tuple[Any, ...]:
        return TaskGivenBack, (self.attribution, self.error, self.failure)

    def __repr__(self) -> str:
        return f"given back to the guard: {self.error}"

    __str__ = __repr__


class _InOneLine(logging.Filter):
    """Lets Celery log a task that was given back in one line, without a traceback. The guard's own log says more, and less often."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], TaskGivenBack):
            record.exc_info = None
            record.levelno, record.levelname = logging.INFO, "INFO"
        return True


def install(task: Any, needs: Needs) -> None:
    """Let a task give back what is a failure of its needs. `needs` gets the running request, and returns them. Idempotent."""
    if not any(isinstance(one, _InOneLine) for one in _celerys.filters):
        _celerys.addFilter(_InOneLine())
    inner = "_orig_run" if hasattr(task, "_orig_run") else "run"  # Celery's autoretry has put itself around the task's own function
    if getattr(getattr(task, inner), "__holdgate__", False):
        return
    setattr(task, inner, _or_give_back(task, needs, getattr(task, inner)))
    if task_has_custom(task, "before_start"):
        task.before_start = _or_give_back(task, needs, task.before_start)
    if task_has_custom(task, "__call__"):  # Python looks it up in the class, which other tasks may have, too
        own = type(task)
        task.__class__ = type(own.__name__, (own,), {"__call__": _or_give_back(task, needs, own.__call__), "__module__": own.__module__})
    retry = task.retry

    @wraps(retry)
    def retry_or_give_back(*args: Any, **kwargs: Any) -> Any:
        for error in (kwargs.get("exc"), sys.exc_info()[1]):
            if isinstance(error, TaskGivenBack):
                raise error
            if isinstance(error, Exception) and not isinstance(error, TaskPredicate):
                _give_back(task, needs, error)
        return retry(*args, **kwargs)

    task.retry = retry_or_give_back


def _or_give_back(task: Any, needs: Needs, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return a call that raises TaskGivenBack in place of a failure of the task's needs."""

    @wraps(call)
    def call_or_give_back(*args: Any, **kwargs: Any) -> Any:
        try:
            return call(*args, **kwargs)
        except TaskPredicate:
            raise
        except Exception as error:
            _give_back(task, needs, error)
            raise

    vars(call_or_give_back)["__holdgate__"] = True
    return call_or_give_back


def _give_back(task: Any, needs: Needs, error: Exception) -> None:
    """Raise TaskGivenBack if an exception of the running task is a failure of its needs. Not for a task that is called as a function."""
    request = task.request
    if request.called_directly or request.is_eager:
        return
    timed_out = isinstance(error, SoftTimeLimitExceeded)
    needed = needs(request)
    found = attribute(needed, None, error, 0.0, timed_out=timed_out)
    if needed and found.cause in _NOT_ITS_OWN:
        _raise(found, error)


def _raise(found: Attribution, error: Exception) -> NoReturn:
    said = RaisedElsewhere(kind_of(error), whereabouts(error), text_of(error), steps(error))
    # As Celery sends a failure to the main process: the exception itself where it can be pickled, else what can be said of it.
    sent = get_pickleable_exception(error)
    raise TaskGivenBack(found, said, ExceptionInfo((get_pickleable_etype(type(error)), sent, error.__traceback__))) from error
