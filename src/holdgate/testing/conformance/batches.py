"""Cases about batches that the intake makes itself: everything comes in them, and each is settled whole or in parts."""

from __future__ import annotations

from typing import Any

from holdgate.flow.batch import Batch
from holdgate.flow.message import Delivery, Source
from holdgate.testing.conformance.kit import IntakeBed, Station, case, expect_equal, numbered, station

_MOST = 3


async def in_batches_everything_comes(bed: IntakeBed) -> None:
    """All messages of all sources come in order, each batch from one source."""
    for source in bed.sources:
        await bed.produce(source, numbered(7))
    async with station(bed, batch=_MOST) as at:
        for source in bed.sources:
            await _take(at, source, 7)
        for source in bed.sources:
            expect_equal([delivery.body for delivery in _messages(at, source)], numbered(7), f"{source} comes whole and in order")


async def a_batch_is_settled_whole(bed: IntakeBed) -> None:
    """An ack of a batch settles every message in it."""
    source = bed.sources[0]
    await bed.produce(source, numbered(7))
    async with station(bed, batch=_MOST) as at:
        await _take(at, source, 7)
        at.ack(at.of(source))
    expect_equal(await bed.left(source), [], "a batch is acked as a whole")


async def a_batch_is_settled_in_parts(bed: IntakeBed) -> None:
    """Acks of its first messages alone leave the others."""
    source = bed.sources[0]
    await bed.produce(source, numbered(7))
    async with station(bed, batch=_MOST) as at:
        await _take(at, source, 7)
        at.ack(_messages(at, source)[:2])
    expect_equal(await bed.left(source), numbered(5, first=2), "what is not settled of a batch is left")


async def _take(at: Station, source: Source, count: int) -> None:
    await at.until(lambda: sum(map(len, _batches(at, source))) >= count, f"{source} delivered {count} messages in batches")


def _batches(at: Station, source: Source) -> list[Batch]:
    return [batch for batch in at.of(source) if isinstance(batch, Batch)]


def _messages(at: Station, source: Source) -> list[Delivery[Any]]:
    return [delivery for batch in _batches(at, source) for delivery in batch.items()]


CASES = (
    case(in_batches_everything_comes, "batches"),
    case(a_batch_is_settled_whole, "batches"),
    case(a_batch_is_settled_in_parts, "batches"),
)
