from __future__ import annotations

import json
from dataclasses import replace

import pytest
from click.testing import Result
from tests.cli.runner import invoke

from holdgate.cli import FAILED, INTERRUPTED, REFUSED
from holdgate_lab.simulate import worlds
from holdgate_lab.worlds.catalogue import WORLDS, rate
from holdgate_lab.worlds.figures import WorldFigures
from holdgate_lab.worlds.hard import HARD_WORLDS
from holdgate_lab.worlds.more import MORE_WORLDS
from holdgate_lab.worlds.odd import ODD_WORLDS

KEPT = WorldFigures(
    good=990, wasted=5, goodput=0.99, waste=0.005, in_flight=3, fairness=None, calls_a_minute=None, back_after=None, was_troubled=False
)


def run(*args: str) -> Result:
    return invoke("simulate", *args)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[WorldFigures]:
    """What a run of any world comes to: the last of these. Each run is appended as (name, seed)."""
    figures = [KEPT]
    monkeypatch.setattr(worlds, "play", lambda world, seed: figures[-1])
    return figures


def test_a_world_is_played_and_held_against_its_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """For real, for ten seconds: the report has its figures, and says what is not as promised."""
    monkeypatch.setitem(worlds.ALL, "rate", replace(rate(10.0), promise=replace(rate().promise, goodput=1.5)))
    result = run("--world", "rate")
    assert result.exit_code == FAILED
    assert result.stdout.startswith("rate: An API lets 10 calls a second through")
    assert "10 s simulated with 1 worker, seed 0" in result.stdout
    assert "  goodput must be at least 1.50 of the best possible, got " in result.stdout


def test_a_world_that_is_as_promised_is_exit_code_0(found: list[WorldFigures]) -> None:
    """With the figures that it has, and without those that it has not."""
    result = run("--world", "rate", "--seed", "3")
    assert result.exit_code == 0
    assert "of the best possible                   99.0%" in result.stdout
    assert result.stdout.endswith("\nas promised\n")
    assert "Jain" not in result.stdout


def test_figures_of_trouble_and_of_sharing_are_shown_where_they_are(found: list[WorldFigures]) -> None:
    """And `not yet` for what never came back."""
    found.append(replace(KEPT, fairness=0.98, calls_a_minute=0.9, was_troubled=True))
    lines = run("--world", "quota").stdout.splitlines()
    assert "fairness between workers (Jain)        0.980" in lines
    assert "calls a minute in the trouble            0.9" in lines
    assert "back after the trouble               not yet" in lines


def test_json_has_figures_and_promises(found: list[WorldFigures]) -> None:
    """One document, and nothing else."""
    document = json.loads(run("--world", "rate", "--json").stdout)
    assert (document["world"], document["figures"]["goodput"], document["promised"]["goodput"]) == ("rate", 0.99, 0.98)
    assert document["missed"] == []


def test_a_world_has_a_letter_too(found: list[WorldFigures]) -> None:
    """That of the table of measurements."""
    assert run("--world", "f2").stdout.startswith("changing-rate: ")


def test_an_interruption_is_exit_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a world has no figures."""

    def interrupted(world: object, seed: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(worlds, "play", interrupted)
    result = run("--world", "rate")
    assert (result.exit_code, result.stdout) == (INTERRUPTED, "")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--world", "raet"), "did you mean rate?"),
        (("--world", "nothing-like-it"), "--list names them"),
        (("--world", "rate", "flapping"), "--world takes --seed and --json"),
        (("--world", "rate", "--worker", "naive"), "--world takes --seed and --json"),
        (("--world", "rate", "--list"), "--list takes nothing else"),
    ],
)
def test_what_cannot_be_meant_is_exit_code_2(args: tuple[str, ...], words: str, found: list[WorldFigures]) -> None:
    """Before anything is simulated."""
    result = run(*args)
    assert result.exit_code == REFUSED
    assert words in result.stderr


def test_list_has_every_world(found: list[WorldFigures]) -> None:
    """After the scenarios."""
    text = run("--list").stdout
    assert all(f"\n{name} " in text for name in (*WORLDS, *MORE_WORLDS, *HARD_WORLDS, *ODD_WORLDS))
    assert text.index("flapping") < text.index("Worlds, for --world:") < text.index("retry-after")
