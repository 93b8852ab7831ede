from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from tests.lab.simulate.examples import REFUSES, SCENARIO, comparison_of, outcome_of, run_of

from holdgate_lab.fleet.scenario import Scenario
from holdgate_lab.simulate.html.chart import Chart, ticks
from holdgate_lab.simulate.html.series import columns_of, scales_of


def drawn(scenario: Scenario = SCENARIO) -> ET.Element:
    run = run_of(outcome_of(), scenario=scenario)
    columns = columns_of(run)
    text = Chart(run, columns, scales_of(comparison_of(run), [columns])).drawn("title", "told")
    return ET.fromstring(text)  # noqa: S314 - our own


def of_class(svg: ET.Element, name: str) -> list[ET.Element]:
    return [each for each in svg.iter() if each.get("class") == name]


def path_of(svg: ET.Element, name: str) -> str:
    (found,) = of_class(svg, name)
    return str(found.get("d"))


def test_it_is_well_formed_and_has_words_for_who_does_not_see_it() -> None:
    """A title, a description, and the role of an image."""
    svg = drawn()
    assert (svg.get("role"), svg.findtext("title"), svg.findtext("desc")) == ("img", "title", "told")


def test_every_lane_is_there() -> None:
    """What was wrong, the circuits, limit and calls in flight, the calls, what waits."""
    assert [each.text for each in of_class(drawn(), "lane")] == [
        "payments",
        "circuits",
        "in flight, and limit",
        "calls a second",
        "waiting",
    ]


def test_open_hangs_from_the_top_and_half_open_stands_on_the_bottom() -> None:
    """One of two workers is half of the lane; the second quarter of the axis, and the third."""
    left, width = 190.0, 960.0 - 190 - 24
    quarter = [left + width * part / 4 for part in range(5)]
    opened = re.fullmatch(r"M([\d.]+) ([\d.]+)V([\d.]+)H([\d.]+)V([\d.]+)", path_of(drawn(), "open"))
    halved = re.fullmatch(r"M([\d.]+) ([\d.]+)V([\d.]+)H([\d.]+)V([\d.]+)", path_of(drawn(), "half"))
    assert opened is not None
    assert halved is not None
    (x, top, middle, end, back), (half_x, bottom, half_top, half_end, _) = (map(float, found.groups()) for found in (opened, halved))
    assert (x, end, half_x, half_end) == (quarter[1], quarter[2], quarter[2], quarter[3])
    assert (middle - top, bottom - top, bottom - half_top, back) == (28, 56, 28, top)


def test_failed_calls_go_down_from_where_good_ones_go_up() -> None:
    """From the same line, to the same scale."""
    svg = drawn()
    good, bad = ([float(y) for y in re.findall(r"V([\d.]+)", path_of(svg, name))] for name in ("good", "bad"))
    base = good[-1]
    assert bad[-1] == base
    assert good[0] < base < bad[0]  # y grows downwards
    # Good 2, 0, 2, 4 a second; failed 0, 5, 1, 0.
    assert [round((base - y) / (base - good[0]), 1) for y in good] == [1.0, 0.0, 1.0, 2.0, 0.0]
    assert [round((y - base) / (bad[0] - base), 1) for y in bad] == [1.0, 0.2, 0.0]


def test_the_limit_has_gaps_where_there_is_none() -> None:
    """One piece of line for the one half-open."""
    assert re.fullmatch(r"M[\d.]+ [\d.]+H[\d.]+", path_of(drawn(), "limit"))


def test_two_faults_at_once_have_two_rows() -> None:
    """With their words."""
    svg = drawn(replace(SCENARIO, faults=(REFUSES, replace(REFUSES, kind="slow"))))
    tops = [float(str(each.get("y"))) for each in of_class(svg, "fault")]
    assert tops[1] - tops[0] == 18
    assert [each.text for each in of_class(svg, "told")] == ["it refuses (1-3 s)", "it is 10 times slower (1-3 s)"]


def test_a_late_fault_has_its_words_before_its_end() -> None:
    """They would leave the picture."""
    svg = drawn(replace(SCENARIO, faults=(replace(REFUSES, at=3, until=4),)))
    (words,) = of_class(svg, "told end")
    assert float(str(words.get("x"))) == 960 - 24 - 4


def test_a_dependency_without_a_fault_says_so() -> None:
    """And is drawn as the others are."""
    assert of_class(drawn(replace(SCENARIO, faults=())), "scale")[0].text == "no fault"


def test_a_pointer_is_told_the_figures() -> None:
    """Each column has them in words, without a script."""
    titles = [each.findtext("title") for each in of_class(drawn(), "hit")]
    assert titles[2] == "2-3 s\npayments: 0 open, 1 half-open, limit 2, 2 in flight, 3 calls/s, 1 failed/s\n3 waiting"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (4, [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]),
        (120, [0, 20, 40, 60, 80, 100, 120]),
        (3600, [0, 500, 1000, 1500, 2000, 2500, 3000, 3500]),
    ],
)
def test_ticks_are_round_and_few(seconds: float, expected: list[float]) -> None:
    """From 0 to the end, and never more than fit."""
    assert ticks(seconds) == pytest.approx(expected)
