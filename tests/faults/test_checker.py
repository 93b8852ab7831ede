"""The checker can fail: a worker that settles messages before it has processed them turns its cells red."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.faults.runs import Runs

FOUND_AS = {
    "Kafka-it_answers_with_errors-Open!early": "commit past unprocessed",
    "RabbitMQ-it_answers_with_errors-Open!early": "ack of unprocessed",
}


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.parametrize("name", FOUND_AS)
def test_a_worker_that_settles_early_is_found(runs: Runs, name: str) -> None:
    """Nothing is lost as long as it lives, and the ledger shows all the same what a crash would lose."""
    outcome = runs.outcome(name)
    if outcome["result"] == "skipped":
        pytest.skip(outcome["text"])
    assert outcome["result"] == "violated", outcome["text"]
    assert FOUND_AS[name] in outcome["text"]
