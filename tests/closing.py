"""What a run of the tests says at its end: one line for each reason to skip, and last of all what ran on which broker."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping

# The name of the user property by which a report carries what its test ran on, from pytest-xdist's processes, too. A test that starts its
# brokers in a process of their own gives it by itself (record_property).
BROKER = "broker"
# What each fixture for a broker gave in this process, by the fixture's name.
_SERVED = pytest.StashKey[dict[str, str]]()
# The sentence of tests/servers/unavailable.py.
_MISSING = re.compile(r"no (\w+): ")


def serves(request: pytest.FixtureRequest, label: str) -> None:
    """Say what this fixture gives, as "Kafka 4.1.0 (started here)": to be called by every fixture that gives a broker."""
    assert request.fixturename is not None
    request.config.stash.setdefault(_SERVED, {})[request.fixturename] = label


class Closing:
    """Notes what ran, and says so after pytest's own closing line. `shared`: fixtures whose broker counts for a test that has no other."""

    def __init__(self, config: pytest.Config, shared: Iterable[str]) -> None:
        self._config = config
        self._shared = set(shared)
        self._ran: dict[str, list[str]] = {}
        self._skipped: dict[str, str] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Write down what the test ran on, where it ran."""
        report = yield
        if report.when == "call":
            report.user_properties += [(BROKER, label) for label in self._labels(item)]
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count it; of a test that was tried again, the last try."""
        if report.skipped and isinstance(report.longrepr, tuple):
            self._skipped[report.nodeid] = report.longrepr[2].removeprefix("Skipped: ")
        elif report.when == "call" and (report.passed or report.failed):
            self._ran[report.nodeid] = [str(label) for name, label in report.user_properties if name == BROKER]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Give each reason to skip one line: a server that is not there is the reason of hundreds."""
        if self._skipped:
            terminalreporter.section("skipped", "=")
            for line in skip_lines(self._skipped):
                terminalreporter.write_line(line)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Generator[None, None, None]:
        """Have the last word, behind pytest's own closing line, which stays as it is: machines read it."""
        yield
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None and not hasattr(self._config, "workerinput") and (self._ran or self._skipped):
            reporter.write_line(last_line(self._ran, self._skipped))

    def _labels(self, item: pytest.Item) -> list[str]:
        served = self._config.stash.get(_SERVED, {})
        # A fixture that a test asks for while it runs is none of its names: its mark says which.
        names = {*getattr(item, "fixturenames", ()), *(name for mark in item.iter_markers("integration") for name in mark.args)}
        used = sorted(names & served.keys(), key=lambda name: name not in self._shared)
        return list({served[name].partition(" ")[0]: served[name] for name in used}.values())


def skip_lines(skipped: Mapping[str, str]) -> list[str]:
    """Return a line for each server that is not there, and one for each other reason; `skipped` has the reasons by test."""
    missing: dict[str, Counter[str]] = {}
    for reason in skipped.values():
        missing.setdefault(server_of(reason) or reason, Counter())[reason] += 1
    # Processes of one run may have met one server's absence in different ways; the commonest stands for all.
    found = [(counts.total(), server, counts.most_common(1)[0][0]) for server, counts in missing.items()]
    return [f"{count} skipped: {reason}" for count, _, reason in sorted(found, key=lambda each: (-each[0], each[1]))]


def last_line(ran: Mapping[str, list[str]], skipped: Mapping[str, str]) -> str:
    """Return what ran on which broker, by name, and what did not; a test that needs two of them counts for both."""
    on = Counter(label for labels in ran.values() for label in labels)
    parts = [", ".join(f"{count} on {label}" for label, count in sorted(on.items()))] if on else []
    parts.append(f"{sum(not labels for labels in ran.values())} without a broker")
    wanted = Counter(server_of(reason) for reason in skipped.values())
    others = wanted.pop(None, 0)
    reasons = [f"{count} for want of {server}" for server, count in sorted(wanted.items(), key=str)]
    reasons += [f"{others} for other reasons"] if others else []
    return f"ran: {'; '.join(parts)}; skipped: {', '.join(reasons) or 'none'}"


def server_of(reason: str) -> str | None:
    """Return the server whose absence is the reason; None for any other reason."""
    found = _MISSING.match(reason)
    return None if found is None else found[1]
