"""A run of the tests names what fails while it runs, of runs of pytest of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

CONFTEST = """
from tests.failing import Failing

def pytest_configure(config):
    config.pluginmanager.register(Failing(config))
"""
TESTS = """
import pytest

@pytest.fixture
def broken():
    raise OSError

def test_bad():
    assert False

def test_unprepared(broken):
    pass

@pytest.mark.parametrize("number", range(100))
def test_good(number):
    pass
"""


@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_test_is_named_when_it_fails(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, processes: str) -> None:
    """With its part, if that is not the test itself, on a line of its own between the dots; once, whoever ran it."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_of_all_kinds=TESTS)
    run = pytester.runpytest_inprocess if processes == "0" else pytester.runpytest_subprocess
    lines = run("-p", "no:cacheprovider", "-p", "no:asyncio", "-n", processes).outlines
    dots_end = next(number for number, each in enumerate(lines) if "= ERRORS =" in each)
    named = [each.rpartition(" after ")[0] for each in lines if each.startswith("failed: ")]
    assert sorted(named) == ["failed: test_of_all_kinds.py::test_bad", "failed: test_of_all_kinds.py::test_unprepared (setup)"]
    assert any(each.startswith("failed: ") for each in lines[:dots_end])


def test_a_run_that_names_all_tests_needs_no_more(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """With -v each test has its line, and its outcome in it."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_of_all_kinds=TESTS)
    run = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:asyncio", "-n", "0", "-v")
    assert not [each for each in run.outlines if each.startswith("failed: ")]
