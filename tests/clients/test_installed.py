"""Whether the clients are here at all."""

from __future__ import annotations

import pytest
from tests.clients.installed import HAVE_CLIENTS


def test_the_clients_are_here() -> None:
    """The other tests of this folder are collected only where the clients are."""
    if not HAVE_CLIENTS:
        pytest.skip("no HTTP, SQL, Redis ... clients in this environment; make test-clients makes one and runs tests/clients")
