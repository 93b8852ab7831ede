"""How many files of the package run for one message: what a reader would have to open.

    python -m benchmarks.trace_files [--bootstrap HOST:PORT] [--files]

A guard runs in this process, on the broker in memory and on Kafka: the embedded one of the demo, or a real one with `--bootstrap`. After a
warm-up three stories are watched: one good message, from the producer to the commit; one message that fails once and is retried; and an
outage, from the first failure to the pause, and from there back to a closed circuit. A file counts when one of its functions is called
meanwhile, by the message or by a timer that asks whether there is anything to do. The good message is played several times, and a file
counts that runs each time: what a timer of some seconds adds now and then is not the message's.
What runs while a module is imported does not count, and neither do `__init__.py` and what stands in for a broker (testing).
`--files` prints the files, in the order of their first call. No figure here is a time, so the machine may be busy.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import io
import logging
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Protocol

import holdgate
from holdgate import CircuitSettings, Delivery, Dependency, Guard
from holdgate.core import CircuitClosed, CircuitOpened
from holdgate.errors import MissingExtra
from holdgate.flow.events import SourceHeld
from holdgate.ports import Intake
from holdgate.testing import LoopClock, MemoryBroker, MemoryIntake, run_virtual

PACKAGE = Path(holdgate.__file__).parent
# They stand in for a broker, or are commands: no message in production passes through them.
STAND_INS = ("testing", "cli")
FLOORS = ("core", "flow", "runtime", "brokers")
# CPython 3.12 made them a part of the function around them.
INLINED = ("<listcomp>", "<setcomp>", "<dictcomp>")

TOPIC, GROUP = "orders", "trace"
WARM_UP = 50
GOOD_ONES = 5
BACKLOG = 20  # what waits when the outage begins, and comes again and again while it ends: more than the five failures that open a circuit
PATIENCE = 60.0
LOOK_EVERY = 0.02

GOOD, RETRIED, HELD, OUTAGE = "a good message", "one failure, then a retry", "an outage, up to the pause", "the same, and the way back"


@dataclass
class Trace:
    """What ran: the functions of each file of the package, in the order of the files' first calls."""

    functions: dict[str, set[CodeType]] = field(default_factory=dict)

    def called(self, frame: FrameType, event: str, _argument: object) -> None:
        """Record a call; for `sys.setprofile`."""
        code = frame.f_code
        # The code of a module or a class runs once, when it is imported.
        if event == "call" and code.co_flags & inspect.CO_OPTIMIZED and (path := counted(code)):
            self.functions.setdefault(path, set()).add(code)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Watch this thread while the block runs."""
        sys.setprofile(self.called)
        try:
            yield
        finally:
            sys.setprofile(None)

    def also(self, other: Trace) -> Trace:
        """Return what ran in both."""
        both = {path: functions & other.functions.get(path, set()) for path, functions in self.functions.items()}
        return Trace({path: functions for path, functions in both.items() if functions})

    def on_floor(self, floor: str) -> int:
        """Count the files in this folder of the package."""
        return sum(path.startswith(f"{floor}/") for path in self.functions)


def counted(code: CodeType) -> str | None:
    """Return the file's path inside the package. None means that this code does not count."""
    path = Path(code.co_filename)
    if not path.is_relative_to(PACKAGE) or path.name == "__init__.py" or code.co_name in INLINED:
        return None
    inside = path.relative_to(PACKAGE)
    return None if inside.parts[0] in STAND_INS else inside.as_posix()


class Venue(Protocol):
    """A broker with one partition that is empty."""

    def intake(self) -> Intake[Any]:
        """Return the intake that the guard runs."""
        ...

    async def produce(self, count: int) -> None:
        """Store that many messages."""
        ...

    async def settled(self) -> int:
        """Return the offset up to which the group has committed."""
        ...


class Worker:
    """A handler that does what the story wants, and what its guard announces."""

    def __init__(self) -> None:
        self.handled = 0
        self.failures_left = 0
        self.is_down = False
        self.announced: list[object] = []
        self.payments = Dependency("payments", settings=CircuitSettings(open_duration=1.0))

    async def handle(self, _delivery: Delivery) -> None:
        if self.is_down or self.failures_left:
            self.failures_left = max(self.failures_left - 1, 0)
            raise ConnectionError("payments is down")
        self.handled += 1

    def has_announced(self, *kinds: type) -> bool:
        """Return whether each of these events has come."""
        return all(any(isinstance(event, kind) for event in self.announced) for kind in kinds)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - nobody is woken by a handler or an event of the guard
            await asyncio.sleep(LOOK_EVERY)


async def through(venue: Venue, offset: int) -> None:
    """Wait until everything before the offset is committed."""
    async with asyncio.timeout(PATIENCE):
        while await venue.settled() < offset:  # noqa: ASYNC110 - only the broker knows
            await asyncio.sleep(LOOK_EVERY)


async def watch(venue: Venue) -> dict[str, Trace]:
    """Play the stories on one guard, and return what ran in each."""
    worker = Worker()
    # The loop's time, which is virtual on the broker in memory.
    async with Guard(signals=False, observers=[worker.announced.append], clock=LoopClock()) as guard:
        run = asyncio.create_task(guard.run(venue.intake(), worker.handle, needs=[worker.payments]))
        stories = asyncio.create_task(play(venue, worker))
        await asyncio.wait({run, stories}, return_when=asyncio.FIRST_COMPLETED)
        if run.done():  # something is wrong with the broker: nobody commits any more
            stories.cancel()
            run.result()
    await run
    return stories.result()


async def play(venue: Venue, worker: Worker) -> dict[str, Trace]:
    traces = {name: Trace() for name in (RETRIED, HELD, OUTAGE)}
    with Trace().running():  # what is watched takes longer, and a call that takes longer than all before it is judged by itself
        await venue.produce(WARM_UP)
        await until(lambda: worker.handled == WARM_UP)
        await through(venue, WARM_UP)
    offset = WARM_UP
    good: list[Trace] = []
    for _ in range(GOOD_ONES):
        offset += 1
        good.append(Trace())
        with good[-1].running():
            await venue.produce(1)
            await through(venue, offset)
    worker.failures_left = 1
    offset += 1
    with traces[RETRIED].running():
        await venue.produce(1)
        await through(venue, offset)
    worker.is_down = True
    worker.announced.clear()
    with traces[HELD].running():
        await venue.produce(BACKLOG)
        await until(lambda: worker.has_announced(CircuitOpened, SourceHeld))
    worker.is_down = False
    traces[OUTAGE].functions = {path: set(functions) for path, functions in traces[HELD].functions.items()}
    with traces[OUTAGE].running():
        await recover(venue, worker, offset + BACKLOG)
    return {GOOD: reduce(Trace.also, good), **traces}


async def recover(venue: Venue, worker: Worker, offset: int) -> None:
    """Let messages come until the ramp has reached its end; without any it would wait for them."""
    while not worker.has_announced(CircuitClosed):
        await venue.produce(BACKLOG)
        offset += BACKLOG
        await through(venue, offset)


# -- the brokers ----------------------------------------------------------------------------------------------------------------------


class Memory:
    """The broker in memory, on virtual time."""

    def __init__(self) -> None:
        self._broker = MemoryBroker(topics={TOPIC: 1})

    def intake(self) -> MemoryIntake:
        return MemoryIntake(self._broker, topics=[TOPIC], group=GROUP)

    async def produce(self, count: int) -> None:
        for _ in range(count):
            self._broker.produce(TOPIC, b"x")

    async def settled(self) -> int:
        return sum(self._broker.committed(GROUP).values())


class Kafka:
    """A Kafka at an address, with a topic of its own."""

    def __init__(self, bootstrap: str, topic: str, producer: Any) -> None:
        from aiokafka import AIOKafkaConsumer  # noqa: PLC0415 - the other broker needs none

        self._topic = topic
        self._producer = producer
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, group_id=topic, enable_auto_commit=False, auto_offset_reset="earliest"
        )

    def intake(self) -> Intake[Any]:
        from holdgate.brokers.kafka import KafkaIntake  # noqa: PLC0415 - as above

        return KafkaIntake(self._consumer, topics=[self._topic])

    async def produce(self, count: int) -> None:
        sent = [await self._producer.send(self._topic, b"x", partition=0) for _ in range(count)]
        await asyncio.gather(*sent)

    async def settled(self) -> int:
        from aiokafka import TopicPartition  # noqa: PLC0415 - as above

        return await self._consumer.committed(TopicPartition(self._topic, 0)) or 0


@asynccontextmanager
async def topic_on(bootstrap: str) -> AsyncIterator[str]:
    """A topic on a real Kafka, deleted in the end."""
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic  # noqa: PLC0415 - as above

    topic = new_name()
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
        yield topic
        await admin.delete_topics([topic])
    finally:
        await admin.close()


def new_name() -> str:
    return f"trace-{uuid.uuid4().hex[:8]}"


@contextmanager
def embedded() -> Iterator[str]:
    """The address of the embedded Kafka of the demo. Raises MissingExtra where it is not installed."""
    from holdgate_lab.demo.venues import EmbeddedKafka  # noqa: PLC0415 - only without `--bootstrap`

    broker = EmbeddedKafka()
    try:
        yield broker.open()
    finally:
        broker.close()


def on_memory() -> dict[str, Trace]:
    """The stories on the broker in memory."""
    return run_virtual(watch(Memory()))


async def on_kafka(bootstrap: str) -> dict[str, Trace]:
    """The stories on a real Kafka."""
    async with topic_on(bootstrap) as topic:
        return await with_topic(bootstrap, topic)


async def on_embedded(bootstrap: str) -> dict[str, Trace]:
    """The stories on the embedded Kafka, which makes a topic when it is asked for it."""
    return await with_topic(bootstrap, new_name())


async def with_topic(bootstrap: str, topic: str) -> dict[str, Trace]:
    from aiokafka import AIOKafkaProducer  # noqa: PLC0415 - as above

    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        await producer.partitions_for(topic)
        return await watch(Kafka(bootstrap, topic, producer))


# -- what is printed ------------------------------------------------------------------------------------------------------------------


def row(broker: str, story: str, trace: Trace) -> str:
    floors = [trace.on_floor(floor) for floor in FLOORS]
    cells = [broker, story, len(trace.functions), sum(map(len, trace.functions.values())), *floors, len(trace.functions) - sum(floors)]
    return f"| {' | '.join(map(str, cells))} |"


def show(broker: str, traces: dict[str, Trace], *, files: bool) -> None:
    for story, trace in traces.items():
        print(row(broker, story, trace), flush=True)
        if files:
            print("".join(f"    {path} ({len(functions)})\n" for path, functions in trace.functions.items()))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trace_files", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bootstrap", metavar="HOST:PORT", help="a real Kafka instead of the embedded one")
    parser.add_argument(
        "--files", action="store_true", help="print the files in the order of their first call, with how many functions of each"
    )
    options = parser.parse_args()
    logging.basicConfig(stream=io.StringIO())  # the lines of the log are made, as in production
    print(f"| broker | story | files | functions | {' | '.join(FLOORS)} | others |\n|{'---|' * (5 + len(FLOORS))}")
    show("memory", on_memory(), files=options.files)
    if options.bootstrap:
        show("Kafka", asyncio.run(on_kafka(options.bootstrap)), files=options.files)
        return
    try:
        with embedded() as bootstrap:
            show("embedded Kafka", asyncio.run(on_embedded(bootstrap)), files=options.files)
    except MissingExtra as missing:
        print(f"not run: Kafka. {missing}")


if __name__ == "__main__":
    main()
