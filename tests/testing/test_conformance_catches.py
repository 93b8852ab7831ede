"""The conformance cases find what they are there to find: intakes with one mistake each, and the case that sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

import pytest

from holdgate.brokers.share import ShareDelivery
from holdgate.brokers.share import intake as share_intake
from holdgate.brokers.share import supervisor as share_supervisor
from holdgate.brokers.share.client import ShareClient
from holdgate.brokers.share.hand import Hand
from holdgate.brokers.share.last_delivery import LastDeliveries
from holdgate.brokers.share.settled import Settled
from holdgate.brokers.share.supervisor import Line, ShareSupervisor
from holdgate.flow.batch import Batch, batches_of
from holdgate.flow.message import Backlog, Delivery, Settlement, Source
from holdgate.flow.plan import Plan, SourcePlan
from holdgate.ports import IntakeListener
from holdgate.tasks import begin_later
from holdgate.testing import MemoryBroker, MemoryIntake, Message, run_virtual
from holdgate.testing.conformance import INTAKE_CASES, IntakeCase, cases_for
from holdgate.testing.memory.intake import PartitionSide
from tests.brokers.share.test_conformance_model import ModelBed
from tests.testing.test_conformance_memory import GROUP, PartitionBed, QueueBed

Made = Callable[..., MemoryIntake]
EVERYTHING = SourcePlan()
LONG_ENOUGH = 600.0  # virtual seconds: ten times a bed's patience


def admits_all(plan: Plan) -> Plan:
    return Plan(dict.fromkeys(plan.sources, EVERYTHING), plan.version)


class BrokenBed(PartitionBed):
    """Partitions, read by an intake with a mistake."""

    capabilities = PartitionBed.capabilities | {"batches"}

    def __init__(self, made: Made) -> None:
        super().__init__()
        self._made = made

    def intake(self, *, inbox: int = 50) -> MemoryIntake:
        return self._remember(self._made(self.broker, topics=["orders"], group=GROUP, inbox=inbox))

    def stranger(self) -> MemoryIntake:
        return self._made(self.broker, topics=["nowhere"], group=GROUP)


class BrokenQueueBed(QueueBed):
    """Queues, read by an intake with a mistake."""

    def __init__(self, made: Made) -> None:
        super().__init__()
        self._made = made

    def intake(self, *, inbox: int = 50) -> MemoryIntake:
        return self._remember(self._made(self.broker, queues=["orders", "mails"], prefetch=inbox))


class Listener:
    """Passes everything on to the guard; what is broken about it, its children say."""

    def __init__(self, guard: IntakeListener) -> None:
        self.guard = guard

    def assigned(self, sources: Collection[Source]) -> Plan:
        return self.guard.assigned(sources)

    async def revoked(self, sources: Collection[Source]) -> None:
        await self.guard.revoked(sources)

    def lost(self, sources: Collection[Source]) -> None:
        self.guard.lost(sources)


class ForgetsTheFirstPlan(Listener):
    def assigned(self, sources: Collection[Source]) -> Plan:
        return admits_all(self.guard.assigned(sources))


class TellsOfAssignmentsLate(Listener):
    def assigned(self, sources: Collection[Source]) -> Plan:
        asyncio.get_running_loop().call_later(1, self.guard.assigned, sources)
        return Plan(dict.fromkeys(sources, EVERYTHING))


class ForgetsAssigned(Listener):
    def assigned(self, sources: Collection[Source]) -> Plan:
        return Plan(dict.fromkeys(sources, EVERYTHING))


class HoldsAllForOne(Listener):
    def assigned(self, sources: Collection[Source]) -> Plan:
        plan = self.guard.assigned(sources)
        return plan if all(wanted.fetch for wanted in plan.sources.values()) else Plan()


class DoesNotWaitForRevoked(Listener):
    async def revoked(self, sources: Collection[Source]) -> None:
        self.late = begin_later(self.guard.revoked(sources), "late")  # an eager one would be done before this returns
        self.late.add_done_callback(lambda _: None)


class ForgetsRevoked(Listener):
    async def revoked(self, sources: Collection[Source]) -> None:
        pass


class ForgetsLost(Listener):
    def lost(self, sources: Collection[Source]) -> None:
        pass


def behind(broken: type[Listener]) -> Made:
    """A sound intake that speaks to the guard through a broken listener."""

    class Between(MemoryIntake):
        async def open(self, listener: IntakeListener) -> None:
            await super().open(broken(listener))

    Between.__name__ = broken.__name__
    return Between


class IgnoresPlans(MemoryIntake):
    def apply(self, plan: Plan) -> None:
        super().apply(admits_all(plan))


class HoldsForEver(MemoryIntake):
    held: frozenset[Source] = frozenset()

    def apply(self, plan: Plan) -> None:
        self.held |= {source for source, wanted in plan.sources.items() if not wanted.fetch}
        super().apply(Plan({source: wanted for source, wanted in plan.sources.items() if source not in self.held}))


class LooksAtReasonsAlone(MemoryIntake):
    def apply(self, plan: Plan) -> None:
        super().apply(Plan({source: SourcePlan(fetch=not wanted.held) for source, wanted in plan.sources.items()}))


class AdmitsTheUnknown(MemoryIntake):
    def apply(self, plan: Plan) -> None:
        side: Any = self._side
        super().apply(Plan({source: plan.sources.get(source, EVERYTHING) for source in side._assigned}))


class TakesEachPlanAsACommand(MemoryIntake):
    flips = 0

    def apply(self, plan: Plan) -> None:
        self.flips += 1
        super().apply(plan if self.flips % 2 else admits_all(plan))


class SettlesNothing(MemoryIntake):
    def settle(self, delivery: Delivery[Message], settlement: Settlement) -> None:
        pass


class SettlesWhatItDelivers(MemoryIntake):
    async def receive(self) -> Sequence[Delivery[Message]]:
        deliveries = await super().receive()
        for delivery in deliveries:
            super().settle(delivery, Settlement.ACK)
        return deliveries


class IgnoresRejects(MemoryIntake):
    def settle(self, delivery: Delivery[Message], settlement: Settlement) -> None:
        if settlement is not Settlement.REJECT:
            super().settle(delivery, settlement)


class CommitsTheNewest(MemoryIntake):
    """Everything up to what was settled last, whatever is unfinished before it."""

    def settle(self, delivery: Delivery[Message], settlement: Settlement) -> None:
        assignment: Any = getattr(delivery, "assigned", None)
        for position in range(delivery.position + 1):
            assignment.inflight.finished(position)
        super().settle(delivery, settlement)


class AcksTheNextTheSecondTime(MemoryIntake):
    def settle(self, delivery: Delivery[Message], settlement: Settlement) -> None:
        assignment: Any = getattr(delivery, "assigned", None)
        if assignment.inflight.next_position == delivery.position + 1:
            assignment.inflight.finished(delivery.position + 1)
        super().settle(delivery, settlement)


class CommitsLateResults(MemoryIntake):
    """A result of an earlier assignment settles the same offset in the current one."""

    def settle(self, delivery: Delivery[Message], settlement: Settlement) -> None:
        side: Any = self._side
        assignment = side._assigned.get(delivery.source)
        if assignment is not None:
            assignment.inflight = type(assignment.inflight)()
            assignment.inflight.delivered(delivery.position)
            assignment.inflight.finished(delivery.position)
            side._consumer.seek(delivery.source, delivery.position + 1)


class FlushesNothing(MemoryIntake):
    async def flush(self) -> None:
        pass


class LosesWhatIsRecordedAtTheClose(MemoryIntake):
    async def close(self) -> None:
        side: Any = self._side
        for assignment in getattr(side, "_assigned", {}).values():
            assignment.is_ours = False
            assignment.committed = 1 << 60
        await super().close()


class DeliversBackwards(MemoryIntake):
    async def receive(self) -> Sequence[Delivery[Message]]:
        return (await super().receive())[::-1]


class DropsEveryThird(MemoryIntake):
    seen = 0

    async def receive(self) -> Sequence[Delivery[Message]]:
        kept = []
        for delivery in await super().receive():
            self.seen += 1
            if self.seen % 3:
                kept.append(delivery)
        return kept


class WaitsForEver(MemoryIntake):
    async def receive(self) -> Sequence[Delivery[Message]]:
        while not (deliveries := await super().receive()):
            pass
        return deliveries


class CountsAttempts(MemoryIntake):
    async def receive(self) -> Sequence[Delivery[Message]]:
        deliveries = await super().receive()
        for delivery in deliveries:
            delivery.attempt = 1
        return deliveries


class OpensTwice(MemoryIntake):
    async def open(self, listener: IntakeListener) -> None:
        if not self._was_opened:
            await super().open(listener)


class OpensAnything(MemoryIntake):
    async def open(self, listener: IntakeListener) -> None:
        side: Any = self._side
        side.check = lambda: None
        await super().open(listener)


class ClosesOnce(MemoryIntake):
    closed = False

    async def close(self) -> None:
        if self.closed:
            raise RuntimeError("closed already")
        self.closed = True
        await super().close()


class ClosesOnlyWhatIsOpen(MemoryIntake):
    async def close(self) -> None:
        if not self._was_opened:
            raise RuntimeError("never opened")
        await super().close()


class HasAnotherInbox(MemoryIntake):
    def __init__(self, broker: MemoryBroker, **settings: Any) -> None:
        settings = {name: 500 if name in ("inbox", "prefetch") else value for name, value in settings.items()}
        super().__init__(broker, **settings)


class TellsAnotherInbox(MemoryIntake):
    @property
    def inbox(self) -> int:
        return 1


class CountsOnlyWhatIsInTheBroker(MemoryIntake):
    async def backlog(self) -> Mapping[Source, Backlog]:
        side = self._side
        assert isinstance(side, PartitionSide)
        return {
            source: Backlog((backlog.messages or 0) - side._assigned[source].inflight.unfinished)  # type: ignore[index]
            for source, backlog in (await super().backlog()).items()
        }


class CountsOnlyWhatIsInHand(MemoryIntake):
    async def backlog(self) -> Mapping[Source, Backlog]:
        side = self._side
        assert isinstance(side, PartitionSide)
        return {source: Backlog(assignment.inflight.unfinished) for source, assignment in side._assigned.items()}


class ClaimsAnAgeOfNothing(MemoryIntake):
    async def backlog(self) -> Mapping[Source, Backlog]:
        return {source: Backlog(backlog.messages, 1.0) for source, backlog in (await super().backlog()).items()}


class InBatches(MemoryIntake):
    """Without a mistake: it makes batches, and settles each whole."""

    def deliver_in_batches(self, most: int) -> None:
        pass

    async def receive(self) -> Sequence[Delivery[Message]]:
        return batches_of(await super().receive())

    def settle(self, delivery: Delivery[Any], settlement: Settlement) -> None:
        for one in delivery.message if isinstance(delivery, Batch) else [delivery]:
            super().settle(one, settlement)


class LosesTheEndOfABatch(InBatches):
    async def receive(self) -> Sequence[Delivery[Message]]:
        return [Batch(batch.source, batch.message[:2], batch.origin) for batch in await super().receive() if isinstance(batch, Batch)]


class SettlesTheFirstOfABatch(InBatches):
    def settle(self, delivery: Delivery[Any], settlement: Settlement) -> None:
        super().settle(delivery.message[0] if isinstance(delivery, Batch) else delivery, settlement)


class SettlesAllOfABatchWithOne(InBatches):
    async def receive(self) -> Sequence[Delivery[Message]]:
        self.all = [*getattr(self, "all", []), *(batches := await super().receive())]
        return batches

    def settle(self, delivery: Delivery[Any], settlement: Settlement) -> None:
        for batch in self.all:
            super().settle(batch, settlement)


class WeighsNothing(MemoryIntake):
    def weigh(self, deliveries: Sequence[Delivery[Message]]) -> int:
        return len(deliveries)


class DropsWhatDoesNotFit(MemoryIntake):
    """It takes the bound for that of one message."""

    most = 1 << 60
    sends_unasked = False
    read_ahead = 0

    def bound(self, memory: int) -> None:
        self.most = memory // 4

    async def receive(self) -> Sequence[Delivery[Message]]:
        return [delivery for delivery in await super().receive() if len(delivery.body or b"") <= self.most]


class HasSomethingForEver(MemoryIntake):
    sends_unasked = False
    read_ahead = 1

    def bound(self, memory: int) -> None:
        pass


class GivesBackAtOnce(ShareSupervisor):
    """A hold takes away what is in hand, however short it is."""

    async def _tend(self, line: Line, hand: Hand, plan: SourcePlan) -> bool:
        if plan.held and not hand.is_copy:
            hand.note_hold()
            await self._give_back(hand, plan)
            return True
        return await super()._tend(line, hand, plan)


class LooksAgainInALongHold(ShareSupervisor):
    """After a lock without anything in hand it asks the broker once more, though the source is still held."""

    async def _wait(self, seconds: float | None) -> None:
        now = asyncio.get_running_loop().time
        looks_at = now() + ModelBed.lock
        await super()._wait(ModelBed.lock if seconds is None else seconds)
        if now() >= looks_at and not self._stopping and not self._hands():
            await self._poll(self._lines[0])


class KeepsNoCopies(ShareSupervisor):
    """Each probe takes records from the broker."""

    def _keeps_copies(self, hand: Hand, plan: SourcePlan) -> bool:
        return False


class ForgetsWhatProbesHaveSettled(ShareSupervisor):
    """A copy that was handled is handed out anew when its record comes from the broker."""

    def _remember(self, handled: Sequence[ShareDelivery]) -> None:
        super()._remember(handled)
        self._settled = Settled()


class SettlesByPlace(ShareSupervisor):
    """What is settled after it went back settles the same message, which has come again and is in work."""

    def settle(self, delivery: ShareDelivery) -> None:
        current = [each for hand in self._hands() for each in hand.unsettled.values() if each.place == delivery.place]
        super().settle(current[0] if current else delivery)


class ForgetsTheLastDelivery(LastDeliveries):
    """What the broker archives goes back like everything else."""

    async def rescue(self, client: ShareClient, returning: Iterable[ShareDelivery], until: float) -> Collection[ShareDelivery]:
        return []


PARTITION_MISTAKES: list[tuple[Made, str]] = [
    (behind(ForgetsTheFirstPlan), "a_source_held_at_its_assignment_delivers_nothing"),
    (behind(ForgetsTheFirstPlan), "a_hold_survives_a_rebalance"),
    (behind(ForgetsTheFirstPlan), "a_hold_survives_a_loss"),
    (behind(TellsOfAssignmentsLate), "deliveries_come_in_order_with_their_source"),
    (behind(DoesNotWaitForRevoked), "what_is_finished_while_revoked_is_settled"),
    (behind(ForgetsRevoked), "a_shared_group_shares_the_sources"),
    (behind(ForgetsLost), "a_lost_source_comes_back"),
    (IgnoresPlans, "a_source_held_later_delivers_nothing_more"),
    (HoldsForEver, "a_plan_that_is_applied_again_changes_nothing"),
    (HoldsForEver, "a_source_held_later_delivers_nothing_more"),
    (LooksAtReasonsAlone, "a_full_inbox_stops_it_without_a_reason"),
    (AdmitsTheUnknown, "a_source_the_plan_does_not_list_delivers_nothing"),
    (TakesEachPlanAsACommand, "a_plan_that_is_applied_again_changes_nothing"),
    (SettlesNothing, "what_is_acked_does_not_come_again"),
    (SettlesNothing, "the_last_ack_out_of_turn_settles_all"),
    (SettlesWhatItDelivers, "nothing_settled_nothing_lost"),
    (SettlesWhatItDelivers, "unfinished_work_comes_again_after_a_rebalance"),
    (CommitsTheNewest, "an_ack_out_of_turn_covers_nothing_before_it"),
    (CommitsLateResults, "a_settlement_after_a_revocation_changes_nothing"),
    (CommitsLateResults, "a_settlement_after_a_loss_changes_nothing"),
    (FlushesNothing, "a_flush_is_enough"),
    (LosesWhatIsRecordedAtTheClose, "closing_sends_what_is_recorded"),
    (DeliversBackwards, "deliveries_come_in_order_with_their_source"),
    (DropsEveryThird, "deliveries_come_in_order_with_their_source"),
    (CountsAttempts, "deliveries_come_in_order_with_their_source"),
    (OpensTwice, "opening_twice_is_refused"),
    (OpensAnything, "an_unknown_name_is_refused"),
    (ClosesOnce, "closing_twice_is_fine"),
    (ClosesOnlyWhatIsOpen, "closing_unopened_is_fine"),
    (TellsAnotherInbox, "it_has_its_names_and_inbox"),
    (HasAnotherInbox, "one_receive_fills_no_more_than_the_inbox"),
    (CountsOnlyWhatIsInTheBroker, "the_backlog_counts_what_is_not_settled"),
    (CountsOnlyWhatIsInHand, "the_backlog_of_a_held_source_grows"),
    (ClaimsAnAgeOfNothing, "the_backlog_counts_what_is_not_settled"),
    (AcksTheNextTheSecondTime, "a_second_ack_changes_nothing"),
    (WaitsForEver, "an_empty_receive_returns"),
    (behind(ForgetsAssigned), "every_source_is_assigned_before_it_delivers"),
    (behind(HoldsAllForOne), "the_other_source_goes_on"),
    (WeighsNothing, "big_messages_come_under_a_bound"),
    (DropsWhatDoesNotFit, "big_messages_come_under_a_bound"),
    (HasSomethingForEver, "big_messages_come_under_a_bound"),
    (LosesTheEndOfABatch, "in_batches_everything_comes"),
    (SettlesTheFirstOfABatch, "a_batch_is_settled_whole"),
    (SettlesAllOfABatchWithOne, "a_batch_is_settled_in_parts"),
]
QUEUE_MISTAKES: list[tuple[Made, str]] = [
    (HasAnotherInbox, "the_prefetch_bounds_what_is_unsettled"),
    (IgnoresRejects, "what_is_rejected_does_not_come_again"),
    (SettlesNothing, "the_prefetch_bounds_what_is_unsettled"),
    (behind(ForgetsTheFirstPlan), "a_hold_survives_a_loss"),
]
# Made of the real intake on the model of a share group: MemoryIntake has no locks.
SHARE_MISTAKES: list[tuple[type[ShareSupervisor | LastDeliveries], str]] = [
    (GivesBackAtOnce, "a_short_hold_costs_no_delivery"),
    (LooksAgainInALongHold, "a_long_hold_costs_one_delivery"),
    (KeepsNoCopies, "a_probe_that_fails_costs_no_delivery"),
    (ForgetsWhatProbesHaveSettled, "what_probes_have_settled_does_not_come_again"),
    (SettlesByPlace, "what_takes_longer_than_its_lock_comes_again"),
    (ForgetsTheLastDelivery, "what_is_delivered_for_the_last_time_is_not_lost"),
]

WHERE_MADE: dict[type, tuple[ModuleType, str]] = {
    ShareSupervisor: (share_intake, "ShareSupervisor"),
    LastDeliveries: (share_supervisor, "LastDeliveries"),
}


def named(name: str) -> IntakeCase:
    return next(case for case in INTAKE_CASES if case.name == name)


async def fails(case: IntakeCase, bed: PartitionBed | ModelBed) -> None:
    """The case ends with an error of its own or of the intake, or hangs where a receive never comes back."""
    try:
        async with asyncio.timeout(LONG_ENOUGH):
            await case(bed)
    except (AssertionError, RuntimeError, TimeoutError):
        return
    raise AssertionError(f"{case} saw nothing")


@pytest.mark.parametrize(("made", "name"), PARTITION_MISTAKES)
def test_a_mistake_with_partitions_is_seen(made: Made, name: str) -> None:
    """By the case that is meant for it."""
    run_virtual(fails(named(name), BrokenBed(made)))


@pytest.mark.parametrize(("made", "name"), QUEUE_MISTAKES)
def test_a_mistake_with_queues_is_seen(made: Made, name: str) -> None:
    """By the case that is meant for it."""
    run_virtual(fails(named(name), BrokenQueueBed(made)))


@pytest.mark.parametrize(("broken", "name"), SHARE_MISTAKES)
def test_a_mistake_with_share_groups_is_seen(
    broken: type[ShareSupervisor | LastDeliveries], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the case that is meant for it, and by none of the others: each is needed."""
    monkeypatch.setattr(*WHERE_MADE[broken.__mro__[1]], broken)
    for case in cases_for(ModelBed.capabilities):
        bed = ModelBed()
        bed.broker.install(monkeypatch)
        run_virtual(fails(case, bed) if case.name == name else case(bed))


@pytest.mark.parametrize("broken", [broken for broken, _ in SHARE_MISTAKES])
def test_a_mistake_with_share_groups_replaces_what_is_there(broken: type[ShareSupervisor | LastDeliveries]) -> None:
    """A method that the product has renamed would be a mistake that nobody makes."""
    of_its_own = {name for name in vars(broken) if not name.startswith("__")}
    assert of_its_own <= set(dir(broken.__mro__[1]))


def test_an_intake_that_makes_batches_passes() -> None:
    """So that the mistakes with batches are seen for themselves."""
    for case in INTAKE_CASES:
        if "batches" in case.requires:
            run_virtual(case(BrokenBed(InBatches)))


def test_every_case_sees_some_mistake() -> None:
    """One that nothing turns red is worth nothing."""
    seen = {name for _, name in [*PARTITION_MISTAKES, *QUEUE_MISTAKES, *SHARE_MISTAKES]}

    assert {case.name for case in INTAKE_CASES} == seen


def test_a_case_that_the_broker_cannot_do_is_refused() -> None:
    """It would otherwise fail for a reason that is nobody's mistake."""
    with pytest.raises(ValueError, match="needs a bed with the capabilities members"):
        run_virtual(named("a_hold_survives_a_rebalance")(QueueBed()))
