"""What becomes of a message when its handler has ended: verdicts, retries, the search in a batch, and what the handler has asked for.

What becomes of a message when its handler has ended: the verdict table, and the policy of retries.

An outage is free: only a message's own failures are charged against `attempts`. A dependency's failures are waited out, unless other
messages show that they are the message's after all (blame.py).

What an ended attempt means for the circuits: outcomes recorded by vote, or permits given back.

A delivery that was not processed: whether it comes again, what it needs from now on, and what it waits for.

A batch that failed is tried again in halves, in order, until the message at fault stands alone.

All pieces are one voter: the batch had its vote with its first failure, and its pieces have none once anything has succeeded since, be it
one of them. Whoever searches in front of a healthy dependency waits for nothing, so a message at fault is found in log2 n steps; while no
other success is in sight it may be an outage, and each step waits as a single message would. Nothing but a message that stands alone is
charged, blamed or rejected.

A batch whose handler returned and has asked for something else for some of its messages: `delivery.reject()`, `delivery.retry()`.

The others are done. What is rejected goes its way as a message of its own, and what is to be tried again is one piece, in its order. The
batch is finished when all of these are: with the order of the source, nothing behind it starts before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from holdgate.core import Outcome, Permit
from holdgate.flow.attribution import Attribution, Cause, NeedVerdict
from holdgate.flow.batch import Batch, BatchItems
from holdgate.flow.blame import trial_of
from holdgate.flow.events import FlowEvent, UndeclaredNeed
from holdgate.flow.gate import Gate, gates_of
from holdgate.flow.inbox import BatchInbox
from holdgate.flow.message import Delivery, HandlerRequest
from holdgate.flow.policy import Verdict
from holdgate.flow.rejections import Rejections
from holdgate.flow.state import Assignment
from holdgate.flow.waiting import WaitingList

if TYPE_CHECKING:
    from holdgate.flow.blame import FailureHistory
    from holdgate.flow.policy import RetryPolicy


# What each cause means for the message. MESSAGE is the only one that is charged; whether too often is the one question of `decide`.
_FATE = {
    Cause.RETURNED: Verdict.DONE,
    Cause.DEPENDENCY: Verdict.AGAIN,
    Cause.MESSAGE: Verdict.AGAIN,
    Cause.REJECTED: Verdict.REJECT,
    Cause.REFUSED: Verdict.AGAIN,
    Cause.POSTPONED: Verdict.AGAIN,
}


def decide(cause: Cause, trial: FailureHistory | None, policy: RetryPolicy) -> Verdict:
    """The fate of a message whose attempt ended by this cause; `trial` knows of it, and None means that it has never failed."""
    if trial is not None:
        if cause is Cause.MESSAGE and trial.charged >= policy.attempts:
            return Verdict.REJECT
        if cause is Cause.DEPENDENCY and trial.is_convicted(policy):
            return Verdict.REJECT
    return _FATE[cause]


_SUCCESS = Outcome.SUCCESS  # a name of the module: an enum's member costs more to look up than the rest of a step here


def give_back(delivery: Delivery[Any], now: float) -> None:
    """Return the permits without a verdict."""
    if delivery.permits:
        for gate, permit in zip(gates_of(delivery), delivery.permits, strict=True):
            gate.circuit.release(permit, now)
    delivery.permits = None


def record(delivery: Delivery[Any], attribution: Attribution, now: float, *, excused: bool = False) -> None:
    """Settle the delivery's permits, one finding each, and charge the message what is its own; nothing when it is `excused`."""
    # With several needs that match, nobody knows whose failure it was: doubt is never charged.
    charged = attribution.cause is Cause.DEPENDENCY and not attribution.shared
    for gate, permit, finding in zip(gates_of(delivery), delivery.permits or (), attribution.findings, strict=True):
        _record_one(delivery, gate, permit, finding, now, charged=charged)
    delivery.permits = None
    if attribution.cause is Cause.MESSAGE and not excused:
        trial_of(delivery).charged += 1


def record_successes(gates: tuple[Gate, ...], permits: Sequence[Permit], now: float) -> bool:
    """Success for every need; True when the engine should look: a circuit has something to say, or a slot that others wait for is free."""
    look = False
    for gate, permit in zip(gates, permits, strict=True):
        gate.circuit.record(permit, _SUCCESS, now)
        gate.successes += 1
        if gate.circuit.events_pending or (gate.heads and gate.limited):
            look = True
    return look


def _record_one(delivery: Delivery[Any], gate: Gate, permit: Permit, finding: NeedVerdict, now: float, *, charged: bool) -> None:
    outcome, duration, retry_after = finding
    if outcome is None:
        gate.circuit.release(permit, now)
        return
    if outcome is Outcome.SUCCESS:
        gate.successes += 1
        if delivery.trial is not None:
            delivery.trial.succeeded(gate)
    elif outcome is Outcome.FAILURE and not _votes(delivery, gate, permit, now, charged=charged):
        outcome = Outcome.IGNORED  # it has had its vote: others have shown the dependency healthy since
    gate.circuit.record(permit, outcome, now, retry_after=retry_after, duration=duration)


def _votes(delivery: Delivery[Any], gate: Gate, permit: Permit, now: float, *, charged: bool) -> bool:
    """Note a failure: what speaks against the message, and whether it is told to the circuit."""
    # A late result says nothing to the circuit, so it is no vote either: the first failure in the new generation will be.
    if permit.generation != gate.circuit.generation:
        return True
    trial = trial_of(delivery)
    blame = trial.blame_of(gate)
    blame.failed(gate, now, charged=charged)
    is_vote = trial.votes_again(gate)
    gate.failures += is_vote
    blame.mark(gate)
    return is_vote


class Retries:
    """Puts failed deliveries back onto the waiting list. `draw` spreads their waits."""

    def __init__(self, waiting: WaitingList, gates: Mapping[str, Gate], draw: Callable[[], float]) -> None:
        self._waiting = waiting
        self._gates = gates
        self._draw = draw

    def keep(self, delivery: Delivery[Any], verdict: Verdict, attribution: Attribution, now: float) -> list[FlowEvent]:
        """Give an ended attempt its place by the verdict on it; returns what is to be announced. What is going away is dropped."""
        assignment: Assignment = delivery.assignment
        events: list[FlowEvent] = []
        if attribution.shared:
            events.extend(assignment.announce_shared(now, gates_of(delivery), attribution))
        if verdict is Verdict.AGAIN and not assignment.going:
            events.extend(self.add(delivery, attribution, now))
        return events

    def add(self, delivery: Delivery[Any], attribution: Attribution, now: float) -> list[UndeclaredNeed]:
        """To the end of the list: for a backoff first, or straight away when a circuit decides from now on."""
        trial = trial_of(delivery)
        assignment: Assignment = delivery.assignment
        if attribution.cause is Cause.DEPENDENCY and assignment.inbox.failed(delivery):
            assignment.run.offer(assignment)
        events = [event for name in attribution.refused for event in self._refused_by(delivery, name, now)]
        gates = gates_of(delivery)
        request, delivery.request = delivery.request, None
        if request is not None and request.after is not None:
            self._waiting.add(delivery, gates, now + request.after)
        elif self._will_be_told(attribution) or any(gate.shut for gate in gates):
            trial.backoffs = 0
            self._waiting.add(delivery, gates)
        else:
            trial.backoffs += 1
            self._waiting.add(delivery, gates, now + delivery.assignment.run.retry.wait(trial.backoffs, self._draw()))
        return events

    def _will_be_told(self, attribution: Attribution) -> bool:
        """Whether it waits for a slot that the engine hands out. Time decides where a dependency that refused is not of this guard, or has
        no limit any more: a handler that is refused again at once would run in a hot loop."""
        gates = [self._gates.get(name) for name in attribution.refused]
        if attribution.cause is not Cause.REFUSED or None in gates:
            return False
        return any(gate is not None and gate.limited for gate in gates)

    def _refused_by(self, delivery: Delivery[Any], name: str, now: float) -> list[UndeclaredNeed]:
        """The dependency is one of the message's needs until the message is settled. Announced once per source."""
        assignment: Assignment = delivery.assignment
        gate = self._gates.get(name)
        if gate is None or gate in gates_of(delivery):
            return []
        trial_of(delivery).extra += (gate,)
        if name in assignment.undeclared:
            return []
        assignment.undeclared.add(name)
        return [UndeclaredNeed(now, assignment.source, name)]


class Bisection:
    """Divides failed batches of one engine, and lets the pieces wait for their turn."""

    def __init__(self, waiting: WaitingList, retries: Retries) -> None:
        self._waiting = waiting
        self._retries = retries

    def again(self, batch: Batch, attribution: Attribution, error: str, now: float, *, excused: bool = False) -> list[FlowEvent]:
        """A batch of several was not processed, its outcomes are recorded: it comes again, in halves if it failed. Returns what is to be
        announced. What is going away is dropped. `excused`: it is an outage that nobody described."""
        assignment: Assignment = batch.assignment
        if attribution.cause is Cause.REFUSED:  # it was not its turn: nothing is known of it
            return self._retries.keep(batch, Verdict.AGAIN, attribution, now)
        trial_of(batch).failed(error, now)
        events: list[FlowEvent] = []
        if attribution.shared:
            events.extend(assignment.announce_shared(now, gates_of(batch), attribution))
        if not assignment.going:
            at_once = not excused and (attribution.cause is not Cause.DEPENDENCY or _was_outvoted(batch))
            for piece in self._divide(batch):
                if at_once:
                    self._waiting.add(piece, gates_of(piece))
                else:
                    events.extend(self._retries.add(piece, attribution, now))
        return events

    def _divide(self, batch: Batch) -> list[Batch]:
        """The pieces that wait for their turn from now on. Where the order counts it is the first alone, and the second comes after it."""
        assignment: Assignment = batch.assignment
        if len(batch) == 1:
            return [batch]
        half = (len(batch) + 1) // 2
        first, second = batch.piece(range(half)), batch.piece(range(half, len(batch)))
        if not assignment.run.shared:
            assignment.put_back(second)
            return [first]
        return [first, second]


def _was_outvoted(batch: Batch) -> bool:
    """Whether something else has succeeded, since the batch first failed there, on everything that it failed on."""
    votes = [(gate, trial_of(batch).votes.get(gate)) for gate in gates_of(batch)]
    current = [(gate, vote) for gate, vote in votes if vote is not None and vote.generation == gate.circuit.generation]
    return bool(current) and not any(vote.counts(gate) for gate, vote in current)


AnyDelivery = Delivery[Any]

_POSTPONED = Attribution((), Cause.POSTPONED)


class SettledParts(NamedTuple):
    """What is to be done with the deliveries of a batch now: `done` are to be acknowledged, `rejected` to be sent, each still in flight."""

    done: tuple[AnyDelivery, ...] = ()
    rejected: tuple[AnyDelivery, ...] = ()


class PartialSettlement:
    """Acts on what handlers ask for messages of their batches, for one engine."""

    def __init__(self, retries: Retries, rejections: Rejections) -> None:
        self._retries = retries
        self._rejections = rejections

    def grant(
        self, batch: Batch, items: BatchItems[Any], requests: Mapping[int, HandlerRequest], now: float
    ) -> tuple[SettledParts, list[FlowEvent]]:
        """Its outcomes are recorded, and it is not in flight any more. What is not mentioned in the answer waits, is blocked, or, where its
        place is going away, dropped."""
        assignment: Assignment = batch.assignment
        done = [one for index, one in enumerate(items) if index not in requests]
        finished = [number for index, number in enumerate(batch.numbers) if index not in requests]
        sent: list[AnyDelivery] = []
        blocked = 0
        events: list[FlowEvent] = []
        for index, request in requests.items():
            if request.reason is None:
                continue
            one = items[index]
            _place(one, batch, index, now)
            verdict, announced = self._rejections.reject(one, "Reject", request.reason, now)
            events += announced
            if verdict is Verdict.DONE:
                done.append(one)
                finished.append(one.serial)
            elif verdict is Verdict.REJECT:
                sent.append(one)
            else:
                blocked += 1
        assignment.in_flight += len(sent)
        assignment.run.running += len(sent)
        postponed = [index for index, request in requests.items() if request.reason is None]
        if postponed and not assignment.going:
            events += self._postpone(batch.piece(postponed), [requests[index].after for index in postponed], now)
        self._divide(batch, len(sent) + blocked + bool(postponed), finished)
        return SettledParts(tuple(done), tuple(sent)), events

    def _postpone(self, piece: Batch, times: list[float | None], now: float) -> list[FlowEvent]:
        """All of them after the longest of their times: they are one piece, so that they stay in their order."""
        known = [after for after in times if after is not None]
        piece.request = HandlerRequest(after=max(known) if known else None)
        return list(self._retries.add(piece, _POSTPONED, now))

    def _divide(self, batch: Batch, parts: int, finished: list[int]) -> None:
        assignment: Assignment = batch.assignment
        inbox = cast("BatchInbox", assignment.inbox)  # where batches come from
        if not parts:
            if inbox.done(batch):
                assignment.run.offer(assignment)
            return
        inbox.divided(parts)
        inbox.finished(finished)
        if assignment.run.shared:
            assignment.run.offer(assignment)


def _place(one: AnyDelivery, batch: Batch, index: int, now: float) -> None:
    """From now on it is a delivery of its own."""
    one.assignment = batch.assignment
    one.serial = batch.numbers[index]
    trial = trial_of(one)
    one.request = None
    trial.failed("Reject", now)
