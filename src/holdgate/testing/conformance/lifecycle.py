"""Cases about the life of an intake: it opens, assigns its sources, receives and closes."""

from __future__ import annotations

from collections.abc import Awaitable

from holdgate.errors import IntakeError
from holdgate.testing.conformance.kit import IntakeBed, RecordingListener, case, expect, expect_equal, numbered, station


async def every_source_is_assigned_before_it_delivers(bed: IntakeBed) -> None:
    """The listener gets each source before its first message, and all sources although no message waits."""
    async with station(bed) as at:
        await at.owns_all()
        for source in bed.sources:
            await bed.produce(source, numbered(1))
            await at.take(source, 1)  # the station checks at every delivery that the source is assigned


async def deliveries_come_in_order_with_their_source(bed: IntakeBed) -> None:
    """Each source delivers in the order of production, at growing positions. No attempt is counted yet: that is the engine's."""
    for source in bed.sources:
        await bed.produce(source, numbered(5))
    async with station(bed) as at:
        for source in bed.sources:
            deliveries = await at.take(source, 5)
            expect_equal([delivery.body for delivery in deliveries], numbered(5), f"{source} delivers in order")
            positions = [delivery.position for delivery in deliveries]
            expect_equal(positions, sorted(set(positions)), f"positions of {source} grow")
            expect_equal({delivery.attempt for delivery in deliveries}, {0}, "an intake counts no attempts")


async def an_empty_receive_returns(bed: IntakeBed) -> None:
    """Without a message, receive returns by itself, empty."""
    async with station(bed) as at:
        await at.owns_all()
        for _ in range(3):
            await at.poll()
        expect_equal(at.received, [], "an empty receive delivers nothing")


async def it_has_its_names_and_inbox(bed: IntakeBed) -> None:
    """The names are known before it opens, and the inbox is the given one."""
    intake = bed.intake(inbox=7)
    expect_equal(set(intake.names or ()), {source.name for source in bed.sources}, "names are the topics or queues")
    expect_equal(intake.inbox, 7, "inbox is the one it was given")
    expect(intake.rebalance_timeout > 0, "rebalance_timeout is above 0 seconds")
    await intake.close()


async def closing_twice_is_fine(bed: IntakeBed) -> None:
    """The second close does nothing."""
    async with station(bed) as at:
        await at.owns_all()
        await at.intake.close()
        await at.intake.close()


async def closing_unopened_is_fine(bed: IntakeBed) -> None:
    """An intake that never opened can be closed."""
    await bed.intake().close()


async def opening_twice_is_refused(bed: IntakeBed) -> None:
    """The second open raises IntakeError, and the intake goes on."""
    async with station(bed) as at:
        await _expect_refusal(at.intake.open(RecordingListener()), "opening twice")
        await bed.produce(bed.sources[0], numbered(1))
        await at.take(bed.sources[0], 1)


async def an_unknown_name_is_refused(bed: IntakeBed) -> None:
    """Opening a topic or queue that does not exist raises IntakeError. Nothing is assigned, and the intake can be closed."""
    intake, listener = bed.stranger(), RecordingListener()
    await _expect_refusal(intake.open(listener), "a name that does not exist")
    await intake.close()
    expect_equal(listener.count("assigned"), 0, "nothing is assigned by an open that was refused")


async def _expect_refusal(opening: Awaitable[None], what: str) -> None:
    try:
        await opening
    except IntakeError:
        return
    raise AssertionError(f"{what} must be refused with IntakeError, but was accepted")


CASES = (
    case(every_source_is_assigned_before_it_delivers),
    case(deliveries_come_in_order_with_their_source),
    case(an_empty_receive_returns),
    case(it_has_its_names_and_inbox),
    case(closing_twice_is_fine),
    case(closing_unopened_is_fine),
    case(opening_twice_is_refused),
    case(an_unknown_name_is_refused),
)
