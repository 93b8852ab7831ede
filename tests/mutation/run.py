"""Shows every mutant to the tests: a process of its own, forked from one in which everything is imported and collected."""

from __future__ import annotations

import gc
import importlib
import os
import resource
import signal
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import NoReturn

import pytest
from tests.mutation.evidence import Evidence
from tests.mutation.lighter import is_left_out, lighten
from tests.mutation.mutants import Mutant, mutants_of
from tests.mutation.swap import put_in_place


class Fate(IntEnum):
    """What became of a mutant; the exit code of its process."""

    SURVIVED = 0
    KILLED = 1
    NOT_PLACED = 3  # the same when compiled, or used while importing only: no test can see it, and it is not counted


class Run:
    """A pytest plugin: in place of the loop over the tests, one over the mutants of `files`.

    `known` says of a mutant that it need not be tried, because some test notices it. `found` is called with the fates of one file's
    mutants, in their order, as soon as they are clear. `failed` names tests that fail without any mutant: then nothing can be found out.
    """

    def __init__(
        self,
        root: Path,
        files: Sequence[str],
        jobs: int,
        known: Callable[[Mutant], bool],
        found: Callable[[str, dict[Mutant, Fate]], None],
    ) -> None:
        self._source = root / "src" / "holdgate"
        self._files = files
        self._jobs = jobs
        self._known = known
        self._found = found
        self._running: dict[int, tuple[Mutant, int]] = {}
        self._fates: dict[Mutant, Fate] = {}
        self.failed: list[str] = []

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        config.pluginmanager.unregister(name="terminalreporter")  # one run of the tests for each mutant: they say nothing

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the tests as they are, then against every mutant."""
        items = [item for item in session.items if not is_left_out(item)]
        for item in items:
            lighten(item)
        evidence = Evidence(self._source)
        evidence.collect(items)
        if self.failed:
            return True
        gc.collect()
        gc.freeze()
        for file in self._files:
            self._try_file(file, evidence)
        return True

    def _try_file(self, file: str, evidence: Evidence) -> None:
        mutants = list(mutants_of(self._source / file, file))
        self._fates = dict.fromkeys(mutants, Fate.KILLED)
        for mutant in mutants:
            if self._known(mutant):
                continue
            while len(self._running) >= self._jobs:
                self._reap(evidence)
            tests = evidence.tests_for(mutant)
            reading, writing = os.pipe()
            process = os.fork()
            if not process:
                _see(writing, self._verdict, mutant, tests, evidence.seconds)
            os.close(writing)
            self._running[process] = mutant, reading
        while self._running:
            self._reap(evidence)
        self._found(file, self._fates)

    def _reap(self, evidence: Evidence) -> None:
        process, status = os.wait()
        mutant, reading = self._running.pop(process)
        with os.fdopen(reading) as pipe:
            if killer := pipe.read():
                evidence.kills[killer] += 1
        code = os.waitstatus_to_exitcode(status)
        self._fates[mutant] = Fate(code) if code in set(Fate) else Fate.KILLED  # a signal: it ran out of its time, or the interpreter died

    def _verdict(self, mutant: Mutant, tests: list[pytest.Item], seconds: Mapping[str, float]) -> tuple[Fate, str]:
        module = importlib.import_module(f"holdgate.{mutant.file.removesuffix('.py').replace('/', '.')}")
        try:
            if not put_in_place(mutant, module):
                return Fate.NOT_PLACED, ""
        except Exception:  # noqa: BLE001 - the module could not even be imported: any test would have noticed
            return Fate.KILLED, ""
        for test, after in zip(tests, [*tests[1:], None], strict=True):
            signal.setitimer(signal.ITIMER_VIRTUAL, 1 + 10 * seconds[test.nodeid])  # an endless loop ends here
            test.config.hook.pytest_runtest_protocol(item=test, nextitem=after)
            if self.failed:
                return Fate.KILLED, test.nodeid
        return Fate.SURVIVED, ""


def _see(writing: int, verdict: Callable[..., tuple[Fate, str]], *arguments: object) -> NoReturn:
    """End this process with what the tests say, in silence but for the name of the test that failed."""
    code = Fate.KILLED
    try:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))  # a loop that collects things ends here
        code, killer = verdict(*arguments)
        os.write(writing, killer.encode())
    finally:
        os._exit(code)
