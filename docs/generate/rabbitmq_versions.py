"""What differs between RabbitMQ's versions, from the table that the code works by."""

from __future__ import annotations

from collections.abc import Callable

from docs.generate.tables import table

from holdgate.brokers.rabbitmq.queue_facts import DEFAULT_CONSUMER_TIMEOUT, Kind, Rules, rules_for

VERSIONS = ((3, 10), (4, 0), (4, 3))

_COUNTED = {
    "nothing": "none",
    "returns": "every one",
    "failures": "each but those by `nack` and by the consumer timeout",
}
_BELIEVED = {
    "nothing": "never",
    "returns": "on a redelivered message",
    "failures": "on a redelivered message, if it is no more than `x-acquired-count`, or a dead letter of another queue",
}


def _time_limit(rules: Rules) -> str:
    if not rules.times_out:
        return "never"
    return "exactly then" if rules.checked_every == 0 else f"up to {rules.checked_every:g} s after it"


def _way_back(rules: Rules) -> str:
    if not rules.times_out:
        return "it need not"
    return "cancel, then `nack` in order" if rules.nacks_back else "closing the channel"


FACTS: tuple[tuple[str, Callable[[Rules], str]], ...] = (
    ("returns that are counted (`x-delivery-count`)", lambda rules: _COUNTED[rules.counts]),
    ("the guard believes the count", lambda rules: _BELIEVED[rules.counts]),
    ("a message that dies takes its count along", lambda rules: "yes" if rules.counts == "failures" else "no"),
    ("delivery limit when nobody set one", lambda rules: "none" if rules.delivery_limit is None else str(rules.delivery_limit)),
    ("a delivery limit of -1", lambda rules: "no limit" if rules.unlimited else "**0**: the first return is the end"),
    ("takes back what is held past the consumer timeout", _time_limit),
    ("a consumer's argument `x-consumer-timeout`", lambda rules: "holds" if rules.own_timeouts else "is ignored or refused"),
    ("a long hold gives back by", _way_back),
    (
        "so long before the timeout of 30 minutes",
        lambda rules: f"{rules.margin(DEFAULT_CONSUMER_TIMEOUT):g} s" if rules.times_out else "",
    ),
    ("`x-delayed-retry-type`", lambda rules: "makes what comes back wait" if rules.delays else "is ignored"),
)
# What a classic queue has nothing to say to.
_OF_QUORUM = frozenset({"a delivery limit of -1", "`x-delayed-retry-type`", "a message that dies takes its count along"})


def versions_table(kind: Kind) -> str:
    """One queue type, a column for each version."""
    columns = [rules_for(version, kind) for version in VERSIONS]
    heads = [f"{kind} queue", *(".".join(map(str, version)) for version in VERSIONS)]
    rows = [(fact, *map(cell, columns)) for fact, cell in FACTS if kind == "quorum" or fact not in _OF_QUORUM]
    return table(heads, rows)
