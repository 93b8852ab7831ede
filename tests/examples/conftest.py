"""Programs of Prometheus for the tests of what is made for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.servers.prometheus_install import program
from tests.servers.unavailable import Unavailable, in_ci


@pytest.fixture(scope="session")
def prometheus() -> Callable[[str], Path]:
    """Find `prometheus`, `promtool`, `prometheus-alertmanager` or `amtool`; skips where there is none, and fails in CI."""

    def find(name: str) -> Path:
        try:
            return program(name)
        except Unavailable as error:
            if in_ci():
                pytest.fail(str(error), pytrace=False)
            pytest.skip(str(error))

    return find
