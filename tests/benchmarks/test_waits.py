from __future__ import annotations

import pytest

from benchmarks import waits
from holdgate.core import CircuitSettings


@pytest.mark.parametrize("kind", waits.KINDS)
def test_a_short_outage_costs_what_opens_and_a_few_probes(kind: waits.Kind) -> None:
    """And it is over within the first wait; the same seed gives the same."""
    cost = waits.outage(CircuitSettings(), 20.0, kind, workers=2, seed=1)
    assert 5 <= cost.failed <= 15
    assert cost.closed_after < 6
    assert cost == waits.outage(CircuitSettings(), 20.0, kind, workers=2, seed=1)


def test_a_shorter_wait_is_back_sooner_and_costs_more() -> None:
    """What the table is about."""
    often = CircuitSettings(open_duration=1, open_duration_max=1)
    seldom = CircuitSettings(open_duration=30, open_jitter=0)
    soon, late = (waits.outage(settings, 40.0, "refuse", workers=1, seed=0) for settings in (often, seldom))
    assert soon.closed_after < late.closed_after
    assert soon.failed > late.failed


def test_a_cell_has_means_and_the_most() -> None:
    """Calls of a worker first."""
    assert waits.cell([waits.Cost(10, 1.0), waits.Cost(12, 2.0)]) == "11 / 1.5, 2.0"
