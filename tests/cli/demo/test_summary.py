from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console
from tests.cli.demo.examples import REPORT

from holdgate.cli.demo.summary import print_rows, print_summary


def printed(*, ascii_only: bool = True, interrupted: bool = False, ran: float = REPORT.ran) -> str:
    written = io.StringIO()
    report = replace(REPORT, interrupted=interrupted, ran=ran)
    print_summary(report, Console(file=written, width=120, color_system=None), ascii_only=ascii_only)
    return written.getvalue()


def cells(label: str) -> list[str]:
    line = next(line for line in printed().splitlines() if label in line)
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_the_facts_of_both_sides_stand_beside_each_other() -> None:
    """With holdgate first, without second."""
    assert cells("wasted") == ["24", "331"]
    assert cells("dead letters") == ["0", "105"]
    assert cells("lost") == ["0", "0"]
    assert cells("processed") == ["1350", "1245"]


def test_a_time_that_nobody_took_is_a_dash() -> None:
    """No receipt was processed on the one side: no number is made up."""
    assert cells("slowest receipt") == ["0.2 s", "-"]


def test_a_pipe_gets_ascii_only() -> None:
    """Logs and pipes may not be UTF-8."""
    assert printed(ascii_only=True).isascii()
    assert not printed(ascii_only=False).isascii()


def test_an_interrupted_run_says_so_and_how_far_it_came() -> None:
    """The numbers are of a part of the story, and payments was down for a part of its outage."""
    text = printed(interrupted=True, ran=8.0)
    assert "interrupted after 8 s" in text
    assert "down for 2 s" in text


def test_the_three_rows_of_cells_stand_below_each_other() -> None:
    """What the service did, and what either side made of it; aligned, in ASCII."""
    written = io.StringIO()
    print_rows(REPORT, Console(file=written, width=120, color_system=None))
    lines = written.getvalue().splitlines()
    assert [line.split()[-1] for line in lines[:3]] == ["--####", "--##1#", "--####"]
    assert len({line.index("--") for line in lines[:3]}) == 1
    assert written.getvalue().isascii()
