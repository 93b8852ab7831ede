"""A test of yours: whose fault each error is, on a broker in memory and without waiting."""

import json

from holdgate import Delivery, Dependency, Outcome, RetryPolicy, http
from holdgate.presets import grpc, sql
from holdgate.testing import MemoryDeadLetters, rehearse


class Answer(Exception):
    """What stands for an HTTP client's exception."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


async def post(order: dict[str, int]) -> None:
    """What stands for a call over the network."""
    if order["amount"] > 1000:
        raise Answer(422)


# region handler
payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)


async def charge(delivery: Delivery) -> None:
    order = json.loads(delivery.body or b"")  # not JSON: it never will be
    if order.get("test"):
        delivery.reject("test order")  # the same as `raise Reject("test order")`
        return
    if order.get("embargo") and delivery.attempt == 1:
        delivery.retry(after=60)  # keeps its place, and is charged nothing
        return
    await post(order)


retry = RetryPolicy(attempts=3, not_retryable=json.JSONDecodeError)
# endregion


# region test
def test_every_error_finds_its_way() -> None:
    dead = MemoryDeadLetters()
    bodies = [b'{"amount": 5}', b"not JSON", b'{"test": 1}', b'{"amount": 5000}', b'{"amount": 6, "embargo": 1}']
    report = rehearse(charge, needs=[payments], deliveries=bodies, retry=retry, dead_letters=dead)

    assert [(letter.body, letter.attempts) for letter in dead.letters] == [(b"not JSON", 1), (b'{"test": 1}', 1), (b'{"amount": 5000}', 3)]
    assert report.left == ()
    assert report.took > 60


# endregion


# region statuses
def is_down(error: Exception) -> bool:
    """Whether the API is down for us: also if it takes our token for an expired one."""
    return http.failures(error) or http.status_of(error) in (401, 403)


ledger = Dependency("ledger", failures=is_down, retry_after=http.retry_after)
# endregion


def test_a_status_counts_as_a_failure_if_you_say_so() -> None:
    assert ledger.classify(Answer(401)) is Outcome.FAILURE
    assert ledger.classify(Answer(503)) is Outcome.FAILURE
    assert ledger.classify(Answer(422)) is Outcome.IGNORED


# region presets
orders_db = Dependency("orders-db", failures=sql.failures)
stock = Dependency("stock", failures=grpc.failures, retry_after=grpc.retry_after)
# endregion


def test_a_database_that_is_gone_is_a_failure_and_a_bug_is_not() -> None:
    assert orders_db.classify(ConnectionRefusedError()) is Outcome.FAILURE
    assert stock.classify(ConnectionRefusedError()) is Outcome.FAILURE
    assert orders_db.classify(KeyError("amount")) is Outcome.IGNORED
