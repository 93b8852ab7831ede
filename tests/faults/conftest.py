"""Collects the table's cells, starts all that were selected at once, and writes the results of a whole run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.faults import results
from tests.faults.runs import Runs
from tests.faults.table import CELLS

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_configure(config: pytest.Config) -> None:
    """The mark of what takes half an hour."""
    config.addinivalue_line("markers", "fault_matrix: the whole table of faults and states; make test leaves it out")
    # Known where pytest-xdist is not installed, too: the processes of all cells are started by one worker.
    config.addinivalue_line("markers", "xdist_group: tests that run in the same process")


@pytest.fixture(scope="session")
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Every selected cell, running. When that is the whole table, its results are written down."""
    names = [item.callspec.params["name"] for item in request.session.items if "runs" in getattr(item, "fixturenames", ())]  # type: ignore[attr-defined]
    begun = time.monotonic()
    runs = Runs(names, tmp_path_factory.mktemp("faults"))
    yield runs
    runs.close()
    if set(runs.outcomes) >= set(CELLS):
        results.write({name: runs.outcomes[name] for name in CELLS}, runs.servers, time.monotonic() - begun)
