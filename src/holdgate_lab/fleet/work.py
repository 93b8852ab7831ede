"""What handlers, fallbacks, probes and dead letters come to in a simulated process: calls to model dependencies, one after the other.

They are ordinary async functions that a Guard runs. A call takes virtual time by `asyncio.sleep`; the dependency is left when the call ends
there, whatever has become of its caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

from holdgate.errors import Reject
from holdgate.flow.gate import gates_of
from holdgate.flow.message import AnyDelivery, DeadLetter
from holdgate_lab.fleet.clock import Process
from holdgate_lab.fleet.dependency import ModelDependency
from holdgate_lab.fleet.environment import Environment
from holdgate_lab.fleet.records import Parcel
from holdgate_lab.fleet.scenario import PoisonKind

# What a handler takes that calls nothing.
_OWN_WORK = 0.01
# What confirming one dead letter takes where nothing else is said of their target, and what a fallback takes.
_LETTER = _FALLBACK = 0.005


class DependencyFailed(Exception):
    """A call to `dependency` failed, or was given up."""

    def __init__(self, dependency: str) -> None:
        super().__init__(dependency)
        self.dependency = dependency


class Unprocessable(Exception):
    """The message's own failure."""


class FallbackFailed(Exception):
    """The fallback could not do it either."""


class FleetWork:
    """All that one process does for its messages. `parcel_of` tells which message a delivery is."""

    def __init__(
        self, environment: Environment, process: Process, parcel_of: Callable[[AnyDelivery], Parcel], failing_fallbacks: float
    ) -> None:
        self.environment = environment
        self.process = process
        self.parcel_of = parcel_of
        self.under_way = 0  # fallbacks and dead letters
        self._checker = environment.checker
        self._failing_fallbacks = failing_fallbacks

    async def handle(self, delivery: AnyDelivery) -> None:
        """The handler of a run: every call that the message needs, and then what it is itself."""
        await self._attempt([self.parcel_of(delivery)])

    async def handle_batch(self, deliveries: Sequence[AnyDelivery]) -> None:
        """The same for several messages: one call of each dependency for all of them."""
        await self._attempt([self.parcel_of(delivery) for delivery in deliveries])

    async def fall_back(self, delivery: AnyDelivery) -> None:
        """The fallback of a run; a share of them fails."""
        parcel = self.parcel_of(delivery)
        if not any(gate.is_open for gate in gates_of(delivery)):
            self._checker.complain("fallback", f"the fallback of {delivery.source} runs, and nothing that it needs is open")
        self.under_way += 1
        try:
            await asyncio.sleep(_FALLBACK)
            if self.process.draw() < self._failing_fallbacks:
                raise FallbackFailed
            self._checker.succeeded([parcel])
        finally:
            self.under_way -= 1

    async def ask(self, dependency: ModelDependency) -> bool:
        """A call that is no message's: a health probe, a dead letter. Returns whether it was good."""
        answer = dependency.call(self.environment.schedule.now)
        patience = dependency.spec.timeout
        if answer.occupies:
            self.environment.schedule.after(answer.seconds, dependency.leave)
        await asyncio.sleep(min(answer.seconds, patience))
        return answer.good and answer.seconds <= patience

    async def _attempt(self, parcels: Sequence[Parcel]) -> None:
        self._checker.starts(parcels)
        try:
            await self._do(parcels)
            self._checker.succeeded(parcels)
        except Exception as error:
            self.process.say(f"fails at {_places(parcels)}: {type(error).__name__} {error}")
            raise
        finally:
            if self.process.is_alive:
                self._checker.stopped(parcels)

    async def _do(self, parcels: Sequence[Parcel]) -> None:
        environment = self.environment
        name = parcels[0].source.name
        poison: PoisonKind | None = None
        if any(parcel.facts.is_poison for parcel in parcels):
            poison = environment.traffic[name].spec.poison_as
        needs = environment.needs[name]
        if not needs:
            await asyncio.sleep(_OWN_WORK)
        fails_first = poison == "dependency"
        for dependency in needs:
            await self._call(dependency, parcels[0].facts.key, poison, fails=fails_first)
            fails_first = False
        if poison is not None:
            raise Reject("cannot be processed") if poison == "reject" else Unprocessable

    async def _call(self, dependency: ModelDependency, key: int | None, poison: PoisonKind | None, *, fails: bool) -> None:
        schedule = self.environment.schedule
        answer = dependency.call(schedule.now, key)
        patience = dependency.spec.timeout
        if answer.occupies:
            schedule.after(answer.seconds, dependency.leave)
        await asyncio.sleep(min(answer.seconds, patience))
        is_good = answer.good and answer.seconds <= patience and not fails
        self.environment.called(dependency, failed=not is_good, wasted=not is_good and poison is None)
        if not is_good:
            raise DependencyFailed(dependency.spec.name)


class Letters:
    """Where the dead letters of one process go; implements `holdgate.ports.DeadLetters`. A scenario may have a dependency for it."""

    def __init__(self, work: FleetWork) -> None:
        self._work = work

    async def open(self, names: Collection[str] | None) -> None:
        """There is nothing to open."""

    async def publish(self, letter: DeadLetter) -> None:
        """Return when it is confirmed. Raises DependencyFailed."""
        work = self._work
        parcel = work.parcel_of(letter.delivery)
        target = work.environment.letter_target
        work.under_way += 1
        try:
            if target is None:
                await asyncio.sleep(_LETTER)
            elif not await work.ask(target):
                raise DependencyFailed(target.spec.name)
            work.environment.checker.buried(parcel)
        finally:
            work.under_way -= 1

    async def close(self) -> None:
        """There is nothing to close."""


def _places(parcels: Sequence[Parcel]) -> str:
    first, last = parcels[0].place, parcels[-1].place
    return f"{parcels[0].source}@{first}" + (f"..{last}" if len(parcels) > 1 else "")
