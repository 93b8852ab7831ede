from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result
from tests.cli.runner import invoke
from tests.lab.simulate.examples import BROKEN, SHORT

from holdgate.cli import FAILED, INTERRUPTED, REFUSED
from holdgate_lab.simulate import running
from holdgate_lab.simulate.shipped import shipped

# `holdgate simulate` in a process of its own, whatever commands the environment's metadata announces.
RUN = "from holdgate_lab.simulate.app import simulate; simulate()"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the scenario short.toml, and we are in it."""
    (tmp_path / "short.toml").write_text(SHORT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*args: str) -> Result:
    return invoke("simulate", *args)


def test_a_file_is_simulated_with_every_kind_of_worker(folder: Path) -> None:
    """Exit code 0, the report, and nothing on stderr."""
    result = run("short.toml")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "| holdgate |   naive | one probe | ten probes |" in result.stdout


def test_the_same_seed_is_the_same_report(folder: Path) -> None:
    """To the last character; another seed is another run."""
    first, second, other = (run("short.toml", "--json", "--seed", seed, "--worker", "holdgate").stdout for seed in ("3", "3", "4"))
    assert first == second
    assert json.loads(first)["runs"][0]["timeline"] != json.loads(other)["runs"][0]["timeline"]


def test_json_is_one_document_and_nothing_else(folder: Path) -> None:
    """For a pipe into something else."""
    document = json.loads(run("short.toml", "--json").stdout)
    assert [each["label"] for each in document["runs"]] == ["holdgate", "naive", "one probe", "ten probes"]
    assert document["interrupted"] is False


def test_only_the_workers_that_are_asked_for_run(folder: Path) -> None:
    """With a hyphen: a shell would take a space for the end of the word."""
    document = json.loads(run("short.toml", "--json", "--worker", "one-probe", "--worker", "holdgate").stdout)
    assert [each["worker"] for each in document["runs"]] == ["holdgate", "one probe"]


def test_a_fleet_is_so_many_workers_alone_and_together(folder: Path) -> None:
    """Each with a partition of its own; the other kinds only where they are asked for."""
    document = json.loads(run("short.toml", "--json", "--fleet", "3").stdout)
    assert document["workers"] == 3
    assert [(each["label"], each["fleet"]) for each in document["runs"]] == [("holdgate", False), ("a fleet", True)]
    assert max(document["runs"][1]["timeline"]["workers"]) == 3
    text = run("short.toml", "--fleet", "2", "--worker", "naive", "--worker", "holdgate").stdout
    assert "20 s simulated with 2 workers, each alone and as a fleet, seed 0" in text
    assert "| holdgate | a fleet |   naive |" in text


def test_other_settings_stand_beside_the_scenarios_own(folder: Path) -> None:
    """With what differs, in words."""
    (folder / "old.toml").write_text("circuit.open_duration = 9\n")
    result = run("short.toml", "--against", "old.toml", "--worker", "holdgate")
    assert "old.toml has dependencies.payments.circuit.open_duration = 9.0 instead of 3.0" in result.stdout
    assert "| holdgate | with old.toml |" in result.stdout


def test_an_invariant_that_was_broken_is_exit_code_1(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipeline stops on it; the report says what it was."""
    plain = running.simulate
    monkeypatch.setattr(running, "simulate", lambda *given, **named: replace(plain(*given, **named), violations=(BROKEN,)))
    result = run("short.toml", "--worker", "holdgate")
    assert result.exit_code == FAILED
    assert "BROKEN, holdgate: no loss at 2.5 s" in result.stdout


def test_an_interruption_is_exit_code_130_with_what_was_finished(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when an invariant was broken before."""
    plain = running.simulate

    def interrupted(*given: object, **named: object) -> object:
        if given[1] == "naive":
            raise KeyboardInterrupt
        return replace(plain(*given, **named), violations=(BROKEN,))  # type: ignore[arg-type]

    monkeypatch.setattr(running, "simulate", interrupted)
    result = run("short.toml", "--json")
    document = json.loads(result.stdout)
    assert (result.exit_code, document["interrupted"], len(document["runs"])) == (INTERRUPTED, True, 1)


def test_a_wrong_file_is_exit_code_2_with_its_lines(folder: Path) -> None:
    """All of them, and no traceback."""
    (folder / "wrong.toml").write_text("seconds = 3\nworkrs = 2\nworkers = 0.5\n")
    result = run("wrong.toml")
    assert (result.exit_code, result.stdout) == (REFUSED, "")
    assert result.stderr.splitlines() == [
        "Error: wrong.toml:2: workrs: is none of those that are known here; did you mean workers?",
        "wrong.toml:3: workers: 0.5 is not a whole number",
    ]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "name a scenario"),
        (("flaping",), "did you mean flapping?"),
        (("short.toml", "--worker", "nobody"), "'nobody' is not one of"),
        (("short.toml", "--against", "nowhere.toml"), "nowhere.toml: cannot be read"),
        (("short.toml", "--html", "nowhere/report.html"), "--html nowhere/report.html: there is no folder nowhere"),
        (("short.toml", "--html", "."), "--html .: it is a folder"),
        (("short.toml", "--list", "--json"), "--list takes nothing else"),
        (("short.toml", "--fleet", "1"), "1 is not in the range x>=2"),
        (("short.toml", "--fleet", "3", "--worker", "naive"), "take --worker holdgate, too"),
        (("--world", "rate", "--fleet", "3"), "--world takes --seed and --json"),
    ],
)
def test_what_cannot_be_meant_is_exit_code_2(args: tuple[str, ...], words: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is simulated."""

    def never(*_given: object, **_named: object) -> object:
        raise AssertionError

    monkeypatch.setattr(running, "simulate", never)
    result = run(*args)
    assert result.exit_code == REFUSED
    assert words in result.stderr


def test_the_html_file_is_written_beside_the_report(folder: Path) -> None:
    """And replaces the one of before."""
    (folder / "report.html").write_text("old")
    result = run("short.toml", "--html", "report.html", "--worker", "holdgate")
    assert result.exit_code == 0
    assert "kept to every invariant" in result.stdout
    assert (folder / "report.html").read_text().startswith("<!doctype html>")


def test_an_html_file_that_cannot_be_written_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is found out only then."""

    def full(*_given: object, **_named: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    result = run("short.toml", "--html", "report.html", "--worker", "holdgate")
    assert (result.exit_code, result.stderr) == (REFUSED, "Error: --html report.html: cannot be written: No space left on device\n")


def test_the_list_names_every_scenario_with_its_lesson() -> None:
    """One line each."""
    lines = run("--list").stdout.partition("\n\n")[0].splitlines()  # worlds follow
    assert [line.split()[0] for line in lines] == list(shipped())
    assert lines[-2].startswith("total-outage             An outage of 40 s costs holdgate")


def test_in_a_bare_container_it_is_ascii_and_wide_enough(tmp_path: Path) -> None:
    """A pipe, an ASCII locale and narrow columns change nothing; nothing is on stderr."""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "TERM": "dumb", "COLUMNS": "40"}
    (tmp_path / "short.toml").write_text('description = "Fünf Sekunden."\n' + SHORT, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-c", RUN, "short.toml", "--worker", "holdgate"],
        capture_output=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
        env=environment,
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert "dead letters that were good messages" in ended.stdout.decode("ascii")
    assert rb"F\xfcnf Sekunden." in ended.stdout
