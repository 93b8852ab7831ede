"""Group: membership, rebalances, assignments and commits."""

from __future__ import annotations

import pytest

from holdgate.flow.message import Partition
from holdgate.testing.memory.message import Ledger
from holdgate.testing.memory.models import Group

TIMEOUT = 10.0
START = 100.0
P0, P1, P2 = (Partition("orders", number) for number in range(3))
TOPICS = {"orders": [0, 1, 2], "mails": [0]}


@pytest.fixture
def group() -> Group:
    return Group(TOPICS, TIMEOUT, Ledger())


def join(group: Group, *members: str, now: float = START) -> None:
    """Let members join, one rebalance each, everybody giving back at once."""
    for member in members:
        group.join(member, ["orders"], now)
        settle(group)


def settle(group: Group) -> None:
    for member in tuple(group.members):
        group.rejoin(member)


def test_the_first_member_gets_everything_at_once(group: Group) -> None:
    """There is nobody to wait for."""
    group.join("a", ["orders"], START)

    assert (group.assignment("a"), group.generation, group.is_rebalancing) == ((P0, P1, P2), 1, False)


def test_members_take_turns(group: Group) -> None:
    """Round robin over the sorted names."""
    join(group, "b", "a")

    assert (group.assignment("a"), group.assignment("b")) == ((P0, P2), (P1,))


def test_more_members_than_partitions_leave_some_with_nothing(group: Group) -> None:
    """They are in the group all the same."""
    join(group, "a", "b", "c", "d")

    assert (group.assignment("d"), "d" in group.members) == ((), True)


def test_a_member_gets_only_topics_that_it_reads(group: Group) -> None:
    """Each topic is dealt among those who subscribed to it."""
    join(group, "a")
    group.join("b", ["mails"], START)
    settle(group)

    assert (group.assignment("a"), group.assignment("b")) == ((P0, P1, P2), (Partition("mails", 0),))


def test_a_topic_that_does_not_exist_has_no_partitions(group: Group) -> None:
    """A member that reads only that one has nothing."""
    group.join("a", ["nowhere"], START)

    assert group.assignment("a") == ()


def test_a_join_makes_the_others_give_back(group: Group) -> None:
    """Until they have, nobody has anything; then a new generation begins."""
    join(group, "a")
    group.join("b", ["orders"], START)
    during = (group.must_rejoin("a"), group.must_rejoin("b"), group.assignment("a"), group.generation)
    group.rejoin("a")

    assert during == (True, False, (), 1)
    assert (group.must_rejoin("a"), group.assignment("a"), group.generation) == (False, (P0, P2), 2)


def test_the_generation_waits_for_every_member(group: Group) -> None:
    """One of two has joined again: still a rebalance."""
    join(group, "a", "b")
    group.rebalance(START)
    group.rejoin("a")

    assert (group.is_rebalancing, group.must_rejoin("a"), group.must_rejoin("b")) == (True, False, True)


def test_a_join_during_a_rebalance_begins_no_second_one(group: Group) -> None:
    """Who has joined again need not do so once more, and the deadline stays."""
    join(group, "a", "b")
    group.rebalance(START)
    group.rejoin("a")
    group.join("c", ["orders"], START + 5)

    assert (group.must_rejoin("a"), group.next_deadline()) == (False, START + TIMEOUT)


def test_a_leave_gives_its_share_to_the_others(group: Group) -> None:
    """They too give back first."""
    join(group, "a", "b")
    group.leave("b", START)
    asked = group.must_rejoin("a")
    group.rejoin("a")

    assert (asked, group.assignment("a"), group.assignment("b")) == (True, (P0, P1, P2), ())


def test_the_last_one_out_leaves_an_empty_group(group: Group) -> None:
    """Nobody to wait for: no rebalance is left open."""
    join(group, "a")
    group.leave("a", START)

    assert (list(group.members), group.is_rebalancing, group.next_deadline()) == ([], False, None)


def test_a_leave_during_a_rebalance_can_complete_it(group: Group) -> None:
    """The one everybody waited for is gone."""
    join(group, "a", "b")
    group.rebalance(START)
    group.rejoin("a")
    group.leave("b", START)

    assert group.assignment("a") == (P0, P1, P2)


def test_a_stranger_leaves_without_a_trace(group: Group) -> None:
    """No rebalance for somebody who was never there."""
    join(group, "a")
    group.leave("z", START)
    group.rejoin("z")

    assert (group.is_rebalancing, group.must_rejoin("z"), group.generation) == (False, False, 1)


def test_an_empty_group_has_nothing_to_rebalance(group: Group) -> None:
    """A rebalance of nobody never ends, so it does not begin."""
    group.rebalance(START)

    assert group.is_rebalancing is False


def test_who_is_too_slow_is_evicted(group: Group) -> None:
    """At the deadline the others go on without it."""
    join(group, "a", "b")
    group.rebalance(START)
    group.rejoin("a")
    late = group.expire(START + TIMEOUT)

    assert (set(late), list(group.members), group.assignment("a")) == ({"b"}, ["a"], (P0, P1, P2))


def test_nobody_is_evicted_before_the_deadline(group: Group) -> None:
    """And nobody when no rebalance is under way."""
    join(group, "a", "b")
    without = group.expire(START + 99)
    group.rebalance(START)
    early = group.expire(START + TIMEOUT - 0.001)

    assert (list(without), list(early), set(group.members)) == ([], [], {"a", "b"})


def test_a_member_commits_what_it_has() -> None:
    """The next offsets are stored and noted."""
    ledger = Ledger()
    group = Group(TOPICS, TIMEOUT, ledger)
    join(group, "a")

    assert group.commit("a", 1, {P0: 5, P1: 7}) is True
    assert group.committed == {P0: 5, P1: 7}
    assert list(ledger) == [("committed", P0, 5), ("committed", P1, 7)]


def test_a_commit_while_giving_back_is_accepted(group: Group) -> None:
    """Between the begin of a rebalance and joining again: what ended meanwhile counts."""
    join(group, "a")
    group.join("b", ["orders"], START)

    assert group.commit("a", 1, {P0: 5}) is True


def test_a_commit_after_joining_again_is_refused(group: Group) -> None:
    """The partition may be somebody else's already."""
    join(group, "a", "b")
    group.rebalance(START)
    group.rejoin("a")

    assert (group.commit("a", 2, {P0: 5}), group.committed) == (False, {})


def test_a_commit_of_an_old_generation_is_refused(group: Group) -> None:
    """It would rewind what the new owner has done."""
    join(group, "a", "b")

    assert (group.commit("a", 1, {P0: 5}), group.committed) == (False, {})


def test_a_commit_of_an_evicted_member_is_refused(group: Group) -> None:
    """It is not in the group, whatever it thinks; also while the others still give back in the generation it was in."""
    join(group, "a", "b")
    group.leave("a", START)

    assert group.commit("a", group.generation, {P0: 5}) is False


def test_one_partition_that_is_not_ours_refuses_the_whole_commit(group: Group) -> None:
    """All or none, as the client does."""
    join(group, "a", "b")

    assert (group.commit("a", 2, {P0: 5, P1: 5}), group.committed) == (False, {})


def test_commits_survive_a_rebalance(group: Group) -> None:
    """They belong to the group and not to a member."""
    join(group, "a")
    group.commit("a", 1, {P1: 3})
    join(group, "b")

    assert group.committed == {P1: 3}
