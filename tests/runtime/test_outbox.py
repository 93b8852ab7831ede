"""Rejected messages leave through the dead letters: confirmed first, settled then, and nothing lost whatever goes wrong in between."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from tests.runtime.outbox_stage import (
    ATTEMPTS,
    CONFIRM_WITHIN,
    MAX_BACKOFF,
    ORDER,
    OTHER,
    POISON,
    Picky,
    committed,
    held,
    orders,
    with_poison,
)
from tests.runtime.stage import (
    GROUP,
    ORDERS,
    BreakingIntake,
    Down,
    Handler,
    Wrong,
    assert_nothing_left,
    broker_with,
    dependency,
    quiet_guard,
    running,
    until,
)

from holdgate import Guard, Reject, RetryPolicy
from holdgate.errors import IntakeError
from holdgate.testing import MemoryBroker, MemoryDeadLetters, in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Collection

    from holdgate import Delivery
    from holdgate.flow.message import DeadLetter


# -- the way out -----------------------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_rejected_message_goes_to_the_dead_letters_and_its_partition_goes_on() -> None:
    """Body, key and place are the message's; everything around it is processed, everything is committed."""
    broker, dead, handler = with_poison(), MemoryDeadLetters(), Picky()
    async with quiet_guard() as guard, running(guard.run(orders(broker), handler, dead_letters=dead)):
        await until(lambda: committed(broker) == 5)
    (letter,) = dead.letters
    assert (letter.source, letter.delivery.position, letter.body, letter.key) == (ORDER, 2, POISON, b"k7")
    assert (letter.attempts, letter.exception, letter.reason) == (1, "holdgate.errors.Reject", "poison")
    assert [position for _, position in handler.done] == [0, 1, 3, 4]


@in_virtual_time
async def test_a_message_that_fails_by_its_own_fault_is_dead_after_its_attempts() -> None:
    """The letter tells how often it was tried, what it raised, and for how long it went on; its text only to a target that asks."""
    broker, dead, handler = with_poison(), MemoryDeadLetters(), Picky(lambda: Wrong("card 4711"))
    async with quiet_guard() as guard, running(guard.run(orders(broker), handler, dead_letters=dead)):
        await until(lambda: committed(broker) == 5)
    (letter,) = dead.letters
    assert (letter.attempts, letter.reason) == (ATTEMPTS, None)
    assert letter.exception is not None
    assert letter.exception.endswith("stage.Wrong")
    assert letter.last_failure - letter.first_failure == pytest.approx(0.5 + 1 + 2 + 4)  # the backoffs between the five
    assert "card 4711" not in str(letter.facts())
    assert letter.facts(text=True)["holdgate-exception-text"] == "card 4711"


@in_virtual_time
async def test_an_outage_fills_no_dead_letters() -> None:
    """Even where one failure of its own is all a message may have."""
    broker, dead, handler = broker_with(5), MemoryDeadLetters(), Handler(down=True)
    async with quiet_guard() as guard:
        run = guard.run(orders(broker), handler, needs=[dependency()], retry=RetryPolicy(attempts=1), dead_letters=dead)
        async with running(run):
            await asyncio.sleep(3600)
            handler.down = False
            await until(lambda: committed(broker) == 5)
    assert dead.published == 0


@in_virtual_time
async def test_the_original_is_committed_only_after_the_confirmation() -> None:
    """A second before, the message is still where it was."""
    broker, dead = with_poison(before=0), MemoryDeadLetters(delay=3.0)
    async with quiet_guard() as guard, running(guard.run(orders(broker, commit_every=0.1), Picky(), dead_letters=dead)):
        await asyncio.sleep(2.9)
        assert (committed(broker), dead.letters) == (0, [])
        await until(lambda: committed(broker) == 3)
    assert len(dead.letters) == 1


@in_virtual_time
async def test_in_the_order_of_the_source_nothing_overtakes_a_message_on_its_way_out() -> None:
    """The one behind it starts when it is confirmed."""
    broker, dead, handler = with_poison(before=0), MemoryDeadLetters(delay=3.0), Picky()
    async with quiet_guard() as guard, running(guard.run(orders(broker), handler, dead_letters=dead)):
        await asyncio.sleep(2.9)
        assert handler.done == []
        await until(lambda: len(handler.done) == 2)


@in_virtual_time
async def test_without_an_order_others_go_on_while_one_is_on_its_way_out() -> None:
    """It takes one lane's place and no more; the commit waits for it."""
    broker, dead, handler = with_poison(before=0), MemoryDeadLetters(delay=3.0), Picky()
    run_settings: dict[str, Any] = {"order": "none", "concurrency": 2, "dead_letters": dead}
    async with quiet_guard() as guard, running(guard.run(orders(broker, commit_every=0.1), handler, **run_settings)):
        await asyncio.sleep(2.9)
        assert (len(handler.done), committed(broker)) == (2, 0)
        await until(lambda: committed(broker) == 3)


@in_virtual_time
async def test_the_loop_form_has_dead_letters_too() -> None:
    """A failure in the block counts as anywhere else."""
    broker, dead, seen = with_poison(), MemoryDeadLetters(), []
    async with quiet_guard() as guard, guard.deliveries(orders(broker), dead_letters=dead) as deliveries:
        async for delivery in deliveries:
            async with delivery:
                if delivery.body == POISON:
                    raise Reject("poison")
                seen.append(delivery.position)
            if len(seen) == 4:
                break
    assert [letter.delivery.position for letter in dead.letters] == [2]
    assert committed(broker) == 5


@in_virtual_time
async def test_an_exception_whose_text_cannot_be_read_goes_out_without_it() -> None:
    """Its `__str__` is somebody else's code."""

    class Unspeakable(Reject):
        def __str__(self) -> str:
            raise ValueError

    broker, dead = with_poison(), MemoryDeadLetters()
    async with quiet_guard() as guard, running(guard.run(orders(broker), Picky(Unspeakable), dead_letters=dead)):
        await until(lambda: committed(broker) == 5)
    assert dead.letters[0].text == "<its text raised ValueError>"


# -- a target that fails ---------------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_failing_target_holds_the_source_and_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Reason `dead letters`, tried again every `max_backoff`; when it takes the letter the source goes on, with one letter in all."""
    broker, dead = with_poison(), MemoryDeadLetters()
    dead.failing = ConnectionError("no such host")
    async with quiet_guard() as guard, running(guard.run(orders(broker), Picky(), dead_letters=dead)):
        await until(lambda: held(guard) == ("dead letters",))
        await asyncio.sleep(10 * MAX_BACKOFF)
        assert (held(guard), committed(broker)) == (("dead letters",), 2)
        assert 10 <= dead.published <= 12
        dead.failing = None
        await until(lambda: committed(broker) == 5)
        assert held(guard) == ()
    assert len(dead.letters) == 1
    assert "the dead letter of orders[0]@2 could not be published: ConnectionError at " in caplog.text
    assert "no such host" not in caplog.text  # the target's own text may quote the message


@in_virtual_time
async def test_a_failing_target_holds_only_the_sources_that_have_something_for_it() -> None:
    """The other partition never notices."""
    broker, dead, handler = MemoryBroker(topics={"orders": 2}), MemoryDeadLetters(), Picky()
    dead.failing = ConnectionError()
    broker.produce("orders", POISON, partition=0)
    broker.produce("orders", b"", partition=0)
    for _ in range(3):
        broker.produce("orders", b"", partition=1)
    async with quiet_guard() as guard, running(guard.run(orders(broker), handler, dead_letters=dead)):
        await until(lambda: broker.committed(GROUP).get(OTHER) == 3)
        assert guard.snapshot().sources[OTHER].reasons == ()
        assert held(guard) == ("dead letters",)
    assert ("orders[0]", 1) not in handler.started


@in_virtual_time
async def test_a_confirmation_that_does_not_come_holds_the_source_and_counts_when_it_comes_late() -> None:
    """It is not published a second time while nobody knows what became of the first."""
    broker, dead = with_poison(), MemoryDeadLetters(delay=CONFIRM_WITHIN + 1)
    async with quiet_guard() as guard, running(guard.run(orders(broker), Picky(), dead_letters=dead)):
        await asyncio.sleep(CONFIRM_WITHIN + 0.5)
        assert held(guard) == ("dead letters",)
        await until(lambda: committed(broker) == 5)
    assert (dead.published, len(dead.letters)) == (1, 1)


@in_virtual_time
async def test_a_publication_still_under_way_at_the_next_try_is_waited_for() -> None:
    """As long as it takes, it is one publication."""
    broker, dead = with_poison(), MemoryDeadLetters(delay=3 * (CONFIRM_WITHIN + MAX_BACKOFF))
    async with quiet_guard() as guard, running(guard.run(orders(broker), Picky(), dead_letters=dead)):
        await until(lambda: committed(broker) == 5)
    assert (dead.published, len(dead.letters)) == (1, 1)


@in_virtual_time
async def test_a_publication_that_fails_late_is_made_again() -> None:
    """The hold that its lateness brought ends with the second one."""
    broker, dead = with_poison(), MemoryDeadLetters(delay=CONFIRM_WITHIN + 1)
    dead.failing = ConnectionError()
    async with quiet_guard() as guard, running(guard.run(orders(broker), Picky(), dead_letters=dead)):
        await asyncio.sleep(CONFIRM_WITHIN + 2)
        dead.failing, dead.delay = None, 0.0
        await until(lambda: committed(broker) == 5)
        assert [run.running for run in guard.engine.runs] == [0]  # answered once, however often it failed
    assert (dead.published, len(dead.letters)) == (2, 1)


@in_virtual_time
async def test_a_publication_cancelled_by_somebody_else_is_made_again() -> None:
    """CancelledError is no confirmation."""
    broker, dead = with_poison(), MemoryDeadLetters(delay=1.0)
    async with quiet_guard() as guard, running(guard.run(orders(broker), Picky(), dead_letters=dead)):
        await asyncio.sleep(0.5)
        (task,) = [task for task in asyncio.all_tasks() if task.get_name().startswith("holdgate dead letter")]
        task.cancel()
        await until(lambda: committed(broker) == 5)
    assert (dead.published, len(dead.letters)) == (2, 1)


# -- messages that are ours for a time -------------------------------------------------------------------------------------------------


class LockingIntake(BreakingIntake):
    """Its messages are locked for a time: `ours` says whether they still are. `letters` has what became of each letter."""

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(broker, topics=["orders"], commit_every=0.1)
        self.ours = True
        self.asked = 0
        self.letters: list[tuple[int, bool]] = []

    def begin_letter(self, delivery: Delivery[Any]) -> bool:
        """Be asked."""
        self.asked += 1
        return self.ours

    def letter_ended(self, delivery: Delivery[Any], *, confirmed: bool) -> None:
        """Learn it."""
        self.letters.append((delivery.position, confirmed))


@in_virtual_time
async def test_a_message_that_is_not_ours_any_more_gets_no_letter() -> None:
    """Its next worker writes one. Here it is not settled, and what is behind it goes on."""
    broker, dead, handler = with_poison(before=0), MemoryDeadLetters(), Picky()
    intake = LockingIntake(broker)
    intake.ours = False
    async with quiet_guard() as guard, running(guard.run(intake, handler, dead_letters=dead)):
        await until(lambda: len(handler.done) == 2)
        await asyncio.sleep(1)
        assert held(guard) == ()
        seen = guard.engine.totals().names["orders"]
        assert (seen.processed, seen.rejected.total()) == (2, 0)
    assert (dead.published, committed(broker), intake.letters) == (0, 0, [])


@in_virtual_time
async def test_an_intake_learns_what_became_of_a_letter_it_let_through() -> None:
    """Before the message is settled by it."""
    broker, dead = with_poison(before=0), MemoryDeadLetters(delay=1.0)
    intake = LockingIntake(broker)
    async with quiet_guard() as guard, running(guard.run(intake, Picky(), dead_letters=dead)):
        await until(lambda: committed(broker) == 3)
    assert (len(dead.letters), intake.letters, intake.asked) == (1, [(0, True)], 1)


@in_virtual_time
async def test_a_letter_that_is_sent_again_is_asked_for_again() -> None:
    """Between a failure and the next try the message may have gone to another worker. The source is held no longer then."""
    broker, dead = with_poison(before=0), MemoryDeadLetters()
    dead.failing = ConnectionError()
    intake = LockingIntake(broker)
    async with quiet_guard() as guard, running(guard.run(intake, Picky(), dead_letters=dead)):
        await until(lambda: held(guard) == ("dead letters",))
        intake.ours, dead.failing = False, None
        await until(lambda: held(guard) == ())
    assert (dead.letters, intake.letters, intake.asked) == ([], [(0, False)], 2)


@in_virtual_time
async def test_a_letter_that_is_confirmed_late_is_told_all_the_same() -> None:
    """The message has gone by then: whoever has it must not write another one."""
    broker, dead = with_poison(before=0), MemoryDeadLetters(delay=2.0)
    intake = LockingIntake(broker)
    async with quiet_guard() as guard, running(guard.run(intake, Picky(), dead_letters=dead)):
        await asyncio.sleep(1)
        intake.ours = False
        broker.drop(intake)
        await until(lambda: bool(intake.letters))
    assert (len(dead.letters), intake.letters) == (1, [(0, True)])


# -- the end of a run, and of an assignment --------------------------------------------------------------------------------------------


@in_virtual_time
async def test_draining_waits_for_the_confirmation() -> None:
    """What is on its way out is confirmed and committed before the run ends."""
    broker, dead = with_poison(before=0, after=0), MemoryDeadLetters(delay=3.0)
    async with quiet_guard() as guard, running(guard.run(orders(broker), Picky(), dead_letters=dead)):
        await asyncio.sleep(1)
        await guard.stop()
        assert (committed(broker), len(dead.letters), dead.users) == (1, 1, 0)


@in_virtual_time
async def test_a_confirmation_that_outlasts_the_drain_is_given_up() -> None:
    """Nothing is committed for it, so it comes again; the run ends in its time, and leaves no task."""
    broker, dead = with_poison(before=0, after=0), MemoryDeadLetters(delay=10.0)
    async with quiet_guard(drain_timeout=4.0) as guard, running(guard.run(orders(broker), Picky(), dead_letters=dead)):
        await asyncio.sleep(1)
        await guard.stop()
        assert 4.9 < asyncio.get_running_loop().time() < 5.5
        await assert_nothing_left(guard)
    assert (committed(broker), dead.letters, dead.users) == (0, [], 0)


@in_virtual_time
async def test_a_held_letter_does_not_hold_up_the_end() -> None:
    """While the target is down the run ends at once, with the message where it was."""
    broker, dead = with_poison(), MemoryDeadLetters()
    dead.failing = ConnectionError()
    async with quiet_guard() as guard, running(guard.run(orders(broker), Picky(), dead_letters=dead)):
        await until(lambda: held(guard) == ("dead letters",))
        before = asyncio.get_running_loop().time()
        await guard.stop()
        assert asyncio.get_running_loop().time() - before < 1
        await assert_nothing_left(guard)
    assert committed(broker) == 2


@in_virtual_time
async def test_a_revocation_waits_for_the_confirmation() -> None:
    """It is committed before somebody else has the partition, so nobody rejects it twice."""
    broker, dead = with_poison(before=0), MemoryDeadLetters(delay=2.0)
    async with quiet_guard() as guard, running(guard.run(orders(broker), Picky(), dead_letters=dead)):
        await asyncio.sleep(1)
        broker.rebalance(GROUP)
        await until(lambda: committed(broker) == 3)
    assert dead.published == 1


@in_virtual_time
async def test_a_confirmation_after_the_partition_has_gone_settles_nothing() -> None:
    """Whoever has it next rejects it again: two letters, no message lost, none committed unprocessed."""

    class Watching(BreakingIntake):
        """Fails at a settlement of something that is not ours any more."""

        def settle(self, delivery: Delivery[Any], settlement: Any) -> None:
            assert delivery.assignment.alive
            super().settle(delivery, settlement)

    broker, dead = with_poison(before=0), MemoryDeadLetters(delay=2.0)
    intake = Watching(broker, topics=["orders"], commit_every=0.1)
    # With one lane in all: the letter of the lost assignment must give it back.
    run_settings: dict[str, Any] = {"order": "none", "concurrency": 1, "dead_letters": dead}
    async with quiet_guard() as guard, running(guard.run(intake, Picky(), **run_settings)):
        await asyncio.sleep(1)
        broker.drop(intake)
        await asyncio.sleep(1.5)
        assert (len(dead.letters), committed(broker)) == (1, 0)
        await until(lambda: committed(broker) == 3)
    assert [letter.delivery.position for letter in dead.letters] == [0, 0]


@in_virtual_time
async def test_a_held_letter_does_not_hold_up_a_revocation() -> None:
    """Nothing is under way for it: somebody else may try."""
    broker, dead = with_poison(before=0), MemoryDeadLetters()
    dead.failing = ConnectionError()
    intake = orders(broker)
    async with quiet_guard() as guard, running(guard.run(intake, Picky(), dead_letters=dead)):
        await until(lambda: held(guard) == ("dead letters",))
        before = asyncio.get_running_loop().time()
        assert intake.listener is not None
        await intake.listener.revoked([ORDER])
        assert asyncio.get_running_loop().time() - before < 0.1


@in_virtual_time
async def test_a_hold_is_planned_as_soon_as_the_target_has_failed() -> None:
    """Not only when the next poll ends, which may take a minute."""
    broker, dead = with_poison(before=0), MemoryDeadLetters(delay=1.0)
    dead.failing = ConnectionError()
    async with quiet_guard() as guard, running(guard.run(orders(broker, poll_timeout=60.0), Picky(), dead_letters=dead)):
        await asyncio.sleep(1.1)
        assert held(guard) == ("dead letters",)


@in_virtual_time
async def test_the_time_limit_of_a_confirmed_letter_is_over_with_it(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing happens when it would have ended: no hold, and no error in a callback."""
    broker, dead = with_poison(), MemoryDeadLetters(delay=1.0)
    async with quiet_guard() as guard, running(guard.run(orders(broker), Picky(), dead_letters=dead)):
        await asyncio.sleep(2 * CONFIRM_WITHIN)
        assert (committed(broker), held(guard)) == (5, ())
    assert not [record for record in caplog.records if record.name == "asyncio" or "could not be published" in record.getMessage()]


@in_virtual_time
async def test_the_time_limit_of_a_letter_given_up_is_over_with_the_run(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody is left to hear of it."""
    broker, dead = with_poison(before=0), MemoryDeadLetters(delay=100.0)
    async with quiet_guard(drain_timeout=1.0) as guard:
        async with running(guard.run(orders(broker), Picky(), dead_letters=dead)):
            await asyncio.sleep(1)
        await asyncio.sleep(2 * CONFIRM_WITHIN)
    assert not [record for record in caplog.records if record.name == "asyncio" or "could not be published" in record.getMessage()]


@in_virtual_time
async def test_a_publication_that_is_given_up_has_let_go_before_the_target_is_closed() -> None:
    """A client may have something to put away."""
    broker, ended = with_poison(before=0), []

    class Tidy(MemoryDeadLetters):
        """Takes a second to let go."""

        async def publish(self, letter: DeadLetter) -> None:
            try:
                await asyncio.sleep(100)
            finally:
                await asyncio.sleep(1)
                ended.append("publication")

        async def close(self) -> None:
            ended.append("target")

    async with quiet_guard(drain_timeout=1.0) as guard, running(guard.run(orders(broker), Picky(), dead_letters=Tidy())):
        await asyncio.sleep(1)
        await guard.stop()
    assert ended == ["publication", "target"]


@in_virtual_time
async def test_letters_of_partitions_that_have_gone_are_forgotten() -> None:
    """A target that is down for a week of rebalances costs no memory, and the message comes again each time."""
    broker, dead = with_poison(before=0), MemoryDeadLetters()
    dead.failing = ConnectionError()
    async with quiet_guard() as guard, running(guard.run(orders(broker), Picky(), dead_letters=dead)):
        (worker,) = await first_worker(guard)
        for _ in range(5):
            await until(lambda: held(guard) == ("dead letters",))
            broker.rebalance(GROUP)
            await asyncio.sleep(1)
        assert len(worker._outbox._posts) == 1
        dead.failing = None
        await until(lambda: committed(broker) == 3)
        assert worker._outbox._posts == {}


@in_virtual_time
async def test_a_skipped_message_leaves_no_letter_behind() -> None:
    """Its target is down, and an operator gives it up: what is behind it goes on, and nothing of it is kept or sent later."""
    broker, dead = with_poison(before=0), MemoryDeadLetters()
    dead.failing = ConnectionError()
    async with quiet_guard() as guard, running(guard.run(orders(broker), Picky(), dead_letters=dead)):
        (worker,) = await first_worker(guard)
        await until(lambda: held(guard) == ("dead letters",))
        guard.skip(ORDER, 0, reason="test data")
        assert worker._outbox._posts == {}
        dead.failing = None
        await until(lambda: committed(broker) == 3)
        await asyncio.sleep(2 * MAX_BACKOFF)
    assert dead.letters == []


@in_virtual_time
async def test_a_publication_that_nobody_waits_for_has_let_go_before_the_target_is_closed() -> None:
    """It took too long, its message was skipped meanwhile, and then the run ends."""
    ended: list[str] = []

    class Slow(MemoryDeadLetters):
        async def publish(self, letter: DeadLetter) -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                ended.append("publication")

        async def close(self) -> None:
            ended.append("target")

    broker = with_poison(before=0)
    async with quiet_guard() as guard, running(guard.run(orders(broker), Picky(), dead_letters=Slow())):
        (worker,) = await first_worker(guard)
        await until(lambda: held(guard) == ("dead letters",))
        guard.skip(ORDER, 0, reason="test data")
        await until(lambda: committed(broker) == 3)
        assert (worker._outbox._posts, len(worker._outbox._unwanted)) == ({}, 1)
        await guard.stop()
    assert ended == ["publication", "target"]


@in_virtual_time
async def test_a_publication_that_ends_after_its_message_was_skipped_changes_nothing() -> None:
    """The letter is there, and the message was given up: it is settled once."""
    broker, dead = with_poison(before=0), MemoryDeadLetters(delay=CONFIRM_WITHIN + 5)
    async with quiet_guard() as guard, running(guard.run(orders(broker), Picky(), dead_letters=dead)):
        (worker,) = await first_worker(guard)
        await until(lambda: held(guard) == ("dead letters",))
        guard.skip(ORDER, 0, reason="test data")
        await until(lambda: committed(broker) == 3)
        await until(lambda: len(dead.letters) == 1)
        await asyncio.sleep(0)
        assert (worker._outbox._posts, worker._outbox._unwanted) == ({}, set())


async def first_worker(guard: Guard) -> Collection[Any]:
    await until(lambda: bool(guard._workers) and all(worker.started for worker in guard._workers))
    return guard._workers


@in_virtual_time
async def test_a_worker_that_dies_between_letter_and_commit_costs_a_second_letter() -> None:
    """Never a message: the next worker rejects it again."""
    broker, dead = with_poison(), MemoryDeadLetters()

    class Dying(BreakingIntake):
        """Commits nothing any more once the letter is out, as a process does that was killed then."""

        async def flush(self) -> None:
            return

        def settle(self, delivery: Delivery[Any], settlement: Any) -> None:
            if not dead.letters:
                super().settle(delivery, settlement)

    intake = Dying(broker, topics=["orders"], commit_every=0.1)
    async with quiet_guard() as guard, running(guard.run(intake, Picky(), dead_letters=dead)):
        await until(lambda: len(dead.letters) == 1)
        await asyncio.sleep(1)
    assert committed(broker) == 2
    async with quiet_guard() as guard, running(guard.run(orders(broker), Picky(), dead_letters=dead)):
        await until(lambda: committed(broker) == 5)
    assert [letter.delivery.position for letter in dead.letters] == [2, 2]


@in_virtual_time
async def test_an_intake_that_cannot_settle_after_the_confirmation_ends_the_run_with_its_error() -> None:
    """Nobody else would hear of it."""
    broker, dead = with_poison(before=0, after=0), MemoryDeadLetters()
    intake = orders(broker)
    intake.breaks["settle"] = IntakeError("no channel")
    async with quiet_guard() as guard:
        with pytest.raises(IntakeError, match="no channel"):
            await guard.run(intake, Picky(), dead_letters=dead)


# -- poison and outage -----------------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_the_dead_letters_of_a_mixed_run_are_exactly_its_poison() -> None:
    """Poison, an outage, rebalances and a target that comes and goes: every message is processed, or is poison and a letter."""
    broker, dead = MemoryBroker(topics={"orders": 2}), MemoryDeadLetters()
    bodies = [POISON if number % 17 == 3 else b"%d" % number for number in range(200)]
    for number, body in enumerate(bodies):
        broker.produce("orders", body, partition=number % 2)
    is_down = False
    handler = Picky(Wrong)

    async def work(delivery: Delivery[Any]) -> None:
        if is_down:
            raise Down
        await handler(delivery)

    async with quiet_guard() as guard, running(guard.run(orders(broker), work, needs=[dependency()], dead_letters=dead)):
        for round_number in range(6):
            is_down = round_number % 2 == 1
            dead.failing = ConnectionError() if round_number in (2, 3) else None
            await asyncio.sleep(20)
            broker.rebalance(GROUP)
        is_down = False
        dead.failing = None
        await until(lambda: broker.committed(GROUP) == dict.fromkeys(ORDERS, 100), 3600)
    found = {(letter.source.number, letter.delivery.position) for letter in dead.letters}  # type: ignore[union-attr]
    assert found == {(number % 2, number // 2) for number, body in enumerate(bodies) if body == POISON}
    assert len(set(handler.done)) == len(bodies) - len(found)


def test_a_letter_is_cancelled_by_nobodys_scope() -> None:
    """A handler that cancels every task that it can find costs nothing but another try."""

    async def furious(delivery: Delivery[Any]) -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            if task.get_name().startswith("holdgate dead letter"):
                task.cancel()
        if delivery.body == POISON:
            raise Reject("poison")

    broker, dead = MemoryBroker(topics={"orders": 2}), MemoryDeadLetters(delay=0.5)
    broker.produce("orders", POISON, partition=0)
    letters: list[DeadLetter] = []

    @in_virtual_time
    async def run() -> None:
        async with quiet_guard() as guard, running(guard.run(orders(broker), furious, dead_letters=dead)):
            await asyncio.sleep(0.1)
            broker.produce("orders", b"", partition=1)
            await until(lambda: committed(broker) == 1)
        letters.extend(dead.letters)

    with contextlib.suppress(asyncio.CancelledError):
        run()
    assert [letter.body for letter in letters] == [POISON]
    assert dead.published == 2
