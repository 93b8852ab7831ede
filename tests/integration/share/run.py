"""A fault run on a share group: workers, messages with poison among them, outages, kills and joins; and what the ledger says of it.

By hand, on a Kafka of version 4.2 or newer: `python -m tests.integration.share.run --bootstrap HOST:PORT --outage 60 [--naive]`.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.brokers.share.groups import ShareGroups
from tests.servers.kafka_address import KafkaAddress

POISON_EVERY = 50
_TOGETHER = 10


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter: the message's body, the process that wrote it, and when, in seconds of the wall clock."""

    body: str
    pid: int
    at: float


@dataclass(frozen=True, slots=True)
class Result:
    """What became of the messages of a run.

    `lost` were neither handled nor dead-lettered. `dead` are dead letters, by body, and `cut_off` those of them that a kill explains: their
    process had written them, and was killed before the broker could know. `deliveries` is the highest number that a message was handed out
    with, by body. `repeated` were handled more than once.
    """

    sent: int
    lost: tuple[str, ...]
    dead: tuple[str, ...]
    cut_off: tuple[str, ...]
    poison: tuple[str, ...]
    repeated: int
    deliveries: dict[str, int] = field(repr=False)

    @property
    def due(self) -> tuple[str, ...]:
        """The dead letters that there must be: one of each poison message, and those that a kill explains."""
        return tuple(sorted((*self.poison, *self.cut_off)))

    @property
    def most_deliveries(self) -> int:
        """The highest number of deliveries of a message."""
        return max(self.deliveries.values(), default=0)

    def __str__(self) -> str:
        spread = ", ".join(f"{number}: {count}" for number, count in sorted(Counter(self.deliveries.values()).items()))
        return (
            f"{self.sent} sent, {len(self.lost)} lost, {len(self.dead)} dead letters of {len(self.poison)} poison, "
            f"{len(self.cut_off)} more by a kill, {self.repeated} handled twice; messages by deliveries: {spread}"
        )


def cut_off(letters: Sequence[Letter], killed: Mapping[int, float], lock: float) -> tuple[str, ...]:
    """Return the messages that have a second letter because the process of the first was killed, within the lock of the record.

    One that was written earlier had its record accepted, or was late; one of a process that lives has no excuse. `killed`: when, by
    process.
    """
    last = {letter.body for letter in letters if letter.pid in killed and killed[letter.pid] - lock <= letter.at <= killed[letter.pid]}
    count = Counter(letter.body for letter in letters)
    return tuple(sorted(body for body in last if count[body] > 1))


class Run:
    """One run: a topic, a group, and workers as processes."""

    def __init__(self, kafka: KafkaAddress, folder: Path, *, lock: float, limit: int = 5, naive: bool = False) -> None:
        self.kafka = kafka
        self.down = folder / "down"
        self.folder = folder
        self._how = "naive" if naive else "guard"
        self._lock = lock
        self._limit = limit
        self._groups = ShareGroups(kafka.bootstrap)
        self._ledger = folder / "ledger"
        self._ledger.touch()
        self.topic = f"share-run-{uuid.uuid4().hex[:8]}"
        self.dead_topic = f"{self.topic}.dead"
        self.group = ""
        self.sent: list[str] = []
        self.workers: list[asyncio.subprocess.Process] = []
        self._killed: dict[int, float] = {}  # when, by process

    async def prepare(self) -> None:
        """Make topic and group."""
        await self.kafka.create_topic(self.topic, 3)
        await self.kafka.create_topic(self.dead_topic)
        self.group = await self._groups.create(lock=self._lock, limit=self._limit)

    async def start_worker(self, *more: str) -> asyncio.subprocess.Process:
        """Start one more worker."""
        name = f"w{len(self.workers)}"
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.integration.share.worker", self._how,
            "--bootstrap", self.kafka.bootstrap, "--group", self.group, "--topic", self.topic, "--dead", self.dead_topic,
            "--name", name, "--ledger", str(self._ledger), "--down", str(self.down), *more,
        )  # fmt: skip
        self.workers.append(worker)
        return worker

    async def send(self, count: int) -> None:
        """Send messages in small batches, since a batch is taken whole, with poison among them."""
        bodies = [self._name(len(self.sent) + number) for number in range(count)]
        for first in range(0, count, _TOGETHER):
            await self.kafka.produce(self.topic, [body.encode() for body in bodies[first : first + _TOGETHER]])
        self.sent += bodies

    @staticmethod
    def _name(number: int) -> str:
        return f"{'poison' if number % POISON_EVERY == POISON_EVERY - 1 else 'm'}{number}"

    def lines(self) -> list[tuple[str, str, str, int]]:
        """Return the ledger: worker, event, message, deliveries."""
        found = [line.split() for line in self._ledger.read_text().splitlines()]
        return [(worker, event, body, int(deliveries)) for worker, event, body, deliveries in found]

    def done(self) -> set[str]:
        """Return the messages that were handled."""
        return {body for _, event, body, _ in self.lines() if event == "done"}

    async def until(self, condition: Callable[[], Awaitable[bool] | bool], within: float) -> bool:
        """Wait until something is so, or until it has not been so for long enough. Returns whether it is."""
        end = time.monotonic() + within
        while time.monotonic() < end:
            answer = condition()
            if answer if isinstance(answer, bool) else await answer:
                return True
            await asyncio.sleep(0.25)
        return False

    async def settled(self) -> bool:
        """Return whether each message was handled or is a dead letter."""
        missing = set(self.sent) - self.done()
        if any(not body.startswith("poison") for body in missing):
            return False
        return missing <= set(await self._dead())

    def kill(self, worker: asyncio.subprocess.Process) -> None:
        """Kill a worker in the middle of the run."""
        self._killed[worker.pid] = time.time()
        worker.kill()

    async def stop(self, *, kill: bool = False) -> None:
        """End all workers."""
        for worker in self.workers:
            if worker.returncode is None:
                worker.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        for worker in self.workers:
            await worker.wait()

    async def result(self) -> Result:
        """Return what became of the messages."""
        lines, letters = self.lines(), await self._letters()
        dead = [letter.body for letter in letters]
        done = Counter(body for _, event, body, _ in lines if event == "done")
        deliveries: dict[str, int] = {}
        for _, _, body, count in lines:
            deliveries[body] = max(count, deliveries.get(body, 0))
        return Result(
            sent=len(self.sent),
            lost=tuple(sorted(set(self.sent) - done.keys() - set(dead))),
            dead=tuple(sorted(dead)),
            cut_off=cut_off(letters, self._killed, self._lock),
            poison=tuple(sorted(body for body in self.sent if body.startswith("poison"))),
            repeated=sum(times > 1 for times in done.values()),
            deliveries=deliveries,
        )

    async def close(self) -> None:
        """End what runs, and remove the topics."""
        await self.stop(kill=True)
        await self._groups.close()
        for topic in (self.topic, self.dead_topic):
            await self.kafka.delete_topic(topic)

    async def _dead(self) -> list[str]:
        return [letter.body for letter in await self._letters()]

    async def _letters(self) -> list[Letter]:
        found = []
        for record in await self.kafka.read(self.dead_topic):
            _, _, pid = dict(record.headers)["holdgate-worker"].decode().rpartition(":")
            found.append(Letter(record.value.decode(), int(pid), record.timestamp / 1000))
        return found


async def outage(run: Run, seconds: float, *, messages: int, workers: int = 2, kills: bool = False) -> Result:
    """Play one outage among `messages`, of which a third waits before it, and comes during it, and after it."""
    await run.prepare()
    for _ in range(workers):
        await run.start_worker()
    await run.send(messages // 3)
    await run.until(lambda: len(run.done()) > messages // 6, 60)
    run.down.touch()
    await run.send(messages // 3)
    if kills:
        await asyncio.sleep(seconds / 3)
        run.kill(run.workers[0])
        await run.start_worker()
        await asyncio.sleep(seconds / 3)
        await run.start_worker()
        await asyncio.sleep(seconds / 3)
    else:
        await asyncio.sleep(seconds)
    run.down.unlink()
    await run.send(messages - len(run.sent))
    await run.until(run.settled, 240)
    await run.stop()
    return await run.result()


async def play(arguments: argparse.Namespace) -> Result:
    """Play the run that the command line asks for."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run(KafkaAddress(arguments.bootstrap), Path(folder), lock=arguments.lock, naive=arguments.naive)
        try:
            return await outage(run, arguments.outage, messages=arguments.messages, workers=arguments.workers, kills=arguments.kills)
        finally:
            await run.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, and print what became of the messages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--outage", type=float, default=60.0)
    parser.add_argument("--lock", type=float, default=15.0)
    parser.add_argument("--messages", type=int, default=600)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--naive", action="store_true")
    parser.add_argument("--kills", action="store_true", help="kill one worker in the outage, and let two more join")
    result = asyncio.run(play(parser.parse_args(arguments)))
    print(result)
    if result.lost:
        print("lost:", " ".join(result.lost))


if __name__ == "__main__":
    main()
