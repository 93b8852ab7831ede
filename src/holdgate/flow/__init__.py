"""The decisions of a guard, without I/O: what may start, whose failure it was, what becomes of a message, and what the broker may deliver.

Begin with engine.py; its head says who calls what. The words of this floor:

    source        a partition of a Kafka topic, or a RabbitMQ queue
    assignment    one source, from when the broker gives it to this process until it takes it away (state.py)
    run           the settings and the assignments of one `guard.run` (state.py)
    delivery      one message on its way through this process, or a batch of them (message.py, batch.py)
    gate          one dependency: its circuit, and what waits for it (gate.py)
    needs         the dependencies that a source needs (policy.py)
    inbox         the deliveries of one assignment that never started, in their order (inbox.py)
    waiting list  the deliveries that were not admitted, or wait for their retry (waiting.py)
    grant         a waiting delivery gets its permits, and the next lane starts it (waiting.py)
    attribution   whose success or failure the end of a handler was (attribution.py)
    history       what is known of a message that has failed: charges, votes, blame (blame.py)
    verdict       what becomes of a delivery whose handler has ended (fate.py)
    hold          no handler of a source starts, for one or more reasons (plan.py)
    plan          for each source, whether the broker may deliver more, and why it is held (plan.py)

To change how long a retry waits: `RetryPolicy.wait` in policy.py for the time, `Retries.add` in fate.py for when there is a wait at all.
"""
