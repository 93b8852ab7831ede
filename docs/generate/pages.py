"""Markdown pages and the marked blocks in them.

A block stands between `<!-- generate: WHAT ARGUMENTS -->` and `<!-- end -->`. What is between is replaced by what WHAT makes of its
arguments, so a page says where its parts come from, and the rest of it is written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from docs.generate import (
    classes,
    clients,
    command_line,
    errors,
    faults,
    file_map,
    fleet_logs,
    imports,
    log_lines,
    logs,
    metrics,
    mutation,
    public_api,
    rabbitmq_versions,
    scenarios,
    settings,
    snippets,
    states,
    status_document,
    traps,
)

ROOT = Path(__file__).parents[2]

_BLOCK = re.compile(r"(<!-- generate: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)

MAKERS: dict[str, Callable[..., str]] = {
    "snippet": snippets.snippet,
    "diff": snippets.diff,
    "toml": snippets.toml,
    "settings": settings.settings_table,
    "defaults": settings.defaults_table,
    "diagram": states.diagram,
    "transitions": states.transitions_table,
    "reasons": states.reasons_table,
    "errors": errors.sections,
    "files": file_map.files,
    "log": logs.extract,
    "log-lines": log_lines.log_table,
    "metrics": metrics.series_table,
    "log-lines-of-runs": log_lines.runs_table,
    "log-lines-others": log_lines.others_table,
    "mutation": mutation.tables,
    "public-api": public_api.sections,
    "class": classes.described,
    "events": classes.event_sections,
    "delivery-instead": classes.instead_table,
    "rabbitmq-versions": rabbitmq_versions.versions_table,
    "client-verdicts": clients.verdicts,
    "client-raised": clients.raised,
    "client-outage": clients.outage,
    "program-errors": errors.program_errors,
    "fault-summary": faults.summary,
    "fault-matrix": faults.matrix,
    "fault-failures": faults.failures,
    "fault-sentences": faults.sentences,
    "fault-reasons": faults.reasons,
    "status-document": status_document.sections,
    "command-line": command_line.commands,
    "scenario-keys": scenarios.keys_table,
    "scenario-faults": scenarios.faults_table,
    "scenario-members": scenarios.members_table,
    "scenarios": scenarios.shipped_table,
    "worlds": scenarios.worlds_table,
    "scenario-report": scenarios.report,
    "scenario-file": scenarios.source,
    "trap": traps.figures,
    "fleet-topic": fleet_logs.topic_table,
    "fleet-stream": fleet_logs.stream_table,
    "import-source": imports.source,
    "import-settings": imports.settings,
    "import-report": imports.said,
}


def pages() -> list[Path]:
    """The README and every page under docs."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def render(text: str) -> str:
    """The page with every block made anew. Raises KeyError for a maker that is not there, ValueError for a block without an end."""
    if text.count("<!-- generate: ") != len(_BLOCK.findall(text)):
        raise ValueError("a block has no `<!-- end -->`")

    def fill(block: re.Match[str]) -> str:
        head, line, end = block.groups()
        what, *arguments = line.split()
        return f"{head}{MAKERS[what](*arguments)}\n{end}"

    return _BLOCK.sub(fill, text)
