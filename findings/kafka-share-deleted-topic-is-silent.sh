#!/bin/sh
# Kafka share groups, confluent-kafka: the topic is deleted, and the share consumer says nothing, ever; a consumer of the same client does.
#
# Software: Apache Kafka 4.4.0, confluent-kafka 2.16.1 (librdkafka 2.16.0). Needs Java 17, Maven and python3; 60 MB in a temporary folder.
# Source: KIP-932, https://cwiki.apache.org/confluence/display/KAFKA/KIP-932: Queues for Kafka; and the classic consumer of librdkafka, whose
# poll gives a message with the error UNKNOWN_TOPIC_OR_PART when it has asked for metadata again. One expects that a share consumer raises.
# Behaviour: polls stay empty and raise nothing, as if nothing waited: a worker looks well, and reads nothing any more. The only trace is
# the answer to an accept of what was in hand, which is a value of commit_sync: UNKNOWN_TOPIC_ID. When the topic is made anew, the consumer
# goes on by itself after some seconds, with other records at the same partition and offset: who remembers what it has handled by place
# takes a record that it has never seen for done. A Message does not have the id of its topic.
# Seen:
#   accept: UNKNOWN_TOPIC_ID
#   consumer: UNKNOWN_TOPIC_OR_PART
#   share consumer: 0 records, 0 errors in 30 s
#   made anew: value b'new' at offset 0
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

from confluent_kafka import Consumer, Producer, ShareConsumer, libversion, version
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

WHERE = {"bootstrap.servers": sys.argv[1]}
QUICK = {"topic.metadata.refresh.interval.ms": 1000}  # five minutes by default


def produce(value):
    producer = Producer(WHERE)
    producer.produce("orders", value)
    producer.flush()


def take():
    while not (records := list(shares.poll(0.5))):
        pass
    for record in records:
        shares.acknowledge(record)
    return records[0]


print("confluent-kafka", version(), "librdkafka", libversion()[0])
admin = AdminClient(WHERE)
admin.create_topics([NewTopic("orders", 1, 1)])["orders"].result(timeout=60)
entry = ConfigEntry("share.auto.offset.reset", "earliest", incremental_operation=AlterConfigOpType.SET)
resource = ConfigResource(ConfigResource.Type.GROUP, "queue", incremental_configs=[entry])
for answer in admin.incremental_alter_configs([resource]).values():
    answer.result(timeout=60)
shares = ShareConsumer({**WHERE, **QUICK, "group.id": "queue", "share.acknowledgement.mode": "explicit"})
shares.subscribe(["orders"])
plain = Consumer({**WHERE, **QUICK, "group.id": "plain", "auto.offset.reset": "earliest"})
plain.subscribe(["orders"])

produce(b"old")
take()
while plain.poll(0.5) is None:
    pass
admin.delete_topics(["orders"])["orders"].result(timeout=60)
time.sleep(1)
(accept,) = [error.args[0].name() for error in shares.commit_sync(10).values()]
print("accept:", accept)
while (told := plain.poll(0.5)) is None:
    pass
print("consumer:", told.error().name())
end, records, errors = time.monotonic() + 30, 0, 0
while time.monotonic() < end:
    try:
        records += len(list(shares.poll(0.5)))
    except Exception as error:
        errors += 1
print(f"share consumer: {records} records, {errors} errors in 30 s")
plain.close()

admin.create_topics([NewTopic("orders", 1, 1)])["orders"].result(timeout=60)
produce(b"new")
record = take()
print(f"made anew: value {record.value()} at offset {record.offset()}")
seen = (accept, told.error().name(), records, errors, record.value(), record.offset())
sys.exit(0 if seen == ("UNKNOWN_TOPIC_ID", "UNKNOWN_TOPIC_OR_PART", 0, 0, b"new", 0) else 1)
PY
"$work/venv/bin/python" "$work/finding.py" "127.0.0.1:$port" 2>"$work/errors" || { cat "$work/errors"; exit 1; }
