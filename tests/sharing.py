"""How the processes of a run share its tests: each server runs in a few of them, and what is made once for a file is made once.

A broker costs seconds of the processor to start, and some more for as long as it runs. If each test went to the first process that is free,
each process would start every broker.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from xdist.scheduler.loadscope import LoadScopeScheduling

if TYPE_CHECKING:
    import pytest
    from xdist.remote import Producer
    from xdist.workermanage import WorkerController

# The server of each process, in turn. RabbitMQ has twice as many tests as Kafka; one process of six computes from the beginning, while the
# tests of the others wait for their brokers.
ROLES = ("rabbitmq", "kafka", "rabbitmq", "kafka", "rabbitmq", None)
# What a name has in it, and the server that its test then needs; the first one counts. The names of servers, and of what runs on them.
SERVER_OF = {
    "rabbitmq": "rabbitmq",
    "kafka": "kafka",
    "confluent": "kafka",  # another client of the same broker
    "celery": "rabbitmq",
    "clients/test_amqp_clients": "rabbitmq",
    "clients/test_outage_clients": "rabbitmq",
    "examples/test_both_brokers": "rabbitmq",
    "examples/test_dead_letters_example": "kafka",
    "examples/test_scraped": "kafka",
    "cli/fleet/test_command": "kafka",
}
# Files whose hundreds of tests share no fixture and mostly wait: as one piece, such a file keeps one process to the end.
APART = ("test_http_clients",)
# More tests of one server than this are worth one more of it: it takes as long to start as about so many of them.
WORTH_ANOTHER = 30


@functools.cache
def server_of(nodeid: str) -> str | None:
    """Return the server that a test probably needs, by its name, which is all that is known where tests are shared out. None means that it
    probably needs none. A test of which this is wrong runs all the same."""
    return next((server for word, server in SERVER_OF.items() if word in nodeid), None)


def is_apart(nodeid: str) -> bool:
    """Whether a test is given to a process without the rest of its file: small change for the end of a run."""
    return any(word in nodeid for word in APART)


class Sharing(LoadScopeScheduling):
    """Gives a process the tests of its own server first, one by one, and then those without a server, file by file."""

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False  # tests/conftest.py has put them into an order

    def remove_node(self, node: WorkerController) -> str | None:
        """Give back what a process that has ended leaves, without the test in which it crashed: LoadScopeScheduling would run it again,
        and so lose each process that stands in for the last."""
        units = {unit: tests for unit, tests in self.assigned_work.pop(node).items() if not all(tests.values())}
        if not units:
            return None
        crashed, tests = next((test, tests) for tests in units.values() for test, is_done in tests.items() if not is_done)
        tests[crashed] = True
        self.workqueue.update({unit: tests for unit, tests in units.items() if not all(tests.values())})
        for each in self.nodes:
            self._reschedule(each)
        return crashed

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if server_of(nodeid) or is_apart(nodeid) else nodeid.partition("::")[0]

    def _assign_work_unit(self, node: WorkerController) -> None:
        unit = self._next_for(node)
        if unit is not None:
            self.workqueue.move_to_end(unit, last=False)
            super()._assign_work_unit(node)

    def _reschedule(self, node: WorkerController) -> None:
        # More than two at a time: a process keeps the last of its tests until it knows the next one, or that there is none.
        while not node.shutting_down and self._pending_of(self.assigned_work[node]) <= 2:
            if self._next_for(node) is None:
                node.shutdown()
            else:
                self._assign_work_unit(node)

    def _next_for(self, node: WorkerController) -> str | None:
        left: dict[str | None, list[str]] = {}
        for unit in self.workqueue:
            left.setdefault(server_of(unit), []).append(unit)
        served = {_role_of(each) for each in self.nodes}
        for server in (_role_of(node), None, *left):
            if server in left and (server in (_role_of(node), None) or server not in served or len(left[server]) > WORTH_ANOTHER):
                return left[server][0]
        return None


def _role_of(node: WorkerController) -> str | None:
    return ROLES[int(node.gateway.id.removeprefix("gw")) % len(ROLES)]
