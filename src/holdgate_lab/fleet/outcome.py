"""What came of a simulated run: totals, a timeline of samples, and every invariant that was broken. Frozen, and the same for one seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from holdgate.core import State

WorkerKind = Literal["holdgate", "naive", "one probe", "ten probes"]
WORKER_KINDS: tuple[WorkerKind, ...] = ("holdgate", "naive", "one probe", "ten probes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Counts over the whole run.

    `produced`: messages that came to be. `processed`: those whose handler succeeded, each once. `duplicates`: successes of a message beyond
    its first. `dead_lettered`: rejected ones that reached the dead letters, or that the broker put aside as dead; `wrongly_dead_lettered`:
    those of them that were no poison. `lost`: neither processed nor dead-lettered, and never delivered again. `unfinished`: not processed
    at the end, and in no danger. `calls`: to dependencies; `failed_calls`: refused, failed or given up; `wasted_calls`: the failed ones
    made for messages that were no poison. `rebalances`: new generations of the group after the first. `redeliveries`: how often a message
    was delivered again; `delivery_counts`: the counts that queues have raised; `highest_delivery_count`: the most that one message has.
    """

    produced: int = 0
    processed: int = 0
    duplicates: int = 0
    dead_lettered: int = 0
    wrongly_dead_lettered: int = 0
    lost: int = 0
    unfinished: int = 0
    calls: int = 0
    failed_calls: int = 0
    wasted_calls: int = 0
    rebalances: int = 0
    redeliveries: int = 0
    delivery_counts: int = 0
    highest_delivery_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DependencySample:
    """One dependency at one moment, and since the sample before it.

    `state`: the worst of the living workers (OPEN, then HALF_OPEN, then CLOSED); `open_workers` and `half_open_workers` count them.
    `limit`: the sum of what workers in half-open admit at a time; None when none is half-open. `in_flight`: calls that occupy it now,
    those whose callers gave up included. `calls` and `failures` began and ended since the last sample. `is_faulty`: a fault is active.
    """

    state: State
    open_workers: int
    half_open_workers: int
    limit: int | None
    in_flight: int
    calls: int
    failures: int
    is_faulty: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSample:
    """One topic or queue at one moment: `backlog` messages are not processed yet, `held` of its sources are held by some worker, and
    `processed` were since the last sample."""

    backlog: int
    held: int
    processed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Everything at second `at`; `workers` are alive."""

    at: float
    workers: int
    dependencies: Mapping[str, DependencySample]
    streams: Mapping[str, StreamSample]


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """An invariant that was broken at second `at`: its short name, and what happened in words."""

    at: float
    invariant: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """The result of one scenario with one kind of worker and one seed. A baseline is not held to the invariants: it has no violations."""

    scenario: str
    worker: WorkerKind
    seed: int
    seconds: float
    totals: Totals
    samples: tuple[Sample, ...]
    violations: tuple[Violation, ...] = ()
