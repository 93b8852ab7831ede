"""The project whose tests run through outages, as a reader runs it; and what docs/how-to/test-your-consumer.md shows of that."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "holdgate.pytest_plugin",
            "-p",
            "pytest_asyncio.plugin",
            "-p",
            "no:cacheprovider",
            *arguments,
        ],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_its_tests_pass_with_and_without_outages(tmp_path: Path) -> None:
    """And the summary in the page is the one that is printed, but for its numbers."""
    folder = Path(shutil.copytree(ROOT / "examples" / "tested_consumer", tmp_path / "project"))

    plain = run(folder)
    assert plain.returncode == 0, plain.stdout
    assert "2 passed" in plain.stdout
    drilled = run(folder, "--outage", "payments")
    assert drilled.returncode == 0, drilled.stdout
    assert "8 passed" in drilled.stdout

    (shown,) = re.findall(r"```text\n(.*?)```", (ROOT / "docs" / "how-to" / "test-your-consumer.md").read_text(), re.DOTALL)
    printed = _without_numbers(drilled.stdout)
    assert [line for line in _without_numbers(shown) if line not in printed] == []
    assert shown.count(" passed while ") == 6


def _without_numbers(text: str) -> list[str]:
    """The lines as they are whatever a guard's defaults are: how many calls meet an outage is tested elsewhere."""
    return [re.sub(r"\d+(\.\d+)?", "N", line) for line in text.splitlines()]
