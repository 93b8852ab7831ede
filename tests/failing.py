"""What a run of the tests says while it runs: the name of a test that fails, when it fails, and not only when all of them have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


class Failing:
    """Names what fails, once, in a run that shows its tests as dots."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Say it on a line of its own. What it failed with stands at the end, as always."""
        if not report.failed or self._config.get_verbosity() > 0:
            return
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None and not hasattr(self._config, "workerinput"):
            reporter.write(f"\n{line(report)}\n")


def line(report: pytest.TestReport) -> str:
    """Return which test failed, in which of its parts if that is not the test itself, and after how many seconds."""
    part = "" if report.when == "call" else f" ({report.when})"
    return f"failed: {report.nodeid}{part} after {report.duration:.1f} s"
