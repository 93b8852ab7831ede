from __future__ import annotations

import pytest

from holdgate_lab.together.__main__ import main


def test_random_worlds_are_played(capsys: pytest.CaptureFixture[str]) -> None:
    """And what came of them is said in one line; those of these seeds break nothing."""
    assert main(["--worlds", "0", "--first", "1", "--seeds", "2"]) == 0
    assert capsys.readouterr().out.startswith("2 runs; no rule was broken; at most ")
