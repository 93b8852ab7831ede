"""What becomes of a message when its handler has ended: the verdict, its record in the circuits, the retry, the search in a batch.

To change when a message is tried again, or when it is given up, three files are enough:

- this one: what each end of a handler means (`decide`), and what a message that comes again waits for (`Retries.add`);
- blame.py: what counts against a message (`FailureHistory`), and when it is convicted although a dependency failed;
- waiting.py: how a message waits, for time and for its dependencies.

The settings are those of `RetryPolicy` (policy.py); `RetryPolicy.wait` is the backoff.

An outage is free: only a message's own failures are charged against `attempts`. A dependency's failures are waited out, unless other
messages show that they are the message's after all. A message that was throttled has not been tried at all (throttling.py).

*A batch that failed* is tried again in halves, in order, until the message at fault stands alone (`Bisection`). All pieces have one vote:
the batch had its vote with its first failure, and its pieces have none once anything has succeeded since, be it one of them. A search in
front of a healthy dependency waits for nothing, so a message at fault is found in log2 n steps. While no other success is in sight it may
be an outage, and each step waits as a single message would. Only a message that stands alone is charged, blamed or rejected.

*A batch whose handler returned* may have asked for something else for some of its messages: `delivery.reject()`, `delivery.retry()`
(`PartialSettlement`). The others are done. What is rejected goes on as a message of its own, and what is to be tried again is one piece, in
its order. The batch is finished when all of these are: with the order of the source, nothing behind it starts before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from holdgate.core import Outcome, Permit
from holdgate.flow import keyed, throttling
from holdgate.flow.attribution import Attribution, Cause, NeedVerdict
from holdgate.flow.batch import Batch, BatchItems
from holdgate.flow.blame import history_of
from holdgate.flow.events import FlowEvent, UndeclaredNeed
from holdgate.flow.gate import Gate, gates_of
from holdgate.flow.inbox import BatchInbox
from holdgate.flow.message import AnyDelivery, HandlerRequest
from holdgate.flow.policy import Verdict
from holdgate.flow.rejections import Rejections
from holdgate.flow.state import Assignment
from holdgate.flow.waiting import WaitingList

if TYPE_CHECKING:
    from holdgate.flow.blame import FailureHistory
    from holdgate.flow.policy import RetryPolicy


# What each cause means for a message, as long as it was not charged or blamed too often: `decide` asks that.
_FATE = {
    Cause.RETURNED: Verdict.DONE,
    Cause.DEPENDENCY: Verdict.AGAIN,
    Cause.THROTTLED: Verdict.AGAIN,
    Cause.MESSAGE: Verdict.AGAIN,
    Cause.REJECTED: Verdict.REJECT,
    Cause.REFUSED: Verdict.AGAIN,
    Cause.POSTPONED: Verdict.AGAIN,
}


# An end that may be the matter of one key alone.
_OF_KEYS = (Cause.DEPENDENCY, Cause.THROTTLED)

# A start that ended so was no attempt: it was not its turn.
_NO_ATTEMPT = (Cause.REFUSED, Cause.THROTTLED)


def decide(cause: Cause, history: FailureHistory | None, policy: RetryPolicy) -> Verdict:
    """Return the verdict on a message whose attempt ended by this cause; `history` None means that it has never failed."""
    if history is not None:
        if cause is Cause.MESSAGE and history.charged >= policy.attempts:
            return Verdict.REJECT
        if cause is Cause.DEPENDENCY and history.is_convicted(policy):
            return Verdict.REJECT
    return _FATE[cause]


_SUCCESS = Outcome.SUCCESS  # a name of the module: an enum's member costs more to look up than the rest of a step here


def note_no_attempt(delivery: AnyDelivery, attribution: Attribution, error: str) -> None:
    """Take back the start of an attempt that was none. `error` is the type of what has ended it."""
    if attribution.cause in _NO_ATTEMPT:
        delivery.attempt -= 1
        history = history_of(delivery)
        if attribution.cause is Cause.REFUSED:
            history.refused()
        else:
            history.throttled_again(error)


def give_back(delivery: AnyDelivery, now: float) -> None:
    """Return the permits without a verdict."""
    if delivery.permits:
        for gate, permit in zip(gates_of(delivery), delivery.permits, strict=True):
            gate.circuit.release(permit, now)
        if delivery.assignment.all_need is None:
            keyed.give_back(delivery.needs.keys)
    delivery.permits = None


def record(delivery: AnyDelivery, attribution: Attribution, now: float, *, excused: bool = False) -> None:
    """Settle the delivery's permits, one finding each, count it among the run's results, and charge the message with its own failure,
    unless it is `excused`."""
    # With several needs that match, nothing shows whose failure it was: doubt is never charged.
    charged = attribution.cause is Cause.DEPENDENCY and not attribution.shared
    for gate, permit, finding in zip(gates_of(delivery), delivery.permits or (), attribution.findings, strict=True):
        key = None if gate.keys is None else keyed.key_at(delivery, gate)
        if key is None:
            _record_one(delivery, gate, permit, finding, now, charged=charged)
        else:
            keyed.record(delivery, gate, key, permit, finding, now, charged=charged)
    delivery.permits = None
    if attribution.cause is Cause.RETURNED:
        delivery.assignment.results_of(delivery).succeeded(delivery.history)
    elif attribution.cause is Cause.DEPENDENCY:
        delivery.assignment.results_of(delivery).failed_by_a_need()
    elif attribution.cause is Cause.MESSAGE and not excused:
        history_of(delivery).charge()


def record_undeclared(gates: Mapping[str, Gate], delivery: AnyDelivery, attribution: Attribution, now: float) -> None:
    """Count what the calls of dependencies came to that are no needs of the message; their circuits have counted the calls already.

    A message that comes again because one of them failed, or has throttled it, needs it from now on, until it is settled: the next attempt
    waits for its circuit, and has one vote there. Where calls have keys, it is not charged: the others' may be well while its own is down.
    """
    for name, outcome in attribution.undeclared:
        gate = gates.get(name)
        if gate is None:  # it belongs to no guard, or to another one
            continue
        if outcome is Outcome.SUCCESS:
            gate.succeeded()
        elif outcome is Outcome.THROTTLED:
            if attribution.cause is Cause.THROTTLED:
                _needs_also(delivery, gate)
        elif attribution.cause is Cause.DEPENDENCY:
            _note_failure(delivery, gate, now, charged=gate.keys is None)
            _needs_also(delivery, gate)


def _needs_also(delivery: AnyDelivery, gate: Gate) -> None:
    """Let a delivery need an undeclared dependency from now on; not one with keys.

    Only the call knows its key. A permit that the delivery takes before has none, so the call would pass by its key.
    """
    if gate.keys is None:
        history_of(delivery).needs_also(gate)


def record_successes(gates: tuple[Gate, ...], permits: Sequence[Permit], now: float) -> bool:
    """Record success for every need; True if a turn is needed: a circuit has an event, or a slot that others wait for is free."""
    if len(gates) == len(permits) == 1:  # nearly every message needs one
        gate = gates[0]
        gate.circuit.record(permits[0], _SUCCESS, now)
        gate.successes += 1
        return bool(gate.circuit.events_pending or (gate.lines and gate.limited))
    look = False
    for gate, permit in zip(gates, permits, strict=True):
        gate.circuit.record(permit, _SUCCESS, now)
        gate.successes += 1
        if gate.circuit.events_pending or (gate.lines and gate.limited):
            look = True
    return look


def _record_one(delivery: AnyDelivery, gate: Gate, permit: Permit, finding: NeedVerdict, now: float, *, charged: bool) -> None:
    outcome, duration, retry_after, told = finding
    if outcome is None:
        gate.circuit.release(permit, now)
        return
    if outcome is Outcome.SUCCESS:
        gate.succeeded()
        if delivery.history is not None:
            delivery.history.succeeded(gate)
    elif outcome is Outcome.FAILURE and not _votes(delivery, gate, permit, now, charged=charged):
        outcome = Outcome.IGNORED  # it has had its vote: others have shown the dependency healthy since
    elif outcome is Outcome.THROTTLED and not gate.circuit.limits.is_observed and not throttling.is_news(history_of(delivery), gate):
        outcome = Outcome.IGNORED  # others have shown the limit to let them in
    gate.circuit.record(permit, outcome, now, retry_after=retry_after, duration=duration, told=told)


def _votes(delivery: AnyDelivery, gate: Gate, permit: Permit, now: float, *, charged: bool) -> bool:
    """Note a failure against the message; returns whether it counts for the circuit."""
    # A late result says nothing to the circuit, so it is no vote either: the first failure in the new generation will be.
    if permit.generation != gate.circuit.generation:
        return True
    return _note_failure(delivery, gate, now, charged=charged)


def _note_failure(delivery: AnyDelivery, gate: Gate, now: float, *, charged: bool) -> bool:
    history = history_of(delivery)
    blame = history.blame_of(gate)
    blame.failed(gate, now, charged=charged)
    gate.be_asked_by(delivery.assignment if blame.is_alone(gate, delivery.assignment.run.retry) else None)
    is_vote = history.votes_again(gate)
    if is_vote:
        gate.voted()
    blame.mark(gate)
    return is_vote


class Retries:
    """Puts failed deliveries back onto the waiting list. `draw` spreads their waits."""

    def __init__(self, waiting: WaitingList, gates: Mapping[str, Gate], draw: Callable[[], float]) -> None:
        self._waiting = waiting
        self._gates = gates
        self._draw = draw

    def keep(self, delivery: AnyDelivery, verdict: Verdict, attribution: Attribution, now: float) -> list[FlowEvent]:
        """Let a delivery wait if the verdict is AGAIN, and its assignment is not going away; returns what is to be announced."""
        assignment: Assignment = delivery.assignment
        events: list[FlowEvent] = []
        if attribution.shared:
            events.extend(assignment.announcements.shared(now, gates_of(delivery), attribution))
        if verdict is Verdict.AGAIN and not assignment.going:
            events.extend(self.add(delivery, attribution, now))
        return events

    def add(self, delivery: AnyDelivery, attribution: Attribution, now: float) -> list[UndeclaredNeed]:
        """Let a delivery wait at the end of the list, for a backoff first; for nothing but admission if a circuit decides from now on."""
        history = history_of(delivery)
        assignment: Assignment = delivery.assignment
        if attribution.cause is Cause.DEPENDENCY and assignment.inbox.failed(delivery):
            assignment.run.mark_ready(assignment)
        events = [event for name in attribution.refused for event in self._refused_by(delivery, name, now)]
        gates = gates_of(delivery)
        request, delivery.request = delivery.request, None
        if request is not None and request.after is not None:
            self._waiting.add(delivery, gates, now + request.after)
        elif attribution.cause is Cause.THROTTLED:
            self._wait_for_limit(delivery, gates, attribution, now)
        elif (
            self._waits_for_slot(attribution, gates)
            or any(gate.shut for gate in gates)
            or (assignment.all_need is None and keyed.is_held(delivery))
        ):
            history.end_backoffs()
            self._waiting.add(delivery, gates)
        else:
            self._waiting.add(delivery, gates, now + assignment.run.retry.wait(history.back_off(), self._draw()))
        if assignment.all_need is None and attribution.cause in _OF_KEYS and keyed.has_key(delivery):
            assignment.let_pass(delivery)  # a tenant's trouble is none of the others', before its circuit is open as after it
        return events

    def _wait_for_limit(self, delivery: AnyDelivery, gates: tuple[Gate, ...], attribution: Attribution, now: float) -> None:
        """Let a throttled delivery wait at its place, for a slot, for time, or for both."""
        history = history_of(delivery)
        history.end_backoffs()  # of failures: the dependency was there
        self._waiting.keep_place(history, keep=throttling.keeps_place(history))
        throttling_it = [gate for gate, finding in zip(gates, attribution.findings, strict=False) if finding.outcome is Outcome.THROTTLED]
        throttling_it += [
            self._gates[name] for name, outcome in attribution.undeclared if outcome is Outcome.THROTTLED and name in self._gates
        ]
        asks_at = throttling.asks_at(history, throttling_it, attribution.retry_after, now, self._draw(), needed=gates)
        self._waiting.add(delivery, gates, asks_at)

    def _waits_for_slot(self, attribution: Attribution, needed: tuple[Gate, ...]) -> bool:
        """Return whether it was refused, and now waits for a slot that the engine hands out.

        Time decides if a dependency that refused is no need of it (another guard's, or one with keys), or has no limit any more:
        a handler that is refused again immediately would run in a hot loop.
        """
        gates = [self._gates.get(name) for name in attribution.refused]
        if attribution.cause is not Cause.REFUSED or not all(gate in needed for gate in gates):
            return False
        return any(gate is not None and gate.limited for gate in gates)

    def _refused_by(self, delivery: AnyDelivery, name: str, now: float) -> list[UndeclaredNeed]:
        """Make a dependency that refused a call one of the message's needs, until the message is settled. Announced once per source."""
        assignment: Assignment = delivery.assignment
        gate = self._gates.get(name)
        if gate in gates_of(delivery):
            return []
        if gate is not None:  # else it does not belong to this guard, and time decides
            _needs_also(delivery, gate)
        return [UndeclaredNeed(now, assignment.source, name)] if assignment.announcements.is_new_undeclared(name) else []


class Bisection:
    """Divides failed batches of one engine, and lets the pieces wait for their turn."""

    def __init__(self, waiting: WaitingList, retries: Retries) -> None:
        self._waiting = waiting
        self._retries = retries

    def again(self, batch: Batch, attribution: Attribution, error: str, now: float, *, excused: bool = False) -> list[FlowEvent]:
        """Let a batch that was not processed come again, in halves if it failed; returns what is to be announced.

        Its outcomes are recorded. If its assignment is going away, it is dropped. `excused`: it is an outage that no need describes.
        """
        assignment: Assignment = batch.assignment
        if attribution.cause in _NO_ATTEMPT:  # it was not its turn: nothing speaks against its messages
            return self._retries.keep(batch, Verdict.AGAIN, attribution, now)
        history_of(batch).failed(error, now)
        events: list[FlowEvent] = []
        if attribution.shared:
            events.extend(assignment.announcements.shared(now, gates_of(batch), attribution))
        if not assignment.going:
            immediately = not excused and (attribution.cause is not Cause.DEPENDENCY or _was_outvoted(batch))
            for piece in self._divide(batch):
                if immediately:
                    self._waiting.add(piece, gates_of(piece))
                else:
                    events.extend(self._retries.add(piece, attribution, now))
        return events

    def _divide(self, batch: Batch) -> list[Batch]:
        """Return the pieces that are to wait now: both halves, or only the first if order matters.

        The second then goes back to the front of the inbox, and comes after the first.
        """
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
    """Return whether something else has succeeded on all that the batch failed on, since its first failure there."""
    votes = [(gate, history_of(batch).votes.get(gate)) for gate in gates_of(batch)]
    current = [(gate, vote) for gate, vote in votes if vote is not None and vote.generation == gate.circuit.generation]
    return bool(current) and not any(vote.counts(gate) for gate, vote in current)


_POSTPONED = Attribution((), Cause.POSTPONED)


class SettledParts(NamedTuple):
    """What is to be done with the deliveries of a batch now: acknowledge those of `done`, and send those of `rejected`, each in flight."""

    done: tuple[AnyDelivery, ...] = ()
    rejected: tuple[AnyDelivery, ...] = ()


class PartialSettlement:
    """Settles batches whose handlers asked for something else for some of their messages, for one engine."""

    def __init__(self, retries: Retries, rejections: Rejections) -> None:
        self._retries = retries
        self._rejections = rejections

    def settle(
        self, batch: Batch, items: BatchItems[Any], requests: Mapping[int, HandlerRequest], now: float
    ) -> tuple[SettledParts, list[FlowEvent]]:
        """Settle a batch whose outcomes are recorded, and which is not in flight any more.

        A delivery that the answer does not mention waits, or blocks its source, or is dropped if its assignment is going away.
        """
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
            _stand_alone(one, batch, index, now)
            verdict, announced = self._rejections.reject(one, "Reject", request.reason, now)
            events += announced
            if verdict is Verdict.DONE:
                done.append(one)
                finished.append(one.serial)
            elif verdict is Verdict.REJECT:
                sent.append(one)
            else:
                blocked += 1
        for _ in sent:
            assignment.started()
        postponed = [index for index, request in requests.items() if request.reason is None]
        if postponed and not assignment.going:
            events += self._postpone(batch.piece(postponed), [requests[index].after for index in postponed], now)
        self._divide(batch, len(sent) + blocked + bool(postponed), finished)
        return SettledParts(tuple(done), tuple(sent)), events

    def _postpone(self, piece: Batch, times: list[float | None], now: float) -> list[FlowEvent]:
        """Let all of them wait for the longest of their times: they are one piece, so that they stay in their order."""
        known = [after for after in times if after is not None]
        piece.request = HandlerRequest(after=max(known) if known else None)
        return list(self._retries.add(piece, _POSTPONED, now))

    def _divide(self, batch: Batch, parts: int, finished: list[int]) -> None:
        assignment: Assignment = batch.assignment
        inbox = cast("BatchInbox", assignment.inbox)  # batches come from no other inbox
        if not parts:
            if inbox.done(batch):
                assignment.run.mark_ready(assignment)
            return
        inbox.divided(parts)
        inbox.finished(finished)
        if assignment.run.shared:
            assignment.run.mark_ready(assignment)


def _stand_alone(one: AnyDelivery, batch: Batch, index: int, now: float) -> None:
    """Make one message of a batch a delivery of its own."""
    one.assignment = batch.assignment
    one.serial = batch.numbers[index]
    history = history_of(one)
    one.request = None
    history.failed("Reject", now)
