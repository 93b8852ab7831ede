"""What the supervisor of a topic does near the end of a lock, near the delivery limit, and with what it did not ask for."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from tests.brokers.share.bed import BODIES, LIMIT, LOCK, ORDERS, play
from tests.brokers.share.model import ModelClient

from holdgate.brokers.share import LateAccept
from holdgate.errors import IntakeError
from holdgate.flow.message import DeadLetter, Settlement
from holdgate.flow.plan import Plan, SourcePlan
from holdgate.testing.memory import ShareState

if TYPE_CHECKING:
    from tests.brokers.share.bed import Bed


def test_records_are_settled_before_the_next_poll(bed: Bed) -> None:
    """The model refuses a poll while a record is out. In between, what is finished is committed."""

    async def story() -> None:
        bed.broker.produce("orders", *BODIES)
        at = await bed.open(in_hand=2)
        at.ack((await at.take(ORDERS, 2))[:1])
        await at.for_a_while(2)
        assert bed.record(0).state is ShareState.ACCEPTED
        assert len(at.received) == 2
        at.ack(at.received)
        await at.take(ORDERS, 3)

    play(bed, story)


def test_a_hold_of_an_hour_unsubscribes_once(bed: Bed) -> None:
    """In hand until the lock is nearly over, then released; and no call is made until the hold ends."""

    async def story() -> None:
        at = await bed.held()
        assert [bed.record(number).state for number in range(3)] == [ShareState.AVAILABLE] * 3
        before = list(bed.client.calls)
        assert before[-1] == "unsubscribe"
        await at.for_a_while(3600)
        assert bed.client.calls == before
        assert {bed.record(number).deliveries for number in range(3)} == {1}

    play(bed, story)


def test_a_persons_hold_leaves_no_copies(bed: Bed) -> None:
    """It says nothing of the handler: after it the records come from the broker, since others may have handled them."""

    async def story() -> None:
        bed.broker.produce("orders", *BODIES)
        at = await bed.open()
        await at.take(ORDERS, 3)
        at.listener.held.add(ORDERS)
        at.intake.apply(Plan({ORDERS: SourcePlan(fetch=False, reasons=("operator",))}, 1_000))
        await at.for_a_while(LOCK)
        at.admit(ORDERS)
        again = (await at.take(ORDERS, 6))[3:]
        assert [delivery.deliveries for delivery in again] == [2, 2, 2]

    play(bed, story)


def test_slow_handlers_are_interrupted_before_the_lock_ends(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    """Without a hold too: the record goes back while it is ours, and the log says what to change."""

    async def story() -> None:
        bed.broker.produce("orders", b"0")
        at = await bed.open()
        await at.take(ORDERS, 1)
        await at.until(lambda: at.listener.count("revoked") > 0, "the handler was interrupted")
        assert bed.record(0).ends_at > asyncio.get_running_loop().time()
        await at.take(ORDERS, 2)
        assert at.received[-1].redelivered
        assert at.received[-1].deliveries == 2

    play(bed, story)
    assert "handlers are too slow" in caplog.text


def test_an_accept_that_comes_too_late_is_reported(bed: Bed) -> None:
    """The error is a value of the answer. When the record comes again, it is accepted without a handler."""
    late: list[LateAccept] = []

    async def story() -> None:
        bed.broker.produce("orders", b"0")
        at = await bed.open(on_late_accept=late.append)
        deliveries = await at.take(ORDERS, 1)
        await at.for_a_while(LOCK * 0.75 - 2)
        bed.broker.late = 7.0  # the broker takes its time, and the lock ends meanwhile
        at.ack(deliveries)
        await at.until(lambda: bool(late), "it was reported")
        bed.broker.late = 0.0
        await at.until(lambda: bed.record(0).state is ShareState.ACCEPTED, "it was accepted when it came again")
        await at.for_a_while()
        assert at.received == list(deliveries)

    play(bed, story)
    assert late == [LateAccept(ORDERS, ((0, 0),), certain=True)]


def test_a_process_that_stood_still_has_lost_its_records(bed: Bed) -> None:
    """Their lock is over by our own clock, so their handlers are interrupted, and what comes too late settles nothing."""

    async def story() -> None:
        bed.broker.produce("orders", b"0")
        at = await bed.open()
        deliveries = await at.take(ORDERS, 1)
        supervisor = bed.intake._supervisors[ORDERS]
        supervisor._lines[0].hand.ends_at = asyncio.get_running_loop().time() - 1  # type: ignore[union-attr]
        supervisor.wake()
        await at.until(lambda: at.listener.count("lost") > 0, "it was given up")
        at.ack(deliveries)
        await at.for_a_while()
        assert bed.record(0).state is not ShareState.ACCEPTED

    play(bed, story)


def test_what_a_background_fetch_has_locked_for_long_goes_back_unseen(bed: Bed) -> None:
    """After a pause the first poll does not wait: what it gives may be another member's by now."""

    async def story() -> None:
        at = await bed.open()
        await at.for_a_while()
        supervisor = bed.intake._supervisors[ORDERS]
        supervisor._lines[0].polled_at -= LOCK  # the process stood still after an empty poll
        bed.broker.produce("orders", b"0")
        bed.client.acquire_unseen()
        await at.take(ORDERS, 1)
        assert [delivery.deliveries for delivery in at.received] == [2]

    play(bed, story)


class Overflow:
    """Dead letters in memory that confirm, or refuse."""

    def __init__(self) -> None:
        self.bodies: list[bytes | None] = []
        self.refuses = False

    async def open(self, names: object) -> None:
        pass

    async def publish(self, letter: DeadLetter) -> None:
        if self.refuses:
            raise ConnectionError("no broker")
        self.bodies.append(letter.body)

    async def close(self) -> None:
        pass


def test_before_its_last_delivery_a_record_goes_to_the_overflow(bed: Bed) -> None:
    """Confirmed there, and accepted then: nothing of it is left at the broker. What has deliveries left goes back."""
    overflow = Overflow()

    async def story() -> None:
        bed.broker.produce("orders", b"0")
        bed.deliver(LIMIT - 2)
        bed.broker.produce("orders", b"1")
        at = await bed.open(overflow=overflow)
        await at.take(ORDERS, 2)
        at.hold(ORDERS)
        await at.for_a_while(LOCK)

    play(bed, story)
    assert overflow.bodies == [b"0"]
    assert [bed.record(number).state for number in (0, 1)] == [ShareState.ACCEPTED, ShareState.AVAILABLE]


def test_what_the_overflow_refuses_goes_back(bed: Bed) -> None:
    """It has one delivery left, and nothing was lost."""
    overflow = Overflow()
    overflow.refuses = True

    async def story() -> None:
        await bed.held(b"0", deliveries=LIMIT - 2, overflow=overflow)

    play(bed, story)
    assert bed.record(0).state is ShareState.AVAILABLE


def test_after_the_last_delivery_its_copy_is_kept_until_it_is_handled(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    """Without an overflow. The broker has archived it; here it is offered before anything new, and an error says what that means."""

    async def story() -> None:
        at = await bed.held(b"0", deliveries=LIMIT - 1)
        assert bed.record(0).state is ShareState.ARCHIVED
        bed.broker.produce("orders", b"1")
        at.admit(ORDERS)
        await at.take(ORDERS, 2)
        await at.for_a_while(LOCK * 10)
        assert at.bodies(ORDERS) == [b"0", b"0"]
        at.ack(at.received)
        await at.take(ORDERS, 3)
        assert at.bodies(ORDERS) == [b"0", b"0", b"1"]

    play(bed, story)
    assert "delivered for the last time" in caplog.text


def test_a_rejected_copy_proves_nothing(bed: Bed) -> None:
    """One that was settled before a hold may have gone to the dead letters: the topic is not read for it, which would cost deliveries."""

    async def story() -> None:
        at, copies = await bed.copies()
        at.ack(copies[:1])
        at.hold(ORDERS)
        await at.for_a_while(LOCK)
        at.admit(ORDERS)
        at.ack(copies[1:2])
        await at.for_a_while(5)
        assert {bed.record(number).deliveries for number in range(3)} == {1}

    play(bed, story)


def test_a_copy_that_is_rejected_gets_no_letter(bed: Bed) -> None:
    """Its record lies at the broker, and comes to somebody with a lock. Here the copy is put aside, and nothing is accepted for it."""

    async def story() -> None:
        at, copies = await bed.copies()
        assert not bed.intake.begin_letter(copies[0])
        at.ack(copies[1:])
        fresh = (await at.take(ORDERS, 7))[6:]
        assert [delivery.body for delivery in fresh] == [b"0"]
        assert bed.intake.begin_letter(fresh[0])

    play(bed, story)


def test_copies_that_were_all_rejected_are_not_offered_again(bed: Bed) -> None:
    """The topic is read instead."""

    async def story() -> None:
        at = await bed.held(b"0")
        at.admit(ORDERS)
        (_, copy) = await at.take(ORDERS, 2)
        assert not bed.intake.begin_letter(copy)
        (_, _, fresh) = await at.take(ORDERS, 3)
        assert fresh.deliveries == 2

    play(bed, story)


def test_a_letter_is_begun_only_while_the_lock_lasts_for_it(bed: Bed) -> None:
    """Once records go back whoever gets this one rejects it again. One that has gone is not asked about any more."""

    async def story() -> None:
        bed.broker.produce("orders", b"0", b"1")
        at = await bed.open()
        early, late = await at.take(ORDERS, 2)
        assert bed.intake.begin_letter(early)
        bed.intake.letter_ended(early, confirmed=True)
        supervisor = bed.intake._supervisors[ORDERS]
        supervisor._lines[0].hand.ends_at = asyncio.get_running_loop().time() + LOCK / 4  # type: ignore[union-attr]
        assert not bed.intake.begin_letter(late)
        await at.take(ORDERS, 3)
        assert not bed.intake.begin_letter(late)

    play(bed, story)


def test_what_has_its_letter_is_accepted_at_once(bed: Bed) -> None:
    """A kill before the accept would cost a second letter, so it does not wait for others; and the settlement adds nothing."""

    async def story() -> None:
        bed.broker.produce("orders", b"0", b"1")
        at = await bed.open()
        (bad, _) = await at.take(ORDERS, 2)
        assert bed.intake.begin_letter(bad)
        bed.intake.letter_ended(bad, confirmed=True)
        at.ack([bad])
        before = asyncio.get_running_loop().time()
        await at.until(lambda: bed.record(0).state is ShareState.ACCEPTED, "it was accepted")
        assert asyncio.get_running_loop().time() - before < 0.3  # what is handled may wait half a second

    play(bed, story)


def test_a_record_stays_for_a_letter_that_is_under_way(bed: Bed) -> None:
    """Until the broker's answer would come too late. Confirmed before that it is accepted, and nobody gets it again."""

    async def story() -> None:
        bed.broker.produce("orders", b"0", b"1")
        at = await bed.open()
        (bad, _) = await at.take(ORDERS, 2)
        assert bed.intake.begin_letter(bad)
        await at.until(lambda: at.listener.count("revoked") > 0, "records go back")
        await at.for_a_while(1)
        assert bed.record(1).state is ShareState.ACQUIRED
        bed.intake.letter_ended(bad, confirmed=True)
        await at.until(lambda: bed.record(0).state is ShareState.ACCEPTED, "it was accepted")
        assert bed.record(0).deliveries == 1

    play(bed, story)


def test_a_letter_that_is_confirmed_too_late_is_the_only_one(bed: Bed) -> None:
    """Its record has gone back: nothing is read until the letter has ended, and then the record is accepted when it comes again."""

    async def story() -> None:
        bed.broker.produce("orders", b"0")
        at = await bed.open()
        (bad,) = await at.take(ORDERS, 1)
        assert bed.intake.begin_letter(bad)
        await at.for_a_while(LOCK + 20)
        assert (bed.record(0).state, bed.record(0).deliveries) == (ShareState.AVAILABLE, 1)
        bed.intake.letter_ended(bad, confirmed=True)
        await at.until(lambda: bed.record(0).state is ShareState.ACCEPTED, "it was accepted")
        assert len(at.received) == 1

    play(bed, story)


def test_a_letter_that_never_ends_does_not_stop_the_topic(bed: Bed) -> None:
    """A target of the user's own may hang: after a minute a copy may have the letter."""

    async def story() -> None:
        bed.broker.produce("orders", b"0")
        at = await bed.open()
        (bad,) = await at.take(ORDERS, 1)
        assert bed.intake.begin_letter(bad)
        await at.for_a_while(LOCK + 40)
        assert len(at.received) == 1
        (_, copy) = await at.take(ORDERS, 2)
        assert bed.intake.begin_letter(copy)
        bed.intake.letter_ended(copy, confirmed=True)
        await at.until(lambda: bed.record(0).state is ShareState.ACCEPTED, "it was accepted when it came again")

    play(bed, story)


def test_a_letter_that_fails_after_its_record_has_gone_back_is_tried_by_a_copy(bed: Bed) -> None:
    """The target for letters is away. To wait for it with the record in hand would use up its deliveries, so a copy may have the letter."""

    async def story() -> None:
        bed.broker.produce("orders", b"0")
        at = await bed.open()
        (bad,) = await at.take(ORDERS, 1)
        assert bed.intake.begin_letter(bad)
        await at.for_a_while(LOCK + 20)
        bed.intake.letter_ended(bad, confirmed=False)
        (_, copy) = await at.take(ORDERS, 2)
        assert copy.deliveries == 1
        assert bed.intake.begin_letter(copy)
        bed.intake.letter_ended(copy, confirmed=True)
        await at.until(lambda: bed.record(0).state is ShareState.ACCEPTED, "it was accepted when it came again")
        assert len(at.received) == 2

    play(bed, story)


def test_the_copy_of_a_record_whose_letter_has_failed_may_have_it(bed: Bed) -> None:
    """The source is held for the target's sake, and its record has gone back meanwhile."""

    async def story() -> None:
        bed.broker.produce("orders", *BODIES)
        at = await bed.open()
        bad = (await at.take(ORDERS, 3))[2]
        assert bed.intake.begin_letter(bad)
        bed.intake.letter_ended(bad, confirmed=False)
        at.hold(ORDERS)
        await at.for_a_while(LOCK)
        at.admit(ORDERS)
        copies = (await at.take(ORDERS, 6))[3:]
        assert [bed.intake.begin_letter(copy) for copy in copies] == [True, False, False]
        assert copies[0].body == b"2"

    play(bed, story)


def test_what_is_beside_copies_goes_back_with_them(bed: Bed) -> None:
    """A second consumer has records while copies of what was delivered for the last time are tried: none of them is forgotten."""

    async def story() -> None:
        at = await bed.held(b"0", b"1", deliveries=LIMIT - 1)
        at.admit(ORDERS)
        first, second = (await at.take(ORDERS, 4))[2:]
        first.history = second.history = object()  # as the engine marks one that has failed
        bed.broker.produce("orders", b"2", b"3")
        beside = (await at.take(ORDERS, 6))[4:]
        assert [delivery.body for delivery in beside] == [b"2", b"3"]
        at.ack([first])
        (again,) = (await at.take(ORDERS, 7))[6:]
        assert again.body == b"1"
        assert {bed.record(number).state for number in (2, 3)} == {ShareState.AVAILABLE}
        at.ack([again])
        assert {delivery.body for delivery in (await at.take(ORDERS, 9))[7:]} == {b"2", b"3"}

    play(bed, story)


def test_the_end_of_the_process_names_what_it_loses(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    """Without an overflow, what was delivered for the last time is nowhere else."""

    async def story() -> None:
        await bed.held(b"0", deliveries=LIMIT - 1)
        await bed.intake.close()

    play(bed, story)
    assert "1 records end with this process, not handled: partition@offset 0@0" in caplog.text


def test_at_the_end_of_the_process_the_overflow_is_asked_once_more(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    """It was away when the record was delivered for the last time, and is there now."""
    overflow = Overflow()
    overflow.refuses = True

    async def story() -> None:
        await bed.held(b"0", deliveries=LIMIT - 1, overflow=overflow)
        overflow.refuses = False
        await bed.intake.close()

    play(bed, story)
    assert overflow.bodies == [b"0"]
    assert "end with this process" not in caplog.text


def test_a_copy_that_fails_does_not_keep_the_others_from_the_broker(bed: Bed) -> None:
    """One alone may be the message that always fails; some seconds after another copy was settled the rest is read again."""

    async def story() -> None:
        at, copies = await bed.copies()
        at.ack(copies[1:2])
        fresh = (await at.take(ORDERS, 8))[6:]
        assert [delivery.body for delivery in fresh] == [b"0", b"2"]
        assert bed.record(1).state is ShareState.ACCEPTED

    play(bed, story)


def test_messages_that_fail_do_not_keep_others_from_coming(bed: Bed) -> None:
    """All that is in hand has failed: a second consumer polls, since only other messages can show whether it is poison."""

    async def story() -> None:
        bed.broker.produce("orders", b"0")
        at = await bed.open()
        (suspect,) = await at.take(ORDERS, 1)
        bed.broker.produce("orders", b"1")
        await at.for_a_while(2)
        assert len(at.received) == 1
        suspect.history = object()  # as the engine marks one that has failed
        (_, other) = await at.take(ORDERS, 2)
        at.ack([other])
        await at.until(lambda: bed.record(1).state is ShareState.ACCEPTED, "it was settled")
        at.ack([suspect])
        await at.until(lambda: bed.record(0).state is ShareState.ACCEPTED, "it was settled")
        assert len(bed.broker.clients) == 2

    play(bed, story)


def test_the_second_consumer_rests_when_it_is_not_needed(bed: Bed) -> None:
    """One that is subscribed and does not poll would acquire records unseen."""

    async def story() -> None:
        bed.broker.produce("orders", b"0")
        at = await bed.open()
        (suspect,) = await at.take(ORDERS, 1)
        suspect.history = object()
        await at.until(lambda: len(bed.broker.clients) > 1, "there is a second consumer")
        await at.for_a_while()
        at.ack([suspect])
        await at.until(lambda: bed.record(0).state is ShareState.ACCEPTED, "it was settled")
        await at.for_a_while()
        assert bed.broker.clients[1].calls[-1] == "unsubscribe"

    play(bed, story)


def test_the_second_consumer_leaves_its_partitions_to_the_first(bed: Bed) -> None:
    """It has had records itself, and is not polled any more: the broker would keep partitions for it that nobody reads."""

    async def story() -> None:
        bed.broker.partitions = 2
        bed.broker.produce("orders", b"0")
        at = await bed.open()
        (suspect,) = await at.take(ORDERS, 1)
        suspect.history = object()
        bed.broker.produce("orders", b"1")
        (_, other) = await at.take(ORDERS, 2)
        at.ack([suspect, other])
        await at.until(lambda: bed.record(1).state is ShareState.ACCEPTED, "it was settled")
        bed.broker.produce("orders", b"2", b"3")
        assert {delivery.body for delivery in (await at.take(ORDERS, 4))[2:]} == {b"2", b"3"}

    play(bed, story)


def test_closing_releases_what_is_in_hand(bed: Bed) -> None:
    """Another member can have it immediately, and does not wait for the lock."""

    async def story() -> None:
        bed.broker.produce("orders", *BODIES)
        at = await bed.open()
        at.ack((await at.take(ORDERS, 3))[:1])
        await bed.intake.close()
        assert [bed.record(number).state.value for number in range(3)] == ["accepted", "available", "available"]
        assert bed.client.calls[-1] == "close"

    play(bed, story)


def test_a_rejection_is_refused(bed: Bed) -> None:
    """The broker's own way would drop the record."""

    async def story() -> None:
        bed.broker.produce("orders", b"0")
        at = await bed.open()
        (delivery,) = await at.take(ORDERS, 1)
        with pytest.raises(IntakeError, match="dead_letters"):
            bed.intake.settle(delivery, Settlement.REJECT)

    play(bed, story)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (KafkaError.UNSUPPORTED_VERSION, "Kafka 4.2"),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, "GROUP_AUTHORIZATION_FAILED"),
    ],
)
def test_a_refusal_of_the_broker_ends_the_intake(bed: Bed, monkeypatch: pytest.MonkeyPatch, code: int, text: str) -> None:
    """The next receive raises it, with the remedy."""

    async def story() -> None:
        async def refuse(self: ModelClient, timeout: float) -> None:
            raise KafkaException(KafkaError(code))

        monkeypatch.setattr(ModelClient, "poll", refuse)
        at = await bed.open()
        with pytest.raises(IntakeError, match=text):
            await at.for_a_while()

    play(bed, story)


def test_an_error_that_passes_is_logged_once(bed: Bed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The client connects again by itself; meanwhile there is one line."""
    works = ModelClient.poll
    left = [KafkaError._TRANSPORT] * 3

    async def poll(self: ModelClient, timeout: float) -> Any:
        if left:
            raise KafkaException(KafkaError(left.pop()))
        return await works(self, timeout)

    async def story() -> None:
        monkeypatch.setattr(ModelClient, "poll", poll)
        bed.broker.produce("orders", b"0")
        at = await bed.open()
        await at.take(ORDERS, 1)

    play(bed, story)
    assert caplog.text.count("a poll failed") == 1


def test_the_start_names_lock_and_limit(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    """As the broker says them, with the time after which a handler is interrupted."""
    caplog.set_level(logging.INFO)

    async def story() -> None:
        await bed.open()
        assert (bed.intake.terms.lock, bed.intake.terms.limit) == (LOCK, LIMIT)

    play(bed, story)
    assert "locks a record for 15 s and delivers it 5 times at most" in caplog.text
