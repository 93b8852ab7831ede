"""The two records of the engine: a source in this worker (`Assignment`), and the run that it belongs to (`Run`).

An assignment is made when the broker gives us a source, and dies when the source is revoked or lost. A source that comes back gets a new
one. A delivery keeps the assignment that it came in with: if that one is dead, its result is stale and settles nothing. This identity is
the whole epoch check.

Theory of operation. Every part of flow reads these two records, and only their own methods write to them. tests/flow/test_state_writers.py
reads the code of the package and holds that rule; it lists the few lines of the hot path that write a field directly. Two things are easier
to see for that reason:

- *In flight.* A delivery is in flight from `Assignment.started` to `Assignment.ended`. The first is called when its permits are acquired,
  the second when a verdict settles them or they are given back. Both move the count of the assignment and that of its run.
- *Stopped and held.* `recompute` works out both flags whenever something that they are made of has changed, so that a lane reads one
  attribute for each message. The same call marks the assignment as dirty: the next turn makes its plan anew.

A lane finds work in the run's *ring*: assignments that may have something to start, in turn. An assignment enters the ring when it gets
work (`Run.mark_ready`). The engine takes it out when it finds nothing to start there.

What an assignment remembers of its hold is in holding.py, what it has announced already in announced.py.

What is ugly: an assignment writes into the gates that it needs (`gate.assignments`), since a gate has to find whom it holds.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, cast

from holdgate.flow.announced import Announced
from holdgate.flow.batch import Batch
from holdgate.flow.blame import history_of
from holdgate.flow.events import FlowEvent, SourceFallingBack, SourceHeld, SourceReleased
from holdgate.flow.gate import gates_of, may_fall_back
from holdgate.flow.holding import Down, HeldTogether, Hold
from holdgate.flow.inbox import BatchInbox, Inbox, MemoryBound, Order, SourceInbox, Unbounded, Weigh, Weights, unweighed
from holdgate.flow.message import AnyDelivery, Source
from holdgate.flow.passing import Kinds, PassingInbox, new_inboxes
from holdgate.flow.plan import CIRCUIT, LIMIT, UNCLAIMED, Plan, Plans, SourcePlan
from holdgate.flow.policy import ByMessage, FallbackSettings, RetryPolicy
from holdgate.flow.totals import Tally
from holdgate.flow.unclaimed import RunResults

if TYPE_CHECKING:
    from holdgate.flow.gate import Gate
    from holdgate.flow.policy import Needs


# The plan of a new assignment, so that its first real plan is a change.
_UNPLANNED = SourcePlan(fetch=False, reasons=())

# A hundred thousand messages with the default span: ten minutes of 160 a second in one partition. Half of them fill the default memory.
_SPANS = 100


class Assignment:
    """One source, from when the broker gives it to us until it is revoked or lost."""

    __slots__ = (
        "alive", "all_need", "announcements", "blocked", "by_message", "closing", "direct", "fallbacks", "falling_back", "full", "gate",
        "gates", "held", "hold", "idle", "in_flight", "in_ring", "inbox", "low", "may_need", "need_names", "operator_hold", "passing",
        "plan", "results", "run", "source", "stopped", "totals", "undeclared_holders", "undeclared_waiting", "unknown_needs", "unsent",
        "unstarted", "weights",
    )  # fmt: skip

    def __init__(self, run: Run, source: Source, gates: Iterable[Gate] | None, *, by_message: bool = False) -> None:
        self.run = run
        self.source = source
        self.may_need: tuple[Gate, ...] = tuple(gates or ())  # what a message of it may need
        self.need_names = tuple(gate.name for gate in self.may_need)
        self.by_message = by_message  # each message needs something of that; else all of them need all of it
        self.gates: tuple[Gate, ...] = () if by_message else self.may_need
        by_key = not by_message and any(gate.keys is not None for gate in self.gates)
        self.all_need = None if by_message or by_key else self.gates  # None means: ask the message. The fast path pays this look alone
        self.gate = self.gates[0] if len(self.gates) == 1 else None  # nearly every source needs one: the fast path asks it alone
        self.unknown_needs = gates is None
        self.inbox, self.passing = run.new_inboxes(by_message=self.all_need is None)
        # Set when the next delivery may follow in one step with the end of the one before it: one need, in the order of the source.
        self.direct = self.inbox if self.gate is not None and not by_key and isinstance(self.inbox, SourceInbox) else None
        self.results = run.kinds.results_of(source)
        self.totals = run.tally.of(source.name)
        self.plan = _UNPLANNED
        self.alive = True  # False: revoked or lost, every result is stale
        self.closing = False  # it goes away: what runs may finish, nothing starts
        self.full = False  # nothing more is fetched until the inbox has room again
        self.low = run.half  # while it is full: as soon as no more than this many wait, there is room
        self.weights = Weights()
        self.idle = False  # the engine has just found nothing here that a lane could take
        self.in_ring = False
        self.in_flight = 0  # started and not ended
        self.unstarted = 0  # deliveries on the waiting list that never started: bounded, so that a ramp does not empty the inbox
        self.blocked: list[AnyDelivery] = []  # rejected deliveries that have nowhere to go
        self.unsent: dict[AnyDelivery, None] = {}  # rejected deliveries that their target does not take now
        self.operator_hold = False
        self.hold = Hold()
        self.announcements = Announced(source)
        self.falling_back = False  # its messages go to the fallback, and it is not held though a circuit is open
        self.fallbacks = 0  # how many messages did, ever
        self.undeclared_waiting: Counter[Gate] = Counter()  # by a gate that not all of it needs: how many deliveries wait for it
        self.undeclared_holders: tuple[Gate, ...] = ()  # those of these gates that it was held by
        self.stopped = False
        self.held = False
        self.recompute()

    # -- what is in flight ------------------------------------------------------------------------------------------------------------

    def started(self) -> None:
        """Count one more delivery in flight: its permits are acquired, and it has a lane or is about to get one."""
        self.in_flight += 1
        self.run.running += 1

    def ended(self) -> None:
        """Count one delivery less in flight: its permits are settled or given back, and its lane is free."""
        self.in_flight -= 1
        self.run.running -= 1
        if not self.alive:
            self.run.count_lanes(leftover=-1)

    # -- whether its deliveries may start ---------------------------------------------------------------------------------------------

    def recompute(self) -> None:
        """Work out `stopped` and `held` anew, and have the next turn look at the plan. Only what is no circuit stops it: circuits are
        asked by acquiring."""
        self.stopped = self.operator_hold or self.closing or self.run.draining or bool(self.blocked or self.unsent) or self.unknown_needs
        self.held = self.stopped or bool(self.plan.reasons)
        if self.alive:  # the plan no longer has a dead one, or has the one after it already
            self.run.dirty[self] = None

    def mark_dirty(self) -> None:
        """Have the next turn look at its plan."""
        self.run.dirty[self] = None

    @property
    def going(self) -> bool:
        """Whether it is on its way out: what fails now is not tried again here."""
        return self.closing or self.run.draining

    @property
    def needed(self) -> tuple[Gate, ...]:
        """Return what it needs to go on: the needs of its source and, where nothing else may start, what its deliveries wait for."""
        return self.gates if not self.undeclared_waiting or not self.stands_because else (*self.gates, *self.undeclared_waiting)

    @property
    def stands_because(self) -> str:
        """Return why nothing of it passes the deliveries that wait: "order", "held_span" or "memory"; empty if others may."""
        if not self.run.shared:
            return "order"
        if self.passing is None:
            return ""
        if self.passing.is_used_up:
            return "held_span"
        return "memory" if self.full and not self.inbox.waiting and self.run.memory.tight else ""

    def bars(self, delivery: AnyDelivery) -> bool:
        """Return whether a delivery that was granted may not start after all. In a hold that lets a message ask it does, to end that."""
        if self.by_message:
            falls_back = delivery.history is not None and delivery.history.falling_back
            return self.stopped or (not falls_back and any(gate.shut for gate in delivery.needs.gates))
        return self.stopped or (bool(self.plan.reasons) and not self.plan.lets_ask)

    def results_of(self, delivery: AnyDelivery) -> RunResults:
        """Return what the delivery's failures are compared with: results of messages that need the same."""
        results: RunResults = delivery.needs.results if self.by_message else self.results
        return results

    def set_operator_hold(self, *, held: bool) -> None:
        """Begin or end an operator's hold."""
        self.operator_hold = held
        self.recompute()

    def close(self) -> None:
        """Start nothing any more, and drop what waits in the inbox; what runs may finish."""
        self.closing = True
        self.drop_waiting()

    def drop_waiting(self) -> None:
        """Drop what waits in the inbox, when it has just become clear that nothing of it will start."""
        self.recompute()
        self.inbox.clear()
        self.weights.clear()

    # -- how much of it waits ---------------------------------------------------------------------------------------------------------

    @property
    def has_enough(self) -> bool:
        """Whether as many messages wait here as may, or as many bytes."""
        return self.inbox.waiting >= self.run.inbox or self.run.memory.is_enough(self)

    def weigh(self) -> int:
        """Return the bytes in hand of it now: waiting, in work, and failed."""
        return self.weights.settle(self.inbox.oldest, self.inbox.ended)

    def stop_fetching(self) -> None:
        """Fetch nothing more until half of what waits is worked off. With less than half, fetching would flap."""
        if not self.full:
            self.full = True
            self.low = min(self.run.half, self.inbox.waiting // 2)
            self.run.dirty[self] = None

    def resume_fetching(self) -> None:
        """Fetch again: there is room."""
        if self.full:
            self.full = False
            self.run.dirty[self] = None

    def make_room(self) -> bool:
        """Look for room after the full inbox has given a delivery away; True when this or another assignment may be fetched from again."""
        if self.inbox.waiting > self.low:
            return False
        memory = self.run.memory
        if memory.tight:
            self.low = self.inbox.waiting // 2
            memory.freed()
            return True
        if self.has_enough:
            self.low = self.inbox.waiting // 2
            return False
        self.resume_fetching()
        return True

    def put_back(self, piece: Batch) -> None:
        """Put a part of a batch that does not start now back to the front of the inbox."""
        cast("BatchInbox", self.inbox).put_back(piece)  # batches come from no other inbox
        if self.inbox.waiting >= self.run.inbox:
            self.stop_fetching()
        if self.run.shared:
            self.run.mark_ready(self)

    # -- what of it is on the waiting list, or was rejected ---------------------------------------------------------------------------

    def listed(self, delivery: AnyDelivery, gates: tuple[Gate, ...]) -> None:
        """Count a delivery that goes onto the waiting list, for these gates."""
        if self.passing is None and _is_unstarted(delivery):  # where others pass it, they are looked for behind it
            self.unstarted += 1
        if len(gates) > len(self.gates):
            self.count_undeclared(gates[len(self.gates) :], 1)

    def unlisted(self, delivery: AnyDelivery, gates: tuple[Gate, ...]) -> None:
        """Count a delivery that leaves the waiting list, where it waited for these gates."""
        if self.passing is None and _is_unstarted(delivery):
            self.unstarted -= 1
        if len(gates) > len(self.gates):
            self.count_undeclared(gates[len(self.gates) :], -1)

    def count_undeclared(self, gates: Iterable[Gate], change: int) -> None:
        """Add `change` to the deliveries of it that wait for each of these gates, which not all of it needs."""
        for gate in gates:
            self.undeclared_waiting[gate] += change
            if self.undeclared_waiting[gate]:
                gate.assignments[self] = None
            else:
                del self.undeclared_waiting[gate]
                if gate not in self.may_need:
                    del gate.assignments[self]
        self.recompute()

    def let_pass(self, delivery: AnyDelivery) -> None:
        """Let others pass a delivery that waits for a circuit which is not closed, if each message here has its own needs."""
        if self.passing is None:
            return
        if self.passing.let_pass(delivery):
            self.run.mark_ready(self)
        if self.full:  # what is behind it waits no longer in the inbox
            self.make_room()

    def look_around(self) -> bool:
        """Look, when a lane has found nothing to start here, whether others still pass those that wait; True if the plan may change."""
        changes = not self.held and bool(self.undeclared_waiting or self.hold.waiting_by_name()) and bool(self.stands_because)
        if changes:
            self.run.dirty[self] = None
        return changes

    def block(self, delivery: AnyDelivery) -> None:
        """Stop behind a rejected delivery that has nowhere to go."""
        self.blocked.append(delivery)
        self.recompute()

    def keep_unsent(self, delivery: AnyDelivery) -> None:
        """Stop behind a rejected delivery that its target does not take now."""
        self.unsent[delivery] = None
        self.recompute()

    def take_blocked(self) -> list[AnyDelivery]:
        """Take out all rejected deliveries that have nowhere to go: they are to start anew."""
        blocked, self.blocked = self.blocked, []
        self.recompute()
        return blocked

    def unblock(self, delivery: AnyDelivery) -> None:
        """Forget one rejected delivery: nothing stops behind it any more."""
        if delivery in self.blocked:
            self.blocked.remove(delivery)
        self.unsent.pop(delivery, None)
        self.recompute()

    def fell_back(self, reason: str) -> None:
        """Count a message that its fallback has settled, for this reason: the circuit that was open."""
        self.fallbacks += 1
        self.totals.fell_back[reason] += 1

    @property
    def finished(self) -> int:
        """Return how many of its messages have ended, in any way."""
        return self.inbox.oldest + len(self.inbox.ended)

    # -- its plan ---------------------------------------------------------------------------------------------------------------------

    def hold_plainly(self, plan: SourcePlan, now: float) -> bool:
        """Hold it by this plan if nothing but its one circuit holds it, and that is news; False: `replan` has to look."""
        if self.plan.reasons or self.stopped or self.undeclared_waiting or self.results.suspected or self.run.fallback is not None:
            return False
        self.plan = plan
        self.held = True
        self.hold.begin(now)
        return True

    def replan(self, now: float) -> FlowEvent | None:
        """Bring its plan up to date; returns an event when the reasons have changed, None otherwise."""
        began = self._look_for_fallback(now)
        reasons = self._reasons()
        before = self.plan.reasons
        passed = 0 if self.passing is None else self.passing.passed
        self.plan = self.run.plans.one(self._fetches(reasons), reasons, passed - passed % self.run.step)
        self.held = bool(reasons)
        if reasons == before or self.closing:  # a revoked source is not held, it is gone
            return began
        if not reasons:
            return self._released(now)
        if not before:
            self.hold.begin(now)
        holding = any(gate.shut or gate.held_by_limit for gate in self.undeclared_waiting)
        because = self.stands_because if (self.by_message and holding) or self.hold.keys else ""
        return SourceHeld(now, self.source, reasons, because)

    def _fetches(self, reasons: tuple[str, ...]) -> bool:
        if not reasons:
            return not self.full
        # The message that ends such a hold may be one that has not come yet.
        return not self.inbox.waiting and (reasons == (UNCLAIMED,) or self._lacks_another(reasons))

    def _lacks_another(self, reasons: tuple[str, ...]) -> bool:
        """Return whether circuits alone hold it, one message asks one of them, and another one of it could, but none is in hand."""
        behind = None if self.run.shared else self  # in the order of the source nothing passes that message
        asked = any(by is not None and by.alive and by is not behind for by in (gate.asked_by for gate in self.needed))
        return asked and not self.unstarted and all(reason.startswith(CIRCUIT) for reason in reasons)

    def _look_for_fallback(self, now: float) -> FlowEvent | None:
        before = self.falling_back
        settings = self.run.fallback
        if settings is None:
            return None
        self.falling_back = not self.stopped and any(may_fall_back(gates, settings.after, now) for gates in self.falls_for)
        if before or not self.falling_back:
            return None
        return SourceFallingBack(now, self.source, tuple(gate.name for gate in self.may_need if gate.shut))

    @property
    def falls_for(self) -> Iterable[tuple[Gate, ...]]:
        """Return for which gates, when they are down together, something of it falls back."""
        return ((gate,) for gate in self.may_need) if self.by_message else (self.gates,)

    def falls_back(self, delivery: AnyDelivery, now: float) -> bool:
        """Return whether the fallback of a delivery that was granted may start now."""
        settings = self.run.fallback
        if settings is None or self.stopped or not self.by_message:
            return self.falling_back and not self.stopped
        return may_fall_back(gates_of(delivery), settings.after, now)

    def _released(self, now: float) -> SourceReleased:
        lasted = self.hold.end((*self.gates, *self.undeclared_holders), now)
        self.undeclared_holders = ()
        return SourceReleased(now, self.source, lasted)

    def _reasons(self) -> tuple[str, ...]:
        gate = self.gate
        is_plain = not (self.falling_back or self.undeclared_waiting or self.stopped or self.results.suspected or self.hold.keys)
        if gate is not None and is_plain and not gate.held_by_limit:
            return gate.reasons if gate.shut else ()  # nearly every source, and there may be ten thousand
        shut = () if self.falling_back else tuple(gate for gate in self.needed if gate.shut)
        if undeclared := tuple(gate for gate in shut if gate in self.undeclared_waiting):
            self.undeclared_holders = undeclared
        reasons = [CIRCUIT + gate.name for gate in shut]
        reasons += [LIMIT + gate.name for gate in self.needed if gate.held_by_limit]
        reasons += self.hold.key_reasons(self.inbox.oldest, stands=bool(self.stands_because))
        if self.results.suspected:
            reasons.append(UNCLAIMED)
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


def mark_dirty(assignments: Iterable[Assignment]) -> None:
    """Have the next turn look at the plans of all these, of which there may be ten thousand."""
    for assignment in assignments:
        assignment.run.dirty[assignment] = None


def _is_unstarted(delivery: AnyDelivery) -> bool:
    """Return whether no handler has started for it. One that was refused a call has started, though that is no attempt."""
    return not delivery.attempt and (delivery.history is None or not delivery.history.refusals)


class Run:
    """One `guard.run`: the settings of its work, its assignments, and the deliveries that lanes may pick up.

    `concurrency` None means one lane per assignment. `span` counts how far work may run ahead of a source's oldest unfinished delivery.
    `inbox` is how many deliveries may wait per source. `rejects`: there is somewhere to put rejected messages, so that they block nothing.
    `batch` is how many messages a handler gets at a time; None means one, and not in a batch. `apart`: each topic or queue has its own
    handler. `weigh` returns the bytes of deliveries of one source. `sends_unasked`: its broker sends what it likes, up to a window, so
    that not to fetch saves no memory. `held_span` counts how far work may run ahead of messages that wait for circuits of their own; None
    means a hundred times `span`.
    """

    __slots__ = (
        "_concurrency", "_leftover", "_met", "assignments", "batch", "dirty", "draining", "fallback", "falling", "granted", "half",
        "held_span", "inbox", "kinds", "lane_wanted", "lanes", "memory", "needs", "order", "plans", "rejects", "resend", "retry", "ring",
        "running", "sends_unasked", "shared", "span", "step", "tally", "weigh", "yields",
    )  # fmt: skip

    def __init__(
        self,
        needs: Needs,
        *,
        order: Order,
        concurrency: int | None,
        inbox: int,
        span: int = 1000,
        held_span: int | None = None,
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
        self.step = max(1, self.half)  # in which the plan tells how many are passed
        self.span = span
        self.held_span = _SPANS * span if held_span is None else held_span
        self.shared = order != "source"  # several lanes may work on one assignment, so that one end may let several start
        self.retry = retry or RetryPolicy()
        self.rejects = rejects
        self.fallback = fallback
        self.falling = 0  # those of `running` whose fallback runs
        self.batch = batch
        self.weigh = weigh
        self.sends_unasked = sends_unasked
        self.memory: MemoryBound = Unbounded()  # the engine's, from `Engine.add_run` on
        self.tally = Tally()  # the engine's, too
        self.assignments: dict[Source, Assignment] = {}
        self.plans = Plans()
        self.ring: deque[Assignment] = deque()  # assignments with work that may start, in turn
        self.granted: deque[AnyDelivery] = deque()  # started, permits in hand, waiting for a lane to wake
        self.resend: deque[AnyDelivery] = deque()  # rejected, to be sent again: a lane may take them, and starts no handler
        self.dirty: dict[Assignment, None] = {}  # assignments whose plan the next turn looks at
        self.running = 0  # deliveries in flight, dead assignments included
        self.lanes = concurrency or 0  # how many may be in flight, those of dead assignments included
        self._leftover = 0  # those in flight whose assignment is dead
        self.lane_wanted = False  # a waiting delivery was passed over because every lane was busy: the next free lane is its own
        self.yields = False  # the last lane went to such a delivery, and the next one is for an inbox: where messages pass one another
        self.draining = False
        self.kinds = Kinds(needs, apart=apart)
        self._met: dict[str, None] = {}  # dependencies that its handlers call and its needs do not name: a set that keeps its order

    # -- its assignments --------------------------------------------------------------------------------------------------------------

    def add(self, source: Source, gates: Collection[Gate] | None) -> Assignment:
        """Make an assignment of this source, which needs these gates; None means that its needs are unknown, and it is held."""
        by_message = isinstance(self.needs.of(source), ByMessage)
        assignment = self.assignments[source] = Assignment(self, source, gates, by_message=by_message)
        for gate in assignment.may_need:
            gate.assignments[assignment] = None
        return assignment

    def remove(self, assignment: Assignment) -> None:
        """Take an assignment out, dead from now on; what it has in flight keeps its lanes until it ends."""
        assignment.alive = False
        assignment.totals.ended += assignment.finished
        self.tally.forget(assignment.source)
        del self.assignments[assignment.source]
        self.dirty.pop(assignment, None)
        self.count_lanes(leftover=assignment.in_flight)
        for gate in assignment.may_need:
            gate.assignments.pop(assignment, None)

    def drain(self) -> None:
        """Start nothing any more, sources that come later included."""
        self.draining = True

    def replace_retry(self, old: RetryPolicy, new: RetryPolicy) -> None:
        """Go on by another policy, if it was given this very one."""
        self.retry = new if self.retry is old else self.retry

    def bound_by(self, memory: MemoryBound) -> None:
        """Let this bound on memory count from now on."""
        self.memory = memory

    def counted_by(self, tally: Tally) -> None:
        """Count what becomes of messages here from now on."""
        self.tally = tally

    # -- its dependencies -------------------------------------------------------------------------------------------------------------

    @property
    def dependencies(self) -> tuple[str, ...]:
        """Return the names of all that its handlers call, as far as that is known: its needs, and what was met besides."""
        return (*self.needs.names(), *self._met)

    def meets(self, name: str) -> bool:
        """Note that a handler calls this dependency; True if that is new."""
        if name in self.dependencies:
            return False
        self._met[name] = None
        return True

    # -- its lanes --------------------------------------------------------------------------------------------------------------------

    @property
    def concurrency(self) -> int:
        """Return how many handlers of living assignments may run in parallel now."""
        return len(self.assignments) if self._concurrency is None else self._concurrency

    @property
    def capacity(self) -> int:
        """Return how many messages may be in work in parallel now: there the ramp of what they need ends."""
        return self.concurrency * (self.batch or 1)

    def count_lanes(self, leftover: int = 0) -> None:
        """Count the lanes anew: assignments have come or gone, and with them `leftover` deliveries in flight whose assignment is dead.

        With one lane per assignment, what still runs for a dead one has kept its lane. It must not take that of a living one.
        """
        self._leftover += leftover
        self.lanes = len(self.assignments) + self._leftover if self._concurrency is None else self._concurrency

    @property
    def has_lane_for_waiting(self) -> bool:
        """Whether a delivery that waits may have a lane. Where others pass it, each second one is for them, if they have work."""
        return self.running < self.lanes - (self.yields and bool(self.ring))

    def want_lane(self) -> None:
        """Keep the next free lane for a delivery that waits."""
        self.lane_wanted = True

    def begin_turn(self) -> None:
        """Ask anew, in this turn, who waits for a lane."""
        self.lane_wanted = False

    def mark_ready(self, assignment: Assignment) -> None:
        """Put an assignment into the ring of those that lanes look at, unless it is there already."""
        if not assignment.in_ring:
            assignment.in_ring = True
            self.ring.append(assignment)

    # -- its deliveries ---------------------------------------------------------------------------------------------------------------

    def new_inboxes(self, *, by_message: bool) -> tuple[Inbox, PassingInbox | None]:
        """Return a new inbox of this run's order, and the same once more if messages of it pass one another `by_message`."""
        return new_inboxes(self.order, self.batch, self.span, self.held_span, by_message=by_message)

    def enqueue(self, deliveries: Iterable[AnyDelivery]) -> None:
        """Put deliveries into the inboxes of their sources. Those of a source that is not here, or is going away, are dropped."""
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
        inbox = assignment.inbox
        before = inbox.waiting + inbox.behind_passed
        inbox.put(batch)
        waiting, size = inbox.waiting, self.weigh(batch)
        assignment.weights.add(waiting + inbox.behind_passed - before, size)
        self.memory.came(assignment, size)
        if assignment.results.suspected or assignment.held or assignment.passing is not None:  # enough may be here, or more be passed
            self.dirty[assignment] = None
        if waiting >= self.inbox:
            assignment.stop_fetching()
        if not assignment.held:
            self.mark_ready(assignment)

    def grant(self, delivery: AnyDelivery) -> None:
        """Give a delivery from the waiting list, in flight already, to the next lane that asks.

        What was asked for before belongs to an earlier attempt: to a fallback that failed, or to a task that was left behind. If that
        stayed, the handler that processes the message now would seem to reject it, or to ask for another attempt.
        """
        assignment: Assignment = delivery.assignment
        delivery.attempt += 1
        delivery.request = None
        self.granted.append(delivery)
        self.yields = assignment.passing is not None
        if assignment.inbox.waiting:  # enough of it may have been waiting for every lane, and now there is one less
            self.mark_ready(assignment)

    def grant_fallback(self, delivery: AnyDelivery) -> None:
        """Start the fallback of a delivery from the waiting list, with the next lane that asks; it needs no permit."""
        history_of(delivery).falls_back()
        delivery.permits = ()
        self.falling += 1
        delivery.assignment.started()
        self.grant(delivery)

    def fallback_ended(self) -> None:
        """Count one fallback less that runs."""
        self.falling -= 1

    def send_again(self, delivery: AnyDelivery) -> None:
        """Give a rejected delivery that is to be sent again to the next lane that asks."""
        delivery.assignment.started()
        self.resend.append(delivery)

    def take_granted(self) -> AnyDelivery:
        """Take the first delivery that was granted."""
        return self.granted.popleft()

    def take_resend(self) -> AnyDelivery:
        """Take the first delivery that is to be sent again."""
        return self.resend.popleft()

    def withdraw(self, assignments: Collection[Assignment]) -> Sequence[AnyDelivery]:
        """Take back what was granted or is to be sent again of these assignments: no lane has it yet."""
        withdrawn: list[AnyDelivery] = []
        for queue in (self.granted, self.resend):
            given = list(queue)
            queue.clear()
            for delivery in given:
                (withdrawn if delivery.assignment in assignments else queue).append(delivery)
        return withdrawn

    # -- its plan ---------------------------------------------------------------------------------------------------------------------

    @property
    def plan(self) -> Plan:
        """Return what is wanted of all its sources, as of the last turn."""
        return self.plans.current

    def replan(self, now: float) -> list[FlowEvent | HeldTogether]:
        """Bring the plan up to date where something has changed since the last time."""
        if not self.dirty:
            return []
        changed = self.plans.begin()
        events: list[FlowEvent] = []
        down = Down(now)
        for assignment in self.dirty:
            together = down[assignment.gate]
            if together is not None and assignment.hold_plainly(together.plan, now):
                together.sources.append(assignment.source)
                continue
            event = assignment.replan(now)
            changed[assignment.source] = assignment.plan
            if event is not None:
                events.append(event)
            if assignment.by_message:
                passed = assignment.passing is not None and not assignment.plan.reasons
                events.extend(assignment.announcements.waiting(now, assignment.undeclared_waiting, passed=passed))
            if not assignment.plan.reasons and assignment.inbox.waiting:
                self.mark_ready(assignment)
        for together in down.held():
            # All of them: then nothing need be hashed. What is planned is always what is assigned, once its first plan is made.
            everywhere = len(together.sources) == len(self.assignments) == len(changed)
            changed.update(dict.fromkeys(changed if everywhere else together.sources, together.plan))
        self.dirty.clear()
        self.plans.publish(changed)
        return [*down.held(), *events]

    def replan_without(self, assignments: Collection[Assignment]) -> None:
        """Take assignments that are gone out of the plan."""
        changed = self.plans.begin()
        for assignment in assignments:
            changed.pop(assignment.source, None)
        self.plans.publish(changed)
