"""One cell's world: sources, dependencies and worker processes, the state that the fault meets, and what the run may have cost.

`payments` is the dependency that goes down and `mail` one that stays up, each with a source of its own; the worker consumes both. The
first worker is the victim.
"""

from __future__ import annotations

import asyncio
import signal
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from tests.faults import admissions, story
from tests.faults.cells import State
from tests.ledger.check import violations
from tests.ledger.dependency import Mode
from tests.ledger.ledger import after, mark

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.cells import Cell
    from tests.faults.erlang import Prepared
    from tests.integration.kafka.scene import Scene as KafkaScene
    from tests.integration.rabbitmq.scene import Scene as RabbitMQScene
    from tests.ledger.check import Expected
    from tests.ledger.dependency import ModelDependency
    from tests.ledger.fleet import Worker
    from tests.ledger.ledger import Entry
    from tests.servers.proxy import Proxy

# Only a failing cell waits so long.
PATIENCE = 90.0
# A call takes so long while messages must not run out, and afterwards.
STEADY = 0.03
QUICK = 0.004
# A call of a state that must last: long enough to be seen and met in the middle.
LINGERS = 0.7
RAMPS = 0.4
DRAINS = 2.0
# The shortest open wait: the fault must come before it is over.
OPEN = 1.5
# The longest wait of a circuit is some four seconds, and a quick ramp takes one; the rest is for the fault itself and a busy machine.
RECOVERS_WITHIN = 25.0
# Four calls of some milliseconds, on a busy machine.
MAIL_WITHIN = 20.0


class MissedStateError(Exception):
    """The worker was not in the state any more when the fault came: nothing is shown."""


class World(ABC):
    """The parts that both brokers have. `begin`, `reach`, `strike`, `finish`, `judge`, one after the other."""

    # Every partition and queue, and how many handlers of payments a worker runs at once.
    sources: int
    lanes: int
    # Of payments, where it is a topic that is made anew.
    partitions: int

    def __init__(self, cell: Cell, scene: Any, server: Any, proxy: Proxy | None) -> None:
        self.cell = cell
        self.scene: KafkaScene | RabbitMQScene = scene
        self.server = server
        self.proxy = proxy
        self.payments = self.mail = ""
        self.dead = ""
        self.poison: set[tuple[str, int, int]] = set()
        self.victim: Worker
        self._lasted = 0.0
        self.prepared: Prepared | None = None
        self.coordinator = 0

    # -- what a broker does in its own way --------------------------------------------------------------------------------------------

    @abstractmethod
    async def make_sources(self) -> None:
        """Make `payments` and `mail`, and `dead` where the fault wants one."""

    @abstractmethod
    def arguments(self) -> tuple[str, ...]:
        """Return what a worker is told beside the sources."""

    @abstractmethod
    async def produce(self, count: int) -> None:
        """Write so many messages into `payments`, evenly."""

    @abstractmethod
    async def produce_mail(self, count: int) -> None:
        """Write so many into `mail`."""

    @abstractmethod
    async def produce_poison(self) -> None:
        """Write messages that can never be processed."""

    @abstractmethod
    async def settled(self) -> None:
        """Return when the broker has what was finished."""

    @abstractmethod
    async def expected(self, entries: list[Entry]) -> Expected:
        """Return what this run may cost."""

    @abstractmethod
    async def letters(self) -> set[tuple[str, int, int]]:
        """Return what is in `dead`."""

    async def oldest(self) -> tuple[dict[int, int], list[tuple[str, int, int]]]:
        """Return where the last fifth of what waits in payments begins in each partition, and the messages before."""
        raise NotImplementedError("a queue has no offsets")

    def complaints(self, entries: list[Entry]) -> list[str]:
        """Return what only this broker can have wrong."""
        return []

    # -- the course -------------------------------------------------------------------------------------------------------------------

    @property
    def dependency(self) -> ModelDependency:
        """The one that goes down."""
        return self.scene.dependencies["payments"]

    async def begin(self) -> None:
        """Start the workers, and let them process a little."""
        await self.make_sources()
        self.scene.latency(STEADY)
        self.scene.latency(QUICK, "mail")
        (self.victim,) = await self.start()
        if self.cell.fault.workers > 1:
            await self.start(self.cell.fault.workers - 1)
        await self.produce(100)
        await self.produce_mail(6)
        await self.until(lambda entries: len(story.told(entries, "processed", self.victim.name)) >= 10)
        if self.cell.fault.prepare is not None:
            await self.cell.fault.prepare(self)

    def worker(self) -> tuple[str, ...]:
        """Return what the fault has workers told."""
        return (*self.cell.fault.worker, "--early") if self.cell.early else self.cell.fault.worker

    async def start(self, count: int = 1) -> list[Worker]:
        """Start so many workers more, which share the work."""
        return await self.scene.start(count, *self.arguments())

    def has_work(self, entries: list[Entry], who: str) -> bool:
        """Return whether this worker takes part by now."""
        return bool(story.told(entries, "assigned", who))

    def launch(self) -> Worker:
        """Start one without waiting for its share."""
        named = {"--topic": self.scene._needs} if self.cell.broker.is_kafka else {"--queue": self.scene._needs}
        named["--dependency"] = {name: each.address for name, each in self.scene.dependencies.items()}
        pairs = [word for option, given in named.items() for name, to in given.items() for word in (option, f"{name}={to}")]
        (worker,) = self.scene.fleet.start(1, *self.arguments(), *pairs)
        return worker

    async def reach(self) -> None:
        """Bring the victim into the state of the cell."""
        match self.cell.state:
            case State.CLOSED:
                await self.produce(200)
            case State.TRIPPING:
                self.scene.latency(LINGERS)
                await self._outage()
                await self.until(lambda entries: story.failures_since_down(entries, self.victim.name) > 0)
            case State.OPEN:
                await self._opened()
            case State.HALF_OPEN:
                await self._opened()
                await self.dependency.set_mode(Mode.HANG)
                await self.until(lambda entries: story.probes(entries, self.victim.name))
            case State.RAMPING:
                await self._opened()
                self.scene.latency(RAMPS)
                await self.scene.up()
                await self.until(lambda entries: story.limit(entries, self.victim.name) > 1)
            case State.SHUTTING_DOWN:
                self.scene.latency(DRAINS)
                slow = mark()
                await self.produce(40)
                await self.until(lambda entries: bool(story.told(after(entries, slow), "called", self.victim.name)))
                self.scene.writer.write("note", terminates=self.victim.name)
                self.victim.terminate()
                await self.until(lambda entries: story.is_draining(entries, self.victim.name))

    async def strike(self) -> None:
        """Do the fault, and look whether the victim was in the state."""
        begun = time.monotonic()
        self.struck()
        await self.cell.fault.strike(self)
        self._lasted = time.monotonic() - begun
        self._check_state()

    def struck(self) -> None:
        """Write down that it comes now; a fault that is slow to come writes it again when it has come."""
        self.scene.writer.write("note", fault=self.cell.fault.name)

    async def finish(self) -> None:
        """Heal the world, let all be processed, end the workers in order."""
        if self.cell.state is State.SHUTTING_DOWN and self.victim in self.scene.fleet.workers:
            code = await self.victim.ended()
            if code > 0:
                raise AssertionError(f"the victim ended with {code}; it printed:\n{self.victim.output[-3000:]}")
        self.scene.latency(QUICK)
        if self.dependency.mode is not Mode.UP or story.is_down(self.entries()):
            await self.scene.up()
        if not any(worker.is_running for worker in self.scene.fleet.workers):
            await self.start()
        await self.until(lambda entries: not story.missing(entries))
        await self.settled()
        await self.scene.drained()

    async def judge(self) -> list[str]:
        """Return a sentence for each invariant that does not hold."""
        entries = self.entries()
        if not any(entry.kind == "processed" for entry in entries):
            return ["the ledger shows no processed message: the run proves nothing"]
        wrong = violations(entries, await self.expected(entries)) + self.complaints(entries) + admissions.wrong(entries)
        if not self.cell.fault.partial:
            wrong += story.wasted_too_often(entries, self.lanes)
        if self.dead and (found := await self.letters()) != self.poison:
            wrong.append(f"dead letters: the broker has {sorted(found)}, and poison is {sorted(self.poison)}")
        return wrong

    @property
    def recovers_within(self) -> float:
        """Seconds from a healthy dependency to closed circuits; a ramp that the fault meets may have to wait until it is over."""
        return RECOVERS_WITHIN + (self._lasted if self.cell.state is State.RAMPING else 0.0)

    # -- for faults -------------------------------------------------------------------------------------------------------------------

    def entries(self) -> list[Entry]:
        """The ledger."""
        return self.scene.ledger.entries()

    async def until(self, condition: Callable[[list[Entry]], Any], timeout: float = PATIENCE) -> list[Entry]:
        """Wait until the ledger satisfies the condition."""
        return await self.scene.until(condition, timeout)

    async def fail_for(self, mode: Mode, seconds: float) -> None:
        """Let the dependency behave like this for a while, with messages that meet it."""
        if not story.is_down(self.entries()):
            self.scene.writer.write("down", dependency="payments")
        await self.dependency.set_mode(mode)
        await self.produce(40)
        await asyncio.sleep(seconds)

    def strike_victim(self) -> None:
        """SIGUSR2: it does to itself what it was started with."""
        self.victim._process.send_signal(signal.SIGUSR2)

    async def _outage(self) -> None:
        await self.scene.down()
        await self.produce(100)

    async def _opened(self) -> None:
        await self._outage()
        await self.until(lambda entries: story.state(entries, self.victim.name) == "opened")
        await self._mail_goes_on()
        await self.until(lambda entries: story.state(entries, self.victim.name) == "opened")

    async def _mail_goes_on(self) -> None:
        """What needs something else is worked on meanwhile: the invariant of isolation."""
        await self.produce_mail(4)
        try:
            await self.until(lambda entries: not any(place[0] == self.mail for place in story.missing(entries)), timeout=MAIL_WITHIN)
        except TimeoutError as error:
            raise AssertionError("isolation: what needs mail alone waited while payments was down") from error

    def _check_state(self) -> None:
        entries = self.entries()
        at = max(entry.at for entry in entries if entry.kind == "note" and "fault" in entry.facts)
        then = [entry for entry in entries if entry.at <= at]
        if not story.was(self.cell.state, then, self.victim.name):
            raise MissedStateError(f"it was not {self.cell.state.value} when the fault came")
