"""Runs made by hand, small enough to be counted."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import dedent

from holdgate.config.toml_file import TomlFile, parse_toml
from holdgate.core import State
from holdgate_lab.fleet.outcome import DependencySample, RunOutcome, Sample, StreamSample, Totals, Violation, WorkerKind
from holdgate_lab.fleet.scenario import DependencySpec, Fault, Scenario, TopicSpec
from holdgate_lab.simulate.comparison import Comparison, Entrant, FinishedRun
from holdgate_lab.simulate.reading import scenario_of

REFUSES = Fault(at=1, until=3, dependency="payments", kind="refuse")
SCENARIO = Scenario(
    name="small",
    description="Four seconds.",
    seconds=4,
    workers=2,
    topics=(TopicSpec(name="orders", needs=("payments",), rate=2),),
    dependencies=(DependencySpec(name="payments", capacity=10),),
    faults=(REFUSES,),
)
BROKEN = Violation(at=2.5, invariant="no loss", words="message 3 of orders is gone")


def seen(
    state: State = State.CLOSED, *, calls: int = 0, failures: int = 0, limit: int | None = None, in_flight: int = 0
) -> DependencySample:
    """One dependency at one moment; of two workers one is in the state."""
    return DependencySample(
        state=state,
        open_workers=int(state is State.OPEN),
        half_open_workers=int(state is State.HALF_OPEN),
        limit=limit,
        in_flight=in_flight,
        calls=calls,
        failures=failures,
        is_faulty=False,
    )


# Well, open, half-open with two at once, well: one second each.
SERIES = (
    (seen(calls=2, in_flight=1), StreamSample(backlog=1, held=0, processed=2)),
    (seen(State.OPEN, calls=5, failures=5), StreamSample(backlog=4, held=1, processed=0)),
    (seen(State.HALF_OPEN, calls=3, failures=1, limit=2, in_flight=2), StreamSample(backlog=3, held=0, processed=2)),
    (seen(calls=4, in_flight=3), StreamSample(backlog=0, held=0, processed=4)),
)


def outcome_of(
    series: Sequence[tuple[DependencySample, StreamSample]] = SERIES,
    worker: WorkerKind = "holdgate",
    violations: tuple[Violation, ...] = (),
) -> RunOutcome:
    """A run of SCENARIO, a sample for each second."""
    return RunOutcome(
        scenario="small",
        worker=worker,
        seed=0,
        seconds=float(len(series)),
        totals=Totals(produced=8, processed=8, calls=14, failed_calls=6),
        samples=tuple(
            Sample(at=float(number), workers=2, dependencies={"payments": dependency}, streams={"orders": stream})
            for number, (dependency, stream) in enumerate(series, 1)
        ),
        violations=violations,
    )


def run_of(outcome: RunOutcome, label: str | None = None, scenario: Scenario = SCENARIO) -> FinishedRun:
    """A run as it stands in a comparison."""
    return FinishedRun(Entrant(label or outcome.worker, scenario, outcome.worker), outcome)


def comparison_of(*runs: FinishedRun, interrupted: bool = False) -> Comparison:
    """These runs of SCENARIO side by side; without any, one with holdgate and one without."""
    both = (run_of(outcome_of()), run_of(outcome_of(worker="naive")))
    return Comparison(SCENARIO, 7, runs or both, interrupted=interrupted)


SHORT = """\
seconds = 20

[topics.orders]
needs = ["payments"]
rate = 4

[dependencies.payments]
capacity = 4
circuit.open_duration = 3

[[faults]]
at = 5
until = 10
dependency = "payments"
kind = "refuse"
"""


def file_of(text: str, name: str = "some.toml") -> TomlFile:
    """A file with this text."""
    return parse_toml(name, dedent(text))


def scenario_from(text: str) -> Scenario:
    """The scenario that this text describes."""
    return scenario_of(file_of(text), "some")
