from __future__ import annotations

import io
import os
import signal
from dataclasses import replace

import pytest
from rich.console import Console
from tests.lab.simulate.examples import SHORT, scenario_from

from holdgate_lab.fleet.outcome import WORKER_KINDS
from holdgate_lab.simulate import running
from holdgate_lab.simulate.comparison import Entrant
from holdgate_lab.simulate.running import Runs, entrants

SCENARIO = scenario_from(SHORT)
OTHER = scenario_from(SHORT.replace("circuit.open_duration = 3", "circuit.consecutive_failures = 1"))


def quiet() -> Console:
    return Console(file=io.StringIO())


def labels(others: list[tuple[str, object]], workers: tuple[str, ...]) -> list[str]:
    return [entrant.label for entrant in entrants(SCENARIO, others, workers)]  # type: ignore[arg-type]


def test_all_kinds_take_part_in_one_order() -> None:
    """However they were asked for."""
    assert labels([], tuple(reversed(WORKER_KINDS))) == ["holdgate", "naive", "one probe", "ten probes"]


def test_other_settings_run_with_holdgate_only() -> None:
    """The baselines are what both are compared with."""
    assert labels([("old.toml", OTHER)], ("holdgate", "naive", "one probe")) == ["holdgate", "with old.toml", "naive", "one probe"]
    assert labels([("old.toml", OTHER)], ("naive",)) == ["naive"]
    assert entrants(SCENARIO, [("old.toml", OTHER)], ("holdgate",))[1] == Entrant("with old.toml", OTHER, "holdgate", against="old.toml")


def test_a_fleet_stands_beside_each_of_holdgates() -> None:
    """The baselines have no log to share."""
    taking_part = entrants(SCENARIO, [("old.toml", OTHER)], ("holdgate", "naive"), in_fleet=True)
    assert [each.label for each in taking_part] == ["holdgate", "a fleet", "with old.toml", "with old.toml, fleet", "naive"]
    assert [each.in_fleet for each in taking_part] == [False, True, False, True, False]
    assert taking_part[1].scenario is SCENARIO


def test_a_fleet_agrees_over_a_log() -> None:
    """Four workers of a fleet fail less often than four alone; the same seed is the same run."""
    many = replace(SCENARIO, workers=4, topics=tuple(replace(topic, partitions=4, rate=16.0) for topic in SCENARIO.topics))
    runs = [Runs(entrants(many, [], ("holdgate",), in_fleet=True), seed=3) for _ in range(2)]
    assert all(each.run(quiet()) for each in runs)
    alone, fleet = (run.outcome for run in runs[0].finished)
    assert fleet.totals.failed_calls < alone.totals.failed_calls
    assert not fleet.violations
    assert [run.outcome.samples for run in runs[0].finished] == [run.outcome.samples for run in runs[1].finished]


def test_every_run_is_the_one_of_its_entrant() -> None:
    """Its scenario, its kind of worker, and the seed of all."""
    runs = Runs(entrants(SCENARIO, [("old.toml", OTHER)], ("holdgate", "naive")), seed=5)
    assert runs.run(quiet())
    assert [(run.entrant.label, run.outcome.worker, run.outcome.seed) for run in runs.finished] == [
        ("holdgate", "holdgate", 5),
        ("with old.toml", "holdgate", 5),
        ("naive", "naive", 5),
    ]
    assert runs.finished[0].outcome.samples != runs.finished[1].outcome.samples


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_leaves_what_was_finished(stop: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of the second of two runs; the handlers of before are back afterwards."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    plain = running.simulate

    def interrupted(*arguments: object, **named: object) -> object:
        if arguments[1] == "naive":
            os.kill(os.getpid(), stop)
        return plain(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(running, "simulate", interrupted)
    runs = Runs(entrants(SCENARIO, [], ("holdgate", "naive")), seed=0)
    assert not runs.run(quiet())
    assert [run.entrant.label for run in runs.finished] == ["holdgate"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_terminal_sees_how_far_each_run_is() -> None:
    """By name and in percent; the bars are gone when the report comes."""
    out = io.StringIO()
    terminal = Console(file=out, force_terminal=True, width=100)
    assert Runs(entrants(SCENARIO, [], ("holdgate",)), seed=0).run(terminal)
    assert "holdgate" in out.getvalue()
    assert "100%" in out.getvalue()


def test_a_log_sees_nothing_of_it() -> None:
    """Bars are for eyes."""
    out = io.StringIO()
    assert Runs(entrants(SCENARIO, [], ("holdgate",)), seed=0).run(Console(file=out))
    assert out.getvalue().strip() == ""
