"""Extracts of logs in pages: written by real guards, in stories that are played on virtual time with a broker in memory.

A story is one of the examples' workers, with a payment service that comes and goes. Its clock begins at the given time of day, and chance
is the same each time, so that the log is the same on every machine. `log NAME PART...` shows parts of a story, one after the other.
"""

from __future__ import annotations

import ast
import asyncio
import errno
import logging
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from holdgate import Delivery, Dependency, Guard, http
from holdgate.testing import LoopClock, MemoryBroker, MemoryDeadLetters, MemoryFleetLog, MemoryIntake, MemoryLogServer, run_virtual

_EXAMPLES = Path(__file__).parents[2] / "examples"
_DAY = 86_400

# The waits of circuits and retries are spread by these, one after the other, as chance would.
_DRAWS = (0.2, 0.7, 0.45, 0.85, 0.3)


# What the client of the examples does: it wraps what the socket raises. Its lines are a library's.
_LIBRARY = """
def urlopen(url, data, timeout):
    try:
        answer()
    except OSError as error:
        raise URLError(error)
    return Answer()
"""


class Log(logging.Handler):
    """The log of a story by its parts: INFO and above, as the examples format it."""

    def __init__(self, begins_at: float) -> None:
        super().__init__(logging.INFO)
        self.parts: dict[str, list[str]] = {}
        self._begins_at = begins_at
        self._part: list[str] = []

    def begin(self, part: str) -> None:
        """Begin a part."""
        self._part = self.parts.setdefault(part, [])

    def emit(self, record: logging.LogRecord) -> None:
        at = int(self._begins_at + asyncio.get_running_loop().time()) % _DAY
        time = f"{at // 3600:02}:{at // 60 % 60:02}:{at % 60:02}"
        self._part.append(f"{time} {record.levelname:7} {record.getMessage()}")


@asynccontextmanager
async def _written_to(log: Log) -> AsyncIterator[None]:
    """Have the log of holdgate go there, and nowhere else."""
    holdgate = logging.getLogger("holdgate")
    level, propagates = holdgate.level, holdgate.propagate
    holdgate.addHandler(log)
    holdgate.setLevel(logging.INFO)
    holdgate.propagate = False
    try:
        yield
    finally:
        holdgate.removeHandler(log)
        holdgate.setLevel(level)
        holdgate.propagate = propagates


class Payments:
    """The payment service of the examples. `down` None means that it answers; else it is the error number of the refusal."""

    def __init__(self, seconds: float) -> None:
        self.down: int | None = None
        self.seconds = seconds

    def answer(self) -> None:
        """Answer a call, or refuse it as the system does."""
        if self.down is not None:
            raise ConnectionRefusedError(self.down, "refused")


def handler_of(example: str, payments: Payments) -> Callable[[Delivery[Any]], Awaitable[None]]:
    """Return the handler of an example, on the lines where it stands, with a payment service in memory behind its `urlopen`."""
    path = _EXAMPLES / example
    charge = next(node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef) and node.name == "charge")
    charge.returns, charge.args.args[0].annotation = None, None
    names: dict[str, Any] = {
        "answer": payments.answer,
        "URLError": urllib.request.URLError,
        "Answer": _Answer,
        "PAYMENTS_HOST": "localhost",
    }
    exec(compile(_LIBRARY, urllib.request.__file__, "exec"), names)  # noqa: S102 - a text of our own
    exec(compile(ast.Module([charge], []), str(path), "exec"), names)  # noqa: S102 - a file of our own

    async def handle(delivery: Delivery[Any]) -> None:
        await asyncio.sleep(payments.seconds)
        names["charge"](delivery)

    return handle


class _Answer:
    def close(self) -> None: ...


async def _produce(broker: MemoryBroker, every: float) -> None:
    number = 0
    while True:
        number += 1
        broker.produce("orders", str(number).encode())
        await asyncio.sleep(every)


async def _passes(log: Log, text: str) -> None:
    """Let time pass until a line of the log says this."""
    while not any(text in line for part in log.parts.values() for line in part):  # noqa: ASYNC110 - time is virtual
        await asyncio.sleep(0.1)


@asynccontextmanager
async def _working(
    log: Log, intake: MemoryIntake, broker: MemoryBroker, payments: Payments, *, example: str, every: float, **run: Any
) -> AsyncIterator[Guard]:
    """Have the worker of an example work on what is produced."""
    needed = Dependency("payments", failures=http.failures, retry_after=http.retry_after)
    async with _written_to(log), Guard(clock=LoopClock(_DRAWS), signals=False) as guard:
        producing = asyncio.create_task(_produce(broker, every))
        running = asyncio.create_task(guard.run(intake, handler_of(example, payments), needs=[needed], **run))
        try:
            yield guard
        finally:
            producing.cancel()
            await guard.stop()
            await running


async def _tutorial(log: Log, intake: MemoryIntake, broker: MemoryBroker, example: str) -> None:
    """The steps of a tutorial: the service is taken away for half a minute."""
    payments = Payments(0.3)
    log.begin("start")
    async with _working(log, intake, broker, payments, example=example, every=0.5):
        await asyncio.sleep(20.0)
        log.begin("down")
        payments.down = errno.ECONNREFUSED
        await _passes(log, "holding orders")
        log.begin("still")
        await asyncio.sleep(25.0)
        payments.down = None
        log.begin("back")
        await _passes(log, "is back")
        log.begin("later")
        await asyncio.sleep(300.0 - asyncio.get_running_loop().time() + 1.0)
        log.begin("stop")


# A worker with mistakes: some messages of one partition are bad, and the last ones hang.
_BAD = """
async def charge(delivery):
    await sleep(0.05)
    if delivery.body == b"hangs":
        await sleep(1000)
    if str(delivery.source) == "orders[0]" and delivery.position % 37 == 36:
        raise KeyError("amount")
"""


async def _bad(log: Log) -> None:
    """Bad messages, and handlers that do not end."""
    broker = MemoryBroker(topics={"orders": 3, "orders.dead": 1})
    names: dict[str, Any] = {"sleep": asyncio.sleep}
    exec(compile(_BAD, "worker.py", "exec"), names)  # noqa: S102 - a text of our own
    log.begin("all")
    async with _written_to(log), Guard(clock=LoopClock(_DRAWS), signals=False) as guard:
        intake = MemoryIntake(broker, topics=["orders"])
        run = asyncio.create_task(guard.run(intake, names["charge"], dead_letters=MemoryDeadLetters(broker)))
        producing = asyncio.create_task(_produce(broker, 0.1))
        await asyncio.sleep(240.0)
        producing.cancel()
        for number in range(3):
            broker.produce("orders", b"hangs", partition=number)
        await asyncio.sleep(20.0)
        await guard.stop()
        await run


async def _kafka(log: Log) -> None:
    broker = MemoryBroker(topics={"orders": 3})
    await _tutorial(log, MemoryIntake(broker, topics=["orders"]), broker, "kafka_worker.py")


async def _rabbitmq(log: Log) -> None:
    broker = MemoryBroker(queues=["orders"])
    await _tutorial(log, MemoryIntake(broker, queues=["orders"]), broker, "rabbitmq_worker.py")


async def _night(log: Log) -> None:
    """Ten minutes without payments, at three in the morning."""
    broker = MemoryBroker(topics={"orders": 3, "orders.dead": 1})
    payments = Payments(0.05)
    log.begin("all")
    run: dict[str, Any] = {"example": "kafka_worker.py", "every": 0.25, "dead_letters": MemoryDeadLetters(broker)}
    async with _working(log, MemoryIntake(broker, topics=["orders"]), broker, payments, **run):
        await asyncio.sleep(432.0)
        payments.down = errno.ECONNREFUSED
        await asyncio.sleep(600.0)
        payments.down = None
        await asyncio.sleep(480.0)


# Which worker of a fleet is at work, where several are in one process: its tasks and timers have this from the one that began them.
_WORKER: ContextVar[int] = ContextVar("worker", default=0)


async def _fleet(log: Log) -> None:
    """Three workers that share a log, and an outage of two minutes. The log is that of the first one."""
    log.addFilter(lambda _: _WORKER.get() == 0)
    broker, server, payments = MemoryBroker(topics={"orders": 6}), MemoryLogServer(), Payments(0.3)
    ended = asyncio.Event()
    async with _written_to(log):
        log.begin("start")
        workers = [asyncio.create_task(_member(number, server, broker, payments, ended)) for number in range(3)]
        producing = asyncio.create_task(_produce(broker, 0.1))
        await asyncio.sleep(20.0)
        log.begin("down")
        payments.down = errno.ECONNREFUSED
        await asyncio.sleep(120.0)
        payments.down = None
        log.begin("back")
        await _passes(log, "is back")
        await asyncio.sleep(10.0)
        log.begin("stop")
        producing.cancel()
        ended.set()
        await asyncio.wait(workers)


async def _member(number: int, server: MemoryLogServer, broker: MemoryBroker, payments: Payments, ended: asyncio.Event) -> None:
    """One worker of a fleet."""
    _WORKER.set(number)
    needed = Dependency("payments", failures=http.failures, retry_after=http.retry_after)
    draws = Random(number)
    clock = LoopClock(tuple(draws.random() for _ in range(97)))
    async with Guard(clock=clock, signals=False, fleet=MemoryFleetLog(server)) as guard:
        intake = MemoryIntake(broker, topics=["orders"])
        running = asyncio.create_task(guard.run(intake, handler_of("fleet_worker.py", payments), needs=[needed]))
        await ended.wait()
        await guard.stop()
        await running


_CLOCK = {"kafka": (16, 38), "rabbitmq": (17, 45), "night": (2, 55), "bad": (9, 0), "fleet": (11, 20)}
_STORIES: dict[str, Callable[[Log], Awaitable[None]]] = {
    "kafka": _kafka,
    "rabbitmq": _rabbitmq,
    "night": _night,
    "bad": _bad,
    "fleet": _fleet,
}


@cache
def story(name: str) -> dict[str, list[str]]:
    """Play a story, and return its log by parts. Raises KeyError for an unknown one."""
    hour, minute = _CLOCK[name]
    log = Log(hour * 3600 + minute * 60)
    run_virtual(_STORIES[name](log))
    return log.parts


def extract(name: str, *parts: str) -> str:
    """Show these parts of the log of a story, or the whole, as a block."""
    told = story(name)
    lines = [line for part in parts or told for line in told[part]]
    return "```\n" + "\n".join(lines) + "\n```"
