from __future__ import annotations

from random import Random

from holdgate.fleet.records import FleetRecord, Here, Need, decode, encode
from holdgate_lab.together.hostile import nonsense

SEEN = encode("fleet", FleetRecord("0" * 12, 1, Here(2, (Need("payments", True, 2, 0),))))


def test_every_kind_of_nonsense_can_be_read() -> None:
    """Nothing raises; most of it is no record, and some is: a record once more."""
    chance = Random(1)
    read = [decode("fleet", nonsense(chance, [SEEN, b"", b"[1, 2]"])) for _ in range(3000)]
    assert read.count(None) > 1000
    assert decode("fleet", SEEN) in read


def test_before_anything_is_in_the_log_there_is_nonsense_too() -> None:
    """Of some length, and of none."""
    chance = Random(2)
    lengths = {len(nonsense(chance, [])) for _ in range(500)}
    assert 0 in lengths
    assert max(lengths) > 1024
