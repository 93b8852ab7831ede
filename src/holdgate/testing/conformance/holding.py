"""Cases about the plan: a source that must not fetch delivers nothing, and a hold skips no message."""

from __future__ import annotations

from holdgate.flow.plan import Plan, SourcePlan
from holdgate.testing.conformance.kit import IntakeBed, case, expect_equal, numbered, station


async def a_source_held_at_its_assignment_delivers_nothing(bed: IntakeBed) -> None:
    """The plan that `assigned` returns applies from the first moment. When the hold ends, everything comes in order."""
    source = bed.sources[0]
    await bed.produce(source, numbered(5))
    async with station(bed, held=bed.sources) as at:
        await at.owns_all()
        await at.stays_silent()
        at.admit(source)
        await at.take(source, 5)
        expect_equal(at.bodies(source), numbered(5), "after a hold everything comes in order")


async def a_source_held_later_delivers_nothing_more(bed: IntakeBed) -> None:
    """After `apply` nothing more comes. When the hold ends, the source goes on where it was."""
    source = bed.sources[0]
    await bed.produce(source, numbered(2))
    async with station(bed) as at:
        at.ack(await at.take(source, 2))
        at.hold(source)
        await bed.produce(source, numbered(3, first=2))
        await at.stays_silent()
        at.admit(source)
        await at.take(source, 5)
        expect_equal(at.bodies(source), numbered(5), "after a hold it goes on where it was")


async def the_other_source_goes_on(bed: IntakeBed) -> None:
    """If one of two sources is held, the other one delivers everything."""
    held, free = bed.sources[:2]
    async with station(bed, held=[held]) as at:
        await at.owns_all()
        for source in (held, free):
            await bed.produce(source, numbered(5))
        await at.take(free, 5)
        await at.stays_silent()
        at.admit(held)
        await at.take(held, 5)
        expect_equal((at.bodies(held), at.bodies(free)), (numbered(5), numbered(5)), "both deliver everything, each in order")


async def a_plan_that_is_applied_again_changes_nothing(bed: IntakeBed) -> None:
    """A plan is a state: applied ten times, it is the same hold or the same admission."""
    source = bed.sources[0]
    async with station(bed, held=bed.sources) as at:
        await at.owns_all()
        await bed.produce(source, numbered(3))
        for _ in range(10):
            at.hold(*bed.sources)
            await at.poll()
        await at.stays_silent()
        for _ in range(10):
            at.admit(source)
        await at.take(source, 3)
        expect_equal(at.bodies(source), numbered(3), "admitted ten times over, each message comes once")


async def a_full_inbox_stops_it_without_a_reason(bed: IntakeBed) -> None:
    """`fetch` alone decides what is delivered: a source may not fetch although nothing holds it."""
    source = bed.sources[0]
    async with station(bed) as at:
        await at.owns_all()
        at.listener.held.add(source)  # for the station: nothing of it may come
        at.intake.apply(Plan({each: SourcePlan(fetch=each != source) for each in bed.sources}, 1_000))
        await bed.produce(source, numbered(3))
        await at.stays_silent()
        at.admit(source)
        await at.take(source, 3)


async def a_source_the_plan_does_not_list_delivers_nothing(bed: IntakeBed) -> None:
    """A source that the guard does not know is not read."""
    async with station(bed) as at:
        await at.owns_all()
        at.listener.held.update(bed.sources)  # for the station: nothing may come
        at.intake.apply(Plan(version=1_000))
        await bed.produce(bed.sources[0], numbered(3))
        await at.stays_silent()


CASES = (
    case(a_source_held_at_its_assignment_delivers_nothing),
    case(a_source_held_later_delivers_nothing_more),
    case(the_other_source_goes_on),
    case(a_plan_that_is_applied_again_changes_nothing),
    case(a_full_inbox_stops_it_without_a_reason),
    case(a_source_the_plan_does_not_list_delivers_nothing),
)
