"""A scenario: who works, on what, with which dependencies, and what goes wrong when. Plain frozen data that a TOML file can express.

Every time is in seconds from the beginning of the run. Faults and membership are timelines; where several faults of one dependency are
active at once, all of them apply.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from holdgate.core import CircuitSettings, validation
from holdgate.errors import SettingsError
from holdgate.flow.inbox import Order
from holdgate.flow.policy import RetryPolicy

FaultKind = Literal["refuse", "hang", "slow", "errors", "capacity", "cold", "flap", "key"]
MemberEventKind = Literal["join", "leave", "kill", "freeze", "drop"]
PoisonKind = Literal["dependency", "message", "reject"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """One Kafka topic: `backlog` messages wait at the beginning, `rate` more come per second, evenly.

    `needs` names dependencies; a message calls each of them once, in that order. `keys`: how many keys there are, dealt in turn; 0: none.
    `poison`: numbers of messages of this topic, from 0 in the order produced, that can never be processed; `poison_ratio`: the share of
    all others that cannot either, by chance. `poison_as`: how they fail: as their first dependency does, by their own error, or by Reject.
    `gap`: offsets after each message that hold nothing, as the markers of transactions do.
    """

    name: str
    needs: tuple[str, ...] = ()
    partitions: int = 1
    gap: int = 0
    backlog: int = 0
    rate: float = 0.0
    keys: int = 0
    poison: tuple[int, ...] = ()
    poison_ratio: float = 0.0
    poison_as: PoisonKind = "dependency"  # the hard case: it looks like an outage

    def __post_init__(self) -> None:
        validation.count(f"topic {self.name!r} partitions", self.partitions)
        if self.gap < 0:
            raise SettingsError(f"topic {self.name!r}: gap={self.gap} must not be negative")
        _check_stream("topic", self)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSpec:
    """One RabbitMQ queue; what it has in common with a topic means the same.

    `delivery_limit`: a message that came back more often is dead; None: no limit (a classic queue). `nack_counts`: whether a nack counts
    towards it (3.10 to 4.2 yes, 4.3 no). `single_active`: one worker at a time, in order.
    """

    name: str
    needs: tuple[str, ...] = ()
    backlog: int = 0
    rate: float = 0.0
    keys: int = 0
    poison: tuple[int, ...] = ()
    poison_ratio: float = 0.0
    poison_as: PoisonKind = "dependency"
    delivery_limit: int | None = 20  # what a quorum queue has from RabbitMQ 4.0 on unless told otherwise
    nack_counts: bool = True  # so do all versions that most people run
    single_active: bool = False

    def __post_init__(self) -> None:
        if self.delivery_limit is not None:
            validation.count(f"queue {self.name!r} delivery_limit", self.delivery_limit)
        _check_stream("queue", self)


@dataclass(frozen=True, slots=True, kw_only=True)
class DependencySpec:
    """One dependency, and the circuit settings of every worker for it.

    A call takes `latency` seconds, times U(1 - spread, 1 + spread), as long as at most `capacity` calls are in it; beyond, with
    q = calls in it / capacity, times q * (1 + (q - 1) / 20). `capacity` None: never more than `latency`. Callers give up after `timeout`;
    the call goes on occupying the dependency. `probe`: it has a health probe, which is one more call.
    A dependency named "dead letters" that nothing needs is where dead letters go: one call for each.
    """

    name: str
    capacity: int | None = None
    latency: float = 0.05  # a call to a service in the same region
    spread: float = 0.1
    timeout: float = 1.0  # twenty times the usual latency
    probe: bool = False
    circuit: CircuitSettings = CircuitSettings()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        where = f"dependency {self.name!r}"
        if self.capacity is not None:
            validation.count(f"{where} capacity", self.capacity)
        validation.seconds(f"{where} latency", self.latency)
        validation.seconds(f"{where} timeout", self.timeout)
        if not 0 <= self.spread < 1:
            raise SettingsError(f"{where} spread={self.spread!r} must be in [0, 1), a ratio and not percent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with one dependency from second `at` until second `until`.

    refuse: every call fails within `latency` seconds. hang: no call is answered before the end. slow: calls take `factor` times as long.
    errors: the share `ratio` of calls fails, in its usual time. capacity: only the share `ratio` of its capacity is there. cold: its share
    of capacity is ratio + (1 - ratio) * (1 - e^(-served / warm_up)), with the calls it has served since `at`. flap: refuses for `down`
    seconds, is well for `up` seconds, and again, down first. key: calls for messages of key number `key` fail.
    """

    at: float
    until: float
    dependency: str
    kind: FaultKind
    latency: float = 0.02  # a refused connection, a 503 of a load balancer
    factor: float = 10.0
    ratio: float = 0.5
    warm_up: float = 6000.0  # calls
    down: float = 20.0
    up: float = 4.0
    key: int = 0

    def __post_init__(self) -> None:
        where = f"fault {self.kind!r} of {self.dependency!r} at {self.at:g} s"
        if not 0 <= self.at < self.until:
            raise SettingsError(f"{where} ends at {self.until:g}: it must begin at 0 or later and end after that")
        for name in ("latency", "factor", "warm_up", "down", "up"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"{where}: {name}={getattr(self, name)!r} must be above 0")
        if not 0 < self.ratio <= 1:
            raise SettingsError(f"{where}: ratio={self.ratio!r} must be in (0, 1], a ratio and not percent")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberEvent:
    """What happens to one worker, by its number from 0, at second `at`.

    join: it starts (again). leave: it drains and ends, as at SIGTERM. kill: it is gone at once, as at SIGKILL; the broker finds out by
    itself. freeze: it does nothing for `seconds`, as at SIGSTOP, and then goes on. drop: its connections break; it comes back at once.
    """

    at: float
    worker: int
    kind: MemberEventKind
    seconds: float = 30.0  # of a freeze: past every session timeout that is usual

    def __post_init__(self) -> None:
        if self.at < 0 or self.worker < 0 or not self.seconds > 0:
            raise SettingsError(
                f"{self.kind} of worker {self.worker} at {self.at:g} s for {self.seconds:g} s: at and worker from 0, seconds above"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One run of `seconds`, sampled every `sample_every` seconds.

    `workers` start at the beginning; `members` tells who comes and goes later. Each worker reads all topics by one consumer group and all
    queues, and works on them with the given `order`, `concurrency`, `span`, `inbox` (per partition), `prefetch` (per queue), `retry` and
    `timeout`; None means what the guard takes by itself. `dead_letters`: rejected messages have somewhere to go; without, a partition
    blocks and a queue drops them. `session_timeout`: until the group notices that a worker is gone. Raises SettingsError.
    """

    name: str
    seconds: float
    topics: tuple[TopicSpec, ...] = ()
    queues: tuple[QueueSpec, ...] = ()
    dependencies: tuple[DependencySpec, ...] = ()
    faults: tuple[Fault, ...] = ()
    members: tuple[MemberEvent, ...] = ()
    description: str = ""
    sample_every: float = 1.0
    workers: int = 1
    concurrency: int | None = None
    order: Order | None = None
    span: int = 1000
    inbox: int = 500
    prefetch: int = 50
    timeout: float | None = None
    retry: RetryPolicy = RetryPolicy()  # noqa: RUF009 - frozen
    dead_letters: bool = True
    commit_every: float = 1.0
    session_timeout: float = 10.0  # aiokafka's
    rebalance_timeout: float = 10.0  # aiokafka's: its session timeout
    drain_timeout: float = 25.0  # Kubernetes kills at 30

    def __post_init__(self) -> None:
        for name in ("seconds", "sample_every", "commit_every", "session_timeout", "rebalance_timeout", "drain_timeout"):
            validation.seconds(name, getattr(self, name))
        for name in ("workers", "span", "inbox", "prefetch"):
            validation.count(name, getattr(self, name))
        known = _once("dependency", (spec.name for spec in self.dependencies))
        _once("topic or queue", (stream.name for stream in self.streams))
        for stream in self.streams:
            _check_known(f"{stream.name!r} needs", stream.needs, known)
        for fault in self.faults:
            _check_known(f"the fault {fault.kind!r} at {fault.at:g} s is of", (fault.dependency,), known)

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Topics and queues."""
        return (*self.topics, *self.queues)

    @property
    def topic_order(self) -> Order:
        """The order in which topics are worked on."""
        return self.order or "source"

    @property
    def queue_order(self) -> Order:
        """The order in which queues are worked on: what RabbitMQ promises is an order only with single active consumers."""
        usual: Order = "source" if all(spec.single_active for spec in self.queues) else "none"
        return self.order or usual


Stream = TopicSpec | QueueSpec


def _check_stream(what: str, stream: Stream) -> None:
    where = f"{what} {stream.name!r}"
    if stream.backlog < 0 or stream.rate < 0 or stream.keys < 0:
        raise SettingsError(f"{where}: backlog={stream.backlog}, rate={stream.rate:g} and keys={stream.keys} must not be negative")
    if not 0 <= stream.poison_ratio < 1:
        raise SettingsError(f"{where}: poison_ratio={stream.poison_ratio!r} must be in [0, 1), a ratio and not percent")


def _once(what: str, names: Iterable[str]) -> frozenset[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise SettingsError(f"two are named {name!r}: give each {what} its own name")
        seen.add(name)
    return frozenset(seen)


def _check_known(what: str, names: Iterable[str], known: frozenset[str]) -> None:
    unknown = sorted(set(names) - known)
    if unknown:
        raise SettingsError(f"{what} {unknown}, and the dependencies are {sorted(known)}")
