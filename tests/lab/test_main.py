"""`python -m holdgate_lab`."""

from __future__ import annotations

import pytest

from holdgate_lab import __main__ as command
from holdgate_lab.fleet import explore as exploring
from tests.lab.fleet.saboteurs import ForgetsOrder


def test_seeds_that_hold_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """And the exit code says so."""
    assert command.main(["--seeds", "3", "--first", "5"]) == 0
    assert capsys.readouterr().out.startswith("3 seeds from 5 on, 0 failed")


def test_many_seeds_are_shared_by_processes(capsys: pytest.CaptureFixture[str]) -> None:
    """What they find comes in the order of the seeds."""
    assert command.main(["--seeds", "41", "--processes", "2"]) == 0
    assert capsys.readouterr().out.startswith("41 seeds from 0 on, 0 failed")


def test_one_seed_tells_its_story(capsys: pytest.CaptureFixture[str]) -> None:
    """Who, on what, and every step with its second."""
    assert command.main(["--seed", "5"]) == 0
    out = capsys.readouterr().out
    assert " s  worker 0 starts" in out
    assert out.endswith("seed 5 keeps every invariant\n")


def test_a_seed_that_fails_says_how_to_see_it_again(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its command, and its story."""
    failure = next(exploring.explore(range(200), worker=ForgetsOrder))
    monkeypatch.setattr(command, "explore", lambda _seeds: iter([failure]))
    assert command.main(["--seeds", "1"]) == 1
    out = capsys.readouterr().out
    assert f"Replay: python -m holdgate_lab --seed {failure.seed}" in out
    assert "BROKEN, order" in out
