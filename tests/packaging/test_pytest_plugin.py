"""The pytest plugin from the wheel: found by its entry point, beside every plugin that runs async tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.packaging.environment import ROOT, Environment

pytestmark = pytest.mark.slow

ASYNC_TESTS = """
import pytest
from consumer import charge, payments

@pytest.mark.anyio
async def test_charged(charged, rehearse_async):
    report = await rehearse_async(charge, needs=[payments], deliveries=3)
    assert report.problems == ()
"""


@pytest.fixture(scope="module")
def tested(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """What a project has that tests a consumer, and trio, which anyio's plugin then runs tests on."""
    environment = Environment(tmp_path_factory.mktemp("tested"), wheel)
    environment.install("", "pytest", "pytest-asyncio", "httpx", "trio", "aiokafka")
    return environment


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "examples" / "tested_consumer", tmp_path / "project"))


def test_it_runs_a_project_through_outages(tested: Environment, project: Path) -> None:
    """The example, with pytest-asyncio in auto mode."""
    done = tested.pytest(project, "--outage", "payments")

    assert done.returncode == 0, done.stdout
    assert "8 passed" in done.stdout
    assert done.stdout.count(" passed while payments was ") == 6


def test_it_can_be_left_out(tested: Environment, project: Path) -> None:
    """By its name; then there is no such option."""
    done = tested.pytest(project, "-p", "no:holdgate", "--outage", "payments")

    assert done.returncode == 4
    assert "unrecognized arguments: --outage" in done.stderr


def test_strict_mode_and_anyio_beside_it(tested: Environment, project: Path) -> None:
    """On asyncio all is well, and on trio there is a sentence."""
    (project / "pyproject.toml").unlink()
    example = (project / "test_consumer.py").read_text()
    (project / "test_consumer.py").unlink()
    (project / "conftest.py").write_text(example.partition("# region rehearse")[0])  # its fixture
    (project / "test_more.py").write_text(ASYNC_TESTS)

    done = tested.pytest(project, "--outage", "payments", "-W", "ignore")

    assert "4 passed, 4 errors" in done.stdout
    assert "holdgate guards consumers on asyncio, and this test would run on trio" in done.stdout
    assert done.stdout.count(" passed while payments was ") == 3


def test_whoever_tests_something_else_pays_nothing(tested: Environment, tmp_path: Path) -> None:
    """Two small modules are imported, and none of the engine."""
    (tmp_path / "test_other.py").write_text(
        "import sys\n"
        "def test(request):\n"
        "    assert request.config.pluginmanager.has_plugin('holdgate')\n"
        "    assert sorted(each for each in sys.modules if each.startswith('holdgate')) == ['holdgate', 'holdgate.pytest_plugin']\n"
    )

    done = tested.pytest(tmp_path)

    assert done.returncode == 0, done.stdout
