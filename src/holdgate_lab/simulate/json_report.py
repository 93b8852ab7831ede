"""The report as one JSON document, for scripts: everything that the text says, and the samples of every run as columns."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from typing import Any, cast

from holdgate_lab.fleet.outcome import DependencySample, Sample, StreamSample
from holdgate_lab.fleet.scenario import Scenario
from holdgate_lab.simulate.comparison import Comparison, FinishedRun, streams_of
from holdgate_lab.simulate.figures import dependency_figures, stream_figures

# Raised when a key is renamed or removed, or its meaning changes; a new key alone leaves it as it is.
VERSION = 1

# A list of plain values stays on one line, or a column of a hundred samples would be a hundred lines.
_FLAT_LIST = re.compile(r"\[\n\s+([^\[\]{}]*?)\n\s+\]")
_DIGITS = 6  # a microsecond: what is below comes of adding floats


def document(comparison: Comparison) -> dict[str, Any]:
    """The document."""
    scenario = comparison.scenario
    return {
        "version": VERSION,
        "scenario": scenario.name,
        "description": scenario.description,
        "seconds": scenario.seconds,
        "sample_every": scenario.sample_every,
        "workers": scenario.workers,
        "seed": comparison.seed,
        "interrupted": comparison.interrupted,
        "sound": comparison.is_sound,
        "faults": [_fault(fault) for fault in scenario.faults],
        "differences": [
            {"file": name, "setting": each.setting, "scenario": each.scenario, "against": each.against}
            for name, changes in comparison.differences
            for each in changes
        ],
        "runs": [_run(scenario, run) for run in comparison.runs],
    }


def dumped(comparison: Comparison) -> str:
    """The document as text, with a newline at its end."""
    text = json.dumps(document(comparison), indent=2, allow_nan=False)
    return _FLAT_LIST.sub(lambda found: "[" + re.sub(r",\n\s+", ", ", found[1]) + "]", text) + "\n"


def _fault(fault: Any) -> dict[str, Any]:
    return {"at": fault.at, "until": fault.until, "dependency": fault.dependency, "kind": fault.kind}


def _run(scenario: Scenario, run: FinishedRun) -> dict[str, Any]:
    outcome, names = run.outcome, [spec.name for spec in scenario.dependencies]
    return {
        "label": run.entrant.label,
        "worker": outcome.worker,
        "against": run.entrant.against,
        "fleet": run.entrant.in_fleet,
        "totals": dataclasses.asdict(outcome.totals),
        "dependencies": {name: _rounded(dataclasses.asdict(dependency_figures(scenario, outcome, name))) for name in names},
        "streams": {
            stream.name: _rounded(dataclasses.asdict(stream_figures(scenario, outcome, stream))) for stream in streams_of(scenario)
        },
        "violations": [_rounded(dataclasses.asdict(violation)) for violation in outcome.violations],
        "timeline": _timeline(scenario, outcome.samples),
    }


def _timeline(scenario: Scenario, samples: Sequence[Sample]) -> dict[str, Any]:
    names = [spec.name for spec in scenario.dependencies]
    return {
        "at": [round(sample.at, _DIGITS) for sample in samples],
        "workers": [sample.workers for sample in samples],
        "dependencies": {name: _columns(DependencySample, [sample.dependencies[name] for sample in samples]) for name in names},
        "streams": {
            stream.name: _columns(StreamSample, [sample.streams[stream.name] for sample in samples]) for stream in streams_of(scenario)
        },
    }


def _columns(cls: type[Any], samples: Sequence[Any]) -> dict[str, list[Any]]:
    columns = {field.name: [getattr(sample, field.name) for sample in samples] for field in dataclasses.fields(cls)}
    if "state" in columns:
        columns["state"] = [state.name for state in columns["state"]]
    return columns


def _rounded(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in figures.items()}


def _plain(value: object) -> object:
    if isinstance(value, float):
        return round(value, _DIGITS)
    return list(cast("tuple[object, ...]", value)) if isinstance(value, tuple) else value
