"""A few cells of the table, one of each kind, for every change; the whole of it is test_matrix.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.closing import BROKER
from tests.faults.runs import Runs
from tests.faults.table import QUICK, QUICK_SHARE
from tests.servers.unavailable import in_ci

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


@pytest.mark.integration
@pytest.mark.slow
def test_the_invariants_hold_in_a_few_cells(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Each state, dependency, process, group, network and channel once; side by side, so in one test."""
    play(QUICK, tmp_path, record_property)


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.usefixtures("share_kafka")
def test_the_invariants_hold_on_a_share_group(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Poison among good messages on the way back, where a Kafka with share groups was asked for."""
    play(QUICK_SHARE, tmp_path, record_property)


def play(names: Sequence[str], folder: Path, record_property: Callable[[str, object], None]) -> None:
    """Run these cells, and say what does not hold."""
    runs = Runs(names, folder)
    try:
        outcomes = [runs.outcome(name) for name in names]
    finally:
        runs.close()
    for server, version in runs.servers.items():
        record_property(BROKER, f"{server} {version} (started here)")
    skipped = [each["text"] for each in outcomes if each["result"] == "skipped"]
    wrong = [f"{each['cell']}: {each['result']}\n{each['text']}" for each in outcomes if each["result"] not in ("held", "skipped")]
    assert not wrong, "\n".join(wrong)
    if skipped:
        (pytest.fail if in_ci() else pytest.skip)(skipped[0])
