from __future__ import annotations

from pathlib import Path

import pytest
from tests.lab.simulate.examples import SHORT

from holdgate.errors import SettingsError
from holdgate_lab.simulate.reading import scenario_of
from holdgate_lab.simulate.shipped import name_of, named, shipped

NAMES = sorted(shipped())


def test_twelve_come_with_holdgate() -> None:
    """The names are what people type: one that goes is a change that they notice."""
    assert NAMES == [
        "cold-cache",
        "false-recovery",
        "flapping",
        "one-key-fails",
        "partial-capacity",
        "poison-among-good",
        "poison-during-an-outage",
        "rolling-deploy",
        "slow-dependency",
        "some-calls-fail",
        "total-outage",
        "twenty-workers",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_each_says_in_one_sentence_what_it_teaches(name: str) -> None:
    """`--list` is made of these."""
    file = named(name)
    scenario = scenario_of(file, name_of(file))
    assert scenario.name == name
    assert 20 < len(scenario.description) < 150
    assert scenario.description.endswith(".")


def test_a_file_comes_before_a_scenario_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in the folder is what was meant."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flapping").write_text(SHORT)
    assert named("flapping").text == SHORT


def test_a_path_is_a_file(tmp_path: Path) -> None:
    """Whatever it is called."""
    path = tmp_path / "some.toml"
    path.write_text(SHORT)
    assert named(str(path)).data["seconds"] == 20
    assert name_of(named(str(path))) == "some"


@pytest.mark.parametrize("argument", ["nowhere.toml", "./flapping", "folder/flapping"])
def test_a_path_that_is_not_there_is_a_missing_file(argument: str) -> None:
    """And not a scenario whose name was misspelt."""
    with pytest.raises(SettingsError, match="cannot be read"):
        named(argument)


def test_a_name_that_is_misspelt_is_told_with_the_nearest() -> None:
    """As with keys."""
    with pytest.raises(SettingsError, match=r"'flaping' is neither a file nor .*; did you mean flapping\?"):
        named("flaping")


def test_a_name_that_is_near_to_none_is_told_where_the_names_are() -> None:
    """`--list` has them."""
    with pytest.raises(SettingsError, match="--list names them"):
        named("zzz")
