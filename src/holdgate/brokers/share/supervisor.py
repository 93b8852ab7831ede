"""One task per topic supervises it: its consumer, what is in hand, what must go back in time, and what is offered from memory.

The task makes all calls of its consumer, one after the other. It compares what is with what should be, and takes the next step:

    records in hand, all settled         commit, and take the next poll
    records in hand, settled in part     commit, half a second after the first of them, or when somebody flushes
    records in hand, lock nearly over    end handlers and letters, commit, release the rest; while the source is held: unsubscribe, too
    nothing in hand, must not fetch      unsubscribe, and sleep
    copies in memory, may fetch          offer them
    a letter's fate is not known         sleep, for a minute at most
    nothing in hand, may fetch           subscribe, and poll

A hold of one worker costs each record at most one delivery, however long it lasts. Records in hand stay there while their lock lasts: a
hold that is shorter costs nothing. Then they are released, once. A consumer that is not subscribed acquires nothing and is not evicted.

Why copies: after that release a probe would need a record, and each probe that fails would cost that record one more of its few deliveries,
of five as a rule. An outage of ten minutes has dozens of probes. So the first records that went back stay in memory, and are offered again
without a lock. When two of them are settled without a hold in between, the topic is read again. Those two come first, and are accepted
without another call of the handler. The price: another member may have handled them meanwhile, so a long hold may repeat a few records. It
takes two, because one may have succeeded without the dependency, which says nothing of it; and there are some more, because one of them may
always fail. A person's hold, or a stop, says nothing of the handler either, so it leaves no copies.

Why records go back one by one: a worker that had nothing in hand does not know of the outage yet. It takes what others give back, fails,
and so spends a second delivery; and what it gives back then goes to the next such worker. If all that one gives back were there in one
moment, the first to ask would have it, and six idle workers would spend six deliveries one after the other. One by one, each of them gets
another record, and all learn of the outage together (terms.py). More cannot be done: a worker learns of an outage by a record alone, and
each record that it learns by has been delivered to it. In a fleet, too, what fails at one worker is that worker's trouble at first.

Why a copy is not alone for ever: it may be at fault itself, with a dependency that is well, and nothing but another message can show that.
After twenty minutes copies that have all failed are given up once, if the engine asks for other messages, and the topic is read; then
after twice as long, and so on. An outage that lasts longer costs a worker with a single copy one delivery for each of these looks.

Why a record that is delivered for the last time is special: to release it is to lose it. So it goes to the overflow, or its copy stays in
memory until a handler has succeeded with it (last_delivery.py).

Why a copy that is rejected is put aside, without a dead letter: its record lies at the broker, and its next worker would write another one
(settled.py).

Why a second consumer: a message that fails again and again keeps its hand from ending, and the hand the consumer from polling. But whether
it is poison is decided by what becomes of others. So while all that is in hand has failed, and the topic is not held, a second consumer
polls. Copies do not need it, since they can be given up; but what was delivered for the last time cannot. Whichever of the two is polled,
the other one leaves the group as soon as its hand is empty: the broker shares the partitions out among all members, also those that nobody
polls.

Why some records are not handed out: a fetch that is under way when a poll ends acquires records behind our back (client.py). So after a
pause the first poll does not wait. What it gives was locked some time since the last poll. If that lock may be over, the records are given
back unseen: their handlers could only repeat what others have done.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException, Message

from holdgate.brokers.share.client import ShareClient, as_intake_error, describe, is_gone, place_of
from holdgate.brokers.share.hand import Company, Hand, ShareDelivery, messages_of
from holdgate.brokers.share.last_delivery import LastDeliveries
from holdgate.brokers.share.settled import Letters, Settled, Suspects
from holdgate.brokers.share.terms import ShareTerms
from holdgate.errors import IntakeError
from holdgate.flow.message import Queue
from holdgate.flow.plan import Plan, SourcePlan
from holdgate.tasks import run_beside

if TYPE_CHECKING:
    from holdgate.ports import DeadLetters, IntakeListener

log = logging.getLogger(__name__)

# Each commit is a round trip, and a crash repeats what is finished and not committed.
_COMMIT_EVERY = 0.5
# How long a commit waits for the broker. It must end before the lock does, or the answer is worth nothing.
_COMMIT_WITHIN = 10.0
_CLOSE_WITHIN = 10.0
_FLUSH_WITHIN = 15.0
# For a letter whose record has gone back. aiokafka's producer gives one up after 40 s; a target of a user's own may never end.
_LETTERS_WITHIN = 60.0
# Seconds after an error of a poll: librdkafka connects again by itself.
_RETRY_AFTER = 1.0
# A poll that begins later than this after an empty one does not wait: what is there was locked meanwhile.
_GAP = 0.5
# Some of them may always fail, and be rejected while the outage lasts: in front of a dependency that is down they cost nothing.
_COPIES = 10
# So many copies must be settled, one after the other without a hold: one may have needed nothing that is down.
_PROOFS = 2
# With one settled and the others in work for so long, a slow or failing message keeps the topic from being read.
_PROOF_WITHIN = 10.0
# While something is in hand: how often to look whether all of it has failed. A failure is the guard's, and does not wake us.
_LOOK_EVERY = 0.25
# Copies that all have failed, and nothing holds the topic for so long: what has shown that the dependency is well was somewhere else.
_FREE_FOR = 60.0
# How long a look takes: a consumer joins its group within some seconds.
_LOOKS_FOR = 15.0
# Holds that say nothing of the handler.
_NO_OUTAGE = frozenset({"operator", "draining"})


@dataclass(frozen=True, slots=True)
class LateAccept:
    """Records of `source` were handled, and the broker did not take the accept: it delivers them again, or has done so already.

    `places` has (partition, offset) of each. `certain` is False where the broker has accepted them all the same: at the last delivery it
    says so even of a record that it has archived.
    """

    source: Queue
    places: tuple[tuple[int, int], ...]
    certain: bool


class Line:
    """One consumer of the topic, with what it has in hand."""

    __slots__ = ("client", "fetching", "hand", "polled_at", "subscribed")

    def __init__(self, client: ShareClient) -> None:
        self.client = client
        self.hand: Hand | None = None
        self.subscribed = False
        self.fetching = False  # a fetch may be under way, since the last poll came back empty
        self.polled_at = 0.0

    async def unsubscribe(self) -> None:
        if self.subscribed:
            self.subscribed = False
            await self.client.unsubscribe()


class ShareSupervisor:
    """Supervises one topic of one intake.

    `make` makes a consumer of the topic that is not open. `plan` returns the plan in force; `store` takes the plan with which the guard
    answers an assignment. `ring` wakes a receive that waits. `late` gets what was accepted too late, and `failed` what ends the intake.
    """

    def __init__(
        self,
        source: Queue,
        terms: ShareTerms,
        guard: IntakeListener,
        *,
        make: Callable[[], ShareClient],
        poll_timeout: float,
        plan: Callable[[], Plan],
        store: Callable[[Plan], None],
        ring: Callable[[], None],
        late: Callable[[LateAccept], None],
        overflow: DeadLetters | None,
        failed: Callable[[BaseException], None],
    ) -> None:
        self.source = source
        self.arrived: deque[ShareDelivery] = deque()
        self._make = make
        self._lines: list[Line] = []
        self._terms = terms
        self._guard = guard
        self._poll_timeout = poll_timeout
        self._plan = plan
        self._store = store
        self._ring = ring
        self._late = late
        self._failed = failed
        self._copies: list[ShareDelivery] = []
        self._company = Company()
        self._looks_until = 0.0  # what was delivered for the last time has company until then
        self._settled = Settled()  # to be accepted, without a handler, when they come again
        self._letters = Letters()
        worker = f"{socket.gethostname()}:{os.getpid()}"
        self._last = LastDeliveries(source, terms, overflow, settled=self._settled, letters=self._letters, worker=worker)
        self._suspects = Suspects()
        self._unknown: list[ShareDelivery] = []  # went back while their letters were under way
        self._letters_until = 0.0  # when these are given up
        self._number = 0
        self._stopping = False
        self._flushes: list[asyncio.Future[bool]] = []
        self._warned_slow = False
        self._in_trouble = False
        self._woken = asyncio.Event()

    def start(self) -> asyncio.Task[None]:
        """Start the task. It ends when it is stopped, or after it has given `failed` the reason why it cannot go on."""
        return run_beside(self._run(), f"share supervisor of {self.source}", self._failed)

    def wake(self) -> None:
        """Something has changed."""
        self._woken.set()

    def stop(self) -> None:
        """Have the task commit, release everything and leave the group."""
        self._stopping = True
        self._woken.set()

    def settle(self, delivery: ShareDelivery) -> None:
        """Note that a record is processed."""
        hand = delivery.hand
        if hand is not None and hand.settle(delivery, asyncio.get_running_loop().time()):
            if hand.is_copy:
                self._remember([delivery])
            self._woken.set()

    def begin_letter(self, delivery: ShareDelivery) -> bool:
        """Return whether the letter of a rejected record is to be sent now. A copy that has none is put aside."""
        hand = delivery.hand
        if hand is None or not hand.holds(delivery):
            return False
        may = self._may_have_letter(delivery, hand)
        if may:
            self._letters.begin(delivery.place)
        elif hand.is_copy:
            hand.put_aside(delivery)
            self._copies = [copy for copy in self._copies if copy.place != delivery.place]
            log.info("%s: a copy was rejected; the worker that gets its record writes the dead letter", self.source)
            self._woken.set()
        return may

    def _may_have_letter(self, delivery: ShareDelivery, hand: Hand) -> bool:
        """Return whether nobody else can write this letter (settled.py says why)."""
        now = asyncio.get_running_loop().time()
        if self._last.holds([delivery]):
            return True
        if self._letters.is_under_way(delivery.place):
            return False
        if hand.ends_at is None:
            return self._letters.has_failed(delivery.place)
        return now < hand.ends_at - self._terms.margin

    def letter_ended(self, delivery: ShareDelivery, *, confirmed: bool) -> None:
        """Note what has become of a letter. Confirmed: its record is settled, in whichever hand it is, or when it comes again."""
        place = delivery.place
        self._letters.end(place, confirmed=confirmed)
        if confirmed:
            again = [each for hand in self._hands() for each in hand.unsettled.values() if each.place == place]
            for each in again:
                self._bury(each)
            if not again:
                self._last.forget(place)
                self._settled.add([place], asyncio.get_running_loop().time())
        ended = [each for each in self._unknown if each.place == place]
        self._unknown = [each for each in self._unknown if each not in ended]
        self._copies += [] if confirmed else ended
        self._woken.set()

    def _bury(self, delivery: ShareDelivery) -> None:
        hand = delivery.hand
        if hand is not None:
            hand.bury(delivery)
            if hand.is_copy:
                self._remember([delivery])

    async def flush(self) -> bool:
        """Return when everything that is settled is at the broker, or after a time limit, and whether it is."""
        if not any(hand.finished for hand in self._hands() if not hand.is_copy):  # a copy is accepted when its record comes again
            return True
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._flushes.append(answer)
        self._woken.set()
        await asyncio.wait((answer,), timeout=_FLUSH_WITHIN)
        return answer.done() and answer.result()

    @property
    def oldest(self) -> ShareDelivery | None:
        """The oldest record that is in hand and not settled. None means that there is none."""
        return next((delivery for hand in self._hands() for delivery in hand.unsettled.values()), None)

    def _hands(self) -> list[Hand]:
        return [line.hand for line in self._lines if line.hand is not None]

    async def _run(self) -> None:
        try:
            await self._open_line()
            self._store(self._guard.assigned([self.source]))
            while not self._stopping:
                await self._step()
            await self._leave()
        except asyncio.CancelledError:
            if not self._stopping:  # without an error the topic would stand still for ever
                raise IntakeError(f"{self.source}: its task was cancelled from outside; to end a run, stop the guard") from None
            raise
        finally:
            self._answer_flushes(done=False)
            for line in self._lines:
                await line.client.close(_CLOSE_WITHIN)

    async def _open_line(self) -> Line:
        line = Line(self._make())
        self._lines.append(line)
        await line.client.open()
        return line

    async def _step(self) -> None:
        plan = self._plan().of(self.source)
        for line in self._lines:
            if line.hand is not None and await self._tend(line, line.hand, plan):
                return
        hands = self._hands()
        if not plan.fetch:
            await self._unsubscribe()
            await self._wait(self._until_due(hands, plan))
        elif hands:
            await self._poll_beside(hands, plan)
        elif self._last.copies or self._copies or self._unknown:
            await self._unsubscribe()
            await self._offer()
        else:
            await self._poll(self._lines[0])

    async def _offer(self) -> None:
        """Offer what is in memory. What waits for its letter is not: without a target for letters, to read on would use up deliveries."""
        offered = [each for each in (*self._last.copies, *self._copies) if not self._letters.is_under_way(each.place)]
        if offered:
            self._take_in_hand(self._lines[0], offered, None)
        elif (left := self._letters_until - asyncio.get_running_loop().time()) > 0:
            await self._wait(left)
        else:
            self._give_letters_up()

    def _give_letters_up(self) -> None:
        """Have copies try again what the target for letters does not answer: a second letter is better than a topic that stands still."""
        log.warning("%s: letters are not confirmed within %g s: their records are tried again", self.source, _LETTERS_WITHIN)
        for each in (*self._last.copies, *self._copies, *self._unknown):
            if self._letters.is_under_way(each.place):
                self._letters.end(each.place, confirmed=False)
        self._copies += self._unknown
        self._unknown = []

    async def _poll_beside(self, hands: Sequence[Hand], plan: SourcePlan) -> None:
        """Poll by the second consumer, if all that the first has in hand has failed; else wait."""
        if len(hands) == 1 and hands[0].is_stuck and self._may_look(hands[0], plan):
            free = next((line for line in self._lines if line.hand is None), None)
            await self._poll(free or await self._open_line())
        else:
            await self._rest()
            due = self._until_due(hands, plan)
            await self._wait(_LOOK_EVERY if due is None else min(due, _LOOK_EVERY))

    def _may_look(self, hand: Hand, plan: SourcePlan) -> bool:
        """Return whether other messages are worth a delivery of each. In a hold they are seldom, and copies can be given up instead."""
        if plan.held:
            return asyncio.get_running_loop().time() < self._looks_until
        return not hand.is_copy or self._is_last(hand)

    def _until_due(self, hands: Sequence[Hand], plan: SourcePlan) -> float | None:
        """Return in how many seconds a hand must be looked at again. None means that only news make that necessary."""
        due_at = min((at for at in (self._due_at(hand, plan) for hand in hands) if at is not None), default=None)
        return None if due_at is None else max(0.0, due_at - asyncio.get_running_loop().time())

    # -- in hand -----------------------------------------------------------------------------------------------------------------------

    async def _tend(self, line: Line, hand: Hand, plan: SourcePlan) -> bool:
        """Do what a hand needs now. Returns whether it needed something."""
        now = asyncio.get_running_loop().time()
        if plan.held:
            hand.note_hold()
        else:
            hand.note_free(now)
        settled_at = self._settled_at(hand)
        is_due = settled_at is not None and now >= settled_at
        if not hand.unsettled:
            await self._commit(line, hand)
            line.hand = None
        elif hand.ends_at is not None and now >= hand.ends_at - self._terms.margin:
            await self._give_back(hand, plan)
        elif hand.is_copy and (hand.proofs >= _PROOFS or is_due):
            self._company.end()
            await self._withdraw()
        elif hand.is_copy and self._takes_company(hand, plan, now):
            await self._withdraw()
        elif hand.finished and not hand.is_copy and (plan.held or self._flushes or is_due):
            await self._commit(line, hand)
        else:
            return False
        return True

    def _takes_company(self, hand: Hand, plan: SourcePlan, now: float) -> bool:
        """Return whether copies are given up so that the topic is read, because by themselves they can show nothing."""
        due_at = self._company_at(hand, plan)
        if due_at is None or now < due_at:
            return False
        self._company.take(now)
        if self._is_last(hand):
            self._looks_until = now + _LOOKS_FOR
            return False
        return True

    def _is_last(self, hand: Hand) -> bool:
        """Return whether the broker has nothing of this hand any more, so that it cannot be given up."""
        return self._last.holds(hand.unsettled.values())

    def _company_at(self, hand: Hand, plan: SourcePlan) -> float | None:
        """Return when copies that have all failed need other messages. None means that there is no need."""
        if not (hand.is_copy and hand.is_stuck):
            return None
        if plan.held:
            return self._company.due_at if plan.fetch else None
        return None if hand.free_since is None or self._is_last(hand) else hand.free_since + _FREE_FOR

    def _settled_at(self, hand: Hand) -> float | None:
        """Return when what is settled of this hand is to be committed, or proves of copies what it proves. None means that nothing is."""
        if hand.since is None:
            return None
        return hand.since + (_PROOF_WITHIN if hand.is_copy else _COMMIT_EVERY)

    def _due_at(self, hand: Hand, plan: SourcePlan) -> float | None:
        """Return when this hand must be looked at again. None means that only news make that necessary."""
        back_at = None if hand.ends_at is None else hand.ends_at - self._terms.margin
        return min((at for at in (back_at, self._settled_at(hand), self._company_at(hand, plan)) if at is not None), default=None)

    async def _give_back(self, hand: Hand, plan: SourcePlan) -> None:
        """Give back what is not settled of records whose lock is nearly over."""
        keeps = self._keeps_copies(hand, plan)
        if not (keeps or plan.held) and not self._warned_slow:
            self._warned_slow = True
            log.warning(
                "%s: records go back unfinished, since their lock of %g s is nearly over, and that is one of their %d deliveries: handlers "
                "are too slow for what a poll gives, so let more run in parallel, lower in_hand, or raise the group's lock duration",
                self.source, self._terms.lock, self._terms.limit,
            )  # fmt: skip
        if hand.ends_at is not None and asyncio.get_running_loop().time() >= hand.ends_at:
            self._guard.lost([self.source])  # the process stood still: others may have them already
        else:
            await self._guard.revoked([self.source])
            await self._let_letters_end(hand.ends_at)
        gone: list[ShareDelivery] = []
        for line, each in self._end():
            gone += await self._return(line, each, slowly=keeps)
        log.info("%s: %d records go back before the end of their lock", self.source, len(gone))
        returned = [each for each in gone if not self._last.holds([each])]
        self._unknown += [each for each in returned if self._letters.is_under_way(each.place)]
        self._copies = self._copies_of(returned) if keeps else []
        if self._copies or self._last.copies:
            self._company.begin(asyncio.get_running_loop().time())
        if plan.held or keeps:
            await self._unsubscribe()
        self._store(self._guard.assigned([self.source]))

    def _copies_of(self, returned: Sequence[ShareDelivery]) -> list[ShareDelivery]:
        """Return what of this is kept for probes. What has failed by itself shows nothing; what has no letter yet is waited for."""
        kept = [delivery for delivery in returned if delivery not in self._unknown]
        unsent = [delivery for delivery in kept if self._letters.has_failed(delivery.place)]
        innocent = [delivery for delivery in kept if delivery not in unsent and not (delivery.history and delivery.history.charged)]
        return [*unsent, *innocent][:_COPIES] or kept[:_COPIES]

    async def _let_letters_end(self, ends_at: float | None) -> None:
        """Wait for the letters of what is in hand, as long as the lock allows: one that is confirmed saves its record from a second one."""
        if ends_at is None:
            return
        end = ends_at - self._terms.answer
        now = asyncio.get_running_loop().time
        while (
            not self._stopping and (left := end - now()) > 0 and any(self._letters.is_under_way(each.place) for each in self._unsettled())
        ):
            await self._wait(left)

    def _unsettled(self) -> list[ShareDelivery]:
        return [delivery for hand in self._hands() for delivery in hand.unsettled.values()]

    async def _return(self, line: Line, hand: Hand, *, slowly: bool = False) -> list[ShareDelivery]:
        """Commit what is finished of a hand, and give back the rest, or move it where it is safe. Returns what went back."""
        rest = hand.end()
        if hand.ends_at is None:
            await self._commit(line, hand)
            return []
        moved = await self._last.rescue(line.client, rest, hand.ends_at - self._terms.answer)
        gone = [delivery for delivery in rest if delivery not in moved]
        now = asyncio.get_running_loop().time()
        for delivery in gone:
            self._suspects.keep(delivery.place, delivery.history, now)
        left = list(gone)
        for size, pause in self._terms.portions(len(gone), hand.ends_at - asyncio.get_running_loop().time()) if slowly else []:
            if not self._stopping:
                await self._commit(line, hand, left[:size])
                del left[:size]
                await self._wait_out(pause)
        await self._commit(line, hand, left)
        return gone

    def _keeps_copies(self, hand: Hand, plan: SourcePlan) -> bool:
        """Return whether what goes back now is kept for probes: it waits for something that a handler can find out."""
        return hand.was_held and not _NO_OUTAGE.intersection(plan.reasons)

    async def _withdraw(self) -> None:
        """End an offer of copies: the dependency is back, and the others come again from the broker.

        What the second consumer has in hand goes back with them, since the guard has let go of the whole source.
        """
        await self._guard.revoked([self.source])
        await self._let_letters_end(min((hand.ends_at for hand in self._hands() if hand.ends_at is not None), default=None))
        for line, hand in self._end():
            await self._return(line, hand)
        self._copies = []
        self._store(self._guard.assigned([self.source]))

    def _end(self) -> list[tuple[Line, Hand]]:
        """Take all hands away, after the guard has let go of them."""
        ended = [(line, line.hand) for line in self._lines if line.hand is not None]
        for line, _ in ended:
            line.hand = None
        self._letters_until = asyncio.get_running_loop().time() + _LETTERS_WITHIN
        self.arrived.clear()
        return ended

    # -- the broker --------------------------------------------------------------------------------------------------------------------

    async def _commit(self, line: Line, hand: Hand, released: Sequence[ShareDelivery] = ()) -> None:
        """Accept what is finished, release the others, and report what the broker did not take."""
        finished = hand.take_finished()
        if hand.is_copy:  # the broker hears of it when the record comes again
            return
        ended = hand.ends_at is not None and asyncio.get_running_loop().time() >= hand.ends_at
        errors = await line.client.commit(messages_of(finished), messages_of(released), _COMMIT_WITHIN)
        refused = [delivery for delivery in finished if delivery.place.partition in errors]
        gone = [delivery for delivery in refused if is_gone(errors[delivery.place.partition])]
        if gone:
            log.warning("%s: %d records were handled, but their topic does not exist any more", self.source, len(gone))
        self._remember(refused)
        self._report([delivery for delivery in refused if delivery not in gone], certain=True)
        if ended:
            self._report([delivery for delivery in finished if delivery not in refused], certain=False)
        self._answer_flushes(done=len(refused) == len(gone))

    def _report(self, late: Sequence[ShareDelivery], *, certain: bool) -> None:
        if late:
            self._late(LateAccept(self.source, tuple((each.place.partition, each.place.offset) for each in late), certain))

    def _remember(self, handled: Sequence[ShareDelivery]) -> None:
        for delivery in handled:
            if not self._last.remove(delivery):
                self._settled.add([delivery.place], asyncio.get_running_loop().time())
        if handled:
            self._copies = []

    async def _poll(self, line: Line) -> None:
        await self._rest(line)
        now = asyncio.get_running_loop().time
        try:
            if not line.subscribed:
                await line.client.subscribe()
                line.subscribed = True
            began = now()
            waits = not line.fetching or began - line.polled_at <= _GAP
            messages = await line.client.poll(self._poll_timeout if waits else 0)
        except KafkaException as error:
            await self._poll_failed(error)
            return
        self._in_trouble = False
        since = line.polled_at if line.fetching else began
        line.fetching, line.polled_at = not messages, now()
        if messages:
            await self._take(line, messages, since)

    async def _poll_failed(self, error: KafkaException) -> None:
        end = as_intake_error(error, self.source.name)
        if end is not None:
            raise end from error
        if not self._in_trouble:
            self._in_trouble = True
            log.warning("%s: a poll failed (%s); trying again", self.source, describe(error))
        await self._wait(_RETRY_AFTER)

    async def _take(self, line: Line, messages: Sequence[Message], since: float) -> None:
        """Take the records of one poll, which have been locked since then at the earliest."""
        now = asyncio.get_running_loop().time()
        again = [message for message in messages if self._settled.has(place_of(message), now)]
        rest = [message for message in messages if message not in again]
        for message in rest:
            self._letters.forget_failure(place_of(message))
        broken = [message for message in rest if message.error() is not None]
        ends_at = since + self._terms.lock
        if now >= ends_at - self._terms.margin:
            log.info("%s: %d records had been locked since the last poll, and go back unseen", self.source, len(rest))
            broken = rest
        elif broken:
            log.warning("%s: %d records could not be read, and go back", self.source, len(broken))
        if again or broken:
            errors = await line.client.commit(again, broken, _COMMIT_WITHIN)
            for message in again:
                if (message.partition() or 0) not in errors:
                    self._settled.forget(place_of(message))
        fresh = [self._delivery(message) for message in rest if message not in broken]
        for delivery in fresh:
            delivery.history = self._suspects.take(delivery.place, now)
        if fresh:
            self._take_in_hand(line, fresh, ends_at)

    def _take_in_hand(self, line: Line, deliveries: Sequence[ShareDelivery], ends_at: float | None) -> None:
        if ends_at is None:  # the guard gets new objects: those that it had belong to an assignment that has ended
            copies = {id(old): self._delivery(old.message) for old in deliveries}
            self._last.renew(copies)
            deliveries = list(copies.values())
        line.hand = Hand(deliveries, ends_at)
        self.arrived.extend(deliveries)
        self._ring()

    def _delivery(self, message: Message) -> ShareDelivery:
        self._number += 1
        return ShareDelivery(self.source, message, self._number)

    async def _unsubscribe(self) -> None:
        """Unsubscribe the consumers that have nothing in hand: the others do it when their hand has ended."""
        for line in self._lines:
            if line.hand is None:
                await line.unsubscribe()

    async def _rest(self, but: Line | None = None) -> None:
        """Unsubscribe what has nothing in hand and is not polled now.

        A fetch of it would acquire records unseen; and where `but` is polled, the broker assigns each member that is subscribed partitions
        of its own, so that those of one that nobody polls would stand still.
        """
        for line in self._lines:
            if line is not but and line.hand is None and (line.fetching or but is not None):
                await line.unsubscribe()

    async def _leave(self) -> None:
        for line, hand in self._end():
            await self._return(line, hand)
        await self._last.part()

    def _answer_flushes(self, *, done: bool) -> None:
        for answer in self._flushes:
            if not answer.done():
                answer.set_result(done)
        self._flushes.clear()

    async def _wait_out(self, seconds: float) -> None:
        """Wait for so long, or until it is stopped, whatever else happens meanwhile."""
        end = asyncio.get_running_loop().time() + seconds
        while not self._stopping and (left := end - asyncio.get_running_loop().time()) > 0:
            await self._wait(left)

    async def _wait(self, seconds: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        self._woken.clear()
