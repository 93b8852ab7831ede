"""Checks: which settings of a consumer are refused, and which errors of the client end an intake.

Settings that would lose or repeat messages, or let a run hang, are refused before anything is consumed. An error of aiokafka either ends
the intake, with a text that names the remedy, or may pass.

What is ugly: aiokafka wraps what its background tasks met in a plain KafkaError, so some errors are recognised by their text.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.errors import (
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    CommitFailedError,
    ConsumerStoppedError,
    GroupAuthorizationFailedError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    RecordTooLargeError,
    TopicAuthorizationFailedError,
)

from holdgate.brokers.kafka.client import Client
from holdgate.brokers.topics import check_given
from holdgate.errors import IntakeError, SettingsError

# A commit that ends with one of these has lost its assignment: the callbacks of a rebalance follow.
TOO_LATE = (CommitFailedError, IllegalStateError)

STOPPED = (
    "the consumer was stopped while a guard uses it, so what was finished last is not committed:"
    " call guard.stop() first, then consumer.stop()"
)

# How many evictions within how many seconds mean that two members have one instance id. A single one is a loop that was blocked, or a new
# worker that took the id over.
_EVICTIONS = 3
_EVICTED_WITHIN = 60.0


def end_of_intake(error: BaseException, client: Client) -> IntakeError | None:
    """Return the error that the intake ends with. None means that `error` may pass."""
    text = _meaning(error, client)
    return None if text is None else IntakeError(text)


class DuplicateInstanceId:
    """Notice a second member with our `group_instance_id`: the two evict each other at every heartbeat, often without an error."""

    def __init__(self, client: Client, failed: Callable[[BaseException], None]) -> None:
        self._client = client
        self._failed = failed
        self._evictions: deque[float] = deque(maxlen=_EVICTIONS)

    def note_eviction(self, now: float) -> None:
        """Note that the group evicted this member at `now` (monotonic seconds). Calls `failed` if that happens too often."""
        self._evictions.append(now)
        if self._client.instance_id is not None and len(self._evictions) == _EVICTIONS and now - self._evictions[0] <= _EVICTED_WITHIN:
            self._failed(IntakeError(_duplicate(self._client)))


def _meaning(error: BaseException, client: Client) -> str | None:
    if isinstance(error, TopicAuthorizationFailedError):
        return f"this user is not authorised to read topic {error.args}: allow it Read and Describe on the topic"
    if isinstance(error, GroupAuthorizationFailedError):
        return f"this user is not authorised for group {client.group_id!r}: allow it Read on the group"
    if isinstance(error, (AuthenticationFailedError, ClusterAuthorizationFailedError)):
        return f"the broker at {client.bootstrap_servers} refuses this user ({error!r}): check the SASL settings"
    if isinstance(error, NoOffsetForPartitionError):
        return (
            f"group {client.group_id!r} has no committed offset for {error.args} and auto_offset_reset='none': "
            "commit a starting offset for the group, or set auto_offset_reset='earliest'"
        )
    if isinstance(error, RecordTooLargeError):
        return f"a record is larger than max_partition_fetch_bytes and would be skipped ({error.args}): raise that setting"
    return _meaning_by_text(error, client)


def _meaning_by_text(error: BaseException, client: Client) -> str | None:
    """Return the meaning of an error that only its text identifies, because aiokafka wraps what its background tasks met."""
    text = str(error)
    if isinstance(error, ConsumerStoppedError):
        return STOPPED
    if not isinstance(error, KafkaError):
        return None
    if "Unexpected error during coordination" in text or "Unexpected error during data retrieval" in text:
        return f"aiokafka's background task has died ({text}), so this consumer will deliver nothing any more: make a new one"
    if client.instance_id is not None and "UnknownError" in text:
        return _duplicate(client)
    return None


def _duplicate(client: Client) -> str:
    return (
        f"another member with group_instance_id={client.instance_id!r} is in group {client.group_id!r}, and the two evict each other: "
        "give every worker an instance id of its own"
    )


def check_types(consumer: object, listener: object, on_records_lost: object) -> None:
    """Refuse arguments of the wrong type, before anything of them is read. Raises SettingsError with the value."""
    if not isinstance(consumer, AIOKafkaConsumer):
        raise SettingsError(
            f"consumer must be an AIOKafkaConsumer, got {consumer!r}: write KafkaIntake(AIOKafkaConsumer(...), topics=[...])"
        )
    if listener is not None and not isinstance(listener, ConsumerRebalanceListener):
        raise SettingsError(
            f"listener must be a ConsumerRebalanceListener, got {listener!r}: derive it from aiokafka's class, or leave it out"
        )
    if on_records_lost is not None and not callable(on_records_lost):
        raise SettingsError(f"on_records_lost must be callable, got {on_records_lost!r}: give a function that takes a RecordsLost")


def check_consumer(client: Client, *, allow_latest: bool, poll_timeout: float) -> None:
    """Refuse consumers whose settings would lose or repeat messages. Raises SettingsError, naming the value and the remedy."""
    if client.is_stopped:
        raise SettingsError("the consumer was stopped and cannot be started again: make a new AIOKafkaConsumer")
    if client.group_id is None:
        raise SettingsError("the consumer has group_id=None, so nothing can be committed: give it a group_id, even with assign()")
    if client.auto_commit:
        raise SettingsError(
            "the consumer has enable_auto_commit=True, which commits what was handed out, not what was processed: "
            "set enable_auto_commit=False, the guard commits what its handlers finished"
        )
    if client.reset_policy == "latest" and not allow_latest:
        raise SettingsError(
            "the consumer has auto_offset_reset='latest': a new group skips the messages that wait, and after a hold longer than retention "
            "the consumer skips to the end. Set auto_offset_reset='earliest' or 'none', or give allow_latest=True if you want that"
        )
    if client.deserializers:
        names = " and ".join(client.deserializers)
        raise SettingsError(
            f"the consumer has a {names}: a record for which it raises would stop its partition for ever. "
            "Remove it and deserialize in the handler, where an error counts as a failure of the message"
        )
    if not 0 < poll_timeout <= client.max_poll_interval / 2:
        raise SettingsError(
            f"poll_timeout must be above 0 s and at most half of the consumer's max_poll_interval_ms ({client.max_poll_interval:g} s), "
            f"got {poll_timeout:g} s: the group would evict this member"
        )


def check_subscription(client: Client, topics: Collection[str] | None, pattern: str | None) -> None:
    """Refuse what cannot be subscribed to. Raises SettingsError, naming both values if two clash."""
    check_given(topics, pattern)
    wanted = f"topics={sorted(topics)}" if topics is not None else f"pattern={pattern!r}" if pattern is not None else None
    has = _subscription(client)
    if wanted is not None and has is not None:
        raise SettingsError(f"{wanted} is given, and the consumer is {has} already: leave out one of the two")
    if wanted is None and has is None:
        raise SettingsError("neither topics nor pattern is given, and the consumer has no subscription: give topics=[...]")


def _subscription(client: Client) -> str | None:
    if client.pattern is not None:
        return f"subscribed to pattern {client.pattern!r}"
    if client.is_assigned_by_hand:
        return f"assigned by hand to {sorted((tp.topic, tp.partition) for tp in client.assignment())}"
    if client.topics:
        return f"subscribed to {sorted(client.topics)}"
    return None
