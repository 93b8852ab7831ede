"""What Prometheus' and Alertmanager's own tools say of the files that are shipped for them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.examples.shipped import MONITORING, RULES, expressions

Find = Callable[[str], Path]


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_accepts_the_rules(prometheus: Find) -> None:
    """Its check of expressions and of the texts' templates."""
    run(prometheus("promtool"), "check", "rules", RULES)


def test_the_rules_pass_their_unit_tests(prometheus: Find) -> None:
    """Each alert in an outage that was written down, at the minute at which it must call, and in one in which it must not."""
    assert "SUCCESS" in run(prometheus("promtool"), "test", "rules", MONITORING / "prometheus-rules-test.yml")


def test_promtool_accepts_every_expression(prometheus: Find, tmp_path: Path) -> None:
    """Those of the dashboard and of KEDA, too: as recording rules, with Grafana's variable filled in."""
    records = [{"record": f"try:{number}", "expr": each.replace("$job", ".*")} for number, each in enumerate(expressions().values())]
    path = tmp_path / "expressions.yml"
    path.write_text(json.dumps({"groups": [{"name": "all", "rules": records}]}))
    run(prometheus("promtool"), "check", "rules", path)


def test_promtool_accepts_the_configuration(prometheus: Find) -> None:
    """And finds the rule file that it names."""
    assert "1 rule files found" in run(prometheus("promtool"), "check", "config", MONITORING / "prometheus.yml")


def test_amtool_accepts_the_configuration(prometheus: Find) -> None:
    """Routes and inhibitions."""
    assert "2 inhibit rules" in run(prometheus("amtool"), "check-config", MONITORING / "alertmanager.yml")
