"""What an ended attempt means for the circuits: outcomes recorded by vote, or permits given back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from holdgate.core import Outcome, Permit
from holdgate.flow.attribution import Attribution, Cause, Finding
from holdgate.flow.delivery import Delivery
from holdgate.flow.gate import Gate, Trial

_SUCCESS = Outcome.SUCCESS  # a name of the module: an enum's member costs more to look up than the rest of a step here


def gates_of(delivery: Delivery[Any]) -> tuple[Gate, ...]:
    """What the delivery needs: what its source needs, and what refused one of its calls. Its permits are in this order."""
    gates: tuple[Gate, ...] = delivery.place.gates
    return gates + delivery.trial.extra if delivery.trial is not None else gates


def trial_of(delivery: Delivery[Any]) -> Trial:
    """What is known of its failures; begins here with the first."""
    if delivery.trial is None:
        delivery.trial = Trial()
    trial: Trial = delivery.trial
    return trial


def give_back(delivery: Delivery[Any], now: float) -> None:
    """Return the permits without a verdict."""
    if delivery.permits:
        for gate, permit in zip(gates_of(delivery), delivery.permits, strict=True):
            gate.circuit.release(permit, now)
    delivery.permits = None


def record(delivery: Delivery[Any], attribution: Attribution, now: float, *, excused: bool = False) -> None:
    """Settle the delivery's permits, one finding each, and charge the message what is its own; nothing when it is `excused`."""
    # With several needs that match, nobody knows whose failure it was: doubt is never charged.
    charged = attribution.cause is Cause.DEPENDENCY and not attribution.shared
    for gate, permit, finding in zip(gates_of(delivery), delivery.permits or (), attribution.findings, strict=True):
        _record_one(delivery, gate, permit, finding, now, charged=charged)
    delivery.permits = None
    if attribution.cause is Cause.MESSAGE and not excused:
        trial_of(delivery).charged += 1


def record_successes(gates: tuple[Gate, ...], permits: Sequence[Permit], now: float) -> bool:
    """Success for every need; True when the engine should look: a circuit has something to say, or a slot that others wait for is free."""
    look = False
    for gate, permit in zip(gates, permits, strict=True):
        gate.circuit.record(permit, _SUCCESS, now)
        gate.successes += 1
        if gate.circuit.events_pending or (gate.heads and gate.limited):
            look = True
    return look


def _record_one(delivery: Delivery[Any], gate: Gate, permit: Permit, finding: Finding, now: float, *, charged: bool) -> None:
    outcome, duration, retry_after = finding
    if outcome is None:
        gate.circuit.release(permit, now)
        return
    if outcome is Outcome.SUCCESS:
        gate.successes += 1
        if delivery.trial is not None:
            delivery.trial.succeeded(gate)
    elif outcome is Outcome.FAILURE and not _votes(delivery, gate, permit, now, charged=charged):
        outcome = Outcome.IGNORED  # it has had its vote: others have shown the dependency healthy since
    gate.circuit.record(permit, outcome, now, retry_after=retry_after, duration=duration)


def _votes(delivery: Delivery[Any], gate: Gate, permit: Permit, now: float, *, charged: bool) -> bool:
    """Note a failure: what speaks against the message, and whether it is told to the circuit."""
    # A late result says nothing to the circuit, so it is no vote either: the first failure in the new generation will be.
    if permit.generation != gate.circuit.generation:
        return True
    trial = trial_of(delivery)
    blame = trial.blame_of(gate)
    blame.failed(gate, now, charged=charged)
    is_vote = trial.votes_again(gate)
    gate.failures += is_vote
    blame.mark(gate)
    return is_vote
