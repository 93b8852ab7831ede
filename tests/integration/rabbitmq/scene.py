"""One fault run: queues, dependencies and worker processes, all in one ledger, and what is left in the queues at its end."""

from __future__ import annotations

import contextlib
import uuid
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.canary import CANARY
from tests.ledger.check import Expected, check
from tests.ledger.dependency import Mode, ModelDependency
from tests.ledger.fleet import Fleet
from tests.ledger.ledger import after, mark
from tests.servers.rabbitmq_address import QUORUM

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.ledger.fleet import Worker
    from tests.ledger.ledger import Entry, Mark
    from tests.servers.rabbitmq_address import RabbitMQAddress

SCRIPT = Path(__file__).with_name("worker.py")

# Only a failing run waits so long: two cores that other tests load are slow to start a process.
PATIENCE = 120.0
# Between the transition and the observer's line lies one step of the worker's loop, on a machine that may have other things to do.
GRACE = 0.25
# What Python's arenas come to; a queue without a bound would pass it in seconds.
GROWTH = 64.0
# The longest wait of the workers' circuits is 2.4 s; a ramp of sixteen is a second of calls of 20 ms. The rest is for a busy machine.
RECOVERS_WITHIN = 20.0
STATES = ("opened", "half_opened", "closed")

# Queue, partition (always 0) and number, as in the ledger.
Message = tuple[str, int, int]


class Scene:
    """A run on `rabbitmq` whose files are in `folder`. `async with` ends the workers and removes the queues.

    What sets something off (`produce`, `down`, `outage`, `up`) returns the mark from before it; what waits for its effect wants that.
    `heartbeat`, in seconds: a worker or a broker that stands still for a few is given up by the other.
    """

    def __init__(self, rabbitmq: RabbitMQAddress, folder: Path, *, url: str | None = None, heartbeat: int = 60) -> None:
        self.rabbitmq = rabbitmq
        self.fleet = Fleet(SCRIPT, folder, "--url", f"{url or rabbitmq.url}?reconnect_interval=0.3&heartbeat={heartbeat}")
        self.ledger = self.fleet.ledger
        self.writer = self.ledger.writer("test")
        self.dependencies: dict[str, ModelDependency] = {}
        self._needs: dict[str, str] = {}
        self._produced: Counter[str] = Counter()
        self._poison: set[Message] = set()
        self._stack = AsyncExitStack()

    async def queue(self, arguments: Mapping[str, Any], needs: str = "payments") -> str:
        """Make a queue whose handler calls this dependency, which is made with the first queue that needs it."""
        name = await self.rabbitmq.declare(f"{needs}-{uuid.uuid4().hex[:8]}", arguments)
        self._stack.push_async_callback(self._delete, name)
        if needs not in self.dependencies:
            self.dependencies[needs] = await self._stack.enter_async_context(ModelDependency(needs, ledger=self.writer))
        self._needs[name] = needs
        return name

    def latency(self, seconds: float, dependency: str = "payments") -> None:
        """Let the dependency take so long for each call from now on."""
        self.dependencies[dependency].latency = seconds

    async def start(self, count: int = 1, *arguments: str) -> list[Worker]:
        """Start workers, and return them when each has every queue."""
        for queue, need in self._needs.items():
            arguments += ("--queue", f"{queue}={need}")
        for name, dependency in self.dependencies.items():
            arguments += ("--dependency", f"{name}={dependency.address}")
        started = self.fleet.start(count, *arguments)
        wanted = {(worker.name, queue) for worker in started for queue in self._needs}
        await self.until(lambda entries: {(each.who, each.facts["took"]) for each in took(entries)} >= wanted)
        return started

    async def produce(self, queue: str, count: int, **properties: Any) -> Mark:
        """Write so many messages more."""
        before = mark()
        first = self._produced[queue]
        numbers = range(first, first + count)
        for number in numbers:
            self.writer.write("produced", topic=queue, partition=0, offset=number)
        self._produced[queue] += count
        properties["headers"] = {**properties.get("headers", {}), "secret": f"{CANARY}header"}  # no worker may print or tell it
        await self.rabbitmq.publish(queue, [b"%d" % number for number in numbers], **properties)
        return before

    async def poison(self, queue: str, count: int, word: str = "reject") -> set[Message]:
        """Write so many that can never be processed, and return which. `word` "broken": they fail, and do not say so."""
        first = self._produced[queue]
        await self.produce(queue, count, headers={"word": word})
        added = {(queue, 0, number) for number in range(first, first + count)}
        self._poison |= added
        return added

    async def dead_letters(self) -> str:
        """Make a queue for dead letters."""
        name = await self.rabbitmq.declare(f"dead-{uuid.uuid4().hex[:8]}", QUORUM)
        self._stack.push_async_callback(self._delete, name)
        return name

    async def forget(self, queue: str) -> None:
        """Delete a queue with all that is in it: nobody is to process that any more."""
        await self.rabbitmq.delete(queue)
        del self._needs[queue]
        del self._produced[queue]

    async def down(self, mode: Mode = Mode.DOWN, dependency: str = "payments") -> Mark:
        """Begin an outage."""
        before = mark()
        self.writer.write("down", dependency=dependency)
        await self.dependencies[dependency].set_mode(mode)
        return before

    async def outage(self, queue: str, count: int = 60) -> Mark:
        """Begin one, with so many messages that meet it: those of before may all be done by then."""
        before = await self.down(dependency=self._needs[queue])
        await self.produce(queue, count)
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

    async def until(self, condition: Callable[[list[Entry]], bool], timeout: float = PATIENCE) -> list[Entry]:
        """Wait until the ledger satisfies the condition, whatever of it came before this call."""
        return await self.fleet.until(condition, timeout)

    async def processing(self, count: int, *, since: Mark) -> list[Entry]:
        """Wait until so many messages were processed since the mark. AssertionError when there cannot be so many any more."""

        def enough(entries: list[Entry]) -> bool:
            processed = len(told(after(entries, since), "processed"))
            if processed < count:
                left = self._produced.total() - len(self._poison) - len(told(entries, "processed"))
                assert left > 0, f"all is processed, {processed} messages of it since the mark, and {count} were waited for"
            return processed >= count

        return await self.until(enough)

    async def opened(self, worker: Worker, times: int = 1, *, since: Mark) -> list[Entry]:
        """Wait until the worker has opened its circuit so many times since the mark; with 2 a probe has failed, too."""
        return await self.until(lambda entries: len(told(after(entries, since), "opened", worker.name)) >= times)

    async def closed(self, worker: Worker) -> list[Entry]:
        """Wait until the worker's circuit is closed; to be called when it has been seen open."""
        return await self.until(lambda entries: state(entries, worker.name) == "closed")

    async def gone(self, how: str, times: int = 1, *, since: Mark) -> list[Entry]:
        """Wait until workers have been told so many times since the mark that a queue was "given back" or "lost"."""
        return await self.until(lambda entries: gone(after(entries, since), how) >= times)

    async def came_back(self, *queues: str, since: Mark) -> list[Entry]:
        """Wait until a worker got a queue since the mark; each of these, where they are named."""

        def are_back(entries: list[Entry]) -> bool:
            back = {each.facts["took"] for each in took(after(entries, since))}
            return bool(back) and back >= set(queues)

        return await self.until(are_back)

    async def finished(self, timeout: float = PATIENCE) -> list[Entry]:
        """Wait until everything produced is processed that can be."""
        wanted = {(queue, number) for queue, count in self._produced.items() for number in range(count)}
        wanted -= {(queue, number) for queue, _, number in self._poison}

        def is_finished(entries: list[Entry]) -> bool:
            # Counted first: comparing a hundred thousand of them at each look would take the worker's core.
            if self.ledger.counts["processed"] < len(wanted):
                return False
            return {(each.facts["topic"], each.offset) for each in told(entries, "processed")} >= wanted

        return await self.until(is_finished, timeout)

    async def drained(self) -> None:
        """End the running workers with SIGTERM; each must end in order, and leave nothing in the queues."""
        running = [worker for worker in self.fleet.workers if worker.is_running]
        for worker in running:
            worker.terminate()
        codes = [await worker.ended() for worker in running]
        assert codes == [0] * len(running), "\n".join(worker.output[-3000:] for worker in running)
        for queue in self._produced:
            assert await self.rabbitmq.waiting_once_free(queue) == []

    def check(self, **expected: Any) -> list[Entry]:
        """Check every invariant, and return the ledger. Order is not judged unless asked."""
        usual = {"order": None, "grace": GRACE, "growth": GROWTH, "recovers_within": RECOVERS_WITHIN}
        check(self.ledger, Expected(**{**usual, **expected}))
        return self.ledger.entries()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *details: object) -> None:
        # Queues and dependencies last: while workers run, their end would only look like one more fault.
        async with self._stack, self.fleet:
            pass

    async def _delete(self, name: str) -> None:
        # A run that failed may have left the broker dead; its own error is the one to show.
        with contextlib.suppress(OSError):
            await self.rabbitmq.delete(name)


def told(entries: Sequence[Entry], kind: str, who: str | None = None) -> list[Entry]:
    """Entries of a kind, of one process if `who` is given."""
    return [entry for entry in entries if entry.kind == kind and who in (None, entry.who)]


def took(entries: Sequence[Entry]) -> list[Entry]:
    """Whenever a worker got a queue."""
    return [entry for entry in entries if entry.kind == "note" and "took" in entry.facts]


def gone(entries: Sequence[Entry], how: str) -> int:
    """How often a queue was "given back" or "lost"."""
    return sum(1 for entry in entries if entry.kind == "note" and entry.facts.get("gone") == how)


def state(entries: Sequence[Entry], who: str) -> str:
    """The last known state of a process's circuit; "closed" for one of which nothing was told."""
    changes = (entry.kind for entry in reversed(entries) if entry.kind in STATES and entry.who == who)
    return next(changes, "closed")


def limit(entries: Sequence[Entry], who: str) -> int:
    """The limit of a circuit that is half-open; 0 of any other."""
    limits = told(entries, "limit", who)
    return limits[-1].facts["limit"] or 0 if limits and state(entries, who) == "half_opened" else 0


def returns(entries: Sequence[Entry]) -> int:
    """The most that a message had come back when its handler was called, as its queue counts."""
    return max(entry.facts["returns"] for entry in told(entries, "called"))


def again(entries: Sequence[Entry]) -> int:
    """How many calls were of a message that the broker had handed out before."""
    return sum(1 for entry in told(entries, "called") if entry.facts["redelivered"])
