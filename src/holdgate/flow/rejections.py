"""Messages that were rejected: their way out, and their place while there is none.

A rejected message leaves in one of three ways. It is skipped, when the policy says so. It goes to where the run puts rejected messages
(`Run.rejects`): it stays in flight, its lane with it, until whoever sends it says that it is there. Or there is nothing of the kind: then
its place is blocked behind it. A target that fails holds the place, and the message is handed to a lane again after `max_backoff`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from holdgate.flow.batch import Batch
from holdgate.flow.blame import trial_of
from holdgate.flow.events import FlowEvent, MessageSkipped
from holdgate.flow.message import Delivery
from holdgate.flow.policy import Verdict
from holdgate.flow.reminders import Reminders
from holdgate.flow.state import Assignment, Run
from holdgate.flow.waiting import WaitingList

AnyDelivery = Delivery[Any]


class Rejections:
    """Finds the way out of every rejected message of one engine."""

    def __init__(self, waiting: WaitingList, watch: Reminders) -> None:
        self._waiting = waiting
        self._watch = watch
        self._later: dict[AnyDelivery, float] = {}  # their target failed: when to send them again
        self._now: dict[AnyDelivery, None] = {}  # to be sent as soon as a lane is free

    def reject(self, delivery: AnyDelivery, error: str, reason: str | None, now: float) -> tuple[Verdict, list[FlowEvent]]:
        """What becomes of a message that is rejected now. DONE: it is skipped; REJECT: it is to be sent; AGAIN: its place is blocked."""
        assignment: Assignment = delivery.assignment
        run = assignment.run
        if run.retry.on_exhausted == "skip":
            return Verdict.DONE, [MessageSkipped(now, assignment.source, delivery.position, reason or error, by_operator=False)]
        if run.rejects:
            trial_of(delivery).reason = reason or error
            return Verdict.REJECT, []
        if assignment.going:  # whoever has it next rejects it again
            return Verdict.AGAIN, []
        return Verdict.AGAIN, [self._watch.block(delivery, error, now)]

    def failed(self, delivery: AnyDelivery, now: float) -> None:
        """Its target does not take it now: its place is held until it does."""
        assignment: Assignment = delivery.assignment
        assignment.unsent[delivery] = None
        assignment.touch()
        self._later[delivery] = now + assignment.run.retry.max_backoff

    def again(self, delivery: AnyDelivery) -> None:
        """Send it as soon as a lane is free."""
        self._later.pop(delivery, None)
        self._now[delivery] = None

    def sent(self, delivery: AnyDelivery) -> None:
        """It is out: its place is held no longer, unless others of it are not."""
        assignment: Assignment = delivery.assignment
        if assignment.unsent:
            assignment.unsent.pop(delivery, None)
            self._released(assignment)

    def hand_out(self, now: float) -> None:
        """Give those whose time has come to lanes of their runs, as far as these have some."""
        for delivery in [delivery for delivery, at in self._later.items() if at <= now]:
            self.again(delivery)
        for delivery in list(self._now):
            run: Run = delivery.assignment.run
            if run.running >= run.lanes:
                run.lane_wanted = True
                continue
            del self._now[delivery]
            run.running += 1
            delivery.assignment.in_flight += 1
            run.resend.append(delivery)

    def retry(self, assignment: Assignment) -> int:
        """An operator lets its rejected messages go on: those that block it start afresh, those that were not sent are sent now."""
        blocked, assignment.blocked = assignment.blocked, []
        for delivery in blocked:
            delivery.trial = delivery.request = None
            self._watch.settled(delivery)
            self._waiting.add(delivery, assignment.gates)
        unsent = [delivery for delivery in self._later if delivery.assignment is assignment]
        for delivery in unsent:
            self.again(delivery)
        self._released(assignment)
        return len(blocked) + len(unsent)

    def skip(self, assignment: Assignment, position: int) -> AnyDelivery | None:
        """An operator gives up the message at this position: one that is rejected, or that has failed and waits. None: there is none."""
        failed = [delivery for delivery in self._waiting.waiting_of(assignment) if delivery.trial is not None]
        waiting = [delivery for delivery in failed if not isinstance(delivery, Batch)]  # nobody knows which of a batch is meant
        candidates = [*assignment.blocked, *assignment.unsent, *self._now, *waiting]
        found = next(
            (each for each in candidates if each.assignment is assignment and each.position == position and not self._is_sent(each)), None
        )
        if found is None:
            return None
        if found in waiting:
            self._waiting.take_out(found)
        if found in assignment.blocked:
            assignment.blocked.remove(found)
        assignment.unsent.pop(found, None)
        self._later.pop(found, None)
        self._now.pop(found, None)
        self._released(assignment)
        return found

    def _is_sent(self, delivery: AnyDelivery) -> bool:
        """Whether it is on its way out now: what was handed to a lane is its business."""
        return delivery in delivery.assignment.unsent and delivery not in self._later and delivery not in self._now

    def _released(self, assignment: Assignment) -> None:
        assignment.touch()
        if not assignment.stopped:
            self._waiting.back_in_line(assignment)

    def forget(self, assignments: Iterable[Assignment]) -> None:
        """These places are on their way out: what was not sent comes again to whoever has them next."""
        gone = set(assignments)
        for waiting in (self._later, self._now):
            for delivery in [delivery for delivery in waiting if delivery.assignment in gone]:
                del waiting[delivery]

    def next_deadline(self) -> float | None:
        """When the first of them is sent again; None when none waits for time."""
        return min(self._later.values(), default=None)
