"""Snapshot: what falls back, and commands."""

from __future__ import annotations

from tests.flow.stage import ORDERS, Stage

from holdgate.flow.snapshot import Snapshot


def test_a_snapshot_tells_what_falls_back() -> None:
    """And how many have."""
    stage = Stage("payments")
    stage.assignment().falling_back = True
    stage.assignment().fallbacks = 2
    seen = stage.engine.snapshot(0.0).sources[ORDERS]
    assert (seen.falling_back, seen.fallbacks) == (True, 2)


def test_a_snapshot_has_no_command_unless_it_is_given_one() -> None:
    """For whoever makes one by hand."""
    assert Snapshot(0.0, {}, {}).commands == ()
