from __future__ import annotations

from holdgate.cli.demo.timeline import BLOCKS, LETTERS, Kind, Mark, timeline


def row(*marks: Mark, now: float) -> str:
    return timeline(marks, now, 1.0, LETTERS)


def test_a_state_lasts_until_the_next_one() -> None:
    """A cell without a change shows what came before it."""
    assert row(Mark(0.0, Kind.FINE), Mark(2.0, Kind.BAD), Mark(4.0, Kind.FINE), now=6.0) == "--##--"


def test_a_probe_within_one_cell_is_seen() -> None:
    """The rarer state wins the cell, and the cells after it show what came last."""
    assert row(Mark(0.0, Kind.BAD), Mark(2.1, Kind.PARTLY, 1), Mark(2.2, Kind.BAD), now=4.0) == "##1#"


def test_the_last_limit_within_a_cell_is_shown() -> None:
    """A ramp that passes 1, 2 and 4 within a cell shows 4."""
    assert row(Mark(0.1, Kind.PARTLY, 1), Mark(0.2, Kind.PARTLY, 2), Mark(0.3, Kind.PARTLY, 4), now=1.0) == "4"


def test_limits_are_steps_and_anything_above_eight_is_the_last_one() -> None:
    """1, 2, 4, 8, 16 and 32 messages at once; a limit between two steps shows the lower."""
    marks = [Mark(float(index), Kind.PARTLY, limit) for index, limit in enumerate((1, 2, 3, 4, 8, 16, 32))]
    assert timeline(marks, 7.0, 1.0, BLOCKS) == "▁▂▂▄▆██"


def test_partly_without_a_limit_is_the_last_step() -> None:
    """A weak service has no limit that could be shown."""
    assert row(Mark(0.0, Kind.PARTLY), now=1.0) == "+"


def test_nothing_is_drawn_beyond_now() -> None:
    """The row grows with the run, the running cell included."""
    assert row(Mark(0.0, Kind.FINE), now=2.5) == "---"


def test_no_time_no_row() -> None:
    """An interrupted start has an empty row."""
    assert row(now=0.0) == ""
