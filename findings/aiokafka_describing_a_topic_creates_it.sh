#!/usr/bin/env bash
# aiokafka's admin client creates the topic that it is asked to describe.
#
# `AIOKafkaAdminClient.describe_topics(["ordres"])` asks for metadata and leaves the request's flag `allow_auto_topic_creation` at True
# (aiokafka/admin/client.py and protocol/metadata.py). On a broker with `auto.create.topics.enable`, which is Kafka's default, the question
# whether a topic exists, or a typo in it, makes the topic, with the broker's number of partitions and retention. The flag is in the request,
# and no call of the admin client sets it.
# A good engineer would expect that describing changes nothing, as in Java's Admin.describeTopics, which forbids it.
#
# Seen with aiokafka 0.14.0 on CPython 3.11.7, on librdkafka's mock cluster (confluent-kafka 2.16.1), and on Apache Kafka 4.1.0:
#   before: []
#   after: ['ordres']
# holdgate describes only topics that it has listed or made, and its clients of a fleet's log set the flag (brokers/kafka/fleet_clients.py).
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet aiokafka==0.14.0 confluent-kafka==2.16.1

cat >"$folder/try.py" <<'PYTHON'
import asyncio
import logging

from aiokafka.admin import AIOKafkaAdminClient
from confluent_kafka import Producer

logging.disable()


async def main():
    cluster = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "replaced", "log_level": 0})
    (broker,) = cluster.list_topics(timeout=10).brokers.values()
    admin = AIOKafkaAdminClient(bootstrap_servers=f"{broker.host}:{broker.port}")
    await admin.start()
    print(f"before: {sorted(cluster.list_topics(timeout=10).topics)}")
    await admin.describe_topics(["ordres"])
    print(f"after: {sorted(cluster.list_topics(timeout=10).topics)}")
    await admin.close()


asyncio.run(main())
PYTHON

said=$("$folder/venv/bin/python" "$folder/try.py")
echo "$said"
test "$said" = "before: []
after: ['ordres']" || { echo "this has changed" >&2; exit 1; }
