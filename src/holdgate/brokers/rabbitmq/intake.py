"""RabbitMQIntake: queues of one robust connection behind the `Intake` port. It composes; the rules are in the files beside it.

What happens when

- `receive` is called: what has arrived on live channels, of queues that may be read, is handed out; else it waits for the bell.
- the plan changes: `apply` keeps it, which is all that a hold needs (the prefetch is the back-pressure); a hold also sends the acks that
  wait, and each keeper (supervisor.py) looks at what its queue needs now.
- a run takes batches: what has arrived is handed out once the wire pauses (channel.py).
- a message is settled: it is noted on the channel that it came by, and acks go out in runs (channel.py).
- a channel or the connection is lost, or the broker cancels a consumer: supervisor.py, which opens a fresh channel and tells the guard.
- a hold lasts nearly as long as the broker's consumer timeout: terms.py, and supervisor.py for what may not come back once more.
- it opens and closes: checks.py refuses, checks.py finds out what the queues are, supervisor.py gives back and closes.

Non-obvious rules: no channel call is cancelled or given a timeout, which would close the channel. A consumer's callback only puts messages
down. A delivery finds its channel by reference, so a late one settles nothing. Nothing is nacked while a consumer is there to get it again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from aio_pika import IncomingMessage
from aio_pika.abc import AbstractRobustConnection

from holdgate.brokers.rabbitmq.channel import QueueChannel, RabbitMQDelivery, ripe_at
from holdgate.brokers.rabbitmq.checks import (
    Diagnosis,
    QueueOptions,
    check_connection,
    check_own_timeout,
    check_parking,
    check_prefetch,
    check_queues,
    check_timeout,
    examine,
    prepare,
)
from holdgate.brokers.rabbitmq.client import CLOSE_WITHIN, GIVE_UP_WITHIN, Client
from holdgate.brokers.rabbitmq.queue_facts import DEFAULT_CONSUMER_TIMEOUT, Management
from holdgate.brokers.rabbitmq.supervisor import Overflow, QueueSupervisor, Window
from holdgate.brokers.rabbitmq.terms import DeliveryLimitNear, QueueTerms
from holdgate.core.validation import count, seconds
from holdgate.errors import IntakeError
from holdgate.flow.batch import AS_THEY_ARE, Batch
from holdgate.flow.inbox import Order
from holdgate.flow.message import Backlog, Delivery, Queue, Settlement, Source
from holdgate.flow.plan import Plan
from holdgate.tasks import begin_later, is_being_cancelled

if TYPE_CHECKING:
    from holdgate.ports import DeadLetters, IntakeListener

log = logging.getLogger(__name__)

# A keeper flushes, waits for an empty wire and closes a channel: less than a second with a broker that answers.
_CLOSE_WITHIN = 15.0


class RabbitMQIntake:
    """Deliveries from RabbitMQ queues, each by a channel of its own, which the guard settles.

    `connection_or_url`: an `aio_pika.connect_robust` connection, whose `close()` stays the caller's, or a URL, for a connection of its own
    (the safe default: some errors end a whole connection). `queues` are names of classic or quorum queues; `declare` has the arguments with
    which they are made, durable, where they are missing.

    `prefetch`, 1 to 100, is how many unsettled messages each queue may have here. What was not said is found out: `single_active` (a single
    active consumer's order is kept, one handler at a time), `delivery_limit` (returns), `consumer_timeout` (seconds; math.inf: none; else
    the broker's default of 30 minutes), and policies by `management_url` ("http://user:password@host:15672"). `arguments` are those of the
    consumer, as {"x-priority": 10}. `poll_timeout` is seconds. `parking` is where a message goes that one return more may take over its
    delivery limit, when it would have to go back, as RabbitMQDeadLetters(url, "{queue}.parked"); without one, `on_delivery_limit_near` is
    called, and it goes back at the last moment.

    Raises SettingsError for settings that make no sense; `open` raises IntakeError where the broker says no.
    """

    def __init__(
        self,
        connection_or_url: AbstractRobustConnection | str,
        *queues: str,
        prefetch: int = 50,  # ten keep the broker busy; the rest is for handlers side by side and for what a ramp admits from in hand
        declare: Mapping[str, Any] | None = None,
        single_active: bool | None = None,
        delivery_limit: int | None = None,
        consumer_timeout: float | timedelta | None = None,
        management_url: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        poll_timeout: float | timedelta = 0.1,  # what a stop may wait for
        parking: DeadLetters | None = None,  # its messages would have to be brought back by somebody, who must know of it
        on_delivery_limit_near: Callable[[DeliveryLimitNear], None] | None = None,
    ) -> None:
        check_connection(connection_or_url)
        check_queues(queues)
        self.inbox = check_prefetch(prefetch)
        self._names = queues
        self._declare = declare
        self._said = QueueOptions(
            single_active,
            None if delivery_limit is None else count("delivery_limit", delivery_limit),
            check_timeout(consumer_timeout),
            parks=parking is not None,
            management=None if management_url is None else Management(management_url),
            own_timeout=check_own_timeout(arguments or {}),
        )
        self._arguments = dict(arguments or {})
        self._poll_timeout = seconds("poll_timeout", poll_timeout)
        self._parking = None if parking is None else Overflow(check_parking(parking))
        self._on_delivery_limit_near = on_delivery_limit_near
        self._client = Client(connection_or_url)
        self._keepers: dict[Queue, QueueSupervisor] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._plan = Plan()
        self._batch: int | None = None
        self._memory: int | None = None
        self._margin = (self._said.consumer_timeout or DEFAULT_CONSUMER_TIMEOUT) / 4
        self._fault: BaseException | None = None
        self._bell: asyncio.Future[None] | None = None
        self._was_opened = False
        self._given_up = False  # while it was being opened, or with the loop: nobody waits for an answer of the broker
        self._closing: asyncio.Task[None] | None = None

    @property
    def names(self) -> Collection[str]:
        return self._names

    @property
    def order(self) -> Order:
        return "source" if self._said.single_active else "none"

    @property
    def can_reject(self) -> bool:
        """Every queue's message may be rejected; it goes to the queue's dead letter exchange, or is dropped where there is none."""
        return True

    @property
    def rebalance_timeout(self) -> float:
        """The shortest margin before a consumer timeout: half of it is for running handlers to end before their messages go back."""
        return self._margin

    def deliver_in_batches(self, most: int) -> None:
        """What has arrived of a queue comes as one `Batch`, once its window or a batch is full, or the wire pauses."""
        self._batch = most

    @property
    def sends_unasked(self) -> bool:
        return True

    @property
    def read_ahead(self) -> int:
        channels = [keeper.channel for keeper in self._keepers.values() if keeper.channel is not None]
        return sum(len(delivery.raw.body) for channel in channels for delivery in channel.arrived)

    def bound(self, memory: int) -> None:
        self._memory = memory

    async def examine(self, *, longest_handler: float | timedelta | None = None) -> list[Diagnosis]:
        """What would hurt in an outage, with the remedies: what `open` refuses and warns of, and what other consumers do.

        For an intake that is not open. Connects, and makes, consumes and changes nothing. `longest_handler` is the seconds that a handler
        may take, as `guard.run(timeout=)` says; None: unknown. Other consumers and policies show only with `management_url`.
        """
        longest = None if longest_handler is None else seconds("longest_handler", longest_handler)
        return await examine(self._client, self._names, self._said, prefetch=self.inbox, longest=longest)

    async def open(self, listener: IntakeListener) -> None:
        """Connect, check the queues and begin. Raises IntakeError before anything is consumed; the intake is closed then."""
        if self._was_opened or self._closing is not None:
            raise IntakeError("this intake was opened before: make a new one")
        self._was_opened = True
        try:
            await self._open(listener)
        except BaseException as error:
            self._given_up = isinstance(error, asyncio.CancelledError)
            await self.close()
            raise

    async def receive(self) -> Sequence[Delivery[IncomingMessage]]:
        # Never between taking and returning, where a channel could be lost and its deliveries still be handed out.
        await asyncio.sleep(0)
        deliveries = self._take()
        if not deliveries:
            await self._wait()
            deliveries = self._take()
        return deliveries

    def apply(self, plan: Plan) -> None:
        before, self._plan = self._plan, plan
        for source, keeper in self._keepers.items():
            now, then = plan.of(source), before.of(source)
            if now != then:
                keeper.wake()
                if now.held and keeper.channel is not None:
                    keeper.channel.acks.soon()
        self._ring()

    def settle(self, delivery: Delivery[IncomingMessage], settlement: Settlement) -> None:
        if isinstance(delivery, RabbitMQDelivery):
            delivery.channel.settle(delivery, settlement)
        elif isinstance(delivery, Batch):
            for one in delivery.message:
                self.settle(one, settlement)

    async def flush(self) -> None:
        for keeper in self._keepers.values():
            if keeper.channel is not None and not keeper.channel.acks.held_back:
                await keeper.channel.acks.flush()
        self._ring()

    async def backlog(self) -> Mapping[Source, Backlog]:
        """What is ready, and what is in hand here. What other consumers have in hand is not counted: only they know."""
        ready = await self._client.ready([source.name for source in self._keepers])
        now = time.time()
        found: dict[Source, Backlog] = {}
        for source, keeper in self._keepers.items():
            channel = keeper.channel
            oldest = None if channel is None or channel.oldest is None else channel.oldest.timestamp
            in_hand = 0 if channel is None else len(channel.unsettled)
            waits = ready.get(source.name)
            found[source] = Backlog(None if waits is None else waits + in_hand, None if oldest is None else max(0.0, now - oldest))
        return found

    async def close(self) -> None:
        if self._closing is None:
            self._given_up = self._given_up or is_being_cancelled()
            self._closing = begin_later(self._close(), "rabbitmq close")
        await asyncio.shield(self._closing)

    async def _open(self, listener: IntakeListener) -> None:
        await self._client.connect()
        if self._parking is not None:
            await self._parking.open(self._names)
        terms = [await self._prepare(name) for name in self._names]
        self._margin = min([each.margin for each in terms if each.margin], default=self._margin)
        for each in terms:
            keeper = self._keepers[each.source] = QueueSupervisor(
                self._client,
                each,
                listener,
                window=Window(each.source, self.inbox, None if self._memory is None else self._memory // len(terms)),
                arguments=self._arguments,
                plan=lambda: self._plan,
                store=self.apply,
                rings=self._ring,
                limit_near=self._tell_limit_near,
                parking=self._parking,
                failed=self._note_failure,
            )
            self._tasks.append(keeper.start())

    async def _prepare(self, name: str) -> QueueTerms:
        terms, told = await prepare(self._client, name, self._said, self._declare)
        for text in told:
            log.warning("%s: %s", name, text)
        return terms

    async def _close(self) -> None:
        for keeper in self._keepers.values():
            keeper.stop()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_CLOSE_WITHIN)
            for task in late:
                task.cancel()
            if late:
                log.warning("%d queues could not be given back within %g s: the broker does not answer", len(late), _CLOSE_WITHIN)
                await asyncio.wait(late, timeout=_CLOSE_WITHIN)
        if self._parking is not None:
            await self._parking.close()
        await self._client.close(GIVE_UP_WITHIN if self._given_up else CLOSE_WITHIN)
        self._ring()

    def _take(self) -> Sequence[Delivery[IncomingMessage]]:
        if self._fault is not None:
            raise self._fault
        taken: list[Delivery[Any]] = []
        for channel in self._readable():
            if self._batch is None:
                taken += channel.arrived
            elif ripe_at(channel, self._batch) <= asyncio.get_running_loop().time():
                taken.append(Batch(channel.source, list(channel.arrived), AS_THEY_ARE))
            else:
                continue
            channel.arrived.clear()
        return taken

    def _readable(self) -> Iterator[QueueChannel]:
        """The channels by which something has come that may be handed out."""
        for source, keeper in self._keepers.items():
            if keeper.channel is not None and keeper.channel.arrived and self._plan.of(source).fetch:
                yield keeper.channel

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._poll_timeout
        if self._batch is not None:
            end = min([end, *(ripe_at(channel, self._batch) for channel in self._readable())])
        self._bell = loop.create_future()
        timer = loop.call_at(end, self._ring)
        try:
            await self._bell
        finally:
            timer.cancel()
            self._bell = None

    def _ring(self) -> None:
        if self._bell is not None and not self._bell.done():
            self._bell.set_result(None)

    def _note_failure(self, error: BaseException) -> None:
        """What a keeper, or a handler that settled by itself, met; the next receive raises it."""
        self._fault = self._fault or error
        self._ring()

    def _tell_limit_near(self, near: DeliveryLimitNear) -> None:
        log.error(
            "%s: a message has come back %d times of %d, and is given back as late as possible; raise the limit, or say parking=",
            near.source, near.returns, near.limit,
        )  # fmt: skip
        if self._on_delivery_limit_near is not None:
            try:
                self._on_delivery_limit_near(near)
            except Exception:
                log.exception("on_delivery_limit_near raised")
