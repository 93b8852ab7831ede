"""The script of the demo: what happens and when, the clock it goes by, and the services that follow it.

Every number of the story is here. A call takes `LATENCY * max(1, q) * (1 + max(0, q - 1) / 20)`, with q = calls in the service / its
capacity: flat until the capacity is used, then a little worse than proportional, as a queue in front of a database is. A caller gives up
after `PATIENCE`, but the call goes on occupying the service: that is why a stampede keeps a weak service down.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right, insort
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from holdgate.errors import SettingsError

# The two kinds of work. Orders call the payment service, receipts call the mail service; both wait in topics of the same names.
ORDERS = "orders"
RECEIPTS = "receipts"
KINDS = (ORDERS, RECEIPTS)
PAYMENTS = "payments"
EMAIL = "email"

# Handlers that either side runs in parallel. Small enough that each step of the ramp (1, 2, 4, 8, 16) can be seen.
CONCURRENCY = 16

# Per topic; as many as the embedded broker makes, and enough to see that partitions are held one by one.
PARTITIONS = 4
# Distinct message keys: enough that sixteen handlers always find one that is free.
KEYS = 200

# The story is written for this length and stretched or squeezed to the length asked for. With a join of 3 s and the way out it ends
# well inside 45 s.
STORY_SECONDS = 30.0
# Below this the circuit has no time to open, probe, ramp and close before the end.
SHORTEST = 4.0
LONGEST = 600.0

LATENCY = 0.08  # seconds of one call without load: a payment API in the same region
PATIENCE = 0.5  # seconds until a caller gives up: six times the normal latency
REFUSAL = 0.02  # seconds until a service that is down refuses: a connection error is quick


class ServicePhase(Enum):
    """How the payment service is: UP at full capacity, DOWN (refuses every call), WEAK (answers again, with little capacity)."""

    UP = "up"
    DOWN = "down"
    WEAK = "weak"


# Calls at normal latency. Up: more than the sixteen handlers of one side ever make. Weak: four percent of that, as a service that must warm
# its caches and refill its connection pools.
CAPACITY = {ServicePhase.UP: 24, ServicePhase.WEAK: 1}


@dataclass(frozen=True, slots=True)
class DemoScenario:
    """The timetable of one run; every time is in seconds since traffic began.

    `seconds` is the length of the run, from 4 to 600. Raises `SettingsError` outside of that.
    """

    seconds: float = STORY_SECONDS

    def __post_init__(self) -> None:
        if not SHORTEST <= self.seconds <= LONGEST:
            raise SettingsError(f"the demo takes from {SHORTEST:g} to {LONGEST:g} seconds, not {self.seconds:g}: choose another --seconds")

    @property
    def stretch(self) -> float:
        """The length of this run over the length that the story was written for."""
        return self.seconds / STORY_SECONDS

    @property
    def down_at(self) -> float:
        """When payments fails: late enough that a healthy picture is seen first."""
        return 6.0 * self.stretch

    @property
    def weak_at(self) -> float:
        """When payments answers again, with little capacity: ten seconds of outage show three growing waits between probes."""
        return 16.0 * self.stretch

    @property
    def up_at(self) -> float:
        """When payments is at full capacity again: four seconds of weakness are enough for a stampede to do its harm."""
        return 20.0 * self.stretch

    @property
    def quiet_at(self) -> float:
        """When the last message is produced, so that the backlog can be seen to reach zero before the end."""
        return 27.0 * self.stretch

    @property
    def orders_per_second(self) -> float:
        """Below a third of what sixteen handlers do in a second, so that a backlog drains about as fast as it grew."""
        return 40.0

    @property
    def receipts_per_second(self) -> float:
        """A trickle: enough to show at any moment whether receipts still flow."""
        return 10.0

    @property
    def open_duration(self) -> float:
        """The first wait of an open circuit. Five seconds by default in the library; a demo has no time for that."""
        return 1.0 * self.stretch

    @property
    def open_duration_max(self) -> float:
        """The longest wait: longer, and the recovery could pass unseen before the next probe."""
        return 2.0 * self.stretch

    def payments(self, now: float) -> ServicePhase:
        """How the payment service is at `now`."""
        if self.down_at <= now < self.weak_at:
            return ServicePhase.DOWN
        return ServicePhase.WEAK if self.weak_at <= now < self.up_at else ServicePhase.UP

    def email(self, _now: float) -> ServicePhase:
        """How the mail service is: it never fails, and only a shared fate could slow it down."""
        return ServicePhase.UP


class StoryClock:
    """Seconds since traffic began; it stands at 0.0 until `start`, when both sides are ready.

    `read` gives monotonic seconds. None means the event loop's clock, so that the story and everything that sleeps in it go by the same
    time.
    """

    def __init__(self, read: Callable[[], float] | None = None) -> None:
        self._read = read or _loop_time
        self._started: float | None = None

    def start(self) -> None:
        """Traffic begins now."""
        self._started = self._read()

    def now(self) -> float:
        """Seconds since `start`, monotonic."""
        return 0.0 if self._started is None else self._read() - self._started


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


class ServiceError(Exception):
    """The service refused, or did not answer in time: what the demo's dependencies count as a failure."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What becomes of one call: it takes `seconds` for the caller and then fails, or not."""

    seconds: float
    failed: bool


class Service:
    """One simulated service and what is known of the calls made to it.

    `phase` tells how the service is at a moment; `now` gives seconds since traffic began.
    """

    def __init__(self, phase: Callable[[float], ServicePhase], now: Callable[[], float]) -> None:
        self._phase = phase
        self._now = now
        self._ends: list[float] = []  # when each call leaves the service, sorted
        self.calls = 0
        self.wasted = 0  # calls made while it was down: none of them could succeed
        self.overrun = 0  # calls that were not answered in time although it was up or weak
        self.peak_weak = 0  # most calls in it at the same moment while it was weak

    def in_flight(self) -> int:
        """How many calls occupy the service now, those included whose caller gave up."""
        return len(self._ends) - bisect_right(self._ends, self._now())

    def begin(self) -> Answer:
        """Count one call that arrives now; returns what becomes of it."""
        now = self._now()
        del self._ends[: bisect_right(self._ends, now)]
        self.calls += 1
        phase = self._phase(now)
        if phase is ServicePhase.DOWN:
            return self._refuse(now)
        return self._serve(now, phase)

    def _refuse(self, now: float) -> Answer:
        self.wasted += 1
        insort(self._ends, now + REFUSAL)
        return Answer(REFUSAL, failed=True)

    def _serve(self, now: float, phase: ServicePhase) -> Answer:
        load = (len(self._ends) + 1) / CAPACITY[phase]
        seconds = LATENCY * max(1.0, load) * (1.0 + max(0.0, load - 1.0) / 20.0)
        insort(self._ends, now + seconds)
        failed = seconds > PATIENCE
        self.overrun += failed
        if phase is ServicePhase.WEAK:
            self.peak_weak = max(self.peak_weak, len(self._ends))
        return Answer(min(seconds, PATIENCE), failed)

    async def call(self) -> None:
        """Make one call. Raises `ServiceError` when the service refuses or does not answer within `PATIENCE`."""
        answer = self.begin()
        await asyncio.sleep(answer.seconds)
        if answer.failed:
            raise ServiceError("no answer")
