"""`CeleryGuard`: a guard around tasks of a Celery app, in each of its workers.

Theory of operation. An app needs one line, and producers that import it notice nothing. When a worker is made, Celery's signal
`celeryd_init` puts our consumer and our step into it (consumer.py). The step checks the settings before the pool forks, so that what could
lose tasks is refused before anything is consumed, and begins the guard behind it. The guard's loop has a thread of its own (loop.py).

    celeryd_init    our consumer goes into the settings
    prepare         the tasks are checked, and wrapped (given_back.py); the pool's processes are forked from this
    begin           the loop, the guard, one run for all guarded tasks (station.py)
    end             the run drains, the guard is left, the thread ends

Celery's in-memory test worker (`celery.contrib.testing`) sends no such signal, and eager tasks meet no worker. They run as without a guard.
"""

from __future__ import annotations

# Celery has no types of its own, and those that can be guessed are of no use.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
import logging
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from celery import signals
from celery.utils.imports import symbol_by_name
from celery.worker import state

from holdgate.core.validation import seconds
from holdgate.errors import SettingsError
from holdgate.flow.message import Delivery
from holdgate.flow.policy import RetryPolicy
from holdgate.integrations.celery.checks import check_tasks, check_transport, check_worker, consumer_timeouts, tell
from holdgate.integrations.celery.consumer import GuardedConsumer, GuardStep
from holdgate.integrations.celery.given_back import install
from holdgate.integrations.celery.loop import SharedLoop
from holdgate.integrations.celery.station import PoolLane, TaskDelivery, TaskStation
from holdgate.runtime.dependency import Dependency
from holdgate.runtime.guard import Guard
from holdgate.runtime.guests import GuestRun
from holdgate.runtime.needs import check_list
from holdgate.runtime.run_settings import RunSettings, plan_run
from holdgate.slips import suggest_keywords

if TYPE_CHECKING:
    import asyncio
    from datetime import timedelta

log = logging.getLogger("holdgate")

NeedsOfTask: TypeAlias = Callable[[TaskDelivery], Dependency | Iterable[Dependency]]
TaskNeeds: TypeAlias = Mapping[str, Sequence[Dependency]] | NeedsOfTask

# What the request of a task carries to its pool process: the names of what it needs, where a function has said so.
_NEEDS = "holdgate_needs"

# Nothing runs any more when the guard ends; a control server needs a moment to close (seconds).
_END_WITHIN = 5.0


class CeleryGuard:
    """Guards tasks of a Celery app on RabbitMQ: what needs a dependency that is down is held, and returns gently.

    - `app`: the Celery app. Its workers are guarded, whatever starts them; producers are not touched.
    - `needs`: what tasks need, as a mapping from a task's name to a list; or a function that gets a task (its `name`, `id`, `headers`, and
      as `message` Celery's request with its `args` and `kwargs`), is asked once for each, makes no call, and returns a Dependency, several,
      or [] for nothing. None means what the tasks say themselves: `@app.task(needs=[payments])`.
    - `dependencies`: what a function in `needs` may return, and nothing else.
    - `guard`: the Guard to use, for its observers, its control and its log. None means one of its own. It is entered and left in the main
      process of the worker.
    - `retry`: the RetryPolicy for failures of what tasks need. None means its defaults. A task's own failures are Celery's.
    - `consumer_timeout`: RabbitMQ's consumer timeout in seconds above 0, or a timedelta, for queues that have no `x-consumer-timeout`.
      Tasks that are held go back a fifth of it before, and come again.

    Guarded tasks must have `acks_late`, and the worker a prefetch and one of the pools prefork, threads and solo. Raises SettingsError,
    here or when a worker starts.
    """

    @suggest_keywords
    def __init__(
        self,
        app: Any,
        *,
        needs: TaskNeeds | None = None,  # what a task needs may stand at the task itself
        dependencies: Iterable[Dependency] = (),  # only a function has to be asked what it may say
        guard: Guard | None = None,  # most workers need nothing of it
        retry: RetryPolicy | None = None,  # the same as for guard.run
        consumer_timeout: float | timedelta = 1800.0,  # the broker's own default
    ) -> None:
        if not hasattr(app, "steps") or not hasattr(app, "conf"):
            raise SettingsError(f"app must be a Celery app, got {type(app).__name__}: write CeleryGuard(app, needs=...)")
        if any(issubclass(step, GuardStep) for step in app.steps["worker"] if isinstance(step, type)):
            # One alone can be in the worker's consumer, and what the tasks of the other give back would be requeued without an end.
            raise SettingsError(
                "the app has a CeleryGuard already, and a worker has one: name all tasks in its needs={...}, or let each say its own,"
                " @app.task(needs=[...])"
            )
        self._app = app
        self._needs = _check_needs(needs)
        self._dependencies = check_list(dependencies, "dependencies")
        if callable(needs) and not self._dependencies:
            raise SettingsError("needs is a function: name what it may return, as in CeleryGuard(app, needs=..., dependencies=[payments])")
        self._given = guard
        self._guard: Guard | None = guard
        self._retry = retry
        self._consumer_timeout = seconds("consumer_timeout", consumer_timeout)
        self._by_task: dict[str, list[Dependency]] = {}  # empty with a function
        self._loop: SharedLoop | None = None
        self._run: GuestRun | None = None
        self._station: TaskStation | None = None
        self.guarded: Collection[str] = ()
        signals.celeryd_init.connect(self._worker_is_made, weak=False)
        signals.worker_process_init.connect(self._process_begins, weak=False)
        app.steps["worker"].add(type("GuardStep", (GuardStep,), {"guarding": self}))

    @property
    def guard(self) -> Guard:
        """The guard itself, for its observers and settings. Raises SettingsError where no worker has begun and none was given."""
        if self._guard is None:
            raise SettingsError("the guard is made when a worker starts; to have it earlier, give one: CeleryGuard(app, guard=Guard())")
        return self._guard

    @property
    def station(self) -> TaskStation | None:
        """Where the tasks meet the guard. None outside of the main process of a worker that runs, and in a signal handler that has
        interrupted a step of the guard: Celery's cold shutdown waits for its pool there, and tasks that end then come again or are acked.
        """
        loop = self._loop
        return self._station if loop is not None and loop.belongs_here and not loop.is_entered else None

    def check(self) -> None:
        """Raise SettingsError for what a worker would refuse at its start, but for its own pool and prefetch.

        For a test of yours, or before a deployment: no broker is asked. The modules of the tasks must have been imported.
        """
        check_transport(self._app)
        self._by_task = self._find_needs()
        self.guarded = self._by_task or _own_tasks(self._app)
        check_tasks(self._app, self.guarded)

    # -- the worker's life --------------------------------------------------------------------------------------------------------------

    def _worker_is_made(self, instance: Any = None, conf: Any = None, **_: Any) -> None:
        if instance is None or instance.app.main != self._app.main or conf is None:
            return
        base = cast("Any", symbol_by_name(conf.worker_consumer))
        if not (isinstance(base, type) and issubclass(base, GuardedConsumer)):
            conf.worker_consumer = type("GuardedConsumer", (GuardedConsumer, base), {"guarding": self})

    def prepare(self, worker: Any) -> None:
        """Check the settings of a worker, and let the tasks give back what is a failure of their needs. Raises SettingsError."""
        check_worker(worker)
        self.check()
        self._install()
        tell(self._app, {name: [one.name for one in self._by_task.get(name, self._dependencies)] for name in self.guarded})

    def begin(self, worker: Any) -> None:
        """Begin the guard, and return when tasks may come. Raises SettingsError, GuardClosed or what else keeps it from that."""
        loop = self._loop = SharedLoop("holdgate")
        loop.start()
        try:
            loop.run(self._begin(worker, loop))
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """End the guard and its thread. Idempotent."""
        loop, self._loop = self._loop, None
        if loop is None or not loop.belongs_here:
            return
        station, self._station = self._station, None
        if station is not None:
            station.abandon()
        try:
            loop.run(self._leave(), _END_WITHIN)
        except TimeoutError:
            log.warning("the guard has not ended within %g s; the worker ends without it", _END_WITHIN)
        finally:
            loop.stop(_END_WITHIN)

    # -- inside -----------------------------------------------------------------------------------------------------------------------

    def _process_begins(self, **_: Any) -> None:
        """In a pool process: one that was not forked has imported the tasks anew."""
        if self._app.finalized:
            self._install()

    def _install(self) -> None:
        for name in self.guarded:
            task = self._app.tasks.get(name)
            if task is not None:
                install(task, self._needs_of_running if callable(self._needs) else _always(self._by_task[name]))

    def _needs_of_running(self, request: Any) -> Sequence[Dependency]:
        """In a pool process: return what the running task needs, as the main process has found out."""
        names = request.get(_NEEDS) or ()
        return [one for name in names for one in self._dependencies if one.name == name]

    def _find_needs(self) -> dict[str, list[Dependency]]:
        """Return what each guarded task needs. Empty where a function says it. Raises SettingsError."""
        tasks = self._app.tasks
        if callable(self._needs):
            return {}
        if self._needs is not None:
            unknown = sorted(set(self._needs) - set(tasks))
            if unknown:
                known = sorted(_own_tasks(self._app))
                raise SettingsError(f"needs has {unknown}, and the app's tasks are {known}: correct the names, or import their modules")
            found = {name: check_list(listed, f"needs[{name!r}]") for name, listed in self._needs.items()}
        else:
            said = {name: getattr(task, "needs", None) for name, task in tasks.items()}
            found = {name: check_list(listed, f"needs of {name}") for name, listed in said.items() if listed is not None}
        found = {name: listed for name, listed in found.items() if listed}
        if not found:
            raise SettingsError(
                "no task of the app has needs, so nothing would be held: give needs={name: [...]}, or @app.task(needs=[...])"
            )
        return found

    async def _begin(self, worker: Any, loop: SharedLoop) -> None:
        guard = self._guard = self._given or Guard(*self._dependencies, signals=False)  # Celery takes the signals
        await guard.__aenter__()
        consumer = worker.consumer
        station = TaskStation(
            loop,
            consumer,
            guard,
            prefetch=consumer.initial_prefetch_count,
            concurrency=max(worker.max_concurrency or 0, worker.pool.num_processes or 1),
            timeouts=consumer_timeouts(self._app, self._consumer_timeout),
        )
        run = self._run = GuestRun(guard, station, self._plan(station), station.granted, PoolLane)
        station.joined(run)
        await run.open()
        if run.task is not None:
            run.task.add_done_callback(self._run_ended)
        self._station = station

    def _plan(self, station: TaskStation) -> RunSettings:
        every = list(self._by_task.values())
        same = bool(every) and all(listed == every[0] for listed in every)
        return plan_run(
            station,
            every[0] if same else self._needs_of,
            order=None,
            key=None,
            concurrency=station.concurrency,
            span=1000,
            retry=self._retry,
            declared=list(dict.fromkeys([*self._dependencies, *(one for listed in every for one in listed)])),
        )

    def _needs_of(self, delivery: Delivery[Any]) -> Dependency | Iterable[Dependency]:
        """Return what a task needs, and let its request carry that to the pool process if a function says so."""
        task = cast("TaskDelivery", delivery)
        if not callable(self._needs):
            return self._by_task[task.name]
        found = self._needs(task)
        listed = [found] if isinstance(found, Dependency) else list(found)
        task.message.request_dict[_NEEDS] = [one.name for one in listed if isinstance(cast("object", one), Dependency)]
        return listed

    async def _leave(self) -> None:
        guard = self._guard
        if guard is None or guard.loop is None:
            return
        guard.hurry()
        await guard.__aexit__(None, None, None)

    def _run_ended(self, task: asyncio.Task[None]) -> None:
        """Stop the worker because the run does not go on: what it holds would wait for ever, and nobody would notice."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("the guard's run ended with %s: %s; the worker stops", type(error).__name__, error)
            state.should_stop = 1
        elif self._loop is not None:  # not by the worker's end
            log.warning("the guard was stopped; the worker stops")
            state.should_stop = os.EX_OK


def _check_needs(needs: object) -> TaskNeeds | None:
    if needs is None or callable(needs) or isinstance(needs, Mapping):
        return cast("TaskNeeds | None", needs)
    raise SettingsError(
        f"needs must be a mapping from names of tasks to lists, or a function, got {needs!r}: needs={{'tasks.charge': [...]}}"
    )


def _own_tasks(app: Any) -> list[str]:
    """Return the names of the app's tasks without Celery's own."""
    return [name for name in app.tasks if not name.startswith("celery.")]


def _always(needs: Sequence[Dependency]) -> Callable[[Any], Sequence[Dependency]]:
    return lambda _: needs
