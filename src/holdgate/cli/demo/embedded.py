"""An embedded Kafka: the mock cluster inside librdkafka, which the confluent-kafka wheel brings along.

It speaks the real protocol over TCP on 127.0.0.1, so a real aiokafka consumer can join it. It lives in threads of this process and ends
with its producer object. Right for a demo, no proof of anything: one member per group is reliable, a first join takes about three seconds,
and topics are made on first use with four partitions.
"""

from __future__ import annotations

from typing import Any

from holdgate.errors import IntakeError, MissingExtra

# The address is there at once; the bound is for a machine that swaps.
METADATA_TIMEOUT = 5.0


class EmbeddedKafka:
    """A one-broker mock cluster in this process.

    `open` returns its address. Nothing is written to disk. Raises `MissingExtra` without confluent-kafka.
    """

    def __init__(self) -> None:
        self._producer: Any = None

    def open(self) -> str:
        """Start the cluster; returns `HOST:PORT`."""
        try:
            from confluent_kafka import KafkaException, Producer
        except ImportError as error:
            raise MissingExtra('The embedded broker comes with: pip install "holdgate[demo]"') from error
        # log_level 0: librdkafka writes to stderr by itself, in the middle of the live screen.
        self._producer = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "replaced-by-the-mock", "log_level": 0})
        try:
            brokers = self._producer.list_topics(timeout=METADATA_TIMEOUT).brokers
        except KafkaException as error:
            self.close()
            raise IntakeError(f"the embedded broker did not start within {METADATA_TIMEOUT:g} s; try --broker memory") from error
        return ",".join(f"{broker.host}:{broker.port}" for broker in brokers.values())

    def close(self) -> None:
        """End the cluster and its threads. Idempotent."""
        # The last reference: librdkafka joins its threads in the destructor.
        self._producer = None
