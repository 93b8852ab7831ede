"""What a Celery worker must be for a guard to hold its tasks, and what its log says at the start of those that fail.

A task that is held is one that Celery has taken and not acked. So whatever acks early, takes without a bound, or lets the broker hand a
task out again meanwhile, is refused, with the remedy. What is only a pity is said.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Collection, Mapping
from typing import Any

from holdgate.errors import SettingsError
from holdgate.runtime.wording import many

log = logging.getLogger("holdgate")

_CONSUMER_TIMEOUT = "x-consumer-timeout"


def check_transport(app: Any) -> None:
    """Raise SettingsError for a broker on which a hold would not be safe."""
    transport: str = app.connection_for_read().transport.driver_type
    if transport == "amqp":
        return
    why = {
        "redis": "hands out again after visibility_timeout (an hour) what is not acked, so a task that is held would run twice",
        "sqs": "hands out again after visibility_timeout (half an hour) what is not acked, so a task that is held would run twice",
    }.get(transport, "is none on which a hold was tried")
    raise SettingsError(f"the transport {transport!r} {why}; CeleryGuard needs RabbitMQ: broker_url = 'amqp://...'")


def check_worker(worker: Any) -> None:
    """Raise SettingsError for a pool or a prefetch with which tasks cannot be held."""
    if worker.hub is None or getattr(worker.pool_cls, "is_green", False):
        name = worker.pool_cls.__module__.rpartition(".")[2]
        raise SettingsError(
            f"the pool {name} cannot be guarded: it has no main loop, and its greenlets would be the guard's thread as well;"
            " use --pool prefork, threads or solo"
        )
    if not worker.prefetch_multiplier:
        raise SettingsError(
            f"worker_prefetch_multiplier is {worker.prefetch_multiplier}, which has no bound, so a hold would take the whole queue into"
            " memory: set 1 or more, or leave it out"
        )


def check_tasks(app: Any, names: Collection[str]) -> None:
    """Raise SettingsError for guarded tasks that are acked before they run, or are never run at all."""
    unawaited = sorted(name for name in names if inspect.iscoroutinefunction(app.tasks[name].run))
    if unawaited:
        raise SettingsError(
            f"{unawaited} {'is' if len(unawaited) == 1 else 'are'} async def, which Celery calls and does not await, so nothing would be"
            " done, and nothing could fail: write def, and asyncio.run(...) in it"
        )
    early = sorted(name for name in names if not app.tasks[name].acks_late)
    if early:
        raise SettingsError(
            f"{early} {'is' if len(early) == 1 else 'are'} acked before running (acks_late is False, Celery's default), so a task that is"
            " held or fails in an outage would be lost: set task_acks_late = True, or @app.task(acks_late=True)"
        )


def consumer_timeouts(app: Any, otherwise: float) -> dict[str, float]:
    """Return the consumer timeout of each queue that the worker reads, in seconds."""
    return {name: _timeout_of(queue, otherwise) for name, queue in app.amqp.queues.consume_from.items()}


def _timeout_of(queue: Any, otherwise: float) -> float:
    """Return what the queue or its consumer asks for in milliseconds, or the broker's own."""
    given: list[Mapping[str, object]] = [queue.consumer_arguments or {}, queue.queue_arguments or {}]
    for arguments in given:
        asked = arguments.get(_CONSUMER_TIMEOUT)
        if isinstance(asked, int | float) and asked > 0:
            return asked / 1000
    return otherwise


def tell(app: Any, needs: Mapping[str, Collection[str]]) -> None:
    """Say which tasks are guarded, and what becomes of those that fail."""
    for names in sorted({tuple(one) for one in needs.values()}):
        tasks = sorted(name for name, one in needs.items() if tuple(one) == names)
        log.info(
            "celery: guards %s, %s; a failure of %s is tried again in place and spends none of max_retries, also by self.retry and"
            " autoretry_for; every other failure is Celery's",
            many(len(tasks), "task"), ", ".join(tasks), " or ".join(names),
        )  # fmt: skip
    acked = sorted(name for name in needs if app.tasks[name].acks_on_failure)
    if acked:
        log.info(
            "celery: %s: a task that fails in the end is acked and gone; acks_on_failure_or_timeout=False dead-letters it", ", ".join(acked)
        )
    lost = sorted(name for name in needs if not app.tasks[name].reject_on_worker_lost)
    if lost:
        log.warning(
            "celery: %s: a task whose pool process is killed is acked and gone; set task_reject_on_worker_lost = True to have it again",
            ", ".join(lost),
        )
