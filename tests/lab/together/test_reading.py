from __future__ import annotations

import itertools

from holdgate.fleet.records import FleetRecord, Lead, encode
from holdgate_lab.together.reading import LogReader

ONE, TWO = "0" * 12, "1" * 12


NUMBERS = itertools.count()


def lead(worker: str, epoch: int, phase: str = "ramp", limit: int = 2, dependency: str = "payments") -> bytes:
    said = Lead(dependency, epoch, phase, stage=1, limit=limit, turn=0, sharers=0, failed=0, age=0)
    return encode("fleet", FleetRecord(worker, next(NUMBERS), said))


def test_the_newest_epoch_counts() -> None:
    """A verdict of an older one is stale, and changes nothing."""
    reader = LogReader("payments")
    for at, data in enumerate((lead(ONE, 1), lead(TWO, 2, limit=4), lead(ONE, 1, limit=9))):
        reader.read(data, at)
    assert reader.conductor == TWO
    assert reader.stale == 1
    assert reader.limit_since(1) == 4


def test_two_writers_of_one_epoch_are_seen() -> None:
    """It must never be."""
    reader = LogReader("payments")
    reader.read(lead(ONE, 1), 0)
    reader.read(lead(TWO, 1), 1)
    assert reader.writers == {1: {ONE, TWO}}


def test_the_limit_is_the_highest_that_was_in_force() -> None:
    """Who has begun under a higher one goes on for a while; and while nobody ramps it is the probe's one call."""
    reader = LogReader("payments")
    assert reader.limit_since(0) == 1
    for at, limit in ((1, 4), (5, 8), (9, 2)):
        reader.read(lead(ONE, 1, limit=limit), at)
    assert reader.limit_since(8) == 8
    assert reader.limit_since(9.5) == 2
    reader.read(lead(ONE, 1, "wait"), 20)
    assert reader.limit_since(21) == 1


def test_what_is_not_about_it_is_not_read() -> None:
    """Noise, and the verdicts about another dependency."""
    reader = LogReader("payments")
    reader.read(b"\xff", 0)
    reader.read(lead(ONE, 1, dependency="mail"), 0)
    assert reader.conductor is None
    assert reader.writers == {}


def test_a_verdict_that_comes_again_is_none() -> None:
    """A hostile writer may write what it has read."""
    reader = LogReader("payments")
    old = lead(ONE, 1, "wait")
    for at, data in enumerate((old, lead(ONE, 1, "up"), old)):
        reader.read(data, at)
    assert [verdict.phase for verdict in reader.verdicts] == ["wait", "up"]
