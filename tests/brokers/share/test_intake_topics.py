"""A deleted topic ends a run with an error that names it. One that was made anew does not, and nothing of the old one settles it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.brokers.share.bed import ORDERS, play

from holdgate.errors import IntakeError
from holdgate.testing.memory import ShareState

if TYPE_CHECKING:
    from tests.brokers.share.bed import Bed

    from holdgate.brokers.share import LateAccept

LOOKS_WITHIN = 20.0


def test_a_topic_that_is_deleted_ends_the_intake(bed: Bed) -> None:
    """Its polls stay empty without an error, so a worker that waits for records would wait for ever."""

    async def story() -> None:
        at = await bed.open()
        await at.for_a_while()
        bed.broker.delete("orders")
        with pytest.raises(IntakeError, match="no topic 'orders'"):
            await at.for_a_while(LOOKS_WITHIN)

    play(bed, story)


def test_a_topic_that_is_deleted_in_a_hold_ends_the_intake(bed: Bed) -> None:
    """Nothing is subscribed then, and nobody would notice before the outage is over."""

    async def story() -> None:
        bed.broker.produce("orders", b"0")
        at = await bed.open()
        await at.take(ORDERS, 1)
        at.hold(ORDERS)
        await at.for_a_while(60)
        bed.broker.delete("orders")
        with pytest.raises(IntakeError, match="no topic 'orders'"):
            await at.for_a_while(LOOKS_WITHIN)

    play(bed, story)


def test_a_record_of_a_topic_made_anew_is_another_one(bed: Bed) -> None:
    """The accept of the old one was refused, so its place is remembered; the record that lies there now has been handled by nobody."""

    async def story() -> None:
        bed.broker.produce("orders", b"0")
        at = await bed.open()
        old = await at.take(ORDERS, 1)
        bed.broker.make_anew("orders")
        at.ack(old)
        await at.for_a_while(2)
        bed.broker.produce("orders", b"new")
        (_, new) = await at.take(ORDERS, 2)
        assert (new.body, new.place.offset) == (b"new", old[0].place.offset)
        at.ack([new])
        await at.until(lambda: bed.record(0).state is ShareState.ACCEPTED, "it was settled")

    play(bed, story)


def test_what_is_handled_of_a_topic_that_is_gone_is_no_late_accept(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    """It does not come again: there is nothing that it could come from."""
    late: list[LateAccept] = []

    async def story() -> None:
        bed.broker.produce("orders", b"0")
        at = await bed.open(on_late_accept=late.append)
        old = await at.take(ORDERS, 1)
        bed.broker.make_anew("orders")
        at.ack(old)
        await at.for_a_while(2)

    play(bed, story)
    assert late == []
    assert "1 records were handled, but their topic does not exist any more" in caplog.text


def test_the_log_says_that_a_topic_was_made_anew(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    """The run goes on, and what waited is gone."""

    async def story() -> None:
        at = await bed.open()
        await at.for_a_while()
        bed.broker.make_anew("orders")
        await at.for_a_while(2 * LOOKS_WITHIN)

    play(bed, story)
    assert caplog.text.count("orders was deleted and made anew") == 1
