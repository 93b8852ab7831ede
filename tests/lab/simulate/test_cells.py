from __future__ import annotations

from dataclasses import replace

import pytest
from tests.lab.simulate.examples import REFUSES, SCENARIO, outcome_of, seen

from holdgate.core import State
from holdgate_lab.fleet.outcome import DependencySample, StreamSample
from holdgate_lab.fleet.scenario import DependencySpec, Fault, Scenario
from holdgate_lab.simulate import cells

MINUTE = replace(SCENARIO, seconds=60.0, faults=())  # one second for each cell
EMPTY = StreamSample(backlog=0, held=0, processed=0)


def row(scenario: Scenario, *samples: DependencySample) -> str:
    return cells.state_row(scenario, outcome_of([(sample, EMPTY) for sample in samples]), "payments", cells.ASCII)


def faults(*several: Fault, seconds: float = 60.0) -> str:
    return cells.fault_row(replace(MINUTE, seconds=seconds, faults=several), "payments", cells.ASCII)


@pytest.mark.parametrize(
    ("sample", "glyph"),
    [
        (seen(calls=10), "-"),
        (seen(), "-"),
        (seen(calls=100, failures=9), "-"),
        (seen(calls=100, failures=10), "x"),
        (seen(calls=10, failures=5), "!"),
        (seen(calls=0, failures=3), "!"),
        (seen(State.OPEN, calls=9), "#"),
        (seen(State.HALF_OPEN, limit=1), "1"),
        (seen(State.HALF_OPEN, limit=3), "2"),
        (seen(State.HALF_OPEN, limit=4), "4"),
        (seen(State.HALF_OPEN, limit=15), "8"),
        (seen(State.HALF_OPEN, limit=400), "+"),
        (seen(State.HALF_OPEN), "1"),
    ],
)
def test_each_moment_has_its_glyph(sample: DependencySample, glyph: str) -> None:
    """A little failing is background; half of the calls is what should have opened."""
    assert row(MINUTE, sample)[0] == glyph


def test_a_sample_tells_about_the_time_before_it() -> None:
    """The first of a second each begins at 0, and the last one goes on."""
    assert row(MINUTE, seen(), seen(State.OPEN), seen()) == "-#" + "-" * 58


def test_a_cell_of_several_samples_shows_the_rarest() -> None:
    """A probe is half-open for a moment; an outage of one sample in four would vanish otherwise."""
    scenario = replace(MINUTE, seconds=240.0)
    assert row(scenario, seen(), seen(State.HALF_OPEN, limit=1), seen(State.OPEN), seen()).startswith("1-")
    assert row(scenario, seen(), seen(calls=1, failures=1), seen(State.OPEN), seen()).startswith("#-")


def test_of_several_that_are_as_rare_a_cell_shows_the_last() -> None:
    """A ramp that goes from 1 to 4 within a cell has reached 4."""
    steps = [seen(State.HALF_OPEN, limit=limit) for limit in (1, 2, 4)]
    assert row(replace(MINUTE, seconds=240.0), *steps, seen()).startswith("4-")


def test_a_sample_of_several_cells_goes_on() -> None:
    """Until the next one says something else."""
    scenario = replace(MINUTE, seconds=30.0)
    assert row(scenario, seen(), seen(State.OPEN), seen()) == "--##" + "-" * 56


def test_the_faults_of_a_dependency_are_in_its_row() -> None:
    """Down where nothing works, and not well where something does."""
    refuse, slow = replace(REFUSES, at=2, until=5), replace(REFUSES, at=4, until=7, kind="slow")
    assert faults(refuse, slow) == "--###xx" + "-" * 53
    scenario = replace(MINUTE, dependencies=(*MINUTE.dependencies, DependencySpec(name="email")), faults=(refuse, slow))
    assert cells.fault_row(scenario, "email", cells.ASCII) == "-" * 60


def test_a_flap_is_down_and_up_again() -> None:
    """Down first; it ends with the fault, and with the run."""
    flap = replace(REFUSES, at=1, until=8, kind="flap", down=2, up=1)
    assert faults(flap).startswith("-##-##-#--")
    assert faults(replace(flap, until=900)).endswith("-##-##-##-##")


def test_cells_that_divide_unevenly_end_where_they_should() -> None:
    """0.1 and 0.7 are no binary numbers: the fault still begins in its own cell."""
    assert faults(replace(REFUSES, at=0.7, until=1.4), seconds=6.0) == "-" * 7 + "#" * 7 + "-" * 46


def test_a_backlog_grows_from_nothing_to_the_top() -> None:
    """One message is more than none, and the most fills the cell."""
    series = [(seen(), StreamSample(backlog=backlog, held=0, processed=0)) for backlog in (0, 1, 500, 1000)]
    assert cells.backlog_row(MINUTE, outcome_of(series), 1000, cells.ASCII).startswith(" .=@@@")


def test_the_top_of_the_scale_is_the_longest_backlog_of_all() -> None:
    """All topics and queues together."""
    assert cells.most_waiting([outcome_of(), outcome_of(())]) == 4
    assert cells.most_waiting([]) == 0


def test_the_rows_are_ascii_where_nothing_else_is_sure_to_be_readable() -> None:
    """And no glyph means two things."""
    glyphs = cells.ASCII.fine + cells.ASCII.failing + cells.ASCII.most + cells.ASCII.bad + cells.ASCII.steps
    assert glyphs.isascii()
    assert cells.ASCII.heights.isascii()
    assert len(set(glyphs)) == len(glyphs)
