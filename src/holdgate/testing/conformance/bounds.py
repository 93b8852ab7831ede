"""Cases about amounts: how much an intake takes, and what it reports as its backlog."""

from __future__ import annotations

from collections.abc import Sequence

from holdgate.flow.message import Source
from holdgate.ports import ReadingAhead, Weighing
from holdgate.testing.conformance.kit import IntakeBed, Station, case, expect, expect_equal, numbered, station

_INBOX = 4
_FEW = 4
_BIG = 500_000
_BESIDE = 4096  # what a message may weigh in addition to its body
_MANY = 11  # more than twice the inbox, and no multiple of it


async def one_receive_fills_no_more_than_the_inbox(bed: IntakeBed) -> None:
    """A receive returns at most `inbox` messages of each source, and in the end all messages come."""
    for source in bed.sources:
        await bed.produce(source, numbered(_MANY))
    async with station(bed, inbox=_INBOX) as at:
        await _take_and_ack(at, bed.sources)
        for source in bed.sources:
            expect_equal(at.bodies(source), numbered(_MANY), f"{source} delivers everything in order")
            expect(at.largest_receive[source] <= _INBOX, f"a receive gave {at.largest_receive[source]} messages of {source}, not {_INBOX}")


async def the_prefetch_bounds_what_is_unsettled(bed: IntakeBed) -> None:
    """Without settlements, no more than the prefetch comes. Each settlement makes room for one more."""
    source = bed.sources[0]
    await bed.produce(source, numbered(_MANY))
    async with station(bed, inbox=_INBOX) as at:
        await at.take(source, _INBOX)
        await at.stays_silent()
        expect_equal(len(at.of(source)), _INBOX, "with nothing settled the prefetch comes, and no more")
        at.ack(at.of(source)[:2])
        await at.take(source, _INBOX + 2)
        await at.stays_silent()
        expect_equal(len(at.of(source)), _INBOX + 2, "two settled make room for two more")


async def the_backlog_counts_what_is_not_settled(bed: IntakeBed) -> None:
    """Messages in hand count, settled ones do not. None means that the broker cannot count."""
    source = bed.sources[0]
    await bed.produce(source, numbered(5))
    async with station(bed) as at:
        await at.owns_all()
        deliveries = await at.take(source, 5)
        await _expect_backlog(at, source, 5)
        at.ack(deliveries[:2])
        await at.intake.flush()
        await _expect_backlog(at, source, 3)
        at.ack(deliveries[2:])
        await at.intake.flush()
        await _expect_backlog(at, source, 0)


async def the_backlog_of_a_held_source_grows(bed: IntakeBed) -> None:
    """Messages that the broker keeps count, although nothing was delivered: a backlog matters most during a hold."""
    source = bed.sources[0]
    async with station(bed, held=bed.sources) as at:
        await at.owns_all()
        await bed.produce(source, numbered(3))
        await _expect_backlog(at, source, 3)
        await at.stays_silent()


async def big_messages_come_under_a_bound(bed: IntakeBed) -> None:
    """Under a bound that one message nearly fills, all messages still come in order, and weigh about as much as their bodies."""
    for source in bed.sources:
        await bed.produce(source, [body * _BIG for body in numbered(_FEW)])
    async with station(bed, memory=_BIG) as at:
        for source in bed.sources:
            at.ack(await at.take(source, _FEW))
            expect_equal([(body or b"")[:1] for body in at.bodies(source)], numbered(_FEW), f"{source} delivers everything in order")
        if isinstance(at.intake, Weighing):
            weight = at.intake.weigh(at.of(bed.sources[0]))
            expect(_FEW * _BIG <= weight <= _FEW * (_BIG + _BESIDE), f"{_FEW} messages of {_BIG} bytes must weigh that, got {weight}")
        if isinstance(at.intake, ReadingAhead):
            await at.for_a_while()
            expect_equal(at.intake.read_ahead, 0, "with everything given, nothing is read ahead")


async def _take_and_ack(at: Station, sources: Sequence[Source]) -> None:
    acked = 0

    def everything_came() -> bool:
        nonlocal acked
        at.ack(at.received[acked:])
        acked = len(at.received)
        return acked >= _MANY * len(sources)

    await at.until(everything_came, "every source delivered everything")


async def _expect_backlog(at: Station, source: Source, count: int) -> None:
    age = (await at.backlog_becomes(source, count)).oldest_age
    expect(age is None or (count > 0 and age >= 0), f"with {count} messages waiting in {source}, the oldest is not {age} s old")


CASES = (
    case(one_receive_fills_no_more_than_the_inbox),
    case(the_prefetch_bounds_what_is_unsettled, "prefetch"),
    case(the_backlog_counts_what_is_not_settled),
    case(the_backlog_of_a_held_source_grows),
    case(big_messages_come_under_a_bound),
)
