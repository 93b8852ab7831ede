from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console
from tests.lab.simulate.examples import BROKEN, comparison_of, outcome_of, run_of

from holdgate_lab.fleet.outcome import Totals
from holdgate_lab.simulate.comparison import Comparison
from holdgate_lab.simulate.text_report import print_report


def text_of(comparison: Comparison, *, ascii_only: bool = True, colours: bool = False, width: int = 200) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, color_system="standard" if colours else None, force_terminal=colours)
    print_report(comparison, console, ascii_only=ascii_only)
    return out.getvalue()


def test_it_is_text_first_then_rows_then_the_table() -> None:
    """Who reads only the beginning knows the most important."""
    text = text_of(comparison_of())
    places = [text.index(piece) for piece in ("small: Four", "kept to every", "naive: processed", "payments  ", "- fine", "| messages")]
    assert places == sorted(places)


def test_each_run_has_a_row_for_each_dependency_and_one_for_what_waits() -> None:
    """The fault above them, on the same axis."""
    lines = text_of(comparison_of()).splitlines()
    start = lines.index("payments   " + "-" * 15 + "#" * 30 + "-" * 15)
    assert lines[start + 1] == "  holdgate " + "-" * 15 + "#" * 15 + "2" * 15 + "-" * 15
    assert lines[start + 2].startswith("  naive    ")
    assert lines[start + 3] == "waiting, up to 4"
    assert lines[start + 4] == "  holdgate " + ":" * 15 + "@" * 15 + "*" * 15


def test_a_pipe_gets_ascii_and_a_terminal_gets_shapes() -> None:
    """A log shows nothing else for sure."""
    assert text_of(comparison_of()).isascii()
    assert "■" in text_of(comparison_of(), ascii_only=False)


def test_a_narrow_terminal_loses_no_digit() -> None:
    """The labels get more lines instead."""
    totals = Totals(produced=9_999_999, processed=7_654_321)
    many = [run_of(replace(outcome_of(), totals=totals), label=f"with number {number}") for number in range(4)]
    assert text_of(comparison_of(*many), width=70).count("7654321") == 4 + 4  # in the sentences and in the table


def test_what_is_broken_is_a_word_and_not_only_a_colour() -> None:
    """Red where there are colours, BROKEN everywhere."""
    comparison = comparison_of(run_of(outcome_of(violations=(BROKEN,))))
    assert "\nBROKEN, holdgate: no loss" in text_of(comparison)
    assert "\x1b[1;31mBROKEN" in text_of(comparison, colours=True)


def test_without_a_run_there_is_no_table() -> None:
    """Interrupted in the first one: what was to be simulated, and that it was not."""
    empty = Comparison(comparison_of().scenario, 0, (), interrupted=True)
    assert text_of(empty).splitlines() == [
        "small: Four seconds.",
        "4 s simulated with 2 workers, seed 0; interrupted: some runs are missing",
        "",
    ]
