"""One fault run: topics, dependencies, worker processes and what the group has committed, all in one ledger."""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from tests.canary import CANARY
from tests.integration.kafka import looks
from tests.ledger.check import Expected, check, violations
from tests.ledger.dependency import Mode, ModelDependency
from tests.ledger.fleet import Fleet
from tests.ledger.ledger import after, mark

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from tests.integration.kafka.looks import Place
    from tests.ledger.fleet import Worker
    from tests.ledger.ledger import Entry, Mark
    from tests.servers.kafka_address import KafkaAddress

# In each message: something that no worker may print or tell.
SECRET = [("secret", f"{CANARY}header".encode())]

# What the workers of every run read with, where they are not told: worker.py has the choices (make test-confluent).
CLIENT = os.environ.get("HOLDGATE_TEST_KAFKA_CLIENT", "aiokafka")

SCRIPT = Path(__file__).with_name("worker.py")

# Only a failing run waits so long: two cores that other tests load are slow to start a process.
PATIENCE = 90.0
LOOK_EVERY = 0.1
# Between the transition and the observer's line lies one step of the worker's loop, on a machine that may have other things to do.
GRACE = 0.25
# What polls under way may add to a full inbox: one that does not wait, and the waiting ones that end in the same step.
POLLS = 3 * 250
# What the client's buffers of a few small partitions and Python's arenas come to; a queue without a bound would pass it in seconds.
GROWTH = 64.0
# The longest wait of the workers' circuits is 2.4 s; a ramp of sixteen is a second of calls of 20 ms. The rest is for a busy machine.
RECOVERS_WITHIN = 20.0


class Scene:
    """A run on `kafka` whose files are in `folder`. `async with` ends the workers and removes the topics.

    What sets something off (`produce`, `down`, `up`, `note`) returns the mark from before it; what waits for its effect wants that.
    The defaults of `check` are what a run may cost; a case says where it may cost more.
    """

    def __init__(self, kafka: KafkaAddress, folder: Path) -> None:
        self.kafka = kafka
        self.group = f"group-{uuid.uuid4().hex[:8]}"
        self.fleet = Fleet(SCRIPT, folder, "--bootstrap", kafka.bootstrap, "--group", self.group)
        self.ledger = self.fleet.ledger
        self.writer = self.ledger.writer("test")
        self.dependencies: dict[str, ModelDependency] = {}
        self.committed: dict[Place, int] = {}
        self._needs: dict[str, str] = {}
        self._partitions: dict[str, int] = {}
        self._produced: dict[Place, int] = {}
        self._poison = 0
        self._stack = AsyncExitStack()

    async def topic(self, needs: str = "payments", partitions: int = 4, **settings: Any) -> str:
        """Make a topic whose handler calls this dependency, which is made with the first topic that needs it."""
        name = await self.kafka.create_topic(f"{needs}-{uuid.uuid4().hex[:8]}", partitions, **settings)
        self._stack.push_async_callback(self._delete_topic, name)
        if needs not in self.dependencies:
            self.dependencies[needs] = await self._stack.enter_async_context(ModelDependency(needs, ledger=self.writer))
        self._needs[name] = needs
        self._partitions[name] = partitions
        return name

    @property
    def places(self) -> list[Place]:
        """Every partition of every topic."""
        return [(topic, number) for topic, partitions in self._partitions.items() for number in range(partitions)]

    def latency(self, seconds: float, dependency: str = "payments") -> None:
        """Let the dependency take so long for each call from now on."""
        self.dependencies[dependency].latency = seconds

    async def start(self, count: int = 1, *arguments: str) -> list[Worker]:
        """Start workers, and return them when the partitions are shared out among all that run."""
        if "--client" not in arguments:
            arguments += ("--client", CLIENT)
        for topic, need in self._needs.items():
            arguments += ("--topic", f"{topic}={need}")
        for name, dependency in self.dependencies.items():
            arguments += ("--dependency", f"{name}={dependency.address}")
        started = self.fleet.start(count, *arguments)
        running = [worker.name for worker in self.fleet.workers if worker.is_running]
        await self.until(lambda entries: looks.shared_out(entries, self.places, running))
        return started

    async def produce(self, topic: str, each: int, *, body: bytes = b"", keys: int = 0) -> Mark:
        """Write so many messages into each partition; with `keys`, the n-th has key n modulo `keys`."""
        before = mark()
        producer = AIOKafkaProducer(bootstrap_servers=self.kafka.bootstrap, acks="all")
        await producer.start()
        try:
            for number in range(self._partitions[topic]):
                await self._produce_one(producer, topic, number, [str(count % keys) if keys else "" for count in range(each)], body)
        finally:
            await producer.stop()
        return before

    async def poison(self, topic: str, partition: int, body: bytes) -> int:
        """Write one message with this body, and return its offset."""
        ((_, offset),) = await self.kafka.produce(topic, [body], partition=partition)
        self._poison += 1
        self.produced(topic, partition, offset)
        return offset

    def produced(self, topic: str, partition: int, offset: int, **facts: Any) -> None:
        """Write down a message that is in the topic."""
        self.writer.write("produced", topic=topic, partition=partition, offset=offset, **facts)
        place = topic, partition
        self._produced[place] = max(self._produced.get(place, 0), offset + 1)

    async def down(self, mode: Mode = Mode.DOWN, dependency: str = "payments") -> Mark:
        """Begin an outage. Produce after it what is to meet it: what was produced before may be processed by then."""
        before = mark()
        self.writer.write("down", dependency=dependency)
        await self.dependencies[dependency].set_mode(mode)
        return before

    async def up(self, dependency: str = "payments") -> Mark:
        """End it."""
        before = mark()
        await self.dependencies[dependency].set_mode(Mode.UP)
        self.writer.write("up", dependency=dependency)
        return before

    def is_down(self, dependency: str = "payments") -> bool:
        """Whether an outage is under way."""
        return self.dependencies[dependency].mode is not Mode.UP

    def note(self, **facts: Any) -> Mark:
        """Write something down."""
        before = mark()
        self.writer.write("note", **facts)
        return before

    async def until(self, condition: Callable[[list[Entry]], bool], timeout: float = PATIENCE) -> list[Entry]:
        """Wait until the ledger satisfies the condition, whatever of it came before this call."""
        return await self.fleet.until(condition, timeout)

    async def processing(self, count: int, *, since: Mark) -> list[Entry]:
        """Wait until so many messages were processed since the mark. AssertionError when there cannot be so many any more."""

        def enough(entries: list[Entry]) -> bool:
            processed = len(looks.told(after(entries, since), "processed"))
            if processed < count:
                left = len(looks.told(entries, "produced")) - self._poison - len(looks.done(entries))
                assert left > 0, f"all is processed, {processed} messages of it since the mark, and {count} were waited for"
            return processed >= count

        return await self.until(enough)

    async def opened(self, times: int = 1, dependency: str = "payments", *, since: Mark) -> list[Entry]:
        """Wait until every running worker has opened its circuit so many times since the mark: with 2 a probe has failed, too."""
        names = [worker.name for worker in self.running]
        return await self.until(
            lambda entries: all(len(looks.told(after(entries, since), "opened", name, dependency=dependency)) >= times for name in names)
        )

    async def closed(self, dependency: str = "payments") -> list[Entry]:
        """Wait until the circuit of every running worker is closed; to be called when it has been seen open."""
        names = [worker.name for worker in self.running]
        return await self.until(lambda entries: all(looks.state(entries, name, dependency) == "closed" for name in names))

    async def finished(self) -> list[Entry]:
        """Wait until everything produced is processed, and committed at the broker."""
        wanted = {(*entry.place, entry.offset) for entry in looks.told(self.ledger.entries(), "produced")}
        entries = await self.until(lambda entries: looks.done(entries) >= wanted)
        await self.committed_up_to(self._produced)
        return entries

    async def committed_up_to(self, offsets: Mapping[Place, int]) -> None:
        """Wait until the broker has these next offsets, or later ones, for the group."""
        await self.until(lambda _: all(self.committed.get(place, 0) >= offset for place, offset in offsets.items()))

    async def drained(self) -> None:
        """End the running workers with SIGTERM; each must end in order."""
        running = self.running
        for worker in running:
            worker.terminate()
        codes = [await worker.ended() for worker in running]
        assert codes == [0] * len(running), "\n".join(worker.output[-3000:] for worker in running)

    @property
    def running(self) -> list[Worker]:
        """Workers that have not ended."""
        return [worker for worker in self.fleet.workers if worker.is_running]

    async def check(self, **expected: Any) -> list[Entry]:
        """Check every invariant, and return the ledger."""
        check(self.ledger, await self._expected(**expected))
        return self.ledger.entries()

    async def violations(self, **expected: Any) -> list[str]:
        """Return what breaks an invariant, for a run in which something of it is right."""
        return violations(self.ledger.entries(), await self._expected(**expected))

    async def _expected(self, **expected: Any) -> Expected:
        committed: dict[Place, int] = {}
        for topic in self._partitions:
            found = await self.kafka.committed(self.group, topic)
            committed |= {(topic, number): offset for number, offset in found.items()}
        usual = {"committed": committed, "grace": GRACE, "growth": GROWTH, "in_hand": 500 + POLLS, "recovers_within": RECOVERS_WITHIN}
        return Expected(**{**usual, **expected})

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self._watch_commits())
        return self

    async def __aexit__(self, *details: object) -> None:
        # Topics and dependencies last: while workers run, their end would only look like one more fault.
        async with self._stack, self.fleet:
            self._watching.cancel()
            await asyncio.wait({self._watching})

    async def _produce_one(self, producer: AIOKafkaProducer, topic: str, number: int, keys: list[str], body: bytes) -> None:
        sent: list[tuple[Awaitable[Any], list[str]]] = []
        begin = 0
        while begin < len(keys):
            batch = producer.create_batch()
            end = begin
            while end < len(keys) and batch.append(key=keys[end].encode() or None, value=body, timestamp=None, headers=SECRET) is not None:
                end += 1
            sent.append((await producer.send_batch(batch, topic, partition=number), keys[begin:end]))
            begin = end
        for arrival, taken in sent:
            first = (await arrival).offset
            for offset, key in enumerate(taken, first):
                self.produced(topic, number, offset, **({"key": key} if key else {}))

    async def _watch_commits(self) -> None:
        """Write down what the group has committed whenever that changes; a broker that is away has not changed it."""
        while True:
            with contextlib.suppress(KafkaError, OSError, TimeoutError):
                async with self.kafka.admin() as admin:
                    while True:
                        self._saw(await admin.list_consumer_group_offsets(self.group))
                        await asyncio.sleep(LOOK_EVERY)
            await asyncio.sleep(LOOK_EVERY)

    def _saw(self, offsets: Mapping[Any, Any]) -> None:
        for at, place in offsets.items():
            if place.offset >= 0 and self.committed.get((at.topic, at.partition)) != place.offset:
                self.committed[at.topic, at.partition] = place.offset
                self.writer.write("observed", topic=at.topic, partition=at.partition, offset=place.offset)

    async def _delete_topic(self, name: str) -> None:
        # A run that failed may have left the broker dead; its own error is the one to show.
        with contextlib.suppress(KafkaError):
            await self.kafka.delete_topic(name)
