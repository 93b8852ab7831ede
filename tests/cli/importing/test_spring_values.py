from __future__ import annotations

import pytest

from holdgate.cli.importing import spring_values as values


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10), ("500ms", 0.5), ("5000", 5), ("2m", 120), ("1h", 3600), ("1d", 86400), ("100us", 0.0001), ("500ns", 5e-7), ("10S", 10),
        ("0", 0), ("PT10S", 10), ("PT2.5S", 2.5), ("pt1m30s", 90), ("P1DT2H", 93600), ("PT0,5S", 0.5), ("+PT3S", 3),
    ],
)  # fmt: skip
def test_a_duration_is_read_as_spring_reads_it(text: str, seconds: float) -> None:
    """A number with a unit, milliseconds without one, or ISO 8601."""
    assert values.duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "ten", "10 s", "10x", "1m30s", "PT", "P", "-5s", "1.5s", "${X}", "9" * 400, f"PT{'9' * 400}S"])
def test_what_spring_would_refuse_is_no_duration(text: str) -> None:
    """The error shows what is one."""
    with pytest.raises(ValueError, match="must be a duration such as 500ms, 10s or PT1M30S"):
        values.duration(text)


@pytest.mark.parametrize("text", ["0", "101", "-1", "half", "nan", "50%"])
def test_what_is_no_percent_is_refused(text: str) -> None:
    """They are above 0 and up to 100, as there."""
    with pytest.raises(ValueError, match="must be percents above 0 and up to 100"):
        values.percent(text)
    assert values.percent("0.5") == 0.5
    assert values.percent("100") == 100


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", ""])
def test_a_count_is_a_whole_number_from_1(text: str) -> None:
    """Nothing is rounded."""
    with pytest.raises(ValueError, match="must be a whole number from 1"):
        values.count(text)
    assert values.count("25") == 25


def test_trap_javas_largest_int_is_a_count() -> None:
    """It is what many write for "no bound". YAML allows underscores, and the reader of these texts is YAML's."""
    assert values.count("2147483647") == 2_147_483_647
    assert values.count("10_000") == 10_000
    assert values.duration("10_000") == 10
    with pytest.raises(ValueError, match="must be at most 2147483647"):
        values.count("2147483648")
    with pytest.raises(ValueError, match="must be a whole number from 1"):
        values.count("_10")


@pytest.mark.parametrize("text", ["-1", "inf", "nan", "x"])
def test_a_number_is_finite_and_from_0(text: str) -> None:
    """Factors and shares."""
    with pytest.raises(ValueError, match="must be a number from 0"):
        values.number(text)
    assert values.number("1.5") == 1.5


def test_a_switch_is_on_or_off() -> None:
    """In the words that Spring takes."""
    assert [values.switch(text) for text in ("true", "ON", "yes", "1", "false", "off", "No", "0")] == [True] * 4 + [False] * 4
    with pytest.raises(ValueError, match="must be true or false"):
        values.switch("maybe")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("10s", ("10s", (), None)),
        ("${WAIT:10s}", ("10s", ("WAIT",), None)),
        ("${A:${B:3}}", ("3", ("B", "A"), None)),
        ("${WAIT}", ("${WAIT}", (), "WAIT")),
        ("${A:${B}}", ("${A:${B}}", (), "B")),
        ("${A:}", ("", ("A",), None)),
    ],
)
def test_a_placeholder_stands_for_its_default(text: str, found: tuple[str, tuple[str, ...], str | None]) -> None:
    """The environment of the service is not asked: one without a default is named."""
    assert values.without_placeholders(text) == found
