"""What an outage costs the subscribers of a FastStream app as they are: by their acknowledgement policy, their prefetch and their group.

Everything is read from the app's subscribers, by their public names where there are any, and no broker is asked. FastStream is not imported
here: the app has brought it along. The rules are those of FastStream 0.7.8: `faststream/middlewares/acknowledgement` says what each policy
does with an exception, and the message class of each broker what that means there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from holdgate.brokers.costs import given_up, hot_loop, plain
from holdgate.cli.commands import Refusal
from holdgate.cli.doctor.loading import AppFinding, is_ours, of_guarded

# What the packages of the brokers are called in words.
_BROKERS = {"kafka": "Kafka", "confluent": "Kafka", "rabbit": "RabbitMQ", "nats": "NATS", "redis": "Redis", "mqtt": "MQTT"}


def costs(app: Any, outage: float) -> list[AppFinding]:
    """Return what an outage of so many seconds would cost. Raises Refusal for anything but a FastStream app or broker."""
    brokers: list[Any] = list(getattr(app, "brokers", [app] if hasattr(app, "subscribers") else []))
    if not brokers:
        kind = f"this is a {type(app).__name__}, and no FastStream app with a broker"
        raise Refusal(f"{kind}: name the object that was made with FastStream(broker), or the broker")
    subscribers = [each for broker in brokers for each in broker.subscribers if each.calls]
    if not subscribers:
        text = "it has no subscribers: import the modules that have them where the app is made"
        return [AppFinding(type(app).__name__, text, refused=True, cost=False)]
    middlewares = [each for broker in brokers for each in broker.config.broker_middlewares]
    # A guard is the one that its middleware asks for what it does not know.
    guards = dict.fromkeys(each.otherwise for each in middlewares if is_ours(each))
    return [
        *of_guarded("FastStreamGuard", guards),
        *(AppFinding(_name(each), text) for each in subscribers for text in _of_subscriber(each, outage)),
    ]


def _of_subscriber(subscriber: Any, outage: float) -> Iterator[str]:
    kind = _kind(subscriber)
    policy: str = subscriber.ack_policy.name
    if kind in ("kafka", "confluent"):
        yield _on_kafka(policy, outage)
        if not getattr(subscriber, "group_id", None):
            yield "it has no group_id, so nothing is committed: a restart in the outage begins at auto_offset_reset, and skips or repeats"
    elif kind == "rabbit":
        yield _on_rabbitmq(policy, outage)
        yield from _prefetch(subscriber)
    else:
        yield f"AckPolicy.{policy} on {_BROKERS.get(kind, kind)}: holdgate knows Kafka and RabbitMQ alone, and not what it means there"


def _on_kafka(policy: str, outage: float) -> str:
    if policy == "ACK_FIRST":
        return f"AckPolicy.ACK_FIRST, the default here, commits a record before its handler has run: {_all(outage)}"
    if policy in ("ACK", "REJECT_ON_ERROR"):
        return f"AckPolicy.{policy} commits a record whose handler has failed as one that is done: {_all(outage)}"
    if policy == "NACK_ON_ERROR":
        return (
            "AckPolicy.NACK_ON_ERROR seeks back to a record whose handler has failed, and fetches it again without a wait: "
            f"{hot_loop(outage)}. No record is lost, and everything behind it in its partition waits"
        )
    return (
        "AckPolicy.MANUAL: the handler settles. Where an exception leaves it unsettled the consumer goes on, and the next commit is past "
        f"the record: {_all(outage)}"
    )


def _on_rabbitmq(policy: str, outage: float) -> str:
    if policy == "ACK_FIRST":
        return f"AckPolicy.ACK_FIRST acks a message before its handler has run: {_all(outage)}"
    if policy == "ACK":
        return f"AckPolicy.ACK acks a message whose handler has failed as one that is done: {_all(outage)}"
    if policy == "REJECT_ON_ERROR":
        return (
            "AckPolicy.REJECT_ON_ERROR, the default here, rejects a message whose handler has failed: it goes to the queue's dead letters, "
            f"or is dropped where it has none: {_all(outage)}"
        )
    if policy == "NACK_ON_ERROR":
        return (
            "AckPolicy.NACK_ON_ERROR returns a message whose handler has failed, and gets it again without a wait: "
            f"{hot_loop(outage)}. Before RabbitMQ 4.3 a quorum queue may have a limit of returns: holdgate doctor rabbitmq QUEUE --outage "
            f"{plain(outage)} says after how many a message is gone"
        )
    return (
        "AckPolicy.MANUAL: the handler settles. Where an exception leaves a message unsettled it stays in hand until the channel closes: "
        "when the prefetch is full, nothing comes any more"
    )


def _all(outage: float) -> str:
    return given_up(0.0, outage)


def _prefetch(subscriber: Any) -> Iterator[str]:
    if not getattr(getattr(subscriber, "channel", None), "prefetch_count", None):
        yield "it has no prefetch (channel=Channel(prefetch_count=...)): all that waits goes to the process immediately, unacked"


def _kind(subscriber: Any) -> str:
    """Return the package of its broker, as in faststream.kafka."""
    for base in type(subscriber).__mro__:
        first, *rest = base.__module__.split(".")
        if first == "faststream" and rest and rest[0] in _BROKERS:
            return rest[0]
    return type(subscriber).__module__


def _name(subscriber: Any) -> str:
    if _kind(subscriber) == "rabbit":
        return str(subscriber.queue.name)
    names = getattr(subscriber, "topic_names", None) or getattr(subscriber, "topics", None)
    return "+".join(map(str, names)) if names else type(subscriber).__name__
