"""What is kept back, when a partition is paused, and where it goes on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.brokers.confluent.fakes import A, B, FakeClient, end_of_log, message, run

from holdgate.brokers.confluent.deliveries import TopicPartition, weight_of
from holdgate.brokers.confluent.fetching import Ahead, Poller, Taps
from holdgate.flow.message import Partition
from holdgate.flow.plan import Plan, SourcePlan

FETCHES, FULL, HELD = SourcePlan(), SourcePlan(fetch=False), SourcePlan(fetch=False, reasons=("test",))
ENOUGH = 10 * (len(b"v") + 16)  # the bytes that ten of these messages have in a fetch


class Place:
    """Two assigned partitions, of which A and B fetch unless said otherwise, on a client that keeps what it is told."""

    def __init__(self, *, most: int = 5, a: SourcePlan = FETCHES, b: SourcePlan = FETCHES) -> None:
        self.client: Any = FakeClient()
        self.taps = Taps(self.client, most, ENOUGH)
        self.taps.open({A: 0, B: 0})
        self.plan(a, b)

    def plan(self, a: SourcePlan, b: SourcePlan = FETCHES) -> bool:
        return self.taps.store(Plan({Partition(*A): a, Partition(*B): b}))

    def comes(self, *messages: Any, events: bool = False) -> list[tuple[TopicPartition, list[int | None]]]:
        return offsets(self.taps.sort(messages, events=events))

    def released(self) -> list[tuple[TopicPartition, list[int | None]]]:
        return offsets(self.taps.release())

    def matched(self) -> list[Any]:
        """What the client is told now."""
        before = len(self.client.told)
        asyncio.run(self.taps.match())
        told: list[Any] = self.client.told[before:]
        return told


def offsets(runs: Any) -> list[tuple[TopicPartition, list[int | None]]]:
    return [(tp, [each.offset() for each in found]) for tp, found in runs]


def test_what_is_fetched_is_delivered_by_partition() -> None:
    """In the order in which it came."""
    assert Place().comes(*run(0, 2), *run(0, 1, 1), *run(2, 1)) == [(A, [0, 1]), (B, [0]), (A, [2])]


def test_of_several_topics_too() -> None:
    """The topic's name is part of the place."""
    place, mail = Place(), TopicPartition("mail", 0)
    place.taps.open({mail: 0})
    place.taps.store(Plan({Partition(*A): FETCHES, Partition(*mail): FETCHES}))
    assert place.comes(message(0), message(0, topic="mail"), message(1)) == [(A, [0]), (mail, [0]), (A, [1])]


def test_no_receive_gives_more_than_it_may() -> None:
    """The rest is kept back, and comes with the next ones."""
    place = Place(most=2)
    assert place.comes(*run(0, 5)) == [(A, [0, 1])]
    assert [place.released(), place.released(), place.released()] == [[(A, [2, 3])], [(A, [4])], []]


def test_what_must_not_deliver_is_kept_back_and_comes_when_it_may() -> None:
    """A plan that lets it deliver again needs no word to the broker."""
    place = Place(a=HELD)
    assert place.comes(*run(0, 3)) == []
    assert place.matched() == []
    place.plan(FETCHES)
    assert place.released() == [(A, [0, 1, 2])]
    assert place.matched() == []


def test_what_comes_behind_something_that_is_kept_back_waits_behind_it() -> None:
    """Even when the partition may deliver: order is order."""
    place = Place(a=HELD)
    place.comes(*run(0, 2))
    place.plan(FETCHES)
    assert place.comes(*run(2, 1)) == []
    assert place.released() == [(A, [0, 1, 2])]


def test_a_partition_is_paused_when_a_fetch_of_it_is_kept_back() -> None:
    """And resumed when all of that is handed out and the plan fetches, not before."""
    place = Place(a=HELD, most=100)
    place.comes(*run(0, 9))
    assert place.matched() == []
    place.comes(*run(9, 1))
    assert place.matched() == [("pause", [A])]
    place.plan(FULL)
    assert place.matched() == []
    place.plan(FETCHES)
    assert place.matched() == []
    assert place.released() == [(A, list(range(10)))]
    assert place.matched() == [("resume", [A])]
    assert place.matched() == []


def test_a_pause_outlives_its_assignment() -> None:
    """A partition that goes away paused and comes back is resumed when it may deliver."""
    place = Place(a=HELD)
    place.comes(*run(0, 10))
    place.matched()
    place.taps.shut([A])
    assert place.matched() == []
    place.taps.open({A: 4})
    assert place.matched() == []
    place.plan(FETCHES)
    assert place.matched() == [("resume", [A])]


def test_a_bound_on_memory_pauses_sooner() -> None:
    """Whatever the fetches are."""
    place = Place(a=HELD)
    place.taps.bound(weight_of(run(0, 2)))
    place.comes(*run(0, 2))
    assert place.matched() == [("pause", [A])]
    assert place.taps.kept == weight_of(run(0, 2))
    assert place.taps.differs is False


def test_the_position_is_that_of_the_oldest_message_kept_back() -> None:
    """Librdkafka has passed it."""
    place = Place(a=HELD)
    place.comes(*run(0, 3))
    assert (place.taps.position(A), Ahead(place.taps).position(A)) == (0, 3)
    place.plan(FETCHES)
    place.released()
    assert place.taps.position(A) == 3
    assert place.taps.position(TopicPartition("orders", 9)) is None


def test_the_end_of_a_log_moves_the_position_and_is_no_message() -> None:
    """Past the markers of a transaction, which no poll gives."""
    place = Place()
    assert place.comes(*run(0, 2), end_of_log(5), events=True) == [(A, [0, 1])]
    assert place.taps.position(A) == 5
    assert place.comes(end_of_log(6), events=True) == []
    assert place.taps.position(A) == 6
    assert place.comes(end_of_log(6), message(6), events=True) == [(A, [6])]
    assert place.taps.position(A) == 7


def test_a_gap_is_noted_with_what_was_expected() -> None:
    """The first one, until somebody has looked."""
    place = Place()
    place.comes(*run(0, 2))
    assert place.taps.gaps == {}
    place.comes(message(9))
    place.comes(message(20))
    assert place.taps.gaps == {A: (2, 9)}
    place.taps.shut([A])
    assert place.taps.gaps == {}


def test_what_comes_of_a_partition_that_went_away_is_not_delivered() -> None:
    """Its next owner gets it."""
    place = Place()
    place.taps.shut([A])
    assert place.comes(*run(0, 2), *run(0, 1, 1)) == [(B, [0])]


def test_after_a_seek_nothing_from_before_it_is_delivered() -> None:
    """What is kept back is forgotten, and what comes before librdkafka has sought is not taken."""
    place = Place(a=HELD)
    place.comes(*run(0, 3))
    place.taps.seek(A, 1)
    assert place.taps.position(A) == 1
    place.plan(FETCHES)
    assert place.comes(*run(3, 2)) == []
    assert place.released() == []
    assert place.matched() == [("seek", (A, 1))]
    assert place.comes(*run(1, 2)) == [(A, [1, 2])]


def test_a_seek_that_is_refused_is_tried_again() -> None:
    """Librdkafka refuses one before its fetches have begun."""
    place = Place()
    place.client.seek_fails = 1
    place.taps.seek(A, 4)
    assert place.matched() == []
    assert place.taps.differs
    assert place.matched() == [("seek", (A, 4))]


def test_retention_skips_ahead_and_keeps_what_is_here() -> None:
    """What was fetched before the deletion is not lost."""
    place = Place(a=HELD)
    place.comes(*run(0, 2))
    Ahead(place.taps).seek(A, 10)
    assert (place.taps.position(A), Ahead(place.taps).position(A)) == (0, 10)
    assert place.matched() == [("seek", (A, 10))]


def test_a_new_hold_is_told() -> None:
    """By the reasons; a full inbox is none."""
    place = Place()
    assert [place.plan(FULL), place.plan(HELD), place.plan(HELD), place.plan(FETCHES)] == [False, True, False, False]


def test_what_is_paused_is_compared_with_the_logs_start() -> None:
    """Nothing else would show that retention passes it; what librdkafka has fetched of others is not lost."""
    place = Place(a=HELD)
    assert place.taps.unchecked == frozenset()
    place.comes(*run(0, 10))
    place.matched()
    assert (place.taps.unchecked, place.taps.due()) == ({A}, frozenset())


# -- Polls -------------------------------------------------------------------------------------------------------------------------------


class Polls:
    """A poller on a place; `taken` is what its polls have brought."""

    def __init__(self, place: Place, timeout: float = 0.01) -> None:
        self.place = place
        self.taken: list[int | None] = []
        self.poller = Poller(place.client, place.taps, self._take, timeout, 5)

    def _take(self, messages: list[Any]) -> None:
        self.taken += [each.offset() for each in messages]


async def polls_for_ever(polls: Polls) -> None:
    while True:
        await polls.poller.poll()


async def test_a_hungry_partition_is_polled_for_as_much_as_may_come() -> None:
    """And waited for, when nothing is there."""
    polls = Polls(Place())
    polls.place.client.answers = [run(0, 9)]
    while not polls.taken:
        await polls.poller.poll()
    assert polls.taken == [0, 1, 2, 3, 4]
    assert polls.place.client.asked[0] == (5, 0.01)


async def test_with_nothing_hungry_one_message_is_taken_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """For rebalances, which come with a poll; without waiting for a message, which nobody wants."""
    monkeypatch.setattr("holdgate.brokers.confluent.fetching._IDLE_EVERY", 1e9)
    polls = Polls(Place(a=HELD, b=FULL))
    for _ in range(5):
        await polls.poller.poll()
    assert polls.place.client.asked == [(1, 0)]
    monkeypatch.setattr("holdgate.brokers.confluent.fetching._IDLE_EVERY", 0.0)
    await polls.poller.poll()
    assert len(polls.place.client.asked) == 2


async def test_what_is_to_be_told_does_not_wait_for_that() -> None:
    """A commit, a pause, a seek: librdkafka is told in the next poll."""
    polls = Polls(Place(a=HELD, b=FULL))
    await polls.poller.poll()
    polls.place.client.has_commits = True
    await polls.poller.poll()
    assert polls.place.client.told == [("commits", None)]


async def test_a_paused_partition_does_not_keep_a_poll_from_waiting() -> None:
    """No message of it can come."""
    place = Place(a=HELD)
    place.comes(*run(0, 10))
    await place.taps.match()
    polls = Polls(place)
    place.plan(HELD, HELD)
    assert not place.taps.is_hungry
    place.comes(*run(0, 10, 1))
    await place.taps.match()
    assert place.taps.is_hungry
    await polls.poller.poll()
    assert place.client.asked == [(5, 0.01)]


async def test_a_poll_that_raises_is_told_once() -> None:
    """And the next one begins anew."""
    polls = Polls(Place())

    async def fail(_most: int, _timeout: float) -> Any:
        raise ValueError("broken")

    consume, polls.place.client.consume = polls.place.client.consume, fail
    with pytest.raises(ValueError, match="broken"):
        await polls_for_ever(polls)
    polls.place.client.consume = consume
    await polls.poller.poll()
    assert await polls.poller.end(1.0)


async def test_polls_go_on_until_an_answer_is_here() -> None:
    """At the end of an intake nothing else polls."""
    polls = Polls(Place(a=HELD, b=HELD))
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def answered(messages: list[Any]) -> None:
        if messages[0].offset() == 1:
            answer.set_result(None)

    polls.poller._take = answered
    polls.place.client.answers = [run(0, 1), run(1, 1)]
    await polls.poller.poll_until(answer)
    assert answer.done()
