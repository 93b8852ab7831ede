"""What is built, once for all that look at it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.packaging.environment import ROOT, UV, run


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the source distribution, and the wheel that was built from it as an index would get it."""
    folder = tmp_path_factory.mktemp("dist")
    run([UV, "build", "--quiet", "--out-dir", folder, ROOT])
    return folder


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    """The wheel."""
    (built,) = dist.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def sdist(dist: Path) -> Path:
    """The source distribution."""
    (built,) = dist.glob("*.tar.gz")
    return built
