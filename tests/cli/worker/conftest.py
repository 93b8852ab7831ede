"""What the tests of the commands that ask a worker share: it is in the same process, in another thread."""

from __future__ import annotations

import pytest
from tests.control.served import PATIENCE

from holdgate.cli.worker import connection


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this process stands still for five seconds, the worker is not to blame. A test of the limit sets its own."""
    monkeypatch.setattr(connection, "_WITHIN", PATIENCE)
