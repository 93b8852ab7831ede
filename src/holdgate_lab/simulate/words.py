"""A comparison in sentences: what was simulated, whether anything was broken, and what came of each run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from holdgate.config.fields import NONE, shown
from holdgate_lab.fleet.outcome import Violation
from holdgate_lab.simulate.comparison import Comparison, FinishedRun

# The first few tell what is wrong; hundreds of the same kind only bury it.
TOLD = 5


def headline(comparison: Comparison) -> list[str]:
    """What was simulated."""
    scenario = comparison.scenario
    told = f"{scenario.name}: {scenario.description}" if scenario.description else scenario.name
    workers = f"{scenario.workers} worker" + ("s" if scenario.workers != 1 else "")
    ending = "; interrupted: some runs are missing" if comparison.interrupted else ""
    together = ", each alone and as a fleet" if any(run.entrant.in_fleet for run in comparison.runs) else ""
    return [told, f"{scenario.seconds:g} s simulated with {workers}{together}, seed {comparison.seed}{ending}"]


def verdicts(comparison: Comparison) -> list[str]:
    """What came of it, the worst first."""
    guarded = [run for run in comparison.runs if run.entrant.worker == "holdgate"]
    lines = [line for run in guarded for line in broken(run)]
    if guarded and comparison.is_sound:
        lines.append("holdgate kept to every invariant, checked at every step.")
    return [*lines, *(f"{run.entrant.label}: {summary(run)}" for run in comparison.runs)]


def broken(run: FinishedRun) -> Iterator[str]:
    """The invariants that a run has broken."""
    violations = run.outcome.violations
    for violation in violations[:TOLD]:
        yield f"BROKEN, {run.entrant.label}: {violation_words(violation)}"
    if len(violations) > TOLD:
        yield f"BROKEN, {run.entrant.label}: {len(violations) - TOLD} more"


def violation_words(violation: Violation) -> str:
    """One broken invariant."""
    return f"{violation.invariant} at {violation.at:g} s: {violation.words}"


def summary(run: FinishedRun) -> str:
    """One run in one sentence."""
    totals = run.outcome.totals
    facts = [f"processed {totals.processed} of {totals.produced}", f"{_count(totals.failed_calls, 'failed call')}"]
    facts.append(f"{totals.lost} lost" if totals.lost else "nothing lost")
    if totals.wrongly_dead_lettered:
        facts.append(f"{_count(totals.wrongly_dead_lettered, 'good message')} dead-lettered")
    if totals.unfinished:
        facts.append(f"{totals.unfinished} not processed at the end")
    if totals.duplicates:
        facts.append(f"{totals.duplicates} processed twice")
    return ", ".join(facts)


def differences(comparison: Comparison) -> Iterator[str]:
    """The settings that --against compares."""
    for name, changes in comparison.differences:
        if not changes:
            yield f"{name} has the same settings"
        for change in changes:
            yield f"{name} has {change.setting} = {value_words(change.against)} instead of {value_words(change.scenario)}"


def value_words(value: object) -> str:
    """A setting's value as TOML has it, as far as a line allows."""
    if isinstance(value, dict):
        entries = cast("dict[str, object]", value)
        return "{" + ", ".join(f"{key} = {value_words(entry)}" for key, entry in entries.items()) + "}"
    return f'"{NONE}"' if value is None else shown(value)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
