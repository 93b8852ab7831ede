"""A Celery app on a real RabbitMQ, and its workers in processes of their own. What its tasks see and do stands in files of one folder."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from celery import Celery
from celery.worker.request import Request
from kombu import Exchange, Queue

from holdgate import CircuitSettings, Dependency, Guard, RetryPolicy
from holdgate.integrations.celery import CeleryGuard

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Only a failing test waits so long: a worker takes seconds to start, and many on a busy machine.
PATIENCE = 90.0
PREFETCH = 4
# A warm shutdown may take Celery half a minute. By then the broker has long seen every ack.
_ENDS_WITHIN = 10.0


class TooMany(Exception):
    """What the dependency says when it has too many calls."""

    status = 429


async def until(condition: Callable[[], object], *, every: float = 0.05) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(every)


class Files:
    """What passes between a test and the tasks. `down` and alike are files that exist or not; `calls` and alike get a line each time."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def has(self, name: str) -> bool:
        return (self.folder / name).exists()

    def note(self, name: str, text: object) -> None:
        """Add a line in one write, as several processes do."""
        descriptor = os.open(self.folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{text}\n".encode())
        os.close(descriptor)

    def lines(self, name: str) -> list[str]:
        try:
            return (self.folder / name).read_text().splitlines()
        except FileNotFoundError:  # a test may take it away at any time
            return []

    def numbers(self, name: str) -> list[int]:
        return [int(line.split()[0]) for line in self.lines(name)]


def make(settings: Mapping[str, Any]) -> Celery:  # noqa: C901 - a task each
    """Return an app of these settings: `url`, `queue`, `arguments` of the queue, `folder`, and `conf` of Celery."""
    app = Celery("shop", broker=settings["url"], set_as_current=False)
    app.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_default_queue=settings["queue"],
        worker_hijack_root_logger=False,
        worker_detect_quorum_queues=True,
        broker_connection_retry_on_startup=True,
        task_queues=[Queue(settings["queue"], Exchange(""), routing_key=settings["queue"], queue_arguments=settings.get("arguments"))],
    )
    app.conf.update(settings.get("conf", {}))
    files = Files(settings["folder"])

    def call(n: int) -> None:
        """What a task does: call the dependency."""
        files.note("calls", f"{n} {time.monotonic()}")
        for seconds in files.lines("slow"):
            time.sleep(float(seconds))
        if files.has("throttled"):
            raise TooMany
        if files.has("down") or n in files.numbers("bad"):
            raise ConnectionError("canary-text of the dependency")
        files.note("done", n)

    @app.task(name="charge", shared=False, **settings.get("charge", {}))
    def charge(n: int) -> None:
        call(n)

    @app.task(name="autoretry", shared=False, autoretry_for=(Exception,), max_retries=1, default_retry_delay=0)
    def autoretry(n: int) -> None:
        call(n)

    @app.task(name="by_hand", shared=False, bind=True, max_retries=1, default_retry_delay=0)
    def by_hand(self: Any, n: int) -> None:
        files.note("retries", self.request.retries)
        try:
            call(n)
        except ConnectionError as error:
            raise self.retry(exc=error) from error

    @app.task(name="wrong", shared=False)
    def wrong(n: int) -> None:
        files.note("calls", n)
        raise ValueError(n)

    @app.task(name="mail", shared=False)
    def mail(n: int) -> None:
        files.note("mails", n)

    @app.task(name="said", shared=False, needs=[Dependency("payments")])
    def said(n: int) -> None:
        call(n)

    return app


def guard(app: Celery, settings: Mapping[str, Any]) -> CeleryGuard:
    """Guard the app by its settings: `needs` is a list of tasks, "said", or "function"; `quick` makes the circuit try again soon."""
    files = Files(settings["folder"])
    circuit = CircuitSettings(open_duration=0.5, open_jitter=0.0) if settings.get("quick", True) else CircuitSettings()
    payments = Dependency("payments", failures=settings.get("failures") and (ConnectionError,), settings=circuit)

    def announced(event: object) -> None:
        files.note("events", type(event).__name__)

    control = None
    if "control" in settings:
        from holdgate.control import Control  # noqa: PLC0415 - few of the tests need it

        control = Control(port=settings["control"])
    needs: Any = settings.get("needs", ["charge"])
    by_name: Any = {name: [payments] for name in needs}
    if needs == "said":
        app.tasks["said"].needs = [payments]
        by_name = None
    if needs == "function":
        by_name = lambda task: [payments] if task.message.args[0] % 2 else []  # noqa: E731
    return CeleryGuard(
        app,
        needs=by_name,
        dependencies=[payments] if needs == "function" else [],
        guard=Guard(payments, signals=False, observers=[announced], control=control),
        retry=RetryPolicy(attempts=3, initial_backoff=0.05, max_backoff=0.2),
        consumer_timeout=settings.get("consumer_timeout", 1800.0),
    )


class Shop:
    """The test's side of it: publishes tasks, and starts workers in processes of their own."""

    def __init__(self, url: str, queue: str, folder: Path, **settings: Any) -> None:
        self.settings = {"url": url, "queue": queue, "folder": str(folder), **settings}
        self.files = Files(str(folder))
        self.app = make(self.settings)
        self.workers: list[subprocess.Popen[bytes]] = []

    def send(self, count: int, task: str = "charge", *, first: int = 0, **options: Any) -> None:
        with self.app.producer_or_acquire() as producer:
            for n in range(first, first + count):
                self.app.tasks[task].apply_async((n,), producer=producer, **options)

    def put(self, name: str, text: object = "") -> None:
        (self.files.folder / name).write_text(f"{text}\n")

    def take(self, name: str) -> None:
        (self.files.folder / name).unlink()

    def work(self, *options: str, guarded: bool = True) -> subprocess.Popen[bytes]:
        """Start a worker with two processes."""
        environment = {**os.environ, "HOLDGATE_SHOP": json.dumps({**self.settings, "guarded": guarded})}
        environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[3]), *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "celery",
            "-A",
            __name__,
            "worker",
            "-l",
            "INFO",
            "-c",
            "2",
            "-n",
            f"w{len(self.workers)}@%h",
        ]
        with (self.files.folder / "log").open("ab") as log:
            worker = subprocess.Popen([*command, "--without-gossip", "--without-mingle", *options], env=environment, stdout=log, stderr=log)
        self.workers.append(worker)
        return worker

    @property
    def log(self) -> str:
        return "\n".join(self.files.lines("log"))

    async def opened(self) -> None:
        await until(lambda: "CircuitOpened" in self.files.lines("events"))

    async def done(self, count: int) -> None:
        """Return when so many tasks are done, and the worker has acked them: what ends it now brings none of them back."""
        await until(lambda: len(done := set(self.files.numbers("done"))) >= count and done <= set(self.files.numbers("acked")))

    async def ended(self, worker: subprocess.Popen[bytes]) -> int:
        await until(lambda: worker.poll() is not None)
        return worker.returncode

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the workers: by their own end, because a broker drops the last acks of a connection that is just cut off."""
        for worker in self.workers:
            if worker.poll() is None:
                worker.terminate()
        for worker in self.workers:
            try:
                worker.wait(_ENDS_WITHIN)
            except subprocess.TimeoutExpired:  # its processes see the end of their pipes
                worker.kill()
                worker.wait()
        self.app.close()
        print(self.log[-20_000:])  # pytest shows it for a test that fails


def _note_acks(files: Files) -> None:
    """Note the number of each task that this worker has acked, when that is on its way."""
    acknowledge = Request.acknowledge

    def noting(request: Any) -> None:
        acknowledge(request)
        files.note("acked", request.argsrepr.strip("(),"))

    Request.acknowledge = noting


if "HOLDGATE_SHOP" in os.environ:
    logging.basicConfig(level=logging.INFO, format="%(process)d %(levelname)s %(name)s: %(message)s")
    _settings = json.loads(os.environ["HOLDGATE_SHOP"])
    app = make(_settings)
    _note_acks(Files(_settings["folder"]))
    if _settings["guarded"]:
        guarded = guard(app, _settings)
