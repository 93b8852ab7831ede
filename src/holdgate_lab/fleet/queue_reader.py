"""The RabbitMQ half of a simulated worker: one channel per queue, with a window of unsettled messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from holdgate.flow.message import Queue, Settlement
from holdgate.flow.plan import Plan
from holdgate.flow.state import Assignment, Run
from holdgate.testing.memory.rabbitmq_model import Channel
from holdgate_lab.fleet.parcel import Parcel

if TYPE_CHECKING:
    from holdgate_lab.fleet.lanes import Lanes

# A robust connection comes back within a moment of its loss.
_RECONNECT = 0.05


class QueueReader:
    """Reads all queues of the scenario."""

    def __init__(self, worker: Lanes, run: Run) -> None:
        self.run = run
        self.giving_back: set[Assignment] = set()  # always empty: a queue is never given back while its worker lives
        self._worker = worker
        self._world = worker.world
        self._names = [spec.name for spec in self._world.scenario.queues]
        self._channels: dict[Queue, Channel] = {}
        self._plan = Plan()
        self._poll_is_due = False
        self._is_open = False

    def open(self) -> None:
        """Open the channels."""
        self._is_open = True
        self._connect()

    def hear(self) -> None:
        """Groups are not its business."""

    def have_ended(self) -> bool:
        """Nothing is ever given back."""
        return True

    def _connect(self) -> None:
        if self._is_open and not self._channels:
            queues = self._world.broker.queues
            self._channels = {Queue(name): queues[name].open(self._world.scenario.prefetch) for name in self._names}
            self.apply(self._worker.engine.assigned(self.run, tuple(self._channels), self._world.schedule.now))
            self._worker.turn()

    def lose(self) -> None:
        """Every channel is gone, and comes back soon."""
        gone = tuple(self._channels)
        self.break_channels()
        if gone:
            self._worker.lost(self.run, gone)
            self._worker.later(_RECONNECT, self._connect)

    def break_channels(self) -> None:
        """The broker closes them: what is unsettled comes again, counted."""
        channels = list(self._channels.values())
        self._channels.clear()
        with self._world.witness.excused():
            for channel in channels:
                channel.close()
        if channels:
            self._world.look_at_queues()

    def close(self) -> None:
        """Give the rest back in order, uncounted where the queue allows it, and go."""
        self._is_open = False
        with self._world.witness.excused():
            for queue, channel in self._channels.items():
                if not self._world.broker.queues[queue.name].settings.nack_counts:
                    channel.give_back()
        self.break_channels()

    def apply(self, plan: Plan) -> None:
        """Read from now on what the plan lets be read."""
        self._plan = plan
        self.want_poll()

    def want_poll(self) -> None:
        """Something may be there to be read: look soon, once."""
        if not self._poll_is_due and self._channels:
            self._poll_is_due = True
            self._worker.later(self._worker.poll_takes(), self._poll)

    def _poll(self) -> None:
        self._poll_is_due = False
        parcels: list[Parcel] = []
        for queue, channel in self._channels.items():
            if self._plan.of(queue).fetch:
                parcels.extend(self._take(queue, channel))
        if parcels:
            self._worker.receive(self.run, parcels)

    def _take(self, queue: Queue, channel: Channel) -> Sequence[Parcel]:
        traffic = self._world.traffic[queue.name]
        parcels: list[Parcel] = []
        for tag, queued in channel.take():
            message = queued.message
            facts = traffic.facts(message.position)
            parcels.append(Parcel(queue, message, facts, channel=channel, tag=tag, redelivered=queued.redelivered))
            self._world.witness.counted(queue, message.position, queued.delivery_count)
        return parcels

    def settle(self, parcel: Parcel, settlement: Settlement) -> None:
        """Tell the broker at once. What came on a channel that is gone settles nothing."""
        channel = parcel.channel
        if channel is None or parcel.tag not in channel.unacked:
            return
        if settlement is Settlement.ACK:
            channel.ack(parcel.tag)
        else:
            channel.nack(parcel.tag, requeue=settlement is Settlement.REQUEUE)
            self._world.look_at_queues()
        self.want_poll()

    @property
    def held(self) -> Sequence[str]:
        """The queues that are held here."""
        return [queue.name for queue in self._channels if self._plan.of(queue).held]
