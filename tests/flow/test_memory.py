"""Memory by bytes: what waits of one source, what is in hand of all, and who goes on when there is no room."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.flow.stage import Sized

from holdgate.core import Circuit
from holdgate.flow.batch import AS_THEY_ARE, Batch
from holdgate.flow.engine import Engine
from holdgate.flow.inbox import Order
from holdgate.flow.message import Delivery, Partition
from holdgate.flow.policy import Needs
from holdgate.flow.state import Assignment, Run

BOUND = 64_000_000
LIMIT = BOUND * 3 // 4


def sizes(deliveries: Any) -> int:
    return sum(sum(one.size for one in each.message) if isinstance(each, Batch) else each.size for each in deliveries)


class World:
    """An engine with so many sources of one topic and others; deliveries come when told to."""

    def __init__(
        self,
        *topics: str,
        partitions: int = 1,
        bound: int | None = BOUND,
        inbox: int = 500,
        order: Order = "source",
        batch: int | None = None,
        unasked: bool = False,
    ) -> None:
        self.now = 0.0
        self.engine = Engine(draw=lambda: 0.5, memory=bound)
        self.engine.add_gate(Circuit("payments"))
        lanes = None if order == "source" else 4
        needs = Needs(["payments"])
        self.run = Run(needs, order=order, concurrency=lanes, inbox=inbox, weigh=sizes, sends_unasked=unasked, batch=batch)
        self.engine.add_run(self.run)
        self.sources = [Partition(topic, number) for topic in topics or ("orders",) for number in range(partitions)]
        self.engine.assigned(self.run, self.sources, self.now)
        self.position = 0
        self.turn()

    def turn(self, later: float = 0.0) -> None:
        self.now += later
        self.engine.turn(self.now)

    def come(self, count: int, size: int, source: int = 0) -> None:
        """A poll gives so many messages of that size."""
        came: list[Any] = [Sized(self.sources[source], self.position + number, size) for number in range(count)]
        self.position += count
        if self.run.batch is not None:
            came = [Batch(self.sources[source], came, AS_THEY_ARE)]
        self.engine.received(self.run, came)
        self.turn()

    def start(self) -> Delivery[Any]:
        delivery = self.engine.next(self.run, self.now)
        assert delivery is not None
        return delivery

    def end(self, delivery: Delivery[Any]) -> Delivery[Any] | None:
        """The handler returned, and its lane takes what follows."""
        following = self.engine.pass_on(delivery, self.now)
        if self.engine.needs_turn:
            self.turn()
        return following

    def assignment(self, source: int = 0) -> Assignment:
        return self.run.assignments[self.sources[source]]

    def fetches(self, source: int = 0) -> bool:
        return self.run.plan.of(self.sources[source]).fetch


# -- what waits of one source ---------------------------------------------------------------------------------------------------------


def test_a_source_of_big_messages_is_read_no_further_than_its_share() -> None:
    """A sixteenth of 64 MB is 4 MB, though 500 messages may wait: the fourth that waits is the last."""
    world = World()
    running = []
    for _ in range(5):
        assert world.fetches()
        world.come(1, 1_000_000)
        running += [world.start()] if not running else []

    assert (world.fetches(), world.assignment().plan.reasons) == (False, ())


def test_a_source_is_read_again_when_half_of_it_is_worked_off() -> None:
    """Not after each message: pausing and resuming costs a step each."""
    world = World()
    for _ in range(8):
        world.come(1, 500_000)
    delivery: Any = world.start()
    while world.assignment().inbox.waiting > 4:
        assert not world.fetches()
        delivery = world.end(delivery)

    assert world.fetches()


def test_of_mixed_sizes_it_is_bytes_that_must_be_worked_off() -> None:
    """Half of the messages are gone, and what is left is as big as before."""
    world = World()
    world.come(6, 1000)
    world.come(1, 8_000_000)
    delivery: Any = world.start()
    while world.assignment().inbox.waiting:
        assert not world.fetches()
        delivery = world.end(delivery)

    assert delivery.size == 8_000_000
    assert world.fetches()


def test_more_sources_have_less_each() -> None:
    """A hundred of them: 640 kB, and one that is gone leaves its share to the others."""
    world = World(partitions=100)
    world.come(1, 639_999)
    assert world.fetches()
    world.come(1, 1)
    assert not world.fetches()

    world.engine.forget(world.run, world.sources[50:], world.now)
    world.come(1, 1_200_000, source=1)

    assert world.fetches(1)


def test_a_run_with_batches_may_have_a_batch_in_hand() -> None:
    """Batches are made of what waits: a source has the bound by the number of sources, so that they are full where they can be."""
    world = World(partitions=4, batch=100)
    world.come(100, 100_000)
    assert world.fetches()

    world.come(60, 100_000)

    assert not world.fetches()


def test_without_a_bound_only_messages_are_counted() -> None:
    """None is for who knows that all is small; what is in hand is told all the same."""
    world = World(bound=None)
    world.come(499, 1_000_000)
    assert world.fetches()
    snapshot = world.engine.snapshot(world.now)

    assert (snapshot.memory, snapshot.held_bytes, snapshot.waiting_for_room) == (None, 499_000_000, 0)


# -- what is in hand of all -----------------------------------------------------------------------------------------------------------


def fill(world: World, size: int = 3_000_000) -> int:
    """Let every source have one after the other, until none is read any more; returns how many came."""
    count = 0
    while any(world.fetches(source) for source in range(len(world.sources))):
        source = next(source for source in range(len(world.sources)) if world.fetches(source))
        world.come(1, size, source)
        count += 1
    return count


def test_all_sources_together_stop_before_the_bound() -> None:
    """Sixty sources of 3 MB messages, and each might have one: room for two is left for what the client does meanwhile."""
    world = World(partitions=60)

    assert fill(world) * 3_000_000 in range(LIMIT - 3 * 3_000_000, LIMIT)
    assert world.engine.snapshot(world.now).waiting_for_room > 40


def test_room_is_given_to_all_that_have_none() -> None:
    """When an eighth is worked off, every source that has nothing in hand may be read."""
    world = World(partitions=60)
    came = fill(world)
    for delivery in [world.start() for _ in range(3)]:
        world.end(delivery)

    snapshot = world.engine.snapshot(world.now)

    assert snapshot.waiting_for_room == 0
    assert [seen.fetch for seen in snapshot.sources.values() if not seen.held_bytes] == [True] * (60 - came + 3)


def test_small_messages_go_on_beside_big_ones_that_fill_the_bound() -> None:
    """A source of small messages has a corner of its own: one source's big ones are no outage for it."""
    world = World("big", "small", partitions=30)
    for number in range(30):
        world.come(1, 3_000_000, number)

    assert not any(world.fetches(number) for number in range(30))
    assert all(world.fetches(number) for number in range(30, 60))
    world.come(100, 1000, 30)
    assert world.fetches(30)
    world.come(100, 1000, 30)
    assert not world.fetches(30)


def test_a_source_that_had_nothing_yet_is_like_others_of_its_name() -> None:
    """A partition of the topic of big messages will have big messages."""
    world = World("big", "other", partitions=20)
    for number in range(16):
        world.come(1, 3_000_000, number)

    assert (world.fetches(17), world.fetches(20)) == (False, True)


def test_when_only_held_sources_have_something_the_others_go_on() -> None:
    """An outage of one dependency may fill the bound for hours: what does not need it has one at a time."""
    world = World(partitions=20)
    for number in range(15):
        world.come(1, 3_000_000, number)
    assert not world.fetches(16)
    for number in range(15):
        assert world.engine.hold(world.sources[number])
    world.turn(1.0)

    assert world.fetches(16)
    world.come(1, 3_000_000, 16)
    assert not world.fetches(17)


def test_big_ones_go_on_beside_an_outage_and_small_ones() -> None:
    """The bound is full of what an outage holds, and small messages are always in hand: big ones of another source have their turn too."""
    world = World("held", "small", "big", partitions=10)
    world.come(1, 3_000_000, 20)
    world.end(world.start())
    for number in [*range(10), *range(6)]:
        world.come(1, 3_000_000, number)
    world.come(10, 1000, 10)
    world.engine.hold("held")
    world.turn(1.0)

    assert all(world.fetches(number) for number in range(10, 30))
    world.come(1, 3_000_000, 21)
    assert [world.fetches(number) for number in (11, 22)] == [True, False]


def test_with_very_many_sources_the_sum_is_not_made_at_every_end() -> None:
    """A look at a thousand places takes a millisecond: it waits until that is a small part of the time."""
    world = World(partitions=600)
    fill(world, 400_000)
    world.turn(1.0)
    first, second = world.start(), world.start()
    before = world.engine.memory.held
    world.engine.pass_on(first, world.now)
    world.turn()
    assert (world.engine.memory.due, world.engine.memory.held) == (True, before)

    world.engine.pass_on(second, world.now)
    world.turn(0.006)

    assert (world.engine.memory.due, world.engine.memory.held) == (False, before - 800_000)


def test_batches_that_come_in_peace_are_weighed_too() -> None:
    """Without a turn for each of them, an eighth of the bound is a reason for one."""
    world = World(partitions=60, batch=100)
    came = [Batch(source, [Sized(source, number, 100_000) for number in range(9)], AS_THEY_ARE) for source in world.sources[:10]]

    assert world.engine.received_quietly(world.run, came[:5])
    assert not world.engine.received_quietly(world.run, came[5:])


@pytest.mark.parametrize("order", ["source", "none"])
def test_one_message_may_always_pass(order: Order) -> None:
    """Ten times the bound: it comes, and when it is done, the next."""
    world = World(order=order)
    world.come(1, 640_000_000)
    delivery = world.start()
    world.turn()
    assert not world.fetches()

    world.end(delivery)

    assert world.fetches()


def test_a_window_that_the_broker_fills_is_not_left_lying() -> None:
    """What is in the process already is handed out: not to take it would save nothing."""
    world = World(partitions=20, unasked=True)
    for number in range(20):
        world.come(1, 3_000_000, number)

    assert all(world.fetches(number) for number in range(20))


def test_what_is_revoked_makes_room() -> None:
    """The other sources are read at the next turn."""
    world = World(partitions=20)
    fill(world)
    world.engine.forget(world.run, world.sources[:14], world.now)
    world.turn()

    assert world.fetches(19)


def test_what_is_in_work_counts_and_what_is_dropped_does_not() -> None:
    """A message is in memory as long as its handler has it."""
    world = World()
    world.come(2, 1_000_000)
    delivery = world.start()

    assert world.engine.snapshot(world.now).held_bytes == 2_000_000
    world.end(delivery)
    assert world.engine.snapshot(world.now).sources[world.sources[0]].held_bytes == 1_000_000
    world.engine.closing(world.run, world.sources, world.now)
    assert world.engine.snapshot(world.now).held_bytes == 0


def test_a_piece_put_back_fills_its_inbox_once() -> None:
    """A batch cut down by a ramp comes back to an inbox that is full already."""
    world = World(inbox=4, batch=4)
    world.come(4, 1000)
    batch = world.start()
    world.come(4, 1000)
    assert not world.fetches()

    world.assignment().put_back(batch.cut(2))  # type: ignore[attr-defined]

    assert world.assignment().full


# -- where the edges are --------------------------------------------------------------------------------------------------------------


def test_a_bound_that_nothing_has_filled() -> None:
    """Whole bytes: a sixteenth for one source, and an eighth of the bound as a corner for small messages."""
    memory = World().engine.memory

    assert (memory.tight, memory.due, memory.held, memory.waiting, memory.is_due) == (False, False, 0, 0, False)
    assert (repr(memory.share), repr(memory._corner)) == ("4000000", "8000000")


def test_shares_are_whole_bytes_of_all_sources() -> None:
    """Seventeen sources: each has less than a sixteenth."""
    memory = World(partitions=17).engine.memory

    assert (repr(memory.share), repr(memory._corner)) == (str(BOUND // 17), str(BOUND // (8 * 17)))


def test_a_bound_of_none_is_never_tight_and_never_due() -> None:
    """Whatever comes."""
    world = World(bound=None)
    world.come(100, 10_000_000)
    memory = world.engine.memory

    assert (memory.tight, memory.due, memory.waiting, memory.share, memory.is_due) == (False, False, 0, 0, False)


def hold_in_hand(world: World, size: int) -> None:
    """Let so many bytes be in hand of one source, in messages of a thousand, and have the sum made anew."""
    assert not size % 1000
    world.come(size // 1000, 1000)
    world.engine.memory._came = world.engine.memory._limit
    world.turn()


@pytest.mark.parametrize(("more", "tight"), [(0, False), (1000, True)])
def test_it_is_tight_above_three_quarters_and_room_for_two(more: int, tight: bool) -> None:
    """Exactly as much as may be in hand is not too much."""
    world = World(bound=8_000_000, inbox=100_000)
    hold_in_hand(world, 6_000_000 - 2 * 1000 + more)

    assert (world.engine.memory.held, world.engine.memory.tight) == (5_998_000 + more, tight)


@pytest.mark.parametrize(("size", "tight"), [(3_000_000, False), (3_001_000, True)])
def test_room_for_two_is_never_more_than_half(size: int, tight: bool) -> None:
    """A message of half the bound would leave room for nothing else."""
    world = World(bound=8_000_000)
    world.come(1, size)
    world.engine.memory._came = world.engine.memory._limit
    world.turn()

    assert world.engine.memory.tight is tight


@pytest.mark.parametrize(("left", "tight"), [(5_248_000, False), (5_249_000, True)])
def test_once_tight_it_stays_so_until_an_eighth_less_is_in_hand(left: int, tight: bool) -> None:
    """To read one message for each that ends would be a turn for each."""
    world = World(bound=8_000_000, inbox=100_000)
    hold_in_hand(world, 6_000_000)
    assert world.engine.memory.tight
    delivery: Any = world.start()
    while world.engine.memory.sum() > left:
        delivery = world.engine.pass_on(delivery, world.now)
    world.turn(1.0)

    assert (world.engine.memory.held, world.engine.memory.tight) == (left, tight)


def test_the_time_to_look_again_is_exact() -> None:
    """A tenth of a second after the last look, and not before."""
    world = World(bound=8_000_000, inbox=100_000)
    hold_in_hand(world, 6_000_000)
    delivery = world.start()
    world.engine.pass_on(delivery, world.now)
    world.engine.memory.due = False
    world.turn(0.09)
    assert world.engine.memory.held == 6_000_000
    world.now = 0.1
    world.turn()
    assert world.engine.memory.held == 5_999_000


# -- whatever comes -------------------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    partitions=st.integers(1, 6),
    order=st.sampled_from(["source", "key", "none"]),
    big=st.integers(1, 20_000_000),
)
def test_no_source_starves_and_nothing_piles_up(seed: int, partitions: int, order: Order, big: int) -> None:
    """Sources of big, of small, and of mixed messages, quick and slow: each comes to its end, and what is in hand stays within the bound
    and one poll."""
    chance = random.Random(seed)
    world = World("big", "small", "mixed", partitions=partitions, order=order)
    left = {
        number: deque({"big": big, "small": 1000, "mixed": chance.choice([500, big])}[source.name] for _ in range(12))
        for number, source in enumerate(world.sources)
    }
    running: list[Delivery[Any]] = []
    most = 0
    for _ in range(200_000):
        world.turn(0.01)
        ready = [number for number, coming in left.items() if coming and world.fetches(number)]
        if ready and chance.random() < 0.7:
            number = chance.choice(ready)
            world.come(1, left[number].popleft(), number)
        while (delivery := world.engine.next(world.run, world.now)) is not None:
            running.append(delivery)
        most = max(most, world.engine.memory.sum())
        if running and chance.random() < 0.6:
            world.engine.succeeded(running.pop(chance.randrange(len(running))), world.now)
        if not running and not any(left.values()) and not world.engine.memory.sum():
            break

    assert not any(left.values())
    assert not running
    assert most <= LIMIT + big + BOUND // 8
