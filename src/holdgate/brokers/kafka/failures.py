"""What an error of the client means: the end of the intake, with a remedy, or something that passes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

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
from holdgate.errors import IntakeError

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
