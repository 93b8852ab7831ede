"""What is shipped for Prometheus, Alertmanager and Grafana, compared with the names."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from holdgate.telemetry import names

FOLDER = Path(__file__).parents[2] / "monitoring"
RULES = FOLDER / "prometheus-rules.yml"
DASHBOARD = FOLDER / "grafana-dashboard.json"
PROMTOOL = os.environ.get("HOLDGATE_TEST_PROMTOOL") or shutil.which("promtool")

NAME = re.compile(r"\bholdgate_[a-z_]+")
MATCHED = re.compile(r"(holdgate_[a-z_]+)\{([^}]*)\}")


def known() -> dict[str, tuple[str, ...]]:
    """Every series that a page may have, with its labels."""
    found: dict[str, tuple[str, ...]] = {}
    for series in names.ALL:
        if series.kind == "histogram":
            found |= {f"{series.prometheus}_{part}": series.labels for part in ("sum", "count")}
            found[f"{series.prometheus}_bucket"] = (*series.labels, "le")
        else:
            found[series.prometheus] = series.labels
    return found


def expressions() -> list[str]:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    rules = "\n".join(line for line in RULES.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#"))
    return [*(target["expr"] for panel in panels for target in panel["targets"]), rules]


def test_every_name_is_a_series() -> None:
    """A series that was renamed would leave a panel empty, and an alert silent."""
    unknown = {name for expression in expressions() for name in NAME.findall(expression)} - set(known())
    assert not unknown


def test_every_label_that_is_asked_for_is_one_of_the_series() -> None:
    """The same of labels."""
    for expression in expressions():
        for name, matchers in MATCHED.findall(expression):
            asked = re.findall(r"(\w+)\s*[=!]~?", matchers)
            assert set(asked) <= set(known()[name]), expression


def test_every_series_of_an_outage_is_on_the_dashboard() -> None:
    """But those that somebody looks up."""
    shown = {name for expression in expressions() for name in NAME.findall(expression)}
    left_out = {name for name in known() if name not in shown and not name.endswith(("_sum", "_count", "_bucket"))}
    assert left_out == {
        "holdgate_build_info",
        "holdgate_sources",
        "holdgate_backlog_readable",
        "holdgate_backlog_delayed",
        "holdgate_backlog_age_seconds",
    }


def test_the_inhibition_names_alerts_that_there_are() -> None:
    """An alert that was renamed would page twice."""
    alerts = set(re.findall(r"alert: (\w+)", RULES.read_text(encoding="utf-8")))
    named = set(re.findall(r'alertname="(\w+)"', (FOLDER / "alertmanager-inhibition.yml").read_text(encoding="utf-8")))
    assert named <= alerts
    page = (FOLDER.parent / "docs" / "how-to" / "alerts.md").read_text(encoding="utf-8")
    assert {alert for alert in alerts if f"`{alert}`" not in page} == set()


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool: install Debian's package `prometheus`, or set HOLDGATE_TEST_PROMTOOL")
def test_promtool_accepts_the_rules() -> None:
    """Its own check of expressions and annotations."""
    run = subprocess.run([str(PROMTOOL), "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
