from __future__ import annotations

import json
from dataclasses import replace

from tests.lab.simulate.examples import BROKEN, comparison_of, outcome_of, run_of

from holdgate_lab.simulate.app import SIMULATE_NOTES
from holdgate_lab.simulate.comparison import Difference
from holdgate_lab.simulate.json_report import document, dumped

KEYS = {
    "version",
    "scenario",
    "description",
    "seconds",
    "sample_every",
    "workers",
    "seed",
    "interrupted",
    "sound",
    "faults",
    "differences",
    "runs",
}
RUN_KEYS = {"label", "worker", "against", "fleet", "totals", "dependencies", "streams", "violations", "timeline"}


def test_the_document_has_the_promised_keys() -> None:
    """Scripts rely on these names."""
    found = document(comparison_of())
    assert found.keys() == KEYS
    assert found["runs"][0].keys() == RUN_KEYS
    assert (found["version"], found["scenario"], found["seed"], found["sound"]) == (1, "small", 7, True)


def test_every_key_is_explained_in_the_help() -> None:
    """Who reads the document finds each key in `holdgate simulate --help`."""
    assert [key for key in KEYS | RUN_KEYS if key not in SIMULATE_NOTES] == []


def test_the_samples_are_columns() -> None:
    """A list for each key, all of the same length, as something that draws wants them."""
    timeline = document(comparison_of())["runs"][0]["timeline"]
    assert timeline["at"] == [1.0, 2.0, 3.0, 4.0]
    assert timeline["dependencies"]["payments"]["state"] == ["CLOSED", "OPEN", "HALF_OPEN", "CLOSED"]
    assert timeline["dependencies"]["payments"]["limit"] == [None, None, 2, None]
    assert timeline["streams"]["orders"] == {"backlog": [1, 4, 3, 0], "held": [0, 1, 0, 0], "processed": [2, 0, 2, 4]}


def test_violations_and_differences_are_in_it() -> None:
    """What a script that watches settings looks for."""
    comparison = comparison_of(run_of(outcome_of(violations=(replace(BROKEN, at=2.50000001),))))
    found = document(replace(comparison, differences=(("old.toml", (Difference(("workers",), 2, 3),)),)))
    assert found["sound"] is False
    assert found["runs"][0]["violations"] == [{"at": 2.5, "invariant": "no loss", "words": "message 3 of orders is gone"}]
    assert found["differences"] == [{"file": "old.toml", "setting": "workers", "scenario": 2, "against": 3}]


def test_the_text_is_that_document() -> None:
    """Whatever it looks like."""
    comparison = comparison_of()
    assert json.loads(dumped(comparison)) == document(comparison)


def test_a_column_is_one_line() -> None:
    """A person can read it, and two of them can be compared by lines."""
    assert '"backlog": [1, 4, 3, 0],' in dumped(comparison_of())


def test_brackets_and_line_breaks_in_words_stay_as_they_are() -> None:
    """The lines are joined between values, never inside of one."""
    nasty = 'a [\n  1,\n  2\n] "b", [c]'
    comparison = comparison_of(run_of(outcome_of(violations=(replace(BROKEN, words=nasty),))))
    found = json.loads(dumped(replace(comparison, differences=(("old.toml", (Difference(("x",), [nasty, "two  spaces"], None),)),))))
    assert found["runs"][0]["violations"][0]["words"] == nasty
    assert found["differences"][0]["scenario"] == [nasty, "two  spaces"]
