"""Cases about settlements: a settled message never comes again, and an unsettled one always does."""

from __future__ import annotations

from collections.abc import Sequence

from holdgate.flow.message import Settlement
from holdgate.testing.conformance.kit import IntakeBed, case, expect, expect_equal, numbered, station


async def what_is_acked_does_not_come_again(bed: IntakeBed) -> None:
    """The next consumer gets the rest in order, marked as redelivered where the broker has such a mark."""
    source = bed.sources[0]
    await bed.produce(source, numbered(5))
    async with station(bed) as at:
        at.ack((await at.take(source, 5))[:3])
        await at.intake.flush()
    expect_equal(await bed.left(source), numbered(2, first=3), "what is not settled is left, and nothing else")
    async with station(bed) as at:
        again = await at.take(source, 2)
        expect_equal(at.bodies(source), numbered(2, first=3), "what is not settled comes again")
        expect(all(delivery.redelivered in (True, None) for delivery in again), "a redelivery is not marked as a first delivery")


async def closing_sends_what_is_recorded(bed: IntakeBed) -> None:
    """An ack without a flush survives a close."""
    source = bed.sources[0]
    await bed.produce(source, numbered(3))
    async with station(bed) as at:
        at.ack(await at.take(source, 3))
    expect_equal(await bed.left(source), [], "close flushes")


async def a_flush_is_enough(bed: IntakeBed) -> None:
    """After a flush the broker has the acks, while the intake is still open."""
    source = bed.sources[0]
    await bed.produce(source, numbered(3))
    async with station(bed) as at:
        at.ack((await at.take(source, 3))[:2])
        await at.intake.flush()
        expect_equal(await bed.left(source), numbered(1, first=2), "flush returns when everything recorded is out")


async def an_ack_out_of_turn_covers_nothing_before_it(bed: IntakeBed) -> None:
    """Unfinished work is left, whatever is settled after it."""
    source = bed.sources[0]
    await bed.produce(source, numbered(5))
    async with station(bed) as at:
        deliveries = await at.take(source, 5)
        at.ack([deliveries[3], deliveries[1], deliveries[2]])
        await at.intake.flush()
    expect_equal(await bed.left(source), _left(bed, numbered(5), settled=(1, 2, 3)), "unfinished work is left")


async def the_last_ack_out_of_turn_settles_all(bed: IntakeBed) -> None:
    """If all are settled, newest first and one by one, nothing is left."""
    source = bed.sources[0]
    await bed.produce(source, numbered(5))
    async with station(bed) as at:
        at.ack((await at.take(source, 5))[::-1])
        await at.intake.flush()
    expect_equal(await bed.left(source), [], "all settled, nothing is left")


async def a_second_ack_changes_nothing(bed: IntakeBed) -> None:
    """Settling twice, also in two runs, is no error and settles nothing more. Deliveries go on."""
    source = bed.sources[0]
    await bed.produce(source, numbered(3))
    async with station(bed) as at:
        first = (await at.take(source, 3))[:1]
        at.ack((*first, *first))
        await at.intake.flush()
        at.ack(first)
        await at.intake.flush()
        await bed.produce(source, numbered(1, first=3))
        await at.take(source, 4)
    expect_equal(await bed.left(source), numbered(3, first=1), "a second ack settles nothing more")


async def what_is_rejected_does_not_come_again(bed: IntakeBed) -> None:
    """A rejected message is gone from its queue: the broker has another place for it, or drops it."""
    source = bed.sources[0]
    await bed.produce(source, numbered(3))
    async with station(bed) as at:
        at.intake.settle((await at.take(source, 3))[1], Settlement.REJECT)
        await at.intake.flush()
    expect_equal(await bed.left(source), [b"0", b"2"], "what is rejected is not left")


async def nothing_settled_nothing_lost(bed: IntakeBed) -> None:
    """Everything that was taken and never settled is left."""
    for source in bed.sources:
        await bed.produce(source, numbered(4))
    async with station(bed) as at:
        for source in bed.sources:
            await at.take(source, 4)
    for source in bed.sources:
        expect_equal(await bed.left(source), numbered(4), f"everything of {source} is left")


def _left(bed: IntakeBed, bodies: Sequence[bytes], settled: Sequence[int]) -> list[bytes]:
    """Return what is left of `bodies` if the first is unfinished and these positions are settled."""
    if "watermark" in bed.capabilities:
        return list(bodies)
    return [body for position, body in enumerate(bodies) if position not in settled]


CASES = (
    case(what_is_acked_does_not_come_again),
    case(closing_sends_what_is_recorded),
    case(a_flush_is_enough, "peek"),
    case(an_ack_out_of_turn_covers_nothing_before_it),
    case(the_last_ack_out_of_turn_settles_all),
    case(a_second_ack_changes_nothing),
    case(what_is_rejected_does_not_come_again, "reject"),
    case(nothing_settled_nothing_lost),
)
