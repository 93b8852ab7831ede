from __future__ import annotations

from aiokafka import TopicPartition
from tests.brokers.kafka.fakes import FakeClient

from holdgate.brokers.kafka.deliveries import RECORDS
from holdgate.brokers.kafka.fetching import Pauses
from holdgate.brokers.partitions import AssignedPartitions
from holdgate.flow.message import Partition
from holdgate.flow.plan import Plan, SourcePlan

A, B = TopicPartition("orders", 0), TopicPartition("orders", 1)
FREE, FULL, HELD = SourcePlan(), SourcePlan(fetch=False), SourcePlan(fetch=False, reasons=("circuit:payments",))


def plan(a: SourcePlan = FREE, b: SourcePlan = FREE) -> Plan:
    return Plan({Partition("orders", 0): a, Partition("orders", 1): b})


class World:
    def __init__(self) -> None:
        self.client, self.partitions = FakeClient(), AssignedPartitions(RECORDS)
        self.pauses = Pauses(self.client, self.partitions)
        self.partitions.add([A, B])
        self.pauses.take_over(plan())
        self.pauses.checked([A, B])
        self.pauses.match()

    def apply(self, wanted: Plan) -> bool:
        self.pauses.store(wanted)
        return self.pauses.match()


def test_everything_new_is_paused_until_it_was_compared() -> None:
    """An assignment forgets every pause; what was not compared with the log's start is not fetched from yet."""
    world = World()
    world.client.flags = frozenset()
    world.partitions.add([A, B])
    world.pauses.take_over(plan())
    assert world.client.flags == {A, B}
    assert world.pauses.due() == {A, B}
    world.pauses.checked([A])
    assert world.pauses.match()
    assert world.client.flags == {B}


def test_a_source_the_plan_does_not_know_is_paused() -> None:
    """Until the engine has spoken nothing is read from it."""
    world = World()
    world.apply(Plan({Partition("orders", 0): FREE}))
    assert world.client.flags == {B}


def test_a_full_inbox_pauses_and_resumes_at_once() -> None:
    """Back-pressure is no hold: nothing is compared, so it is resumed in the same step."""
    world = World()
    assert not world.apply(plan(a=FULL))
    assert (world.client.flags, world.pauses.paused) == ({A}, {A})
    assert world.apply(plan())
    assert (world.client.flags, world.pauses.paused) == (frozenset(), frozenset())


def test_a_hold_is_resumed_only_when_compared() -> None:
    """After a hold the log may have been cut: the plan alone resumes nothing."""
    world = World()
    world.apply(plan(a=HELD))
    assert not world.apply(plan())
    assert world.client.flags == {A}
    assert world.pauses.due() == {A}
    world.pauses.checked([A])
    assert world.pauses.match()
    assert world.client.flags == frozenset()


def test_what_the_application_paused_is_not_ours_to_resume() -> None:
    """`paused()` does not say who paused: a hold over it, and its end, leave it as it was."""
    world = World()
    world.client.pause([B])
    world.apply(plan(b=FULL))
    world.apply(plan())
    assert world.client.flags == {B}
    assert world.pauses.paused == {B}


def test_a_pause_that_was_undone_is_made_again() -> None:
    """Level-triggered."""
    world = World()
    world.apply(plan(a=HELD))
    world.client.resume([A])
    world.pauses.refresh()
    assert world.client.flags == {A}


def test_given_up_nothing_of_ours_is_paused() -> None:
    """A caller's consumer goes back without our pauses, and with its own."""
    world = World()
    world.client.pause([B])
    world.pauses.refresh()
    world.apply(plan(a=HELD))
    world.pauses.undo()
    assert world.client.flags == {B}


def test_a_new_hold_is_told() -> None:
    """`store` says whether something is held that was not; a full inbox is no hold, nor is one that goes on."""
    world = World()
    assert not world.pauses.store(plan(a=FULL))
    assert world.pauses.store(plan(a=HELD))
    assert not world.pauses.store(plan(a=HELD))
    assert world.pauses.store(plan(a=HELD, b=HELD))


def test_a_suspected_place_is_compared_first() -> None:
    """A fetch that was out of range pauses the partition until it was compared."""
    world = World()
    world.pauses.recheck([A])
    world.pauses.match()
    assert world.client.flags == {A}
    assert world.pauses.due() == {A}


def test_only_what_changed_is_looked_at() -> None:
    """A new plan that shares all but one entry with the last one changes that one, and keeps the others."""
    world = World()
    first = plan(a=HELD)
    world.apply(first)
    source = Partition("orders", 1)
    second = Plan({**first.sources, next(each for each in first.sources if each == source): FULL})
    world.apply(second)
    assert world.client.flags == {A, B}


def test_another_set_of_sources_is_looked_at_as_a_whole() -> None:
    """A source that left the plan is not known any more, and paused."""
    world = World()
    world.apply(Plan({Partition("orders", 1): FREE}))
    assert world.client.flags == {A}
    world.apply(Plan({Partition("orders", 0): FREE}))
    assert world.client.flags == {A, B}  # A stays until compared: unknown was a hold
    assert world.pauses.due() == {A}


def test_a_fresh_assignment_begins_with_its_own_plan() -> None:
    """What the new plan stops is stopped, what only the old one stopped is not."""
    world = World()
    world.apply(plan(a=FULL))
    world.partitions.add([A, B])
    world.client.flags = frozenset()
    world.pauses.take_over(plan(b=FULL))
    world.pauses.checked([A, B])
    world.pauses.match()
    assert world.client.flags == {B}


def test_what_rests_is_paused_until_the_plan_counts_with_it() -> None:
    """It handed out much: nothing more is fetched of it, whatever the plan from before says, and afterwards what the new one says."""
    world = World()
    world.pauses.await_plan(A)
    world.pauses.match()
    assert (world.client.flags, world.pauses.awaits_plan) == ({A}, True)

    world.pauses.plan_is_current()
    world.apply(plan(b=FULL))

    assert (world.client.flags, world.pauses.awaits_plan) == ({B}, False)
