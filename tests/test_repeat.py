"""The runs of make test-repeat, on a test that fails now and then."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.repeat import Outcome, Setting, meanwhile, repeat, table

if TYPE_CHECKING:
    from pathlib import Path

# Fails in every second run.
TEST = """
import pathlib

def test_now_and_then():
    seen = pathlib.Path(__file__).with_name("seen")
    if seen.exists():
        seen.unlink()
        raise AssertionError
    seen.touch()
"""


def test_a_test_that_fails_in_one_of_two_runs_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By its name, how often and in which setting; the setting is green once of two times, and each run's own words are kept."""
    (tmp_path / "test_it.py").write_text(TEST)
    outcomes = list(repeat([Setting("by itself", 0)], 2, [str(tmp_path / "test_it.py")], tmp_path))
    assert [outcome.code for outcome in outcomes] == [0, 1]
    head, row, failed = table(outcomes).splitlines()
    assert row.split()[:3] == ["by", "itself", "1/2"]
    assert failed.startswith("1 times: ")
    assert failed.endswith("test_it.py::test_now_and_then (by itself)")
    assert "1 passed" in (tmp_path / "1.txt").read_text()
    assert "by itself, 2 of 2: 1 failed" in capsys.readouterr().out
    assert "green" in head


def test_a_run_that_broke_off_is_no_green_one() -> None:
    """No closing line, no failed test, and still red: the exit code counts."""
    broken = Outcome(Setting("by itself", 0), -9, 5.0, "broke off", ())
    assert table([broken]).splitlines()[1].split() == ["by", "itself", "0/1", "5s", "5s"]


def test_what_runs_beside_must_run_to_the_end() -> None:
    """A load that has ended in the middle makes the runs beside it worthless, and is told."""

    def beside() -> None:
        with meanwhile([sys.executable, "-c", "raise SystemExit(7)"]) as process:
            process.wait()

    with pytest.raises(AssertionError, match="ended with 7"):
        beside()


def test_what_runs_beside_ends_with_the_runs() -> None:
    """Nothing of it is left to slow down others."""
    with meanwhile([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        assert process.poll() is None
    assert process.poll() is not None
