"""A batch that failed is tried again in halves, in order, until the message at fault stands alone.

All pieces are one voter: the batch had its vote with its first failure, and its pieces have none once anything has succeeded since, be it
one of them. Whoever searches in front of a healthy dependency waits for nothing, so a message at fault is found in log2 n steps; while no
other success is in sight it may be an outage, and each step waits as a single message would. Nothing but a message that stands alone is
charged, blamed or rejected.
"""

from __future__ import annotations

from holdgate.flow.admission import WaitingList
from holdgate.flow.attribution import Attribution, Cause
from holdgate.flow.batch import Batch
from holdgate.flow.events import FlowEvent
from holdgate.flow.fate import Verdict
from holdgate.flow.place import Place
from holdgate.flow.retries import Retries
from holdgate.flow.verdicts import gates_of, trial_of


class Halves:
    """Divides failed batches of one engine, and lets the pieces wait for their turn."""

    def __init__(self, waiting: WaitingList, retries: Retries) -> None:
        self._waiting = waiting
        self._retries = retries

    def again(self, batch: Batch, attribution: Attribution, error: str, now: float, *, excused: bool = False) -> list[FlowEvent]:
        """A batch of several was not processed, its outcomes are recorded: it comes again, in halves if it failed. Returns what is to be
        announced. What is going away is dropped. `excused`: it is an outage that nobody described."""
        place: Place = batch.place
        if attribution.cause is Cause.REFUSED:  # it was not its turn: nothing is known of it
            return self._retries.keep(batch, Verdict.AGAIN, attribution, now)
        trial_of(batch).failed(error, now)
        events: list[FlowEvent] = []
        if attribution.shared:
            events.extend(place.announce_shared(now, gates_of(batch), attribution))
        if not place.going:
            at_once = not excused and (attribution.cause is not Cause.DEPENDENCY or _was_outvoted(batch))
            for piece in self._divide(batch):
                if at_once:
                    self._waiting.add(piece, gates_of(piece))
                else:
                    events.extend(self._retries.add(piece, attribution, now))
        return events

    def _divide(self, batch: Batch) -> list[Batch]:
        """The pieces that wait for their turn from now on. Where the order counts it is the first alone, and the second comes after it."""
        place: Place = batch.place
        if len(batch) == 1:
            return [batch]
        half = (len(batch) + 1) // 2
        first, second = batch.piece(range(half)), batch.piece(range(half, len(batch)))
        if not place.run.shared:
            place.put_back(second)
            return [first]
        return [first, second]


def _was_outvoted(batch: Batch) -> bool:
    """Whether something else has succeeded, since the batch first failed there, on everything that it failed on."""
    votes = [(gate, trial_of(batch).votes.get(gate)) for gate in gates_of(batch)]
    current = [(gate, vote) for gate, vote in votes if vote is not None and vote.generation == gate.circuit.generation]
    return bool(current) and not any(vote.counts(gate) for gate, vote in current)
