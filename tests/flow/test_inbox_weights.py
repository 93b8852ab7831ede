"""What waits in one source, in bytes: weighed poll by poll, and worked off at the mean of each."""

from __future__ import annotations

from tests.flow.stage import Sized

from holdgate.flow.batch import AS_THEY_ARE, Batch
from holdgate.flow.inbox import OVERHEAD, Weights, unweighed, weigh
from holdgate.flow.message import Partition


def test_a_message_weighs_its_body_its_key_and_what_is_around_it() -> None:
    """A tombstone has no body; a batch weighs what its messages do."""
    messages = [Sized(Partition("orders", 0), 0, 100), Sized(Partition("orders", 0), 1, -1)]

    assert weigh(messages) == 100 + 2 * (3 + OVERHEAD)
    assert weigh([Batch(messages[0].source, messages, AS_THEY_ARE)]) == weigh(messages)
    assert unweighed(messages) == 0


def test_what_is_finished_of_a_poll_is_taken_off_at_its_mean() -> None:
    """Ten of a thousand bytes each: after three, the other seven."""
    weights = Weights()
    weights.add(10, 100_000)

    assert weights.settle(3, ()) == 70_000
    assert weights.settle(3, {5, 6}) == 50_000
    assert weights.most == 50_000
    assert weights.settle(10, ()) == 0


def test_a_big_message_beside_small_ones_keeps_its_weight() -> None:
    """One of 8 MB that came by itself counts with 8 MB until it is finished itself, whatever became of those before it."""
    weights = Weights()
    weights.add(500, 500_000)
    weights.add(1, 8_000_000)

    assert weights.settle(0, {500}) == 500_000
    assert weights.settle(500, ()) == 8_000_000


def test_small_polls_are_weighed_together() -> None:
    """A message at a time, as a trickle comes, makes no list as long as the inbox."""
    weights = Weights()
    for _ in range(100):
        weights.add(1, 1000)

    assert len(weights._polls) == 2
    assert weights.settle(40, ()) == 60_000
    assert weights.newest(10) == 10_000


def test_the_newest_are_weighed_from_the_end() -> None:
    """What waits is what came last: two small ones, and of a big poll before them its part."""
    weights = Weights()
    weights.add(2, 2_000_000)
    weights.add(2, 200_000)

    assert (weights.newest(0), weights.newest(2), weights.newest(3), weights.newest(9)) == (0, 200_000, 1_200_000, 2_200_000)


def test_an_empty_poll_weighs_nothing() -> None:
    """Nobody divides by it."""
    weights = Weights()
    weights.add(0, 0)

    assert weights.settle(0, ()) == weights.typical == 0


def test_a_source_that_had_big_ones_is_expected_to_have_more() -> None:
    """One small message says nothing of the next; a few do."""
    weights = Weights()
    weights.add(1, 3_000_000)
    weights.add(1, 1000)
    assert weights.typical > 2_000_000
    for _ in range(100):
        weights.add(1, 1000)

    assert weights.typical == 1000


def test_nothing_weighs_nothing() -> None:
    """A new one, and one that was cleared."""
    weights = Weights()
    assert (weights.most, weights.typical, weights.newest(5), weights.settle(0, ())) == (0, 0, 0, 0)
    weights.add(3, 600_000)
    weights.clear()
    assert (weights.most, weights.newest(5), weights.settle(0, ())) == (0, 0, 0)


def test_the_upper_bound_adds_up_until_it_is_settled() -> None:
    """What ended meanwhile is still in it."""
    weights = Weights()
    weights.add(1, 100_000)
    weights.add(1, 200_000)
    assert weights.most == 300_000
    weights.settle(1, ())
    assert weights.most == 200_000


def test_a_mean_is_of_whole_bytes_and_fades_by_an_eighth() -> None:
    """Of the last few polls the biggest counts, each time a little less."""
    weights = Weights()
    weights.add(3, 1_000)
    assert repr(weights.typical) == "333"
    weights.add(1, 100)
    assert repr(weights.typical) == "291"  # 333 * 7 // 8
    weights.add(1, 1)
    assert repr(weights.typical) == "254"
    assert Weights().typical == 0


def test_one_message_alone_is_its_own_mean() -> None:
    """Not half of it."""
    weights = Weights()
    weights.add(1, 900)
    assert weights.typical == 900


def test_polls_join_up_to_the_limit_itself() -> None:
    """64 KiB together are one entry, and a byte more begins another."""
    weights = Weights()
    weights.add(1, 65_000)
    weights.add(1, 536)
    assert len(weights._polls) == 1
    weights.add(1, 1)
    assert len(weights._polls) == 2


def test_an_empty_poll_leaves_no_entry() -> None:
    """It would be divided by."""
    weights = Weights()
    weights.add(0, 0)
    assert len(weights._polls) == 0


def test_what_is_finished_out_of_order_counts_in_its_own_poll() -> None:
    """Two big polls: of the first one message has ended early, of the second two."""
    weights = Weights()
    weights.add(4, 400_000)
    weights.add(4, 800_000)
    assert repr(weights.settle(1, {2, 5, 6})) == str(200_000 + 400_000)
    assert repr(weights.settle(4, {5, 6})) == "400000"
    assert len(weights._polls) == 1


def test_parts_are_whole_bytes() -> None:
    """A third of a thousand."""
    weights = Weights()
    weights.add(3, 100_000)
    assert (repr(weights.newest(1)), repr(weights.settle(1, ()))) == ("33333", "66666")


def test_the_overhead_is_the_measured_one() -> None:
    """benchmarks/held_memory.py measures it."""
    assert OVERHEAD == 700


def test_each_message_whose_bytes_are_not_counted_has_a_number() -> None:
    """Two came in by the short way: the poll behind them begins two numbers later, and is in hand when all before it is done."""
    weights = Weights()
    weights.add(5, 500_000)
    weights.pass_by()
    weights.pass_by()
    weights.add(1, 100_000)
    assert weights.settle(7, ()) == 100_000
