"""Who is in the fleet, and how much of what each writes is read."""

from __future__ import annotations

from holdgate.fleet import members
from holdgate.fleet.members import BEATS, LONG_BEAT, MOST_MEMBERS, RECORDS, RECORDS_PER_SECOND, SHORT_BEAT, Budgets, Roster
from holdgate.fleet.records import Here, Need

A, B = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


def here(beat: int = SHORT_BEAT, *, backlog: bool = True, full: int = 4, dependency: str = "payments") -> Here:
    return Here(beat, (Need(dependency, backlog, full, 0),))


def test_a_worker_is_gone_after_three_of_its_beats() -> None:
    """Whoever was silent for three times as long as it said is silent."""
    roster = Roster()
    roster.here(A, here(SHORT_BEAT), 0.0)
    roster.here(B, here(LONG_BEAT), 0.0)
    assert roster.silent(BEATS * SHORT_BEAT, ()) == []
    assert roster.silent(BEATS * SHORT_BEAT + 0.1, ()) == [A]
    assert roster.silent(BEATS * LONG_BEAT + 0.1, ()) == [A, B]


def test_in_an_outage_everybody_has_short_beats() -> None:
    """Who needs what has been down for a while should have spoken, whatever it said in a quiet time; others need not."""
    roster = Roster()
    roster.here(A, here(LONG_BEAT), 0.0)
    roster.here(B, here(LONG_BEAT, dependency="ledger"), 0.0)
    assert roster.silent(10.0, {"payments"}) == [A]


def test_a_large_fleet_speaks_less_often() -> None:
    """Up to fourteen workers speak every two seconds while something is wrong, twenty and more every four, and are missed as much later."""
    roster = Roster()
    beats = {}
    for size in range(1, 41):
        roster.here(f"{size:012x}", here(LONG_BEAT), 0.0)
        beats[size] = roster.short_beat
    assert (beats[1], beats[14], beats[15], beats[20], beats[40]) == (2, 2, 3, 4, 4)
    assert roster.silent(BEATS * 4, {"payments"}) == []
    assert len(roster.silent(BEATS * 4 + 0.1, {"payments"})) == 40


def test_who_says_that_it_speaks_soon_is_expected_by_then() -> None:
    """A worker that takes the fleet for larger than this one does is given the time that it has said."""
    roster = Roster()
    roster.here(A, here(4), 0.0)
    assert roster.silent(12.0, {"payments"}) == []
    assert roster.silent(12.1, {"payments"}) == [A]


def test_any_word_counts_as_being_there() -> None:
    """A worker that writes anything is not silent; one that never said that it is there is none."""
    roster = Roster()
    roster.here(A, here(), 0.0)
    roster.spoke(A, 5.0)
    roster.spoke(B, 5.0)
    assert roster.silent(10.0, ()) == []
    assert B not in roster


def test_a_beat_that_makes_no_sense_is_one_of_ours() -> None:
    """A worker that promises to speak in a month is expected within a long beat, and one that promises nothing within a short one."""
    roster = Roster()
    roster.here(A, here(2_000_000), 0.0)
    roster.here(B, here(0), 0.0)
    assert roster.silent(BEATS * SHORT_BEAT, ()) == []
    assert roster.silent(BEATS * LONG_BEAT + 1.0, ()) == [A, B]


def test_callers_and_their_calls_are_counted() -> None:
    """All that need a dependency are callers; only those with messages add to what can be done."""
    roster = Roster()
    roster.here(A, here(full=4), 0.0)
    roster.here(B, here(full=8, backlog=False), 0.0)
    assert roster.callers("payments") == (2, 4)
    assert roster.callers("ledger") == (0, 0)
    roster.here(B, here(full=8), 1.0)
    assert roster.callers("payments") == (2, 12)
    roster.bye(A)
    assert roster.callers("payments") == (1, 8)
    assert roster.needs("payments") == [(B, Need("payments", True, 8, 0))]


def test_made_up_workers_fill_no_memory() -> None:
    """Beyond a thousand workers no new one is kept."""
    roster = Roster()
    for worker in range(MOST_MEMBERS + 10):
        roster.here(f"{worker:012x}", here(), 0.0)
    assert len(roster.workers()) == MOST_MEMBERS


def test_who_did_not_listen_hears_nobody_missing() -> None:
    """After a refresh nobody is silent."""
    roster = Roster()
    roster.here(A, here(), 0.0)
    roster.refresh(100.0)
    assert roster.silent(101.0, ()) == []


def test_a_flood_is_skipped_and_ends() -> None:
    """A worker that floods the log is read up to its budget, then as fast as the budget fills, and others are not touched."""
    budgets = Budgets()
    read = sum(budgets.take(A, 0.0) for _ in range(5000))
    assert read == RECORDS
    assert budgets.take(B, 0.0)
    assert sum(budgets.take(A, 1.0) for _ in range(5000)) == RECORDS_PER_SECOND


def test_made_up_workers_fill_no_budgets() -> None:
    """A thousand workers have budgets; when they have written nothing for a minute, others may have them."""
    budgets = Budgets()
    for worker in range(members.MOST_WORKERS + 10):
        budgets.take(f"{worker:012x}", 0.0)
    assert len(budgets) == members.MOST_WORKERS
    assert not budgets.take(A, 1.0)
    assert budgets.take(A, 100.0)
    assert len(budgets) == 1


def test_a_record_that_comes_again_is_not_new() -> None:
    """Nor is an older one. One that is far below the last shows that the last number was made up."""
    budgets = Budgets()
    assert [budgets.is_new("0" * 12, number) for number in (5, 5, 4, 6)] == [True, False, False, True]
    assert budgets.is_new("0" * 12, 2**31 - 1)
    assert [budgets.is_new("0" * 12, number) for number in (7, 7, 8)] == [True, False, True]


def test_a_flood_of_made_up_workers_is_looked_through_once_a_second(monkeypatch) -> None:
    """While nobody can be forgotten, the thousand who are known are not gone through for each record of the flood."""
    budgets, looks = Budgets(), 0

    class Counted(dict[str, tuple[float, float]]):
        def items(self):
            nonlocal looks
            looks += 1
            return super().items()

    budgets._left = Counted()
    for worker in range(members.MOST_WORKERS + 500):
        budgets.take(f"{worker:012x}", 10.0)
    assert looks == 1
    assert budgets.take(A, 100.0)


def test_made_up_dependencies_fill_no_memory() -> None:
    """Of one worker a hundred or so are remembered, and what this worker needs is among them in any case."""
    roster = Roster()
    for number in range(members.MOST_OTHERS + 10):
        roster.here(A, here(dependency=f"made up {number}"), 0.0, {"payments"})
    roster.here(A, here(), 0.0, {"payments"})
    assert sum(len(member.needs) for _, member in roster.items()) == members.MOST_OTHERS + 1
    roster.here(A, here(full=2), 0.0, {"payments"})
    assert roster.callers("payments") == (1, 2)
