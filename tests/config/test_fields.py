from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest
from tests.lab.simulate.examples import file_of

from holdgate.config.fields import build, described, shown
from holdgate.config.toml_file import Problems
from holdgate.core import CircuitSettings, CountWindow, TimeWindow
from holdgate.errors import SettingsError
from holdgate.flow.inbox import Order
from holdgate.flow.policy import RetryPolicy


@dataclass(frozen=True)
class Thing:
    size: int
    share: float = 0.5
    kind: Literal["red", "green"] = "red"
    words: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()
    most: int | None = 3
    fast: bool = False


def built(text: str, cls: type = Thing) -> object:
    file = file_of(text)
    problems = Problems(file)
    thing = build(cls, dict(file.data), (), problems)
    problems.check()
    return thing


def complaint(text: str, cls: type = Thing) -> str:
    with pytest.raises(SettingsError) as caught:
        built(text, cls)
    return str(caught.value)


def test_every_type_of_toml_arrives() -> None:
    """Lists become tuples, whole numbers may be floats, and "none" is None."""
    text = 'size = 1\nshare = 1\nkind = "green"\nwords = ["a"]\nnumbers = [1, 2]\nmost = "none"\nfast = true'
    thing = built(text)
    assert thing == Thing(size=1, share=1.0, kind="green", words=("a",), numbers=(1, 2), most=None, fast=True)
    assert isinstance(thing, Thing)
    assert isinstance(thing.share, float)


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ('size = "1"', '"1" is not a whole number'),
        ("size = 1.5", "1.5 is not a whole number"),
        ("size = true", "true is not a whole number"),
        ("share = inf", "Infinity is not a number"),
        (f"share = {10**400}", f"1{56 * '0'}... is not a number"),
        ("share = nan", "NaN is not a number"),
        ('kind = "gren"', '"gren" is not one of "red", "green"; did you mean green?'),
        ("words = [1]", "[1] is not a list of texts"),
        ('numbers = "1"', '"1" is not a list of whole numbers'),
        ('most = "nothing"', '"nothing" is not a whole number or "none"'),
        ("fast = 1", "1 is not true or false"),
    ],
)
def test_a_value_of_another_type_is_told_with_what_is_allowed(line: str, allowed: str) -> None:
    """File, line, key, the value, and what it may be."""
    text = line if line.startswith("size") else f"size = 1\n{line}"
    number, key = text.count("\n") + 1, line.split(" ", maxsplit=1)[0]
    assert complaint(text) == f"some.toml:{number}: {key}: {allowed}"


def test_an_unknown_key_is_told_with_the_nearest_one() -> None:
    """A slip of the finger is the usual reason."""
    assert complaint("size = 1\nsiez = 1") == "some.toml:2: siez: is none of those that are known here; did you mean size?"


def test_an_unknown_key_that_is_near_to_none_is_told_with_all() -> None:
    """Nobody has to look into a manual."""
    assert complaint("size = 1\nxyz = 1").endswith("known here; these are: fast, kind, most, numbers, share, size, words")


def test_a_key_that_is_missing_is_told_with_what_it_may_be() -> None:
    """The table's own line is where it would be written."""
    assert complaint("share = 0.1") == "some.toml:1: size is missing: give a whole number"


def test_a_setting_that_the_settings_refuse_has_its_line() -> None:
    """The rule and its words are those of the settings, the place is the file's."""
    text = "minimum_calls = 3\nopen_duration = -1"
    assert complaint(text, CircuitSettings).startswith("some.toml:2: open_duration: open_duration must be seconds above 0, got -1.0")


def test_a_setting_of_the_ramp_has_its_line() -> None:
    """The settings call it ramp.growth, the table only growth."""
    said = complaint("ramp.initial = 1\nramp.growth = 0.5", CircuitSettings)
    assert said.startswith("some.toml:2: ramp.growth: ramp.growth must be above 1")


def test_two_settings_that_clash_have_the_line_of_one_that_was_given() -> None:
    """The other one is a default and stands nowhere."""
    text = "minimum_calls = 3\nramp.bad_rate = 0.6"
    said = complaint(text, CircuitSettings)
    assert said.startswith("some.toml:2: ramp.bad_rate: ramp.bad_rate=0.6 must be below failure_rate_threshold=0.5")


@pytest.mark.parametrize(
    ("text", "window"), [("window.calls = 5", CountWindow(5)), ("window = {seconds = 5, buckets = 2}", TimeWindow(5, 2))]
)
def test_a_window_is_of_calls_or_of_seconds(text: str, window: object) -> None:
    """Which of both is told by its key."""
    settings = built(text, CircuitSettings)
    assert isinstance(settings, CircuitSettings)
    assert settings.window == window


def test_a_table_that_is_none_is_told() -> None:
    """A number where settings belong."""
    assert complaint("ramp = 3", CircuitSettings) == "some.toml:1: ramp: 3 is no table of settings"


def test_what_only_python_has_is_told_apart_from_a_slip() -> None:
    """Exception types cannot be written in TOML."""
    assert "names exception types" in complaint('not_retryable = ["ValueError"]', RetryPolicy)


def test_what_is_allowed_is_said_in_words() -> None:
    """As a person would."""
    assert [described(hint) for hint in (float, int | None, tuple[Thing, ...], Order | None)] == [
        "a number",
        'a whole number or "none"',
        "a list of tables",
        'one of "source", "key", "none"',
    ]


def test_a_long_value_is_cut() -> None:
    """An error is a line, not a page."""
    assert shown("x" * 100) == '"' + "x" * 56 + "..."
