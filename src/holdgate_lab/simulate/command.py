"""`holdgate simulate`: from its options to runs, a report, and what the exit code says."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from rich.console import Console

from holdgate.config.toml_file import parse_toml, read_toml
from holdgate.errors import SettingsError
from holdgate_lab.fleet.scenario import Scenario
from holdgate_lab.simulate.against import scenario_against
from holdgate_lab.simulate.comparison import Comparison, differences
from holdgate_lab.simulate.html.page import page
from holdgate_lab.simulate.json_report import dumped
from holdgate_lab.simulate.reading import scenario_of
from holdgate_lab.simulate.running import Runs, entrants
from holdgate_lab.simulate.shipped import name_of, named, shipped
from holdgate_lab.simulate.text_report import print_report

# Wide enough for every line and the table: a pipe has no width of its own, and COLUMNS may be that of somebody's terminal.
PLAIN_WIDTH = 200


class SimulateEnding(Enum):
    """How it ended."""

    SOUND = "sound"
    BROKEN = "broken"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class SimulateOptions:
    """What was asked for. `against`: files of other settings. `workers`: the kinds that take part. `html`: a file to write, or None.

    `fleet`: so many workers, each alone and once more as a fleet. None means as many as the scenario says, and no fleet.
    """

    scenario: str
    against: Sequence[str]
    workers: Sequence[str]
    seed: int = 0
    as_json: bool = False
    html: Path | None = None
    fleet: int | None = None


def run_simulate(options: SimulateOptions) -> SimulateEnding:
    """Read, run and report. Raises SettingsError for files that are wrong."""
    scenario, others = _read(options)
    _check_target(options.html)
    runs = Runs(entrants(scenario, others, options.workers, in_fleet=options.fleet is not None), options.seed)
    finished = runs.run(Console(stderr=True))
    changes = tuple((name, differences(scenario, theirs)) for name, theirs in others)
    comparison = Comparison(scenario, options.seed, tuple(runs.finished), changes, interrupted=not finished)
    _report(comparison, options)
    if not finished:
        return SimulateEnding.INTERRUPTED
    return SimulateEnding.SOUND if comparison.is_sound else SimulateEnding.BROKEN


def print_shipped() -> None:
    """The scenarios that come with holdgate, and what each teaches."""
    known = shipped()
    width = max(len(name) for name in known)
    for name, file in known.items():
        scenario = scenario_of(parse_toml(name, file.read_text(encoding="utf-8")), name)
        sys.stdout.write(f"{name:<{width}}  {scenario.description}\n")


def _read(options: SimulateOptions) -> tuple[Scenario, list[tuple[str, Scenario]]]:
    file = named(options.scenario)
    scenario = scenario_of(file, name_of(file))
    others = [(Path(path).name, scenario_against(scenario, file, read_toml(Path(path)))) for path in options.against]
    if options.fleet is None:
        return scenario, others
    return with_workers(options.fleet, scenario), [(name, with_workers(options.fleet, theirs)) for name, theirs in others]


def with_workers(workers: int, scenario: Scenario) -> Scenario:
    """Return the scenario with so many workers. Each gets a partition of every topic: one without any would have nothing to agree on."""
    topics = tuple(replace(topic, partitions=max(topic.partitions, workers)) for topic in scenario.topics)
    return replace(scenario, workers=workers, topics=topics)


def _check_target(html: Path | None) -> None:
    """A run may take minutes: what cannot be written is found before."""
    if html is not None and (html.is_dir() or not html.parent.is_dir()):
        raise SettingsError(f"--html {html}: " + ("it is a folder" if html.is_dir() else f"there is no folder {html.parent}"))


def _report(comparison: Comparison, options: SimulateOptions) -> None:
    # Names come from a file, and a pipe may take nothing but ASCII. What a test puts in place of stdout may not have it.
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    if options.html is not None:
        _write(options.html, page(comparison))
    if options.as_json:
        sys.stdout.write(dumped(comparison))
        return
    console = Console(highlight=False)
    if not console.is_terminal or console.is_dumb_terminal:
        console = Console(highlight=False, width=PLAIN_WIDTH, color_system=None)
        print_report(comparison, console, ascii_only=True)
    else:
        print_report(comparison, console, ascii_only=False)


def _write(target: Path, text: str) -> None:
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"--html {target}: cannot be written: {error.strerror}") from None
