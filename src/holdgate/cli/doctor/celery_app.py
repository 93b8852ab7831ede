"""What an outage costs a Celery app as it is: by its tasks' retries, its acknowledgements and its prefetch.

Everything is read from the app's configuration, and no broker is asked. Celery is not imported here: the app has brought it along. The
rules are those of Celery 5.7: `celery/app/autoretry.py` for the waits, `on_failure` of `celery/worker/request.py` for what becomes of a
message.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, tee
from math import inf
from typing import Any, cast
from urllib.parse import urlsplit

from holdgate.brokers.costs import counted, given_up, lasting, plain
from holdgate.cli.commands import Refusal
from holdgate.cli.doctor.loading import AppFinding, is_ours, of_guarded, running

# For how long Kombu's transports keep back what is unacked where the app sets nothing (seconds).
_VISIBLE_AFTER = {"redis": 3600, "rediss": 3600, "sentinel": 3600, "sqs": 1800}
_ON_RABBITMQ = ("amqp", "amqps", "pyamqp", "librabbitmq")
# RabbitMQ takes back what is unacked for longer, unless it is set otherwise (seconds).
_CONSUMER_TIMEOUT = 1800
# As many waits as anybody reads.
_SHOWN = 6
# A wait that doubles from a second on is at its bound by then, and what follows is all alike.
_LEVEL = 40


def costs(app: Any, outage: float) -> list[AppFinding]:
    """Return what an outage of so many seconds would cost. Raises Refusal for anything but a Celery app."""
    kind = cast("object", type(app))  # to ask the app itself for its tasks finalizes it
    if not all(hasattr(kind, name) for name in ("tasks", "conf", "amqp")):
        raise Refusal(f"this is a {type(app).__name__}, and no Celery app: name the object that was made with Celery(...)")
    running("importing the tasks of the app", lambda: (app.loader.import_default_modules(), app.finalize()))
    tasks = [task for name, task in sorted(app.tasks.items()) if not name.startswith("celery.")]
    found = [AppFinding(task.name, text) for task in tasks for text in _of_task(task, outage)]
    if not tasks:
        found.append(
            AppFinding(app.main or "app", "it has no tasks: name the modules that have them in include=[...]", refused=True, cost=False)
        )
    guards = [step.guarding for step in app.steps["worker"] if is_ours(step)]
    return [*of_guarded("CeleryGuard", guards), *found, *(AppFinding(app.main or "app", text) for text in _of_app(app, outage))]


# -- one task -------------------------------------------------------------------------------------------------------------------------


def _of_task(task: Any, outage: float) -> Iterator[str]:
    end = "is acked as failed"
    if task.acks_late and not task.acks_on_failure:
        end = "is rejected, and goes to the queue's dead letters, or is dropped"
    autoretry: Sequence[type[BaseException]] = getattr(task, "autoretry_for", ())
    if autoretry:
        yield _by_itself(task, autoretry, outage, end)
    else:
        again = _waits(task, {}, backoff=0.0)
        yield (
            f"it does not try again by itself (no autoretry_for): the first error ends it, and its message {end}: {given_up(0.0, outage)}. "
            f"If it calls self.retry() as it is, {_sum(task.max_retries, again, outage)}"
        )
    if not task.acks_late:
        yield "it is acked before it runs (acks_late=False): a worker that is killed in the outage loses what it has in hand"


def _by_itself(task: Any, autoretry: Sequence[type[BaseException]], outage: float, end: str) -> str:
    """Return what the retries of `autoretry_for` cover, and what becomes of a message afterwards."""
    options: Mapping[str, Any] = getattr(task, "retry_kwargs", {})
    expires = _expires(task)
    backoff = float(getattr(task, "retry_backoff", False))
    told: int | None = options.get("max_retries")  # None there means the task's own, as with a countdown
    most: int | None = task.max_retries if told is None else told
    jitter = " (retry_jitter draws each wait from 0 to what follows)" if backoff and getattr(task, "retry_jitter", True) else ""
    named = ", ".join(each.__name__ for each in autoretry)
    if expires is not None and _covered(most, _waits(task, options, backoff)) > expires:
        yet = f"each message expires {plain(expires)} s after it was sent (expires={plain(expires)}), before its retries are over, and is"
        return f"it tries again by itself after {named}{jitter}: {yet} revoked when it is due: {given_up(expires, outage)}"
    covered = _sum(most, _waits(task, options, backoff), outage)
    afterwards = "" if most is None else f". A message that is given up {end}"
    return f"it tries again by itself after {named}{jitter}: {covered}{afterwards}"


def _waits(task: Any, options: Mapping[str, Any], backoff: float) -> Iterator[float]:
    """Yield the seconds before each retry, for ever."""
    retry = 0
    while True:
        if backoff:
            yield min(int(getattr(task, "retry_backoff_max", 600)), int(max(1.0, backoff)) * 2.0**retry)
        else:
            told = options.get("countdown")
            yield float((task.default_retry_delay if told is None else told) or 0.0)
        retry += 1


def _sum(most: int | None, waits: Iterator[float], outage: float) -> str:
    if most is None:
        return "max_retries=None tries for ever: none is given up, and each waits in a worker's memory for its next try"
    most = max(0, most)
    first, waits = tee(waits)
    covered = _covered(most, waits)
    shown = " + ".join(plain(wait) for wait in islice(first, min(most, _SHOWN))) + (" + ..." if most > _SHOWN else "")
    return f"{counted(most + 1, 'attempt')} in {shown or '0'} = {plain(covered)} s (max_retries={most}): {given_up(covered, outage)}"


def _covered(most: int | None, waits: Iterator[float]) -> float:
    """Return for how many seconds a message is tried, from its first attempt to its last."""
    if most is None:
        return inf
    each = list(islice(waits, min(max(0, most), _LEVEL)))
    return sum(each) + (most - len(each)) * each[-1] if each else 0.0


def _expires(task: Any) -> float | None:
    """Return for how many seconds a message of this task may wait, if the task itself says so. A retry does not begin them anew."""
    expires = getattr(task, "expires", None)
    return float(expires) if isinstance(expires, int | float) else None  # a point in time is the same for all messages


# -- the app --------------------------------------------------------------------------------------------------------------------------


def _of_app(app: Any, outage: float) -> Iterator[str]:
    yield _in_hand(app.conf.worker_prefetch_multiplier, app.conf.worker_concurrency)
    transport = _transport(app)
    if transport in _VISIBLE_AFTER:
        yield _redelivered(transport, app.conf.broker_transport_options, outage)
    elif transport in _ON_RABBITMQ:
        times = counted(outage // _CONSUMER_TIMEOUT, "time")
        queues = " ".join(sorted(app.amqp.queues))
        yield (
            f"RabbitMQ takes back what is unacked for longer than its consumer timeout, {lasting(_CONSUMER_TIMEOUT)} unless it is set, and "
            f"closes the channel: {plain(outage)} s / {_CONSUMER_TIMEOUT} s = {times} for a task that waits so long. What the queues do: "
            f"holdgate doctor rabbitmq {queues} --outage {plain(outage)}"
        )


def _in_hand(multiplier: int, processes: Any) -> str:
    if multiplier == 0:
        return "worker_prefetch_multiplier=0 is no limit: a worker takes all that waits into its memory, unacked"
    many = "one for each CPU, as worker_concurrency is not set" if processes is None else f"worker_concurrency={processes}"
    most = (
        f"{multiplier} tasks for each process" if processes is None else f"{multiplier} * {processes} = {multiplier * int(processes)} tasks"
    )
    return (
        f"a worker has {most} in hand (worker_prefetch_multiplier={multiplier}, {many}), and beside them each task that waits for a retry: "
        "in an outage these fill its memory"
    )


def _redelivered(transport: str, options: Mapping[str, Any], outage: float) -> str:
    after = float(options.get("visibility_timeout", _VISIBLE_AFTER[transport]))
    if after <= 0:
        return f"on {transport} visibility_timeout is {plain(after)} s: a task that is unacked is handed to another worker immediately"
    times = int(outage // after)
    twice = "so none comes twice" if times == 0 else f"so such a task runs {counted(times, 'more time')}"
    return (
        f"on {transport} a task that is unacked for longer than visibility_timeout, {plain(after)} s, is handed to another worker too: "
        f"{plain(outage)} s / {plain(after)} s = {counted(times, 'time')}, {twice}"
    )


def _transport(app: Any) -> str:
    """Return the name of the transport; the rest of the URL is nobody's business."""
    given: Any = app.conf.broker_read_url or app.conf.broker_url or "amqp://"
    first = str(cast("Sequence[object]", given)[0] if isinstance(given, list | tuple) else given).split(";", maxsplit=1)[0]
    return urlsplit(first).scheme.split("+", maxsplit=1)[0] or "amqp"
