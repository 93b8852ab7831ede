"""Cases about sources that go away and come back: revoked in order, or lost."""

from __future__ import annotations

from collections.abc import Sequence

from holdgate.flow.message import Source
from holdgate.testing.conformance.kit import IntakeBed, Station, case, expect, expect_equal, numbered, station


async def a_hold_survives_a_rebalance(bed: IntakeBed) -> None:
    """While another member comes and goes, a held source delivers nothing, and everything afterwards."""
    for source in bed.sources:
        await bed.produce(source, numbered(5))
    async with station(bed, held=bed.sources) as at:
        await at.owns_all()
        await _come_and_go(bed, at)
        await at.stays_silent()
        at.admit(*bed.sources)
        for source in bed.sources:
            await at.take(source, 5)
            expect_equal(at.bodies(source), numbered(5), f"after the hold {source} delivers everything")


async def a_shared_group_shares_the_sources(bed: IntakeBed) -> None:
    """While another member is there, one source is ours and delivers. The other one is revoked and does not."""
    async with station(bed) as at:
        await at.owns_all()
        await _join(bed, at)
        kept, gone = _split(bed, at)
        for source in (kept, gone):
            await bed.produce(source, numbered(3))
        await at.take(kept, 3)
        await at.stays_silent(gone)


async def what_is_finished_while_revoked_is_settled(bed: IntakeBed) -> None:
    """The intake waits for `revoked` and commits afterwards, so work that ends meanwhile does not come again."""
    for source in bed.sources:
        await bed.produce(source, numbered(3))
    async with station(bed) as at:
        for source in bed.sources:
            await at.take(source, 3)

        async def finish_two_of_each() -> None:
            for source in bed.sources:
                at.ack(at.of(source)[:2])

        at.listener.finish_in_flight = finish_two_of_each
        at.hold(*bed.sources)
        await _join(bed, at)
    for source in bed.sources:
        expect_equal(await bed.left(source), [b"2"], f"what ended while {source} was revoked is settled, and nothing else")


async def a_settlement_after_a_revocation_changes_nothing(bed: IntakeBed) -> None:
    """A late result of an earlier assignment is not committed, even if the source has come back meanwhile. One that stayed is settled."""
    for source in bed.sources:
        await bed.produce(source, numbered(3))
    async with station(bed) as at:
        for source in bed.sources:
            await at.take(source, 3)
        late = tuple(at.received)
        at.hold(*bed.sources)
        await _come_and_go(bed, at)
        gone = at.listener.gone()
        at.ack(late)
        await at.intake.flush()
    for source in bed.sources:
        expect_equal(await bed.left(source), numbered(3) if source in gone else [], f"a late settlement of {source} changes nothing")


async def unfinished_work_comes_again_after_a_rebalance(bed: IntakeBed) -> None:
    """The next owner of a source gets everything that was taken and not settled, from the oldest on."""
    for source in bed.sources:
        await bed.produce(source, numbered(4))
    async with station(bed) as at:
        for source in bed.sources:
            at.ack((await at.take(source, 4))[:1])
        at.hold(*bed.sources)  # so that it comes again once, and not at each of the two rebalances
        await _come_and_go(bed, at)
        at.admit(*bed.sources)
        for source in at.listener.gone():
            await at.take(source, 7)
            expect_equal(at.bodies(source)[4:], numbered(3, first=1), "unfinished work comes again, in order")


async def a_lost_source_comes_back(bed: IntakeBed) -> None:
    """An intake that is cut off reports its sources as lost. They are assigned anew, and unfinished work comes again."""
    source = bed.sources[0]
    await bed.produce(source, numbered(3))
    async with station(bed) as at:
        await at.take(source, 3)
        await _cut(bed, at)
        await at.take(source, 6)
        expect_equal(sorted(body or b"" for body in at.bodies(source)[3:]), numbered(3), "unfinished work comes again after a loss")


async def a_hold_survives_a_loss(bed: IntakeBed) -> None:
    """After a loss and a return, a held source still delivers nothing."""
    source = bed.sources[0]
    await bed.produce(source, numbered(3))
    async with station(bed, held=bed.sources) as at:
        await at.owns_all()
        await _cut(bed, at)
        await at.stays_silent()
        at.admit(source)
        await at.take(source, 3)


async def a_settlement_after_a_loss_changes_nothing(bed: IntakeBed) -> None:
    """A late result of the lost assignment settles none of the messages, which the broker has taken back."""
    source = bed.sources[0]
    await bed.produce(source, numbered(3))
    async with station(bed) as at:
        late = await at.take(source, 3)
        at.hold(source)
        await _cut(bed, at)
        at.ack(late)
        await at.intake.flush()
    expect_equal(sorted(await bed.left(source)), numbered(3), "a late settlement changes nothing")


async def _join(bed: IntakeBed, at: Station) -> None:
    await at.while_polling(bed.join(), lambda: 0 < len(at.listener.owned) < len(bed.sources), "another member got its share")
    expect(at.listener.count("revoked") > 0, "sources went away without `revoked`")


async def _come_and_go(bed: IntakeBed, at: Station) -> None:
    await _join(bed, at)
    await at.while_polling(bed.leave(), lambda: at.listener.owned == set(bed.sources), "every source came back")


async def _cut(bed: IntakeBed, at: Station) -> None:
    assigned = at.listener.count("assigned")

    def came_back() -> bool:
        return at.listener.count("assigned") > assigned and at.listener.owned == set(bed.sources)

    await at.while_polling(bed.cut(), came_back, "it came back after it was cut off")
    expect(at.listener.count("lost") > 0, "sources were lost without `lost`")


def _split(bed: IntakeBed, at: Station) -> Sequence[Source]:
    kept = [source for source in bed.sources if source in at.listener.owned]
    gone = [source for source in bed.sources if source not in at.listener.owned]
    return kept[0], gone[0]


CASES = (
    case(a_hold_survives_a_rebalance, "members"),
    case(a_shared_group_shares_the_sources, "members"),
    case(what_is_finished_while_revoked_is_settled, "members"),
    case(a_settlement_after_a_revocation_changes_nothing, "members"),
    case(unfinished_work_comes_again_after_a_rebalance, "members"),
    case(a_lost_source_comes_back, "loss"),
    case(a_hold_survives_a_loss, "loss"),
    case(a_settlement_after_a_loss_changes_nothing, "loss"),
)
