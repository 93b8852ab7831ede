"""A scenario's world: a broker's bed from the conformance tests, a target for dead letters, and a guard that works on it.

The same scenario runs on the broker in memory, on virtual time, and on real ones, on real time. It waits for conditions, never for times.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from holdgate import CircuitSettings, Dependency, Guard, RetryPolicy
from holdgate.testing import LoopClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence

    from holdgate import Delivery
    from holdgate.events import AnyEvent
    from holdgate.flow.message import DeadLetter, Source
    from holdgate.ports import DeadLetters
    from holdgate.testing.conformance import IntakeBed

# Only a failing scenario waits so long: two cores that other tests load.
PATIENCE = 180.0
LOOK_EVERY = 0.01
FEED_EVERY = 0.05

# An outage is over within a second, and a retry comes soon: on real brokers these are real seconds.
QUICK = CircuitSettings(open_duration=0.2, open_duration_max=0.4, open_jitter=0.0)
SOON = RetryPolicy(initial_backoff=0.02, multiplier=1.0, max_backoff=0.2, jitter=0.0)


class Down(Exception):
    """What a dependency fails with."""


class Wrong(Exception):
    """A message's own failure."""


def payments(**settings: Any) -> Dependency:
    """The dependency of most scenarios."""
    return Dependency("payments", **{"failures": Down, "settings": QUICK, **settings})


class Work:
    """A handler that writes down what it was called for, and what it processed.

    `down`: every call fails as the dependency does. Bodies in `poison` always do, and bodies in `wrong` fail by themselves. While `going`
    is not set no call ends: a scenario that wants several at the same time waits for them then, since a slow broker brings one by one.
    """

    def __init__(self, *, poison: Collection[bytes] = (), wrong: Collection[bytes] = (), seconds: float = 0.002) -> None:
        self.poison = set(poison)
        self.wrong = set(wrong)
        self.seconds = seconds
        self.down = False
        self.going = asyncio.Event()
        self.going.set()
        self.called: list[bytes] = []
        self.processed: list[bytes] = []

    async def __call__(self, delivery: Delivery[Any]) -> None:
        body = delivery.body or b""
        self.called.append(body)
        await asyncio.sleep(self.seconds)
        await self.going.wait()
        if self.down or body in self.poison:
            raise Down
        if body in self.wrong:
            raise Wrong
        self.processed.append(body)

    def calls(self, body: bytes) -> int:
        """How often the handler was called for this message."""
        return self.called.count(body)


class Target:
    """Where dead letters go: the broker's own, made anew by each run that opens it. Fails while `failing` is set.

    `confirmed` is called after each confirmation, before anybody else hears of it; a scenario stops the world there.
    """

    def __init__(self, make: Callable[[], DeadLetters]) -> None:
        self._make = make
        self._inner: DeadLetters | None = None
        self.failing: Exception | None = None
        self.tried = 0
        self.letters: list[DeadLetter] = []
        self.confirmed: Callable[[], Awaitable[None]] | None = None

    async def open(self, names: Collection[str] | None) -> None:
        self._inner = self._make()
        await self._inner.open(names)

    async def publish(self, letter: DeadLetter) -> None:
        self.tried += 1
        if self.failing is not None:
            raise self.failing
        assert self._inner is not None
        await self._inner.publish(letter)
        self.letters.append(letter)
        if self.confirmed is not None:
            await self.confirmed()

    async def close(self) -> None:
        assert self._inner is not None
        await self._inner.close()

    def attempts(self, body: bytes) -> list[int]:
        """How often the handler had been started for this message, by each of its letters."""
        return [letter.attempts for letter in self.letters if letter.body == body]


class World:
    """Two sources, empty at first, on one broker. `buried` reads what really is in the target of the dead letters."""

    def __init__(self, bed: IntakeBed, target: Target, buried: Callable[[], Awaitable[Sequence[bytes]]]) -> None:
        self.bed = bed
        self.target = target
        self.first, self.second = bed.sources
        self.events: list[AnyEvent] = []
        self.guard: Guard | None = None
        self._buried = buried
        self._produced: list[bytes] = []
        self._run: asyncio.Task[None] | None = None

    async def produce(self, source: Source, bodies: Sequence[bytes]) -> None:
        """Store messages, whose bodies differ."""
        self._produced += bodies
        await self.bed.produce(source, bodies)

    @asynccontextmanager
    async def working(self, handler: Callable[[Any], Awaitable[object]], *, inbox: int = 50, **settings: Any) -> AsyncIterator[Guard]:
        """A guard that works with these settings of `guard.run`, and drains at the end."""
        settings = {"retry": SOON, "dead_letters": self.target, **settings}
        async with Guard(signals=False, clock=LoopClock(), observers=[self.events.append]) as guard:
            self.guard = guard
            self._run = asyncio.create_task(guard.run(self.bed.intake(inbox=inbox), handler, **settings))
            try:
                yield guard
            finally:
                await guard.stop()
            await self._run

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Return when the condition holds. AssertionError when that takes too long, or what ended the run."""
        give_up = asyncio.get_running_loop().time() + PATIENCE
        while not condition():
            self._failed_unless(asyncio.get_running_loop().time() < give_up, what)
            await asyncio.sleep(LOOK_EVERY)

    async def feed(self, source: Source, condition: Callable[[], bool], what: str, lot: int = 20) -> list[bytes]:
        """Store new messages, so many at a time, until the condition holds; returns them all. Raises as `until` does."""
        fed: list[bytes] = []
        give_up = asyncio.get_running_loop().time() + PATIENCE
        while not condition():
            self._failed_unless(asyncio.get_running_loop().time() < give_up, what)
            bodies = numbered(lot, b"fed-%d-" % len(self._produced))
            await self.produce(source, bodies)
            fed += bodies
            await asyncio.sleep(FEED_EVERY)
        return fed

    def told(self, kind: type[Any]) -> list[Any]:
        """The events of this type, so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def in_hand(self, source: Source) -> int:
        """How many messages of this source are in this process, in work or waiting."""
        assert self.guard is not None
        seen = self.guard.snapshot().sources.get(source)
        return 0 if seen is None else seen.waiting + seen.in_flight

    def reasons(self) -> set[str]:
        """Why sources are held now."""
        assert self.guard is not None
        return {reason for source in self.guard.snapshot().sources.values() for reason in source.reasons}

    async def check(self, processed: Sequence[bytes], buried: Collection[bytes] = (), left: Collection[bytes] = ()) -> None:
        """At the end: each message was processed once, or is in the dead letters, once, or is left with the broker; nothing is lost."""
        assert Counter(await self._buried()) == Counter(buried)
        remaining = [body for source in self.bed.sources for body in await self.bed.left(source)]
        assert Counter(remaining) == Counter(left)
        assert Counter(processed) + Counter(buried) + Counter(left) == Counter(self._produced)

    def _failed_unless(self, patient: bool, what: str) -> None:
        if self._run is not None and self._run.done():
            self._run.result()
        assert patient, f"it did not happen that {what}; the last events: {self.events[-10:]}"

    async def buried(self) -> Counter[bytes]:
        """What is in the dead letters, and how often."""
        return Counter(await self._buried())


def numbered(count: int, word: bytes = b"m") -> list[bytes]:
    """So many bodies that differ."""
    return [b"%s%d" % (word, number) for number in range(count)]
