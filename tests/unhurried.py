"""Time for real servers to answer: tests that have one wait longer for it than the product does.

Two cores and six processes with brokers of their own: now and then one of them answers seconds late, and nothing is wrong. The product's
short limits are for workers, which ask again by themselves. A test asks once, and would take the limit for a result. So a test with a real
server has `PATIENCE` in place of each of `LIMITS`, which only a failing test waits for. One that is about a limit sets its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

import pytest

# Seconds.
PATIENCE = 60.0
# Of the product's modules: for how long they wait for one answer of a server, where that is shorter than the 15 s of a connection.
LIMITS: Mapping[str, Sequence[str]] = {
    "holdgate.brokers.confluent.client": ("ANSWER_WITHIN",),
    "holdgate.brokers.confluent.dead_letters": ("_TOPIC_WITHIN",),
    "holdgate.brokers.confluent.examination": ("ANSWER_WITHIN", "_READ_WITHIN"),
    "holdgate.brokers.kafka.client": ("_ANSWER_WITHIN",),
    "holdgate.brokers.kafka.examination": ("_READ_WITHIN",),
    "holdgate.brokers.kafka.fleet_log": ("_ASK_WITHIN",),
    "holdgate.brokers.rabbitmq.fleet_log": ("_ANSWER_WITHIN",),
    "holdgate.brokers.rabbitmq.queue_facts": ("_ANSWER_WITHIN",),
    "holdgate.brokers.rabbitmq.supervisor": ("_MOVE_WITHIN",),
    "holdgate.brokers.redis.fleet_log": ("_ANSWER_WITHIN",),
    "holdgate.brokers.retention": ("_GIVE_UP_AFTER",),
    "holdgate.brokers.share.offsets": ("_ANSWER_WITHIN",),
    "holdgate.cli.replay.rabbitmq": ("_PUT_BACK_WITHIN",),
    "holdgate.cli.worker.connection": ("_WITHIN",),
}


# aiokafka's own, for each request of a fleet's log.
_OF_REQUESTS = ("holdgate.brokers.kafka.fleet_log", "request_timeout_ms")


def lengthen(patch: pytest.MonkeyPatch) -> None:
    """Put PATIENCE in place of all that can be imported: not every environment has every client."""
    modules: dict[str, Any] = {}
    for name in LIMITS:  # all of them before any is changed: one takes a limit over from another
        with suppress(ImportError):
            modules[name] = import_module(name)
    for name, module in modules.items():
        for limit in LIMITS[name]:
            patch.setattr(module, limit, PATIENCE)
        if name == _OF_REQUESTS[0]:
            patch.setitem(module._DEFAULTS, _OF_REQUESTS[1], int(PATIENCE * 1000))
