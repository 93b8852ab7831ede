"""The page of RabbitMQ's versions says all that the code's table says."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from docs.generate.rabbitmq_versions import FACTS, VERSIONS, versions_table

from holdgate.brokers.rabbitmq.queue_facts import Rules, rules_for

OTHER: dict[str, Any] = {
    "counts": "returns",
    "nacks_back": False,
    "times_out": False,
    "checked_every": 60.0,
    "own_timeouts": False,
    "delivery_limit": 5,
    "unlimited": False,
    "delays": False,
}


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Rules)])
def test_every_rule_is_in_it(field: str) -> None:
    """A rule that changes changes a cell."""
    rules = rules_for((4, 3), "quorum")
    changed = dataclasses.replace(rules, **{field: OTHER[field]})
    assert [cell(rules) for _, cell in FACTS] != [cell(changed) for _, cell in FACTS]


def test_each_version_is_a_column() -> None:
    """Of the queue type that was asked for, and what a classic queue has nothing to say to is left out."""
    quorum, classic = (versions_table(kind).splitlines() for kind in ("quorum", "classic"))
    assert quorum[0] == "| quorum queue | 3.10 | 4.0 | 4.3 |"
    assert len(VERSIONS) == 3
    assert len(quorum) - len(classic) == 3
