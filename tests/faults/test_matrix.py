"""The table on real brokers: after each fault in each state, every invariant of the ledger holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.closing import BROKER
from tests.faults.table import CELLS
from tests.servers.unavailable import in_ci

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.runs import Runs


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS)
def test_the_invariants_hold(runs: Runs, name: str, record_property: Callable[[str, object], None]) -> None:
    """Nothing lost, nothing settled before it was processed, nothing called while held; and all of it comes back."""
    outcome = runs.outcome(name)
    if outcome["result"] == "skipped":
        (pytest.fail if in_ci() else pytest.skip)(outcome["text"])
    server = CELLS[name].broker.value
    record_property(BROKER, f"{server} {runs.servers[server]} (started here)")
    assert outcome["result"] == "held", outcome["text"]
