"""What an outage costs a FastStream app, by the subscribers of real apps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("faststream", reason="faststream is not installed: pip install 'holdgate[faststream]'")

from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker
from faststream.rabbit import Channel, RabbitBroker
from tests.cli.runner import invoke

from holdgate import Dependency
from holdgate.cli.commands import Refusal
from holdgate.cli.doctor.faststream_app import costs
from holdgate.integrations.faststream import FastStreamGuard

HOUR = 3600.0
ALL = "all that comes in the outage is given up, 100 of 100 messages"


def on_kafka(**options: Any) -> str:
    broker = KafkaBroker("localhost:9092")

    @broker.subscriber("orders", **options)
    async def handle(message: str) -> None: ...

    return _said(FastStream(broker))


def on_rabbitmq(**options: Any) -> str:
    broker = RabbitBroker("amqp://user:secret@localhost/")

    @broker.subscriber("orders", **options)
    async def handle(message: str) -> None: ...

    return _said(FastStream(broker))


def _said(app: FastStream) -> str:
    found = costs(app, HOUR)
    assert {each.about for each in found} == {"orders"}
    return "\n".join(each.text for each in found)


@pytest.mark.filterwarnings("ignore:AckPolicy.REJECT_ON_ERROR:UserWarning")  # FastStream's own: it is the same as ACK
@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (AckPolicy.ACK_FIRST, f"commits a record before its handler has run: {ALL}"),
        (AckPolicy.ACK, f"commits a record whose handler has failed as one that is done: {ALL}"),
        (AckPolicy.REJECT_ON_ERROR, f"commits a record whose handler has failed as one that is done: {ALL}"),
        (AckPolicy.NACK_ON_ERROR, "3600 s / 0.01 s a turn = 360,000 calls that fail"),
        (AckPolicy.MANUAL, "the next commit is past the record"),
    ],
)
def test_each_policy_on_kafka(policy: AckPolicy, words: str) -> None:
    """Named, with what becomes of a record whose handler fails."""
    text = on_kafka(ack_policy=policy, group_id="charging")
    assert text.startswith(f"AckPolicy.{policy.name}")
    assert words in text
    assert "group_id" not in text


def test_the_default_on_kafka_loses() -> None:
    """And without a group nothing is committed."""
    text = on_kafka()
    assert text.startswith("AckPolicy.ACK_FIRST, the default here")
    assert "it has no group_id" in text


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (AckPolicy.ACK_FIRST, f"acks a message before its handler has run: {ALL}"),
        (AckPolicy.ACK, f"acks a message whose handler has failed as one that is done: {ALL}"),
        (AckPolicy.REJECT_ON_ERROR, f"goes to the queue's dead letters, or is dropped where it has none: {ALL}"),
        (AckPolicy.NACK_ON_ERROR, "3600 s / 0.01 s a turn = 360,000 calls that fail"),
        (AckPolicy.MANUAL, "when the prefetch is full, nothing comes any more"),
    ],
)
def test_each_policy_on_rabbitmq(policy: AckPolicy, words: str) -> None:
    """Named, with what becomes of a message whose handler fails."""
    text = on_rabbitmq(ack_policy=policy, channel=Channel(prefetch_count=10))
    assert text.startswith(f"AckPolicy.{policy.name}")
    assert words in text
    assert "no prefetch" not in text


def test_the_default_on_rabbitmq_rejects_without_a_prefetch() -> None:
    """All that waits comes into the process."""
    text = on_rabbitmq()
    assert text.startswith("AckPolicy.REJECT_ON_ERROR, the default here")
    assert "it has no prefetch (channel=Channel(prefetch_count=...))" in text


def test_a_broker_will_do() -> None:
    """Without an app around it."""
    broker = KafkaBroker("localhost:9092")

    @broker.subscriber("orders", "mails", group_id="g")
    async def handle(message: str) -> None: ...

    (found,) = costs(broker, HOUR)
    assert found.about == "orders+mails"


def test_an_app_with_a_guard_says_so_first() -> None:
    """Its costs are those of an outage of anything else."""
    broker = KafkaBroker("localhost:9092")

    @broker.subscriber("orders", group_id="g", ack_policy=AckPolicy.MANUAL)
    async def handle(message: str) -> None: ...

    app = FastStream(broker)
    assert costs(app, HOUR)[0].about == "orders"
    FastStreamGuard(app, needs=[Dependency("payments")])
    first, *rest = costs(app, HOUR)
    assert first.text.startswith("it has a FastStreamGuard: an outage of what its messages need costs none of what follows")
    assert [each.about for each in rest] == ["orders"]


def test_an_app_that_its_guard_refuses_says_so() -> None:
    """The guard is in, and the policy is still the default: the app does not start, so nothing is said of a hold."""
    broker = KafkaBroker("localhost:9092")

    @broker.subscriber("orders", group_id="g")
    async def handle(message: str) -> None: ...

    app = FastStream(broker)
    FastStreamGuard(app, needs=[Dependency("payments")])
    first, *_ = costs(app, HOUR)
    assert (first.refused, first.cost) == (True, False)
    assert first.text.startswith("it has a FastStreamGuard, and does not start with it: the subscriber of orders has AckPolicy.ACK_FIRST")
    assert first.text.endswith("give it ack_policy=AckPolicy.MANUAL")


def test_what_cannot_be_looked_at_is_refused() -> None:
    """No app; an app without a broker; a broker without subscribers."""
    for wrong in ({}, FastStream()):
        with pytest.raises(Refusal, match="and no FastStream app with a broker"):
            costs(wrong, HOUR)
    (empty,) = costs(FastStream(KafkaBroker("localhost:9092")), HOUR)
    assert (empty.about, empty.refused) == ("FastStream", True)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of the repository before it is guarded: its records would be lost."""
    monkeypatch.chdir(Path(__file__).parents[3] / "examples")
    shown = invoke("doctor", "faststream", "faststream_kafka_before:app")
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert "orders, an outage: AckPolicy." in shown.stdout
    assert invoke("doctor", "faststream", "faststream_kafka_before:nothing").exit_code == 2
