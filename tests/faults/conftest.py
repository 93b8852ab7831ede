"""Collects the table's cells, starts all that were selected at once, and writes the results of a whole run."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults import results
from tests.faults.runs import Runs
from tests.faults.table import CELLS

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Every selected cell, running. Results of the whole table are written down, and with
    HOLDGATE_FAULTS_MERGE=1 those of a part of it put among them.

    The cells run side by side anyway: where pytest-xdist shares the tests out, each of its processes would run all of them.
    """
    assert not hasattr(request.config, "workerinput"), "the table brings its own processes: pytest -n 0 tests/faults"
    names = [item.callspec.params["name"] for item in request.session.items if "runs" in getattr(item, "fixturenames", ())]  # type: ignore[attr-defined]
    begun = time.monotonic()
    runs = Runs(names, tmp_path_factory.mktemp("faults"))
    yield runs
    runs.close()
    of_the_table = {name: outcome for name, outcome in runs.outcomes.items() if name in CELLS}
    if of_the_table.keys() == CELLS.keys():
        results.write(of_the_table, runs.servers, time.monotonic() - begun)
    elif os.environ.get("HOLDGATE_FAULTS_MERGE"):
        results.merge(of_the_table)
