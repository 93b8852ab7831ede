"""A topic that is deleted and made anew under the intake: its new messages come at offsets that were seen before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.brokers.confluent.fakes import SETTINGS, A, message, run
from tests.brokers.kafka.drive import Drive

from holdgate.brokers.confluent import ConfluentIntake
from holdgate.flow.message import Partition

if TYPE_CHECKING:
    from confluent_kafka import Message

ORDERS = Partition("orders", 0)


class Polls:
    """Brings what it is given, one list for each poll."""

    def __init__(self, intake: ConfluentIntake, *polls: list[Message]) -> None:
        self.polls = list(polls)
        self._take = intake._take

    async def poll(self) -> None:
        if self.polls:
            self._take(self.polls.pop(0))

    def wake(self) -> None:
        """Nothing waits."""


def assigned(*polls: list[Message], held: bool = False, at: int = 990) -> Drive:
    """Return the drive of an intake that goes on at `at`, and whose polls bring these."""
    intake = ConfluentIntake(SETTINGS, topics=["orders"])
    made = Drive(intake, [ORDERS] if held else [])
    intake._membership.guard = made
    intake._membership._take_over({A: at})
    intake._poller = Polls(intake, *polls)  # type: ignore[assignment]
    return made


def offsets(received: list[Any]) -> list[int]:
    return [delivery.position for delivery in received]


@pytest.mark.parametrize(
    "new", [run(0, 5), [message(0), message(500)], run(0, 2000)], ids=["fewer than before", "with a gap", "more than before"]
)
async def test_old_and_new_messages_come_in_one_poll(new: list[Message]) -> None:
    """The old ones are dropped, as they belong to nothing any more; the new ones are delivered, and the run goes on."""
    made = assigned(run(990, 10), [*run(1000, 2), *new])
    await made.take(10)
    await made.until(lambda: made.count("lost") == 1)
    await made.take(10 + min(len(new), 248))
    assert offsets(made.received[10:]) == [one.offset() for one in new][: len(made.received) - 10]


async def test_new_messages_come_behind_old_ones_that_are_kept_back() -> None:
    """In a hold librdkafka goes on by itself, and what it has of both is here when the hold is over."""
    made = assigned(run(990, 10), run(0, 5), held=True)
    await made.poll()
    await made.poll()
    made.admit()
    await made.take(5)
    assert offsets(made.received) == [0, 1, 2, 3, 4]


async def test_the_new_place_is_committed_before_anything_is_finished() -> None:
    """The broker may have an offset of the old topic, which a restart in a hold would go on at."""
    made = assigned(run(990, 10), run(3, 5))
    made.ack(await made.take(10))
    await made.take(15)
    assert made.intake._commits._due(made.intake._partitions) == {made.intake._partitions.get(A): 3}


async def test_a_paused_partition_begins_anew_with_what_is_kept_back_forgotten() -> None:
    """Retention has seen that the log ends before the position: nothing of the old one may be handled, nor committed."""
    made = assigned(run(990, 10), run(1000, 10), held=True)
    await made.poll()
    await made.poll()
    made.intake._begin_anew(A, 2)
    made.admit()
    assert made.events[-2:] == [("lost", ("orders[0]",)), ("assigned", ("orders[0]",))]
    assert made.intake.read_ahead == 0
    assert made.intake._commits._due(made.intake._partitions) == {made.intake._partitions.get(A): 2}
