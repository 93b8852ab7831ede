"""What the calls of each dependency failed with lately."""

from __future__ import annotations

from holdgate.flow.snapshot import FailureKind
from holdgate.runtime.failures import FailureKinds

HOUR = 3600.0


def test_a_type_is_counted_with_its_first_and_its_last_time() -> None:
    """The one that came last is the first, and each dependency has its own."""
    kinds = FailureKinds()
    kinds.note("payments", "HTTPStatusError 503", 1.0)
    kinds.note("payments", "ConnectError", 2.0)
    kinds.note("email", "TimeoutError", 3.0)
    kinds.note("payments", "HTTPStatusError 503", 4.0)
    assert kinds.read(5.0) == {
        "payments": (FailureKind("HTTPStatusError 503", 2, 1.0, 4.0), FailureKind("ConnectError", 1, 2.0, 2.0)),
        "email": (FailureKind("TimeoutError", 1, 3.0, 3.0),),
    }


def test_types_that_are_made_as_one_goes_fill_no_memory() -> None:
    """Five of a dependency are kept, the last ones, and of a long name the beginning."""
    kinds = FailureKinds()
    for number in range(1000):
        kinds.note("payments", f"Made{number}", float(number))
    kinds.note("payments", "Long" * 1000, 1000.0)
    (seen,) = kinds.read(1000.0).values()
    assert [kind.error for kind in seen[1:]] == ["Made999", "Made998", "Made997", "Made996"]
    assert len(seen[0].error) == 120
    assert seen[0].error == "Long" * 29 + "L..."


def test_the_type_that_comes_again_is_not_the_one_that_is_replaced() -> None:
    """The frequent one stays, however many rare ones come between."""
    kinds = FailureKinds()
    for number in range(20):
        kinds.note("payments", "TimeoutError", float(number))
        kinds.note("payments", f"Rare{number}", float(number))
    assert {kind.error: kind.count for kind in kinds.read(20.0)["payments"]}["TimeoutError"] == 20


def test_a_type_that_has_not_come_for_an_hour_is_forgotten() -> None:
    """Nobody asks of that time any more; if it comes again, it is counted anew."""
    kinds = FailureKinds()
    kinds.note("payments", "TimeoutError", 0.0)
    assert kinds.read(HOUR)["payments"][0].count == 1
    assert kinds.read(HOUR + 1) == {}
    kinds.note("payments", "TimeoutError", HOUR + 1)
    assert kinds.read(HOUR + 1)["payments"] == (FailureKind("TimeoutError", 1, HOUR + 1, HOUR + 1),)
