"""A Celery worker with and without a guard on RabbitMQ, in pairs that change their order, in each of its pools.

    python -m benchmarks.celery_guarded [--url AMQP] [--tasks 1000] [--rounds 11] [--pools prefork-2,prefork-1,solo,threads-2]

In the first table a task does nothing, in the second one it waits for ten milliseconds, as for an answer. What is counted is the CPU time
of the main process per task, which is all that the guard adds to, that of the whole worker, and the wall clock. Both workers stay, and get
their tasks in turn. A ratio is the median of those of all pairs, and the range in which that of endless many pairs lies with 95 %
confidence. Before the tables stands the guard's own part of a task in a loop of nothing else: the task comes, goes to the pool, and ends;
and the same while a prefetch of others waits before it. `--alone` prints that line only, and needs no broker.

Only where Celery is installed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import platform
import statistics
import subprocess
import sys
import time
import uuid
from collections import deque
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from benchmarks.fleet_cost import confident
from celery import Celery
from kombu import Queue as KombuQueue
from tests.servers.resolve import shared_rabbitmq
from tests.servers.unavailable import Unavailable

from holdgate import Dependency, Guard, Queue
from holdgate.integrations.celery import CeleryGuard
from holdgate.integrations.celery.loop import SharedLoop
from holdgate.integrations.celery.station import PoolLane, TaskStation
from holdgate.runtime.guests import GuestRun
from holdgate.runtime.run_settings import plan_run

PROCESSES = 2
POOLS = ("prefork-2", "prefork-1", "solo", "threads-2")  # each with the number of its processes or threads
MULTIPLIER = 16
WAIT = 0.01


class Used(NamedTuple):
    """Seconds per task: CPU of the main process, CPU of the whole worker, wall clock."""

    main: float
    worker: float
    wall: float


def make(url: str, queue: str, *, guarded: bool) -> Celery:
    app = Celery("bench", broker=url, set_as_current=False)
    app.conf.update(
        task_acks_late=True,
        task_ignore_result=True,
        task_queues=[KombuQueue(queue)],
        task_default_queue=queue,
        worker_prefetch_multiplier=MULTIPLIER,
    )

    @app.task(name="work", shared=False)
    def work(seconds: float) -> None:
        if seconds:
            time.sleep(seconds)

    if guarded:
        CeleryGuard(app, needs={"work": [Dependency("payments")]})
    return app


if "HOLDGATE_BENCH" in os.environ:  # a worker
    app = make(*os.environ["HOLDGATE_BENCH"].split(), guarded="HOLDGATE_GUARDED" in os.environ)


def cpu(pid: int, *, with_children: bool) -> float:
    """The seconds of CPU that a process has used, in all of its threads, and its children that live."""
    used = sum(int(thread.read_text().split()[0]) for thread in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9
    if with_children:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        used += sum(cpu(int(child), with_children=False) for child in children)
    return used


class Worker:
    """A worker that stays, and is given tasks once more and once more: a measurement is then of nothing but them."""

    def __init__(self, url: str, pool: str, *, guarded: bool) -> None:
        self._queue = f"bench-{uuid.uuid4().hex[:8]}"
        self._app = make(url, self._queue, guarded=False)
        self._name = f"{self._queue}@here"
        environment = {**os.environ, "HOLDGATE_BENCH": f"{url} {self._queue}", **({"HOLDGATE_GUARDED": "1"} if guarded else {})}
        kind, _, concurrency = pool.partition("-")
        command = [sys.executable, "-W", "ignore", "-m", "celery", "-A", "benchmarks.celery_guarded", "worker", "-l", "WARNING"]
        command += ["-P", kind, "-c", concurrency or "1", "-n", self._name, "--without-gossip", "--without-mingle"]
        self._process = subprocess.Popen(  # noqa: S603 - of ours
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._channel = self._app.connection_for_write().default_channel
        while not self._app.control.ping([self._name], timeout=5.0):
            if self._process.poll() is not None:
                raise RuntimeError(f"the worker has ended with {self._process.returncode}")

    def measure(self, tasks: int, seconds: float) -> Used:
        """Let it do so many tasks. Counted is from when a tenth of them is taken until a twentieth is left."""
        control = self._app.control
        control.cancel_consumer(self._queue, destination=[self._name], reply=True, timeout=60.0)
        with self._app.producer_or_acquire() as producer:
            for _ in range(tasks):
                self._app.tasks["work"].apply_async((seconds,), producer=producer)
        self._left_after(tasks, at_least=True)
        control.add_consumer(self._queue, destination=[self._name])
        first, begun = self._left_after(tasks * 9 // 10), self._used()
        last, ended = self._left_after(tasks // 20), self._used()
        self._left_after(0)
        return Used(*((after - before) / (first - last) for before, after in zip(begun, ended, strict=True)))

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._channel.queue_delete(self._queue)
        self._app.close()

    def _left_after(self, count: int, *, at_least: bool = False) -> int:
        while (left := int(self._channel.queue_declare(self._queue, passive=True).message_count)) != count:
            if (left > count) is at_least:
                break
            time.sleep(0.01)
        return left

    def _used(self) -> Used:
        pid = self._process.pid
        return Used(cpu(pid, with_children=False), cpu(pid, with_children=True), time.perf_counter())


Pairs = list[tuple[Used, Used]]  # bare and guarded


def pairs_of(url: str, pool: str, tasks: int, seconds: float, rounds: int) -> Pairs:
    workers = {guarded: Worker(url, pool, guarded=guarded) for guarded in (False, True)}
    found: Pairs = []
    try:
        for number in range(rounds + 1):
            of = {guarded: workers[guarded].measure(tasks, seconds) for guarded in ((False, True) if number % 2 else (True, False))}
            if number:  # the first round warms everything
                found.append((of[False], of[True]))
    finally:
        for worker in workers.values():
            worker.stop()
    return found


def report(found: dict[str, Pairs], title: str) -> None:
    kinds = ("µs of CPU of the main process", "of the worker", "of wall clock")
    of_each = " | ".join(f"{kind}, bare | guarded | throughput by it" for kind in kinds)
    print(f"\n{title}\n\n| pool | {of_each} |\n|---{'|---' * 9}|")
    for pool, pairs in found.items():
        cells = []
        for at in range(3):
            bare, guarded = (statistics.median(pair[which][at] for pair in pairs) * 1e6 for which in (0, 1))
            median, low, high = confident([pair[0][at] / pair[1][at] for pair in pairs])
            cells.append(f"{bare:.0f} | {guarded:.0f} | {median:.2f} ({low:.2f} to {high:.2f})")
        print(f"| {pool} | {' | '.join(cells)} |", flush=True)


def alone(tasks: int, rounds: int, ahead: int) -> list[float]:
    """Seconds of CPU that the guard itself takes for a task, in each round, with so many in the worker's hands. The pool keeps nothing."""
    loop = SharedLoop("bench")
    loop.start()
    started: deque[Any] = deque()
    main: Any = SimpleNamespace(start_in_pool=started.append, soon=lambda _: None)

    async def begin() -> tuple[Guard, TaskStation]:
        guard = Guard(signals=False)
        await guard.__aenter__()
        station = TaskStation(loop, main, guard, prefetch=MULTIPLIER * PROCESSES, concurrency=PROCESSES, timeouts={"bench": 1800.0})
        plans = plan_run(station, [Dependency("payments")], order=None, key=None, concurrency=PROCESSES, span=1000, retry=None)
        run = GuestRun(guard, station, plans, station.granted, PoolLane)
        station.joined(run)
        await run.open()
        return guard, station

    guard, station = loop.run(begin(), 60.0)
    source, found = Queue("bench"), []
    station.take_up([source])
    for _ in range(rounds + 1):
        message = SimpleNamespace(delivery_tag=1, headers={})
        requests = [
            SimpleNamespace(delivery_info={"redelivered": False}, type="work", id="1", message=message, body=b"") for _ in range(tasks)
        ]
        gc.collect()
        begun = time.thread_time()
        for request in requests[:ahead]:
            station.offer(source, request)
        for request in requests[ahead:]:
            station.succeeded(started.popleft().delivery)
            station.offer(source, request)
        while started:
            station.succeeded(started.popleft().delivery)
        found.append((time.thread_time() - begun) / tasks)
    loop.run(guard.__aexit__(None, None, None), 60.0)
    loop.stop(60.0)
    return found[1:]  # the first round warms everything


async def main(options: argparse.Namespace) -> None:
    print()
    for ahead, how in ((1, "none waits"), (MULTIPLIER * PROCESSES, "a prefetch waits")):
        own = [seconds * 1e6 for seconds in await asyncio.to_thread(alone, options.tasks, options.rounds, ahead)]
        print(
            f"The guard's part alone, {how}: {min(own):.1f} µs of CPU for a task at the least, {statistics.median(own):.1f} at the median"
        )
    if options.alone:
        return
    async with shared_rabbitmq() as server:
        url = options.url or server.url
        pools = options.pools.split(",")
        for wait, title, of in ((0.0, "A task that does nothing", pools), (WAIT, "A task that waits for 10 ms", pools[:1])):
            found = {pool: pairs_of(url, pool, options.tasks // (4 if wait else 1), wait, options.rounds) for pool in of}
            report(found, title)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--url", help="a running RabbitMQ; left out, one is started")
    parser.add_argument("--tasks", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--pools", default=",".join(POOLS))
    parser.add_argument("--alone", action="store_true", help="the guard's part alone, without a broker")
    given = parser.parse_args()
    print(f"CPython {platform.python_version()}, Celery {version('celery')}, {given.rounds} pairs of {given.tasks} tasks")
    try:
        asyncio.run(main(given))
    except Unavailable as error:
        sys.exit(str(error))
