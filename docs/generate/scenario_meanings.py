"""What the keys of a scenario file mean, in one line each."""

from __future__ import annotations

_STREAM = {
    "needs": "the dependencies that a message calls, once each, in this order",
    "backlog": "messages that wait at the beginning",
    "rate": "messages that come every second, evenly",
    "keys": "how many keys there are, dealt in turn; 0: messages have none",
    "poison": "numbers of the messages, from 0 in the order produced, that can never be processed",
    "poison_ratio": "the share of all others that cannot either, by chance",
    "poison_as": "how they fail: as the first dependency does, by an error of their own, or by `Reject`",
}

MEANINGS: dict[str, dict[str, str]] = {
    "Scenario": {
        "name": "what reports call it",
        "seconds": "how long the run is",
        "topics": "`[topics.NAME]`, below",
        "queues": "`[queues.NAME]`, below",
        "dependencies": "`[dependencies.NAME]`, below",
        "faults": "`[[faults]]`, below",
        "members": "`[[members]]`, below",
        "description": "one sentence; reports begin with it",
        "sample_every": "seconds between two samples: how fine the rows and drawings are",
        "workers": "how many there are at the beginning",
        "concurrency": "handlers at once in each worker; none: what a guard takes by itself",
        "order": "as for `guard.run`; none: what the broker promises",
        "span": "as for `guard.run`: how far a partition runs ahead of its oldest unfinished message",
        "inbox": "messages in hand for each partition",
        "prefetch": "messages in hand for each queue",
        "timeout": "seconds that a handler may take; none: as long as its calls",
        "retry": "the settings of [RetryPolicy](settings.md#retrypolicy)",
        "dead_letters": "whether rejected messages have somewhere to go; without, a partition blocks and a queue drops them",
        "commit_every": "seconds between two commits",
        "session_timeout": "seconds until the group notices that a worker is gone",
        "rebalance_timeout": "seconds that a rebalance waits for its members",
        "drain_timeout": "seconds that a worker takes at most when it leaves",
    },
    "TopicSpec": {
        **_STREAM,
        "partitions": "how many it has",
        "gap": "offsets after each message that hold nothing, as the markers of transactions do",
    },
    "QueueSpec": {
        **_STREAM,
        "delivery_limit": "a message that came back more often is dead; none: no limit, as of a classic queue",
        "nack_counts": "whether a nack counts towards it: until RabbitMQ 4.2 yes, from 4.3 on no",
        "single_active": "one worker at a time, in order",
    },
    "DependencySpec": {
        "capacity": "calls that it takes at its usual speed; beyond, all become slower. None: any number",
        "latency": "seconds that a call takes",
        "spread": "a call takes between 1 - spread and 1 + spread of that, by chance",
        "timeout": "seconds after which callers give up; the call goes on occupying it",
        "probe": "whether it has a health probe",
        "circuit": "the settings of [CircuitSettings](settings.md#circuitsettings)",
    },
    "Fault": {
        "at": "when it begins",
        "until": "when it ends",
        "dependency": "whose it is",
        "kind": "what is wrong, below",
        "latency": "seconds until a call is refused",
        "factor": "how many times longer calls take",
        "ratio": "the share of calls that fail, or of capacity that is there",
        "warm_up": "calls after which two thirds of what was missing are back",
        "down": "seconds of being down, first",
        "up": "seconds of being well, after that",
        "key": "the number of the key, from 0",
    },
    "MemberEvent": {
        "at": "when it happens",
        "worker": "to which worker, from 0",
        "kind": "what happens, below",
        "seconds": "how long a freeze takes",
    },
}

FAULTS = {
    "refuse": "every call fails at once",
    "hang": "no call is answered before the end of the fault",
    "slow": "calls take longer",
    "errors": "some calls fail, in their usual time",
    "capacity": "a part of its capacity is there",
    "cold": "a part of its capacity is there, and every call that it answers brings back more",
    "flap": "down, well, down, and so on",
    "key": "calls for the messages of one key fail",
}

MEMBERS = {
    "join": "it starts, for the first time or again",
    "leave": "it drains and ends, as at SIGTERM",
    "kill": "it is gone at once, as at SIGKILL; the broker finds out by itself",
    "freeze": "it does nothing for a while, as at SIGSTOP, and goes on",
    "drop": "its connections break, and it comes back at once",
}
