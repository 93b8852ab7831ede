from __future__ import annotations

from typing import Any

import pytest
from tests.runtime.stage import ORDERS, Handler, broker_with, dependency, quiet_guard

from holdgate import Delivery, Dependency
from holdgate.errors import SettingsError
from holdgate.flow.message import Queue
from holdgate.runtime.run_settings import RunSettings, plan_run
from holdgate.testing import MemoryBroker, MemoryIntake, in_virtual_time

ORDER = ORDERS[0]
PAYMENTS = dependency()
MAIL = dependency("mail")


def topics(*names: str) -> MemoryIntake:
    return MemoryIntake(MemoryBroker(topics=dict.fromkeys(names, 1)), topics=names)


def queue(prefetch: int = 50) -> MemoryIntake:
    return MemoryIntake(MemoryBroker(queues=["mails"]), queues=["mails"], prefetch=prefetch)


class Own:
    """An intake of the user's own, which does not say whether its messages have keys."""

    def __init__(self) -> None:
        intake = topics("orders")
        for name in dir(intake):
            if name != "has_keys" and not name.startswith("__"):
                setattr(self, name, getattr(intake, name))


class Pattern(MemoryIntake):
    @property
    def names(self) -> None:
        return None


def plan(intake: Any = None, needs: Any = (), **settings: Any) -> RunSettings:
    values: dict[str, Any] = {"order": None, "key": None, "concurrency": None, "span": 1000, "retry": None} | settings
    return plan_run(intake or topics("orders"), needs, **values)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"needs": PAYMENTS}, r"needs takes a list, got Dependency\('payments'\): write \[Dependency\('payments'\)\]"),
        ({"needs": "payments"}, r"got 'payments' \(str\): pass the Dependency itself, not its name"),
        ({"needs": ["payments"]}, r"needs takes a list of Dependency objects, got 'payments' \(str\)"),
        ({"needs": [PAYMENTS, 3]}, r"got 3 \(int\)"),
        ({"needs": None}, r"got None \(NoneType\)"),
        ({"needs": {"orders": "payments"}}, r"needs\['orders'\] takes a list of Dependency objects, got 'payments'"),
        ({"needs": {"orders": PAYMENTS}}, r"needs\['orders'\] takes a list, got Dependency"),
        ({"needs": [PAYMENTS, PAYMENTS]}, r"needs names \['payments'\] twice"),
        ({"needs": [PAYMENTS, dependency()]}, r"needs names \['payments'\] twice"),
        ({"needs": {"mails": [MAIL]}}, r"needs has no entry for \['orders'\], only for \['mails'\]"),
        ({"needs": {"orders": [], "mails": [MAIL]}}, r"needs has entries for \['mails'\], which the intake does not deliver"),
        ({"order": "partition"}, r"order must be one of 'source', 'key', 'none', got 'partition'"),
        ({"order": ""}, r"order must be one of .*, got ''"),
        ({"key": len}, r"key= is given, but order='source' keeps no order by key: add order=\"key\""),
        ({"key": "id", "order": "key"}, r"key='id' cannot be called"),
        ({"concurrency": 0}, r"concurrency must be a whole number from 1, got 0"),
        ({"concurrency": True}, r"concurrency must be a whole number from 1, got True"),
        ({"concurrency": 2.5}, r"concurrency must be a whole number from 1, got 2.5"),
        ({"span": 0}, r"span must be a whole number from 1, got 0"),
        ({"span": None}, r"span must be a whole number from 1, got None"),
        ({"retry": 5}, r"retry must be a RetryPolicy, got 5"),
    ],
)
@in_virtual_time
async def test_settings_that_make_no_sense_are_refused_before_anything_is_consumed(settings: dict[str, Any], text: str) -> None:
    """Each message names the values that clash, and what to do."""
    broker = broker_with(1)
    async with quiet_guard() as guard:
        with pytest.raises(SettingsError, match=text):
            await guard.run(MemoryIntake(broker, topics=["orders"]), Handler(), **settings)
        assert not guard.engine.runs
    assert not broker.ledger.positions("delivered", ORDER)


@in_virtual_time
async def test_a_clients_own_consumer_is_no_intake() -> None:
    """The commonest slip, in both forms: the message says how to wrap it."""

    class AIOKafkaConsumer: ...

    async with quiet_guard() as guard:
        with pytest.raises(SettingsError, match="AIOKafkaConsumer is not an intake, it has no 'names': wrap a consumer"):
            await guard.run(AIOKafkaConsumer(), Handler())  # type: ignore[arg-type]
        with pytest.raises(SettingsError, match="wrap a consumer"):
            guard.deliveries(AIOKafkaConsumer())  # type: ignore[arg-type]


def test_the_order_left_out_is_what_the_broker_promises() -> None:
    """Per source for partitions, none for a queue with several consumers."""
    assert plan().run.order == "source"
    assert plan(queue()).run.order == "none"


def test_concurrency_left_out() -> None:
    """A lane per source; sixteen without that order, and never more than the prefetch."""
    assert plan().lane_per_source
    assert not plan(concurrency=3).lane_per_source
    assert plan(order="key").run.concurrency == 16
    assert plan(queue()).run.concurrency == 16
    assert plan(queue(prefetch=5)).run.concurrency == 5


def test_needs_may_be_any_iterable() -> None:
    """A generator is read once, and all of it counts."""
    plans = plan(needs=(item for item in (PAYMENTS, MAIL)))
    assert plans.dependencies == (PAYMENTS, MAIL)
    assert plans.run.needs.of(ORDER) == ("payments", "mail")


def test_needs_by_name() -> None:
    """Each topic its own; a dependency of two topics is listed once; an empty list is an answer."""
    plans = plan(topics("orders", "mails", "logs"), {"orders": [PAYMENTS, MAIL], "mails": [MAIL], "logs": []})
    assert plans.dependencies == (PAYMENTS, MAIL)
    assert plans.run.needs.of(Queue("logs")) == ()
    assert plans.run.needs.of(Queue("mails")) == ("mail",)


@pytest.mark.parametrize(
    ("needs", "handled", "of_orders", "of_others"),
    [
        ([PAYMENTS], None, ("payments",), ("payments",)),
        ([PAYMENTS], ["orders"], ("payments",), None),
        ({"orders": [PAYMENTS]}, ["orders", "mails"], ("payments",), None),
        ({"orders": [PAYMENTS]}, None, ("payments",), None),
    ],
)
def test_under_a_pattern_needs_and_handlers_say_together_what_may_run(
    needs: Any, handled: list[str] | None, of_orders: tuple[str, ...] | None, of_others: tuple[str, ...] | None
) -> None:
    """A topic that appears later runs only when both know it."""
    source = Pattern(MemoryBroker(topics={"orders": 1}), topics=["orders"])
    found = plan(source, needs, handled=handled).run.needs
    assert (found.of(ORDER), found.of(Queue("others"))) == (of_orders, of_others)


def test_under_a_pattern_needs_without_a_handler_are_refused() -> None:
    """It could be read, and nobody could handle it."""
    source = Pattern(MemoryBroker(topics={"orders": 1}), topics=["orders"])
    with pytest.raises(SettingsError, match=r"needs has entries for \['mails'\], and handler has none"):
        plan(source, {"orders": [], "mails": [MAIL]}, handled=["orders"])


def test_the_key_is_the_records_own_when_left_out() -> None:
    """Kafka's records have one; only order="key" asks for it."""
    broker = broker_with(0)
    broker.produce("orders", b"", key=b"k")
    delivery: Delivery[Any] = _delivery(broker)
    plans = plan(order="key")
    plans.set_keys([delivery])
    assert delivery.order_key == b"k"
    other: Delivery[Any] = _delivery(broker)
    plan().set_keys([other])
    assert other.order_key is None


def _delivery(broker: MemoryBroker) -> Delivery[Any]:
    from holdgate.testing import MemoryDelivery  # noqa: PLC0415 - read in place

    (message,) = broker.waiting(ORDER)
    return MemoryDelivery(ORDER, message, 0, object())


def test_queues_need_a_key_of_the_users_own() -> None:
    """Partitions have one, other orders need none, and with key= all is said. It is refused before anything is opened."""
    mails = [Queue("mails")]
    plan(order="key").check_keys([ORDER])
    plan(queue()).check_keys(mails)
    plan(queue(), order="key", key=str).check_keys(mails)
    with pytest.raises(SettingsError, match=r"\['mails'\].*key=lambda delivery"):
        plan(queue(), order="key")


def test_an_intake_that_does_not_say_whether_it_has_keys_is_asked_by_its_sources() -> None:
    """One of the user's own may deliver queues: then the run ends when the first one comes."""
    with pytest.raises(SettingsError, match=r"\['mails'\].*key=lambda delivery"):
        plan(Own(), order="key").check_keys([Queue("mails")])


def test_the_dependencies_of_this_file_are_bound_to_no_guard() -> None:
    """Planning alone takes nothing over."""
    assert isinstance(PAYMENTS, Dependency)
    assert PAYMENTS.circuit.snapshot(0.0).calls == 0
