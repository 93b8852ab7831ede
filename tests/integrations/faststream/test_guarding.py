"""What FastStreamGuard refuses before anything is consumed, how it starts, and FastStream's test client."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

pytest.importorskip("faststream", reason="faststream is not installed: pip install 'holdgate[faststream]'")

from faststream import AckPolicy, ContextRepo, FastStream, TestApp
from faststream.exceptions import StopApplication
from faststream.kafka import KafkaBroker, KafkaRouter, TestKafkaBroker
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue, TestRabbitBroker

from holdgate import Dependency, Guard
from holdgate.errors import SettingsError
from holdgate.integrations.faststream import FastStreamGuard
from holdgate.integrations.faststream.middleware import GuardMiddleware

NOWHERE = "127.0.0.1:1"


def payments() -> Dependency:
    return Dependency("payments")


def kafka_app(needs: Any, *topics: str, **subscriber: Any) -> tuple[KafkaBroker, FastStreamGuard]:
    """An app with one Kafka subscriber, which fails for the number 13."""
    broker = KafkaBroker(NOWHERE, logger=None)
    guarded = FastStreamGuard(FastStream(broker, logger=None), needs=needs)

    @broker.subscriber(*(topics or ("orders",)), group_id="billing", **subscriber)
    async def handle(number: Any) -> None:
        if number == 13:
            raise ValueError("13")

    return broker, guarded


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        ({}, "AckPolicy.ACK_FIRST, which settles a message before its handler has run"),
        ({"ack_policy": AckPolicy.ACK}, "AckPolicy.ACK, which settles messages itself"),
        ({"ack_policy": AckPolicy.NACK_ON_ERROR}, "AckPolicy.NACK_ON_ERROR, which settles messages itself"),
    ],
)
async def test_every_policy_that_settles_is_refused_with_the_remedy(policy: Any, why: str) -> None:
    """The default of Kafka most of all: it would commit what is held."""
    _, guarded = kafka_app({"orders": [payments()]}, **policy)
    with pytest.raises(SettingsError) as refused:
        await guarded.start()
    assert why in str(refused.value)
    assert "ack_policy=AckPolicy.MANUAL" in str(refused.value)


async def test_a_refusal_leaves_nothing_running() -> None:
    """After a start that was refused the guard has been left, and the next start begins anew."""
    dependency = payments()
    _, guarded = kafka_app({"orders": [dependency]})
    for _ in range(2):
        with pytest.raises(SettingsError, match="ACK_FIRST"):
            await guarded.start()
        assert guarded.guard.stopping


async def test_needs_of_a_topic_that_nobody_reads_are_refused() -> None:
    """A misspelt topic would be an unguarded one."""
    _, guarded = kafka_app({"ordres": [payments()]}, ack_policy=AckPolicy.MANUAL)
    with pytest.raises(SettingsError, match=r"needs has \['ordres'\], and the app's subscribers read \['orders'\]"):
        await guarded.start()


def test_what_would_be_refused_is_found_without_a_start() -> None:
    """`check()` needs no broker and no event loop, so a project's own test may call it: the policy, then the prefetch; then all is well."""
    _, guarded = kafka_app({"orders": [payments()]})
    with pytest.raises(SettingsError, match="ACK_FIRST"):
        guarded.check()
    broker = RabbitBroker(f"amqp://{NOWHERE}", logger=None)
    unbounded = FastStreamGuard(broker, needs={"orders": [payments()]})
    broker.subscriber("orders", ack_policy=AckPolicy.MANUAL)(lambda number: None)
    with pytest.raises(SettingsError, match="prefetch_count=50"):
        unbounded.check()
    _, right = kafka_app({"orders": [payments()]}, ack_policy=AckPolicy.MANUAL)
    right.check()


async def test_a_subscriber_without_a_group_is_refused() -> None:
    """FastStream's default: nothing can be committed, and each commit would fail."""
    broker = KafkaBroker(NOWHERE, logger=None)
    guarded = FastStreamGuard(broker, needs={"orders": [payments()]})

    @broker.subscriber("orders", ack_policy=AckPolicy.MANUAL)
    async def handle(number: int) -> None: ...

    with pytest.raises(SettingsError, match=r'orders has no group_id, .*: give it group_id="\.\.\."'):
        await guarded.start()


async def test_a_batch_of_several_topics_is_refused() -> None:
    """Its records have one verdict, and may need different things."""
    _, guarded = kafka_app([payments()], "orders", "receipts", ack_policy=AckPolicy.MANUAL, batch=True)
    with pytest.raises(SettingsError, match="batches of several topics"):
        await guarded.start()


@pytest.mark.parametrize("channel", [None, Channel()])
async def test_a_queue_without_a_prefetch_is_refused(channel: Channel | None) -> None:
    """FastStream's default takes the whole queue into memory."""
    broker = RabbitBroker(f"amqp://{NOWHERE}", logger=None)
    guarded = FastStreamGuard(broker, needs={"orders": [payments()]})

    @broker.subscriber("orders", channel=channel, ack_policy=AckPolicy.MANUAL)
    async def handle(number: int) -> None: ...

    with pytest.raises(SettingsError, match=r"channel=Channel\(prefetch_count=50\)"):
        await guarded.start()


async def test_a_mistake_of_ours_stops_the_app_instead_of_passing_a_message_over() -> None:
    """What a station raises before an attempt begins reaches FastStream as StopApplication, and is not swallowed."""

    class Broken:
        def consume(self, *_: object) -> None:
            raise AttributeError("no setter")

        async def ended(self, *_: object) -> None: ...

    class Stations:
        async def station_of(self, *_: object) -> Broken:
            return Broken()

    middleware = GuardMiddleware.of({}, Stations())(object(), context=ContextRepo())
    await middleware.__aenter__()
    with pytest.raises(StopApplication) as stopped:
        await middleware.consume_scope(lambda message: message, object())
    assert not await middleware.__aexit__(type(stopped.value), stopped.value, None)


@pytest.mark.parametrize("is_read", [True, False])
async def test_an_attempt_that_cannot_be_ended_stops_the_app(caplog: pytest.LogCaptureFixture, *, is_read: bool) -> None:
    """FastStream would swallow what a station raises there, and the next message's commit would pass this one over; nothing is quoted."""

    class Broken:
        async def consume(self, *_: object) -> None: ...

        async def ended(self, *_: object) -> None:
            raise AttributeError("no slot")

        unreadable = ended

    class Stations:
        async def station_of(self, *_: object) -> Broken:
            return Broken()

    exits: list[str] = []
    app = SimpleNamespace(exit=lambda: exits.append("app"))
    middleware = GuardMiddleware.of({}, Stations())(object(), context=ContextRepo({"app": app}))
    await middleware.__aenter__()
    if is_read:
        await middleware.consume_scope(lambda message: message, object())
    with pytest.raises(StopApplication):
        await middleware.__aexit__(ValueError, ValueError("card 4111"), None)
    assert exits == ["app"]
    assert "an attempt could not be ended, AttributeError; FastStream stops" in caplog.text
    assert "4111" not in caplog.text


@pytest.mark.parametrize("what", [object(), "orders"])
def test_what_is_no_broker_is_refused(what: object) -> None:
    """The error says what it takes."""
    with pytest.raises(SettingsError, match=r"a FastStream app, a KafkaBroker of faststream\.kafka, or a RabbitBroker"):
        FastStreamGuard(what, needs=[payments()])


def test_a_router_is_refused_with_what_to_give_instead() -> None:
    """It has no life of its own to start and stop with; that of a FastAPI app has a broker, and others are included in one."""

    class OfFastAPI:
        """As `faststream.kafka.fastapi.KafkaRouter`, whose hooks are lists of FastAPI's."""

        broker = KafkaBroker(NOWHERE, logger=None)
        on_shutdown: ClassVar[list[object]] = []

    with pytest.raises(
        SettingsError, match=r"give that, FastStreamGuard\(router.broker, ...\), start .* stop it in router.on_broker_shutdown"
    ):
        FastStreamGuard(OfFastAPI(), needs=[payments()])
    with pytest.raises(SettingsError, match="KafkaRouter of faststream cannot be guarded: it is a router: include it in a broker"):
        FastStreamGuard(KafkaRouter(), needs=[payments()])


async def test_subscribers_of_a_router_are_guarded_by_their_whole_names() -> None:
    """The router may be included later, and has a prefix."""
    router = KafkaRouter(prefix="shop-")

    @router.subscriber("orders", group_id="billing", ack_policy=AckPolicy.MANUAL)
    async def handle(number: int) -> None: ...

    broker = KafkaBroker(NOWHERE, logger=None)
    guarded = FastStreamGuard(FastStream(broker), needs={"shop-orders": [payments()]})
    broker.include_router(router)
    async with guarded:
        assert [worker.name for worker in guarded.guard.workers] == ["shop-orders"]


def test_the_confluent_broker_is_refused_with_the_reason() -> None:
    """Its consumer has no pause."""
    confluent = pytest.importorskip("faststream.confluent", reason="not installed: confluent-kafka")
    with pytest.raises(SettingsError, match="Confluent consumer has no pause"):
        FastStreamGuard(confluent.KafkaBroker(NOWHERE), needs=[payments()])


def test_an_app_without_a_broker_is_refused() -> None:
    """There is nothing to put the middleware into."""
    with pytest.raises(SettingsError, match="no broker yet"):
        FastStreamGuard(FastStream(), needs=[payments()])


def test_the_guard_is_not_there_before_the_start_unless_it_was_given() -> None:
    """Whoever wants to give it a control makes it."""
    broker = KafkaBroker(NOWHERE, logger=None)
    guard = Guard()
    assert FastStreamGuard(broker, needs=[payments()], guard=guard).guard is guard
    with pytest.raises(SettingsError, match="made when the app starts"):
        _ = FastStreamGuard(broker, needs=[payments()]).guard


async def test_a_guard_of_the_callers_stays_the_callers() -> None:
    """One that is entered already is not left, and its other runs go on."""
    async with Guard(signals=False) as guard:
        broker = KafkaBroker(NOWHERE, logger=None)
        guarded = FastStreamGuard(broker, needs=[payments()], guard=guard)

        @broker.subscriber("orders", group_id="billing", ack_policy=AckPolicy.MANUAL)
        async def handle(number: int) -> None: ...

        async with guarded:
            assert len(list(guard.workers)) == 1
        assert not list(guard.workers)
        assert not guard.stopping


async def test_a_guard_of_its_own_starts_again() -> None:
    """An app that stops and starts again, as tests do, has a new guard each time."""
    _, guarded = kafka_app({"orders": [payments()]}, ack_policy=AckPolicy.MANUAL)
    async with guarded:
        first = guarded.guard
    async with guarded:
        assert guarded.guard is not first
        assert list(guarded.guard.dependencies) == ["payments"]


# FastStream's test client reads the source of the function that uses it, to see whether an app starts the broker: one function for each.


async def publish_each(broker: Any) -> None:
    """A handler runs once per message, and what it raises comes out, ten times over: no circuit refuses the next."""
    await broker.publish(1, "orders")
    for _ in range(10):
        with pytest.raises(ValueError, match="13"):
            await broker.publish(13, "orders")


async def test_the_test_client_of_kafka_works_as_without_a_guard() -> None:
    """Nothing can be held there."""
    broker, _ = kafka_app({"orders": [payments()]}, ack_policy=AckPolicy.MANUAL)
    async with TestKafkaBroker(broker):
        await publish_each(broker)


async def test_the_test_client_of_kafka_works_with_an_app() -> None:
    """The guard starts with the app, and still lets everything through."""
    broker = KafkaBroker(NOWHERE, logger=None)
    app = FastStream(broker, logger=None)
    guarded = FastStreamGuard(app, needs={"orders": [payments()]})

    @broker.subscriber("orders", group_id="billing", ack_policy=AckPolicy.MANUAL, listener=guarded.listener)
    async def handle(number: int) -> None:
        if number == 13:
            raise ValueError("13")

    async with TestKafkaBroker(broker), TestApp(app):
        assert not guarded.guard.stopping
        await publish_each(broker)
    assert guarded.guard.stopping


def rabbit_broker() -> RabbitBroker:
    return RabbitBroker(f"amqp://{NOWHERE}", logger=None)


def read_queue(broker: RabbitBroker) -> None:
    @broker.subscriber(RabbitQueue("orders"), channel=Channel(prefetch_count=5), ack_policy=AckPolicy.MANUAL)
    async def handle(number: int) -> None:
        if number == 13:
            raise ValueError("13")


async def test_the_test_client_of_rabbitmq_works_as_without_a_guard() -> None:
    """As on Kafka."""
    broker = rabbit_broker()
    FastStreamGuard(broker, needs={"orders": [payments()]})
    read_queue(broker)
    async with TestRabbitBroker(broker):
        await publish_each(broker)


async def test_the_test_client_of_rabbitmq_works_with_an_app() -> None:
    """As on Kafka."""
    broker = rabbit_broker()
    app = FastStream(broker, logger=None)
    guarded = FastStreamGuard(app, needs={"orders": [payments()]})
    read_queue(broker)
    async with TestRabbitBroker(broker), TestApp(app):
        assert not guarded.guard.stopping
        await publish_each(broker)


def test_a_misspelt_setting_is_named() -> None:
    """As for a Guard's own settings."""
    with pytest.raises(TypeError, match="dead_letters"):
        FastStreamGuard(KafkaBroker(NOWHERE), needs=[], dead_letter=None)  # type: ignore[call-arg]


def test_each_setting_is_explained() -> None:
    """The docstring has a line for each argument."""
    text = inspect.getdoc(FastStreamGuard) or ""
    names = [name for name in inspect.signature(FastStreamGuard.__init__).parameters if name != "self"]
    assert [name for name in names if f"- `{name}`" not in text] == []
