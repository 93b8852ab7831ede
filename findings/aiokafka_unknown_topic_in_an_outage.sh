#!/usr/bin/env bash
# aiokafka raises UnknownTopicOrPartitionError for a topic that exists, when no broker answers.
#
# A producer that has not yet sent to a topic asks for its metadata until `request_timeout_ms` is over, and then says that there is no such
# topic (aiokafka/client.py, _wait_on_metadata), whether a broker said so or nobody said anything. Who sorts errors by class reads "my topic
# is wrong", and throws the record away, where the truth is "the cluster is down".
# A good engineer would expect a timeout or a connection error (KafkaTimeoutError, KafkaConnectionError), as when a known topic's leader is gone.
#
# Seen with aiokafka 0.14.0 on CPython 3.11.7, on librdkafka's mock cluster (confluent-kafka 2.16.1):
#   UnknownTopicOrPartitionError for a topic that exists
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet aiokafka==0.14.0 confluent-kafka==2.16.1

cat >"$folder/try.py" <<'PYTHON'
import asyncio
import logging

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from confluent_kafka import Producer

logging.disable()


async def main():
    cluster = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "replaced", "log_level": 0})
    (broker,) = cluster.list_topics(timeout=10).brokers.values()
    cluster.produce("orders", b"made by being written to")
    assert cluster.flush(10) == 0
    assert "orders" in cluster.list_topics(timeout=10).topics

    producer = AIOKafkaProducer(bootstrap_servers=f"{broker.host}:{broker.port}", request_timeout_ms=1500)
    await producer.start()
    del cluster  # and its broker with it
    try:
        await producer.send_and_wait("orders", b"hello")
    except KafkaError as error:
        print(f"{type(error).__name__} for a topic that exists")
    await producer.stop()


asyncio.run(main())
PYTHON

said=$("$folder/venv/bin/python" "$folder/try.py")
echo "$said"
test "$said" = "UnknownTopicOrPartitionError for a topic that exists" || { echo "this has changed" >&2; exit 1; }
