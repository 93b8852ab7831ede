"""ShareIntake: topics that a share group reads as queues, behind the `Intake` port.

It composes; the rules are in the other files of the package.

What happens when

- `receive` is called: it hands out what has arrived of topics that may be read. Otherwise it waits for the bell.
- the plan changes: `apply` stores it, and each supervisor (supervisor.py) looks at what its topic needs now.
- a message is settled: the hand that it came in notes it (hand.py), and the supervisor commits.
- a hold lasts nearly as long as the lock: supervisor.py releases what is in hand, and keeps copies.
- a message is rejected: settled.py says whether its letter may be sent, and what becomes of the record.
- a topic is deleted: nothing tells a share consumer, so brokers/topic_watch.py asks now and then, and ends the intake.
- retention deletes what waits in a hold: retention.py looks, and logs it.
- a record was accepted too late: the log and `on_late_accept` say so. It comes again; here it is then accepted without a handler.
- it opens and closes: terms.py refuses settings and says what the group's terms are; each supervisor releases everything and closes.

There is one consumer per topic, because a share consumer must settle all records of a poll before the next: a topic whose records wait for
a dependency would otherwise stop the others.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from confluent_kafka import Message

from holdgate.brokers.bell import Bell, give_to_user
from holdgate.brokers.group_facts import TopicFacts, diagnose
from holdgate.brokers.letters import no_reject
from holdgate.brokers.lifetime import Lifetime
from holdgate.brokers.share.backlog import ShareBacklogs
from holdgate.brokers.share.client import Admin, ShareClient
from holdgate.brokers.share.hand import ShareDelivery
from holdgate.brokers.share.retention import ShareRetention
from holdgate.brokers.share.supervisor import LateAccept, ShareSupervisor
from holdgate.brokers.share.terms import (
    ShareDiagnosis,
    ShareTerms,
    check_limit,
    check_lock,
    check_settings,
    check_topics,
    derive_terms,
)
from holdgate.brokers.topic_watch import TopicWatch
from holdgate.core.validation import count, seconds
from holdgate.errors import IntakeError, SettingsError
from holdgate.flow.inbox import Order
from holdgate.flow.message import Backlog, Delivery, Queue, Settlement, Source
from holdgate.flow.plan import Plan
from holdgate.ports import DeadLetters
from holdgate.slips import suggest_keywords

if TYPE_CHECKING:
    from holdgate.ports import IntakeListener

log = logging.getLogger(__name__)

# A connection that has died in silence is noticed when a request has waited for so long. librdkafka's 60 s are two locks: whatever was in
# hand would go to others meanwhile, and nothing come. Where the user's settings say nothing.
_QUICK: Mapping[str, Any] = {"socket.timeout.ms": 10_000}
# A supervisor commits and leaves the group within this time; the broker takes back the rest.
_CLOSE_WITHIN = 25.0


class ShareIntake:
    """Receive deliveries from a share group, Kafka's own queues (from Kafka 4.2 on), through confluent-kafka's ShareConsumer, a preview.

    Each topic is a queue, without an order, and has a consumer and a thread of its own. A record that comes back has used up one of its few
    deliveries; the broker archives it after the last, without an error. So a hold gives records back once, however long it lasts.

    - `settings`: those of librdkafka, with "bootstrap.servers" and "group.id".
    - `topics`: the topics, which must exist.
    - `in_hand`: how many records a poll asks for, from 1. The broker rounds it up to whole batches of the producer, and all of a poll are
      settled before the next.
    - `poll_timeout`: seconds that a poll waits for records, above 0, or a timedelta. A stop or a hold may wait as long.
    - `record_lock`: seconds for which the group locks a record, or a timedelta. None means that the broker is asked.
    - `delivery_limit`: how often the group delivers a record, from 1. None means that the broker is asked.
    - `overflow`: where a record goes instead of back before its last delivery, such as KafkaDeadLetters(producer, "{topic}.overflow"). None
      means that it is delivered for the last time, and kept in memory then until a handler has succeeded with it.
    - `on_late_accept`: called with a `LateAccept` when the broker did not take what was handled. None means that it is only logged.

    Raises SettingsError for settings with which records would be lost. `open` raises IntakeError if the broker refuses.
    """

    order: Order = "none"

    @suggest_keywords
    def __init__(
        self,
        settings: Mapping[str, Any],
        *topics: str,
        in_hand: int = 20,  # all of them must be handled within one lock, half a minute as a rule
        poll_timeout: float | timedelta = 0.1,  # what a stop or a hold may wait for
        record_lock: float | timedelta | None = None,
        delivery_limit: int | None = None,
        overflow: DeadLetters | None = None,  # somebody must bring its messages back, and so must know of it
        on_late_accept: Callable[[LateAccept], None] | None = None,
    ) -> None:
        self.group = check_settings(settings)
        check_topics(topics)
        self.inbox = count("in_hand", in_hand)
        self._settings = dict(settings)
        self._names = topics
        self._poll_timeout = seconds("poll_timeout", poll_timeout)
        self._lock = check_lock(record_lock)
        self._limit = check_limit(delivery_limit)
        if overflow is not None and not isinstance(overflow, DeadLetters):
            raise SettingsError(
                f'overflow must be dead letters, got {type(overflow).__name__}: give KafkaDeadLetters(producer, "{{topic}}.overflow")'
            )
        self._overflow = overflow
        self._on_late_accept = on_late_accept
        self._terms = self._derive({})
        self._backlogs = ShareBacklogs(self._settings, self.group, topics)
        self._watches: tuple[TopicWatch, ShareRetention] | tuple[()] = ()
        self._supervisors: dict[Source, ShareSupervisor] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._plan = Plan()
        self._bell = Bell()
        self._overflow_is_open = False
        self._lifetime = Lifetime(self._close, "share")

    @property
    def names(self) -> Collection[str]:
        return self._names

    @property
    def has_keys(self) -> bool:
        """Whether records have a key: always. The broker keeps no order by it: another member may have the next record of a key."""
        return True

    @property
    def terms(self) -> ShareTerms:
        """The terms of the share group: lock and delivery limit, as the broker named them when the intake opened."""
        return self._terms

    @property
    def rebalance_timeout(self) -> float:
        """The seconds before the end of a lock at which records go back. Running handlers get half of them to end."""
        return self._terms.margin

    async def examine(self, *, longest_handler: float | timedelta | None = None) -> list[ShareDiagnosis]:
        """Return what would hurt in an outage, with the remedies: what `open` refuses and warns of, and what slow handlers would cost.

        It asks the broker, and makes, reads and changes nothing. `longest_handler` is how many seconds a handler may take, as in
        `guard.run(timeout=)`; None means that this is unknown.
        """
        longest = None if longest_handler is None else seconds("longest_handler", longest_handler)
        try:
            terms = await self._ask()
        except IntakeError as error:
            return [ShareDiagnosis(self.group, str(error), refused=True)]
        texts = [*terms.risks(), terms.slow_handlers(longest)]
        found = [ShareDiagnosis(self.group, text) for text in texts if text is not None]
        settings = await Admin(self._settings).topic_settings(self._names)
        topics = [TopicFacts.from_settings(name, settings[name]) for name in self._names if name in settings]
        found += [ShareDiagnosis(each.about, each.text) for each in diagnose(self.group, topics, None)]
        return [*found, ShareDiagnosis(self.group, terms.cost(), cost=True)]

    async def open(self, listener: IntakeListener) -> None:
        """Check topics and group, and start. Raises IntakeError before anything is consumed, and closes the intake then."""
        await self._lifetime.open(partial(self._open, listener))

    async def receive(self) -> Sequence[Delivery[Message]]:
        # Here, and not between taking and returning: a hand that ends in such a pause would still have its deliveries handed out.
        await asyncio.sleep(0)
        deliveries = self._take()
        if not deliveries:
            await self._bell.wait_until(asyncio.get_running_loop().time() + self._poll_timeout)
            deliveries = self._take()
        return deliveries

    def apply(self, plan: Plan) -> None:
        before, self._plan = self._plan, plan
        for source, supervisor in self._supervisors.items():
            if plan.of(source) != before.of(source):
                supervisor.wake()
        self._bell.ring()

    def settle(self, delivery: Delivery[Message], settlement: Settlement) -> None:
        if settlement is Settlement.REJECT:
            raise no_reject(delivery, "a share group would drop it")
        if isinstance(delivery, ShareDelivery):
            self._supervisors[delivery.source].settle(delivery)

    def begin_letter(self, delivery: Delivery[Message]) -> bool:
        """Return whether the dead letter of a rejected record is to be sent now: its lock lasts long enough for the letter and the accept.

        A copy has no lock, and no letter: the worker that has its record rejects that (settled.py).
        """
        return not isinstance(delivery, ShareDelivery) or self._supervisors[delivery.source].begin_letter(delivery)

    def letter_ended(self, delivery: Delivery[Message], *, confirmed: bool) -> None:
        """Note that a letter is `confirmed`, or has failed, also where another worker has the record by now: here it gets no second one."""
        if isinstance(delivery, ShareDelivery):
            self._supervisors[delivery.source].letter_ended(delivery, confirmed=confirmed)

    async def flush(self) -> bool:
        out = [await supervisor.flush() for supervisor in self._supervisors.values()]
        self._bell.ring()
        return all(out)

    async def backlog(self) -> Mapping[Source, Backlog]:
        """Return how many records wait, by the broker's count, and the age of the oldest in hand.

        aiokafka asks for the count; without it, or where its settings cannot say what these do, it is None, and the log says why.
        """
        lags = await self._backlogs.ask()
        now = time.time()
        found: dict[Source, Backlog] = {}
        for source, supervisor in self._supervisors.items():
            stamp = None if supervisor.oldest is None else supervisor.oldest.timestamp
            found[source] = Backlog(lags.get(source.name), None if stamp is None else max(0.0, now - stamp))
        return found

    async def close(self) -> None:
        await self._lifetime.close()

    def _derive(self, found: Mapping[str, str]) -> ShareTerms:
        return derive_terms(self.group, found, record_lock=self._lock, delivery_limit=self._limit, has_overflow=self._overflow is not None)

    async def _ask(self) -> ShareTerms:
        admin = Admin(self._settings)
        missing = sorted(set(self._names) - await admin.topics())
        if missing:
            raise IntakeError(
                f"no topic {', '.join(map(repr, missing))} at {self._settings['bootstrap.servers']}: create it, correct the name, or allow "
                "this user to describe it (a topic it may not see looks like none)"
            )
        return self._derive(await admin.group_settings(self.group))

    async def _open(self, listener: IntakeListener) -> None:
        self._terms = await self._ask()
        terms = self._terms
        log.info(
            "share group %r locks a record for %g s and delivers it %d times at most; a handler is interrupted, and its record goes "
            "back, %g s after the poll",
            terms.group, terms.lock, terms.limit, terms.patience,
        )  # fmt: skip
        for text in terms.risks():
            log.warning("share group %s: %s", terms.group, text)
        if self._overflow is not None:
            await self._overflow.open(self._names)
            self._overflow_is_open = True
        settings = {**_QUICK, **self._settings, "share.acknowledgement.mode": "explicit", "max.poll.records": self.inbox}
        for name in self._names:
            supervisor = self._supervisors[Queue(name)] = ShareSupervisor(
                Queue(name),
                self._terms,
                listener,
                make=partial(ShareClient, name, settings),
                poll_timeout=self._poll_timeout,
                plan=lambda: self._plan,
                store=self.apply,
                ring=self._bell.ring,
                late=self._report_late,
                overflow=self._overflow,
                failed=self._bell.fail,
            )
            self._tasks.append(supervisor.start())
        admin = Admin(self._settings)
        servers = str(self._settings["bootstrap.servers"])
        watch = TopicWatch(admin, self._names, servers, self._bell.fail, anew="its group begins where share.auto.offset.reset says")
        self._watches = (watch, ShareRetention(admin, self._backlogs, self._held, self._bell.fail))
        for each in self._watches:
            each.start()

    async def _close(self) -> None:
        for watch in self._watches:
            watch.stop()
        for supervisor in self._supervisors.values():
            supervisor.stop()
        if self._tasks and not self._lifetime.given_up:
            _, late = await asyncio.wait(self._tasks, timeout=_CLOSE_WITHIN)
            if late:
                log.warning("%d share consumers could not be closed within %g s: the broker does not answer", len(late), _CLOSE_WITHIN)
        await self._backlogs.close()
        if self._overflow is not None and self._overflow_is_open:
            await self._overflow.close()
        self._bell.ring()

    def _take(self) -> Sequence[Delivery[Message]]:
        self._bell.check()
        taken: list[Delivery[Message]] = []
        for source, supervisor in self._supervisors.items():
            if self._plan.of(source).fetch:
                taken += [supervisor.arrived.popleft() for _ in range(min(self.inbox, len(supervisor.arrived)))]
        return taken

    def _held(self) -> Collection[str]:
        return [source.name for source in self._supervisors if isinstance(source, Queue) and self._plan.of(source).held]

    def _report_late(self, late: LateAccept) -> None:
        log.warning(
            "%s: %d records were handled, but the broker %s: they come again, or have come to another member",
            late.source, len(late.places),
            "refuses the accept, which came too late" if late.certain else "may have taken the accept too late",
        )  # fmt: skip
        give_to_user("on_late_accept", self._on_late_accept, late)
