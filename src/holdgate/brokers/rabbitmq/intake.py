"""RabbitMQIntake: the queues of one robust connection, behind the `Intake` port.

It composes; the rules are in the other files of the package.

What happens when

- `receive` is called: it hands out what has arrived by live channels of queues that may be read. Otherwise it waits for the bell.
- the plan changes: `apply` stores it, which is all that a hold needs, since the full prefetch stops the broker. A hold also sends the acks
  that wait. Each supervisor (supervisor.py) looks at what its queue needs now.
- a run takes batches: what has arrived is handed out when the wire pauses (channel.py).
- a message is settled: the channel by which it came records it, and sends acks in runs (channel.py).
- a channel or the connection is lost, or the broker cancels a consumer: supervisor.py opens a fresh channel and reports to the guard.
- a hold lasts nearly as long as the broker's consumer timeout: terms.py says when and how messages go back, and supervisor.py does it.
- it opens and closes: checks.py refuses settings and queues, supervisor.py gives everything back and closes.

Rules that are not obvious: no channel call is cancelled or given a timeout, which would close the channel. A consumer's callback only
stores messages. A delivery finds its channel by reference, so a late result settles nothing. Nothing is nacked while a consumer would get
it again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from aio_pika import IncomingMessage
from aio_pika.abc import AbstractRobustConnection

from holdgate.brokers.bell import Bell, give_to_user
from holdgate.brokers.lifetime import Lifetime
from holdgate.brokers.rabbitmq.channel import QueueChannel, RabbitMQDelivery, batch_due_at
from holdgate.brokers.rabbitmq.checks import (
    Diagnosis,
    QueueOptions,
    check_connection,
    check_overflow,
    check_own_timeout,
    check_prefetch,
    check_queues,
    check_timeout,
    examine,
    prepare,
)
from holdgate.brokers.rabbitmq.client import CLOSE_WITHIN, Client
from holdgate.brokers.rabbitmq.queue_facts import DEFAULT_CONSUMER_TIMEOUT, Management
from holdgate.brokers.rabbitmq.supervisor import Overflow, QueueSupervisor, Window
from holdgate.brokers.rabbitmq.terms import DeliveryLimitNear, QueueTerms
from holdgate.core.validation import count, seconds
from holdgate.flow.batch import AS_THEY_ARE, Batch
from holdgate.flow.inbox import Order
from holdgate.flow.message import Backlog, Delivery, Queue, Settlement, Source
from holdgate.flow.plan import Plan
from holdgate.slips import suggest_keywords
from holdgate.tasks import GIVE_UP_WITHIN

if TYPE_CHECKING:
    from holdgate.ports import DeadLetters, IntakeListener

log = logging.getLogger(__name__)

# A supervisor flushes, waits for an empty wire and closes a channel: less than a second if the broker answers.
_CLOSE_WITHIN = 15.0


class RabbitMQIntake:
    """Takes messages from RabbitMQ queues, each by a channel of its own, and settles them for the guard.

    Raises SettingsError for wrong settings. `open` raises IntakeError for what the broker refuses.

    `connection_or_url`: an `aio_pika.connect_robust` connection, which its caller closes, or a URL for a connection of its own. A URL is
    safer: some errors end a whole connection. `queues`: names of classic or quorum queues. `prefetch`: how many unsettled messages each
    queue may have here, 1 to 100. `declare`: the arguments with which missing queues are made, durable. None means that they must exist.
    `single_active`: whether to keep the order of a single active consumer, with one handler at a time. None means that no queue may have
    one. `delivery_limit`: how often a message may come back before its queue drops it. None means that it is found out. `consumer_timeout`:
    seconds after which the broker takes unacked messages back; `math.inf` means never. None means that it is found out, and is 30 minutes
    where nothing shows it. `management_url`: "http://user:password@host:15672", to find out policies and other consumers. None means that
    they stay unknown. `arguments`: those of the consumer, such as {"x-priority": 10}. None means no arguments. `poll_timeout`: seconds for
    which `receive` waits for a message. `overflow`: where a message goes, instead of back, when one more return may be over its delivery
    limit, such as RabbitMQDeadLetters(url, "{queue}.overflow"). None means that such a message goes back as late as possible.
    `on_delivery_limit_near`: called when that is the case for a message. None means that it is only logged.
    """

    @suggest_keywords
    def __init__(
        self,
        connection_or_url: AbstractRobustConnection | str,
        *queues: str,
        prefetch: int = 50,  # ten keep the broker busy; the rest is for handlers in parallel, and for what a ramp admits of those in hand
        declare: Mapping[str, Any] | None = None,
        single_active: bool | None = None,
        delivery_limit: int | None = None,
        consumer_timeout: float | timedelta | None = None,
        management_url: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        poll_timeout: float | timedelta = 0.1,  # what a stop may wait for
        overflow: DeadLetters | None = None,  # somebody must bring its messages back, and so must know of it
        on_delivery_limit_near: Callable[[DeliveryLimitNear], None] | None = None,
    ) -> None:
        check_connection(connection_or_url)
        check_queues(queues)
        self.inbox = check_prefetch(prefetch)
        self._names = queues
        self._declare = declare
        self._options = QueueOptions(
            single_active,
            None if delivery_limit is None else count("delivery_limit", delivery_limit),
            check_timeout(consumer_timeout),
            has_overflow=overflow is not None,
            management=None if management_url is None else Management(management_url),
            own_timeout=check_own_timeout(arguments or {}),
        )
        self._arguments = dict(arguments or {})
        self._poll_timeout = seconds("poll_timeout", poll_timeout)
        self._overflow = None if overflow is None else Overflow(check_overflow(overflow))
        self._on_delivery_limit_near = on_delivery_limit_near
        self._client = Client(connection_or_url)
        self._supervisors: dict[Queue, QueueSupervisor] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._plan = Plan()
        self._batch: int | None = None
        self._memory: int | None = None
        self._margin = (self._options.consumer_timeout or DEFAULT_CONSUMER_TIMEOUT) / 4
        self._bell = Bell()
        self._lifetime = Lifetime(self._close, "rabbitmq")

    @property
    def names(self) -> Collection[str]:
        return self._names

    @property
    def order(self) -> Order:
        return "source" if self._options.single_active else "none"

    @property
    def has_keys(self) -> bool:
        """Whether messages have a key of their own: never. A routing key says where a message goes, and not what it is kept in order by."""
        return False

    @property
    def can_reject(self) -> bool:
        """Whether messages may be rejected: always. The queue's dead letter exchange gets them; without one they are dropped."""
        return True

    @property
    def rebalance_timeout(self) -> float:
        """The shortest margin before a consumer timeout, in seconds. Running handlers get half of it to end before messages go back."""
        return self._margin

    def deliver_in_batches(self, most: int) -> None:
        """Hand out what has arrived of a queue as one `Batch`, when its window or a batch is full, or the wire pauses."""
        self._batch = most

    @property
    def sends_unasked(self) -> bool:
        return True

    @property
    def read_ahead(self) -> int:
        channels = [supervisor.channel for supervisor in self._supervisors.values() if supervisor.channel is not None]
        return sum(len(delivery.raw.body) for channel in channels for delivery in channel.arrived)

    def bound(self, memory: int) -> None:
        self._memory = memory

    async def examine(
        self, *, longest_handler: float | timedelta | None = None, outage: float | timedelta | None = None
    ) -> list[Diagnosis]:
        """Return what would hurt in an outage, with the remedies: what `open` refuses and warns of, and what other consumers do.

        Call it on an intake that is not open. It connects, and makes, consumes and changes nothing. `longest_handler` is how many seconds a
        handler may take, as in `guard.run(timeout=)`; None means that this is unknown. `outage`: of how many seconds an outage is whose
        costs without a guard are returned too, with `cost`; None means that they are not. Without `management_url`, other consumers and
        policies are not seen.
        """
        longest = None if longest_handler is None else seconds("longest_handler", longest_handler)
        lasts = None if outage is None else seconds("outage", outage)
        return await examine(self._client, self._names, self._options, prefetch=self.inbox, longest=longest, outage=lasts)

    async def open(self, listener: IntakeListener) -> None:
        """Connect, check the queues and start. Raises IntakeError before anything is consumed, and closes the intake then."""
        await self._lifetime.open(partial(self._open, listener))

    async def receive(self) -> Sequence[Delivery[IncomingMessage]]:
        # Here, and not between taking and returning: a channel that is lost in such a pause would still have its deliveries handed out.
        await asyncio.sleep(0)
        deliveries = self._take()
        if not deliveries:
            await self._wait()
            deliveries = self._take()
        return deliveries

    def apply(self, plan: Plan) -> None:
        before, self._plan = self._plan, plan
        for source, supervisor in self._supervisors.items():
            now, then = plan.of(source), before.of(source)
            if now != then:
                supervisor.wake()
                if now.held and supervisor.channel is not None:
                    supervisor.channel.acks.soon()
        self._bell.ring()

    def settle(self, delivery: Delivery[IncomingMessage], settlement: Settlement) -> None:
        if isinstance(delivery, RabbitMQDelivery):
            delivery.channel.settle(delivery, settlement)
        elif isinstance(delivery, Batch):
            for one in delivery.message:
                self.settle(one, settlement)

    async def flush(self) -> bool:
        channels = [supervisor.channel for supervisor in self._supervisors.values() if supervisor.channel is not None]
        out = [await channel.acks.flush() for channel in channels if not channel.acks.held_back]
        self._bell.ring()
        return all(out)

    def way_of_rejected(self, name: str) -> str:
        return self._supervisors[Queue(name)].way_of_rejected

    async def backlog(self) -> Mapping[Source, Backlog]:
        """Return how many messages are ready, in hand here, or kept back by the broker for a later retry.

        Those in hand of other consumers are not counted: only they know. Those that are kept back are counted where there is a
        `management_url`: no AMQP call shows them.
        """
        ready = await self._client.ready([source.name for source in self._supervisors])
        delayed = await self._delayed()
        now = time.time()
        found: dict[Source, Backlog] = {}
        for source, supervisor in self._supervisors.items():
            channel = supervisor.channel
            oldest = None if channel is None or channel.oldest is None else channel.oldest.timestamp
            in_hand = 0 if channel is None else len(channel.unsettled)
            waiting, later = ready.get(source.name), delayed.get(source.name)
            messages = None if waiting is None else waiting + in_hand + (later or 0)
            found[source] = Backlog(
                messages,
                None if oldest is None else max(0.0, now - oldest),
                None if messages is None or not later else messages - later,
                delayed=later,
            )
        return found

    async def _delayed(self) -> Mapping[str, int | None]:
        """Return how many messages of each queue are kept back, where the management API can be asked and the queue may keep any back."""
        management = self._options.management
        if management is None:
            return {}
        return {source.name: await management.delayed(self._client.vhost, source.name) for source in self._supervisors}

    async def close(self) -> None:
        await self._lifetime.close()

    async def _open(self, listener: IntakeListener) -> None:
        await self._client.connect()
        if self._overflow is not None:
            await self._overflow.open(self._names)
        terms = [await self._prepare(name) for name in self._names]
        self._margin = min([each.margin for each in terms if each.margin], default=self._margin)
        for each in terms:
            supervisor = self._supervisors[each.source] = QueueSupervisor(
                self._client,
                each,
                listener,
                window=Window(each.source, self.inbox, None if self._memory is None else self._memory // len(terms)),
                arguments=self._arguments,
                plan=lambda: self._plan,
                store=self.apply,
                ring=self._bell.ring,
                limit_near=self._report_limit_near,
                overflow=self._overflow,
                failed=self._bell.fail,
            )
            self._tasks.append(supervisor.start())

    async def _prepare(self, name: str) -> QueueTerms:
        terms, warnings = await prepare(self._client, name, self._options, self._declare)
        for text in warnings:
            log.warning("%s: %s", name, text)
        return terms

    async def _close(self) -> None:
        for supervisor in self._supervisors.values():
            supervisor.stop()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_CLOSE_WITHIN)
            for task in late:
                task.cancel()
            if late:
                log.warning(
                    "the messages of %d queues could not be given back within %g s: the broker does not answer", len(late), _CLOSE_WITHIN
                )
                await asyncio.wait(late, timeout=_CLOSE_WITHIN)
        if self._overflow is not None:
            await self._overflow.close()
        await self._client.close(GIVE_UP_WITHIN if self._lifetime.given_up else CLOSE_WITHIN)
        self._bell.ring()

    def _take(self) -> Sequence[Delivery[IncomingMessage]]:
        self._bell.check()
        taken: list[Delivery[Any]] = []
        for channel in self._readable():
            if self._batch is None:
                taken += channel.arrived
            elif batch_due_at(channel, self._batch) <= asyncio.get_running_loop().time():
                taken.append(Batch(channel.source, list(channel.arrived), AS_THEY_ARE))
            else:
                continue
            channel.arrived.clear()
        return taken

    def _readable(self) -> Iterator[QueueChannel]:
        """Yield the channels that have something to hand out."""
        for source, supervisor in self._supervisors.items():
            if supervisor.channel is not None and supervisor.channel.arrived and self._plan.of(source).fetch:
                yield supervisor.channel

    async def _wait(self) -> None:
        end = asyncio.get_running_loop().time() + self._poll_timeout
        if self._batch is not None:
            end = min([end, *(batch_due_at(channel, self._batch) for channel in self._readable())])
        await self._bell.wait_until(end)

    def _report_limit_near(self, near: DeliveryLimitNear) -> None:
        log.error(
            "%s: a message has come back %d times of %d, and will go back as late as possible: raise the limit, or set overflow=",
            near.source, near.returns, near.limit,
        )  # fmt: skip
        give_to_user("on_delivery_limit_near", self._on_delivery_limit_near, near)
