"""What the guard puts into a Celery worker: a consumer, a class of requests, and a step of the worker's life.

Theory of operation. `GuardedConsumer` stands in for the consumer of the setting `worker_consumer`, whatever class that is. Celery's
consumer gives each request to a function that it was made with; ours gives those of guarded tasks to the station, which calls that
function when the task may start. That is behind rate limits and ETAs. (A bucket of `bucket_for_task` would be in place of a rate limit, is
not asked with `worker_disable_rate_limits`, and is made anew by `celery control rate_limit`.)

`GuardedRequest` is put before the request class of each guarded task. Celery calls its methods in the main process when a task has ended,
and settles the message there. So it is the place to ask the engine first. A plain success ends in `acknowledge`: the class that Celery
makes of ours overrides `on_success` and calls no other.

`GuardStep` begins the guard behind the pool, when the pool's processes exist, so that none of them inherits it. The guard ends with the
consumer, which Celery shuts down last: tasks that run are waited for before, and their ends still count.
"""

from __future__ import annotations

# Celery has no types of its own, and those that can be guessed are of no use.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from time import monotonic
from typing import Any, Protocol, cast

from amqp import spec
from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from celery import bootsteps, states
from celery.app.trace import task_has_custom
from celery.exceptions import Ignore, Reject, Retry, Terminated, TimeLimitExceeded
from celery.utils.imports import symbol_by_name
from celery.worker import state

from holdgate.flow.message import Queue
from holdgate.flow.policy import Verdict
from holdgate.integrations.celery.given_back import TaskGivenBack
from holdgate.integrations.celery.station import TaskDelivery, TaskStation

log = logging.getLogger("holdgate")


class Guarding(Protocol):
    """What the consumer and the step ask of the guard of their app."""

    @property
    def station(self) -> TaskStation | None:
        """Where tasks meet the guard. None means that it has not begun, or is over."""
        ...

    @property
    def guarded(self) -> Collection[str]:
        """The names of the guarded tasks."""
        ...

    def prepare(self, worker: Any) -> None:
        """Check the settings, and let the tasks give back what is a failure of their needs. Raises SettingsError."""
        ...

    def begin(self, worker: Any) -> None:
        """Begin, with the pool's processes there. Raises what the guard cannot begin with."""
        ...

    def end(self) -> None:
        """End the guard, and wait for it for a few seconds."""
        ...


# -- requests -------------------------------------------------------------------------------------------------------------------------


class GuardedRequest:
    """What a request of a guarded task does besides Celery's own. It stands before the request class of the task."""

    delivery: TaskDelivery | None = None  # set when the task has come to the guard
    guarding: Guarding  # set for each app
    _is_over = False  # the engine knows how it has ended
    _again = False  # its hard time limit was over, and it comes again

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.taken_at = monotonic()  # from the broker. An ETA and a rate limit let it wait, unacked, before it comes to the guard

    def acknowledge(self) -> None:
        """Ack. Whatever has not been judged before this has gone well."""
        delivery, station = self.delivery, self.guarding.station
        if delivery is not None and station is not None and not self._is_over:
            self._is_over = True
            cast("Any", super()).acknowledge()
            self.delivery = None  # it has the request, and the two would be left to the garbage collector
            station.succeeded(delivery)
        else:
            cast("Any", super()).acknowledge()

    def revoked(self) -> bool:
        """Return whether the task is not to run any more: revoked, or expired. Celery acks it then."""
        self._is_over, was_over = True, self._is_over  # it may ack, and that is no success; a block of its own would cost more than this
        try:
            gone: bool = cast("Any", super()).revoked()
        finally:
            self._is_over = was_over
        if gone:
            self._end(lambda station, delivery: station.replaced(delivery))
        return gone

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """End the process of a task that is revoked while it runs, now or when it begins. Celery acks it with that."""
        self._is_over, was_over = True, self._is_over
        try:
            cast("Any", super()).terminate(pool, signal)
        finally:
            self._is_over = was_over
        if cast("Any", self)._already_revoked:  # noqa: SLF001 - Celery's, and told nowhere else
            self._end(lambda station, delivery: station.replaced(delivery))

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """Ask the engine what is to become of a task that its needs have failed. Everything else is the task's own, and Celery's."""
        error = _raised(exc_info)
        if isinstance(error, TaskGivenBack):
            verdict = self._judge(lambda station, delivery: station.given_back(delivery, error))
            if verdict is Verdict.REJECT:
                self._fail(error.failure)
            return None
        if isinstance(error, TimeLimitExceeded):
            verdict = self._judge(lambda station, delivery: station.timed_out(delivery, TimeoutError()))
            self._again = verdict is not Verdict.REJECT
            if self._again:
                return None
        elif isinstance(error, Ignore | Reject | Retry | Terminated):
            self._end(lambda station, delivery: station.replaced(delivery))
        else:
            self._end(lambda station, delivery: station.failed(delivery, error))
        return cast("Any", super()).on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)

    def on_timeout(self, soft: bool, timeout: float | None) -> None:
        """Let a task whose hard time limit was over wait for its next start, if the engine says so. `on_failure` came before."""
        if not soft and self._again:
            self._again = False
            return
        cast("Any", super()).on_timeout(soft, timeout)

    def _judge(self, end: Callable[[TaskStation, TaskDelivery], Verdict | None]) -> Verdict | None:
        """End an attempt. AGAIN: the task waits at the station, or has started already."""
        station, delivery = self.guarding.station, self.delivery
        # Before the engine is asked: it may start the task before it has answered.
        state.active_requests.discard(self)
        request = cast("Any", self)
        request.time_start = request.worker_pid = None
        # One that is over was terminated while its result was on the way, and is acked.
        verdict = Verdict.STALE if station is None or delivery is None or self._is_over else end(station, delivery)
        if verdict is not Verdict.AGAIN:
            self._is_over = True
            if verdict is not Verdict.REJECT:
                state.task_ready(self)  # not acked: its connection is gone, its queue goes back, or the worker ends; and so it comes again
        return verdict

    def _end(self, end: Callable[[TaskStation, TaskDelivery], object]) -> None:
        station, delivery = self.guarding.station, self.delivery
        if station is not None and delivery is not None and not self._is_over:
            self._is_over = True
            end(station, delivery)

    def _fail(self, failure: ExceptionInfo) -> None:
        """Let the task fail as Celery does: what its pool process would have done and has not, is done here, as after a hard time limit."""
        request = cast("Any", self)
        error = _raised(failure)
        cast("Any", super()).on_failure(failure)
        request.task.on_failure(error, request.id, request.args, request.kwargs, failure)
        if task_has_custom(request.task, "after_return"):
            request.task.after_return(states.FAILURE, error, request.id, request.args, request.kwargs, failure)


def _raised(failure: Any) -> BaseException:
    error: BaseException = failure.exception
    return error.exc if isinstance(error, ExceptionWithTraceback) else error


# -- the consumer ---------------------------------------------------------------------------------------------------------------------


class GuardedConsumer:
    """What the consumer of a guarded worker does besides Celery's own. It stands before the class of the setting `worker_consumer`."""

    guarding: Guarding  # set for each app
    # Celery's own
    app: Any
    hub: Any
    task_consumer: Any
    connection_errors: Any
    cancel_task_queue: Any
    add_task_queue: Any

    def __init__(self, on_task_request: Callable[[Any], object], *args: Any, **kwargs: Any) -> None:
        self.start_in_pool = on_task_request
        self._guarded = frozenset(self.guarding.guarded)
        self._queues: dict[str, Queue] = {}  # by the tag of their consumer
        cast("Any", super()).__init__(self.arrived, *args, **kwargs)

    def arrived(self, request: Any) -> None:
        """Hand a request to the pool, or to the station if its task is guarded."""
        station = self.guarding.station
        if request.type not in self._guarded or station is None:
            self.start_in_pool(request)
        else:
            station.offer(self._queue_of(request), request, monotonic() - request.taken_at)

    def update_strategies(self) -> None:
        """Make the strategies, with our requests for guarded tasks."""
        for name in self._guarded & set(self.app.tasks):
            task = self.app.tasks[name]
            base = task.Request if isinstance(task.Request, type) else _named(task.Request)
            if not issubclass(base, GuardedRequest):
                task.Request = type("GuardedRequest", (GuardedRequest, base), {"guarding": self.guarding})
        cast("Any", super()).update_strategies()

    def on_ready(self) -> None:
        """Begin with the queues that are consumed."""
        cast("Any", super()).on_ready()
        station = self.guarding.station
        if station is not None:
            station.take_up([Queue(queue.name) for queue in self.task_consumer.queues])

    def on_close(self) -> None:
        """Forget what has come over the connection that is gone or is being closed."""
        cast("Any", super()).on_close()
        station = self.guarding.station
        if station is not None:
            station.lost(lambda request: request in state.active_requests)

    def shutdown(self) -> None:
        """Close the channel, and end the guard. Celery's last step."""
        cast("Any", super()).shutdown()
        self.guarding.end()

    # -- what the station asks --------------------------------------------------------------------------------------------------------

    def soon(self, call: Callable[[], object]) -> None:
        self.hub.call_soon(call)

    def give_up(self, request: Any, error: Exception) -> None:
        """Let a request fail in the main process, which cannot be started."""
        try:
            raise error
        except type(error):
            request.on_failure(ExceptionInfo())

    def forget(self, request: Any, *, acknowledge: bool) -> None:
        state.task_ready(request)
        message = request.message
        if acknowledge:
            message.ack_log_error(log, self.connection_errors)
        else:
            # A nack and no reject: RabbitMQ 4.3 counts a reject towards the delivery limit. py-amqp has no method for it.
            with suppress(*self.connection_errors):  # a connection that is gone has given it back
                message.channel.send_method(spec.Basic.Nack, "Lbb", (message.delivery_tag, False, True))

    def cancel(self, queue: str) -> None:
        self.cancel_task_queue(queue)

    def consume(self, queue: str) -> None:
        self.add_task_queue(queue)

    def _queue_of(self, request: Any) -> Queue:
        """Return the queue that a request has come from, by the tag of its consumer."""
        info = request.message.delivery_info
        tag = info.get("consumer_tag")
        found = self._queues.get(tag)
        if found is None:
            tags: dict[str, str] = getattr(self.task_consumer, "_active_tags", {})
            self._queues = {tag: Queue(name) for name, tag in tags.items()}
            found = self._queues.get(tag) or Queue(info.get("routing_key") or "celery")
        return found


def _named(name: str) -> type:
    return cast("type", symbol_by_name(name))


# -- the worker -----------------------------------------------------------------------------------------------------------------------


class GuardStep(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """The guard in the life of a worker: checked and prepared before the pool forks, begun behind it."""

    label = "holdgate"
    requires = ("celery.worker.components:Pool",)
    guarding: Guarding  # set for each app

    def create(self, parent: Any) -> Any:
        self.guarding.prepare(parent)
        return self

    def start(self, parent: Any) -> None:
        self.guarding.begin(parent)

    def stop(self, parent: Any) -> None:
        """Nothing: the consumer ends the guard, when the tasks that run have ended."""

    def close(self, parent: Any) -> None: ...

    def terminate(self, parent: Any) -> None: ...
