"""The Kafka half of a simulated worker: one member of the consumer group, its pauses, and its commits.

The members hear of a rebalance a little later, each at its own time, as heartbeats bring it. What runs for a partition that is given back
may end for half of the rebalance timeout; then it is interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from holdgate.flow.inflight import InFlight
from holdgate.flow.message import Partition, Settlement
from holdgate.flow.plan import Plan
from holdgate.flow.state import Assignment, Run
from holdgate_lab.fleet.parcel import Parcel
from holdgate_lab.fleet.source_records import AssignmentRecord

if TYPE_CHECKING:
    from holdgate_lab.fleet.lanes import Lanes

# Heartbeats go out every few seconds and bring the word of a rebalance; nobody waits for the next one on average longer than this.
_HEARSAY = 0.5


class Assigned:
    """One partition for as long as it is this worker's without a break."""

    __slots__ = ("committed", "inflight", "is_ours", "record")

    def __init__(self, start: int, record: AssignmentRecord) -> None:
        self.is_ours = True
        self.inflight = InFlight()
        self.committed = start
        self.record = record


class TopicReader:
    """Reads all topics of the scenario as one member of one group."""

    def __init__(self, worker: Lanes, run: Run) -> None:
        world = worker.world
        self.run = run
        self.member = world.new_member()
        self.giving_back: set[Assignment] = set()
        self._worker = worker
        self._world = world
        self._group = world.group
        self._consumer = world.broker.consumer("fleet")
        self._topics = [spec.name for spec in world.scenario.topics]
        self._assigned: dict[Partition, Assigned] = {}
        self._plan = Plan()
        self._generation = 0
        self._commit_is_due = False
        self._poll_is_due = False
        self._is_open = False

    # -- the group --------------------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Join the group."""
        self._is_open = True
        self._join()

    def hear(self) -> None:
        """The group has changed; this member finds out a little later."""
        self._worker.later(_HEARSAY * self._worker.draw(), self._follow)

    def lose(self) -> None:
        """The connection breaks: the group takes everything away."""
        self._world.leave_group(self.member)

    def close(self) -> None:
        """Commit and leave the group."""
        if self._commit():
            for assigned in self._assigned.values():
                assigned.record.was_given_back()
        self._forget(lost=False)
        self._is_open = False
        self._world.leave_group(self.member)

    def _join(self) -> None:
        self._world.join_group(self.member, self._topics)

    def _follow(self) -> None:
        group = self._group
        if not self._is_open or self.giving_back:
            return
        if self.member not in group.members:
            self._come_back()
        elif group.must_rejoin(self.member):
            self._give_back()
        elif not group.is_rebalancing and self._generation != group.generation:
            self._take_over()

    def _take_over(self) -> None:
        partitions = self._group.assignment(self.member)
        self._generation = self._group.generation
        self._consumer.assign(partitions)
        self._assigned = {partition: self._begin(partition) for partition in partitions}
        self._worker.say(f"has {', '.join(map(str, partitions)) or 'no partition'} now")
        # The assignment has forgotten every pause: the plan is applied in the same step, before anything can be read.
        self.apply(self._worker.engine.assigned(self.run, partitions, self._world.schedule.now))
        self._worker.turn()

    def _begin(self, partition: Partition) -> Assigned:
        start = self._consumer.position(partition)
        return Assigned(start, self._world.witness.record_of(partition, start, self.run.order))

    def _give_back(self) -> None:
        now = self._world.schedule.now
        self.giving_back = set(self._worker.engine.closing(self.run, tuple(self._assigned), now))
        self._worker.turn()
        if not self.have_ended():
            self._worker.later(self._group.rebalance_timeout / 2, self._lose_patience)

    def _lose_patience(self) -> None:
        if self.giving_back:
            self._worker.interrupt(self.giving_back)
            self.have_ended()

    def have_ended(self) -> bool:
        """Go on giving back if nothing runs any more for what is given back."""
        if self._worker.works_for(self.giving_back):
            return False
        self.giving_back = set()
        self._worker.engine.forget(self.run, tuple(self._assigned), self._world.schedule.now)
        accepted = self._commit()
        if accepted and self.member in self._group.members:
            for assigned in self._assigned.values():
                assigned.record.was_given_back()
        # Too slow to give back in time: evicted meanwhile, and the commit above was refused.
        self._forget(lost=self.member not in self._group.members)
        if self.member in self._group.members:
            self._group.rejoin(self.member)
            self._world.group_changed()
        else:
            self.hear()
        return True

    def _come_back(self) -> None:
        gone = tuple(self._assigned)
        self._forget(lost=True)
        if gone:
            self._worker.lost(self.run, gone)
        self._join()

    def _forget(self, *, lost: bool) -> None:
        for assigned in self._assigned.values():
            assigned.is_ours = False
        self._assigned.clear()
        self._consumer.unassign(lost=lost)

    # -- messages ---------------------------------------------------------------------------------------------------------------------

    def apply(self, plan: Plan) -> None:
        """Pause and resume; commit what is finished when something is held that was not."""
        held_anew = any(plan.of(source).held and not self._plan.of(source).held for source in self._assigned)
        self._plan = plan
        for partition in self._consumer.assigned:
            if plan.of(partition).fetch:
                self._consumer.resume(partition)
            else:
                self._consumer.pause(partition)
        if held_anew:
            self._commit()
        self.want_poll()

    def want_poll(self) -> None:
        """Something may be there to be read: poll soon, once."""
        if not self._poll_is_due and self._assigned:
            self._poll_is_due = True
            self._worker.later(self._worker.poll_takes(), self._poll)

    def _poll(self) -> None:
        self._poll_is_due = False
        if not self._is_open or self.giving_back or self._group.must_rejoin(self.member) or self.member not in self._group.members:
            return
        parcels: list[Parcel] = []
        for partition, messages in self._consumer.poll(self._world.scenario.inbox):
            assigned = self._assigned[partition]
            assigned.inflight.delivered_many([message.position for message in messages])
            traffic = self._world.traffic[partition.topic]
            parcels += [
                Parcel(partition, message, traffic.facts_at(partition, message.position), assigned=assigned) for message in messages
            ]
            self._look_at_memory(partition, assigned)
        if parcels:
            self._worker.receive(self.run, parcels)
            self.want_poll()

    def _look_at_memory(self, partition: Partition, assigned: Assigned) -> None:
        scenario = self._world.scenario
        most = scenario.inbox + self.run.inbox + (self.run.batch or 0) + (scenario.span if self.run.order != "source" else 1)
        if assigned.inflight.span() > most:
            words = f"{partition} has {assigned.inflight.span()} deliveries in hand, and {most} is the most"
            self._world.witness.complain("memory", words)

    def settle(self, parcel: Parcel, settlement: Settlement) -> None:
        """It is finished: the next commit tells. What came by an earlier assignment settles nothing."""
        assigned = parcel.assigned
        if settlement is not Settlement.ACK or assigned is None:
            return
        if not assigned.is_ours:
            words = f"{parcel.source}@{parcel.position} is settled, and its assignment is gone"
            self._world.witness.complain("stale", words)
            return
        assigned.inflight.finished(parcel.position)
        if not self._commit_is_due:
            self._commit_is_due = True
            self._worker.later(self._world.scenario.commit_every, self._commit_in_time)

    def _commit_in_time(self) -> None:
        self._commit_is_due = False
        self._commit()

    def _commit(self) -> bool:
        offsets = {
            partition: offset
            for partition, assigned in self._assigned.items()
            if (offset := self._next(partition, assigned)) > assigned.committed
        }
        if not offsets:
            return True
        accepted = self._group.commit(self.member, self._generation, offsets)
        if accepted:
            for partition, offset in offsets.items():
                self._assigned[partition].committed = offset
        return accepted

    def _next(self, partition: Partition, assigned: Assigned) -> int:
        position = assigned.inflight.next_position
        if position is None:
            return -1
        # With nothing unfinished the reader's own position is as safe, and stands behind a gap at the end.
        return position if assigned.inflight.unfinished else self._consumer.position(partition)

    @property
    def held(self) -> Sequence[str]:
        """The topics of the partitions that are held here, one for each."""
        return [partition.topic for partition in self._assigned if self._plan.of(partition).held]
