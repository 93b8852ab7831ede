"""Where the tests' time of the processor goes: a plugin for pytest that prints it by folder.

    .venv/bin/python -m pytest -n 2 -p benchmarks.suite tests/flow tests/brokers

Seconds on the wall tell of the machine's other work as well. These are seconds of the processor, of the tests' own processes and of those
that they start: brokers, workers, browsers. What a broker does between two tests is counted for the one after. Linux only.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

_TICKS = os.sysconf("SC_CLK_TCK")


def children_of(process: int) -> list[int]:
    """All processes below one, by their numbers."""
    found: list[int] = []
    for listed in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children = [int(each) for each in listed.read_text().split()]
        except OSError:  # a thread that has just ended
            continue
        found += children
        for child in children:
            found += children_of(child)
    return found


def spent() -> tuple[float, float]:
    """The seconds of this process, and of all that it has started: those that have ended, and those that run."""
    times = os.times()
    running = 0.0
    for child in children_of(os.getpid()):
        try:
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        running += sum(map(int, fields[11:15])) / _TICKS
    return times.user + times.system, times.children_user + times.children_system + running


class Suite:
    """Adds up by folder, in each of the processes that share the tests, and prints the sum of all."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self.tests: Counter[str] = Counter()
        self.own: Counter[str] = Counter()
        self.others: Counter[str] = Counter()
        self._before = spent()

    def add(self, folder: str, tests: int = 0) -> None:
        """Count what was spent since the last time."""
        now = spent()
        self.tests[folder] += tests
        self.own[folder] += now[0] - self._before[0]
        self.others[folder] += max(0.0, now[1] - self._before[1])  # what was killed and not waited for is gone
        self._before = now

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self) -> Generator[None, object, object]:
        found = yield
        self.add("(start and collecting)")
        return found

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        done = yield
        self.add("/".join(Path(item.nodeid.partition("::")[0]).parts[:2]), tests=1)
        return done

    def pytest_sessionfinish(self) -> None:
        output: dict[str, Any] | None = getattr(self._config, "workeroutput", None)
        if output is not None:
            output["spent"] = [dict(counter) for counter in (self.tests, self.own, self.others)]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        for counter, more in zip((self.tests, self.own, self.others), getattr(node, "workeroutput", {}).get("spent", ()), strict=False):
            counter.update(more)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.write_line("\n| folder | tests | s of CPU, the tests' | s of CPU, what they started |\n|---|---:|---:|---:|")
        for folder in sorted(self.tests, key=lambda each: -self.own[each] - self.others[each]):
            terminalreporter.write_line(f"| {folder} | {self.tests[folder]:,} | {self.own[folder]:.1f} | {self.others[folder]:.1f} |")
        sums = f"{self.tests.total():,} | {self.own.total():.1f} | {self.others.total():.1f}"
        terminalreporter.write_line(f"| all | {sums} |")


def pytest_configure(config: pytest.Config) -> None:
    """Begin to count."""
    config.pluginmanager.register(Suite(config))
