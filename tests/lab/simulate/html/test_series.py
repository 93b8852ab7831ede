from __future__ import annotations

from dataclasses import replace

from tests.lab.simulate.examples import SCENARIO, SERIES, comparison_of, outcome_of, run_of, seen

from holdgate.core import State
from holdgate_lab.simulate.html import series
from holdgate_lab.simulate.html.series import columns_of, scales_of, state_of


def test_a_short_run_has_a_column_for_each_sample() -> None:
    """With calls a second, and what waits and is held in all topics and queues together."""
    columns = columns_of(run_of(outcome_of()))
    assert [(column.begin, column.end, column.waiting, column.held) for column in columns] == [
        (0, 1, 1, 0),
        (1, 2, 4, 1),
        (2, 3, 3, 0),
        (3, 4, 0, 0),
    ]
    assert columns[1].dependencies["payments"].failures == 5.0


def test_a_long_run_is_thinned_to_the_worst_of_each_piece() -> None:
    """A peak is never lost, and calls are the mean of the piece."""
    long = outcome_of(SERIES * 150)
    columns = columns_of(run_of(long, scenario=replace(SCENARIO, seconds=600)))
    assert len(columns) == 300 <= series.MOST_COLUMNS
    first, second = (column.dependencies["payments"] for column in columns[:2])
    assert (first.open_workers, first.calls, first.failures, columns[0].waiting) == (1, 3.5, 2.5, 4)
    assert (second.half_open_workers, second.limit, second.in_flight) == (1, 2, 3)
    assert (columns[-1].begin, columns[-1].end) == (598, 600)


def test_the_scales_are_those_of_all_runs() -> None:
    """Or a small failure would look as large as a large one."""
    comparison = comparison_of()
    more = outcome_of([(seen(calls=90, failures=30, in_flight=40), SERIES[0][1])])
    scales = scales_of(comparison, [columns_of(run_of(outcome_of())), columns_of(run_of(more))])
    assert (scales.seconds, scales.workers, scales.waiting) == (4, 2, 4)
    assert (scales.in_flight, scales.calls, scales.failures) == ({"payments": 40}, {"payments": 90}, {"payments": 30})


def test_a_limit_that_nothing_reaches_does_not_flatten_what_there_is() -> None:
    """At most half of the height is above the calls."""
    wide = outcome_of([(seen(State.HALF_OPEN, limit=500, in_flight=10), SERIES[0][1])])
    assert scales_of(comparison_of(), [columns_of(run_of(wide))]).in_flight == {"payments": 20}
    narrow = outcome_of([(seen(State.HALF_OPEN, limit=12, in_flight=10), SERIES[0][1])])
    assert scales_of(comparison_of(), [columns_of(run_of(narrow))]).in_flight == {"payments": 12}


def test_nothing_at_all_has_scales_that_can_be_divided_by() -> None:
    """A run without a sample is drawn, too."""
    scales = scales_of(comparison_of(), [columns_of(run_of(outcome_of(())))])
    assert (scales.waiting, scales.workers, scales.in_flight["payments"], scales.calls["payments"]) == (1, 1, 1, 1.0)


def test_the_state_of_a_column_is_that_of_the_worst_worker() -> None:
    """For the table below a drawing."""
    columns = columns_of(run_of(outcome_of()))
    assert [state_of(column.dependencies["payments"]) for column in columns] == ["CLOSED", "OPEN", "HALF_OPEN", "CLOSED"]
