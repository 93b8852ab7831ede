"""The names of all series, once: both exporters, the page that documents them, the alert rules and the dashboard are made from this list.

A series has one name, in words with dots, as OpenTelemetry has it. Its name for Prometheus follows from that: underscores, the unit, and
`_total` for what only goes up. Units are seconds and counts, ratios are from 0 to 1.

Labels have values from the configuration alone: the names of dependencies, topics, queues and groups, and words of holdgate's own. Never
anything of a message. Topics and queues past the first 200 are counted together (flow/totals.py), and a value is cut at 120 characters.

Labels that several series have:

    dependency   the name of the Dependency; empty for a hold that no circuit causes
    destination  the topic or queue
    kind         "topic" or "queue"
    group        the consumer group; empty where the broker has none
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]

# What several messages, calls and so on are counted in, as OpenTelemetry writes it.
_MESSAGES = "{message}"


@dataclass(frozen=True, slots=True)
class Series:
    """One series: its name, kind, unit ("s", "1" or what it counts, in braces), the names of its labels, and what it says."""

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    help: str

    @property
    def prometheus(self) -> str:
        """Return its name for Prometheus. A histogram's series have `_bucket`, `_sum` and `_count` behind it."""
        unit = "_seconds" if self.unit == "s" else ""
        return self.name.replace(".", "_") + unit + ("_total" if self.kind == "counter" else "")


CIRCUIT_STATE = Series(
    "holdgate.circuit.state", "gauge", "1", ("dependency", "state"),
    "1 for the state that the circuit is in, 0 for the others: closed, open, half_open.",
)  # fmt: skip
CIRCUIT_TRANSITIONS = Series(
    "holdgate.circuit.transitions", "counter", "{transition}", ("dependency", "from", "to", "reason"),
    "Changes of the circuit's state, by the reason of the change.",
)  # fmt: skip
CALLS = Series(
    "holdgate.calls", "counter", "{call}", ("dependency", "outcome"),
    "Calls by outcome: success, failure, throttled (too many for now), ignored (says nothing of it), late (the circuit had changed).",
)  # fmt: skip
CALLS_NOT_PERMITTED = Series(
    "holdgate.calls.not_permitted", "counter", "{call}", ("dependency",),
    "Calls that the circuit refused.",
)  # fmt: skip
CALL_DURATION = Series(
    "holdgate.call.duration", "histogram", "s", ("dependency", "outcome"),
    "How long calls took, by outcome: success or failure. A handler without calls of its own is one call of each of its needs.",
)  # fmt: skip
FAILURE_RATIO = Series(
    "holdgate.failure.ratio", "gauge", "1", ("dependency",),
    "Share of failed calls in the circuit's window. Absent while the window has fewer calls than minimum_calls.",
)  # fmt: skip
SLOW_RATIO = Series(
    "holdgate.slow.ratio", "gauge", "1", ("dependency",),
    "Share of slow calls in the circuit's window. Absent while the window has fewer calls than minimum_calls.",
)  # fmt: skip
RAMP_LIMIT = Series(
    "holdgate.ramp.limit", "gauge", "{call}", ("dependency",),
    "Calls that may be in flight: 0 while the circuit is open, the ramp's limit while it is half-open. Absent while nothing limits them.",
)  # fmt: skip
LIMIT_WIDTH = Series(
    "holdgate.limit.width", "gauge", "{call}", ("dependency",),
    "Calls that may be in flight by the dependency's limit. Absent while no number limits them.",
)  # fmt: skip
LIMIT_PACE = Series(
    "holdgate.limit.pace", "gauge", "{call}/s", ("dependency",),
    "Calls that may start in a second by the dependency's limit. Absent while no rate is known.",
)  # fmt: skip
LIMIT_WASTE = Series(
    "holdgate.limit.waste", "gauge", "1", ("dependency",),
    "Share of calls that the dependency has refused, of those since its limit was met first. Absent while nothing limits.",
)  # fmt: skip
LIMIT_EXPERIMENTS = Series(
    "holdgate.limit.experiments", "counter", "{experiment}", ("dependency",),
    "How often a higher pace or another width was tried. Absent while nothing limits.",
)  # fmt: skip
KEYS_KNOWN = Series(
    "holdgate.keys.known", "gauge", "{key}", ("dependency",),
    "Keys of which something is remembered. Absent for a dependency without keys.",
)  # fmt: skip
KEYS_HELD = Series(
    "holdgate.keys.held", "gauge", "{key}", ("dependency",),
    "Keys that are held, each by its own circuit or limit. Absent for a dependency without keys.",
)  # fmt: skip
KEYS_WAITING = Series(
    "holdgate.keys.waiting", "gauge", "{message}", ("dependency",),
    "Messages here that wait for their keys, without those behind them. Absent for a dependency without keys.",
)  # fmt: skip
PROBES = Series(
    "holdgate.probes", "counter", "{probe}", ("dependency", "result"),
    "First calls of half-opens, by result: success begins the ramp, failure opens the circuit again.",
)  # fmt: skip
OVERRIDE_ACTIVE = Series(
    "holdgate.override.active", "gauge", "1", ("dependency", "mode"),
    "1 for the override that an operator has laid over the circuit, 0 for the others: forced_open, disabled, metrics_only.",
)  # fmt: skip
SOURCES = Series(
    "holdgate.sources", "gauge", "{source}", ("kind", "destination"),
    "Partitions or queues that this worker has.",
)  # fmt: skip
SOURCES_HELD = Series(
    "holdgate.sources.held", "gauge", "{source}", ("dependency", "reason"),
    "Partitions and queues held, by reason: circuit, limit, key, operator, blocked, dead_letters, unclaimed_failures, draining, no_needs.",
)  # fmt: skip
HOLD_AGE = Series(
    "holdgate.hold.age", "gauge", "s", ("kind", "destination"),
    "For how long the oldest hold of a partition or queue has lasted. Absent while none is held.",
)  # fmt: skip
HOLD_AGE_BY_PARTITION = Series(
    "holdgate.hold.age", "gauge", "s", ("kind", "destination", "partition"),
    "For how long a partition or queue has been held. Absent while it is not held.",
)  # fmt: skip
HOLD_DURATION = Series(
    "holdgate.hold.duration", "histogram", "s", ("dependency", "reason"),
    "How long holds lasted that are over, of one partition or queue each.",
)  # fmt: skip
DELIVERIES = Series(
    "holdgate.deliveries", "counter", _MESSAGES, ("destination", "settlement"),
    "Messages that are settled: processed, fallback, rejected (it is a dead letter), skipped.",
)  # fmt: skip
IN_HAND = Series(
    "holdgate.in_hand", "gauge", _MESSAGES, ("destination",),
    "Messages in this process that are not settled: waiting, or in work.",
)  # fmt: skip
DEAD_LETTERS = Series(
    "holdgate.dead_letters", "counter", _MESSAGES, ("destination", "reason"),
    "Messages that were given up: rejected (by the handler), attempts (too many failures of its own), blame (others succeeded meanwhile).",
)  # fmt: skip
FALLBACKS = Series(
    "holdgate.fallbacks", "counter", _MESSAGES, ("destination", "reason"),
    "Messages that the fallback has processed, by the circuit that was open.",
)  # fmt: skip
BACKLOG = Series(
    "holdgate.backlog", "gauge", _MESSAGES, ("kind", "destination", "group"),
    "Messages that wait in the broker, those in hand included. Of a queue every worker reports all; of a topic each its own partitions.",
)  # fmt: skip
BACKLOG_READABLE = Series(
    "holdgate.backlog.readable", "gauge", _MESSAGES, ("kind", "destination", "group"),
    "Messages of the backlog that a consumer can get now. Less while a transaction is open, or the broker delays a retry.",
)  # fmt: skip
BACKLOG_DELAYED = Series(
    "holdgate.backlog.delayed", "gauge", _MESSAGES, ("kind", "destination", "group"),
    "Messages of the backlog that the broker keeps back for a later retry. Absent where this cannot be known.",
)  # fmt: skip
BACKLOG_BLOCKED = Series(
    "holdgate.backlog.blocked", "gauge", "s", ("kind", "destination", "group"),
    "For how long an open transaction has let nothing become readable, in the partition where it has been longest. 0 while none does.",
)  # fmt: skip
BACKLOG_AGE = Series(
    "holdgate.backlog.age", "gauge", "s", ("kind", "destination", "group"),
    "Age of the oldest message in hand. Absent while it is not known.",
)  # fmt: skip
BACKLOG_DRAIN = Series(
    "holdgate.backlog.drain", "gauge", "s", ("kind", "destination", "group"),
    "In about how long nothing will wait, at the rate that the ramp allows. Absent in a hold, and while more arrives than ends.",
)  # fmt: skip
DEMAND = Series(
    "holdgate.demand", "gauge", _MESSAGES, ("group",),
    "Backlog that this worker is willing to drain, by group or queue: a ramp's share, a minute of a pace, 0 while held; at least 1.",
)  # fmt: skip
FLEET_MEMBERS = Series(
    "holdgate.fleet.members", "gauge", "{worker}", ("fleet",),
    "Workers of the fleet that this worker knows of, with itself. Absent without a fleet.",
)  # fmt: skip
FLEET_LOG_READABLE = Series(
    "holdgate.fleet.log.readable", "gauge", "1", ("fleet",),
    "1 while the log of the fleet answers; 0 while this worker goes by its own rules because it does not.",
)  # fmt: skip
FLEET_CONDUCTING = Series(
    "holdgate.fleet.conducting", "gauge", "1", ("dependency",),
    "1 while this worker tries the dependency for the whole fleet. More than one of a fleet for longer than a takeover is a mistake.",
)  # fmt: skip
FLEET_EPOCH = Series(
    "holdgate.fleet.epoch", "gauge", "{term}", ("dependency",),
    "The number of the conductor's term. It rises with each takeover.",
)  # fmt: skip
FLEET_LIMIT = Series(
    "holdgate.fleet.limit", "gauge", "{call}", ("dependency",),
    "Calls in parallel that the fleet allows all workers together. Absent while it is not on its way back.",
)  # fmt: skip
FLEET_SHARE = Series(
    "holdgate.fleet.share", "gauge", "{call}", ("dependency",),
    "How many of them are this worker's. Absent while the fleet does not lead it back.",
)  # fmt: skip
BUILD_INFO = Series(
    "holdgate.build.info", "gauge", "1", ("version", "python"),
    "1, with the versions of holdgate and Python.",
)  # fmt: skip

# In the order of an outage: what circuits see, what they stop, what waits meanwhile.
ALL = (
    CIRCUIT_STATE, CIRCUIT_TRANSITIONS, CALLS, CALLS_NOT_PERMITTED, CALL_DURATION, FAILURE_RATIO, SLOW_RATIO, RAMP_LIMIT, LIMIT_WIDTH,
    LIMIT_PACE, LIMIT_WASTE, LIMIT_EXPERIMENTS, KEYS_KNOWN, KEYS_HELD, KEYS_WAITING, PROBES,
    OVERRIDE_ACTIVE, SOURCES, SOURCES_HELD, HOLD_AGE, HOLD_DURATION, DELIVERIES,
    IN_HAND, DEAD_LETTERS, FALLBACKS, BACKLOG, BACKLOG_READABLE, BACKLOG_DELAYED, BACKLOG_BLOCKED, BACKLOG_AGE, BACKLOG_DRAIN, DEMAND,
    FLEET_MEMBERS, FLEET_LOG_READABLE, FLEET_CONDUCTING, FLEET_EPOCH, FLEET_LIMIT, FLEET_SHARE,
    BUILD_INFO,
)  # fmt: skip
