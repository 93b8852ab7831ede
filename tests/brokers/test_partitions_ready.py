"""What polls gave and nobody has received yet."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from holdgate.brokers.partitions import AssignedPartitions, Ready, RecordForm


class Place(NamedTuple):
    """A partition as a client names it."""

    topic: str
    partition: int


ORDERS, MAILS = Place("orders", 0), Place("mails", 0)


def wrap(partition: Any, records: list[int]) -> list[Any]:
    """A delivery is what knows its assignment."""
    return [SimpleNamespace(assigned=partition, position=record) for record in records]


FORM = RecordForm(offset=int, timestamp=lambda _: None, deliveries=wrap, batch=lambda *_: None)  # type: ignore[arg-type,return-value]


class Polls:
    """Two partitions, whose records are their offsets."""

    def __init__(self) -> None:
        self.partitions = AssignedPartitions(FORM)
        self.partitions.add([ORDERS, MAILS])
        self.ready: Ready[Any] = Ready(self.partitions)

    def give(self, tp: Place, *offsets: int) -> None:
        partition = self.partitions.get(tp)
        assert partition is not None
        self.ready.add(partition.delivered(list(offsets)))
        self.ready.latest = [partition]

    def out(self, most: int | None = None) -> list[int]:
        return [delivery.position for delivery in self.ready.hand_out(most)]


def test_everything_is_handed_out_once() -> None:
    """In the order in which it came."""
    polls = Polls()
    polls.give(ORDERS, 1, 2)
    polls.give(MAILS, 7)
    assert polls.out() == [1, 2, 7]
    assert polls.out() == []


def test_two_polls_are_handed_out_one_by_one() -> None:
    """No receive gets more than `most`, and what is left comes first the next time."""
    polls = Polls()
    polls.give(ORDERS, 1, 2)
    polls.give(ORDERS, 3)
    assert [polls.out(2), polls.out(2), polls.out(2)] == [[1, 2], [3], []]


def test_what_came_of_partitions_that_have_gone_is_left_out() -> None:
    """Others have them by now; what came of the new assignment stays."""
    polls = Polls()
    polls.give(ORDERS, 1, 2)
    polls.give(MAILS, 7)
    polls.partitions.add([ORDERS])
    polls.give(ORDERS, 1)
    assert polls.out(2) == [7, 1]


@pytest.mark.parametrize("finished", [True, False])
async def test_handlers_run_before_the_next_poll(finished: bool) -> None:
    """Two steps of the loop while something is unfinished, and one where nothing is."""
    polls = Polls()
    polls.give(ORDERS, 1)
    if finished:
        polls.ready.latest[0].inflight.finished(1)
    steps = 0

    async def count() -> None:
        nonlocal steps
        while True:
            steps += 1
            await asyncio.sleep(0)

    counting = asyncio.ensure_future(count())
    await polls.ready.let_handlers_run()
    counting.cancel()
    assert steps == (1 if finished else 2)
