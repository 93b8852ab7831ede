"""What each public setting means, in words for its reader; tests/docs compares the names with the code.

`OTHER_REASONS` has reasons for defaults that have no comment in the code.
"""

from __future__ import annotations

_NOTHING_ASKED = "nothing was asked for"

MEANINGS: dict[str, dict[str, str]] = {
    "Guard": {
        "*dependencies": "only those that call forms alone use; `needs` brings in the others",
        "drain_timeout": "seconds that running handlers may take to end after a stop or a cancellation",
        "signals": "None: SIGTERM drains, where nobody else handles it and this is the main thread. False: never. True: or an error",
        "observers": "functions that get every event, one after the other; one that raises is logged and harms nobody",
        "clock": "where time and chance come from; None: the system's monotonic clock. For tests",
        "hold_warn_after": "seconds between two log lines about a hold that goes on",
        "stall_after": "seconds without progress, with work waiting and nothing held, after which `health().live` is False",
    },
    "guard.run": {
        "intake": "where messages come from, say a `KafkaIntake`",
        "handler": "takes one `Delivery`. An `async def` runs on the event loop, a plain function in a thread; a mapping goes by topic",
        "needs": "the dependencies that messages need: a list for all, or a mapping from topic to list. Each topic must have an entry",
        "order": '`"source"`: one at a time per partition. `"key"`: one at a time per key. `"none"`. None: on Kafka `"source"`',
        "key": 'with `order="key"`: what a delivery is kept in order by; None: the Kafka record\'s key',
        "concurrency": 'handlers at once. None: one per partition; 16 with `order="key"` or `"none"`',
        "span": "how many places work may run ahead of the oldest unfinished message of a partition",
        "retry": "a `RetryPolicy`; None: `RetryPolicy()`",
        "batch": "the handler takes a sequence of up to so many deliveries, and one verdict is for all; None: one delivery",
        "timeout": "seconds that a handler may take before it is cancelled and has failed; None: no limit",
        "fallback": "what is done with a delivery instead of holding its source, while what it needs is down",
        "fallback_after": "seconds that a need must be down before anything falls back",
        "fallback_concurrency": "fallbacks at once; None: as many as handlers",
        "dead_letters": "where rejected messages go, such as `KafkaDeadLetters`; None: RabbitMQ rejects them, a Kafka partition is blocked",
    },
    "guard.deliveries": {
        "intake": "as for `guard.run`",
        "needs": "as for `guard.run`",
        "retry": "as for `guard.run`",
        "dead_letters": "as for `guard.run`",
    },
    "KafkaIntake": {
        "consumer": "an `AIOKafkaConsumer` with `enable_auto_commit=False`; one that is not started is started and stopped for you",
        "topics": "what to subscribe to; leave it out when the consumer has a subscription",
        "pattern": "a regular expression instead of `topics`. A new topic that `needs` does not name is held, with reason `no needs`",
        "inbox": "deliveries that may wait in this process per partition before fetching stops",
        "commit_every": "seconds between two commits; a hold, a rebalance and the end commit at once",
        "allow_latest": '`auto_offset_reset="latest"` is refused unless this says that skipping is wanted',
        "poll_timeout": "seconds that a poll waits for records",
        "listener": "a `ConsumerRebalanceListener` of yours, called after the guard's",
        "on_records_lost": "called with a `RecordsLost` when the broker deleted records that nobody had read",
    },
    "KafkaDeadLetters": {
        "producer": 'an `AIOKafkaProducer` with `acks="all"`; one that is not started is started and stopped for you',
        "topic": "the target; `{topic}` stands for where the message came from",
        "exception_text": "whether the headers quote what the exception says",
    },
    "RabbitMQDeadLetters": {
        "connection_or_url": "an `aio_pika.connect_robust` connection, which stays yours, or a URL for a connection of its own",
        "routing_key": "the target; `{queue}` stands for where the message came from",
        "exchange": "where it is published; empty: straight into the queue named by `routing_key`",
        "exception_text": "whether the headers quote what the exception says",
    },
    "Dependency": {
        "name": "its label in logs and events; unique within a guard",
        "failures": "which exceptions are its failures: types, a tuple of types, or a predicate. `http.failures` for HTTP clients",
        "excluded": "exceptions that are the message's own fault; wins over `failures`",
        "result_failures": "a predicate on what a call returned; true: the call failed all the same",
        "retry_after": "takes the exception, gives the seconds that its server asked to wait, or None. `http.retry_after` for HTTP clients",
        "probe": "asks whether it is well, in place of the first message after an outage; raising, False and `probe_timeout` mean no",
        "probe_timeout": "seconds that the probe may take",
        "settings": "its circuit, see CircuitSettings",
    },
    "CircuitSettings": {
        "window": "what the rates are read from: `CountWindow(calls)` or `TimeWindow(seconds)`",
        "minimum_calls": "below so many results no rate opens; never more than a count window holds",
        "failure_rate_threshold": "the share of failures that opens, when reached",
        "slow_call_duration": "seconds past which a call is slow; None: none is",
        "slow_call_rate_threshold": "the share of slow calls that opens, when reached",
        "consecutive_failures": "failures in a row that open; None: off",
        "open_duration": "seconds until the first probe",
        "open_multiplier": "the factor of the wait, each time it opens again",
        "open_duration_max": "the longest wait, in seconds",
        "open_jitter": "spreads the wait by plus and minus this share",
        "healthy_interval": "seconds without a break in CLOSED that take one step of the wait back",
        "retry_after_max": "the longest wait that a server may ask for, in seconds",
        "permit_lease": "seconds after which a half-open call that is still out counts as failed; twice the longest success, if longer",
        "ramp": "how it comes back, see RampSettings",
    },
    "CountWindow": {"calls": "the last so many results"},
    "TimeWindow": {"seconds": "the results of the last so many seconds", "buckets": "the parts that it forgets one by one"},
    "RampSettings": {
        "initial": "calls at once in the first stage after the probe",
        "growth": "the factor of the limit after a good stage",
        "full": "the limit whose good stage closes the circuit. None: what the runs that need it have at once; 16 outside of a guard",
        "bad_rate": "the share of failed or slow calls that a good stage may have; below `failure_rate_threshold`",
        "minimum_verdicts": "results that a stage needs at least",
        "stage_timeout": "seconds after which a stage that refused nobody is judged by what it has",
    },
    "RetryPolicy": {
        "attempts": "how often a message's own failure may happen before it is rejected; a dependency's failures never count",
        "initial_backoff": "seconds before the first retry",
        "multiplier": "the factor of the wait, each time",
        "max_backoff": "the longest wait, in seconds",
        "jitter": "spreads the wait by plus and minus this share",
        "not_retryable": "exception types that reject at the first failure, whatever `failures` says",
        "doubt": "how unlikely an innocent message's failures must be before it is rejected for what looks like its dependency's",
        "reject_after_probes": "failures right after a good health probe that reject a message with none to compare; None: it is held",
        "on_exhausted": '`"reject"`: to the dead letters, or its source is blocked. `"skip"`: settled and lost',
    },
    "rehearse": {
        "handler": "as for `guard.run`; what it calls must be a fake of yours",
        "needs": "as for `guard.run`",
        "deliveries": 'how many (their bodies are `b"0"`, `b"1"` ...), or the bodies, or bodies by topic',
        "every": "seconds between two of them",
        "outage": "one `Outage`, or several",
        "patience": "seconds after the last delivery and outage at which it gives up",
        "**settings": "everything else goes to `guard.run`",
    },
    "Outage": {
        "start": "seconds from the first delivery",
        "end": "seconds from the first delivery; a call at this very second succeeds",
        "dependency": "whose outage it is; None: the only one there is",
        "error": "what a call gets meanwhile; one of the dependency's `failures`",
    },
}

OTHER_REASONS: dict[str, dict[str, str]] = {
    "Guard": {
        "signals": "where somebody else handles SIGTERM it is theirs, and Ctrl-C needs nothing",
        "observers": _NOTHING_ASKED,
        "clock": "the real one",
    },
    "guard.run": {
        "needs": "a source that needs nothing is read and never held by a circuit",
        "order": "what the broker promises anyway",
        "key": "the key by which Kafka has chosen the partition",
        "concurrency": "order needs no more than one per partition; 16 keep a dependency of 10 ms busy at 1,600 calls a second",
        "retry": "RetryPolicy's own defaults",
        "fallback": "holding is what this library is for",
        "fallback_concurrency": "lanes are a bound already",
        "dead_letters": "only you know where they are looked at; nothing is skipped without your word",
    },
    "guard.deliveries": {
        "needs": "as for `guard.run`",
        "retry": "RetryPolicy's own defaults",
        "dead_letters": "as for `guard.run`",
    },
    "KafkaIntake": {
        "topics": "the consumer may be subscribed already",
        "pattern": _NOTHING_ASKED,
        "listener": _NOTHING_ASKED,
        "on_records_lost": "it is logged in any case",
    },
    "Dependency": {
        "excluded": _NOTHING_ASKED,
        "result_failures": "a return is a success",
        "retry_after": "only an HTTP server says it, and where it says it differs",
        "probe": "not everything has a health check that is worth asking",
    },
    "CircuitSettings": {"ramp": "RampSettings' own defaults"},
    "RampSettings": {"full": "the guard knows how much runs at once"},
    "RetryPolicy": {
        "multiplier": "five attempts wait 0.5, 1, 2 and 4 s in between: a blip is over, and a partition has not stood still for long"
    },
    "rehearse": {
        "needs": "as for `guard.run`",
        "deliveries": "enough for an outage of a minute to end in the middle of them",
        "every": "seconds and messages have the same numbers",
        "outage": "a rehearsal without one shows that the handler works",
        "patience": "an hour: twice the longest wait and more",
    },
    "Outage": {"dependency": "there is mostly one", "error": "what nearly every client raises or wraps"},
}
