"""A Celery worker with and without a guard on RabbitMQ, in rounds that change their order.

    python -m benchmarks.celery_guarded [--url AMQP] [--tasks 4000] [--rounds 5]

A prefork worker with two processes. The first table has a task that does nothing: what is counted is the CPU time of the main process per
task, which is all that the guard adds to, and that of the whole worker. In the second, a task waits for ten milliseconds, as for an answer,
and what is counted is the wall clock. Before them stands the guard's own part of a task in a loop of nothing else: the task comes, goes to
the pool, and ends. `--alone` prints that line only, and needs no broker.

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
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

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

TICKS = os.sysconf("SC_CLK_TCK")
PROCESSES = 2
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
    """The seconds of CPU that a process has used, and its children that live."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    used = (int(fields[11]) + int(fields[12])) / TICKS
    if with_children:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        used += sum(cpu(int(child), with_children=False) for child in children)
    return used


def measure(url: str, tasks: int, seconds: float, *, guarded: bool) -> Used:
    """Let a worker do them. Counted is from when a tenth of them is taken until a twentieth is left."""
    queue = f"bench-{uuid.uuid4().hex[:8]}"
    app = make(url, queue, guarded=False)
    with app.producer_or_acquire() as producer:
        for _ in range(tasks):
            app.tasks["work"].apply_async((seconds,), producer=producer)
    environment = {**os.environ, "HOLDGATE_BENCH": f"{url} {queue}", **({"HOLDGATE_GUARDED": "1"} if guarded else {})}
    command = [sys.executable, "-W", "ignore", "-m", "celery", "-A", "benchmarks.celery_guarded", "worker", "-l", "WARNING"]
    command += ["-c", str(PROCESSES), "--without-gossip", "--without-mingle"]
    worker = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 - of ours
    with app.connection_for_write() as connection:
        channel = connection.default_channel

        def left_after(count: int) -> int:
            while (left := channel.queue_declare(queue, passive=True).message_count) > count:
                time.sleep(0.01)
            return int(left)

        first = left_after(tasks * 9 // 10)
        begun = time.perf_counter(), cpu(worker.pid, with_children=False), cpu(worker.pid, with_children=True)
        last = left_after(tasks // 20)
        ended = time.perf_counter(), cpu(worker.pid, with_children=False), cpu(worker.pid, with_children=True)
        worker.kill()
        worker.wait()
        channel.queue_delete(queue)
    app.close()
    wall, main, whole = ((after - before) / (first - last) for before, after in zip(begun, ended, strict=True))
    return Used(main, whole, wall)


def rounds_of(url: str, tasks: int, seconds: float, rounds: int) -> dict[bool, list[Used]]:
    found: dict[bool, list[Used]] = {False: [], True: []}
    for number in range(rounds):
        for guarded in (False, True) if number % 2 else (True, False):
            found[guarded].append(measure(url, tasks, seconds, guarded=guarded))
    return found


def report(found: dict[bool, list[Used]], title: str) -> None:
    print(f"\n{title}\n\n| worker | µs of CPU of its main process, least | median | µs of CPU of the whole worker, least |", end="")
    print(" µs of wall clock, least | throughput by it |\n|---|---|---|---|---|---|")
    for guarded, name in ((False, "Celery"), (True, "guarded")):
        main, worker, wall = ([one[place] * 1e6 for one in found[guarded]] for place in range(3))
        ratio = min(one.wall for one in found[False]) / min(one.wall for one in found[guarded])
        print(f"| {name} | {min(main):.0f} | {statistics.median(main):.0f} | {min(worker):.0f} | {min(wall):.0f} | {ratio:.2f} |")


def alone(tasks: int, rounds: int) -> list[float]:
    """Seconds of CPU that the guard itself takes for a task, in each round; the pool keeps nothing, and no task waits."""
    loop = SharedLoop("bench")
    loop.start()
    main: Any = SimpleNamespace(start_in_pool=lambda _: None, soon=lambda _: None)

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
        for request in requests:
            station.offer(source, request)
            station.succeeded(request.delivery)
        found.append((time.thread_time() - begun) / tasks)
    loop.run(guard.__aexit__(None, None, None), 60.0)
    loop.stop(60.0)
    return found[1:]  # the first round warms everything


async def main(options: argparse.Namespace) -> None:
    own = [seconds * 1e6 for seconds in await asyncio.to_thread(alone, options.tasks, options.rounds)]
    print(f"\nThe guard's part alone: {min(own):.1f} µs of CPU for a task at the least, {statistics.median(own):.1f} at the median")
    if options.alone:
        return
    async with shared_rabbitmq() as server:
        url = options.url or server.url
        report(rounds_of(url, options.tasks, 0.0, options.rounds), "A task that does nothing")
        report(rounds_of(url, options.tasks // 4, WAIT, options.rounds), "A task that waits for 10 ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--url", help="a running RabbitMQ; left out, one is started")
    parser.add_argument("--tasks", type=int, default=4_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--alone", action="store_true", help="the guard's part alone, without a broker")
    given = parser.parse_args()
    print(f"CPython {platform.python_version()}, Celery {version('celery')}, prefork, {PROCESSES} processes, {given.tasks} tasks")
    try:
        asyncio.run(main(given))
    except Unavailable as error:
        sys.exit(str(error))
