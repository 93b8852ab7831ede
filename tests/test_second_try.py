"""In CI a test is tried a second time if it says why, and no other is."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

CONFTEST = """
from tests.second_try import allow_second_try

def pytest_configure(config):
    config.addinivalue_line("markers", "second_try(reason): as in ours")

def pytest_collection_modifyitems(items):
    for item in items:
        allow_second_try(item)
"""

# Fails when it is run for the first time.
TEST = """
import pathlib
import pytest

{mark}
def test_it():
    seen = pathlib.Path(__file__).with_name("seen")
    first = not seen.exists()
    seen.touch()
    assert not first
"""


def run(pytester: pytest.Pytester, mark: str) -> pytest.RunResult:
    """Run the test under this mark."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_it=TEST.format(mark=mark))
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:asyncio")


@pytest.mark.parametrize(
    ("mark", "ci", "passes"),
    [
        ('@pytest.mark.second_try(reason="the moon")', "true", True),
        ('@pytest.mark.second_try(reason="the moon")', "", False),
        ("", "true", False),
    ],
)
def test_who_says_why_is_tried_again_in_ci(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, mark: str, ci: str, passes: bool
) -> None:
    """With a reason and in CI; at home, and without a reason, what fails once has failed."""
    monkeypatch.setenv("CI", ci)
    assert run(pytester, mark).parseoutcomes() == ({"passed": 1, "rerun": 1} if passes else {"failed": 1})


@pytest.mark.parametrize(
    "mark",
    [
        "@pytest.mark.second_try",
        '@pytest.mark.second_try(reason=" ")',
        '@pytest.mark.second_try("the moon")',
        "@pytest.mark.flaky(reruns=3)",
    ],
)
def test_who_does_not_say_why_is_refused(pytester: pytest.Pytester, mark: str) -> None:
    """No test is run: a second try that nobody explained would hide what the first one found."""
    ended = run(pytester, mark)
    assert ended.ret == pytest.ExitCode.USAGE_ERROR
    assert "reason=" in ended.stderr.str()
    assert not (pytester.path / "seen").exists()
