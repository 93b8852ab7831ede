"""Programs of Prometheus for the tests of what is made for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from tests.servers import prometheus_install
from tests.servers.unavailable import Unavailable, in_ci

T = TypeVar("T")


@pytest.fixture(scope="session")
def prometheus() -> Callable[[str], Path]:
    """Find `prometheus`, `promtool` or `amtool`; skips where there is none, and fails in CI."""
    return lambda name: _had(lambda: prometheus_install.program(name))


@pytest.fixture(scope="session")
def alertmanager() -> list[str]:
    """The command that starts Alertmanager."""
    return _had(prometheus_install.alertmanager)


def _had(get: Callable[[], T]) -> T:
    try:
        return get()
    except Unavailable as error:
        if in_ci():
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
