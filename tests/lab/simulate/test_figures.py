from __future__ import annotations

from dataclasses import replace

import pytest
from tests.lab.simulate.examples import REFUSES, SCENARIO, SERIES, outcome_of, seen

from holdgate.core import State
from holdgate_lab.fleet.outcome import StreamSample
from holdgate_lab.simulate.figures import dependency_figures, faults_of, stream_figures

ORDERS = SCENARIO.topics[0]
NOTHING = StreamSample(backlog=0, held=0, processed=0)


def test_the_figures_of_a_dependency_are_sums_and_peaks() -> None:
    """Calls and failures of all samples, the most at once, and how long it was not closed."""
    figures = dependency_figures(SCENARIO, outcome_of(), "payments")
    assert (figures.calls, figures.failed_calls, figures.peak_in_flight, figures.not_closed_seconds) == (14, 6, 3, 2.0)


def test_failed_calls_are_told_by_fault() -> None:
    """A sample belongs to the fault that was active in its middle; two at once both count."""
    later = replace(REFUSES, at=2, until=4, kind="errors")
    scenario = replace(SCENARIO, faults=(later, REFUSES))
    assert faults_of(scenario, "payments") == [REFUSES, later]
    figures = dependency_figures(scenario, outcome_of((*SERIES, (seen(calls=1, failures=1), NOTHING))), "payments")
    assert (figures.failed_by_fault, figures.failed_otherwise) == ((6, 1), 1)


def states(*names: str) -> list[tuple[object, StreamSample]]:
    return [(seen(State[name]), NOTHING) for name in names]


@pytest.mark.parametrize(
    ("names", "closed_at"),
    [
        (["CLOSED", "OPEN", "HALF_OPEN", "CLOSED"], 4.0),
        (["OPEN", "CLOSED", "OPEN", "CLOSED", "CLOSED"], 4.0),
        (["CLOSED", "OPEN"], None),
        (["CLOSED", "CLOSED"], None),
    ],
)
def test_closed_for_good_is_after_the_last_time_it_was_not(names: list[str], closed_at: float | None) -> None:
    """None when it never was anything else, and when it is not yet."""
    assert dependency_figures(SCENARIO, outcome_of(states(*names)), "payments").closed_at == closed_at  # type: ignore[arg-type]


def test_the_figures_of_a_topic() -> None:
    """What was processed, the most that waited, and what waits at the end."""
    figures = stream_figures(SCENARIO, outcome_of(), ORDERS)
    assert (figures.processed, figures.peak_backlog, figures.backlog) == (8, 4, 0)


@pytest.mark.parametrize(
    ("backlogs", "rate", "drained_at"),
    [
        ([1, 4, 3, 0], 2, 4.0),
        ([1, 4, 2, 9, 2], 2, 5.0),
        ([1, 2, 2], 2, 0.0),
        ([1, 3], 2, None),
        ([5, 4, 1, 0], 0, 3.0),
    ],
)
def test_drained_is_when_no_more_waits_than_what_is_on_its_way(backlogs: list[int], rate: float, drained_at: float | None) -> None:
    """For good; what comes in within a second is on its way, and one message always is."""
    series = [(seen(), StreamSample(backlog=backlog, held=0, processed=0)) for backlog in backlogs]
    assert stream_figures(SCENARIO, outcome_of(series), replace(ORDERS, rate=rate)).drained_at == drained_at


def test_a_run_without_samples_has_figures() -> None:
    """A run shorter than its first sample."""
    assert dependency_figures(SCENARIO, outcome_of(()), "payments").peak_in_flight == 0
    assert stream_figures(SCENARIO, outcome_of(()), ORDERS).backlog == 0
