"""The traps: what they cost without a guard, and that a guard keeps everything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from examples.traps.__main__ import TRAPS
from examples.traps.world import figures

ROOT = Path(__file__).parents[2]
# What a trap costs: without a guard more than nothing, behind one nothing.
COSTS = {
    "nack_loop": ("dropped by the broker", "not processed at the end"),
    "sleeping": ("charged twice", "workers given up by the group", "commits refused"),
    "ack_first": ("lost",),
    "breaker_in_handler": ("good messages among the dead letters",),
    "retry_topic": ("charged after a later event of its account",),
    "prefetch": (),
    "dead_letters": ("good messages among the dead letters",),
}


@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_costs_something_without_a_guard_and_nothing_behind_one(name: str) -> None:
    """The page shows these figures; each run ends the same."""
    rows = {row: (without, guarded) for row, without, guarded in figures(TRAPS[name])}

    costs = [rows[row] for row in COSTS[name]]
    assert all(guarded == 0 for _, guarded in costs)
    assert not costs or any(without for without, _ in costs)
    if name != "prefetch":
        assert rows["charged"][1] == max(rows["charged"])
    assert figures(TRAPS[name]) == [(row, *values) for row, values in rows.items()]


def test_one_worker_leaves_the_rest_to_others() -> None:
    """A guard has no more in hand than its prefetch; without one everything is in one process."""
    rows = {row: (without, guarded) for row, without, guarded in figures(TRAPS["prefetch"])}

    assert rows["left for a second worker"][0] == 0 < rows["left for a second worker"][1]
    assert rows["in the first worker's memory"] == (2000, 50)


def test_every_trap_has_a_page() -> None:
    """A reader finds it in the group of the traps, with the run that shows it."""
    pages = {file.stem: file.read_text() for file in (ROOT / "docs" / "explanation" / "traps").glob("*.md")}

    assert set(pages) == {name.replace("_", "-") for name in TRAPS}
    assert all(f"$ python -m examples.traps {name}\n" in pages[name.replace("_", "-")] for name in TRAPS)


def test_the_command_of_the_pages_runs() -> None:
    """It prints the table, and refuses a name that is none of them."""
    command = [sys.executable, "-m", "examples.traps"]
    ran = subprocess.run([*command, "ack_first"], cwd=ROOT, capture_output=True, text=True, check=True)
    refused = subprocess.run([*command, "nack"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert ran.stdout.startswith("ack_first\n")
    assert "behind a guard" in ran.stdout
    assert ran.stderr == ""
    assert refused.returncode == 1
    assert "no trap is named 'nack'; there are nack_loop, " in refused.stderr
