"""`TaskiqGuard` and `GuardReceiver`: a guard around the tasks of a taskiq worker on RabbitMQ.

    taskiq worker app:broker --receiver holdgate.integrations.taskiq:GuardReceiver

Theory of operation. taskiq's receiver pulls messages, runs each task, and acknowledges it when its result is saved, good or bad: a task
that fails is gone. It has no way to refuse a message, or to let it come again. So this receiver lets a task that fails for what it needs
wait and run again where it is (`Guard.patient` has the rules), unacknowledged meanwhile, and hands a result on only when there is one: a
return, or a failure of the task's own.

    prefetcher   pulls nothing while a circuit is open that every task needs
    callback     taskiq's own; a message that may wait no longer goes back to the broker, and is not acknowledged
    run_task     one attempt after the other, each with dependencies of its own: a session of an hour ago would be dead

What is held is bounded by the broker's `qos`: RabbitMQ sends no more than that unacknowledged.

What is ugly. `AckableMessage` has an `ack` and no nack, so this one is looked up on the client's message, whose bound method `ack` is. If
it is not there, what may wait no longer stays unacknowledged until the connection ends. A retry by middleware sends a copy and
acknowledges the original; those of taskiq are refused, and others cannot be told.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast
from weakref import WeakKeyDictionary

from holdgate.core.states import State
from holdgate.core.validation import seconds
from holdgate.errors import GuardClosed, MissingExtra, SettingsError, WaitedTooLong
from holdgate.runtime.guard import Guard
from holdgate.runtime.needs import check_list
from holdgate.slips import other_version, suggest_keywords
from holdgate.tasks import begin_later

# As the extra `taskiq` in pyproject.toml has it. Before the imports: another version may lack what is imported.
for _package, _lowest, _below in (("taskiq", (0, 13), (0, 14)), ("taskiq-aio-pika", (0, 6, 1), (0, 7))):
    if _why := other_version(_package, _lowest, _below):
        raise MissingExtra(f"holdgate.integrations.taskiq {_why}: pip install 'holdgate[taskiq]'")

try:
    from taskiq import AsyncBroker, SimpleRetryMiddleware, SmartRetryMiddleware, TaskiqEvents
    from taskiq.acks import AckableMessage, AckController, AcknowledgeType
    from taskiq.exceptions import NoResultError
    from taskiq.message import TaskiqMessage
    from taskiq.receiver import Receiver
    from taskiq.result import TaskiqResult
    from taskiq_aio_pika import AioPikaBroker
except ImportError as error:
    raise MissingExtra("taskiq and taskiq-aio-pika are not installed: pip install 'holdgate[taskiq]'") from error

if TYPE_CHECKING:
    from datetime import timedelta

    from holdgate.runtime.dependency import Dependency

__all__ = ["GuardReceiver", "TaskiqGuard"]

log = logging.getLogger("holdgate")

TaskNeeds = Sequence["Dependency"] | Mapping[str, Sequence["Dependency"]]

# Of the consumer timeout: RabbitMQ looks for late acks only once a minute, and a nack must still arrive.
_GIVE_BACK = 0.8
# How often it looks whether something may be pulled again (seconds): a probe is a message in hand already, so nothing waits for this.
_LOOK_EVERY = 0.5

_NO_LABEL = re.compile(r"[^\w.:-]")

_guarded: WeakKeyDictionary[AsyncBroker, TaskiqGuard] = WeakKeyDictionary()


class TaskiqGuard:
    """What a worker's tasks need. Make one beside the broker, and start the worker with `--receiver` as above.

    - `broker`: an AioPikaBroker of taskiq-aio-pika.
    - `needs`: a list of dependencies for all tasks, or a mapping of such lists by name of the task. With a mapping, other tasks run as
      before.
    - `guard`: the Guard to use, for its observers, its control and its log. None means one of its own. The receiver enters and leaves it.
    - `consumer_timeout`: RabbitMQ's consumer timeout in seconds above 0, or a timedelta. A task that has waited for four fifths of it goes
      back to its queue, and comes again.

    Raises SettingsError, here or when the worker starts.
    """

    @suggest_keywords
    def __init__(
        self,
        broker: AsyncBroker,
        *,
        needs: TaskNeeds,
        guard: Guard | None = None,  # most workers need nothing of it
        consumer_timeout: float | timedelta = 1800.0,  # the broker's own default
    ) -> None:
        if not isinstance(cast("object", broker), AioPikaBroker):
            raise SettingsError(
                f"{type(broker).__name__} cannot be guarded: it must be an AioPikaBroker of taskiq-aio-pika. Brokers whose messages cannot"
                " be acknowledged, as those of taskiq-aio-kafka, lose what is held"
            )
        self.guard = guard
        self.wait_at_most = seconds("consumer_timeout", consumer_timeout) * _GIVE_BACK
        self.by_name: dict[str, list[Dependency]] | None = None
        self.for_all: list[Dependency] = []
        if isinstance(needs, Mapping):
            self.by_name = {name: check_list(each, f"needs[{name!r}]") for name, each in needs.items()}
        else:
            self.for_all = check_list(needs, "needs")
        if not self.for_all and not any((self.by_name or {}).values()):
            raise SettingsError("needs names no dependency, so nothing would be held: write [payments], or {'app:charge': [payments]}")
        if broker in _guarded:
            raise SettingsError(
                "the broker has a TaskiqGuard already, and a worker has one: name what all tasks need in its needs={'app:charge': [...]}"
            )
        self.is_received = False  # a GuardReceiver has been made for the broker
        _guarded[broker] = self
        broker.add_event_handler(TaskiqEvents.WORKER_STARTUP, self._check_receiver)

    def needs_of(self, task: str) -> list[Dependency]:
        """Return what a task needs. Empty means that it is not guarded."""
        return self.for_all if self.by_name is None else self.by_name.get(task, [])

    async def _check_receiver(self, _state: object) -> None:
        if not self.is_received:
            raise SettingsError(
                "the worker has taskiq's own receiver, which holds nothing: start it with"
                " --receiver holdgate.integrations.taskiq:GuardReceiver"
            )


class _Attempts:
    """The result of the last attempt at one task."""

    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last: TaskiqResult[Any] | None = None

    @property
    def error(self) -> BaseException | None:
        return None if self.last is None else self.last.error


class ToGiveBack(Exception):
    """A task waits no longer here. It never leaves the receiver."""


class GuardReceiver(Receiver):
    """taskiq's receiver, by which a task that cannot do its work now waits. See the head of this file."""

    def __init__(self, broker: AsyncBroker, *args: Any, **kwargs: Any) -> None:
        super().__init__(broker, *args, **kwargs)
        settings = _guarded.get(broker)
        if settings is None:
            raise SettingsError("the broker has no TaskiqGuard: write TaskiqGuard(broker, needs=[...]) where the broker is made")
        self._settings = settings
        settings.is_received = True
        self._guard = Guard() if settings.guard is None else settings.guard
        self._patient: dict[str, Callable[..., Awaitable[TaskiqResult[Any]]]] = {}
        self._too_early: set[str] = set()  # tasks of which it was logged that a sender wants them acknowledged before they run
        _check_names(broker, settings.by_name or {})
        _check_broker(broker, self.ack_time)
        if settings.for_all:
            self.sem_prefetch = cast("asyncio.Semaphore", PullGate(self.sem_prefetch, self._may_pull))

    async def listen(self, finish_event: asyncio.Event) -> None:
        """Receive until `finish_event` is set, and return when no task runs any more. What waits then goes back."""
        async with self._guard:
            stopping = begin_later(self._stop_after(finish_event), "stop of a taskiq worker")
            try:
                await super().listen(finish_event)
            finally:
                stopping.cancel()

    async def callback(self, message: bytes | AckableMessage, raise_err: bool = False) -> None:
        """Run the task of a message, and acknowledge it, or let it go back."""
        try:
            await super().callback(message, raise_err)
        except ToGiveBack:
            await _give_back(message)

    async def run_task(
        self, target: Callable[..., Any], message: TaskiqMessage, ack_controller: AckController | None = None
    ) -> TaskiqResult[Any]:
        """Return the result of the first attempt that is good, or fails by its own fault. Raises ToGiveBack if it may wait no more."""
        needs = self._settings.needs_of(message.task_name)
        if not needs:
            return await super().run_task(target, message, ack_controller)
        attempts = _Attempts()
        try:
            return await self._patient_task(message.task_name, needs)(attempts, target, message, ack_controller)
        except (WaitedTooLong, GuardClosed) as error:
            log.info("a task %s goes back to its queue: %s", message.task_name, error)
            raise ToGiveBack from error
        except BaseException as error:
            if attempts.last is None or error is not attempts.error:
                raise
            return attempts.last

    def _get_ack_time(self, message: TaskiqMessage) -> AcknowledgeType:
        """Return when to acknowledge. A guarded task waits unacknowledged, whatever its sender's label says."""
        found = super()._get_ack_time(message)
        name = message.task_name
        if found is not _EARLY or not self._settings.needs_of(name):
            return found
        if name not in self._too_early:
            self._too_early.add(name)
            log.warning("a task %s was sent with ack_type=when_received, by which it would be lost while it waits: it is acknowledged"
                        " when its result is saved", name)  # fmt: skip
        return AcknowledgeType.WHEN_SAVED

    async def _stop_after(self, finish_event: asyncio.Event) -> None:
        await finish_event.wait()
        await self._guard.stop()

    def _patient_task(self, name: str, needs: list[Dependency]) -> Callable[..., Awaitable[TaskiqResult[Any]]]:
        patient = self._patient.get(name)
        if patient is None:
            label = _NO_LABEL.sub("-", name).lstrip(".:-")[:100]
            decorate = self._guard.patient(needs=needs, wait_at_most=self._settings.wait_at_most, name=label)
            patient = self._patient[name] = decorate(self._attempt)
        return patient

    async def _attempt(
        self, attempts: _Attempts, target: Callable[..., Any], message: TaskiqMessage, ack_controller: AckController | None
    ) -> TaskiqResult[Any]:
        """Run a task once. Raises what it has raised, for the guard to judge."""
        # taskiq replaces arguments by what they are parsed to: each attempt begins with what came.
        copy = message.model_copy(update={"args": list(message.args), "kwargs": dict(message.kwargs)})
        result = attempts.last = await super().run_task(target, copy, ack_controller)
        if result.error is not None and not isinstance(result.error, NoResultError):
            raise result.error
        return result

    def _may_pull(self) -> bool:
        """Return whether no circuit is open that every task needs."""
        circuits = self._guard.snapshot().dependencies
        names = [need.name for need in self._settings.for_all]
        return all(circuits[name].state is not State.OPEN and circuits[name].limit != 0 for name in names if name in circuits)


class Room(Protocol):
    """What bounds how many messages are pulled."""

    async def acquire(self) -> bool: ...

    def release(self) -> None: ...


class PullGate:
    """A semaphore that lets nobody in while a hold lasts."""

    def __init__(self, inner: Room, is_open: Callable[[], bool]) -> None:
        self._inner = inner
        self._is_open = is_open

    async def acquire(self) -> bool:
        """Wait for the end of the hold, and for room."""
        while not self._is_open():  # noqa: ASYNC110 - a circuit wakes nobody; probes are in hand already
            await asyncio.sleep(_LOOK_EVERY)
        return await self._inner.acquire()

    def release(self) -> None:
        """Give room back."""
        self._inner.release()


def _check_names(broker: AsyncBroker, named: Collection[str]) -> None:
    """Raise SettingsError for needs of a task that the worker does not have: the one that was meant would run without a guard."""
    known = broker.get_all_tasks()
    unknown = sorted(set(named) - set(known))
    if unknown:
        raise SettingsError(
            f"needs has {unknown}, and the worker's tasks are {sorted(known)}: correct the names, as in 'module:function', or name the"
            " modules that have them behind the broker on the command line"
        )


def _check_broker(broker: AsyncBroker, ack_type: AcknowledgeType) -> None:
    """Raise SettingsError for what would lose tasks in a hold, or run them twice."""
    for middleware in broker.middlewares:
        if isinstance(middleware, SimpleRetryMiddleware | SmartRetryMiddleware):
            raise SettingsError(
                f"the broker has a {type(middleware).__name__}, which sends a copy of a task that fails, and uses up its retries in an"
                " outage: leave it out; a task waits for what it needs, and fails for the rest"
            )
    early = [name for name, task in broker.get_all_tasks().items() if _is_early(task.labels.get("ack_type"))]
    if ack_type is _EARLY or early:
        where = f"tasks {sorted(early)}" if early else "--ack-type"
        raise SettingsError(f"{where}: when_received acknowledges a task before it has run, so one that waits is lost with its worker")


_EARLY = AcknowledgeType.WHEN_RECEIVED


def _is_early(label: object) -> bool:
    return isinstance(label, str) and label.lower() == _EARLY.value  # a member of the enum is a str, too


async def _give_back(message: bytes | AckableMessage) -> None:
    """Return a message to its queue, if there is a way."""
    incoming = getattr(message.ack, "__self__", None) if isinstance(message, AckableMessage) else None
    nack = getattr(incoming, "nack", None)
    if nack is None:
        log.warning("a task that waits no longer cannot be given back: its broker has no nack, and hands it out when the connection ends")
        return
    try:
        await nack(requeue=True)
    except Exception as error:  # noqa: BLE001 - a channel that is gone has given everything back
        log.info("a task was not given back, %s: its channel is gone, and has done so", type(error).__name__)
