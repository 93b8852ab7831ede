"""How a delivery ends: verdicts, rejections, fallbacks and interruptions, and the parts of the engine that they move.

Every ending takes the delivery out of what runs, settles or gives back its permits, and says what becomes of it: it is finished (DONE), it
comes again (AGAIN), it goes to where rejected messages go (REJECT), or its assignment is gone (STALE). `pass_on` in engine.py is the one
ending that is not here: the common case, together with what follows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from holdgate.flow.admission import WaitingList
from holdgate.flow.assignments import Assignments
from holdgate.flow.attribution import Attribution, Cause
from holdgate.flow.batch import Batch, Deliveries
from holdgate.flow.delivery import Wish
from holdgate.flow.events import AnyEvent, MessageSkipped, SourceRetried
from holdgate.flow.fallbacks import Fallbacks
from holdgate.flow.fate import Verdict, decide
from holdgate.flow.gate import Gate
from holdgate.flow.halves import Halves
from holdgate.flow.inbox import AnyDelivery
from holdgate.flow.place import Place, Run
from holdgate.flow.rejections import Rejections
from holdgate.flow.retries import Retries
from holdgate.flow.sources import Source
from holdgate.flow.suspicions import Suspicions
from holdgate.flow.verdicts import gates_of, record, trial_of
from holdgate.flow.watch import Watch
from holdgate.flow.wishes import Parted, Wishes


class Endings:
    """The half of the engine that a delivery meets when its handler is over, and what an operator may end for it."""

    def __init__(self, draw: Callable[[], float], hold_warn_after: float) -> None:
        self.gates: dict[str, Gate] = {}
        self.runs: dict[Run, None] = {}
        self.restless = False  # something needs a turn
        self._waiting = WaitingList()
        self._assignments = Assignments(self.gates, self.runs, self._waiting)
        self._watch = Watch(hold_warn_after)
        self._retries = Retries(self._waiting, self.gates, draw)
        self._halves = Halves(self._waiting, self._retries)
        self._rejections = Rejections(self._waiting, self._watch)
        self._wishes = Wishes(self._retries, self._rejections)
        self._fallbacks = Fallbacks(self.runs, self._waiting)
        self._suspicions = Suspicions(self._waiting, draw)
        self._events: list[AnyEvent] = []

    def settle(self, delivery: AnyDelivery, attribution: Attribution, error: str, now: float, *, reason: str | None = None) -> Verdict:
        """The handler ended, in any way of its own. Records outcomes by vote, decides what becomes of the message, lets it wait if need be.

        `error` is the type name of what it raised, for events, `reason` the word of a handler that rejected it. AGAIN for a place that is
        going away means that it is dropped. REJECT comes where the run has somewhere to put it: it is still in flight, and so is its lane,
        until `rejected`, `reject_failed` or `interrupted`. A batch of several messages is never rejected: its pieces come again.
        """
        place: Place = delivery.place
        if not place.alive:
            return self.interrupted(delivery, now)
        self.restless = True
        excused = self._suspicions.failed(delivery, attribution, now)
        record(delivery, attribution, now, excused=excused)
        if attribution.cause is Cause.RETURNED:
            place.results.succeeded(delivery.trial)
        if isinstance(delivery, Batch):
            return self._settle_batch(delivery, attribution, error, now, excused=excused)
        if attribution.cause not in (Cause.RETURNED, Cause.REFUSED, Cause.POSTPONED):
            trial_of(delivery).failed(error, now)
        verdict = decide(attribution.cause, delivery.trial, place.run.retry)
        self._events.extend(self._retries.keep(delivery, verdict, attribution, now))
        if verdict is Verdict.REJECT:
            verdict, events = self._rejections.reject(delivery, error, reason, now)
            self._events.extend(events)
            if verdict is Verdict.REJECT:
                return verdict
        place.in_flight -= 1
        place.run.running -= 1
        if verdict is Verdict.DONE:
            self._finished(delivery)
        elif self._is_lone_suspect(delivery, attribution):
            self._events.append(self._watch.suspect(delivery, error, now))
        return verdict

    def settle_in_parts(
        self, batch: Batch, items: Deliveries[Any], wishes: Mapping[int, Wish], attribution: Attribution, now: float
    ) -> Parted:
        """The handler of a batch returned, and asked for something else for some of its messages. What is to be done now; nothing where its
        assignment is gone."""
        place: Place = batch.place
        if not place.alive:
            self.interrupted(batch, now)
            return Parted()
        self.restless = True
        record(batch, attribution, now)
        place.results.succeeded(batch.trial)
        place.in_flight -= 1
        place.run.running -= 1
        parted, events = self._wishes.grant(batch, items, wishes, now)
        self._events.extend(events)
        return parted

    def rejected(self, delivery: AnyDelivery, now: float) -> Verdict:
        """A rejected delivery is where it belongs, confirmed: it is finished. DONE: settle it; STALE: its assignment is gone."""
        place: Place = delivery.place
        self.restless = True
        self._assignments.unstart(delivery, now)
        if not place.alive:
            return Verdict.STALE
        self._rejections.sent(delivery)
        self._finished(delivery)
        return Verdict.DONE

    def reject_failed(self, delivery: AnyDelivery, now: float) -> Verdict:
        """A rejected delivery could not be sent: its place is held, and `next` gives it to a lane again after the policy's `max_backoff`.

        AGAIN, and dropped where its place is going away; STALE: its assignment is gone.
        """
        place: Place = delivery.place
        self.restless = True
        self._assignments.unstart(delivery, now)
        if not place.alive:
            return Verdict.STALE
        if not place.going:
            self._rejections.failed(delivery, now)
        return Verdict.AGAIN

    def fell_back(self, delivery: AnyDelivery, now: float) -> Verdict:
        """The fallback of a delivery succeeded: it is finished. DONE: settle it; STALE: its assignment is gone."""
        place: Place = delivery.place
        self.restless = True
        self._assignments.unstart(delivery, now)
        if not place.alive:
            return Verdict.STALE
        place.fallbacks += 1
        self._finished(delivery)
        return Verdict.DONE

    def fallback_failed(self, delivery: AnyDelivery, now: float) -> Verdict:
        """The fallback of a delivery failed: it waits for what it needs. AGAIN, and dropped where its place is going away; or STALE."""
        place: Place = delivery.place
        self.restless = True
        self._assignments.unstart(delivery, now)
        if not place.alive:
            return Verdict.STALE
        if not place.going:
            self._fallbacks.failed(delivery)
        return Verdict.AGAIN

    def interrupted(self, delivery: AnyDelivery, now: float) -> Verdict:
        """The handler was cancelled from outside (shutdown, revoked, lost), or never started: no verdict, nothing counted.

        Unless its place is going away, it waits to be started again.
        """
        place: Place = delivery.place
        self.restless = True
        self._assignments.unstart(delivery, now)
        if not place.alive:
            return Verdict.STALE
        if place.going:
            return Verdict.AGAIN
        if delivery.trial is not None:
            delivery.trial.wish = None
        if delivery.trial is not None and delivery.trial.reason is not None:
            self._rejections.again(delivery)
        else:
            self._waiting.add(delivery, gates_of(delivery))
        return Verdict.AGAIN

    # -- what an operator ends --------------------------------------------------------------------------------------------------------

    def retry(self, source: Source, reason: str, now: float) -> int:
        """Let the rejected messages of this source go on, afresh; returns how many there are."""
        self.restless = True
        places = [run.places[source] for run in self.runs if source in run.places]
        count = sum(self._rejections.retry(place) for place in places)
        if count:
            self._events.append(SourceRetried(now, source, count, reason))
        return count

    def skip(self, run: Run, source: Source, position: int, reason: str, now: float) -> AnyDelivery | None:
        """Give up one message of this source that is rejected, or has failed and waits; it is to be settled. None: there is no such."""
        place = run.places.get(source)
        delivery = None if place is None or place.going else self._rejections.skip(place, position)
        if delivery is not None:
            self.restless = True
            self._finished(delivery)
            self._events.append(MessageSkipped(now, source, position, reason, by_operator=True))
        return delivery

    # -- inside -----------------------------------------------------------------------------------------------------------------------

    def _finished(self, delivery: AnyDelivery) -> None:
        place: Place = delivery.place
        self._watch.settled(delivery)
        if place.inbox.done(delivery):
            place.run.offer(place)

    def _is_lone_suspect(self, delivery: AnyDelivery, attribution: Attribution) -> bool:
        """Whether its source waits behind it, and nobody can tell whose fault it is. It may be an outage: it is held, and named."""
        place: Place = delivery.place
        if attribution.cause is not Cause.DEPENDENCY or place.going or self._watch.is_named(delivery):
            return False
        return delivery.trial is not None and delivery.trial.is_alone(place.run.retry)

    def _settle_batch(self, batch: Batch, attribution: Attribution, error: str, now: float, *, excused: bool) -> Verdict:
        place: Place = batch.place
        place.in_flight -= 1
        place.run.running -= 1
        if attribution.cause is Cause.RETURNED:
            if place.inbox.done(batch):
                place.run.offer(place)
            return Verdict.DONE
        self._events.extend(self._halves.again(batch, attribution, error, now, excused=excused))
        return Verdict.AGAIN
