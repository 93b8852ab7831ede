from __future__ import annotations

from dataclasses import replace

from tests.lab.simulate.examples import BROKEN, SCENARIO, comparison_of, outcome_of, run_of

from holdgate_lab.fleet.outcome import Totals
from holdgate_lab.simulate import words
from holdgate_lab.simulate.comparison import Comparison, Difference


def test_the_headline_says_what_was_simulated() -> None:
    """Name and lesson, then length, workers and seed: what it takes to see it again."""
    assert words.headline(comparison_of()) == ["small: Four seconds.", "4 s simulated with 2 workers, seed 7"]
    alone = replace(comparison_of(), scenario=replace(SCENARIO, description="", workers=1))
    assert words.headline(alone) == ["small", "4 s simulated with 1 worker, seed 7"]


def test_an_interrupted_comparison_says_so() -> None:
    """Nobody takes half of it for all."""
    assert words.headline(comparison_of(interrupted=True))[1].endswith("; interrupted: some runs are missing")


def test_what_is_broken_comes_first() -> None:
    """With the run, the invariant, the moment and what happened."""
    lines = words.verdicts(comparison_of(run_of(outcome_of(violations=(BROKEN,)))))
    assert lines[0] == "BROKEN, holdgate: no loss at 2.5 s: message 3 of orders is gone"
    assert not any("kept to every invariant" in line for line in lines)


def test_a_hundred_of_the_same_do_not_bury_the_rest() -> None:
    """The first few, and how many more."""
    lines = list(words.broken(run_of(outcome_of(violations=(BROKEN,) * 100))))
    assert len(lines) == 6
    assert lines[-1] == "BROKEN, holdgate: 95 more"


def test_that_nothing_was_broken_is_said_of_holdgate_only() -> None:
    """A baseline is not held to the invariants."""
    kept = "holdgate kept to every invariant, checked at every step."
    assert words.verdicts(comparison_of())[0] == kept
    assert kept not in words.verdicts(comparison_of(run_of(outcome_of(worker="naive"))))


def test_a_run_in_one_sentence() -> None:
    """What went well in few words, and what did not by its number."""
    good = run_of(outcome_of())
    assert words.summary(good) == "processed 8 of 8, 6 failed calls, nothing lost"
    totals = Totals(produced=9, processed=4, failed_calls=1, lost=2, wrongly_dead_lettered=1, unfinished=3, duplicates=5)
    bad = run_of(replace(outcome_of(), totals=totals))
    assert words.summary(bad) == (
        "processed 4 of 9, 1 failed call, 2 lost, 1 good message dead-lettered, 3 not processed at the end, 5 processed twice"
    )


def changes(*found: Difference) -> list[str]:
    return list(words.differences(Comparison(SCENARIO, 0, (), (("old.toml", found),))))


def test_settings_that_differ_are_told_with_both_values() -> None:
    """As TOML has them."""
    assert changes(
        Difference(("concurrency",), None, 4),
        Difference(("dependencies", "payments", "circuit", "window"), {"calls": 20}, {"seconds": 3.0, "buckets": 10}),
    ) == [
        'old.toml has concurrency = 4 instead of "none"',
        "old.toml has dependencies.payments.circuit.window = {seconds = 3.0, buckets = 10} instead of {calls = 20}",
    ]


def test_two_files_with_the_same_settings_say_so() -> None:
    """Or somebody looks for a difference between two equal columns."""
    assert changes() == ["old.toml has the same settings"]
