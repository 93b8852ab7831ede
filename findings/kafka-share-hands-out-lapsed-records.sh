#!/bin/sh
# Kafka share groups, confluent-kafka: a consumer hands out a record that another one has finished, and its accept "succeeds".
#
# Software: Apache Kafka 4.4.0, confluent-kafka 2.16.1 (librdkafka 2.16.0). Needs Java 17, Maven and python3; 60 MB in a temporary folder.
# Source: KIP-932, https://cwiki.apache.org/confluence/display/KAFKA/KIP-932: Queues for Kafka: a record is acquired by a fetch for one
# consumer until its lock ends, and an acknowledgement after that fails. One expects that a consumer which does not poll acquires nothing.
# Behaviour: an empty poll leaves a fetch running. The record that comes next is acquired although nobody polls, its lock ends unseen, and
# that is one of its five deliveries. Another consumer gets it with the count 2 and accepts it. The next poll of the first one hands the
# record out all the same, with the count 1, minutes later if need be; accepting that raises nothing, and commit_sync has no error for it.
# So a program that pauses between polls loses deliveries of records it has never seen, and handles some that are done, without any sign.
# Seen:
#   other: value b'1', delivery count 2, accepted: [None]
#   first: value b'1', delivery count 1, accepted: [None]
set -eu
work=$(mktemp -d)
trap 'kill -9 ${broker:-} 2>/dev/null; rm -rf "$work"' EXIT INT TERM
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet confluent-kafka==2.16.1
cat >"$work/pom.xml" <<'XML'
<project><modelVersion>4.0.0</modelVersion><groupId>f</groupId><artifactId>f</artifactId><version>1</version><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.4.0</version></dependency>
</dependencies></project>
XML
mvn -q -f "$work/pom.xml" dependency:copy-dependencies -DoutputDirectory="$work/jars" -DincludeScope=runtime
free() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port=$(free) controller=$(free)
cat >"$work/server.properties" <<EOF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$work/data
offsets.topic.replication.factor=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
EOF
java -cp "$work/jars/*" kafka.tools.StorageTool format -t AAAAAAAAAAAAAAAAAAAAAA -c "$work/server.properties" >"$work/format.log" 2>&1
java -Xmx512m -cp "$work/jars/*" kafka.Kafka "$work/server.properties" >"$work/server.log" 2>&1 &
broker=$!

cat >"$work/finding.py" <<'PY'
import sys, time

from confluent_kafka import Producer, ShareConsumer, libversion, version
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

WHERE = {"bootstrap.servers": sys.argv[1]}
LOCK = 15.0  # the least that a broker allows unless told otherwise


def produce(value):
    producer = Producer(WHERE)
    producer.produce("orders", value)
    producer.flush()


def consumer():
    made = ShareConsumer({**WHERE, "group.id": "queue", "share.acknowledgement.mode": "explicit"})
    made.subscribe(["orders"])
    return made


def take(who, name, within=60.0):
    end = time.monotonic() + within
    while time.monotonic() < end:
        for record in who.poll(0.1):
            who.acknowledge(record)
            answers = list(who.commit_sync(10).values())
            print(f"{name}: value {record.value()}, delivery count {record.delivery_count()}, accepted: {answers}")
            return record.value(), record.delivery_count(), answers
    return None


print("confluent-kafka", version(), "librdkafka", libversion()[0])
admin = AdminClient(WHERE)
admin.create_topics([NewTopic("orders", 1, 1)])["orders"].result(timeout=60)
values = {"share.auto.offset.reset": "earliest", "share.record.lock.duration.ms": str(int(LOCK * 1000))}
entries = [ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in values.items()]
resource = ConfigResource(ConfigResource.Type.GROUP, "queue", incremental_configs=entries)
for answer in admin.incremental_alter_configs([resource]).values():
    answer.result(timeout=60)

produce(b"0")
first = consumer()
take(first, "joined")
end = time.monotonic() + 1
while time.monotonic() < end:
    assert not len(first.poll(0.1))  # the last of these polls leaves its fetch running
time.sleep(2)  # now nobody polls
produce(b"1")
time.sleep(1)
seen = [take(consumer(), "other"), take(first, "first")]
sys.exit(0 if seen == [(b"1", 2, [None]), (b"1", 1, [None])] else 1)
PY
"$work/venv/bin/python" "$work/finding.py" "127.0.0.1:$port" 2>"$work/errors" || { cat "$work/errors"; exit 1; }
