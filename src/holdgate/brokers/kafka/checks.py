"""What is refused or explained: settings that would lose messages, and errors of the client that end an intake.

What an error of the client means: the end of the intake, with a remedy, or something that passes.

Everything about a consumer that would lose or repeat messages, or never end, refused before anything is consumed.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Collection

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.errors import (
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    ConsumerStoppedError,
    GroupAuthorizationFailedError,
    KafkaError,
    NoOffsetForPartitionError,
    RecordTooLargeError,
    TopicAuthorizationFailedError,
)

from holdgate.brokers.kafka.client import Client
from holdgate.errors import IntakeError, SettingsError

STOPPED = (
    "the consumer was stopped while a guard uses it, and what was finished last is not committed:"
    " call guard.stop() first, then consumer.stop()"
)

# A broker that is being restarted may answer with errors that aiokafka does not know for a few seconds; rolling restarts of three
# brokers took up to 35 s.
_LASTING_AFTER = 60.0
# Errors further apart than this are separate ones.
_APART = 10.0
# One eviction of a static member is a loop that was blocked, or a worker that took the id over; three in a minute are a quarrel.
_EVICTIONS = 3
_EVICTED_WITHIN = 60.0


def end_of_intake(error: BaseException, client: Client) -> IntakeError | None:
    """The error to end the intake with; None for one that may pass."""
    text = _meaning(error, client)
    return None if text is None else IntakeError(text)


class Failing:
    """Tells errors that last from those that pass: an error every poll for a minute will not go away."""

    def __init__(self) -> None:
        self._since = 0.0
        self._last = -_APART

    def lasts(self, now: float) -> bool:
        """Note an error at `now` (monotonic seconds); returns whether there was one after the other for a minute."""
        if now - self._last > _APART:
            self._since = now
        self._last = now
        return now - self._since >= _LASTING_AFTER


class Duplicates:
    """Notices a second member with our `group_instance_id`. The two throw each other out at every heartbeat, often without an error."""

    def __init__(self, client: Client, failed: Callable[[BaseException], None]) -> None:
        self._client = client
        self._failed = failed
        self._evictions: deque[float] = deque(maxlen=_EVICTIONS)

    def note(self, now: float) -> None:
        """The group threw this member out at `now` (monotonic seconds)."""
        self._evictions.append(now)
        if self._client.instance_id is not None and len(self._evictions) == _EVICTIONS and now - self._evictions[0] <= _EVICTED_WITHIN:
            self._failed(IntakeError(_duplicate(self._client)))


def _meaning(error: BaseException, client: Client) -> str | None:
    if isinstance(error, TopicAuthorizationFailedError):
        return f"not authorised to read topic {error.args}: allow this user Read and Describe on it"
    if isinstance(error, GroupAuthorizationFailedError):
        return f"not authorised for group {client.group_id!r}: allow this user Read on the group"
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
    """A plain KafkaError: aiokafka wraps what its background tasks met, and only the text tells."""
    text = str(error)
    if isinstance(error, ConsumerStoppedError):
        return STOPPED
    if not isinstance(error, KafkaError):
        return None
    if "Unexpected error during coordination" in text or "Unexpected error during data retrieval" in text:
        return f"aiokafka's background task has died ({text}): this consumer will deliver nothing any more, make a new one"
    if client.instance_id is not None and "UnknownError" in text:
        return _duplicate(client)
    return None


def _duplicate(client: Client) -> str:
    return (
        f"another member with group_instance_id={client.instance_id!r} is in group {client.group_id!r}, and the two throw each other out: "
        "give every worker an instance id of its own"
    )


def check_types(consumer: object, listener: object, on_records_lost: object) -> None:
    """Refuse what is not of its kind, before anything is read off it. Raises SettingsError with the value."""
    if not isinstance(consumer, AIOKafkaConsumer):
        raise SettingsError(
            f"KafkaIntake takes an AIOKafkaConsumer, got {consumer!r}: write KafkaIntake(AIOKafkaConsumer(...), topics=[...])"
        )
    if listener is not None and not isinstance(listener, ConsumerRebalanceListener):
        raise SettingsError(f"listener={listener!r} is no ConsumerRebalanceListener: derive it from aiokafka's class, or leave it out")
    if on_records_lost is not None and not callable(on_records_lost):
        raise SettingsError(f"on_records_lost={on_records_lost!r} cannot be called: give a function that takes a RecordsLost")


def check_consumer(client: Client, *, allow_latest: bool, poll_timeout: float) -> None:
    """Refuse consumers whose settings break a promise. Raises SettingsError, naming the value and the remedy."""
    if client.is_stopped:
        raise SettingsError("this consumer was stopped and cannot be started again: make a new AIOKafkaConsumer")
    if client.group_id is None:
        raise SettingsError("the consumer has group_id=None, so nothing can be committed: give it a group_id, also with assign()")
    if client.auto_commit:
        raise SettingsError(
            "the consumer has enable_auto_commit=True, which commits what was handed out, not what was processed: "
            "set enable_auto_commit=False, the guard commits what its handlers finished"
        )
    if client.reset_policy == "latest" and not allow_latest:
        raise SettingsError(
            "the consumer has auto_offset_reset='latest': a new group skips what waits already, and after a hold longer than retention "
            "it would skip to the end. Set auto_offset_reset='earliest' or 'none', or say allow_latest=True if that is wanted"
        )
    if client.deserializers:
        names = " and ".join(client.deserializers)
        raise SettingsError(
            f"the consumer has a {names}: when it raises, that one record stops the partition for ever and leaves polls miscounted. "
            "Take it out and deserialize in the handler, where an error belongs to the message"
        )
    if not 0 < poll_timeout <= client.max_poll_interval / 2:
        raise SettingsError(
            f"poll_timeout={poll_timeout:g} s must be above 0 and at most half the consumer's max_poll_interval_ms "
            f"({client.max_poll_interval:g} s), or the group throws this member out"
        )


def check_subscription(client: Client, topics: Collection[str] | None, pattern: str | None) -> None:
    """Refuse what cannot be subscribed to. Raises SettingsError, naming both values where two clash."""
    if topics is not None and pattern is not None:
        raise SettingsError(f"topics={sorted(topics)} and pattern={pattern!r} are both given: give one of them")
    if isinstance(topics, str):
        raise SettingsError(f"topics={topics!r} is one string: give a list of names, [{topics!r}]")
    if topics is not None and not topics:
        raise SettingsError("topics is empty: name at least one topic, or leave it out for a consumer that is subscribed already")
    if pattern is not None:
        _check_pattern(pattern)
    wanted = f"topics={sorted(topics)}" if topics is not None else f"pattern={pattern!r}" if pattern is not None else None
    has = _subscription(client)
    if wanted is not None and has is not None:
        raise SettingsError(f"{wanted} is given, and the consumer is {has} already: leave out one of the two")
    if wanted is None and has is None:
        raise SettingsError("neither topics nor pattern is given, and the consumer has no subscription: say topics=[...]")


def check_topics(wanted: Collection[str], existing: frozenset[str] | None, servers: str) -> None:
    """Refuse topics that are not there. Raises IntakeError, naming them. `existing` None: the broker gave no list."""
    if existing is None:
        raise IntakeError(f"the broker at {servers} does not tell which topics there are: check that it is up and its authorisation")
    missing = sorted(set(wanted) - existing)
    if missing:
        raise IntakeError(
            f"no topic {', '.join(map(repr, missing))} at {servers}: create it, correct the name, "
            "or allow this user to describe it (a topic it may not see looks like none)"
        )


def _check_pattern(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise SettingsError(f"pattern={pattern!r} is not a regular expression: {error}") from error


def _subscription(client: Client) -> str | None:
    if client.pattern is not None:
        return f"subscribed to pattern {client.pattern!r}"
    if client.is_assigned_by_hand:
        return f"assigned by hand to {sorted((tp.topic, tp.partition) for tp in client.assignment())}"
    if client.topics:
        return f"subscribed to {sorted(client.topics)}"
    return None
