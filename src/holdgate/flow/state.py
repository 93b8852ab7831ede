"""A source's place in this worker, and the run it belongs to.

A *place* is one assignment of one source: it is made when the broker gives us the source and dies when the source is revoked or lost.
Whatever still carries a dead place is of an earlier epoch, and settles nothing. That is the whole of the epoch check: identity.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, cast

from holdgate.core import Outcome, State
from holdgate.flow.attribution import Attribution
from holdgate.flow.batch import Batch
from holdgate.flow.events import AttributionShared, FlowEvent, SourceFallingBack, SourceHeld, SourceReleased
from holdgate.flow.gate import may_fall_back
from holdgate.flow.inbox import AnyDelivery, BatchInbox, FreeInbox, Inbox, KeyInbox, Order, SourceInbox, Weigh, Weights, unweighed
from holdgate.flow.message import Source
from holdgate.flow.plan import Plan, SourcePlan
from holdgate.flow.policy import FallbackSettings, RetryPolicy
from holdgate.flow.unclaimed import RunResults

if TYPE_CHECKING:
    from holdgate.flow.gate import Gate
    from holdgate.flow.policy import Needs


# What a place starts with, so that its first real plan is a change.
_UNPLANNED = SourcePlan(fetch=False, reasons=())

# The reason of a hold for an outage that nobody described.
_UNCLAIMED = "unclaimed failures"


class Assignment:
    """One source in one assignment."""

    __slots__ = (
        "alive", "blocked", "closing", "direct", "fallbacks", "falling_back",
        "fresh_heads", "full", "gate", "gates", "held", "held_before", "idle", "in_flight",
        "in_ring", "inbox", "low", "operator_hold", "plan", "probing", "results", "run", "shares_announced", "since", "source", "stopped",
        "strayed", "strays", "undeclared", "unknown_needs", "unsent", "warned", "weights",
    )  # fmt: skip

    def __init__(self, run: Run, source: Source, gates: Iterable[Gate] | None) -> None:
        self.run = run
        self.source = source
        self.gates: tuple[Gate, ...] = tuple(gates or ())
        self.gate = self.gates[0] if len(self.gates) == 1 else None  # nearly every source needs one: the fast path asks it alone
        self.unknown_needs = gates is None
        self.inbox: Inbox = run.new_inbox()
        # Set when the next delivery may follow in one step with the end of the one before it: one need, in the order of the source.
        self.direct = self.inbox if self.gate is not None and isinstance(self.inbox, SourceInbox) else None
        self.results = run.results_of(source)
        self.plan = _UNPLANNED
        self.alive = True  # False: revoked or lost, every result is stale
        self.closing = False  # going away: what runs may finish, nothing starts
        self.full = False  # no more is fetched until it has made room
        self.low = run.half  # while it is full: how few must wait for that
        self.weights = Weights()
        self.idle = False  # nothing here that a lane could take
        self.in_ring = False
        self.in_flight = 0  # admitted and not settled yet
        self.fresh_heads = 0  # on the waiting list, never started: bounded, so that a ramp does not empty the inbox
        self.blocked: list[AnyDelivery] = []  # rejected deliveries that have nowhere to go
        self.unsent: dict[AnyDelivery, None] = {}  # rejected deliveries whose target does not take them now
        self.operator_hold = False
        self.since: float | None = None  # held since
        self.held_before: float | None = None  # since when it was held the last time
        self.probing: dict[Gate, int] = {}  # the circuits that were half-open when that ended, and their generations
        self.falling_back = False  # its messages go to the fallback, and it is not held though a circuit is open
        self.fallbacks = 0  # how many did, ever
        self.warned = 0.0  # when the hold was last announced
        self.undeclared: set[str] = set()  # dependencies announced as UndeclaredNeed
        self.strays: Counter[Gate] = Counter()  # those that heads of it wait for though its needs do not name them: how many heads
        self.strayed: tuple[Gate, ...] = ()  # those of them that it was held by
        self.shares_announced = False
        self.stopped = False
        self.held = False
        self.restate()

    def restate(self) -> None:
        """Work out `stopped`: something other than a circuit keeps handlers from starting. Circuits are asked by acquiring."""
        self.stopped = self.operator_hold or self.closing or self.run.draining or bool(self.blocked or self.unsent) or self.unknown_needs
        self.held = self.stopped or bool(self.plan.reasons)

    def touch(self) -> None:
        """A flag has changed: see what follows, and look at the plan again at the next turn."""
        self.restate()
        if self.alive:  # the plan knows nothing of a dead place, or already of the one after it
            self.run.dirty[self] = None

    @property
    def has_enough(self) -> bool:
        """Whether as many messages wait here as may, or as many bytes."""
        return self.inbox.waiting >= self.run.inbox or self.run.memory.is_enough(self)

    def weigh(self) -> int:
        """The bytes in hand of it now: waiting, in work, and failed."""
        return self.weights.settle(self.inbox.oldest, self.inbox.ended)

    def fill(self) -> None:
        """Nothing more is to be fetched until half of what waits is worked off: so that fetching does not flap."""
        if not self.full:
            self.full = True
            self.low = min(self.run.half, self.inbox.waiting // 2)
            self.run.dirty[self] = None

    def drain(self) -> None:
        """There is room."""
        if self.full:
            self.full = False
            self.run.dirty[self] = None

    def make_room(self) -> bool:
        """The full inbox has given one away; True when it may be filled again, or others may instead."""
        if self.inbox.waiting > self.low:
            return False
        memory = self.run.memory
        if memory.tight:
            self.low = self.inbox.waiting // 2
            memory.due = True
            return True
        if self.has_enough:
            self.low = self.inbox.waiting // 2
            return False
        self.drain()
        return True

    def put_back(self, piece: Batch) -> None:
        """A part of a batch that was taken does not start now: it comes next."""
        cast("BatchInbox", self.inbox).put_back(piece)  # where batches come from
        if self.inbox.waiting >= self.run.inbox:
            self.fill()
        if self.run.shared:
            self.run.offer(self)

    def stray(self, gates: Iterable[Gate], heads: int) -> None:
        """So many more heads of it wait for these gates, which its needs do not name; less when negative."""
        for gate in gates:
            self.strays[gate] += heads
            if self.strays[gate]:
                gate.assignments[self] = None
            else:
                del self.strays[gate], gate.assignments[self]
        self.touch()

    @property
    def needed(self) -> tuple[Gate, ...]:
        """What it needs to go on: what its source needs and, where nothing else may start before it, what its head waits for."""
        return self.gates if self.run.shared or not self.strays else (*self.gates, *self.strays)

    @property
    def going(self) -> bool:
        """Whether it is on its way out: what fails now is not tried again here."""
        return self.closing or self.run.draining

    @property
    def bars_heads(self) -> bool:
        """Whether no head of it starts either. In a hold by unclaimed failures they do: they find out when it is over."""
        return self.stopped or self.plan.reasons not in ((), (_UNCLAIMED,))

    def replan(self, now: float) -> FlowEvent | None:
        """Bring the plan of this place up to date; an event when its reasons have changed."""
        began = self._look_for_fallback(now)
        reasons = self._reasons()
        before = self.plan.reasons
        self.plan = SourcePlan(fetch=self._fetches(reasons), reasons=reasons)
        self.held = bool(reasons)
        if reasons == before or self.closing:  # a revoked source is not held, it is gone
            return began
        if not reasons:
            return self._released(now)
        if not before:
            self._hold_begins(now)
        return SourceHeld(now, self.source, reasons)

    def _fetches(self, reasons: tuple[str, ...]) -> bool:
        if reasons == (_UNCLAIMED,):  # what ends it may be a message that has not come yet
            return not self.inbox.waiting
        return not reasons and not self.full

    def _look_for_fallback(self, now: float) -> FlowEvent | None:
        before = self.falling_back
        settings = self.run.fallback
        self.falling_back = settings is not None and not self.stopped and may_fall_back(self.gates, settings.after, now)
        if before or not self.falling_back:
            return None
        return SourceFallingBack(now, self.source, tuple(gate.name for gate in self.gates if gate.shut))

    def _hold_begins(self, now: float) -> None:
        """Between two probes of one outage a source is free for a moment; a hold that follows such a moment is the one before it."""
        if self.goes_on:
            self.since = self.held_before
        else:
            self.since = self.warned = now

    def _released(self, now: float) -> SourceReleased:
        since = now if self.since is None else self.since
        self.since = None
        self.held_before = since
        gates = (*self.gates, *self.strayed)
        self.probing = {gate: gate.circuit.generation for gate in gates if gate.circuit.state is State.HALF_OPEN}
        self.strayed = ()
        return SourceReleased(now, self.source, now - since)

    @property
    def goes_on(self) -> bool:
        """Whether the outage of its last hold is not over: a circuit that was half-open then still is, or has opened again since."""
        return any(
            gate.circuit.state is not State.CLOSED and gate.circuit.generation - generation in (0, 1)
            for gate, generation in self.probing.items()
        )

    def announce_shared(self, now: float, gates: Iterable[Gate], attribution: Attribution) -> Iterable[FlowEvent]:
        """One exception counted against several needs: said once per place, with the needs that it counted against."""
        if not self.shares_announced:
            self.shares_announced = True
            blamed = [gate.name for gate, finding in zip(gates, attribution.findings, strict=True) if finding.outcome is Outcome.FAILURE]
            yield AttributionShared(now, self.source, tuple(blamed))

    def _reasons(self) -> tuple[str, ...]:
        shut = () if self.falling_back else tuple(gate for gate in self.needed if gate.shut)
        if strayed := tuple(gate for gate in shut if gate in self.strays):
            self.strayed = strayed
        reasons = [f"circuit:{gate.name}" for gate in shut]
        if self.results.suspected:
            reasons.append(_UNCLAIMED)
        if self.stopped:
            reasons += self._other_reasons()
        return tuple(sorted(reasons))

    def _other_reasons(self) -> Iterable[str]:
        if self.operator_hold:
            yield "operator"
        if self.going:
            yield "draining"
        if self.blocked:
            yield "blocked"
        if self.unsent:
            yield "dead letters"
        if self.unknown_needs:
            yield "no needs"


class MemoryBound(Protocol):
    """What an assignment asks of the bound on memory (memory.py): whether it is tight, and whether its sum is due to be made anew."""

    tight: bool
    due: bool

    def came(self, assignment: Assignment, size: int) -> None:
        """So many bytes came in."""

    def is_enough(self, assignment: Assignment) -> bool:
        """Whether as much waits as may."""
        ...


class Unbounded:
    """No bound: what a run has before an engine gives it its own."""

    tight = False
    due = False

    def came(self, assignment: Assignment, size: int) -> None:
        """Nobody counts."""

    def is_enough(self, assignment: Assignment) -> bool:  # noqa: ARG002 - it does not look
        """Never."""
        return False


class Run:
    """One `guard.run`: the settings of its work, its places, and the deliveries that lanes may pick up.

    `concurrency` None means one lane per place. `span` counts places past the oldest unfinished delivery of a source. `inbox` is how
    many deliveries may wait per source. `rejects`: there is somewhere to put rejected messages, so that they block nothing.
    `batch`: how many of them a handler gets at a time; None: one, and not in a batch. `apart`: each topic or queue has its own handler.
    `weigh` tells the bytes of deliveries of one source. `sends_unasked`: its broker sends what it likes, up to a window, and not to fetch
    it saves no memory.
    """

    __slots__ = (
        "_apart",
        "_concurrency",
        "_leftover",
        "_results",
        "assignments",
        "batch",
        "dirty",
        "draining",
        "fallback",
        "falling",
        "granted",
        "half",
        "inbox",
        "lane_wanted",
        "lanes",
        "memory",
        "needs",
        "order",
        "plan",
        "rejects",
        "resend",
        "retry",
        "ring",
        "running",
        "sends_unasked",
        "shared",
        "span",
        "weigh",
    )  # fmt: skip

    def __init__(
        self,
        needs: Needs,
        *,
        order: Order,
        concurrency: int | None,
        inbox: int,
        span: int = 1000,
        retry: RetryPolicy | None = None,
        rejects: bool = False,
        fallback: FallbackSettings | None = None,
        batch: int | None = None,
        apart: bool = False,
        weigh: Weigh = unweighed,
        sends_unasked: bool = False,
    ) -> None:
        self.needs = needs
        self.order: Order = order
        self._concurrency = concurrency
        self.inbox = inbox
        self.half = inbox // 2
        self.span = span
        self.shared = order != "source"  # several lanes may work on one place, so that one end may let several start
        self.retry = retry or RetryPolicy()
        self.rejects = rejects
        self.fallback = fallback
        self.falling = 0  # running, and it is the fallback that runs
        self.batch = batch
        self.weigh = weigh
        self.sends_unasked = sends_unasked
        self.memory: MemoryBound = Unbounded()  # the engine's, from `Engine.add_run` on
        self.assignments: dict[Source, Assignment] = {}
        self.plan = Plan()
        self.ring: deque[Assignment] = deque()  # places with work that may start, in turn
        self.granted: deque[AnyDelivery] = deque()  # admitted, permits in hand, waiting for a lane to wake
        self.resend: deque[AnyDelivery] = deque()  # rejected, to be sent again: a lane may take them, and starts no handler
        self.dirty: dict[Assignment, None] = {}  # places whose plan must be looked at again
        self.running = 0  # admitted and not settled yet, those granted included
        self.lanes = concurrency or 0  # how many may run at once, those of dead places included
        self._leftover = 0  # admitted, not settled yet, and their place is dead
        self.lane_wanted = False  # a head was passed over because every lane was busy: the next free one is its own
        self.draining = False
        self._apart = apart
        self._results: dict[tuple[str, tuple[str, ...] | None], RunResults] = {}

    def results_of(self, source: Source) -> RunResults:
        """What the messages of this source are compared with: those of every source with the same handler and the same needs. It outlives
        an assignment."""
        return self._results.setdefault((source.name if self._apart else "", self.needs.of(source)), RunResults())

    @property
    def concurrency(self) -> int:
        """How many handlers of living places may run at once now."""
        return len(self.assignments) if self._concurrency is None else self._concurrency

    @property
    def capacity(self) -> int:
        """How many messages may be in work at once now: where the ramp of what they need ends."""
        return self.concurrency * (self.batch or 1)

    def count_lanes(self, leftover: int = 0) -> None:
        """Places have come or gone, and with them `leftover` deliveries in work whose place is dead.

        With one lane per place, what still runs for a dead one has kept its lane: it must not take that of a living one.
        """
        self._leftover += leftover
        self.lanes = len(self.assignments) + self._leftover if self._concurrency is None else self._concurrency

    def new_inbox(self) -> Inbox:
        """A fresh inbox of this run's order."""
        if self.batch is not None:
            return BatchInbox(self.batch, self.span if self.shared else None)
        if self.order == "source":
            return SourceInbox()
        return KeyInbox(self.span) if self.order == "key" else FreeInbox(self.span)

    def take_in(self, deliveries: Iterable[AnyDelivery]) -> None:
        """Put deliveries into the inboxes of their places. Those of a source that is not here, or is going away, are dropped."""
        # A poll's deliveries come by source, so a list is cut where the next one has another source than the one before it.
        assignment: Assignment | None = None
        source: Source | None = None
        batch: list[AnyDelivery] = []
        for delivery in deliveries:
            if delivery.source is not source:
                self._put(assignment, batch)
                source = delivery.source
                assignment = self.assignments.get(source)
                batch = []
            delivery.assignment = assignment
            batch.append(delivery)
        self._put(assignment, batch)

    def _put(self, assignment: Assignment | None, batch: list[AnyDelivery]) -> None:
        if assignment is None or assignment.going:
            return
        before = assignment.inbox.waiting
        assignment.inbox.put(batch)
        waiting, size = assignment.inbox.waiting, self.weigh(batch)
        assignment.weights.add(waiting - before, size)
        self.memory.came(assignment, size)
        if assignment.results.suspected:
            self.dirty[assignment] = None
        if waiting >= self.inbox:
            assignment.fill()
        if not assignment.held:
            self.offer(assignment)

    def grant(self, delivery: AnyDelivery) -> None:
        """A waiting head is admitted, its lane counted already: the next lane that asks starts it."""
        assignment: Assignment = delivery.assignment
        delivery.attempt += 1
        assignment.in_flight += 1
        self.granted.append(delivery)
        if assignment.inbox.waiting:  # enough heads of it may have been waiting, and now there is one less
            self.offer(assignment)

    def offer(self, assignment: Assignment) -> None:
        """Put a place into the ring of those that lanes look at, once."""
        if not assignment.in_ring:
            assignment.in_ring = True
            self.ring.append(assignment)

    def replan(self, now: float) -> list[FlowEvent]:
        """Bring the plan up to date where something has changed since the last time."""
        if not self.dirty:
            return []
        changed = dict(self.plan.sources)
        events: list[FlowEvent] = []
        for assignment in self.dirty:
            event = assignment.replan(now)
            changed[assignment.source] = assignment.plan
            if event is not None:
                events.append(event)
            if not assignment.plan.reasons and assignment.inbox.waiting:
                self.offer(assignment)
        self.dirty.clear()
        self._publish(changed)
        return events

    def replan_without(self, assignments: Collection[Assignment]) -> None:
        """Take places that are gone out of the plan."""
        changed = dict(self.plan.sources)
        for assignment in assignments:
            changed.pop(assignment.source, None)
        self._publish(changed)

    def _publish(self, sources: dict[Source, SourcePlan]) -> None:
        if sources != self.plan.sources:
            self.plan = Plan(MappingProxyType(sources), self.plan.version + 1)
