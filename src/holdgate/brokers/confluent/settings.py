"""The settings of a consumer of librdkafka: what is read of them, what is refused, and what is put in where nothing is said.

librdkafka tells nobody the settings of a consumer that is made. So the intake takes the settings, and makes the consumer. Settings that
would lose or repeat messages are refused before anything is consumed.

What an intake sets that has no value, each with its reason:

- `enable.auto.commit`, `enable.auto.offset.store`: off. Both take for processed what was handed out.
- `auto.offset.reset`: `earliest`, whatever the user says. What the user says is for a group without a committed offset, and the intake asks
  for these itself when partitions are assigned (membership.py). What is left to librdkafka is an offset that the log does not have any
  more, and there `latest` would jump to the end, past all that still exists.
- `enable.partition.eof`: on. An event at the end of the log tells where a transaction's marker has moved it, and nothing else does.
- `queued.min.messages`, `queued.max.messages.kbytes`: a small part of librdkafka's own 100,000 messages and 64 MB. What it has fetched
  ahead is thrown away at each pause, seek and rebalance, and fetched again.
- `fetch.queue.backoff.ms`: with a queue so short, a second without a fetch would be a second without messages.
- `fetch.wait.max.ms`: what is resumed waits for the long poll that is under way.
- `statistics.interval.ms`: 0, as librdkafka has it: they cost time, and nobody here reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdgate.errors import SettingsError

# In milliseconds and bytes, as librdkafka has them where nobody sets them.
_MAX_POLL_INTERVAL = 300_000
_SESSION_TIMEOUT = 45_000
_HEARTBEAT_INTERVAL = 3_000
_PARTITION_FETCH = 1_048_576

_QUEUED_MESSAGES = 1_000  # two polls of a batch of 500: what a fetch has to be ahead of
_QUEUED_KBYTES = 16_384
_QUEUE_BACKOFF = 10
_FETCH_WAIT = 100

# With `group.protocol=consumer` the broker has these for the whole group, and librdkafka refuses them: 45 s and 5 s unless the broker's
# group.consumer.session.timeout.ms and group.consumer.heartbeat.interval.ms say otherwise.
_CONSUMER_SESSION_TIMEOUT = 45_000
_CONSUMER_HEARTBEAT_INTERVAL = 5_000

_NEEDS_MAPPING = "write ConfluentIntake({'bootstrap.servers': ..., 'group.id': ...}, topics=[...])"
_LATEST = {"latest", "largest", "end"}
_EARLIEST = {"earliest", "smallest", "beginning"}
_CALLBACKS = ("on_commit", "offset_commit_cb", "rebalance_cb")
_DESERIALIZERS = ("key.deserializer", "value.deserializer")

# What a client that reads nothing has no use for, and warns of.
_CONSUMERS_OWN = (
    "auto.", "check.crcs", "consume.", "enable.", "fetch.", "group.", "heartbeat.", "isolation.", "max.partition.", "max.poll.",
    "offset.store.", "on_commit", "partition.assignment.", "queued.", "session.", "statistics.", "stats_cb", "throttle_cb",
)  # fmt: skip


class ConsumerSettings:
    """The settings of one consumer. `given` are librdkafka's, by their names with dots. Raises SettingsError if that is no mapping."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        if not isinstance(given, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - users without types give consumers here
            raise SettingsError(f"settings must be a mapping of librdkafka's settings, got {type(given).__name__}: {_NEEDS_MAPPING}")
        self._given = dict(given)

    @property
    def group_id(self) -> str:
        return str(self._given.get("group.id") or "")

    @property
    def instance_id(self) -> str | None:
        return self._given.get("group.instance.id") or None

    @property
    def bootstrap_servers(self) -> str:
        return str(self._given.get("bootstrap.servers") or self._given.get("metadata.broker.list") or "")

    @property
    def reset_policy(self) -> str:
        """Where a group without a committed offset begins: "earliest", "latest" or "none"."""
        text = str(self._given.get("auto.offset.reset", "latest")).lower()
        return "latest" if text in _LATEST else "earliest" if text in _EARLIEST else "none"

    @property
    def reads_committed(self) -> bool:
        return str(self._given.get("isolation.level", "read_committed")) == "read_committed"

    @property
    def is_of_new_protocol(self) -> bool:
        """Whether the broker assigns the partitions (KIP-848)."""
        return str(self._given.get("group.protocol", "classic")).lower() == "consumer"

    @property
    def is_incremental(self) -> bool:
        """Whether a rebalance tells what comes and goes, and leaves the rest in place. Else each revokes everything first."""
        return self.is_of_new_protocol or "cooperative" in str(self._given.get("partition.assignment.strategy", ""))

    @property
    def max_poll_interval(self) -> float:
        return self._milliseconds("max.poll.interval.ms", _MAX_POLL_INTERVAL)

    @property
    def session_timeout(self) -> float:
        """The seconds without a heartbeat after which the group gives this member's partitions to others."""
        if self.is_of_new_protocol:
            return _CONSUMER_SESSION_TIMEOUT / 1000
        return self._milliseconds("session.timeout.ms", _SESSION_TIMEOUT)

    @property
    def heartbeat_interval(self) -> float:
        if self.is_of_new_protocol:
            return _CONSUMER_HEARTBEAT_INTERVAL / 1000
        return self._milliseconds("heartbeat.interval.ms", _HEARTBEAT_INTERVAL)

    @property
    def rebalance_timeout(self) -> float:
        """The seconds in which a member gives partitions back.

        librdkafka lets the group wait for max.poll.interval.ms, five minutes. So long all others would stand still for one handler that
        hangs. A session is what aiokafka takes.
        """
        return min(self.max_poll_interval, self.session_timeout)

    @property
    def partition_fetch(self) -> int:
        """The bytes that one fetch of a partition has at most."""
        names = ("max.partition.fetch.bytes", "fetch.message.max.bytes")
        return next((int(self._given[name]) for name in names if name in self._given), _PARTITION_FETCH)

    def of_user(self, name: str) -> Any:
        """Return a setting as the user has given it. None means that it is not given."""
        return self._given.get(name)

    def for_consumer(self, read_ahead: int | None, **callbacks: Any) -> dict[str, Any]:
        """Return what the consumer is made of. `read_ahead`: how many bytes it may fetch ahead; None means as the settings say."""
        usual: dict[str, Any] = {
            "fetch.queue.backoff.ms": _QUEUE_BACKOFF,
            "fetch.wait.max.ms": _FETCH_WAIT,
            "queued.max.messages.kbytes": _QUEUED_KBYTES,
            "queued.min.messages": _QUEUED_MESSAGES,
            "statistics.interval.ms": 0,
        }
        fixed = {
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
        }
        made = {**usual, **self._given, **fixed, **callbacks}
        if read_ahead is not None:
            made["queued.max.messages.kbytes"] = max(1, min(int(made["queued.max.messages.kbytes"]), read_ahead // 1024))
        return made

    def for_admin(self) -> dict[str, Any]:
        """Return what a client of the same cluster is made of that reads nothing."""
        made = {name: value for name, value in self._given.items() if not name.startswith(_CONSUMERS_OWN)}
        return {**made, "client.id": f"{made.get('client.id', 'rdkafka')}-holdgate"}

    def _milliseconds(self, name: str, usual: int) -> float:
        return float(self._given.get(name, usual)) / 1000


def check_settings(settings: ConsumerSettings, *, allow_latest: bool, poll_timeout: float) -> None:
    """Refuse settings that would lose or repeat messages. Raises SettingsError, naming the value and the remedy."""
    if not settings.bootstrap_servers:
        raise SettingsError("the settings have no bootstrap.servers: say where the brokers are")
    if not settings.group_id:
        raise SettingsError("the settings have no group.id, so nothing can be committed: give them a group.id")
    for name in ("enable.auto.commit", "enable.auto.offset.store"):
        if _is_on(settings.of_user(name)):
            raise SettingsError(
                f"the settings have {name}={settings.of_user(name)!r}, which commits what was handed out, not what was processed: "
                f"leave it out or set it to False, the guard commits what its handlers finished"
            )
    if settings.reset_policy == "latest" and not allow_latest:
        given = settings.of_user("auto.offset.reset")
        has = "no auto.offset.reset, and librdkafka's is 'latest'" if given is None else f"auto.offset.reset={given!r}"
        raise SettingsError(
            f"the settings have {has}: a new group skips the messages that wait. "
            "Set auto.offset.reset='earliest' or 'error', or give allow_latest=True if you want that"
        )
    _check_callbacks(settings)
    if not 0 < poll_timeout <= settings.max_poll_interval / 2:
        raise SettingsError(
            f"poll_timeout must be above 0 s and at most half of max.poll.interval.ms ({settings.max_poll_interval:g} s), "
            f"got {poll_timeout:g} s: the group would evict this member"
        )


def _check_callbacks(settings: ConsumerSettings) -> None:
    deserializers = [name for name in _DESERIALIZERS if settings.of_user(name) is not None]
    if deserializers:
        raise SettingsError(
            f"the settings have a {' and '.join(deserializers)}: a record for which it raises would stop its partition for ever. "
            "Remove it and deserialize in the handler, where an error counts as a failure of the message"
        )
    taken = [name for name in _CALLBACKS if settings.of_user(name) is not None]
    if taken:
        raise SettingsError(f"the settings have {' and '.join(taken)}, and the guard owns the commits and the rebalances: remove it")


def _is_on(value: object) -> bool:
    return value is not None and str(value).lower() in {"true", "1", "t"}
