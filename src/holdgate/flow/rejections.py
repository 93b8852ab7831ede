"""Messages that were rejected: how they leave, and what their source waits for until they do.

A rejected message leaves in one of three ways. The policy may say that it is skipped. If the run has somewhere to put rejected messages
(`Run.rejects`), it is sent there: it stays in flight, and so does its lane, until the sender reports that it has arrived. If there is no
such place, its source is blocked behind it. A target that fails holds the source, and the message is handed to a lane again after
`max_backoff`.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from holdgate.flow.batch import Batch
from holdgate.flow.blame import history_of
from holdgate.flow.events import FlowEvent, MessageSkipped
from holdgate.flow.gate import gates_of
from holdgate.flow.message import AnyDelivery
from holdgate.flow.policy import GivenUp, Verdict
from holdgate.flow.reminders import Reminders
from holdgate.flow.state import Assignment, Run
from holdgate.flow.waiting import WaitingList

# To be sent as soon as a lane is free, and not at a time.
_NOW = -inf


class Rejections:
    """Finds the way out for every rejected message of one engine."""

    def __init__(self, waiting: WaitingList, reminders: Reminders) -> None:
        self._waiting = waiting
        self._reminders = reminders
        # To be sent again: when, because its target has failed, or `_NOW`. Those for which it is time are in the order in which it was.
        self.pending: dict[AnyDelivery, float] = {}

    def reject(
        self, delivery: AnyDelivery, error: str, reason: str | None, now: float, given_up: GivenUp = "rejected"
    ) -> tuple[Verdict, list[FlowEvent]]:
        """Decide how a message leaves that is rejected now. DONE: it is skipped; REJECT: it is to be sent; AGAIN: its source is blocked."""
        assignment: Assignment = delivery.assignment
        run = assignment.run
        if run.retry.on_exhausted == "skip":
            return Verdict.DONE, [MessageSkipped(now, assignment.source, delivery.position, reason or error, by_operator=False)]
        if run.rejects:
            history_of(delivery).rejected(reason or error, given_up)
            return Verdict.REJECT, []
        if assignment.going:  # the next owner of the source rejects it again
            return Verdict.AGAIN, []
        return Verdict.AGAIN, [self._reminders.block(delivery, error, now)]

    def failed(self, delivery: AnyDelivery, now: float) -> None:
        """Hold the source of a delivery that its target does not take now, until the target does."""
        assignment: Assignment = delivery.assignment
        assignment.keep_unsent(delivery)
        self.pending[delivery] = now + assignment.run.retry.max_backoff

    def again(self, delivery: AnyDelivery) -> None:
        """Send it as soon as a lane is free."""
        self.pending.pop(delivery, None)
        self.pending[delivery] = _NOW

    def sent(self, delivery: AnyDelivery) -> None:
        """Release the source of a delivery that has arrived, unless other deliveries of it have not."""
        assignment: Assignment = delivery.assignment
        assignment.totals.rejected[history_of(delivery).given_up] += 1
        self.gone(delivery)

    def gone(self, delivery: AnyDelivery) -> None:
        """Release the source of a delivery that is not to be sent any more, unless other deliveries of it are."""
        assignment: Assignment = delivery.assignment
        if assignment.unsent:
            assignment.unblock(delivery)
            self._released(assignment)

    def hand_out(self, now: float) -> None:
        """Give those whose time has come to the free lanes of their runs."""
        for delivery in [delivery for delivery, at in self.pending.items() if _NOW < at <= now]:
            self.again(delivery)
        for delivery in [delivery for delivery, at in self.pending.items() if at == _NOW]:
            run: Run = delivery.assignment.run
            if run.running >= run.lanes:
                run.want_lane()
                continue
            del self.pending[delivery]
            run.send_again(delivery)

    def retry(self, assignment: Assignment) -> int:
        """Let its rejected messages go on, for an operator: those that block it start anew, those that were not sent are sent now."""
        blocked = assignment.take_blocked()
        for delivery in blocked:
            delivery.history = None
            self._reminders.settled(delivery)
            self._waiting.add(delivery, gates_of(delivery))
        unsent = [delivery for delivery, at in self.pending.items() if at > _NOW and delivery.assignment is assignment]
        for delivery in unsent:
            self.again(delivery)
        self._released(assignment)
        return len(blocked) + len(unsent)

    def skip(self, assignment: Assignment, position: int) -> AnyDelivery | None:
        """Give up the message at this position, for an operator: one that is rejected, or that has failed and waits.

        None means that there is none.
        """
        failed = [delivery for delivery in self._waiting.waiting_of(assignment) if delivery.history is not None]
        waiting = [delivery for delivery in failed if not isinstance(delivery, Batch)]  # a position names no message of a batch
        candidates = [*assignment.blocked, *assignment.unsent, *self.pending, *waiting]
        found = next(
            (each for each in candidates if each.assignment is assignment and each.position == position and not self._is_sent(each)), None
        )
        if found is None:
            return None
        if found in waiting:
            self._waiting.take_out(found)
        assignment.unblock(found)
        self.pending.pop(found, None)
        self._released(assignment)
        return found

    def _is_sent(self, delivery: AnyDelivery) -> bool:
        """Return whether it is being published right now. A lane owns it until that ends."""
        return delivery in delivery.assignment.unsent and delivery not in self.pending

    def _released(self, assignment: Assignment) -> None:
        if not assignment.stopped:
            self._waiting.back_in_line(assignment)

    def forget(self, assignments: Iterable[Assignment]) -> None:
        """Forget what was not sent of assignments that are going away: the next owner of the source gets it."""
        gone = set(assignments)
        for delivery in [delivery for delivery in self.pending if delivery.assignment in gone]:
            del self.pending[delivery]

    def next_deadline(self) -> float | None:
        """Return when the first of them is sent again; None means that none waits for time."""
        return min((at for at in self.pending.values() if at > _NOW), default=None)
