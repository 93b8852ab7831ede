"""The RabbitMQ half of the in-memory intake: one channel per queue, acks that go out in runs, and redelivery after a lost channel."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

from holdgate.errors import IntakeError
from holdgate.flow.inbox import Order
from holdgate.flow.message import Backlog, Delivery, Queue, Settlement, Source
from holdgate.flow.plan import Plan
from holdgate.ports import IntakeListener
from holdgate.testing.memory.bell import Bell
from holdgate.testing.memory.broker import MemoryBroker
from holdgate.testing.memory.delivery import MemoryDelivery
from holdgate.testing.memory.message import Message
from holdgate.testing.memory.rabbitmq_model import Channel


class _Line:
    """One queue by one channel, until that channel closes."""

    __slots__ = ("channel", "recorded")

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.recorded: dict[int, Settlement] = {}  # by delivery tag; on its way to the broker


class QueueSide:
    """Reads queues with a window of `prefetch` unsettled messages each."""

    member = ""
    is_committed = True

    def __init__(self, broker: MemoryBroker, queues: Collection[str], *, prefetch: int) -> None:
        self.names = tuple(queues)
        self.bell = Bell()
        self.inbox = prefetch
        self._broker = broker
        self._lines: dict[Queue, _Line] = {}
        self._plan = Plan()
        self._run: asyncio.Handle | None = None
        self._reconnect: asyncio.Handle | None = None

    @property
    def order(self) -> Order:
        """Per queue where every queue has a single active consumer, else none."""
        queues = self._broker.model.queues
        return "source" if all(name in queues and queues[name].settings.single_active for name in self.names) else "none"

    def start(self, listener: IntakeListener) -> None:
        """Open the channels."""
        self._listener = listener
        self._broker.watch(self.bell)
        self._connect()

    def check(self) -> None:
        """Raises IntakeError when a queue does not exist, or no longer."""
        missing = [name for name in self.names if name not in self._broker.model.queues]
        if missing:
            raise IntakeError(f"the in-memory broker has no queue {missing[0]!r}; MemoryBroker(queues=[{missing[0]!r}]) makes it")

    def failure(self) -> BaseException | None:
        """There is no task here that could fail."""
        return None

    def take(self) -> Sequence[MemoryDelivery]:
        """What has arrived: of each queue that may be read, as much as its window has room for."""
        return [
            MemoryDelivery(queue, queued.message, tag, line, redelivered=queued.redelivered, delivery_count=queued.delivery_count)
            for queue, line in self._lines.items()
            if self._plan.of(queue).fetch
            for tag, queued in line.channel.take()
        ]

    def apply(self, plan: Plan) -> None:
        """From now on read what the plan lets be read."""
        opened = any(plan.of(queue).fetch and not self._plan.of(queue).fetch for queue in self._lines)
        self._plan = plan
        if opened:
            self.bell.ring()

    def settle(self, delivery: Delivery[Message], settlement: Settlement) -> None:
        """Record it; it goes out with the next turn of the loop. Settled twice, the first word counts."""
        line: object = getattr(delivery, "assigned", None)
        if not isinstance(line, _Line) or delivery.position not in line.channel.unacked:
            return
        line.recorded.setdefault(delivery.position, settlement)
        if self._run is None:
            self._run = asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Send everything recorded."""
        if self._run is not None:
            self._run.cancel()
            self._run = None
        for line in [line for line in self._lines.values() if line.recorded]:
            recorded, line.recorded = line.recorded, {}
            for tag in sorted(recorded):
                _send(line.channel, tag, recorded[tag])
            self._broker.changed()

    def backlog(self) -> Mapping[Source, Backlog]:
        """What is not settled, per queue, other consumers' share included; what was recorded counts as settled."""
        return {queue: self._backlog(queue, line) for queue, line in self._lines.items()}

    def drop(self) -> None:
        """Lose every channel; open new ones a turn of the loop later, as a robust connection does."""
        gone = tuple(self._lines)
        if not gone:
            return  # not back yet from the last time
        for line in self._lines.values():
            line.channel.close()
        self._lines.clear()
        self._listener.lost(gone)
        self._reconnect = asyncio.get_running_loop().call_soon(self._connect)

    def vanish(self) -> None:
        """Send nothing any more; the broker closes the channels."""
        if self._reconnect is not None:
            self._reconnect.cancel()
        self.break_channels()
        self._lines.clear()
        self._broker.unwatch(self.bell)

    def break_channels(self) -> None:
        """The broker closes every channel; what is recorded for them is lost."""
        for line in self._lines.values():
            line.recorded.clear()
            line.channel.close()

    async def stop(self) -> None:
        """Send everything recorded, and give the rest back in order, uncounted where the queue allows it."""
        if self._reconnect is not None:
            self._reconnect.cancel()
        self.flush()
        for queue, line in self._lines.items():
            if not self._counts_nacks(queue):
                line.channel.give_back()
            line.channel.close()
        self._lines.clear()
        self._broker.unwatch(self.bell)
        self._broker.changed()

    def _connect(self) -> None:
        queues = self._broker.model.queues
        self._lines = {Queue(name): _Line(queues[name].open(self.inbox)) for name in self.names if name in queues}
        self.apply(self._listener.assigned(tuple(self._lines)))
        self.bell.ring()  # a receive that waits may find something now

    def _counts_nacks(self, queue: Queue) -> bool:
        stored = self._broker.model.queues.get(queue.name)
        return stored is None or stored.settings.nack_counts

    def _backlog(self, queue: Queue, line: _Line) -> Backlog:
        settled = {line.channel.unacked[tag].message.position for tag in line.recorded}
        waiting = [message for message in self._broker.waiting(queue) if message.position not in settled]
        age = max(0.0, self._broker.now() - min(message.timestamp for message in waiting)) if waiting else None
        return Backlog(len(waiting), age)


def _send(channel: Channel, tag: int, settlement: Settlement) -> None:
    if settlement is Settlement.ACK:
        channel.ack(tag)
    else:
        channel.nack(tag, requeue=False)
