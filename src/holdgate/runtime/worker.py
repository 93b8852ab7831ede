"""One run: an intake, its poll task, its lanes, and what the intake says of its sources.

Poll and handlers are different tasks. The poll task is never cancelled; it goes on while the run drains, because a consumer that stops
polling is thrown out of its group. All tasks are plain asyncio tasks that this file holds, so that no scope of the user's cancels them.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from holdgate.flow.delivery import Delivery
from holdgate.flow.gate import Gate
from holdgate.flow.plan import Plan
from holdgate.flow.sources import Source
from holdgate.ports import Intake
from holdgate.runtime.lanes import Lane
from holdgate.runtime.seat import Seat
from holdgate.runtime.start import Plans

if TYPE_CHECKING:
    from holdgate.runtime.dependency import Dependency
    from holdgate.runtime.guard import Guard
    from holdgate.runtime.handlers import Handler

log = logging.getLogger("holdgate")

AnyDelivery = Delivery[Any]

# An interrupted handler gets this long to let go (close a connection, roll back); one that does not is left behind and named.
_UNWIND = 2.0


class Worker:
    """Runs one intake. `main` returns when it was asked to stop, and raises what ended the intake, after draining in both cases."""

    def __init__(
        self, guard: Guard, intake: Intake[Any], plans: Plans, handler_of: Callable[[Source], Handler], *, drain_timeout: float
    ) -> None:
        self.guard = guard
        self.engine = guard.engine
        self.now = guard.now
        self.intake = intake
        self.run = plans.run
        self.handler_of = handler_of
        self.name = "+".join(sorted(intake.names or ())) or type(intake).__name__
        self.idle: list[Seat] = []
        self.seats: list[Seat] = []
        self._key_of = plans.key_of
        self._drain_timeout = drain_timeout
        self._hurried: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watchers: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._applied = -1
        self._stopping = asyncio.Event()
        self._broken: BaseException | None = None
        self.opened = asyncio.Event()
        self._polling = True

    # -- the life of a run ------------------------------------------------------------------------------------------------------------

    async def main(self) -> None:
        """Open, work until asked to stop or the intake ends, drain, close."""
        try:
            await self.intake.open(self)
        except BaseException:
            await self.intake.close()
            self.engine.remove_run(self.run, self.now())
            raise
        self.opened.set()
        poll = asyncio.create_task(self._poll(), name=f"holdgate poll of {self.name}")
        stop = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({poll, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        await self._drain()
        self._polling = False
        await asyncio.wait({poll})
        await self._close()
        poll.result()
        if self._broken is not None:
            raise self._broken

    def stop(self) -> None:
        """Ask the run to drain and end. Idempotent."""
        self._stopping.set()

    def hurry(self) -> None:
        """Wait for no handler any more: what still runs is interrupted now."""
        self._stopping.set()
        if not self._hurried.done():
            self._hurried.set_result(None)

    async def _poll(self) -> None:
        while self._polling:
            deliveries = await self.intake.receive()
            if self._key_of is not None:
                for delivery in deliveries:
                    delivery.order_key = self._key_of(delivery)
            if deliveries:
                self.engine.received(self.run, deliveries)
            self.guard.turn()

    async def _drain(self) -> None:
        self.engine.drain(self.run, self.now())
        self.guard.turn()
        if not await self._until(self._is_quiet, self._drain_timeout):
            await self._interrupt(lambda seat: seat.delivery is not None)
        await self.intake.flush()

    async def _close(self) -> None:
        for seat in self.idle:
            if isinstance(seat, Lane) and seat.task is not None:
                seat.task.cancel()
        self.engine.remove_run(self.run, self.now())
        await self.intake.close()

    # -- what the engine and the guard ask --------------------------------------------------------------------------------------------

    def hand_out(self) -> None:
        """Give what may start to idle lanes, and make lanes up to the run's concurrency."""
        while self.idle or len(self.seats) < self.run.concurrency:
            delivery = self.next()
            if delivery is None:
                return
            seat = self.idle.pop() if self.idle else self._new_lane()
            seat.give(delivery)

    def apply(self) -> None:
        """Bring the plan to the intake when it has changed, and wake whoever waits for work to end."""
        if self.run.plan.version != self._applied:
            self._applied = self.run.plan.version
            self.intake.apply(self.run.plan)
        for watcher in [watcher for watcher in self._watchers if watcher[0]()]:
            self._watchers.remove(watcher)
            if not watcher[1].done():
                watcher[1].set_result(None)

    def next(self) -> AnyDelivery | None:
        """The next delivery that a free lane may start."""
        return self.engine.next(self.run, self.now())

    def turn_if_needed(self) -> None:
        """Let the guard act if something needs it."""
        if self.engine.restless:
            self.guard.turn()

    def dependency_of(self, gate: Gate) -> Dependency:
        """The user's dependency behind a gate."""
        return self.guard.dependencies[gate.name]

    def log_failure(self, delivery: AnyDelivery, error: BaseException) -> None:
        """One line: what, where, how often. Never the exception's text, which may quote the message."""
        where = traceback.extract_tb(error.__traceback__)[-1:]
        place = f"{where[0].filename}:{where[0].lineno}" if where else "unknown place"
        log.warning("handler raised %s at %s on %s, attempt %d", type(error).__name__, place, delivery.source, delivery.attempt)
        log.debug("the exception was", exc_info=error)

    def _new_lane(self) -> Lane:
        lane = Lane(self)
        self.seats.append(lane)
        lane.start().add_done_callback(self._lane_ended)
        return lane

    def _lane_ended(self, task: asyncio.Task[None]) -> None:
        """A lane ends by being cancelled. One that raises is a mistake of ours or KeyboardInterrupt: the run must not go on one lane short."""
        if not task.cancelled() and task.exception() is not None:
            self._broken = task.exception()
            self._stopping.set()

    # -- what the intake says ---------------------------------------------------------------------------------------------------------

    def assigned(self, sources: Collection[Source]) -> Plan:
        """Fresh places; the plan is for the caller to apply before its first await."""
        plan = self.engine.assigned(self.run, sources, self.now())
        self._applied = plan.version
        self.guard.wake()
        return plan

    async def revoked(self, sources: Collection[Source]) -> None:
        """Let what runs for these sources end, for half of the rebalance timeout, then interrupt it, then forget them."""
        places = set(self.engine.closing(self.run, sources, self.now()))
        self.guard.turn()

        def ended() -> bool:
            return not any(seat.works_for(places) for seat in self.seats)

        if not await self._until(ended, self.intake.rebalance_timeout / 2):
            await self._interrupt(lambda seat: seat.works_for(places))
        self.engine.forget(self.run, [place.source for place in places if place.alive], self.now())
        self.guard.wake()

    def lost(self, sources: Collection[Source]) -> None:
        """They are gone: interrupt, settle nothing."""
        places = set(self.engine.forget(self.run, sources, self.now()))
        for seat in self.seats:
            if seat.works_for(places):
                seat.interrupt()
        self.guard.wake()

    # -- waiting for work to end ------------------------------------------------------------------------------------------------------

    def _is_quiet(self) -> bool:
        return all(seat.delivery is None for seat in self.seats)

    async def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until `condition` holds, looked at after every turn; False when `seconds` were over first."""
        if condition():
            return True
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watchers.append((condition, reached))
        await asyncio.wait({reached, self._hurried}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return condition()

    async def _interrupt(self, which: Callable[[Seat], bool]) -> None:
        chosen = [seat for seat in self.seats if which(seat)]
        for seat in chosen:
            seat.interrupt()
        if not await self._until(lambda: not any(which(seat) for seat in chosen), _UNWIND):
            stuck = [repr(seat.delivery) for seat in chosen if which(seat)]
            log.warning("handlers do not end although they were cancelled: %s", ", ".join(stuck))
