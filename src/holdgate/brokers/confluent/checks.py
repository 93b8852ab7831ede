"""Checks: which errors of librdkafka end an intake, with a text that names the remedy, and which may pass.

librdkafka goes on by itself after nearly everything: a broker that is away, a coordinator that moves, an eviction. What it reports as a
message's error, or beside the polls, is for people. A few errors will not pass.
"""

from __future__ import annotations

import logging

from confluent_kafka import KafkaError

from holdgate.brokers.confluent.settings import ConsumerSettings
from holdgate.errors import IntakeError

log = logging.getLogger(__name__)

# librdkafka's own errors have names that begin with an underscore.
_MAX_POLL_EXCEEDED = KafkaError._MAX_POLL_EXCEEDED  # noqa: SLF001
_AUTHENTICATION = {
    KafkaError._AUTHENTICATION,  # noqa: SLF001
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.UNSUPPORTED_SASL_MECHANISM,
}
# A fatal error comes by `error_cb` alone, and polls stay empty from then on; what it was is in its text.
_FATAL = KafkaError._FATAL  # noqa: SLF001
_FENCED = "group.instance.id"
_DUPLICATE = {KafkaError.FENCED_INSTANCE_ID, KafkaError.UNRELEASED_INSTANCE_ID}
_PROTOCOL = {KafkaError.INCONSISTENT_GROUP_PROTOCOL, KafkaError.UNSUPPORTED_ASSIGNOR, KafkaError.GROUP_ID_NOT_FOUND}
_UNSUPPORTED = {KafkaError.UNSUPPORTED_VERSION, KafkaError._UNSUPPORTED_FEATURE}  # noqa: SLF001
_MISSING = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_EXCEPTION}


def end_of_intake(error: KafkaError, settings: ConsumerSettings) -> IntakeError | None:
    """Return the error that the intake ends with. None means that `error` may pass."""
    text = _refusal(error, settings) or _disagreement(error, settings)
    if text is None and (error.fatal() or error.code() == _FATAL):
        text = f"librdkafka has ended this consumer ({error.str()}): make a new intake"
    return None if text is None else IntakeError(text)


def _refusal(error: KafkaError, settings: ConsumerSettings) -> str | None:
    """Return what to do when the broker refuses this user. None means that it is another error."""
    code = error.code()
    if code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        return f"this user is not authorised to read a topic ({error.str()}): allow it Read and Describe on the topic"
    if code == KafkaError.GROUP_AUTHORIZATION_FAILED:
        return f"this user is not authorised for group {settings.group_id!r}: allow it Read on the group"
    if code in _AUTHENTICATION:
        return f"the broker at {settings.bootstrap_servers} refuses this user ({error.name()}): check the SASL settings"
    return None


def _disagreement(error: KafkaError, settings: ConsumerSettings) -> str | None:
    """Return what to do when other members, or the broker, want it otherwise. None means that it is another error."""
    code, group = error.code(), settings.group_id
    if code in _DUPLICATE or (code == _FATAL and _FENCED in error.str()):
        return (
            f"another member with group.instance.id={settings.instance_id!r} is in group {group!r}: "
            "give every worker an instance id of its own"
        )
    if code in _PROTOCOL:
        return (
            f"group {group!r} has members with another way to share partitions ({error.str()}): give all of them the same "
            "partition.assignment.strategy, or group.protocol='consumer', beside which others may be"
        )
    if code in _UNSUPPORTED and settings.is_of_new_protocol:
        return "the broker does not know group.protocol='consumer': it needs Kafka 4.0 or newer; leave the setting out"
    return None


def is_missing_topic(error: KafkaError) -> bool:
    """Return whether a topic is not there, or not yet for this client: the broker's list of topics tells."""
    return error.code() in _MISSING


def tell(error: KafkaError, settings: ConsumerSettings) -> None:
    """Log an error that may pass."""
    if error.code() == _MAX_POLL_EXCEEDED:
        stays = " The broker gives its partitions to others when the session is over, 45 s later" if settings.is_of_new_protocol else ""
        log.warning(
            "no poll for max.poll.interval.ms (%g s), so librdkafka says that it leaves the group.%s It joins again by itself",
            settings.max_poll_interval, stays,
        )  # fmt: skip
    else:
        log.warning("librdkafka reports %s: %s", error.name(), error.str())
