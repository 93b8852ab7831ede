"""What examples/ has for others' programs, read: rules, dashboard and manifests, and the series that they may name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from holdgate.telemetry import names

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "examples" / "monitoring"
KUBERNETES = ROOT / "examples" / "kubernetes"
RULES = MONITORING / "prometheus-rules.yml"
DASHBOARD = MONITORING / "grafana-dashboard.json"

NAME = re.compile(r"\bholdgate_[a-z_]+")
SELECTED = re.compile(r"(holdgate_[a-z_]+)\{([^}]*)\}")
GROUPED = re.compile(r"\b(?:by|on|without|ignoring) ?\(([^)]*)\)")
# Prometheus gives these to every series that it scrapes.
OF_THE_TARGET = {"job", "instance"}


def load(path: Path) -> Any:
    """Return the one document of a YAML or JSON file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def known() -> dict[str, set[str]]:
    """Return every series that a page of metrics may have, with its labels."""
    found: dict[str, set[str]] = {}
    for series in names.ALL:
        labels = {*series.labels, *OF_THE_TARGET}
        if series.kind == "histogram":
            found |= {f"{series.prometheus}_{part}": labels for part in ("sum", "count")}
            found[f"{series.prometheus}_bucket"] = {*labels, "le"}
        else:
            found[series.prometheus] = labels
    return found


def rules() -> list[dict[str, Any]]:
    """Return the alert rules."""
    return [rule for group in load(RULES)["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """Return the panels of the dashboard that ask for something."""
    return [panel for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"] if panel["type"] != "row"]


def scaled_by() -> str:
    """Return what KEDA asks Prometheus for."""
    return str(load(KUBERNETES / "scaled-object.yml")["spec"]["triggers"][0]["metadata"]["query"])


def expressions() -> dict[str, str]:
    """Return all that Prometheus is asked for, by who asks."""
    asked = {f"alert {rule['alert']}": rule["expr"] for rule in rules()}
    for panel in panels():
        asked |= {f"panel {panel['title']} {target['refId']}": target["expr"] for target in panel["targets"]}
    return asked | {"KEDA": scaled_by()}


def unknown_in(expression: str) -> set[str]:
    """Return the names in an expression that are no series, and the labels that its series do not have."""
    there = known()
    named = set(NAME.findall(expression))
    unknown = named - set(there)
    for name, matchers in SELECTED.findall(expression):
        unknown |= set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)) - there.get(name, set())
    of_all = set().union(*(there.get(name, set()) for name in named))
    for labels in GROUPED.findall(expression):
        unknown |= {label.strip() for label in labels.split(",")} - of_all
    return unknown
