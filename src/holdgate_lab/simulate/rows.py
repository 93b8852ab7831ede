"""The table of a comparison: the same facts for every run, side by side, as texts. What a report draws it with is its own affair."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from holdgate_lab.fleet.outcome import Totals
from holdgate_lab.fleet.scenario import Fault, Scenario, Stream
from holdgate_lab.simulate.comparison import Comparison, FinishedRun, streams_of
from holdgate_lab.simulate.figures import DependencyFigures, StreamFigures, dependency_figures, faults_of, stream_figures

NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Row:
    """One fact: a value for each run. `is_part`: of the row above that is no part."""

    label: str
    values: tuple[str, ...]
    is_part: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """Facts that belong together: of all messages, of one dependency, or of one topic or queue."""

    title: str
    rows: tuple[Row, ...]


def sections(comparison: Comparison) -> list[Section]:
    """The whole table; the dependency with the most failed calls, and the longest backlog, come first."""
    scenario, runs = comparison.scenario, comparison.runs
    dependencies = [(spec.name, [dependency_figures(scenario, run.outcome, spec.name) for run in runs]) for spec in scenario.dependencies]
    streams = [(stream, [stream_figures(scenario, run.outcome, stream) for run in runs]) for stream in streams_of(scenario)]
    dependencies.sort(key=lambda entry: -sum(each.failed_calls for each in entry[1]))
    streams.sort(key=lambda entry: -max((each.peak_backlog for each in entry[1]), default=0))
    return [
        Section("messages", tuple(_message_rows(scenario, runs))),
        *(Section(name, tuple(_dependency_rows(scenario, name, figures))) for name, figures in dependencies),
        *(Section(stream_title(stream), tuple(_stream_rows(figures))) for stream, figures in streams),
    ]


def stream_title(stream: Stream) -> str:
    """Its name, and what it needs."""
    return f"{stream.name} (needs {', '.join(stream.needs)})" if stream.needs else stream.name


def _message_rows(scenario: Scenario, runs: tuple[FinishedRun, ...]) -> Iterator[Row]:
    totals = [run.outcome.totals for run in runs]

    def row(label: str, fact: Callable[[Totals], int]) -> Row:
        return Row(label, tuple(str(fact(each)) for each in totals))

    yield row("processed", lambda each: each.processed)
    yield row("lost", lambda each: each.lost)
    yield row("dead letters that were good messages", lambda each: each.wrongly_dead_lettered)
    if _has_poison(scenario):
        yield row("dead letters that were poison", lambda each: each.dead_lettered - each.wrongly_dead_lettered)
    yield row("processed twice", lambda each: each.duplicates)
    yield row("not processed at the end", lambda each: each.unfinished)
    if scenario.topics:
        yield row("rebalances", lambda each: each.rebalances)
    yield row("delivered again", lambda each: each.redeliveries)
    if scenario.queues:
        yield row("delivery counts raised", lambda each: each.delivery_counts)
        yield row("highest delivery count", lambda each: each.highest_delivery_count)


def _has_poison(scenario: Scenario) -> bool:
    return any(stream.poison or stream.poison_ratio for stream in streams_of(scenario))


def _dependency_rows(scenario: Scenario, name: str, figures: list[DependencyFigures]) -> Iterator[Row]:
    def row(label: str, fact: Callable[[DependencyFigures], str]) -> Row:
        return Row(label, tuple(fact(each) for each in figures))

    yield row("calls", lambda each: str(each.calls))
    yield row("failed calls", lambda each: str(each.failed_calls))
    faults = faults_of(scenario, name)
    for number, fault in enumerate(faults):
        yield Row(f"while {fault_words(fault)}", tuple(str(each.failed_by_fault[number]) for each in figures), is_part=True)
    if faults:
        yield Row("at other times", tuple(str(each.failed_otherwise) for each in figures), is_part=True)
    yield row("most calls in it at a sample", lambda each: str(each.peak_in_flight))
    yield row("some circuit open or half-open", lambda each: seconds(each.not_closed_seconds))
    yield row("all circuits closed for good at", lambda each: moment(each.closed_at) if each.not_closed_seconds else NOTHING)


def _stream_rows(figures: list[StreamFigures]) -> Iterator[Row]:
    def row(label: str, fact: Callable[[StreamFigures], str]) -> Row:
        return Row(label, tuple(fact(each) for each in figures))

    yield row("processed", lambda each: str(each.processed))
    yield row("longest backlog", lambda each: str(each.peak_backlog))
    yield row("backlog at the end", lambda each: str(each.backlog))
    yield row("drained for good at", lambda each: NOTHING if each.drained_at == 0 else moment(each.drained_at))


_FAULTS: dict[str, Callable[[Fault], str]] = {
    "refuse": lambda _: "it refuses",
    "hang": lambda _: "it hangs",
    "slow": lambda fault: f"it is {fault.factor:g} times slower",
    "errors": lambda fault: f"{fault.ratio:.4g} of calls fail",
    "capacity": lambda fault: f"{fault.ratio:.4g} of its capacity is there",
    "cold": lambda fault: f"it is cold, from {fault.ratio:.4g} of its capacity on",
    "flap": lambda fault: f"it flaps, {fault.down:g} s down and {fault.up:g} s up",
    "key": lambda fault: f"key {fault.key} fails",
}


def fault_words(fault: Fault) -> str:
    """What is wrong, and from when until when."""
    return f"{_FAULTS[fault.kind](fault)} ({fault.at:g}-{fault.until:g} s)"


def seconds(value: float) -> str:
    """A duration, or a moment of the run."""
    return f"{value:g} s"


def moment(value: float | None) -> str:
    """When something had come to its end, if it had."""
    return "not yet" if value is None else seconds(value)
