"""The results that the page is made of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.faults import results
from tests.faults.cells import FAULTS
from tests.faults.table import CELLS

if TYPE_CHECKING:
    from pathlib import Path

HELD = {"cell": "Kafka-kill_-9-Open", "result": "held", "text": "", "seconds": 3.5}


def test_a_run_is_written_with_what_it_ran_on(tmp_path: Path) -> None:
    """Versions, date and every row of the table; of a cell what came of it."""
    file = tmp_path / "results.json"
    results.write({"Kafka-kill_-9-Open": HELD}, {"Kafka": "4.1.0"}, 61.2, file)
    found = json.loads(file.read_text())
    assert found["cells"] == {"Kafka-kill_-9-Open": {"result": "held", "seconds": 3.5}}
    assert found["seconds"] == 61
    assert found["versions"].keys() == {"Python", "aiokafka", "confluent-kafka", "aio-pika", "aiormq", "Kafka"}
    assert [row["name"] for row in found["rows"]] == [each.name for each in FAULTS]


def test_a_part_is_put_among_the_whole(tmp_path: Path) -> None:
    """Cells that were run again are new, what is no cell any more goes, and the run stays what it was."""
    file = tmp_path / "results.json"
    results.write({"Kafka-kill_-9-Open": {**HELD, "result": "violated"}, "Kafka-gone-Open": HELD}, {"Kafka": "4.1.0"}, 61.2, file)
    results.merge({"Kafka-kill_-9-Open": HELD, "Kafka-kill_-9-Closed": HELD}, file)
    found = json.loads(file.read_text())
    assert {name: cell["result"] for name, cell in found["cells"].items()} == {"Kafka-kill_-9-Open": "held", "Kafka-kill_-9-Closed": "held"}
    assert found["seconds"] == 61


def test_the_results_are_of_this_table() -> None:
    """Who adds a row runs it: HOLDGATE_FAULTS_MERGE=1 make test-faults ARGS="-k the_new_row"."""
    assert json.loads(results.FILE.read_text())["cells"].keys() == CELLS.keys()
