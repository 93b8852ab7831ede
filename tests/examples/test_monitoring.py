"""What is shipped for Prometheus, Alertmanager and Grafana, compared with the names of the series and with each other."""

from __future__ import annotations

import json
import re

import pytest
from tests.examples.shipped import DASHBOARD, MONITORING, NAME, ROOT, expressions, known, load, panels, rules, unknown_in

QUESTIONS = ["What is held?", "Why?", "For how long?", "How much waits?", "When will it be drained?"]
WIDTH = 24  # of a Grafana dashboard


@pytest.mark.parametrize(("who", "expression"), expressions().items(), ids=expressions().keys())
def test_every_name_and_label_is_one_of_the_series(who: str, expression: str) -> None:
    """One that was renamed would leave a panel empty, an alert silent, and a deployment unscaled."""
    assert not unknown_in(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "holdgate_circuit_stat",
        'holdgate_demand{topic="x"}',
        "sum by (group, topic) (holdgate_demand)",
        "a unless on (topic) holdgate_demand",
    ],
)
def test_a_wrong_name_or_label_is_seen(expression: str) -> None:
    """The comparison itself can fail: a name, a matcher, a grouping, a join."""
    assert unknown_in(expression)


def test_every_series_is_on_the_dashboard() -> None:
    """A new series gets a place where somebody sees it."""
    shown = {name for panel in panels() for target in panel["targets"] for name in NAME.findall(target["expr"])}
    assert {name for name in known() if name not in shown and not name.endswith(("_sum", "_count"))} == set()


def test_the_dashboard_begins_with_the_five_questions() -> None:
    """What is held, why, for how long, how much waits, when it will be drained: side by side, without a click."""
    first = panels()[: len(QUESTIONS)]
    assert [panel["title"] for panel in first] == QUESTIONS
    assert len({panel["gridPos"]["y"] for panel in first}) == 1


def test_no_panel_lies_on_another() -> None:
    """Grafana would move it, and nobody knows where to. Each has an id of its own, too."""
    everything = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in everything:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert max(x for x, _ in cells) < WIDTH
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in everything}) == len(everything)


def test_every_panel_asks_the_chosen_prometheus_about_the_chosen_job() -> None:
    """The dashboard works with any name of the data source, and several services can share one Prometheus."""
    variables = [variable["name"] for variable in json.loads(DASHBOARD.read_text(encoding="utf-8"))["templating"]["list"]]
    assert variables == ["datasource", "job"]
    for panel in panels():
        assert panel["description"]
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert target["expr"].count("holdgate_") == target["expr"].count('job=~"$job"')
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters)


def test_a_legend_and_a_text_name_labels_that_are_left() -> None:
    """A label that `sum by` has dropped would be shown as nothing."""
    for panel in panels():
        for target in panel["targets"]:
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= left_by(target["expr"]), panel["title"]
    for rule in rules():
        texts = " ".join(rule["annotations"].values())
        assert set(re.findall(r"\$labels\.(\w+)", texts)) <= left_by(rule["expr"]), rule["alert"]


def left_by(expression: str) -> set[str]:
    """Return the labels that the outermost aggregations leave."""
    return {label.strip() for labels in re.findall(r"\bby \(([^)]*)\)", expression) for label in labels.split(",")}


def test_the_inhibition_names_alerts_that_there_are() -> None:
    """An alert that was renamed would call twice."""
    alerts = {rule["alert"] for rule in rules()}
    text = (MONITORING / "alertmanager.yml").read_text(encoding="utf-8")
    assert set(re.findall(r'alertname="(\w+)"', text)) <= alerts
    for rule in load(MONITORING / "alertmanager.yml")["inhibit_rules"]:
        sources = [re.findall(r'alertname="(\w+)"', each)[0] for each in rule["source_matchers"]]
        for alert in (each for each in rules() if each["alert"] in sources):
            assert set(rule["equal"]) <= left_by(alert["expr"])


def test_every_alert_has_an_entry_that_says_what_to_do() -> None:
    """Whoever is woken by it looks it up, and everyone that is listed exists."""
    page = (ROOT / "docs" / "how-to" / "alerts.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(Holdgate\w+)`", page, re.MULTILINE)) == {rule["alert"] for rule in rules()}


def test_every_alert_has_a_unit_test_in_which_it_is_silent_and_one_in_which_it_is_not() -> None:
    """They are run in test_promtool.py."""
    cases = [case for test in load(MONITORING / "prometheus-rules-test.yml")["tests"] for case in test["alert_rule_test"]]
    for rule in rules():
        own = [case for case in cases if case["alertname"] == rule["alert"]]
        assert {bool(case.get("exp_alerts")) for case in own} == {True, False}, rule["alert"]


def test_the_unit_tests_give_series_that_a_worker_has() -> None:
    """A rule could pass on series that nobody exports."""
    for test in load(MONITORING / "prometheus-rules-test.yml")["tests"]:
        for series in test["input_series"]:
            assert not unknown_in(series["series"]), test["name"]
